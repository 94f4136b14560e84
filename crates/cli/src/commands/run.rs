//! `keyfob run`

mod input;
mod orphans;
mod started;
mod supervise;
mod watch;

use std::ffi::{OsStr, OsString};
use std::hash::DefaultHasher;
use std::io;
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;

use clap::Parser;
use keyfob::{Error, ErrorKind};

use self::input::{Input, Sources};
use self::supervise::Supervisor;
use self::watch::WatchArgs;
use crate::context::Context;
use crate::exit::{Exit, Failure, Outcome};
use crate::private_file;
use crate::references::{ReferenceArgs, STANDARD_INPUT, resolve};

#[derive(Debug, Parser)]
#[command(after_help = "\
Examples:
  DB='postgres://app:${secret:db/password}@db/app' keyfob run -- app
  keyfob run --env-file .env -- npm start
  keyfob run --config app.yaml:/run/app/app.yaml -- app --config /run/app/app.yaml
  keyfob run --watch --env-file .env -- npm start
  keyfob run --watch --reload-signal HUP --config app.yaml:app.out -- app --config app.out

Exit status: the command's; 125 keyfob failed before the command started; 126 the command can't be
started; 127 there is no such command; 2 wrong command line.")]
pub(crate) struct Args {
    /// A `.env` file whose variables the command gets; can be given several times
    #[arg(long, value_name = "FILE")]
    env_file: Vec<PathBuf>,

    /// A configuration file, and where its finished copy goes; can be given several times
    ///
    /// The copy can be read by its owner only. It stays there when the command ends: best in a directory in memory
    #[arg(long, value_name = "FILE:TARGET")]
    config: Vec<OsString>,

    #[command(flatten)]
    watch: WatchArgs,

    #[command(flatten)]
    references: ReferenceArgs,

    /// The command and its arguments
    #[arg(required = true, last = true, value_name = "COMMAND")]
    command: Vec<OsString>,
}

impl Args {
    pub(crate) fn run(self, context: &Context) -> Outcome {
        let printer = context.printer();
        let ended = match self.watch.watch {
            true => self.supervise(context),
            false => self.prepare(context).map(|command| become_it(command, context)),
        };
        match ended {
            Err(failure) if !matches!(failure, Failure::Usage(_)) => {
                failure.report(printer);
                printer.note("the command was not started");
                Ok(Exit::BeforeCommand)
            }
            ended => ended,
        }
    }

    /// Everything up to the start, the targets of `--config` written.
    fn prepare(&self, context: &Context) -> Result<Command, Failure> {
        let sources = self.sources()?;
        let manager = self.references.manager(context)?;
        let input = Input::read(&manager, &sources, &mut DefaultHasher::new())?;
        let resolved = context.block_on(resolve(&manager, &input.occurrences()))?;
        let finished = input.finish(&resolved)?;
        finished.write(&sources)?;
        let (program, arguments) = self
            .command
            .split_first()
            .ok_or_else(|| Failure::usage("no command", "it stands after `--`"))?;
        let mut command = Command::new(program);
        command.args(arguments);
        for (name, value) in &finished.variables {
            command.env(name, OsStr::from_bytes(value.expose_secret()));
        }
        Ok(command)
    }

    /// Starts the command as a child and stays with it.
    fn supervise(&self, context: &Context) -> Outcome {
        let sources = self.sources()?;
        let files = sources.env_files.iter().chain(sources.configs.iter().map(|(file, _)| file));
        if files.into_iter().any(|file| file == Path::new(STANDARD_INPUT)) {
            let message = "standard input can be read only once, and `--watch` reads again";
            return Err(Failure::usage(message, "give the file its name"));
        }
        let manager = self.references.manager(context)?;
        let printer = context.printer();
        let supervisor = Supervisor {
            command: &self.command,
            options: &self.watch,
            printer,
        };
        let status = context.block_on(async {
            let (first, news) = watch::begin(&manager, &sources, &self.watch, printer).await?;
            supervisor.run(first, news).await
        })?;
        context.close_audit();
        Ok(started::end_like(status))
    }

    fn sources(&self) -> Result<Sources, Failure> {
        Ok(Sources {
            env_files: self.env_file.clone(),
            configs: self.config_pairs()?,
        })
    }

    fn config_pairs(&self) -> Result<Vec<(PathBuf, PathBuf)>, Failure> {
        let pair = |argument: &OsString| {
            let bytes = argument.as_bytes();
            // The last colon: a target seldom has one, and a file could.
            let colon = bytes
                .iter()
                .rposition(|byte| *byte == b':')
                .filter(|at| *at > 0 && at + 1 < bytes.len());
            let colon = colon.ok_or_else(|| {
                let message = format!("`--config {}` does not say where the finished copy goes", argument.display());
                Failure::usage(message, "write `--config FILE:TARGET`")
            })?;
            let path = |part: &[u8]| PathBuf::from(OsStr::from_bytes(part));
            let (file, target) = (path(&bytes[..colon]), path(&bytes[colon + 1..]));
            Ok((file, target))
        };
        let pairs: Vec<(PathBuf, PathBuf)> = self.config.iter().map(pair).collect::<Result<_, Failure>>()?;
        for (index, (_, target)) in pairs.iter().enumerate() {
            if let Some((file, _)) = pairs.iter().find(|(file, _)| private_file::is_same_file(file, target)) {
                let message = format!("`{}` would be overwritten with its own values", file.display());
                return Err(Failure::usage(message, "let the finished copy go to another file"));
            }
            if pairs[..index].iter().any(|(_, other)| other == target) {
                let message = format!("two finished copies would go to `{}`", target.display());
                return Err(Failure::usage(message, "give each a target of its own"));
            }
        }
        Ok(pairs)
    }
}

/// Replaces this process with the command; comes back only when that fails.
pub(super) fn become_it(mut command: Command, context: &Context) -> Exit {
    context.close_audit();
    let error = command.exec();
    let program = Path::new(command.get_program()).display().to_string();
    let (exit, kind, message) = match error.kind() {
        io::ErrorKind::NotFound => (Exit::CommandNotFound, ErrorKind::NotFound, "there is no such command"),
        io::ErrorKind::PermissionDenied => (
            Exit::CommandNotExecutable,
            ErrorKind::PermissionDenied,
            "the command may not be executed",
        ),
        _ => (Exit::CommandNotExecutable, ErrorKind::Other, "the command can't be started"),
    };
    context
        .printer()
        .error(&Error::new(kind, message).with("command", program).with_source(error));
    exit
}

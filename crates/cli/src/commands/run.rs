//! `keyfob run`

use std::ffi::OsString;
use std::io;
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;

use clap::Parser;
use keyfob::{Assignments, Error, ErrorKind, Occurrence, Resolved, SecretManager, SecretValue, Template};
use zeroize::Zeroizing;

use crate::context::Context;
use crate::exit::{Exit, Failure, Outcome};
use crate::private_file;
use crate::references::{ReferenceArgs, resolve, template, text};

#[derive(Debug, Parser)]
#[command(after_help = "\
Examples:
  DB='postgres://app:${secret:db/password}@db/app' keyfob run -- app
  keyfob run --env-file .env -- npm start
  keyfob run --config app.yaml:/run/app/app.yaml -- app --config /run/app/app.yaml

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
    references: ReferenceArgs,

    /// The command and its arguments
    #[arg(required = true, last = true, value_name = "COMMAND")]
    command: Vec<OsString>,
}

impl Args {
    pub(crate) fn run(self, context: &Context) -> Outcome {
        let printer = context.printer();
        match self.prepare(context) {
            Ok(command) => Ok(become_it(command, context)),
            Err(failure @ Failure::Usage(_)) => Err(failure),
            Err(failure) => {
                failure.report(printer);
                printer.note("the command was not started");
                Ok(Exit::BeforeCommand)
            }
        }
    }

    /// Everything up to the start, the targets of `--config` written.
    fn prepare(&self, context: &Context) -> Result<Command, Failure> {
        let pairs = self.config_pairs()?;
        let manager = self.references.manager(context)?;
        let input = Input::read(&manager, &self.env_file, &pairs)?;
        let resolved = context.block_on(resolve(&manager, &input.occurrences()))?;
        let finished = input.finish(&resolved)?;

        let texts = finished.texts.iter().map(|text| text.as_bytes());
        private_file::write_all(pairs.iter().map(|(_, target)| target.as_path()).zip(texts))?;
        let (program, arguments) = self
            .command
            .split_first()
            .ok_or_else(|| Failure::usage("no command", "it stands after `--`"))?;
        let mut command = Command::new(program);
        command.args(arguments);
        for (name, value) in &finished.variables {
            command.env(name, std::ffi::OsStr::from_bytes(value.expose_secret()));
        }
        Ok(command)
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
            let path = |part: &[u8]| PathBuf::from(std::ffi::OsStr::from_bytes(part));
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

/// What is to be resolved.
struct Input {
    assignments: Vec<Assignments>,
    templates: Vec<Template>,
}

/// The same without references.
struct Finished {
    variables: Vec<(String, SecretValue)>,
    texts: Vec<Zeroizing<String>>,
}

impl Input {
    fn read(manager: &SecretManager, env_files: &[PathBuf], configs: &[(PathBuf, PathBuf)]) -> Result<Self, Error> {
        let is_known = |scheme: &str| manager.is_reference_scheme(scheme);
        let mut variables: Vec<(String, Zeroizing<String>)> = Vec::new();
        for (name, value) in std::env::vars_os() {
            match (name.into_string(), value.into_string()) {
                (Ok(name), Ok(value)) => variables.push((name, Zeroizing::new(value))),
                (name, value) => check_inherited(&lossy(name), &lossy(value), is_known)?,
            }
        }
        let own = Assignments::from_variables(
            variables.iter().map(|(name, value)| (name.as_str(), value.as_str())),
            is_known,
        );
        let mut assignments = vec![own];
        for file in env_files {
            assignments.push(Assignments::from_dotenv(
                &file.display().to_string(),
                file.parent(),
                &text(file)?,
                is_known,
            )?);
        }
        let mut own_names_replaced = Self {
            assignments,
            templates: Vec::new(),
        };
        own_names_replaced.forget_what_files_replace();
        for (file, _) in configs {
            own_names_replaced.templates.push(template(manager, file, None)?);
        }
        Ok(own_names_replaced)
    }

    /// A variable that a later file sets anew needs no resolving, and must not fail.
    fn forget_what_files_replace(&mut self) {
        for index in 1..self.assignments.len() {
            let (earlier, later) = self.assignments.split_at_mut(index);
            for assignments in earlier {
                assignments.remove_all_of(&later[0]);
            }
        }
    }

    fn occurrences(&self) -> Vec<Occurrence> {
        let variables = self.assignments.iter().flat_map(Assignments::occurrences);
        variables
            .chain(self.templates.iter().flat_map(Template::occurrences))
            .collect()
    }

    fn finish(&self, resolved: &Resolved) -> Result<Finished, Error> {
        let mut finished = Finished {
            variables: Vec::new(),
            texts: Vec::new(),
        };
        for assignments in &self.assignments {
            finished.variables.extend(assignments.finish(resolved)?);
        }
        for template in &self.templates {
            finished.texts.push(template.render(resolved)?);
        }
        Ok(finished)
    }
}

fn lossy(text: Result<String, OsString>) -> Zeroizing<String> {
    Zeroizing::new(text.unwrap_or_else(|raw| raw.to_string_lossy().into_owned()))
}

/// A variable that is not UTF-8 is inherited as it is, unless it holds a reference: a command must not see one.
fn check_inherited(name: &str, value: &str, is_known: impl Fn(&str) -> bool) -> Result<(), Error> {
    if keyfob::scan(value, is_known).is_empty() {
        return Ok(());
    }
    Err(
        Error::new(ErrorKind::NotText, "the variable holds a reference, but it is not UTF-8 text")
            .with("variable", name.escape_debug().to_string()),
    )
}

/// Replaces this process with the command; comes back only when that fails.
fn become_it(mut command: Command, context: &Context) -> Exit {
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

//! The command line: what holds for every command. Each command's own arguments stand in its file.

use std::io::{self, Write as _};
use std::path::PathBuf;

use anstream::{AutoStream, ColorChoice};
use clap::error::{ContextKind, ContextValue, ErrorKind};
use clap::{ArgAction, Args, Parser, ValueEnum};
use keyfob::Reason;

use crate::commands::Command;
use crate::exit::Exit;

/// Secrets from any store, into configuration and processes.
#[derive(Debug, Parser)]
#[command(
    name = "keyfob",
    version,
    max_term_width = 100,
    arg_required_else_help = true,
    subcommand_required = true,
    after_help = "\
Examples:
  keyfob init                             make an encrypted store, and use it in this directory
  keyfob set db/password --generate       a new secret
  keyfob get db/password | pbcopy         its value
  keyfob list                             names, never values

`keyfob COMMAND --help` says more, with examples. Exit status: 0 done; 1 something could not be
done; 2 wrong command line."
)]
pub(crate) struct Cli {
    #[command(flatten)]
    pub(crate) global: GlobalArgs,
    #[command(subcommand)]
    pub(crate) command: Command,
}

/// Options of every command.
#[derive(Debug, Clone, Args)]
#[command(next_help_heading = "Global options")]
pub(crate) struct GlobalArgs {
    /// The store: a URL (`sqlite:secrets.db`), a store of `keyfob.toml`, or a provider (`env`)
    #[arg(long, short, global = true, value_name = "URL|NAME")]
    pub(crate) store: Option<String>,

    /// The environment of `keyfob.toml`, for example `production`
    #[arg(long, global = true, value_name = "NAME")]
    pub(crate) env: Option<String>,

    /// The `keyfob.toml` to use, or `none`, instead of the one found from the current directory upwards
    #[arg(long, global = true, value_name = "FILE")]
    pub(crate) project: Option<PathBuf>,

    /// What the secrets are needed for, for the audit log; also `KEYFOB_REASON`
    #[arg(long, global = true, value_name = "TEXT", value_parser = Reason::new)]
    pub(crate) reason: Option<Reason>,

    /// When to use colours
    #[arg(long, global = true, value_name = "WHEN", default_value = "auto", hide_default_value = true)]
    pub(crate) color: Color,

    /// Say nothing but the answer, warnings and errors
    #[arg(long, short, global = true, conflicts_with = "verbose")]
    pub(crate) quiet: bool,

    /// Tell what is done, to standard error; twice for every detail. Never a value
    #[arg(long, short, global = true, action = ArgAction::Count)]
    pub(crate) verbose: u8,
}

/// When to use colours.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Color {
    /// On a terminal, unless `NO_COLOR` is set
    Auto,
    /// Always
    Always,
    /// Never
    Never,
}

/// What the parser says instead of a command: help, the version, or what is wrong.
pub(crate) struct Answer(clap::Error);

/// Reads the command line.
pub(crate) fn parse() -> Result<Cli, Answer> {
    Cli::try_parse().map_err(|error| Answer(shortened(error)))
}

/// Whoever gave a whole file for a value need not read it again.
fn shortened(mut error: clap::Error) -> clap::Error {
    const MOST: usize = 100;
    for kind in [
        ContextKind::InvalidArg,
        ContextKind::InvalidSubcommand,
        ContextKind::InvalidValue,
    ] {
        if let Some(ContextValue::String(text)) = error.get(kind)
            && text.chars().nth(MOST).is_some()
        {
            let beginning: String = text.chars().take(MOST).collect();
            error.insert(kind, ContextValue::String(format!("{beginning}…")));
        }
    }
    error
}

impl Answer {
    /// Shows it; help and the version to standard output, what is wrong to standard error.
    pub(crate) fn print(&self) -> Exit {
        let text = self.0.render();
        let text = text.ansi().to_string();
        let is_asked_for = matches!(self.0.kind(), ErrorKind::DisplayHelp | ErrorKind::DisplayVersion);
        // The parser stopped before the options were known.
        let choice = color_option(std::env::args_os().map(|argument| argument.to_string_lossy().into_owned()));
        let written = if is_asked_for {
            AutoStream::new(io::stdout(), choice).write_all(text.as_bytes())
        } else {
            AutoStream::new(io::stderr(), choice).write_all(text.as_bytes())
        };
        match (is_asked_for, written) {
            (true, Ok(())) => Exit::Success,
            (true, Err(error)) if error.kind() == io::ErrorKind::BrokenPipe => Exit::Success,
            (true, Err(_)) => Exit::Failure,
            (false, _) => Exit::Usage,
        }
    }
}

fn color_option(arguments: impl Iterator<Item = String>) -> ColorChoice {
    let arguments: Vec<String> = arguments.take_while(|argument| argument != "--").collect();
    let given = arguments
        .iter()
        .enumerate()
        .find_map(|(index, argument)| match argument.strip_prefix("--color") {
            Some("") => arguments.get(index + 1).map(String::as_str),
            Some(value) => value.strip_prefix('='),
            None => None,
        });
    match given {
        Some("always") => ColorChoice::Always,
        Some("never") => ColorChoice::Never,
        _ => ColorChoice::Auto,
    }
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory as _;

    use super::*;

    #[test]
    fn the_command_line_is_consistent() {
        Cli::command().debug_assert();
    }

    #[test]
    fn colours_are_known_even_if_the_rest_is_wrong() {
        let choice = |line: &str| color_option(line.split(' ').map(str::to_owned));
        assert_eq!(choice("keyfob --color never gte"), ColorChoice::Never);
        assert_eq!(choice("keyfob gte --color=always"), ColorChoice::Always);
        assert_eq!(choice("keyfob run -- ls --color=always"), ColorChoice::Auto);
    }
}

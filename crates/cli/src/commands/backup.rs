//! `keyfob backup`

mod create;
mod restore;

use clap::{Parser, Subcommand};

use crate::context::Context;
use crate::exit::Outcome;

#[derive(Debug, Parser)]
#[command(after_help = "\
Examples:
  keyfob backup create secrets-monday.db
  keyfob backup restore secrets-monday.db --dry-run")]
pub(crate) struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    Create(create::Args),
    Restore(restore::Args),
}

impl Args {
    pub(crate) fn run(self, context: &Context) -> Outcome {
        match self.command {
            Command::Create(args) => args.run(context),
            Command::Restore(args) => args.run(context),
        }
    }
}

//! `keyfob rotation`

mod forget;
mod rollback;
mod status;

use clap::{Parser, Subcommand};

use crate::context::Context;
use crate::exit::Outcome;

#[derive(Debug, Parser)]
#[command(after_help = "\
Examples:
  keyfob rotation status
  keyfob rotation status app/token
  keyfob rotation rollback app/token --make uuid")]
pub(crate) struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    Status(status::Args),
    Rollback(rollback::Args),
    Forget(forget::Args),
}

impl Args {
    pub(crate) fn run(self, context: &Context) -> Outcome {
        match self.command {
            Command::Status(args) => args.run(context),
            Command::Rollback(args) => args.run(context),
            Command::Forget(args) => args.run(context),
        }
    }
}

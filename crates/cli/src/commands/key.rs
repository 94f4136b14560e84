//! `keyfob key`

mod rotate;
mod status;

use clap::{Parser, Subcommand};

use crate::context::Context;
use crate::exit::Outcome;

#[derive(Debug, Parser)]
#[command(after_help = "\
Examples:
  keyfob key status
  keyfob key rotate --to-key-file new.key")]
pub(crate) struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    Status(status::Args),
    Rotate(rotate::Args),
}

impl Args {
    pub(crate) fn run(self, context: &Context) -> Outcome {
        match self.command {
            Command::Status(args) => args.run(context),
            Command::Rotate(args) => args.run(context),
        }
    }
}

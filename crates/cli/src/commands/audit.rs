//! `keyfob audit`

mod checkpoint;
mod described;
mod export;
mod filter;
mod init;
mod log;
mod tail;
mod verify;

use clap::{Parser, Subcommand};

pub(super) use self::described::AuditJson;
use crate::context::Context;
use crate::exit::Outcome;

#[derive(Debug, Parser)]
#[command(after_help = "\
Examples:
  keyfob audit init /var/log/app/audit       keys and the log, once
  keyfob audit tail --follow
  keyfob audit verify --public-key audit.pub --checkpoint kept.jsonl
  keyfob audit export --since 7d --where outcome=failed --format csv")]
pub(crate) struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    Init(init::Args),
    Verify(verify::Args),
    Export(export::Args),
    Tail(tail::Args),
    Checkpoint(checkpoint::Args),
}

impl Args {
    pub(crate) fn run(self, context: &Context) -> Outcome {
        match self.command {
            Command::Init(args) => args.run(context),
            Command::Verify(args) => args.run(context),
            Command::Export(args) => args.run(context),
            Command::Tail(args) => args.run(context),
            Command::Checkpoint(args) => args.run(context),
        }
    }
}

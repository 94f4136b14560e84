//! `keyfob snapshot`

mod create;
mod delete;
mod diff;
mod init;
mod list;
mod prune;
mod restore;
mod show;
mod summary;
mod verify;

use std::path::PathBuf;

use clap::{Parser, Subcommand};
use keyfob::snapshot::SnapshotDirectory;
use keyfob::{Result, SecretManager, Snapshots};

use crate::context::Context;
use crate::exit::Outcome;

#[derive(Debug, Parser)]
#[command(after_help = "\
Examples:
  keyfob snapshot create
  keyfob snapshot list
  keyfob snapshot restore latest --dry-run")]
pub(crate) struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    Init(init::Args),
    Create(create::Args),
    List(list::Args),
    Show(show::Args),
    Diff(diff::Args),
    Restore(restore::Args),
    Verify(verify::Args),
    Delete(delete::Args),
    Prune(prune::Args),
}

impl Args {
    pub(crate) fn run(self, context: &Context) -> Outcome {
        match self.command {
            Command::Init(args) => args.run(context),
            Command::Create(args) => args.run(context),
            Command::List(args) => args.run(context),
            Command::Show(args) => args.run(context),
            Command::Diff(args) => args.run(context),
            Command::Restore(args) => args.run(context),
            Command::Verify(args) => args.run(context),
            Command::Delete(args) => args.run(context),
            Command::Prune(args) => args.run(context),
        }
    }
}

/// Where the snapshots are: an option of each of these commands.
#[derive(Debug, clap::Args)]
struct Place {
    /// The directory of snapshots, instead of the one that is set
    #[arg(long, value_name = "DIRECTORY")]
    directory: Option<PathBuf>,
}

impl Place {
    /// The snapshots, for what needs their key.
    fn of(&self, manager: &SecretManager, context: &Context) -> Result<Snapshots> {
        let snapshots = manager.snapshots()?;
        Ok(match &self.directory {
            Some(directory) => {
                let directory = SnapshotDirectory::new(context.environment().absolute(directory));
                snapshots.in_directory(directory)
            }
            None => snapshots,
        })
    }

    /// The snapshots, for what needs no key.
    fn without_key(&self, context: &Context) -> Result<Snapshots> {
        self.of(&context.manager_without_asking()?, context)
    }
}

//! `keyfob snapshot delete`

use clap::Parser;

use super::Place;
use crate::context::Context;
use crate::exit::{Exit, Failure, Outcome};

/// Delete snapshots, also their copies in a store
///
/// What another snapshot builds on is not deleted, unless that one is too. Needs no key.
#[derive(Debug, Parser)]
#[command(after_help = "\
Examples:
  keyfob snapshot delete latest          asks
  keyfob snapshot delete latest --yes    in a script")]
pub(crate) struct Args {
    /// The snapshots: their ids, the beginnings of them, or `latest`, the newest whole one
    #[arg(value_name = "ID", required = true)]
    snapshots: Vec<String>,

    /// Do not ask
    #[arg(long, short)]
    yes: bool,

    #[command(flatten)]
    place: Place,
}

impl Args {
    pub(crate) fn run(self, context: &Context) -> Outcome {
        let printer = context.printer();
        let snapshots = self.place.without_key(context)?;
        if !self.yes {
            match printer.confirm(&format!("delete {} for good?", self.snapshots.join(", "))) {
                Some(true) => {}
                Some(false) => {
                    printer.note("nothing was deleted");
                    return Ok(Exit::Failure);
                }
                None => {
                    return Err(Failure::usage(
                        "there is nobody to confirm that they are deleted for good",
                        "add `--yes`",
                    ));
                }
            }
        }
        let deleted = context.block_on(snapshots.delete(&self.snapshots))?;
        for id in deleted {
            printer.note(format_args!("deleted {id}"));
        }
        Ok(Exit::Success)
    }
}

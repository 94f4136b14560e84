//! `keyfob delete`

use clap::Parser;
use keyfob::{DeleteMode, DeleteOptions, Intent, SecretName, Verb};

use crate::context::Context;
use crate::exit::{Exit, Failure, Outcome};

#[derive(Debug, Parser)]
#[command(after_help = "\
Examples:
  keyfob delete db/password
  keyfob delete db/password --permanent         at once and for good, also what was deleted before
  keyfob delete db/password --permanent --yes   without a question, in a script")]
pub(crate) struct Args {
    /// The secret
    name: String,

    /// Delete it for good, now
    #[arg(long)]
    permanent: bool,

    /// Do not ask
    #[arg(long, short)]
    yes: bool,
}

impl Args {
    pub(crate) fn run(self, context: &Context) -> Outcome {
        let printer = context.printer();
        let name = SecretName::new(&self.name).map_err(Failure::Usage)?;
        if self.permanent && !self.yes {
            match printer.confirm(&format!("delete `{name}` with all its versions for good?")) {
                Some(true) => {}
                Some(false) => {
                    printer.note("nothing was deleted");
                    return Ok(Exit::Failure);
                }
                None => {
                    return Err(Failure::usage(
                        "there is nobody to confirm that it is deleted for good",
                        "add `--yes`",
                    ));
                }
            }
        }
        let mode = if self.permanent {
            DeleteMode::Permanent
        } else {
            DeleteMode::Recoverable { window: None }
        };
        context.block_on(async {
            let store = context.store(&Intent::of(Verb::Delete, &name)).await?;
            let deleted = store.delete(&name, &DeleteOptions { mode }).await;
            deleted.map_err(|error| {
                let only_for_good = error.kind() == keyfob::ErrorKind::Unsupported && store.info().capabilities.delete_permanent;
                if only_for_good {
                    error.with_hint("add `--permanent`")
                } else {
                    error
                }
            })
        })?;
        if self.permanent {
            printer.note(format_args!("deleted `{name}` for good"));
        } else {
            printer.note(format_args!("deleted `{name}`; `keyfob restore` brings it back"));
        }
        Ok(Exit::Success)
    }
}

//! `keyfob rotation forget`

use clap::Parser;
use keyfob::{Error, Intent, SecretName, Verb};

use crate::commands::rotate;
use crate::context::Context;
use crate::exit::{Exit, Failure, Outcome};

/// Delete the journal of a secret that is rotated no longer
///
/// The value stays. Only for when nobody rotates the secret: the numbers that keep a paused run from writing begin anew. Of a
/// secret that was deleted, an old value that a rotation kept aside goes too. A damaged journal is deleted.
#[derive(Debug, Parser)]
#[command(after_help = "\
Examples:
  keyfob rotation forget app/token")]
pub(crate) struct Args {
    /// The secret
    name: String,
}

impl Args {
    pub(crate) fn run(self, context: &Context) -> Outcome {
        let name = SecretName::new(&self.name).map_err(Failure::Usage)?;
        context.block_on::<_, Error>(async {
            let intent = Intent::of(Verb::Delete, &name);
            rotate::rotation(&context.manager()?, &intent).await?.forget(&name).await
        })?;
        context
            .printer()
            .note(format_args!("nothing is known any more of rotations of `{name}`"));
        Ok(Exit::Success)
    }
}

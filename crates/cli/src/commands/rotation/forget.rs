//! `keyfob rotation forget`

use clap::Parser;
use keyfob::rotation::Phase;
use keyfob::{Error, Intent, SecretName, Verb};

use crate::commands::rotate::{self, answer};
use crate::context::Context;
use crate::exit::{Exit, Failure, Outcome};

/// Delete the journal of a secret that is rotated no longer
///
/// The value stays. Only for when nobody rotates the secret: the numbers that keep a paused run from writing begin anew. Of a
/// secret that was deleted, an old value that a rotation kept aside goes too. A damaged journal is deleted.
///
/// A rotation that is under way is brought to its end or rolled back first. Where its rotator can do neither any more, because its
/// program is gone or the policy makes values in another way, `--abandon` ends it where it is.
#[derive(Debug, Parser)]
#[command(after_help = "\
Examples:
  keyfob rotation forget app/token
  keyfob rotation forget app/token --abandon --yes")]
pub(crate) struct Args {
    /// The secret
    name: String,

    /// End a rotation that is under way too: the secret keeps the value that it has now, and nobody is asked to revoke or withdraw
    /// another one
    #[arg(long)]
    abandon: bool,

    /// Do not ask before a rotation is abandoned
    #[arg(long, short, requires = "abandon")]
    yes: bool,
}

impl Args {
    pub(crate) fn run(self, context: &Context) -> Outcome {
        let name = SecretName::new(&self.name).map_err(Failure::Usage)?;
        let printer = context.printer();
        if self.abandon && !self.yes {
            let question = format!("end the rotation of `{name}` where it is, with nothing revoked or withdrawn?");
            match printer.confirm(&question) {
                Some(true) => {}
                Some(false) => {
                    printer.note("nothing was forgotten");
                    return Ok(Exit::Failure);
                }
                None => {
                    return Err(Failure::usage(
                        "there is nobody to confirm that the rotation is abandoned",
                        "add `--yes`",
                    ));
                }
            }
        }
        let abandoned = context.block_on::<_, Error>(async {
            let intent = Intent::of(Verb::Delete, &name);
            let rotation = rotate::rotation(&context.manager()?, &intent).await?;
            match self.abandon {
                true => rotation.abandon(&name).await,
                false => rotation.forget(&name).await.map(|()| None).map_err(answer::with_flags),
            }
        })?;
        if let Some(under_way) = abandoned {
            printer.warning(&format!("{}: {}", under_way.phase.as_str(), left_behind(under_way.phase)));
        }
        printer.note(format_args!("nothing is known any more of rotations of `{name}`"));
        Ok(Exit::Success)
    }
}

/// What nobody takes care of any more.
fn left_behind(phase: Phase) -> &'static str {
    match phase {
        Phase::Creating | Phase::Setting | Phase::Testing | Phase::RollingBack => {
            "the value is as it was; a new one that was made already may be valid where it is used, and is withdrawn by nobody"
        }
        Phase::Switching => "the value is the old or the new one, and the other one may stay valid: look which one works",
        _ => "the new value is current; the old one may stay valid where it is used, and is revoked by nobody",
    }
}

//! `keyfob rotation rollback`

use std::path::PathBuf;

use clap::Parser;
use keyfob::rotation::Made;
use keyfob::{Error, ErrorKind, Intent, SecretName, Verb};

use crate::commands::rotate::{self, answer, policies};
use crate::context::Context;
use crate::exit::{Exit, Failure, Outcome};

/// Take a rotation back
///
/// Before the new value is current, it is withdrawn. Afterwards a rotation in the other direction makes the old value current again
/// and then revokes the newer one. A value that was revoked already may be known to others, as after an emergency: it only comes back
/// when somebody confirms it.
#[derive(Debug, Parser)]
#[command(after_help = "\
Examples:
  keyfob rotation rollback app/token --make uuid

JSON: {name, outcome, version, until}, as of `keyfob rotate`.")]
pub(crate) struct Args {
    /// The secret
    name: String,

    /// The policies; `rotation.yaml` beside `keyfob.toml`, or in the current directory, if not given
    #[arg(long, value_name = "FILE")]
    policies: Option<PathBuf>,

    /// How its values are made, as it was for `keyfob rotate`, where no policy says it
    #[arg(long, value_name = "HOW", value_parser = rotate::parse_made)]
    make: Option<Made>,

    /// Do not ask before a value comes back that was revoked
    #[arg(long, short)]
    yes: bool,

    /// Print JSON
    #[arg(long)]
    json: bool,
}

impl Args {
    pub(crate) fn run(self, context: &Context) -> Outcome {
        let name = SecretName::new(&self.name).map_err(Failure::Usage)?;
        let outcome = context.block_on::<_, Failure>(async {
            let manager = context.manager()?;
            let rotation = rotate::rotation(&manager, &Intent::of(Verb::Put, &name)).await?;
            let status = rotation.status(&name).await?;
            if status.under_way.is_none() && status.last.is_some() {
                self.confirm(context, &name)?;
            }
            let how = policies::of(context, &manager, self.policies.as_deref(), self.make.as_ref(), &name).await?;
            let options = how.options(&rotation);
            let rotation = rotation.options(options);
            let rotator = how.rotator(&manager, &rotation, true).await?;
            let outcome = rotation.rollback(&name, &*rotator).await;
            how.notify(&name, outcome.as_ref()).await;
            Ok(outcome.map_err(answer::with_flags)?)
        })?;
        answer::tell_rollback(context.printer(), &name, &outcome, self.json)?;
        Ok(Exit::Success)
    }

    fn confirm(&self, context: &Context, name: &SecretName) -> Result<(), Failure> {
        if self.yes {
            return Ok(());
        }
        let question = format!("the old value of `{name}` was revoked; make it valid again?");
        match context.printer().confirm(&question) {
            Some(true) => Ok(()),
            Some(false) => Err(Error::new(ErrorKind::Other, "nothing was taken back").into()),
            None => Err(Failure::usage(
                format!("the old value of `{name}` was revoked, and there is nobody to ask whether it may come back"),
                "add `--yes`, or rotate again for a new value",
            )),
        }
    }
}

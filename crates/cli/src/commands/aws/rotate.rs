//! `keyfob aws rotate`

use clap::Parser;
use keyfob::SecretName;
use keyfob_aws::Rotation;
use serde_json::json;

use crate::context::Context;
use crate::exit::{Exit, Failure, Outcome};

/// Start AWS's own rotation of a secret
///
/// A Lambda function makes the new value, sets it where it is used, and makes it current. The command doesn't wait for it:
/// `keyfob versions NAME` shows when the new version is current.
#[derive(Debug, Parser)]
#[command(after_help = "\
Examples:
  keyfob aws rotate db/password
  keyfob aws rotate db/password --lambda arn:aws:lambda:eu-west-1:123456789012:function:rotate --every-days 30

JSON: {name, version}; `version` is the one that is being made.")]
pub(crate) struct Args {
    /// The secret
    name: String,

    /// The function that rotates it from now on [default: the one that is set]
    #[arg(long, value_name = "ARN")]
    lambda: Option<String>,

    /// Rotate it every so many days from now on, 1 to 1000
    #[arg(long, value_name = "DAYS", value_parser = clap::value_parser!(u16).range(1..=1000))]
    every_days: Option<u16>,

    /// Only set function and schedule, don't rotate now
    #[arg(long)]
    later: bool,

    /// Print JSON
    #[arg(long)]
    json: bool,
}

impl Args {
    pub(crate) fn run(self, context: &Context) -> Outcome {
        let name = SecretName::new(&self.name).map_err(Failure::Usage)?;
        let mut rotation = Rotation::default();
        rotation.lambda_arn = self.lambda;
        rotation.every_days = self.every_days;
        rotation.later = self.later;
        let version = context.block_on(async { super::connect(context).await?.rotate(&name, &rotation).await })?;
        if self.json {
            let answer = json!({ "name": name.as_str(), "version": version.as_str() });
            context.printer().json(&answer)?;
        } else {
            context
                .printer()
                .note(format_args!("rotation of `{name}` begun, version `{version}`"));
        }
        Ok(Exit::Success)
    }
}

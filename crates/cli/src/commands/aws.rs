//! `keyfob aws`

mod policy;
mod replicate;
mod rotate;

use clap::{Parser, Subcommand};
use keyfob::{Error, ErrorKind, Result};
use keyfob_aws::{AwsConfig, AwsStore, BACKEND};

use crate::context::Context;
use crate::exit::Outcome;

#[derive(Debug, Parser)]
#[command(after_help = "\
Examples:
  keyfob aws replicate db/password eu-central-1 us-east-1
  keyfob aws rotate db/password
  keyfob aws policy db/password | jq .Statement")]
pub(crate) struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    Replicate(replicate::Args),
    Rotate(rotate::Args),
    Policy(policy::Args),
}

impl Args {
    pub(crate) fn run(self, context: &Context) -> Outcome {
        match self.command {
            Command::Replicate(args) => args.run(context),
            Command::Rotate(args) => args.run(context),
            Command::Policy(args) => args.run(context),
        }
    }
}

/// Connects to the store that is meant, which must be AWS.
///
/// # Errors
/// `Unsupported` when another kind of store is meant; those of the selection and of [`AwsStore::connect`].
async fn connect(context: &Context) -> Result<AwsStore> {
    let choice = context.selection()?.store?;
    if choice.url.scheme() != BACKEND.scheme {
        let message = "only AWS Secrets Manager can do this";
        return Err(Error::new(ErrorKind::Unsupported, message)
            .with("store", choice.url.to_string())
            .with_hint("name it with `--store aws://REGION`, or set `SECRET_PROVIDER=aws`"));
    }
    AwsStore::connect(&AwsConfig::from_url(&choice.url, context.environment())?).await
}

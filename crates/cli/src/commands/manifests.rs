//! `keyfob manifests`

mod external_secrets;
mod object;
mod output;
mod yaml;

use clap::{Parser, Subcommand};

use crate::context::Context;
use crate::exit::Outcome;

#[derive(Debug, Parser)]
#[command(after_help = "\
Examples:
  keyfob manifests external-secrets --store aws://eu-west-1 --refs app.yaml --namespace shop --identity arn:aws:iam::123456789012:role/shop")]
pub(crate) struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    ExternalSecrets(Box<external_secrets::Args>),
}

impl Args {
    pub(crate) fn run(self, context: &Context) -> Outcome {
        match self.command {
            Command::ExternalSecrets(args) => args.run(context),
        }
    }
}

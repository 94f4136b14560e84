//! `keyfob manifests`

mod cronjob;
mod external_secrets;
mod object;
mod output;
mod provider;
mod yaml;

use clap::{Parser, Subcommand};

use crate::context::Context;
use crate::exit::Outcome;

#[derive(Debug, Parser)]
#[command(after_help = "\
Examples:
  keyfob manifests external-secrets --store aws://eu-west-1 --refs app.yaml --namespace shop --identity arn:aws:iam::123456789012:role/shop
  keyfob manifests cronjob --store k8s://shop --namespace shop --image registry.example/keyfob:0.1.0")]
pub(crate) struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    ExternalSecrets(Box<external_secrets::Args>),
    Cronjob(Box<cronjob::Args>),
}

impl Args {
    pub(crate) fn run(self, context: &Context) -> Outcome {
        match self.command {
            Command::ExternalSecrets(args) => args.run(context),
            Command::Cronjob(args) => args.run(context),
        }
    }
}

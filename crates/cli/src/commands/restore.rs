//! `keyfob restore`

use clap::Parser;
use keyfob::{Intent, SecretName, Verb};

use crate::context::Context;
use crate::exit::{Exit, Failure, Outcome};
use crate::metadata::SecretJson;

#[derive(Debug, Parser)]
#[command(after_help = "\
Examples:
  keyfob list --deleted
  keyfob restore db/password

JSON: the secret's metadata, as in `keyfob list --json`.")]
pub(crate) struct Args {
    /// The secret
    name: String,

    /// Print what is known about it afterwards, as JSON
    #[arg(long)]
    json: bool,
}

impl Args {
    pub(crate) fn run(self, context: &Context) -> Outcome {
        let name = SecretName::new(&self.name).map_err(Failure::Usage)?;
        let intent = Intent::of(Verb::Restore, &name);
        let metadata = context.block_on(async { context.store(&intent).await?.restore(&name).await })?;
        context.printer().note(format_args!("`{name}` is there again"));
        if self.json {
            context.printer().json(&SecretJson::new(&metadata))?;
        }
        Ok(Exit::Success)
    }
}

//! `keyfob aws policy`

use clap::Parser;
use keyfob::{Error, ErrorKind, SecretName};

use crate::context::Context;
use crate::exit::{Exit, Failure, Outcome};

/// Show the resource policy of a secret: who may use it, besides what IAM allows
///
/// Ends with 1 when it has none.
#[derive(Debug, Parser)]
#[command(after_help = "\
Examples:
  keyfob aws policy db/password
  keyfob aws policy db/password --json | jq .Statement

JSON: the policy as AWS keeps it; `null` (and exit status 0) when there is none.")]
pub(crate) struct Args {
    /// The secret
    name: String,

    /// Print JSON
    #[arg(long)]
    json: bool,
}

impl Args {
    pub(crate) fn run(self, context: &Context) -> Outcome {
        let name = SecretName::new(&self.name).map_err(Failure::Usage)?;
        let policy = context.block_on(async { super::connect(context).await?.resource_policy(&name).await })?;
        let parsed = match &policy {
            None => serde_json::Value::Null,
            Some(text) => serde_json::from_str(text)
                .map_err(|_| Error::new(ErrorKind::Other, "the policy is not JSON").with("name", name.as_str()))?,
        };
        if policy.is_none() && !self.json {
            return Err(Error::new(ErrorKind::NotFound, "the secret has no resource policy")
                .with("name", name.as_str())
                .with_hint("what IAM allows is all that holds")
                .into());
        }
        context.printer().json(&parsed)?;
        Ok(Exit::Success)
    }
}

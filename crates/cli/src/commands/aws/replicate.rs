//! `keyfob aws replicate`

use clap::Parser;
use keyfob::SecretName;
use serde_json::json;

use crate::context::Context;
use crate::exit::{Exit, Failure, Outcome};
use crate::printer::Table;

/// Copy a secret to other regions, where AWS keeps the copies up to date
///
/// Ends with 1 when a copy failed. A copy that is still being made is `InProgress`; give the same command again to see how
/// it went.
#[derive(Debug, Parser)]
#[command(after_help = "\
Examples:
  keyfob aws replicate db/password eu-central-1 us-east-1

JSON: an array of {region, status, message}, `status` one of `InSync`, `InProgress`, `Failed`.")]
pub(crate) struct Args {
    /// The secret
    name: String,

    /// The regions to copy it to
    #[arg(required = true, value_name = "REGION")]
    regions: Vec<String>,

    /// Print JSON
    #[arg(long)]
    json: bool,
}

impl Args {
    pub(crate) fn run(self, context: &Context) -> Outcome {
        let name = SecretName::new(&self.name).map_err(Failure::Usage)?;
        let replicas = context.block_on(async { super::connect(context).await?.replicate(&name, &self.regions).await })?;
        if self.json {
            let replicas: Vec<_> = replicas
                .iter()
                .map(|replica| json!({ "region": replica.region, "status": replica.status, "message": replica.message }))
                .collect();
            context.printer().json(&replicas)?;
        } else {
            let mut table = Table::new(&["REGION", "STATUS", "MESSAGE"]);
            for replica in &replicas {
                table.row([
                    replica.region.clone(),
                    replica.status.clone(),
                    replica.message.clone().unwrap_or_default(),
                ]);
            }
            context.printer().table(&table)?;
        }
        let has_failed = replicas.iter().any(|replica| replica.status == "Failed");
        Ok(if has_failed { Exit::Failure } else { Exit::Success })
    }
}

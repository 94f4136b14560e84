//! `keyfob versions`

use clap::Parser;
use keyfob::{Error, Intent, PageRequest, SecretName, Verb, VersionInfo};

use crate::context::Context;
use crate::exit::{Exit, Failure, Outcome};
use crate::metadata::VersionJson;
use crate::printer::Table;
use crate::time::rfc3339_or_empty;

#[derive(Debug, Parser)]
#[command(after_help = "\
Examples:
  keyfob versions db/password
  keyfob versions db/password --json | jq -r '.[] | select(.current) | .version'
  keyfob get db/password@previous --show

JSON: an array of {version, current, created, expires, labels}.")]
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
        let versions: Vec<VersionInfo> = context.block_on(async {
            let store = context.store(&Intent::of(Verb::Versions, &name)).await?;
            let mut page = PageRequest::default();
            let mut versions = Vec::new();
            loop {
                let answer = store.versions(&name, &page).await?;
                versions.extend(answer.items);
                page.token = answer.next;
                if page.token.is_none() {
                    return Ok::<_, Error>(versions);
                }
            }
        })?;
        if self.json {
            context
                .printer()
                .json(&versions.iter().map(VersionJson::new).collect::<Vec<_>>())?;
        } else {
            let mut table = Table::new(&["VERSION", "CURRENT", "CREATED", "EXPIRES", "LABELS"]);
            for version in &versions {
                table.row([
                    version.version.to_string(),
                    (if version.current { "yes" } else { "" }).to_owned(),
                    rfc3339_or_empty(version.created),
                    rfc3339_or_empty(version.expires_at),
                    version.labels.join(", "),
                ]);
            }
            context.printer().table(&table)?;
        }
        Ok(Exit::Success)
    }
}

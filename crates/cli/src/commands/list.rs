//! `keyfob list`

use std::time::SystemTime;

use clap::Parser;
use keyfob::{Deleted, Error, Intent, ListOptions, Metadata, SecretStore, Verb};

use crate::context::Context;
use crate::exit::{Exit, Outcome};
use crate::metadata::{SecretJson, tags_line};
use crate::printer::Table;
use crate::time::{rfc3339, rfc3339_or_empty};

#[derive(Debug, Parser)]
#[command(after_help = "\
Examples:
  keyfob list
  keyfob list db/
  keyfob list --deleted                         what `keyfob restore` can bring back
  keyfob list --json | jq -r '.[] | select(.expired) | .name'

JSON: an array of {name, version, created, updated, expires, expired, deleted, description, tags,
store, freshness, member, passed_over, replicas}; times in RFC 3339, `null` for what the store does
not know. Of a failover list `member` answered, and `passed_over`, [{store, member, kind, asked}],
did not; `replicas`, [{store, member, version, error}], is where else a write went.")]
pub(crate) struct Args {
    /// Only names that begin with this text
    #[arg(default_value = "", hide_default_value = true)]
    prefix: String,

    /// What was deleted and can be restored, instead
    #[arg(long)]
    deleted: bool,

    /// Also what keyfob keeps itself beside secrets, such as the journals of rotations
    #[arg(long)]
    reserved: bool,

    /// Print JSON
    #[arg(long)]
    json: bool,
}

impl Args {
    pub(crate) fn run(self, context: &Context) -> Outcome {
        let printer = context.printer();
        let mut secrets = context.block_on(async {
            let store = context.store(&Intent::new(Verb::List).prefix(&self.prefix)).await?;
            all(
                &*store,
                &self.prefix,
                if self.deleted { Deleted::Only } else { Deleted::Exclude },
            )
            .await
        })?;
        secrets.retain(|secret| self.reserved || !secret.name.is_reserved());
        if self.json {
            printer.json(&secrets.iter().map(SecretJson::new).collect::<Vec<_>>())?;
        } else if secrets.is_empty() {
            printer.note(if self.prefix.is_empty() {
                "there are none"
            } else {
                "there are none that begin so"
            });
        } else if self.deleted {
            printer.table(&deleted_table(&secrets))?;
        } else {
            printer.table(&table(&secrets))?;
        }
        Ok(Exit::Success)
    }
}

/// Every secret of a store whose name begins with `prefix`.
///
/// # Errors
/// Those of [`SecretStore::list`].
pub(crate) async fn all(store: &dyn SecretStore, prefix: &str, deleted: Deleted) -> Result<Vec<Metadata>, Error> {
    let mut options = ListOptions {
        prefix: prefix.to_owned(),
        deleted,
        ..ListOptions::default()
    };
    let mut secrets = Vec::new();
    loop {
        let page = store.list(&options).await?;
        secrets.extend(page.items);
        options.page.token = page.next;
        if options.page.token.is_none() {
            return Ok(secrets);
        }
    }
}

fn table(secrets: &[Metadata]) -> Table {
    let now = SystemTime::now();
    let mut table = Table::new(&["NAME", "VERSION", "UPDATED", "EXPIRES", "TAGS"]);
    for secret in secrets {
        let expires = match secret.expires_at {
            Some(time) if secret.is_expired(now) => format!("{} (expired)", rfc3339(time)),
            other => rfc3339_or_empty(other),
        };
        table.row([
            secret.name.to_string(),
            secret.version.as_ref().map(ToString::to_string).unwrap_or_default(),
            rfc3339_or_empty(secret.updated),
            expires,
            tags_line(&secret.tags),
        ]);
    }
    table
}

fn deleted_table(secrets: &[Metadata]) -> Table {
    let mut table = Table::new(&["NAME", "DELETED", "TAGS"]);
    for secret in secrets {
        table.row([
            secret.name.to_string(),
            rfc3339_or_empty(secret.deleted_at),
            tags_line(&secret.tags),
        ]);
    }
    table
}

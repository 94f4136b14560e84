//! `keyfob snapshot show`

use clap::Parser;
use keyfob::Error;
use keyfob::snapshot::{Manifest, SecretEntry};
use serde::Serialize;

use super::Place;
use super::summary::{SummaryJson, short, store};
use crate::context::Context;
use crate::exit::{Exit, Outcome, OutputError};
use crate::printer::{Printer, Table};
use crate::text::escape_untrusted;
use crate::time::{rfc3339, rfc3339_or_empty};

/// Show what a snapshot holds: names, versions, dates; never values
///
/// Needs no key. What is shown is what the file says of itself: `keyfob snapshot verify` proves it.
#[derive(Debug, Parser)]
#[command(after_help = "\
Examples:
  keyfob snapshot show
  keyfob snapshot show latest --json | jq -r '.contents[].name'

JSON: as of `keyfob snapshot create`, and `contents`, [{name, version, created, updated, expires, base}]; `base` is the
id of the snapshot that has the value, or null for this one.")]
pub(crate) struct Args {
    /// The snapshot: its id, the beginning of it, or `latest`, the newest whole one
    #[arg(value_name = "ID", default_value = "latest", hide_default_value = true)]
    snapshot: String,

    #[command(flatten)]
    place: Place,

    /// Print JSON
    #[arg(long)]
    json: bool,
}

#[derive(Serialize)]
struct Json<'a> {
    #[serde(flatten)]
    summary: SummaryJson<'a>,
    contents: Vec<SecretJson<'a>>,
}

#[derive(Serialize)]
struct SecretJson<'a> {
    name: &'a str,
    version: Option<&'a str>,
    created: Option<String>,
    updated: Option<String>,
    expires: Option<String>,
    base: Option<String>,
}

impl Args {
    pub(crate) fn run(self, context: &Context) -> Outcome {
        let printer = context.printer();
        let snapshots = self.place.without_key(context)?;
        let manifest = context.block_on::<_, Error>(async {
            let id = snapshots.find(&self.snapshot).await?;
            snapshots.directory().manifest(id).await
        })?;
        if self.json {
            let path = snapshots.directory().path_of(manifest.summary.id);
            printer.json(&Json {
                summary: SummaryJson::new(&manifest.summary, &path),
                contents: manifest
                    .secrets
                    .iter()
                    .map(|secret| SecretJson::new(secret, &manifest))
                    .collect(),
            })?;
        } else {
            tell(printer, &manifest)?;
        }
        Ok(Exit::Success)
    }
}

fn tell(printer: &Printer, manifest: &Manifest) -> Result<(), OutputError> {
    let summary = &manifest.summary;
    printer.line(format_args!("snapshot: {}", summary.id))?;
    printer.line(format_args!(
        "made: {} to {}",
        rfc3339(summary.begun),
        rfc3339(summary.finished)
    ))?;
    printer.line(format_args!("of: {}", escape_untrusted(&store(summary))))?;
    if !summary.prefix.is_empty() {
        printer.line(format_args!("prefix: {}", escape_untrusted(&summary.prefix)))?;
    }
    if !summary.whole {
        printer.line("only chosen names")?;
    }
    if let Some(note) = &summary.note {
        printer.line(format_args!("note: {}", escape_untrusted(note)))?;
    }
    for base in &summary.bases {
        printer.line(format_args!("builds on: {}", base.id))?;
    }
    printer.line(format_args!("secrets: {}", summary.secrets))?;
    printer.line("")?;
    let mut table = Table::new(&["NAME", "VERSION", "UPDATED", "EXPIRES", "IN"]);
    for secret in &manifest.secrets {
        let base = secret.base.and_then(|base| summary.bases.get(base));
        table.row([
            secret.name.to_string(),
            secret.version.as_ref().map(ToString::to_string).unwrap_or_default(),
            rfc3339_or_empty(secret.updated),
            rfc3339_or_empty(secret.expires_at),
            base.map_or_else(|| "this".to_owned(), |base| short(base.id)),
        ]);
    }
    printer.table(&table)
}

impl<'a> SecretJson<'a> {
    fn new(secret: &'a SecretEntry, manifest: &Manifest) -> Self {
        let base = secret.base.and_then(|base| manifest.summary.bases.get(base));
        Self {
            name: secret.name.as_str(),
            version: secret.version.as_ref().map(|version| version.as_str()),
            created: secret.created.map(rfc3339),
            updated: secret.updated.map(rfc3339),
            expires: secret.expires_at.map(rfc3339),
            base: base.map(|base| base.id.to_string()),
        }
    }
}

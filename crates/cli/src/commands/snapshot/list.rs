//! `keyfob snapshot list`

use std::collections::BTreeSet;

use clap::Parser;
use keyfob::snapshot::{Listed, SnapshotId};
use keyfob::{Error, Intent, Verb};
use serde::Serialize;

use super::Place;
use super::summary::{SummaryJson, short, store};
use crate::context::Context;
use crate::exit::{Exit, Outcome};
use crate::printer::Table;
use crate::time::rfc3339;

/// List the snapshots, oldest first
///
/// Needs no key. What is shown is what the files say of themselves: `keyfob snapshot verify` proves it.
#[derive(Debug, Parser)]
#[command(after_help = "\
Examples:
  keyfob snapshot list
  keyfob snapshot list --json | jq -r '.snapshots[].id'

JSON: {directory, snapshots, unreadable, only_in_store}; `snapshots` as of `keyfob snapshot create` and `copied` (whether the store
that has copies has it, or null where none is set), `unreadable` [{id, path, kind, why}], `only_in_store` ids.")]
pub(crate) struct Args {
    #[command(flatten)]
    place: Place,

    /// Print JSON
    #[arg(long)]
    json: bool,
}

#[derive(Serialize)]
struct Json<'a> {
    directory: String,
    snapshots: Vec<ListedJson<'a>>,
    unreadable: Vec<UnreadableJson>,
    only_in_store: Vec<String>,
}

#[derive(Serialize)]
struct ListedJson<'a> {
    #[serde(flatten)]
    summary: SummaryJson<'a>,
    copied: Option<bool>,
}

#[derive(Serialize)]
struct UnreadableJson {
    id: String,
    path: String,
    kind: &'static str,
    why: String,
}

impl Args {
    pub(crate) fn run(self, context: &Context) -> Outcome {
        let printer = context.printer();
        let snapshots = self.place.without_key(context)?;
        let (listed, copies) = context.block_on::<_, Error>(async {
            let listed = snapshots.directory().list().await?;
            let depot = snapshots.depot(&Intent::new(Verb::List)).await?;
            let copies = match depot {
                Some(depot) => Some(depot.list().await?.into_iter().collect::<BTreeSet<_>>()),
                None => None,
            };
            Ok((listed, copies))
        })?;
        let is_here = |id: &SnapshotId| listed.iter().any(|listed| listed.id == *id);
        let only_in_store: Vec<String> = copies
            .iter()
            .flatten()
            .filter(|id| !is_here(id))
            .map(ToString::to_string)
            .collect();
        if self.json {
            printer.json(&Json {
                directory: snapshots.directory().path().display().to_string(),
                snapshots: listed
                    .iter()
                    .filter_map(|listed| ListedJson::of(listed, copies.as_ref()))
                    .collect(),
                unreadable: listed.iter().filter_map(UnreadableJson::of).collect(),
                only_in_store,
            })?;
            return Ok(Exit::Success);
        }
        let mut table = Table::new(&["ID", "MADE", "SECRETS", "BYTES", "PREFIX", "NOTE", "STORE"]);
        for listed in &listed {
            match &listed.summary {
                Ok(summary) => table.row([
                    short(summary.id),
                    rfc3339(summary.begun),
                    summary.secrets.to_string(),
                    summary.bytes.to_string(),
                    summary.prefix.clone(),
                    summary.note.clone().unwrap_or_default(),
                    store(summary),
                ]),
                Err(error) => printer.warning(&format!("`{}` can't be read: {error}", listed.id)),
            }
        }
        printer.table(&table)?;
        if listed.is_empty() {
            printer.note(format_args!("there are none in `{}`", snapshots.directory().path().display()));
        }
        for id in only_in_store {
            printer.note(format_args!("only in the store: {id}"));
        }
        Ok(Exit::Success)
    }
}

impl<'a> ListedJson<'a> {
    fn of(listed: &'a Listed, copies: Option<&BTreeSet<SnapshotId>>) -> Option<Self> {
        let summary = listed.summary.as_ref().ok()?;
        Some(Self {
            summary: SummaryJson::new(summary, &listed.path),
            copied: copies.map(|copies| copies.contains(&listed.id)),
        })
    }
}

impl UnreadableJson {
    fn of(listed: &Listed) -> Option<Self> {
        let error = listed.summary.as_ref().err()?;
        Some(Self {
            id: listed.id.to_string(),
            path: listed.path.display().to_string(),
            kind: error.kind().as_str(),
            why: error.to_string(),
        })
    }
}

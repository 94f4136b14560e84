//! What is known of a snapshot, as the command line shows it.

use std::path::Path;

use keyfob::StoreInfo;
use keyfob::snapshot::{SnapshotId, Summary};
use serde::Serialize;

use crate::time::rfc3339;

/// The JSON of a snapshot, the same in every command.
#[derive(Debug, Serialize)]
pub(super) struct SummaryJson<'a> {
    id: String,
    path: String,
    begun: String,
    finished: String,
    store: &'a str,
    location: &'a str,
    prefix: &'a str,
    whole: bool,
    note: Option<&'a str>,
    secrets: usize,
    own: usize,
    bytes: u64,
    bases: Vec<String>,
}

impl<'a> SummaryJson<'a> {
    pub(super) fn new(summary: &'a Summary, path: &Path) -> Self {
        Self {
            id: summary.id.to_string(),
            path: path.display().to_string(),
            begun: rfc3339(summary.begun),
            finished: rfc3339(summary.finished),
            store: &summary.store,
            location: &summary.location,
            prefix: &summary.prefix,
            whole: summary.whole,
            note: summary.note.as_deref(),
            secrets: summary.secrets,
            own: summary.own,
            bytes: summary.bytes,
            bases: summary.bases.iter().map(|base| base.id.to_string()).collect(),
        }
    }
}

/// The beginning of an id, which is enough for a person.
pub(super) fn short(id: SnapshotId) -> String {
    let mut id = id.to_string();
    id.truncate(12);
    id
}

/// The store of a snapshot.
pub(super) fn store(summary: &Summary) -> String {
    format!("{} {}", summary.store, summary.location)
}

/// A store, as that of a snapshot.
pub(super) fn place(info: &StoreInfo) -> String {
    format!("{} {}", info.scheme, info.location)
}

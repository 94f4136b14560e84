//! Where accesses are recorded, in words and as JSON.

use keyfob::{AuditSettings, Selection};
use serde::Serialize;

/// Where accesses are recorded.
#[derive(Debug, Serialize)]
pub(in crate::commands) struct AuditJson {
    directory: Option<String>,
    store: Option<String>,
    durable: bool,
    standard_error: bool,
    reason_required: bool,
    masks_names: bool,
    /// What decided it, for example `keyfob.toml`.
    decided_by: Vec<String>,
}

impl AuditJson {
    /// `None` when nothing is recorded and nothing asked for.
    pub(in crate::commands) fn of(selection: &Selection) -> Option<Self> {
        let audit = &selection.layers.audit;
        if *audit == AuditSettings::default() {
            return None;
        }
        let mut decided_by: Vec<String> = selection
            .layer_sources
            .iter()
            .filter(|(setting, _)| setting.starts_with("audit."))
            .map(|(_, source)| source.to_string())
            .collect();
        decided_by.dedup();
        Some(Self {
            directory: audit.directory.as_ref().map(|directory| directory.display().to_string()),
            store: audit.store.as_ref().map(|store| store.url().to_string()),
            durable: audit.durable,
            standard_error: audit.standard_error,
            reason_required: audit.reason_required,
            masks_names: audit.name_key_file.is_some(),
            decided_by,
        })
    }

    /// One line.
    pub(in crate::commands) fn sentence(&self) -> String {
        let mut places = Vec::new();
        let how = if self.durable { "durable" } else { "best effort" };
        if let Some(store) = &self.store {
            places.push(format!("in the audit log of the database `{store}` ({how})"));
        }
        if let Some(directory) = &self.directory {
            places.push(format!("in the audit log `{directory}` ({how})"));
        }
        if self.standard_error {
            places.push("on standard error".to_owned());
        }
        let mut text = if places.is_empty() {
            "accesses are not recorded".to_owned()
        } else {
            format!("accesses are recorded {}", places.join(" and "))
        };
        if self.masks_names {
            text.push_str(", names are masked");
        }
        if self.reason_required {
            text.push_str(", a reason is required");
        }
        format!("{text} (set by {})", self.decided_by.join(", "))
    }
}

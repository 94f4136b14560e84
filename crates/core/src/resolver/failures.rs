//! The report of what could not be resolved, with the names that may have been meant.

use std::sync::Arc;
use std::time::Duration;

use futures_util::future::join_all;

use super::wanted::{Key, Wanted};
use crate::error::{Error, ErrorKind};
use crate::name::SecretName;
use crate::nearest::nearest;
use crate::options::{ListOptions, PageRequest};
use crate::reference::Target;
use crate::report::{Failure, Location, Report};
use crate::store::{SecretStore, StoreInfo};

/// A reference that was asked for in vain.
pub(super) struct Missing {
    pub(super) key: Key,
    pub(super) error: Error,
    pub(super) asked: Option<Arc<dyn SecretStore>>,
}

pub(super) async fn report(mut wanted: Wanted<'_>, missing: Vec<Missing>) -> Report {
    let names = existing_names(&missing).await;
    for Missing { key, error, asked } in missing {
        let locations = wanted
            .locations
            .remove(&key)
            .unwrap_or_default()
            .into_iter()
            .cloned()
            .collect();
        let nearest = match (&key.reference.target, &asked) {
            (Target::Secret(secret), Some(store)) if is_missing_name(&error) => {
                let known = names.iter().find(|(listed, _)| Arc::ptr_eq(listed, store));
                known
                    .map(|(_, names)| nearest(secret.name.as_str(), names.iter().map(SecretName::as_str)))
                    .unwrap_or_default()
            }
            _ => Vec::new(),
        };
        let mut failure = failure(key.reference.to_string(), locations, error);
        failure.store = asked.map(|store| place(store.info()));
        failure.nearest = nearest;
        wanted.failures.push(failure);
    }
    wanted.failures.sort_by(|a, b| a.locations.first().cmp(&b.locations.first()));
    Report {
        failures: wanted.failures,
        references: wanted.references,
    }
}

/// `sqlite (/srv/secrets.db)`; of a list `near (vault: vault.internal:8200), then dotenv (/srv/far.env)`.
fn place(store: &StoreInfo) -> String {
    let of_member = |member: &StoreInfo| match member.label == member.scheme {
        true => format!("{} ({})", member.scheme, member.location),
        false => format!("{} ({}: {})", member.label, member.scheme, member.location),
    };
    match store.members.as_slice() {
        [] => format!("{} ({})", store.scheme, store.location),
        members => members.iter().map(of_member).collect::<Vec<_>>().join(", then "),
    }
}

pub(super) fn failure(reference: String, locations: Vec<Location>, error: Error) -> Failure {
    Failure {
        reference,
        locations,
        store: None,
        error,
        nearest: Vec::new(),
    }
}

fn is_missing_name(error: &Error) -> bool {
    error.kind() == ErrorKind::NotFound && !error.context().any(|(key, _)| key == "field")
}

/// The names of every store in which a name is missing. Best effort: a suggestion is not worth a second failure.
async fn existing_names(missing: &[Missing]) -> Vec<(Arc<dyn SecretStore>, Vec<SecretName>)> {
    let mut stores: Vec<Arc<dyn SecretStore>> = Vec::new();
    for store in missing
        .iter()
        .filter(|missing| is_missing_name(&missing.error))
        .filter_map(|missing| missing.asked.as_ref())
    {
        if store.info().capabilities.list && !stores.iter().any(|known| Arc::ptr_eq(known, store)) {
            stores.push(store.clone());
        }
    }
    join_all(stores.into_iter().map(|store| async {
        let names = list_names(&store).await;
        (store, names)
    }))
    .await
}

async fn list_names(store: &Arc<dyn SecretStore>) -> Vec<SecretName> {
    const MOST: usize = 20_000;
    const PATIENCE: Duration = Duration::from_secs(2);
    let mut names = Vec::new();
    let collect = async {
        let mut token = None;
        loop {
            let options = ListOptions {
                page: PageRequest { limit: None, token },
                ..ListOptions::default()
            };
            let Ok(page) = store.list(&options).await else { return };
            names.extend(page.items.into_iter().map(|item| item.name));
            token = page.next;
            if token.is_none() || names.len() >= MOST {
                return;
            }
        }
    };
    // What was collected until the time is up is still worth a suggestion.
    let _ = tokio::time::timeout(PATIENCE, collect).await;
    names
}

//! What these credentials were found not to be allowed.
//!
//! Reading values and reading annotations are two permissions, with quotas of their own: who may only read values is not
//! asked for annotations again with each read.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use keyfob_core::SecretName;

/// After so long it is tried again: somebody may have granted it.
const FOR: Duration = Duration::from_secs(600);
/// Never are more names remembered.
const MOST_NAMES: usize = 10_000;

#[derive(Default)]
pub(super) struct Denied(Mutex<Found>);

#[derive(Default)]
struct Found {
    listing: Option<Instant>,
    annotations: HashMap<SecretName, Instant>,
    was_told: bool,
}

impl Denied {
    pub(super) fn is_listing(&self) -> bool {
        self.found().listing.is_some_and(is_fresh)
    }

    pub(super) fn listing(&self) {
        self.found().listing = Some(Instant::now());
    }

    pub(super) fn is_annotations_of(&self, name: &SecretName) -> bool {
        self.found().annotations.get(name).copied().is_some_and(is_fresh)
    }

    pub(super) fn annotations_of(&self, name: &SecretName) {
        let mut found = self.found();
        if found.annotations.len() >= MOST_NAMES {
            found.annotations.clear();
        }
        found.annotations.insert(name.clone(), Instant::now());
        if !std::mem::replace(&mut found.was_told, true) {
            tracing::warn!(
                target: "keyfob",
                "description, tags and expiry can't be known, and no expiry is enforced: `secretmanager.secrets.get` is not allowed"
            );
        }
    }

    fn found(&self) -> std::sync::MutexGuard<'_, Found> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn is_fresh(at: Instant) -> bool {
    at.elapsed() < FOR
}

//! Whether a refused repetition of a write met its own first attempt.
//!
//! A write has no mark of its own in the store, so the proof is in what stands there. It is ours when **all** of this
//! holds:
//!
//! - the value is, byte for byte, the one that was to be written, and so is all metadata that was asked for;
//! - it stands where only our write can have put it: for [`Create`](PutMode::Create) no version was before it, for
//!   [`Match`](PutMode::Match) the version right before it is the one that had to be current;
//! - the store does not say that it was made before our first attempt;
//! - the store that is written to has answered itself, not one that stands in for it, and it is the only one that is
//!   written to.
//!
//! It is another's when another value stands in that place: our write needed the place for itself. Everything else proves
//! nothing: ours may have been overwritten, or may still be on its way.
//!
//! On a store without versions the place can't be looked at. There the first, third and last sentence have to do, and a
//! write of metadata alone proves nothing.
//!
//! What this can't tell apart: another writer that, at the same time and in the same place, writes the same bytes with the
//! same metadata. Then what stands there is what both asked for, and both may be told that they succeeded.

use std::sync::atomic::Ordering;
use std::time::{Duration, SystemTime};

use super::Retrying;
use super::call::{Call, Doubt};
use crate::error::{Error, ErrorKind, Result};
use crate::name::SecretName;
use crate::options::{Change, Expired, GetOptions, PutMode, PutRequest, VersionSelector};
use crate::secret::{Metadata, Secret};
use crate::verb::Verb;

/// The store's clock and ours may differ by so much. AWS refuses requests whose time is further off.
const SKEW: Duration = Duration::from_secs(300);

/// Stores that keep times keep at least whole seconds.
const GRAIN: Duration = Duration::from_secs(1);

#[derive(Debug)]
enum Finding {
    Ours(Box<Metadata>),
    Anothers,
    Nothing,
}

impl Retrying {
    /// Ends a write that was refused after an attempt that may have been done.
    pub(super) async fn settle(
        &self,
        call: &Call<'_>,
        name: &SecretName,
        request: &PutRequest,
        began: SystemTime,
        refusal: Error,
    ) -> Result<Metadata> {
        let finding = match (&request.mode, refusal.kind()) {
            (PutMode::Create, ErrorKind::AlreadyExists) | (PutMode::Match(_), ErrorKind::Conflict) => {
                self.find(call, name, request, began).await
            }
            _ => Finding::Nothing,
        };
        match finding {
            Finding::Ours(metadata) => {
                self.layer.state.counters.settled.fetch_add(1, Ordering::Relaxed);
                self.meters.settled();
                Ok(*metadata)
            }
            Finding::Anothers => Err(call.ended_by(refusal)),
            Finding::Nothing if call.doubt == Doubt::Unsettled => Err(call.write_ended_by(refusal)),
            Finding::Nothing => Err(call.ended_by(refusal)),
        }
    }

    async fn find(&self, call: &Call<'_>, name: &SecretName, request: &PutRequest, began: SystemTime) -> Finding {
        if self.inner.info().replicates {
            return Finding::Nothing;
        }
        // In this order: a version that is `previous` later than another was `current` stands right before it.
        let Ok(current) = self.look(call, name, VersionSelector::Current).await else {
            return Finding::Nothing;
        };
        let has_versions = self.inner.info().capabilities.versions;
        let previous = match has_versions {
            true => match self.look(call, name, VersionSelector::Previous).await {
                Ok(previous) => Some(previous),
                Err(error) if error.kind() == ErrorKind::NotFound => None,
                Err(_) => return Finding::Nothing,
            },
            false => None,
        };
        let is_in_place = match &request.mode {
            PutMode::Match(expected) if has_versions => previous
                .as_ref()
                .is_some_and(|previous| previous.metadata.version.as_ref() == Some(expected)),
            _ => previous.is_none(),
        };
        if !is_in_place || is_stand_in(&current) || previous.as_ref().is_some_and(is_stand_in) {
            return Finding::Nothing;
        }
        // Without a new value the old one stays.
        let Some(value) = request.value.as_ref().or(previous.as_ref().map(|previous| &previous.value)) else {
            return Finding::Nothing;
        };
        let is_value = value.expose_secret() == current.value.expose_secret();
        if is_value && has_metadata(&current.metadata, request) && !is_older(&current.metadata, began) {
            return Finding::Ours(Box::new(Metadata::clone(&current.metadata)));
        }
        match has_versions && !is_value {
            true => Finding::Anothers,
            false => Finding::Nothing,
        }
    }

    async fn look(&self, call: &Call<'_>, name: &SecretName, version: VersionSelector) -> Result<Secret> {
        let options = GetOptions {
            version,
            max_age: Some(Duration::ZERO),
            expired: Expired::Allow,
        };
        self.read(&mut call.within(), Verb::Get, &|| self.inner.get(name, &options))
            .await
    }
}

/// Whether another store answered in place of the one that is written to.
fn is_stand_in(secret: &Secret) -> bool {
    !secret.metadata.origin.passed_over.is_empty()
}

/// Whether everything is there that was to be set, and nothing that was to be taken away.
fn has_metadata(metadata: &Metadata, request: &PutRequest) -> bool {
    let description = match &request.description {
        Change::Keep => true,
        Change::Clear => metadata.description.as_deref().unwrap_or_default().is_empty(),
        Change::Set(asked) => metadata.description.as_deref().unwrap_or_default() == asked,
    };
    let tags = match &request.tags {
        Change::Keep => true,
        Change::Clear => metadata.tags.is_empty(),
        Change::Set(asked) => metadata.tags == *asked,
    };
    let expiry = match (&request.expires_at, metadata.expires_at) {
        (Change::Keep, _) | (Change::Clear, None) => true,
        (Change::Clear, Some(_)) | (Change::Set(_), None) => false,
        (Change::Set(asked), Some(kept)) => distance(*asked, kept) < GRAIN,
    };
    description && tags && expiry
}

fn distance(one: SystemTime, other: SystemTime) -> Duration {
    one.duration_since(other).unwrap_or_else(|error| error.duration())
}

/// Whether the store says that this was there before `began`.
fn is_older(metadata: &Metadata, began: SystemTime) -> bool {
    metadata.updated.max(metadata.created).is_some_and(|made| made + SKEW < began)
}

//! What of a secret is copied, and whether the target has it.

use std::collections::BTreeMap;
use std::sync::atomic::Ordering;
use std::time::{Duration, SystemTime};

use futures_util::future::join_all;
use subtle::ConstantTimeEq as _;

use super::{CopyOptions, Difference, Ends};
use crate::error::{Error, ErrorKind, Result};
use crate::name::SecretName;
use crate::options::{Change, Expired, GetOptions, GetRequest, PutRequest, VersionSelector};
use crate::reference::FILE_SCHEME;
use crate::scanner::{PieceKind, scan};
use crate::secret::{Metadata, Secret};
use crate::store::SecretStore;
use crate::value::SecretValue;

/// A secret as the target is to have it.
pub(super) struct Content(PutRequest);

/// Stores keep times with different precision; AWS tags and Vault to the second.
const PRECISION: Duration = Duration::from_secs(1);

impl Content {
    /// What to write for a secret of the source.
    ///
    /// # Errors
    /// What the target can't hold: see [`check_put`](crate::Capabilities::check_put); `Unsupported` for metadata that
    /// it can't keep; `Expired` for an expired secret that would live there.
    pub(super) fn new(ends: &Ends, name: &SecretName, secret: &Secret) -> Result<Self> {
        let (source, target) = (&ends.from.info().capabilities, &ends.to.info().capabilities);
        let metadata = &secret.metadata;
        let tags = (!metadata.tags.is_empty()).then(|| metadata.tags.clone());
        let mut lost = Vec::new();
        let content = Self(PutRequest {
            value: Some(secret.value.clone()),
            description: change(
                metadata.description.clone(),
                (source.description, target.description),
                "description",
                &mut lost,
            ),
            tags: change(tags, (source.tags, target.tags), "tags", &mut lost),
            expires_at: change(metadata.expires_at, (source.expiry, target.expiry), "expiry", &mut lost),
            ..PutRequest::default()
        });
        let of_target = |error: Error| {
            error
                .with("name", name.as_str())
                .with("store", ends.to.info().scheme.to_string())
        };
        if !target.expiry && metadata.is_expired(SystemTime::now()) {
            let problem = "the secret has expired, and would live in a store that keeps no expiry";
            return Err(of_target(Error::new(ErrorKind::Expired, problem)));
        }
        if !lost.is_empty() && !ends.options.drop_metadata {
            let problem = format!("the target keeps no {}, which the secret has", lost.join(" and no "));
            return Err(of_target(
                Error::new(ErrorKind::Unsupported, problem)
                    .with_hint("`--drop-metadata` copies without what the target can't keep"),
            ));
        }
        target.check_put(name, &content.0).map_err(of_target)?;
        Ok(content)
    }

    /// Whether this is no secret, but refers to one.
    pub(super) fn is_reference(&self, options: &CopyOptions) -> bool {
        options.leave_references && self.0.value.as_ref().is_some_and(refers_to_a_secret)
    }

    /// In what `present` differs; `None` when it is the same. What the source can't know about a secret does not count.
    pub(super) fn difference(&self, present: &Secret) -> Option<Difference> {
        if !self.has_value(present) {
            return Some(Difference::Value);
        }
        (!self.has_metadata(&present.metadata)).then_some(Difference::Metadata)
    }

    /// Whether all of the metadata is there.
    pub(super) fn has_metadata(&self, metadata: &Metadata) -> bool {
        let wanted = &self.0;
        is_there(&wanted.description, metadata.description.as_ref(), |wanted, there| {
            wanted == there
        }) && is_there(&wanted.tags, some_tags(&metadata.tags), |wanted, there| wanted == there)
            && is_there(&wanted.expires_at, metadata.expires_at.as_ref(), is_same_time)
    }

    /// What the answer to a batch, which may lack description and tags, proves of a secret that was just created.
    pub(super) fn proof(&self, read: &Secret) -> Proof {
        let metadata = &read.metadata;
        let has_expiry = is_there(&self.0.expires_at, metadata.expires_at.as_ref(), is_same_time);
        let is_left_out = metadata.description.is_none() && metadata.tags.is_empty();
        match (self.has_value(read), self.has_metadata(metadata)) {
            (true, true) => Proof::Whole,
            (true, false) if has_expiry && is_left_out => Proof::ButMetadata,
            _ => Proof::None,
        }
    }

    /// The same, when the value is proven.
    pub(super) fn without_value(mut self) -> Self {
        self.0.value = None;
        self
    }

    fn has_value(&self, present: &Secret) -> bool {
        let is_same = |value: &SecretValue| value.expose_secret().ct_eq(present.value.expose_secret()).into();
        self.0.value.as_ref().is_none_or(is_same)
    }

    /// The write.
    pub(super) fn request(&self) -> PutRequest {
        self.0.clone()
    }
}

/// What an answer proves.
pub(super) enum Proof {
    Whole,
    /// All but the description and the tags, which it may have left out.
    ButMetadata,
    None,
}

/// Whether there is a `${secret:…}` in a value, or a reference to another store, as in a configuration whose secrets were moved into one.
#[must_use]
pub fn refers_to_a_secret(value: &SecretValue) -> bool {
    let text = std::str::from_utf8(value.expose_secret()).unwrap_or_default();
    let pieces = scan(text, |scheme| scheme != FILE_SCHEME && scheme != "env");
    pieces.iter().any(|piece| matches!(piece.kind, PieceKind::Reference(_)))
}

impl Ends {
    /// Reads secrets of the source, to find out whether the target can hold them: by as few requests as the source allows. What a batch
    /// leaves out of the metadata, a listing may have had.
    pub(super) async fn read_many(&self, some: &[Metadata]) -> Vec<Result<Content>> {
        let names = some.iter().map(|listed| &listed.name);
        let answers = self.get_many(&*self.from, names, fresh(self.expired())).await;
        let contents = some.iter().zip(answers).map(|(listed, answer)| {
            let answer = answer.map(|mut secret| {
                let metadata = secret.metadata_mut();
                if metadata.description.is_none() && metadata.tags.is_empty() {
                    metadata.description.clone_from(&listed.description);
                    metadata.tags.clone_from(&listed.tags);
                }
                secret
            });
            self.content(&listed.name, answer)
        });
        contents.collect()
    }

    /// A batch, and what it can't answer one by one: a service may fail at a batch and not at its parts.
    pub(super) async fn get_many<'n>(
        &self,
        store: &dyn SecretStore,
        names: impl Iterator<Item = &'n SecretName>,
        options: GetOptions,
    ) -> Vec<Result<Secret>> {
        let requests: Vec<GetRequest> = names
            .map(|name| GetRequest {
                name: name.clone(),
                options: options.clone(),
            })
            .collect();
        let mut answers = Vec::new();
        if !requests.is_empty() && !self.batches_fail.load(Ordering::Relaxed) {
            answers = store.get_many(&requests).await;
        }
        let is_asked_again = |answer: &Result<Secret>| answer.as_ref().is_err_and(|error| error.kind().is_retryable());
        let given = answers.into_iter().map(Some).chain(std::iter::repeat_with(|| None));
        let all = requests.iter().zip(given).map(|(request, answer)| async move {
            match answer.filter(|answer| !is_asked_again(answer)) {
                Some(answer) => answer,
                None => {
                    let read = store.get(&request.name, &request.options).await;
                    if read.is_ok() {
                        self.batches_fail.store(true, Ordering::Relaxed);
                    }
                    read
                }
            }
        });
        join_all(all).await
    }

    /// Reads a secret of the source.
    ///
    /// By `get`: a batch leaves out description and tags where the service's own does.
    ///
    /// # Errors
    /// Those of the read and of [`Content::new`].
    pub(super) async fn read(&self, name: &SecretName) -> Result<Content> {
        self.content(name, self.from.get(name, &fresh(self.expired())).await)
    }

    fn content(&self, name: &SecretName, read: Result<Secret>) -> Result<Content> {
        let secret = read.map_err(|error| {
            if error.kind() == ErrorKind::Expired {
                error.with_hint("`--include-expired` copies what has expired, with its expiry")
            } else {
                error
            }
        });
        let content = secret.and_then(|secret| Content::new(self, name, &secret));
        content.map_err(|error| error.with("name", name.as_str()))
    }

    fn expired(&self) -> Expired {
        if self.options.include_expired {
            Expired::Allow
        } else {
            Expired::Refuse
        }
    }

    /// What the target has now; also what has expired there.
    pub(super) async fn look(&self, name: &SecretName) -> Result<Secret> {
        self.look_at(name, VersionSelector::Current).await
    }

    pub(super) async fn look_at(&self, name: &SecretName, version: VersionSelector) -> Result<Secret> {
        let options = GetOptions {
            version,
            ..fresh(Expired::Allow)
        };
        let present = self.to.get(name, &options).await;
        present.map_err(|error| error.with("name", name.as_str()))
    }
}

/// Past every cache.
pub(super) fn fresh(expired: Expired) -> GetOptions {
    GetOptions {
        max_age: Some(Duration::ZERO),
        expired,
        ..GetOptions::default()
    }
}

/// What to do with one piece of metadata, which the source and the target keep or don't.
fn change<T>(value: Option<T>, (source, target): (bool, bool), what: &'static str, lost: &mut Vec<&'static str>) -> Change<T> {
    match value {
        Some(value) if target => Change::Set(value),
        Some(_) => {
            lost.push(what);
            Change::Keep
        }
        None if source && target => Change::Clear,
        // Not known to the source: what somebody noted in the target stays.
        None => Change::Keep,
    }
}

fn is_there<T>(wanted: &Change<T>, there: Option<&T>, is_same: impl Fn(&T, &T) -> bool) -> bool {
    match wanted {
        Change::Keep => true,
        Change::Clear => there.is_none(),
        Change::Set(wanted) => there.is_some_and(|there| is_same(wanted, there)),
    }
}

fn some_tags(tags: &BTreeMap<String, String>) -> Option<&BTreeMap<String, String>> {
    (!tags.is_empty()).then_some(tags)
}

fn is_same_time(one: &SystemTime, other: &SystemTime) -> bool {
    let distance = one.duration_since(*other).unwrap_or_else(|error| error.duration());
    distance < PRECISION
}

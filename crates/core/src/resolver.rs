//! Gets everything that references ask for in one concurrent round.

mod failures;
mod wanted;

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::path::Path;
use std::sync::Arc;

use async_trait::async_trait;
use futures_util::future::join_all;

use self::failures::{Missing, report};
use self::wanted::{Key, Wanted};
use crate::audit::Intent;
use crate::error::{Error, ErrorKind, Result};
use crate::field::Field;
use crate::file_reference::read_file;
use crate::name::SecretName;
use crate::options::{GetOptions, GetRequest, VersionSelector};
use crate::reference::{Fallback, Reference, SecretRef, Target};
use crate::report::{Location, Report};
use crate::secret::Metadata;
use crate::store::SecretStore;
use crate::value::SecretValue;
use crate::verb::Verb;

/// Finds the store that a reference's scheme means.
#[async_trait]
pub trait Stores: Send + Sync {
    /// Whether the scheme means a store. `file` is the resolver's own and is never asked for.
    fn has_scheme(&self, scheme: &str) -> bool;

    /// The store of a scheme, connected for what is intended. Schemes that mean one store give the same `Arc`, so that it is
    /// asked once.
    ///
    /// # Errors
    /// Whatever connecting fails with; [`ErrorKind::InvalidConfig`] for a scheme that means nothing.
    async fn open(&self, scheme: &str, intent: &Intent) -> Result<Arc<dyn SecretStore>>;
}

/// Which schemes references may use.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub enum AllowedSchemes {
    /// All that are known.
    #[default]
    All,
    /// Only these.
    Only(BTreeSet<String>),
}

impl AllowedSchemes {
    /// Checks a reference.
    ///
    /// # Errors
    /// [`ErrorKind::PermissionDenied`], with the schemes that are allowed as hint.
    pub fn check(&self, scheme: &str) -> Result<()> {
        match self {
            Self::Only(allowed) if !allowed.contains(scheme) => {
                let list: Vec<String> = allowed.iter().map(|scheme| format!("`{scheme}`")).collect();
                let list = if list.is_empty() { "none".to_owned() } else { list.join(", ") };
                Err(Error::new(
                    ErrorKind::PermissionDenied,
                    format!("references with the scheme `{scheme}` are not allowed here"),
                )
                .with_hint(format!("allowed schemes: {list}")))
            }
            Self::All | Self::Only(_) => Ok(()),
        }
    }
}

/// A reference and where it stands.
#[derive(Debug, Clone)]
pub struct Occurrence {
    /// As it is shown in a report, a default left out.
    pub written: String,
    /// The reference, or why what begins like one isn't.
    pub reference: Result<Reference>,
    /// Where.
    pub location: Location,
    /// Against which directory `${file:…}` is relative; `None` is the working directory.
    pub directory: Option<Arc<Path>>,
}

/// What references stand for.
#[derive(Debug, Clone, Default)]
pub struct Resolved {
    values: HashMap<Key, Answer>,
}

/// What one reference stands for.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct Answer {
    /// The value, of the field if one was asked for. UTF-8.
    pub value: SecretValue,
    /// What the store said of it; `None` for a file or a fallback.
    pub metadata: Option<Arc<Metadata>>,
}

impl Resolved {
    /// What `reference`, standing in a file of `directory`, stands for; `None` when it was not resolved here.
    #[must_use]
    pub fn answer(&self, reference: &Reference, directory: Option<&Arc<Path>>) -> Option<&Answer> {
        self.values.get(&Key::new(reference, directory))
    }
}

/// Resolves `occurrences`: collects what is different, asks each store once with `get_many`, all stores at the same
/// time, and gives either everything or a report of every failure.
///
/// Values must be text, since they go into text. A resolved value is data: it is never scanned for references.
/// Needs a Tokio runtime with its time driver. Files are read with blocking calls on the runtime's blocking threads and may have at most
/// [`MAX_FILE_BYTES`](crate::MAX_FILE_BYTES) bytes.
///
/// # Errors
/// A [`Report`] of every reference that failed, with everywhere it stands. For a missing name it gives the nearest
/// names that exist, as far as the store can list them within two seconds.
pub async fn resolve(stores: &dyn Stores, allowed: &AllowedSchemes, occurrences: &[Occurrence]) -> Result<Resolved, Report> {
    let wanted = Wanted::collect(allowed, occurrences);
    tracing::debug!(target: "keyfob", places = occurrences.len(), references = wanted.references, "resolving");
    let secrets = wanted.group_by_scheme();
    let files = wanted.files();
    let (answers, contents) = futures_util::future::join(ask_stores(stores, secrets), read_files(files)).await;

    let mut values = HashMap::with_capacity(wanted.order.len());
    let mut missing: Vec<Missing> = Vec::new();
    for key in &wanted.order {
        let (whole, asked) = match &key.reference.target {
            Target::File { .. } => (contents.get(key).cloned().unwrap_or_else(|| Err(unasked())), None),
            Target::Secret(secret) => answers.find(&key.reference.scheme, secret),
        };
        let field = match &key.reference.target {
            Target::Secret(secret) => secret.field.as_ref(),
            Target::File { field, .. } => field.as_ref(),
        };
        // A fallback stands in for what a store does not have, not for a store that can't be opened.
        let was_answered = asked.is_some() || matches!(key.reference.target, Target::File { .. });
        match whole
            .and_then(|answer| finish(answer, field))
            .or_else(|error| match was_answered {
                true => fall_back(&key.reference.fallback, error),
                false => Err(error),
            }) {
            Ok(answer) => {
                values.insert(key.clone(), answer);
            }
            Err(error) => missing.push(Missing {
                key: key.clone(),
                error,
                asked,
            }),
        }
    }
    if missing.is_empty() && wanted.failures.is_empty() {
        return Ok(Resolved { values });
    }
    Err(report(wanted, missing).await)
}

/// What every store said.
struct Answers {
    /// The store of each scheme, or why it can't be opened.
    stores: BTreeMap<Arc<str>, Result<usize>>,
    asked: Vec<Asked>,
}

#[derive(Clone)]
struct Asked {
    store: Arc<dyn SecretStore>,
    answers: HashMap<(SecretName, VersionSelector), Result<Answer>>,
}

impl Answers {
    fn find(&self, scheme: &str, secret: &SecretRef) -> (Result<Answer>, Option<Arc<dyn SecretStore>>) {
        match self.stores.get(scheme) {
            Some(Ok(index)) => {
                let asked = &self.asked[*index];
                let answer = asked.answers.get(&(secret.name.clone(), secret.version.clone()));
                (answer.cloned().unwrap_or_else(|| Err(unasked())), Some(asked.store.clone()))
            }
            Some(Err(error)) => (Err(error.clone()), None),
            None => (Err(unasked()), None),
        }
    }
}

/// Can't happen, and if it does it is a failure in the report rather than a panic or a missing value.
fn unasked() -> Error {
    Error::new(
        ErrorKind::Other,
        "the reference was not asked for; this is a defect of keyfob",
    )
}

async fn ask_stores(stores: &dyn Stores, schemes: BTreeMap<Arc<str>, BTreeSet<(SecretName, VersionSelector)>>) -> Answers {
    let opening = schemes.iter().map(async |(scheme, wanted)| {
        let batch = Intent::new(Verb::GetMany);
        let intent = wanted
            .iter()
            .fold(batch, |intent, (name, version)| intent.secret(name, version));
        stores.open(scheme, &intent).await
    });
    let opened = join_all(opening).await;
    let mut answers = Answers {
        stores: BTreeMap::new(),
        asked: Vec::new(),
    };
    let mut requests: Vec<BTreeSet<(SecretName, VersionSelector)>> = Vec::new();
    for ((scheme, wanted), opened) in schemes.into_iter().zip(opened) {
        let index = opened.map(|store| {
            let known = answers.asked.iter().position(|asked| Arc::ptr_eq(&asked.store, &store));
            known.unwrap_or_else(|| {
                answers.asked.push(Asked {
                    store,
                    answers: HashMap::new(),
                });
                requests.push(BTreeSet::new());
                requests.len() - 1
            })
        });
        if let Ok(index) = &index {
            requests[*index].extend(wanted);
        }
        answers.stores.insert(scheme, index);
    }
    let rounds = answers
        .asked
        .iter()
        .zip(requests)
        .map(|(asked, wanted)| ask(asked.store.clone(), wanted));
    let rounds = join_all(rounds).await;
    for (asked, round) in answers.asked.iter_mut().zip(rounds) {
        asked.answers = round;
    }
    answers
}

async fn ask(
    store: Arc<dyn SecretStore>,
    wanted: BTreeSet<(SecretName, VersionSelector)>,
) -> HashMap<(SecretName, VersionSelector), Result<Answer>> {
    let wanted: Vec<_> = wanted.into_iter().collect();
    let requests: Vec<GetRequest> = wanted
        .iter()
        .map(|(name, version)| GetRequest {
            name: name.clone(),
            options: GetOptions::version(version.clone()),
        })
        .collect();
    let mut answers = store.get_many(&requests).await.into_iter();
    wanted
        .into_iter()
        .map(|asked| {
            let answer = answers.next().unwrap_or_else(|| {
                Err(
                    Error::new(ErrorKind::Other, "the store gave fewer answers than it was asked for")
                        .with("store", &*store.info().scheme),
                )
            });
            (
                asked,
                answer.map(|secret| Answer {
                    value: secret.value,
                    metadata: Some(secret.metadata),
                }),
            )
        })
        .collect()
}

async fn read_files(files: Vec<Key>) -> HashMap<Key, Result<Answer>> {
    if files.is_empty() {
        return HashMap::new();
    }
    let read = tokio::task::spawn_blocking(move || {
        files
            .into_iter()
            .map(|key| {
                let content = match &key.reference.target {
                    Target::File { path, .. } => read_file(key.directory.as_deref(), path),
                    Target::Secret(_) => Err(unasked()),
                };
                (key, content.map(|value| Answer { value, metadata: None }))
            })
            .collect()
    });
    // A panic or a runtime that is shutting down: each reference then says that it was not answered.
    read.await.unwrap_or_default()
}

fn finish(answer: Answer, field: Option<&Field>) -> Result<Answer> {
    let value = match field {
        Some(field) => field.pick(&answer.value)?,
        None => answer.value,
    };
    value.expose_str()?;
    Ok(Answer {
        value,
        metadata: answer.metadata,
    })
}

fn fall_back(fallback: &Fallback, error: Error) -> Result<Answer> {
    let text = match fallback {
        _ if error.kind() != ErrorKind::NotFound => return Err(error),
        Fallback::None => return Err(error),
        Fallback::Empty => "",
        Fallback::Text(text) => text,
    };
    Ok(Answer {
        value: SecretValue::from(text),
        metadata: None,
    })
}

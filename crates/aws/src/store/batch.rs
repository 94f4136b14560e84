//! `get_many`: as few requests as AWS allows, side by side.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::atomic::Ordering;

use futures_util::StreamExt as _;
use futures_util::future::BoxFuture;
use futures_util::stream;
use keyfob_core::{GetRequest, Result, Secret, SecretName, VersionSelector};

use super::Inner;
use super::reading::{Told, unexpired, value};
use crate::error::{Failed, failed};

/// What BatchGetSecretValue takes at once.
const BATCH: usize = 20;
/// So many requests are under way at once; each has a connection of its own.
const AT_ONCE: usize = 16;
/// After so many pages of one batch the service is not believed any more.
const MAX_PAGES: usize = BATCH;

/// One read, however often it is asked for.
type Wanted = (SecretName, VersionSelector);
type Answers = Vec<(Wanted, Result<Secret>)>;

impl Inner {
    pub(super) async fn get_many(&self, requests: &[GetRequest]) -> Vec<Result<Secret>> {
        let refused: Vec<Result<()>> = requests
            .iter()
            .map(|request| self.capabilities.check_get(&request.name, &request.options))
            .collect();
        let wanted: BTreeSet<Wanted> = requests
            .iter()
            .zip(&refused)
            .filter(|(_, refused)| refused.is_ok())
            .map(|(request, _)| (request.name.clone(), request.options.version.clone()))
            .collect();
        let answers: BTreeMap<Wanted, Result<Secret>> = self.read_all(wanted).await.into_iter().collect();
        requests
            .iter()
            .zip(refused)
            .map(|(request, refused)| {
                refused?;
                let wanted = (request.name.clone(), request.options.version.clone());
                let answer = answers
                    .get(&wanted)
                    .cloned()
                    .unwrap_or_else(|| Err(crate::error::not_found(&request.name)));
                unexpired(answer?, &request.options)
            })
            .collect()
    }

    async fn read_all(&self, wanted: BTreeSet<Wanted>) -> Answers {
        let can_batch = !self.batch_denied.load(Ordering::Relaxed);
        let (batched, single): (Vec<Wanted>, Vec<Wanted>) = wanted
            .into_iter()
            .partition(|(_, version)| can_batch && *version == VersionSelector::Current);
        let mut work: Vec<BoxFuture<'_, Answers>> = Vec::new();
        for chunk in batched.chunks(BATCH) {
            match chunk {
                // The single request has a hundred times the quota of the batch.
                [only] => work.push(Box::pin(self.single(only.clone()))),
                _ => work.push(Box::pin(self.chunk(chunk.iter().map(|(name, _)| name.clone()).collect()))),
            }
        }
        for one in single {
            work.push(Box::pin(self.single(one)));
        }
        let answers: Vec<Answers> = stream::iter(work).buffer_unordered(AT_ONCE).collect().await;
        answers.into_iter().flatten().collect()
    }

    async fn single(&self, wanted: Wanted) -> Answers {
        let answer = self.value(&wanted.0, &wanted.1).await;
        vec![(wanted, answer)]
    }

    async fn singles(&self, names: Vec<SecretName>) -> Answers {
        let work: Vec<_> = names
            .into_iter()
            .map(|name| self.single((name, VersionSelector::Current)))
            .collect();
        let answers: Vec<Answers> = stream::iter(work).buffer_unordered(AT_ONCE).collect().await;
        answers.into_iter().flatten().collect()
    }

    /// Reads the current versions of at most [`BATCH`] names.
    async fn chunk(&self, names: Vec<SecretName>) -> Answers {
        let ids: HashMap<String, SecretName> = names.iter().map(|name| (self.names.id(name), name.clone())).collect();
        match self.batch(&ids).await {
            Ok(mut answered) => {
                // Whatever the service says nothing about is asked for by itself.
                let silent = names.into_iter().filter(|name| !answered.contains_key(name)).collect();
                let mut answers = self.singles(silent).await;
                answers.extend(
                    answered
                        .drain()
                        .map(|(name, answer)| ((name, VersionSelector::Current), answer)),
                );
                answers
            }
            Err(failed) if needs_singles(&failed) => {
                if failed.is_denied() && !self.batch_denied.swap(true, Ordering::Relaxed) {
                    tracing::info!(target: "keyfob", "BatchGetSecretValue is not allowed: secrets are read one by one");
                }
                self.singles(names).await
            }
            Err(failed) => names
                .into_iter()
                .map(|name| {
                    let error = failed.clone().about(&name);
                    ((name, VersionSelector::Current), Err(error))
                })
                .collect(),
        }
    }

    /// The answers to one batch, whatever their order and however many pages they come in.
    async fn batch(&self, ids: &HashMap<String, SecretName>) -> Result<HashMap<SecretName, Result<Secret>>, Failed> {
        let mut answered = HashMap::new();
        let mut token = None;
        for _ in 0..MAX_PAGES {
            let request = self.client.batch_get_secret_value();
            let request = request
                .set_secret_id_list(Some(ids.keys().cloned().collect()))
                .set_next_token(token);
            let page = request.send().await.map_err(failed)?;
            for error in page.errors.unwrap_or_default() {
                let Some(name) = error.secret_id().and_then(|id| ids.get(id)) else {
                    continue;
                };
                let failed = Failed::of_item(error.error_code(), error.message());
                answered.insert(name.clone(), Err(failed.about(name)));
            }
            for entry in page.secret_values.unwrap_or_default() {
                // One secret can be asked for by name and by ARN in one batch.
                let by_name = entry.name().and_then(|id| ids.get(id));
                let by_arn = entry.arn().and_then(|id| ids.get(id));
                let asked: Vec<SecretName> = by_name.into_iter().chain(by_arn).cloned().collect();
                let Some(first) = asked.first() else { continue };
                let value = value(first, entry.secret_string, entry.secret_binary);
                let told = Told {
                    version: entry.version_id.as_deref(),
                    created: entry.created_date.as_ref(),
                    labels: entry.version_stages.as_deref().unwrap_or_default(),
                };
                for name in asked {
                    let answer = told
                        .metadata(&name)
                        .and_then(|metadata| Ok(Secret::new(value.clone()?, metadata)));
                    answered.insert(name, answer);
                }
            }
            token = page.next_token.filter(|token| !token.is_empty());
            if token.is_none() {
                break;
            }
        }
        Ok(answered)
    }
}

/// Whether reading one by one may work where the batch as a whole did not: it has a permission of its own, and one bad
/// secret must not hide the others.
fn needs_singles(failed: &Failed) -> bool {
    let code = failed.code();
    failed.is_denied()
        || failed.is_not_found()
        || matches!(
            code,
            "InvalidRequestException"
                | "InvalidParameterException"
                | "ValidationException"
                | "DecryptionFailure"
                | "UnknownOperationException"
                | "NotImplementedException"
        )
}

//! `copy` between every pair of kinds of stores, with secrets whose names and values are awkward.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

mod kinds;
mod secrets;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use futures_util::StreamExt as _;
use keyfob::copy::{self, CopyOptions, CopyOutcome, CopyReport};
use keyfob::{DeleteMode, DeleteOptions, ErrorKind, GetOptions, ListOptions, MemoryStore, PutRequest, SecretName, SecretStore};

use kinds::{Kind, Place};
use secrets::{Sample, corpus, sentinels};

/// What is in a store, by name.
type Contents = BTreeMap<SecretName, Vec<u8>>;

/// Twice a thousand secrets for each kind: into it, and out of it.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_thousand_awkward_secrets_come_into_every_kind_and_out_of_it() {
    let corpus = corpus(1000);
    for kind in Kind::ALL {
        let samples: Vec<Sample> = corpus.iter().filter(|sample| kind.is_reasonable(sample)).cloned().collect();
        let source = memory(&samples).await;
        let Some(place) = kind
            .open("a_thousand_awkward_secrets_come_into_every_kind_and_out_of_it")
            .await
        else {
            return;
        };
        let kept = copied(&source, &place.store, kind).await;
        holds(kind, &samples, &kept);
        let back: Arc<dyn SecretStore> = Arc::new(MemoryStore::new());
        let returned = copied(&place.store, &back, kind).await;
        assert!(returned == kept, "{kind:?} gave back something else");
        let line = format!(
            "copy memory -> {kind:?} -> memory: {} of {} secrets",
            kept.len(),
            samples.len()
        );
        keyfob_testkit::tell(&line);
        place.remove().await;
    }
}

/// Every kind of awkwardness between every two kinds of stores.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn awkward_secrets_go_between_every_pair_of_kinds() {
    between_every_pair("awkward_secrets_go_between_every_pair_of_kinds", &sentinels()).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "takes half an hour: a thousand secrets between every pair, of which one of each awkwardness is enough for every change"]
async fn a_thousand_awkward_secrets_go_between_every_pair_of_kinds() {
    // The two that are too large for a thousand states of one Kubernetes object go between every pair in the test above.
    let samples: Vec<Sample> = corpus(1002)
        .into_iter()
        .filter(|sample| Kind::ALL.into_iter().all(|kind| kind.is_reasonable(sample)))
        .collect();
    assert_eq!(samples.len(), 1000);
    between_every_pair("a_thousand_awkward_secrets_go_between_every_pair_of_kinds", &samples).await;
}

async fn between_every_pair(test: &str, samples: &[Sample]) {
    let memory = memory(samples).await;
    let mut pairs = 0;
    for from in Kind::ALL {
        let Some(source) = from.open(test).await else { return };
        let had = copied(&memory, &source.store, from).await;
        for to in Kind::ALL.into_iter().filter(|to| *to != from) {
            let Some(target) = to.open(test).await else { return };
            let kept = copied(&source.store, &target.store, to).await;
            let there: Vec<Sample> = samples
                .iter()
                .filter(|sample| had.contains_key(&sample.name))
                .cloned()
                .collect();
            holds(to, &there, &kept);
            target.remove().await;
            pairs += 1;
        }
        source.remove().await;
    }
    keyfob_testkit::tell(&format!("copy: {} secrets between {pairs} pairs of kinds", samples.len()));
}

/// Copies all that can be copied, and gives what the target has then. What can't is refused by name, before anything is written.
async fn copied(from: &Arc<dyn SecretStore>, to: &Arc<dyn SecretStore>, kind: Kind) -> Contents {
    let had = contents(from).await;
    let plan = plan(from, to).await;
    let planned = plan.report();
    assert!(contents(to).await.is_empty(), "{kind:?}: planning writes");
    let refused = refused(kind, &planned);
    let all: BTreeSet<&SecretName> = planned.entries.iter().map(|entry| &entry.name).collect();
    assert_eq!(all.len(), planned.entries.len(), "{kind:?}");
    assert!(all.into_iter().eq(had.keys()), "{kind:?}: the plan is not about every secret");

    let mut done = plan.carry_out(|_| {}).await;
    // A server may be out of breath. Copying again goes on.
    for _ in 0..3 {
        let mut late = done.failures().filter(|(name, _)| !refused.contains(*name)).peekable();
        if late.peek().is_none() {
            break;
        }
        for (name, error) in late {
            assert!(
                error.kind().is_retryable(),
                "{kind:?}: `{name}` was not refused by the plan: {error}"
            );
        }
        tokio::time::sleep(std::time::Duration::from_secs(1)).await;
        done = self::plan(from, to).await.carry_out(|_| {}).await;
    }
    for entry in done.entries.iter().filter(|entry| !refused.contains(&entry.name)) {
        let is_there = matches!(entry.outcome, CopyOutcome::Created | CopyOutcome::Unchanged);
        assert!(is_there, "{kind:?}: `{}` {}", entry.name, entry.outcome.as_str());
    }
    let has = contents(to).await;
    let expected: Contents = had.into_iter().filter(|(name, _)| !refused.contains(name)).collect();
    for (name, value) in &expected {
        assert!(has.get(name) == Some(value), "{kind:?}: `{name}` is not there as it was");
    }
    assert_eq!(has.len(), expected.len(), "{kind:?}: there is more than was copied");
    has
}

async fn plan(from: &Arc<dyn SecretStore>, to: &Arc<dyn SecretStore>) -> copy::CopyPlan {
    copy::plan(Arc::clone(from), Arc::clone(to), CopyOptions::default(), |_| {})
        .await
        .unwrap()
}

/// The names that the plan refuses, each for a reason that the target's capabilities give.
fn refused(kind: Kind, planned: &CopyReport) -> BTreeSet<SecretName> {
    let mut refused = BTreeSet::new();
    for (name, error) in planned.failures() {
        let expected = [ErrorKind::Unsupported, ErrorKind::NotText, ErrorKind::InvalidInput];
        assert!(expected.contains(&error.kind()), "{kind:?}: `{name}`: {error}");
        let is_named = error.context().any(|(key, value)| key == "name" && value == name.as_str());
        assert!(is_named, "{kind:?}: `{name}`: {error}");
        refused.insert(name.clone());
    }
    refused
}

/// What a kind must keep and must refuse, whatever its own capabilities say.
fn holds(kind: Kind, samples: &[Sample], kept: &Contents) {
    for sample in samples {
        let Some(must) = kind.must_keep(sample) else { continue };
        assert_eq!(
            kept.contains_key(&sample.name),
            must,
            "{kind:?}: `{}` ({:?})",
            sample.name,
            sample.traits()
        );
    }
}

async fn memory(samples: &[Sample]) -> Arc<dyn SecretStore> {
    let store = MemoryStore::new();
    for sample in samples {
        store.put(&sample.name, PutRequest::new(sample.value.clone())).await.unwrap();
    }
    Arc::new(store)
}

async fn contents(store: &Arc<dyn SecretStore>) -> Contents {
    let names = names(store).await;
    let reads = futures_util::stream::iter(names).map(|name| async move {
        let options = GetOptions::default();
        let secret = patiently(|| store.get(&name, &options)).await;
        let value = secret.value.expose_secret().to_vec();
        (name, value)
    });
    reads.buffer_unordered(16).collect().await
}

async fn names(store: &Arc<dyn SecretStore>) -> Vec<SecretName> {
    let mut options = ListOptions::default();
    let mut names = Vec::new();
    loop {
        let page = patiently(|| store.list(&options)).await;
        names.extend(page.items.into_iter().map(|metadata| metadata.name));
        options.page.token = page.next;
        if options.page.token.is_none() {
            return names;
        }
    }
}

/// Asks again when the server is out of breath.
async fn patiently<T, F: Future<Output = keyfob::Result<T>>>(mut ask: impl FnMut() -> F) -> T {
    for _ in 0..3 {
        match ask().await {
            Err(error) if error.kind().is_retryable() => tokio::time::sleep(std::time::Duration::from_millis(300)).await,
            answer => return answer.unwrap(),
        }
    }
    ask().await.unwrap()
}

impl Place {
    /// Leaves nothing behind.
    async fn remove(self) {
        let store = &self.store;
        if !self.goes_as_a_whole {
            let removals = futures_util::stream::iter(names(store).await).map(|name| async move {
                let options = DeleteOptions {
                    mode: DeleteMode::Permanent,
                };
                patiently(|| store.delete(&name, &options)).await;
            });
            removals.buffer_unordered(16).collect::<()>().await;
        }
        self.clean_up().await;
    }
}

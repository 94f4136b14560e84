//! Races and half writes.

use std::collections::BTreeSet;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use keyfob_core::{
    Change, DeleteMode, DeleteOptions, Error, ErrorKind, GetOptions, GetRequest, MemoryStore, Metadata, PutMode, PutRequest,
    Result, Secret, SecretName, SecretStore, async_trait,
};

use crate::flaw::{Flaw, Row, rows};

pub(crate) fn rows() -> Vec<Row> {
    rows![
        CreateLooksBeforeItWrites => ["concurrency::exactly_one_create_wins"],
        MatchLooksBeforeItWrites => ["concurrency::exactly_one_match_wins"],
        WritersOverwriteEachOther::default() => ["concurrency::writes_to_different_names_are_all_kept"],
        VersionNumbersAreGivenTwice::default() => ["concurrency::upserts_lose_no_version"],
        EmptyBeforeTheValue => ["cancellation::dropped_first_put_is_whole_or_nothing"],
        MetadataBeforeTheValue => ["cancellation::dropped_put_is_whole_or_nothing", "concurrency::reads_see_whole_writes"],
        DroppedReadBreaksTheStore::default() => ["cancellation::dropped_reads_have_no_effect"],
        DeleteEmptiesFirst => ["cancellation::dropped_delete_is_whole_or_nothing"],
    ]
}

const A_MOMENT: Duration = Duration::from_millis(10);

struct CreateLooksBeforeItWrites;
#[async_trait]
impl Flaw for CreateLooksBeforeItWrites {
    async fn put(&self, right: &MemoryStore, name: &SecretName, request: PutRequest) -> Result<Metadata> {
        if request.mode != PutMode::Create || right.get(name, &GetOptions::default()).await.is_ok() {
            return right.put(name, request).await;
        }
        right.info().capabilities.check_put(name, &request)?;
        tokio::time::sleep(A_MOMENT).await;
        right.put(name, request.mode(PutMode::Upsert)).await
    }
}

struct MatchLooksBeforeItWrites;
#[async_trait]
impl Flaw for MatchLooksBeforeItWrites {
    async fn put(&self, right: &MemoryStore, name: &SecretName, request: PutRequest) -> Result<Metadata> {
        if let (PutMode::Match(expected), Ok(secret)) = (&request.mode, right.get(name, &GetOptions::default()).await)
            && secret.metadata.version.as_ref() == Some(expected)
        {
            tokio::time::sleep(A_MOMENT).await;
            return right.put(name, request.mode(PutMode::Upsert)).await;
        }
        right.put(name, request).await
    }
}

/// Like a file that is read, changed and written without a lock: another name's write meanwhile is lost.
#[derive(Default)]
struct WritersOverwriteEachOther {
    under_way: Mutex<BTreeSet<SecretName>>,
}
#[async_trait]
impl Flaw for WritersOverwriteEachOther {
    async fn put(&self, right: &MemoryStore, name: &SecretName, request: PutRequest) -> Result<Metadata> {
        let alone = {
            let mut under_way = self.under_way.lock().unwrap();
            let alone = under_way.iter().all(|other| other == name);
            under_way.insert(name.clone());
            alone
        };
        let written = if alone {
            right.put(name, request).await
        } else {
            Ok(Metadata::new(name.clone(), "memory"))
        };
        // Blocks, so that no write is dropped here: only the write of others is concerned.
        if name.as_str().contains("/name-") {
            std::thread::sleep(A_MOMENT);
        }
        self.under_way.lock().unwrap().remove(name);
        written
    }
}

/// Two upserts at once get the same version; one of the values is lost.
#[derive(Default)]
struct VersionNumbersAreGivenTwice {
    busy: AtomicBool,
}
#[async_trait]
impl Flaw for VersionNumbersAreGivenTwice {
    async fn put(&self, right: &MemoryStore, name: &SecretName, request: PutRequest) -> Result<Metadata> {
        let plain = request.mode == PutMode::Upsert && name.as_str().ends_with("/a") && request.description.is_keep();
        if plain && self.busy.swap(true, Ordering::SeqCst) {
            return right
                .get(name, &GetOptions::default())
                .await
                .map(|secret| secret.metadata.as_ref().clone());
        }
        let written = right.put(name, request).await;
        if plain {
            std::thread::sleep(A_MOMENT);
            self.busy.store(false, Ordering::SeqCst);
        }
        written
    }
}

struct EmptyBeforeTheValue;
#[async_trait]
impl Flaw for EmptyBeforeTheValue {
    async fn put(&self, right: &MemoryStore, name: &SecretName, request: PutRequest) -> Result<Metadata> {
        let there = right.get(name, &GetOptions::default()).await.is_ok();
        if !there && name.as_str().contains("/polled-") {
            right.put(name, PutRequest::new("")).await?;
            tokio::time::sleep(A_MOMENT).await;
        }
        right.put(name, request).await
    }
}

struct MetadataBeforeTheValue;
#[async_trait]
impl Flaw for MetadataBeforeTheValue {
    async fn put(&self, right: &MemoryStore, name: &SecretName, request: PutRequest) -> Result<Metadata> {
        let there = right.get(name, &GetOptions::default()).await.is_ok();
        let changes = !(request.description.is_keep() && request.tags.is_keep());
        if there && changes && request.value.is_some() && request.mode == PutMode::Upsert {
            right.info().capabilities.check_put(name, &request)?;
            let metadata = PutRequest {
                value: None,
                ..request.clone()
            };
            right.put(name, metadata).await?;
            tokio::time::sleep(A_MOMENT).await;
        }
        right.put(name, request).await
    }
}

#[derive(Default)]
struct DroppedReadBreaksTheStore {
    reading: AtomicBool,
}
#[async_trait]
impl Flaw for DroppedReadBreaksTheStore {
    async fn get_many(&self, right: &MemoryStore, requests: &[GetRequest]) -> Vec<Result<Secret>> {
        self.reading.store(true, Ordering::SeqCst);
        tokio::task::yield_now().await;
        self.reading.store(false, Ordering::SeqCst);
        right.get_many(requests).await
    }

    async fn put(&self, right: &MemoryStore, name: &SecretName, request: PutRequest) -> Result<Metadata> {
        if self.reading.swap(false, Ordering::SeqCst) {
            return Err(Error::new(ErrorKind::Unavailable, "the connection is in use").with("name", name.as_str()));
        }
        right.put(name, request).await
    }
}

struct DeleteEmptiesFirst;
#[async_trait]
impl Flaw for DeleteEmptiesFirst {
    async fn delete(&self, right: &MemoryStore, name: &SecretName, options: &DeleteOptions) -> Result<()> {
        let options_ok = right.info().capabilities.check_delete(name, options).is_ok();
        let label = name.as_str().rsplit('/').next().unwrap_or_default();
        if options_ok && options.mode == DeleteMode::StoreDefault && label.starts_with("polled-") {
            let request = PutRequest {
                tags: Change::Clear,
                ..PutRequest::new("")
            };
            right.put(name, request).await?;
            tokio::time::sleep(A_MOMENT).await;
        }
        right.delete(name, options).await
    }
}

//! What the tests of the log share.

#![allow(dead_code, reason = "each test uses a part of it")]
#![allow(clippy::unwrap_used, reason = "helpers of tests may panic as tests do")]

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use keyfob_audit::{FileAudit, FileAuditOptions, PublicKey, SigningKey, Verification, verify};
use keyfob_core::{Actor, AuditReceipt, AuditRecord, AuditSink, AuditedStore, BoxFuture, Clock, Verb};

/// A directory with a key and a log.
pub(crate) struct Bed {
    pub(crate) place: tempfile::TempDir,
    pub(crate) public_key: PublicKey,
}

impl Bed {
    pub(crate) fn new() -> Self {
        let place = tempfile::tempdir().unwrap();
        let public_key = SigningKey::create_file(place.path().join("key")).unwrap().public_key();
        Self { place, public_key }
    }

    pub(crate) fn log(&self) -> PathBuf {
        self.place.path().join("log")
    }

    pub(crate) fn key(&self) -> SigningKey {
        SigningKey::from_file(self.place.path().join("key")).unwrap()
    }

    pub(crate) fn options(&self) -> FileAuditOptions {
        FileAuditOptions::new(self.log(), self.key())
    }

    pub(crate) fn verify(&self) -> Verification {
        verify(self.log(), &[self.public_key], &[]).unwrap()
    }

    /// The paths of the log's files, in order.
    pub(crate) fn files(&self) -> Vec<PathBuf> {
        files(&self.log())
    }
}

pub(crate) fn files(log: &Path) -> Vec<PathBuf> {
    let mut files: Vec<PathBuf> = std::fs::read_dir(log)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.extension().is_some_and(|extension| extension == "jsonl"))
        .collect();
    files.sort();
    files
}

pub(crate) fn record(number: u64) -> AuditRecord {
    let mut actor = Actor::default();
    actor.user = "jo".into();
    actor.host = "web1".into();
    let time = SystemTime::UNIX_EPOCH + Duration::from_secs(1_700_000_000 + number);
    let store = AuditedStore::new("prod", "vault", "https://vault.example:8200");
    let mut record = AuditRecord::new(time, Arc::new(actor), Verb::Get, store.into());
    record.name = Some(format!("team/secret-{number}").into());
    record
}

/// Gives records to a sink that nobody waits for.
pub(crate) fn give(sink: &FileAudit, numbers: impl IntoIterator<Item = u64>) {
    for number in numbers {
        assert!(matches!(sink.record(record(number)), AuditReceipt::Taken));
    }
}

/// A clock that stands still.
#[derive(Debug)]
pub(crate) struct Day(pub(crate) u64);

impl Clock for Day {
    fn now(&self) -> Duration {
        Duration::from_secs(self.0 * 86_400)
    }

    fn system_now(&self) -> SystemTime {
        SystemTime::UNIX_EPOCH + Duration::from_secs((20_000 + self.0) * 86_400)
    }

    fn sleep(&self, _: Duration) -> BoxFuture<'static, ()> {
        Box::pin(std::future::ready(()))
    }
}

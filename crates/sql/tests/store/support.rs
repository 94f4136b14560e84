//! A store in a directory of its own.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use keyfob_core::{Change, GetOptions, PutRequest, Result, Secret, SecretName, SecretStore, Version, VersionSelector};
use keyfob_envelope::RawKey;
use keyfob_sql::{KeyConfig, SqlConfig, SqlStore};

/// A directory that goes away, with paths for a store.
pub(crate) struct Place {
    pub(crate) directory: tempfile::TempDir,
}

impl Place {
    pub(crate) fn new() -> Self {
        let directory = tempfile::tempdir().unwrap();
        RawKey::create_file(directory.path().join("key")).unwrap();
        Self { directory }
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    pub(crate) fn key(&self) -> KeyConfig {
        KeyConfig::File(self.path("key"))
    }

    pub(crate) fn config(&self) -> SqlConfig {
        SqlConfig::new(self.path("secrets.db"), self.key()).with_state_dir(self.path("state"))
    }

    pub(crate) async fn create(&self) -> SqlStore {
        SqlStore::create(self.config()).await.unwrap()
    }

    pub(crate) async fn open(&self) -> Result<SqlStore> {
        SqlStore::open(self.config()).await
    }

    /// A copy of the store's file and what SQLite keeps beside it; nobody may have it open.
    pub(crate) fn copy(&self, name: &str) {
        std::fs::create_dir(self.path(name)).unwrap();
        self.copy_files(self.directory.path(), &self.path(name));
    }

    /// Puts a copy in the place of the store's files.
    pub(crate) fn put_back(&self, name: &str) {
        for suffix in ["", "-wal", "-shm"] {
            let _ = std::fs::remove_file(self.path(&format!("secrets.db{suffix}")));
        }
        self.copy_files(&self.path(name), self.directory.path());
    }

    fn copy_files(&self, from: &Path, to: &Path) {
        for suffix in ["", "-wal"] {
            let file = format!("secrets.db{suffix}");
            if from.join(&file).exists() {
                std::fs::copy(from.join(&file), to.join(&file)).unwrap();
            }
        }
    }

    /// Changes the file from outside, as somebody without the key can.
    pub(crate) fn tamper(&self, sql: &str) -> usize {
        let connection = rusqlite::Connection::open(self.path("secrets.db")).unwrap();
        connection.execute(sql, []).unwrap()
    }
}

pub(crate) fn name(text: &str) -> SecretName {
    SecretName::new(text).unwrap()
}

pub(crate) async fn get(store: &SqlStore, text: &str) -> Result<Secret> {
    store.get(&name(text), &GetOptions::default()).await
}

pub(crate) async fn get_version(store: &SqlStore, text: &str, version: u64) -> Result<Secret> {
    let options = GetOptions::version(VersionSelector::Exact(Version::from(version)));
    store.get(&name(text), &options).await
}

pub(crate) async fn text(store: &SqlStore, name: &str) -> String {
    get(store, name).await.unwrap().value.expose_str().unwrap().to_owned()
}

pub(crate) async fn put(store: &SqlStore, text: &str, value: &str) -> Result<Version> {
    let metadata = store.put(&name(text), PutRequest::new(value)).await?;
    Ok(metadata.version.unwrap())
}

/// A put with everything that can be said about a secret.
pub(crate) fn full_request(value: &str) -> PutRequest {
    let mut request = PutRequest::new(value);
    request.description = Change::Set("a description".to_owned());
    request.tags = Change::Set(BTreeMap::from([("team".to_owned(), "payments".to_owned())]));
    request.expires_at = Change::Set(std::time::SystemTime::now() + std::time::Duration::from_secs(3600));
    request
}

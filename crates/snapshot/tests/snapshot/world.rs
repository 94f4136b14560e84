//! A store with secrets, and a directory for its snapshots.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use keyfob_core::{Change, ErrorKind, Expired, GetOptions, MemoryStore, PutRequest, Secret, SecretName, SecretStore as _};
use keyfob_envelope::RawKey;
use keyfob_snapshot::{CreateOptions, Manifest, Snapshot, SnapshotDirectory};

pub(crate) struct World {
    pub(crate) store: Arc<MemoryStore>,
    pub(crate) key: RawKey,
    pub(crate) directory: SnapshotDirectory,
    /// Removed at the end.
    _place: tempfile::TempDir,
}

pub(crate) fn name(name: impl AsRef<str>) -> SecretName {
    SecretName::new(name).unwrap()
}

/// A value that the search for leaks knows.
pub(crate) fn canary(which: impl std::fmt::Display) -> String {
    let mut value = String::from("kfcanary-snapshot");
    for byte in which.to_string().bytes() {
        write!(value, "{byte:02x}").unwrap();
    }
    value
}

impl World {
    pub(crate) fn empty() -> Self {
        let place = tempfile::tempdir().unwrap();
        Self {
            store: Arc::new(MemoryStore::new()),
            key: RawKey::new(&[7; 32]),
            directory: SnapshotDirectory::new(place.path().join("snapshots")),
            _place: place,
        }
    }

    /// With a few secrets of every kind.
    pub(crate) async fn small() -> Self {
        let world = Self::empty();
        world.put("db/password", canary("first")).await;
        world.put("db/password", canary("second")).await;
        let request = PutRequest {
            description: Change::Set("of the shop".to_owned()),
            tags: Change::Set(BTreeMap::from([("team".to_owned(), "payments".to_owned())])),
            expires_at: Change::Set(SystemTime::UNIX_EPOCH + Duration::new(4_000_000_000, 123_456_789)),
            ..PutRequest::new(canary("long").repeat(40))
        };
        world.store.put(&name("api/key"), request).await.unwrap();
        world
            .store
            .put(&name("bytes"), PutRequest::new(vec![0, 255, 128]))
            .await
            .unwrap();
        world.store.put(&name("empty"), PutRequest::new("")).await.unwrap();
        let expired = PutRequest {
            expires_at: Change::Set(SystemTime::UNIX_EPOCH + Duration::from_secs(1)),
            ..PutRequest::new(canary("expired"))
        };
        world.store.put(&name("expired"), expired).await.unwrap();
        world
    }

    pub(crate) async fn put(&self, secret: impl AsRef<str>, value: String) {
        self.store.put(&name(secret), PutRequest::new(value)).await.unwrap();
    }

    pub(crate) async fn snapshot(&self) -> Manifest {
        self.create(&CreateOptions::default()).await
    }

    pub(crate) async fn create(&self, options: &CreateOptions) -> Manifest {
        self.directory.create(&*self.store, &self.key, options, |_| {}).await.unwrap()
    }

    pub(crate) async fn open(&self, manifest: &Manifest) -> Snapshot {
        self.directory.open_snapshot(manifest.summary.id, &self.key).await.unwrap()
    }

    pub(crate) fn path(&self, manifest: &Manifest) -> PathBuf {
        self.directory.path_of(manifest.summary.id)
    }

    pub(crate) async fn read(&self, secret: &SecretName) -> Secret {
        let options = GetOptions {
            expired: Expired::Allow,
            ..GetOptions::default()
        };
        self.store.get(secret, &options).await.unwrap()
    }

    /// Whether the snapshot has exactly what the store has now.
    pub(crate) async fn expect_same(&self, snapshot: &Snapshot, names: &[&str]) {
        let secrets = &snapshot.manifest().secrets;
        assert!(secrets.iter().map(|secret| secret.name.as_str()).eq(names.iter().copied()));
        for secret in secrets {
            let (there, here) = (self.read(&secret.name).await, snapshot.secret(&secret.name).await.unwrap());
            let is_same = there.value.expose_secret() == here.value.expose_secret();
            assert!(is_same, "the value of {} is another", secret.name);
            let (there, here) = (&there.metadata, &here.metadata);
            assert_eq!(
                (&there.version, there.created, there.updated),
                (&here.version, here.created, here.updated)
            );
            assert_eq!(
                (&there.description, &there.tags, there.expires_at),
                (&here.description, &here.tags, here.expires_at)
            );
        }
        let missing = snapshot.secret(&name("no/such")).await.unwrap_err();
        assert_eq!(missing.kind(), ErrorKind::NotFound);
    }
}

//! Snapshots of the stores of a manager: where they are kept, and under which key.

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::sync::Arc;

use keyfob_core::copy::{self, CopyProgress};
use keyfob_core::{Environment, Error, ErrorKind, Intent, Result, SecretName, SecretStore, Verb};
use keyfob_envelope::KeySource;
use keyfob_snapshot::{
    CreateOptions, Manifest, Parent, RestorePlan, Restored, SecretChange, Snapshot, SnapshotDepot, SnapshotDirectory, SnapshotId,
};
use keyfob_sql::{KeyConfig, KeySourceName};

use super::SecretManager;
use crate::key_sources;
use crate::layers::SnapshotSettings;

/// The snapshots that the settings of a manager mean: a directory, a key, and perhaps a store that has a copy of each.
///
/// Made by [`SecretManager::snapshots`]. Nothing is opened before it is needed: what only lists snapshots needs no key.
#[derive(Debug, Clone)]
pub struct Snapshots {
    manager: SecretManager,
    directory: SnapshotDirectory,
}

/// What the names of copies begin with when nothing else is said.
const STORE_PREFIX: &str = "keyfob-snapshots";

impl SecretManager {
    /// The snapshots that [`SnapshotSettings`] mean.
    ///
    /// # Errors
    /// `InvalidConfig` when there is no home directory that they could be kept in and no other is named.
    pub fn snapshots(&self) -> Result<Snapshots> {
        let environment = &self.0.environment;
        let path = match &self.0.selection.layers.snapshots.directory {
            Some(directory) => environment.absolute(directory),
            None => default_directory(environment)?,
        };
        Ok(Snapshots {
            manager: self.clone(),
            directory: SnapshotDirectory::new(path),
        })
    }
}

impl Snapshots {
    /// The same, with another directory.
    #[must_use]
    pub fn in_directory(self, directory: SnapshotDirectory) -> Self {
        Self { directory, ..self }
    }

    /// The directory.
    #[must_use]
    pub fn directory(&self) -> &SnapshotDirectory {
        &self.directory
    }

    /// Where the key comes from.
    ///
    /// # Errors
    /// `InvalidConfig` when two are named, or one that can't be.
    pub fn key_config(&self) -> Result<KeyConfig> {
        let environment = self.environment();
        match (&self.settings().key_file, &self.settings().key_source) {
            (Some(_), Some(_)) => Err(Error::new(
                ErrorKind::InvalidConfig,
                "`key_file` and `key_source` of `[snapshots]` are both set, and snapshots have one key",
            )),
            (Some(file), None) => Ok(KeyConfig::File(environment.absolute(file))),
            (None, Some(source)) => KeySourceName::parse(source).map(KeyConfig::Named),
            (None, None) => KeyConfig::from_environment(environment),
        }
    }

    /// The key that opens snapshots, connected if it is in a service.
    ///
    /// # Errors
    /// `NotFound` when there is none; those of [`key_sources::connect`] and of [`KeyConfig::source`].
    pub async fn key(&self) -> Result<Arc<dyn KeySource>> {
        let connected = key_sources::connected(self.key_config()?, self.environment()).await?;
        connected.source().map_err(|error| match error.kind() {
            ErrorKind::NotFound => Error::new(ErrorKind::NotFound, "there is no key for snapshots")
                .with_source(error)
                .with_hint(
                    "name one under `[snapshots]`, or let `keyfob snapshot init` make one; where snapshots were made already, put their \
                     key back",
                ),
            _ => error,
        })
    }

    /// The store that has copies, opened for what is intended; `None` where no store is set.
    ///
    /// # Errors
    /// `InvalidConfig` for a prefix that can't be one; those of [`SecretManager::store_for`].
    pub async fn depot(&self, intent: &Intent) -> Result<Option<SnapshotDepot>> {
        let Some(store) = &self.settings().store else {
            return match self.settings().store_prefix {
                Some(_) => Err(Error::new(
                    ErrorKind::InvalidConfig,
                    "`store_prefix` of `[snapshots]` is set, and `store` does not name a store",
                )),
                None => Ok(None),
            };
        };
        let prefix = self.depot_prefix()?;
        let store = self.manager.store_for(store, intent).await?;
        Ok(Some(SnapshotDepot::new(store, prefix)))
    }

    /// Makes a snapshot of `store` in the directory, and copies it into the store that is set.
    ///
    /// What is kept of snapshots in `store` itself is left out.
    ///
    /// # Errors
    /// Those of [`key`](Self::key), of [`SnapshotDirectory::create`] and of [`SnapshotDepot::send`]. After the last the snapshot
    /// is in the directory all the same, and the error has its id.
    pub async fn create(
        &self,
        store: &dyn SecretStore,
        mut options: CreateOptions,
        progress: impl FnMut(usize),
    ) -> Result<Manifest> {
        let key = self.key().await?;
        // Before anything is read: what is wrong with it is told now.
        let depot = self.depot(&Intent::new(Verb::Put)).await?;
        options.exclude.extend(self.own_names(store, depot.as_ref())?);
        let made = self.directory.create(store, &*key, &options, progress).await?;
        if let Some(depot) = depot {
            self.copy_into(&depot, made.summary.id).await?;
        }
        Ok(made)
    }

    /// Makes a snapshot of those secrets of `store` that are about to be changed, as they are now. It stands alone, so that
    /// what takes a change back does not depend on what is changed. `None` for no names.
    ///
    /// # Errors
    /// Those of [`create`](Self::create).
    pub async fn before_change(
        &self,
        store: &dyn SecretStore,
        names: BTreeSet<SecretName>,
        note: String,
        concurrency: usize,
    ) -> Result<Option<Manifest>> {
        if names.is_empty() {
            return Ok(None);
        }
        let mut options = CreateOptions::default();
        options.names = Some(names);
        options.parent = Parent::None;
        options.note = Some(note);
        options.concurrency = concurrency;
        self.create(store, options, |_| {}).await.map(Some)
    }

    /// What changed from a snapshot to what `store` has now; see [`Snapshot::diff_store`]. What is kept of snapshots in `store` itself
    /// does not count.
    ///
    /// # Errors
    /// Those of [`Snapshot::diff_store`] and of [`depot`](Self::depot).
    pub async fn diff(
        &self,
        snapshot: &Snapshot,
        store: &dyn SecretStore,
        progress: impl FnMut(usize),
    ) -> Result<Vec<SecretChange>> {
        let depot = self.depot(&Intent::new(Verb::List)).await?;
        let own = self.own_names(store, depot.as_ref())?;
        snapshot.diff_store(store, &own, progress).await
    }

    /// Restores, after a snapshot of what is there and is replaced was [made](Self::create).
    ///
    /// # Errors
    /// Those of [`create`](Self::create): then nothing was written.
    pub async fn restore(&self, plan: RestorePlan, progress: impl FnMut(CopyProgress)) -> Result<Restored> {
        let before = match plan.before() {
            Some(options) => Some(self.create(plan.target(), options, |_| {}).await?),
            None => None,
        };
        Ok(plan.carry_out_after(before, progress).await)
    }

    /// Finds a snapshot by its id, by the beginning of an id that only one has, or as `latest`: the newest of the directory that is whole.
    /// What only the store has is copied into the directory.
    ///
    /// # Errors
    /// Those of [`SnapshotDirectory::find`] and [`SnapshotDepot::fetch`].
    pub async fn find(&self, selector: &str) -> Result<SnapshotId> {
        match self.search(selector).await? {
            (id, None) => Ok(id),
            (id, Some(depot)) => depot.fetch(&self.directory, id).await.map(|()| id),
        }
    }

    /// Deletes snapshots in the directory and in the store that has copies: in the directory all of them or, when one can't be
    /// deleted, none. They are named as in [`find`](Self::find).
    ///
    /// # Errors
    /// Those of [`find`](Self::find), [`SnapshotDirectory::delete`] and [`SnapshotDepot::delete`].
    pub async fn delete(&self, selectors: &[String]) -> Result<BTreeSet<SnapshotId>> {
        let (mut all, mut here) = (BTreeSet::new(), BTreeSet::new());
        for selector in selectors {
            let (id, only_there) = self.search(selector).await?;
            all.insert(id);
            if only_there.is_none() {
                here.insert(id);
            }
        }
        let depot = self.depot(&Intent::new(Verb::Delete)).await?;
        if !here.is_empty() {
            self.directory.delete(&here).await?;
        }
        if let Some(depot) = depot {
            let mut copies: Vec<SnapshotId> = depot.list().await?.into_iter().filter(|id| all.contains(id)).collect();
            // What others build on can only go after them.
            while !copies.is_empty() {
                let (mut kept, mut refused) = (Vec::new(), None);
                for id in &copies {
                    match depot.delete(*id).await {
                        Err(error) if error.kind() == ErrorKind::Conflict => {
                            kept.push(*id);
                            refused = Some(error);
                        }
                        deleted => deleted?,
                    }
                }
                match refused {
                    Some(error) if kept.len() == copies.len() => return Err(error),
                    _ => copies = kept,
                }
            }
        }
        Ok(all)
    }

    /// Which snapshot is meant, and the store if only that has it.
    async fn search(&self, selector: &str) -> Result<(SnapshotId, Option<SnapshotDepot>)> {
        let not_found = match self.directory.find(selector).await {
            Err(error) if error.kind() == ErrorKind::NotFound && selector != "latest" => error,
            found => return found.map(|id| (id, None)),
        };
        let Some(depot) = self.depot(&Intent::new(Verb::List)).await? else {
            return Err(not_found);
        };
        let begins = selector.to_ascii_lowercase();
        let ids = depot.list().await?;
        let mut found = ids.into_iter().filter(|id| id.to_string().starts_with(&begins));
        match (found.next(), found.next()) {
            (Some(id), None) => Ok((id, Some(depot))),
            (None, _) => Err(not_found),
            (Some(_), Some(_)) => Err(
                Error::new(ErrorKind::InvalidInput, "the ids of several snapshots begin like that")
                    .with("snapshot", selector)
                    .with_hint("give more of the id"),
            ),
        }
    }

    /// Opens a snapshot of the directory.
    ///
    /// # Errors
    /// Those of [`key`](Self::key) and of [`SnapshotDirectory::open_snapshot`].
    pub async fn open_snapshot(&self, id: SnapshotId) -> Result<Snapshot> {
        let key = self.key().await?;
        self.directory.open_snapshot(id, &*key).await
    }

    async fn copy_into(&self, depot: &SnapshotDepot, id: SnapshotId) -> Result<()> {
        depot.send(&self.directory, id).await.map_err(|source| {
            let message = "the snapshot was made, and could not be copied into the store";
            let error = Error::new(source.kind(), message).with("snapshot", id.to_string());
            error.with_source(source)
        })
    }

    /// What the names of copies of snapshots in `store` begin with, if it has them.
    fn own_names(&self, store: &dyn SecretStore, depot: Option<&SnapshotDepot>) -> Result<Vec<String>> {
        match depot.filter(|depot| copy::is_same_store(store, depot.store())) {
            Some(_) => Ok(vec![format!("{}/", self.depot_prefix()?)]),
            None => Ok(Vec::new()),
        }
    }

    fn depot_prefix(&self) -> Result<SecretName> {
        let prefix = self.settings().store_prefix.as_deref().unwrap_or(STORE_PREFIX);
        SecretName::new(prefix).map_err(|source| {
            let message = "`store_prefix` of `[snapshots]` can't begin the name of a secret";
            Error::new(ErrorKind::InvalidConfig, message).with_source(source)
        })
    }

    fn settings(&self) -> &SnapshotSettings {
        &self.manager.0.selection.layers.snapshots
    }

    fn environment(&self) -> &Environment {
        &self.manager.0.environment
    }
}

/// `$XDG_DATA_HOME/keyfob/snapshots`, by default below `~/.local/share`.
fn default_directory(environment: &Environment) -> Result<PathBuf> {
    // By the specification a relative path in the variable is ignored.
    let named = environment.var("XDG_DATA_HOME")?.map(PathBuf::from);
    let data = named.filter(|path| path.is_absolute());
    let data = data.or_else(|| environment.home().map(|home| home.join(".local/share")));
    data.map(|data| data.join("keyfob/snapshots")).ok_or_else(|| {
        Error::new(ErrorKind::InvalidConfig, "there is no home directory for snapshots")
            .with_hint("name a directory: `directory` under `[snapshots]`, or `SECRET_SNAPSHOTS_DIRECTORY`")
    })
}

#[cfg(test)]
mod tests {
    use keyfob_core::{MemoryStore, PutRequest};

    use super::*;

    const KEY: &str = "0707070707070707070707070707070707070707070707070707070707070707";

    /// With a default store that has a secret, and another one.
    async fn snapshots(variables: &[(&str, &str)]) -> (Snapshots, Arc<MemoryStore>) {
        let environment = variables
            .iter()
            .fold(Environment::fake().home("/home/me"), |environment, (name, value)| {
                environment.var(*name, *value)
            });
        let store = Arc::new(MemoryStore::new());
        let name = SecretName::new("db/password").unwrap();
        store.put(&name, PutRequest::new("kfcanary-snapshotted1")).await.unwrap();
        let manager = SecretManager::builder()
            .environment(environment.build())
            .with_store("secret", store.clone())
            .with_store("far", Arc::new(MemoryStore::new()))
            .build_lazily()
            .unwrap();
        (manager.snapshots().unwrap(), store)
    }

    #[tokio::test]
    async fn they_are_below_the_data_directory_unless_it_is_said_otherwise() {
        for (variable, value, expected) in [
            ("NO_COLOR", "1", "/home/me/.local/share/keyfob/snapshots"),
            ("XDG_DATA_HOME", "/data", "/data/keyfob/snapshots"),
            ("XDG_DATA_HOME", "relative", "/home/me/.local/share/keyfob/snapshots"),
            ("SECRET_SNAPSHOTS_DIRECTORY", "/var/kept", "/var/kept"),
            ("SECRET_SNAPSHOTS_DIRECTORY", "~/kept", "/home/me/kept"),
        ] {
            let (snapshots, _) = snapshots(&[(variable, value)]).await;
            assert_eq!(
                snapshots.directory().path(),
                std::path::Path::new(expected),
                "{variable}={value}"
            );
        }
    }

    #[tokio::test]
    async fn the_key_is_the_one_that_is_named_else_that_of_the_encrypted_store() {
        let (named, _) = snapshots(&[("SECRET_SNAPSHOTS_KEY_FILE", "/k"), ("KEYFOB_KEY", KEY)]).await;
        assert!(matches!(named.key_config(), Ok(KeyConfig::File(file)) if file == std::path::Path::new("/k")));
        let (named, _) = snapshots(&[("SECRET_SNAPSHOTS_KEY_SOURCE", "aws-kms:alias/app"), ("KEYFOB_KEY", KEY)]).await;
        assert!(matches!(named.key_config(), Ok(KeyConfig::Named(name)) if name.to_string() == "aws-kms:alias/app"));
        let (other, _) = snapshots(&[("KEYFOB_KEY", KEY)]).await;
        assert!(matches!(other.key_config(), Ok(KeyConfig::Raw(_))));
        let both = [
            ("SECRET_SNAPSHOTS_KEY_FILE", "/k"),
            ("SECRET_SNAPSHOTS_KEY_SOURCE", "aws-kms:x"),
        ];
        let (both, _) = snapshots(&both).await;
        assert_eq!(both.key_config().unwrap_err().kind(), ErrorKind::InvalidConfig);
        let (none, _) = snapshots(&[]).await;
        let error = none.key().await.err().unwrap();
        assert_eq!(
            (error.kind(), error.message()),
            (ErrorKind::NotFound, "there is no key for snapshots")
        );
    }

    #[tokio::test]
    async fn copies_need_a_store_and_a_prefix_that_can_be_one() {
        for wrong in [
            &[("SECRET_SNAPSHOTS_STORE_PREFIX", "kept")][..],
            &[("SECRET_SNAPSHOTS_STORE", "far"), ("SECRET_SNAPSHOTS_STORE_PREFIX", "a//b")],
            &[("SECRET_SNAPSHOTS_STORE", "nowhere")],
        ] {
            let (snapshots, _) = snapshots(wrong).await;
            let error = snapshots.depot(&Intent::new(Verb::List)).await.err().unwrap();
            assert_eq!(error.kind(), ErrorKind::InvalidConfig, "{wrong:?}: {error}");
        }
    }

    #[tokio::test]
    async fn a_lost_directory_is_made_up_for_by_the_copies() {
        let place = tempfile::tempdir().unwrap();
        let path = place.path().join("kept").display().to_string();
        let variables = [
            ("KEYFOB_KEY", KEY),
            ("SECRET_SNAPSHOTS_DIRECTORY", path.as_str()),
            ("SECRET_SNAPSHOTS_STORE", "far"),
        ];
        let (snapshots, store) = snapshots(&variables).await;
        let made = snapshots.create(&*store, CreateOptions::default(), |_| {}).await.unwrap();
        let name = SecretName::new("db/password").unwrap();
        store.put(&name, PutRequest::new("kfcanary-another0001")).await.unwrap();
        let names = BTreeSet::from([name.clone()]);
        let before = snapshots.before_change(&*store, names, "a test".to_owned(), 4).await;
        let before = before.unwrap().unwrap().summary;
        assert_eq!(
            (before.whole, before.bases.len(), before.note.as_deref()),
            (false, 0, Some("a test"))
        );
        assert!(
            snapshots
                .before_change(&*store, BTreeSet::new(), String::new(), 4)
                .await
                .unwrap()
                .is_none()
        );

        std::fs::remove_dir_all(snapshots.directory().path()).unwrap();
        assert_eq!(snapshots.find("latest").await.unwrap_err().kind(), ErrorKind::NotFound);
        let id = snapshots.find(&made.summary.id.to_string()[..12]).await.unwrap();
        let snapshot = snapshots.open_snapshot(id).await.unwrap();
        assert_eq!(snapshots.diff(&snapshot, &*store, |_| {}).await.unwrap().len(), 1);
        let plan = snapshot
            .plan_restore(store.clone(), &Default::default(), |_| {})
            .await
            .unwrap();
        let restored = snapshots.restore(plan, |_| {}).await.unwrap();
        assert_eq!(
            store
                .get(&name, &Default::default())
                .await
                .unwrap()
                .value
                .expose_str()
                .unwrap(),
            "kfcanary-snapshotted1"
        );

        // All of them, in both places; which is not there any more can't be deleted again.
        let before_it = restored.before.unwrap().summary.id;
        let ids = [made.summary.id, before.id, before_it].map(|id| id.to_string());
        assert_eq!(snapshots.delete(&ids).await.unwrap().len(), 3);
        let depot = snapshots.depot(&Intent::new(Verb::List)).await.unwrap().unwrap();
        assert_eq!(depot.list().await.unwrap(), []);
        assert_eq!(snapshots.delete(&ids[..1]).await.unwrap_err().kind(), ErrorKind::NotFound);
    }
}

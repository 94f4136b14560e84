//! The verbs.

use std::fmt;
use std::sync::Arc;

use async_trait::async_trait;
use keyfob_core::{
    Capabilities, DeleteMode, DeleteOptions, Deleted, ErrorKind, GetOptions, GetRequest, Health, ListOptions, Metadata, Page,
    PageRequest, PutRequest, Result, Secret, SecretName, SecretStore, StoreInfo, Version, VersionInfo,
};

use crate::blocking::blocking;
use crate::config::SqlConfig;
use crate::engine::{Engine, SCHEME};
use crate::error::{corrupt, not_found};
use crate::keyring::MAX_UNLOCKS;
use crate::limits::DAY;
use crate::pages::{MAX_PAGE, from, name_after, number_below, token_after, token_below};
use crate::rows::{SecretRow, Time};
use crate::verify::{VerifyReport, verify};

/// keyfob's own encrypted store. Cheap to clone; clones share connections and keys.
#[derive(Clone)]
pub struct SqlStore {
    info: Arc<StoreInfo>,
    pub(crate) engine: Arc<Engine>,
}

impl SqlStore {
    /// Makes a new, empty store, readable by its owner only, and opens it. Missing directories are made.
    ///
    /// The file appears complete or not at all.
    ///
    /// # Errors
    /// `AlreadyExists` when there is something at the path, which is left alone; those of the key's source; those of
    /// the file system.
    pub async fn create(config: SqlConfig) -> Result<Self> {
        Engine::create(config).await.map(Self::new)
    }

    /// Opens an existing store.
    ///
    /// # Errors
    /// - `NotFound`: there is no file. Opening never makes one.
    /// - `InvalidConfig`: the file is something else, of a newer format, or the configuration is wrong, or something else is
    ///   in the place of the record of the newest generation.
    /// - `Unauthenticated`: the key does not fit.
    /// - `PermissionDenied`: the file can't be opened, or others may write to it, or what is remembered of it can't be read.
    /// - `Corrupt`: the file is damaged, was changed from outside, or is older than what is remembered.
    pub async fn open(config: SqlConfig) -> Result<Self> {
        Engine::open(config).await.map(Self::new)
    }

    /// Checks every row, decrypts every value, and lets the database check its file's structure.
    ///
    /// # Errors
    /// When the store can't be read at all. What is damaged in single places is in the report.
    pub async fn verify(&self) -> Result<VerifyReport> {
        let work = |engine: &Engine, ring: &_| {
            let mut report = engine.read(ring, verify)?;
            if let Some(problem) = engine.sqlite.structure_problem()? {
                report
                    .problems
                    .push(corrupt("the file's structure is damaged").with("found", problem));
            }
            Ok(report)
        };
        self.engine.run(work).await
    }

    fn new(engine: Arc<Engine>) -> Self {
        let mut capabilities = Capabilities::FULL;
        capabilities.recovery_window = Some((DAY, 3650 * DAY));
        let info = StoreInfo::new(SCHEME, engine.config.path.display().to_string(), capabilities);
        Self {
            info: Arc::new(info),
            engine,
        }
    }

    fn capabilities(&self) -> &Capabilities {
        &self.info.capabilities
    }

    async fn read_many(&self, requests: Arc<[GetRequest]>) -> Vec<Result<Secret>> {
        let is_locked = |answer: &Result<Secret>| matches!(answer, Err(error) if error.kind() == ErrorKind::Unauthenticated);
        let mut ring = self.engine.keys.ring();
        let mut answers = self.try_read_many(&requests).await;
        for _ in 0..MAX_UNLOCKS {
            // The key is being changed by another process, and some values are under the new one already.
            if !answers.iter().any(is_locked) || !self.engine.unlock_again(&ring).await.unwrap_or(false) {
                break;
            }
            ring = self.engine.keys.ring();
            answers = self.try_read_many(&requests).await;
        }
        answers
    }

    async fn try_read_many(&self, requests: &Arc<[GetRequest]>) -> Vec<Result<Secret>> {
        let shared = Arc::clone(requests);
        let work = move |engine: &Engine, ring: &_| engine.read(ring, |reading| Ok(reading.get_many(&shared)));
        match self.engine.run(work).await {
            Ok(answers) => answers,
            Err(error) => vec![Err(error); requests.len()],
        }
    }
}

impl fmt::Debug for SqlStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SqlStore")
            .field("location", &self.info.location)
            .finish_non_exhaustive()
    }
}

#[async_trait]
impl SecretStore for SqlStore {
    fn info(&self) -> &StoreInfo {
        &self.info
    }

    async fn get(&self, name: &SecretName, options: &GetOptions) -> Result<Secret> {
        self.capabilities().check_get(name, options)?;
        let request = GetRequest {
            name: name.clone(),
            options: options.clone(),
        };
        let answers = self.read_many([request].into()).await;
        answers.into_iter().next().unwrap_or_else(|| Err(not_found(name)))
    }

    async fn get_many(&self, requests: &[GetRequest]) -> Vec<Result<Secret>> {
        if requests.is_empty() {
            return Vec::new();
        }
        self.read_many(requests.into()).await
    }

    async fn put(&self, name: &SecretName, request: PutRequest) -> Result<Metadata> {
        self.capabilities().check_put(name, &request)?;
        let name = name.clone();
        let work = move |engine: &Engine, ring: &_| {
            let keep = engine.config.keep_versions;
            engine.write(ring, |writing| writing.put(&name, request.clone(), keep))
        };
        self.engine.run_exclusively(work).await
    }

    async fn delete(&self, name: &SecretName, options: &DeleteOptions) -> Result<()> {
        self.capabilities().check_delete(name, options)?;
        let (name, mode) = (name.clone(), options.mode);
        let work = move |engine: &Engine, ring: &_| {
            engine.write(ring, |writing| match mode {
                DeleteMode::Permanent => writing.delete_permanently(&name),
                DeleteMode::Recoverable { window: Some(window) } => writing.delete_recoverably(&name, window),
                DeleteMode::Recoverable { window: None } | DeleteMode::StoreDefault => {
                    writing.delete_recoverably(&name, engine.config.recovery_window)
                }
            })
        };
        self.engine.run_exclusively(work).await
    }

    async fn restore(&self, name: &SecretName) -> Result<Metadata> {
        self.capabilities().check_restore(name)?;
        let name = name.clone();
        let work = move |engine: &Engine, ring: &_| engine.write(ring, |writing| writing.restore(&name));
        self.engine.run_exclusively(work).await
    }

    async fn list(&self, options: &ListOptions) -> Result<Page<Metadata>> {
        self.capabilities().check_list(options)?;
        let limit = options.page.limit_up_to(MAX_PAGE)?;
        let after = options.page.token.as_ref().map(name_after).transpose()?;
        let (prefix, deleted) = (options.prefix.clone(), options.deleted);
        let work = move |engine: &Engine, ring: &_| {
            engine.read(ring, |reading| {
                let catalog = engine.catalog(reading)?;
                let is_listed =
                    |row: &SecretRow| (row.deleted_at.is_some() == (deleted == Deleted::Only)) && !row.is_due(reading.now);
                let mut rows = from(&catalog, &prefix, after.as_deref())
                    .iter()
                    .take_while(|row| row.name.starts_with(&prefix))
                    .filter(|row| is_listed(row));
                let mut items = Vec::new();
                for row in rows.by_ref().take(limit) {
                    let name = SecretName::new(&row.name)?;
                    let current = row.history.current().ok_or_else(|| not_found(&name))?;
                    let mut metadata = reading.metadata(&name, current)?;
                    metadata.deleted_at = row.deleted_at.map(Time::to_system);
                    items.push(metadata);
                }
                let next = items
                    .last()
                    .filter(|_| rows.next().is_some())
                    .map(|last| token_after(&last.name));
                Ok(Page { items, next })
            })
        };
        self.engine.run(work).await
    }

    async fn versions(&self, name: &SecretName, page: &PageRequest) -> Result<Page<VersionInfo>> {
        self.capabilities().check_versions(name)?;
        let limit = page.limit_up_to(MAX_PAGE)?;
        let below = page.token.as_ref().map_or(Ok(u64::MAX), number_below)?;
        let name = name.clone();
        let work = move |engine: &Engine, ring: &_| {
            engine.read(ring, |reading| {
                let row = reading.present(&name)?;
                let current = row.history.current().map(|current| current.number);
                let mut older = row.history.entries().iter().rev().filter(|entry| entry.number < below);
                let mut items = Vec::new();
                for entry in older.by_ref().take(limit) {
                    let facts = reading.facts(name.as_str(), entry)?;
                    let mut version = VersionInfo::new(Version::from(entry.number), Some(entry.number) == current);
                    version.created = Some(facts.created.to_system());
                    version.expires_at = facts.expires_at.map(Time::to_system);
                    items.push(version);
                }
                let next = items
                    .last()
                    .filter(|_| older.next().is_some())
                    .map(|last| token_below(&last.version));
                Ok(Page { items, next })
            })
        };
        self.engine.run(work).await
    }

    async fn health(&self) -> Result<Health> {
        let work = |engine: &Engine, ring: &_| engine.read(ring, |reading| Ok(Arc::clone(&reading.verified)));
        let verified = self.engine.run(work).await?;
        let engine = Arc::clone(&self.engine);
        let generation = verified.head.generation;
        let (is_readable, unwritable, newer_elsewhere) = blocking(move || {
            Ok((
                engine.sqlite.is_readable_by_others(),
                engine.sqlite.unwritable_file(),
                engine.remembered.newer_elsewhere(generation, &engine.keys.ring()),
            ))
        })
        .await?;
        let mut health = Health::default();
        health.details = vec![
            ("store_id", verified.head.store.to_string()),
            ("generation", verified.head.generation.to_string()),
            ("key", verified.head.kek.to_string()),
        ];
        health.warnings.extend(self.engine.remembered.warning().map(str::to_owned));
        if is_readable {
            health.warnings.push(format!(
                "others may read the store's file: `chmod 600 {}`",
                self.engine.config.path.display()
            ));
        }
        if let Some(file) = unwritable {
            health.warnings.push(format!(
                "the store can't be written to: `chmod u+w {}`, as its owner",
                file.display()
            ));
        }
        if let Some(newer) = newer_elsewhere {
            health.warnings.push(format!(
                "this is an older copy: generation {newer} of the store is remembered under another path, this one has \
                 {generation}. If you did not copy or link it here on purpose, somebody exchanged its directory"
            ));
        }
        if verified.is_key_changing() {
            health
                .warnings
                .push("a change of the key was begun and not finished: run `keyfob key rotate` again".to_owned());
        }
        Ok(health)
    }
}

//! The verbs.

use std::fmt;
use std::sync::Arc;

use async_trait::async_trait;
use keyfob_core::{
    Capabilities, DeleteMode, DeleteOptions, ErrorKind, GetOptions, GetRequest, Health, ListOptions, Metadata, Page, PageRequest,
    PutRequest, Result, Secret, SecretName, SecretStore, StoreInfo, Version, VersionInfo, VersionSelector,
};

use super::SCHEME;
use super::config::{PostgresConfig, PostgresTls};
use super::connection::{COMMIT, Connection, Query, READ};
use super::engine::{Engine, within};
use super::error::{advised, of_reading};
use super::fetch;
use super::schema::MIGRATIONS;
use super::wanted::{Places, Wanted, Which};
use crate::error::{corrupt, not_found};
use crate::integrity::bucket_of;
use crate::keyring::MAX_UNLOCKS;
use crate::limits::DAY;
use crate::pages::{MAX_PAGE, number_below, token_below};
use crate::rows::Time;

/// keyfob's own encrypted store in PostgreSQL. Cheap to clone; clones share connections and keys.
#[derive(Clone)]
pub struct PostgresStore {
    info: Arc<StoreInfo>,
    pub(super) engine: Arc<Engine>,
}

impl PostgresStore {
    /// Makes the tables of a new, empty store in the configured schema, and the schema if it is missing, and opens it. All of it
    /// happens in one transaction; of several at once one makes the store.
    ///
    /// # Errors
    /// `AlreadyExists` when there is a store, which is left alone; `PermissionDenied` when the role may not make tables; those
    /// of the key's source and of [`open`](Self::open).
    pub async fn create(config: PostgresConfig) -> Result<Self> {
        Engine::create(config).await.map(Self::new)
    }

    /// Brings the tables of an older keyfob up to date, in one transaction, for which writers wait; of several at once one does
    /// it. False when there is nothing to do. Needs no key; the role must own the tables.
    ///
    /// # Errors
    /// - `NotFound`: there is no store.
    /// - `InvalidConfig`: the tables are of a newer keyfob.
    /// - `PermissionDenied`: the role does not own the tables.
    /// - `Unavailable`: a table was in use for too long; nothing was changed.
    pub async fn upgrade(config: &PostgresConfig) -> Result<bool> {
        let before = Engine::upgrade(config, MIGRATIONS).await?;
        Ok(before.is_some())
    }

    /// Whether there is a store in the configured schema, of whatever layout. Needs no key.
    ///
    /// # Errors
    /// Those of the connection, and `PermissionDenied` when the role may not read the tables.
    pub async fn exists(config: &PostgresConfig) -> Result<bool> {
        Engine::exists(config).await
    }

    /// Opens an existing store. Never makes or changes a table.
    ///
    /// # Errors
    /// - `NotFound`: there is no store in the schema.
    /// - `InvalidConfig`: it is of another layout or format, the configuration is wrong, or the server's certificate is not trusted.
    /// - `Unauthenticated`: the database refuses the log-in, or the key does not fit.
    /// - `PermissionDenied`: the role may not read the tables, or what is remembered can't be read.
    /// - `Corrupt`: the head was changed from outside, or is older than what is remembered.
    /// - `Unavailable`: the server can't be reached.
    pub async fn open(config: PostgresConfig) -> Result<Self> {
        Engine::open(config).await.map(Self::new)
    }

    /// Removes the rows of everything whose time to be restored is over, and says how many buckets that changed. A write does
    /// this too, for the bucket that it changes.
    ///
    /// # Errors
    /// As any write.
    pub async fn purge(&self) -> Result<usize> {
        let now = Time::now().0;
        let rows = within(self.engine.config.timeout, async {
            let mut connection = Connection::take(&self.engine.pool).await?;
            let query: Query<'_> = (&self.engine.statements.due, vec![&now]);
            connection.read(Some(READ), &[query], Some(COMMIT)).await
        })
        .await
        .map_err(|error| self.engine.locate(of_reading(error)))?;
        let due = rows.first().map(Vec::as_slice).unwrap_or_default();
        for row in due {
            let bucket = fetch::bucket(row)?;
            self.engine.write(&Wanted::buckets([bucket]), |_| Ok(())).await?;
        }
        Ok(due.len())
    }

    fn new(engine: Arc<Engine>) -> Self {
        let mut capabilities = Capabilities::FULL;
        capabilities.recovery_window = Some((DAY, 3650 * DAY));
        let info = StoreInfo::new(SCHEME, engine.config.location(), capabilities);
        Self {
            info: Arc::new(info),
            engine,
        }
    }

    fn capabilities(&self) -> &Capabilities {
        &self.info.capabilities
    }

    async fn read_many(&self, requests: &[GetRequest]) -> Vec<Result<Secret>> {
        let is_locked = |answer: &Result<Secret>| matches!(answer, Err(error) if error.kind() == ErrorKind::Unauthenticated);
        let mut ring = self.engine.keys.ring();
        let mut answers = self.try_read_many(requests).await;
        for _ in 0..MAX_UNLOCKS {
            // The key is being changed by another client, and some values are under the new one already.
            if !answers.iter().any(is_locked) || !self.engine.unlock_again(&ring).await.unwrap_or(false) {
                break;
            }
            ring = self.engine.keys.ring();
            answers = self.try_read_many(requests).await;
        }
        answers
    }

    async fn try_read_many(&self, requests: &[GetRequest]) -> Vec<Result<Secret>> {
        let mut places = Places::default();
        for GetRequest { name, options, .. } in requests {
            let which = match &options.version {
                VersionSelector::Current => Some(Which::Newest),
                VersionSelector::Previous => Some(Which::SecondNewest),
                // What is no number is no version's token.
                VersionSelector::Exact(version) => version.as_str().parse().ok().map(Which::Number),
            };
            if let Some(which) = which {
                places.add(bucket_of(name.as_str()), name.as_str(), which);
            }
        }
        let buckets = requests.iter().map(|request| bucket_of(request.name.as_str()));
        let wanted = Wanted::buckets(buckets).with_versions(places, true);
        match self.engine.read(&wanted, |reading| Ok(reading.get_many(requests))).await {
            Ok(answers) => answers.into_iter().map(|answer| answer.map_err(advised)).collect(),
            Err(error) => vec![Err(error); requests.len()],
        }
    }
}

impl fmt::Debug for PostgresStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PostgresStore")
            .field("location", &self.info.location)
            .finish_non_exhaustive()
    }
}

#[async_trait]
impl SecretStore for PostgresStore {
    fn info(&self) -> &StoreInfo {
        &self.info
    }

    async fn get(&self, name: &SecretName, options: &GetOptions) -> Result<Secret> {
        self.capabilities().check_get(name, options)?;
        let request = GetRequest {
            name: name.clone(),
            options: options.clone(),
        };
        let answers = self.read_many(&[request]).await;
        answers.into_iter().next().unwrap_or_else(|| Err(not_found(name)))
    }

    async fn get_many(&self, requests: &[GetRequest]) -> Vec<Result<Secret>> {
        if requests.is_empty() {
            return Vec::new();
        }
        self.read_many(requests).await
    }

    async fn put(&self, name: &SecretName, request: PutRequest) -> Result<Metadata> {
        self.capabilities().check_put(name, &request)?;
        let keep = self.engine.config.keep_versions;
        // A change of metadata alone seals the present value again.
        let wanted = one(name, request.value.is_none());
        let result = self
            .engine
            .write(&wanted, |writing| writing.put(name, request.clone(), keep))
            .await;
        result.map_err(|error| error.with("name", name.as_str()))
    }

    async fn delete(&self, name: &SecretName, options: &DeleteOptions) -> Result<()> {
        self.capabilities().check_delete(name, options)?;
        let default = self.engine.config.recovery_window;
        let wanted = Wanted::buckets([bucket_of(name.as_str())]);
        let result = self
            .engine
            .write(&wanted, |writing| match options.mode {
                DeleteMode::Permanent => writing.delete_permanently(name),
                DeleteMode::Recoverable { window: Some(window) } => writing.delete_recoverably(name, window),
                DeleteMode::Recoverable { window: None } | DeleteMode::StoreDefault => writing.delete_recoverably(name, default),
            })
            .await;
        result.map_err(|error| error.with("name", name.as_str()))
    }

    async fn restore(&self, name: &SecretName) -> Result<Metadata> {
        self.capabilities().check_restore(name)?;
        let result = self.engine.write(&one(name, false), |writing| writing.restore(name)).await;
        result.map_err(|error| error.with("name", name.as_str()))
    }

    async fn list(&self, options: &ListOptions) -> Result<Page<Metadata>> {
        self.capabilities().check_list(options)?;
        self.list_page(options).await
    }

    async fn versions(&self, name: &SecretName, page: &PageRequest) -> Result<Page<VersionInfo>> {
        self.capabilities().check_versions(name)?;
        let limit = page.limit_up_to(MAX_PAGE)?;
        let below = page.token.as_ref().map_or(Ok(u64::MAX), number_below)?;
        let bucket = bucket_of(name.as_str());
        let wanted = Wanted::buckets([bucket]).with_all_facts_of(bucket, name.as_str());
        let work = |reading: &crate::reading::Reading<'_>| {
            let row = reading.present(name)?;
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
        };
        self.engine.read(&wanted, work).await
    }

    async fn health(&self) -> Result<Health> {
        let verified = self
            .engine
            .read(&Wanted::default(), |reading| Ok(Arc::clone(&reading.verified)))
            .await?;
        let rows = within(self.engine.config.timeout, async {
            let mut connection = Connection::take(&self.engine.pool).await?;
            let query: Query<'_> = (&self.engine.statements.health, Vec::new());
            connection.read(Some(READ), &[query], Some(COMMIT)).await
        })
        .await
        .map_err(|error| self.engine.locate(of_reading(error)))?;
        let row = rows
            .first()
            .and_then(|rows| rows.first())
            .ok_or_else(|| corrupt("a read went unanswered"))?;
        let mut health = Health::default();
        let config = &self.engine.config;
        health.details = vec![
            ("store_id", verified.head.store.to_string()),
            ("generation", fetch::column::<Option<i64>>(row, 4)?.unwrap_or(0).to_string()),
            ("key", verified.head.kek.to_string()),
            ("server", fetch::column::<String>(row, 0)?),
            (
                "tls",
                if config.tls == PostgresTls::Off { "off" } else { "verified" }.to_owned(),
            ),
        ];
        health.warnings.extend(self.engine.remembered.warning().map(str::to_owned));
        if fetch::column(row, 1)? {
            health
                .warnings
                .push("the server is a standby: it takes no writes, and may lag behind".to_owned());
        }
        if fetch::column(row, 2)? {
            health
                .warnings
                .push("the server does not wait for its disk: what it confirms can be lost when it crashes (`fsync`, `synchronous_commit`)".to_owned());
        }
        if !fetch::column::<bool>(row, 3)? {
            health
                .warnings
                .push("this role may read the store and not write to it".to_owned());
        }
        if config.tls == PostgresTls::Off && !config.is_local() {
            health
                .warnings
                .push("the connection leaves this machine without TLS: whoever is between sees the password's exchange and all names, and can change answers".to_owned());
        }
        if verified.is_key_changing() {
            health
                .warnings
                .push("a change of the key was begun and not finished: run `keyfob key rotate` again".to_owned());
        }
        Ok(health)
    }
}

/// One secret with its newest version, for a write.
fn one(name: &SecretName, with_value: bool) -> Wanted {
    let bucket = bucket_of(name.as_str());
    let mut places = Places::default();
    places.add(bucket, name.as_str(), Which::Newest);
    Wanted::buckets([bucket]).with_versions(places, with_value)
}

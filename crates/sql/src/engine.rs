//! One open store: the database, the unlocked keys, and what was last found true.

use std::sync::{Arc, Mutex, PoisonError};

use keyfob_core::{ErrorKind, Result};
use tokio::sync::{Mutex as AsyncMutex, Semaphore};

use crate::blocking::{blocking, interrupted};
use crate::config::SqlConfig;
use crate::integrity::Buckets;
use crate::key_config::KeyConfig;
use crate::keyring::{Keyring, MAX_UNLOCKS};
use crate::keys::Keys;
use crate::reading::Reading;
use crate::remembered::Remembered;
use crate::root::{Known, root_mac};
use crate::root_tables::RootTables;
use crate::root_writing::RootWriting;
use crate::rows::{Digest, Head, SecretRow, Time};
use crate::sqlite::{CONNECTIONS, Outcome, Sqlite};
use crate::verified::Verified;
use crate::writing::Writing;

/// The scheme of the store's URLs, and what metadata calls it.
pub(crate) const SCHEME: &str = "sqlite";

/// Shared by all handles and by the threads that do the blocking work.
pub(crate) struct Engine {
    pub(crate) config: SqlConfig,
    pub(crate) sqlite: Sqlite,
    pub(crate) remembered: Remembered,
    pub(crate) scheme: Arc<str>,
    pub(crate) keys: Keys,
    verified: Mutex<Option<Arc<Verified>>>,
    catalog: Mutex<Option<(Digest, Arc<Vec<SecretRow>>)>>,
    readers: Semaphore,
    /// Waiting here is fair and costs nothing; waiting for SQLite's lock is polling.
    writer: AsyncMutex<()>,
}

impl Engine {
    /// Makes a new, empty store with a new key, protected by the configured one.
    pub(crate) async fn create(config: SqlConfig) -> Result<Arc<Self>> {
        config.check()?;
        let (ring, kek, slots) = Keyring::generate(&*config.key.source()?).await?;
        let path = config.path.clone();
        blocking(move || {
            Sqlite::create(&path, |tables| {
                let mut head = Head {
                    format: Head::FORMAT,
                    store: ring.store,
                    kek,
                    generation: 1,
                    next_purge: None,
                    mac: [0; 32],
                };
                head.mac = root_mac(&ring.key(head.kek)?.integrity, &head, &slots, &Buckets::new());
                tables.set_slots(&slots)?;
                tables.set_head(&head)
            })
        })
        .await?;
        Self::open(config).await
    }

    /// Opens an existing store, and finds it whole as far as its root goes.
    pub(crate) async fn open(config: SqlConfig) -> Result<Arc<Self>> {
        config.check()?;
        let opened = Self::unlock(&config).await;
        let (sqlite, ring) = match opened {
            // The key file may have been exchanged, at the end of a change of the key, between it and the slots.
            Err(error) if error.kind() == ErrorKind::Unauthenticated && matches!(config.key, KeyConfig::File(_)) => {
                Self::unlock(&config).await
            }
            opened => opened,
        }
        .map_err(|error| error.with("store", config.path.display().to_string()))?;
        let store = ring.store;
        let engine = Arc::new(Self {
            remembered: Remembered::open(config.state_dir.as_deref(), store, &config.path)?,
            keys: Keys::new(config.key.clone(), ring),
            scheme: Arc::from(SCHEME),
            verified: Mutex::default(),
            catalog: Mutex::default(),
            readers: Semaphore::new(CONNECTIONS),
            writer: AsyncMutex::new(()),
            config,
            sqlite,
        });
        engine
            .run(|engine, ring| {
                let verified = engine.read(ring, |reading| Ok(Arc::clone(&reading.verified)))?;
                engine.remembered.remember(&verified.head, ring);
                Ok(())
            })
            .await?;
        Ok(engine)
    }

    async fn unlock(config: &SqlConfig) -> Result<(Sqlite, Keyring)> {
        let (path, busy_timeout) = (config.path.clone(), config.busy_timeout);
        let (sqlite, store, slots) = blocking(move || {
            let sqlite = Sqlite::open(path, busy_timeout)?;
            // Not authentic yet: what opens the slots decides whether they are.
            let (store, slots) = sqlite.read(|tables| Ok((tables.head()?.store, tables.slots()?)))?;
            Ok((sqlite, store, slots))
        })
        .await?;
        // After the file: where there is no store, nobody should look for its key.
        let source = config.key.source()?;
        let ring = Keyring::unlock(&slots, &*source, store).await?;
        Ok((sqlite, ring))
    }

    /// Does blocking work that reads. When it meets a key that is not unlocked, the key has been changed by another
    /// process: then the slots are read again and the work is done again.
    pub(crate) async fn run<T: Send + 'static>(
        self: &Arc<Self>,
        work: impl Fn(&Self, &Keyring) -> Result<T> + Send + Sync + 'static,
    ) -> Result<T> {
        let work = Arc::new(work);
        let mut tries = 0;
        loop {
            let ring = self.keys.ring();
            match self.run_once(Arc::clone(&work)).await {
                // More than once only if the key changes again while the work waits for its turn.
                Err(error) if error.kind() == ErrorKind::Unauthenticated && tries < MAX_UNLOCKS => {
                    if !self.unlock_again(&ring).await? {
                        return Err(error);
                    }
                    tries += 1;
                }
                result => return result,
            }
        }
    }

    /// The same for work that writes: one at a time in this process.
    pub(crate) async fn run_exclusively<T: Send + 'static>(
        self: &Arc<Self>,
        work: impl Fn(&Self, &Keyring) -> Result<T> + Send + Sync + 'static,
    ) -> Result<T> {
        let _writer = self.writer.lock().await;
        self.run(work).await
    }

    /// Reads in one transaction, from an authentic root.
    pub(crate) fn read<T>(&self, ring: &Keyring, read: impl FnOnce(&Reading<'_>) -> Result<T>) -> Result<T> {
        // Before the transaction: then what it sees is at least as new.
        let known = self.known(ring)?;
        self.sqlite.read(|tables| {
            let reading = self.reading(tables, ring, &known)?;
            read(&reading)
        })
    }

    /// Writes in one transaction; what it returns is durable.
    pub(crate) fn write<T>(&self, ring: &Keyring, write: impl FnOnce(&mut Writing<'_>) -> Result<T>) -> Result<T> {
        self.write_root(ring, |writing, _| write(&mut writing.rows))
    }

    /// The same, for what changes more than rows.
    pub(crate) fn write_root<T>(
        &self,
        ring: &Keyring,
        write: impl FnOnce(&mut RootWriting<'_>, &dyn RootTables) -> Result<T>,
    ) -> Result<T> {
        let known = self.known(ring)?;
        let (result, verified) = self.sqlite.write(|tables| {
            let mut writing = RootWriting::begin(self.reading(tables, ring, &known)?)?;
            let result = write(&mut writing, tables)?;
            Ok(match writing.finish(tables)? {
                None => Outcome::Unchanged((result, None)),
                Some(verified) => Outcome::Commit((result, Some(verified))),
            })
        })?;
        if let Some(verified) = verified {
            self.remembered.remember(&verified.head, ring);
            self.keep(&verified);
        }
        Ok(result)
    }

    /// Every secret in the byte order of names. Made once for every generation: content that was found authentic
    /// at a root is the content at that root, whatever happens to the file.
    pub(crate) fn catalog(&self, reading: &Reading<'_>) -> Result<Arc<Vec<SecretRow>>> {
        let mac = reading.verified.head.mac;
        let mut kept = self.catalog.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((at, catalog)) = &*kept
            && *at == mac
        {
            return Ok(Arc::clone(catalog));
        }
        let catalog = Arc::new(reading.catalog()?);
        *kept = Some((mac, Arc::clone(&catalog)));
        Ok(catalog)
    }

    pub(crate) fn known(&self, ring: &Keyring) -> Result<Known> {
        Ok(Known {
            verified: self.last_verified(),
            record: self.remembered.read(ring)?,
        })
    }

    pub(crate) fn reading<'t>(&'t self, tables: &'t dyn RootTables, ring: &'t Keyring, known: &Known) -> Result<Reading<'t>> {
        let verified = Verified::read(tables, ring, known)?;
        self.keep(&verified);
        Ok(Reading {
            tables,
            ring,
            catalog: self.kept_catalog(&verified),
            verified,
            now: Time::now(),
            server_time: None,
            scheme: &self.scheme,
        })
    }

    /// The catalog at this root, if there is one. While another thread makes it, there is none yet.
    fn kept_catalog(&self, verified: &Verified) -> Option<Arc<Vec<SecretRow>>> {
        let kept = self.catalog.try_lock().ok()?;
        let (at, catalog) = kept.as_ref()?;
        (*at == verified.head.mac).then(|| Arc::clone(catalog))
    }

    pub(crate) fn last_verified(&self) -> Option<Arc<Verified>> {
        self.verified.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Waits for the writer of this process.
    pub(crate) async fn exclusively(&self) -> tokio::sync::MutexGuard<'_, ()> {
        self.writer.lock().await
    }

    async fn run_once<T: Send + 'static>(
        self: &Arc<Self>,
        work: Arc<impl Fn(&Self, &Keyring) -> Result<T> + Send + Sync + 'static>,
    ) -> Result<T> {
        let _permit = self.readers.acquire().await.map_err(|_| interrupted())?;
        let engine = Arc::clone(self);
        blocking(move || work(&engine, &engine.keys.ring())).await
    }

    /// Reads the key and the slots again. False when that unlocks nothing that was not in `before`.
    pub(crate) async fn unlock_again(self: &Arc<Self>, before: &Keyring) -> Result<bool> {
        let slots = || {
            let engine = Arc::clone(self);
            blocking(move || engine.sqlite.read(|tables| tables.slots()))
        };
        self.keys.unlock_again(before, slots).await
    }

    /// Keeps the newest root. Keys that have no slot any more are forgotten with it.
    fn keep(&self, verified: &Arc<Verified>) {
        let mut kept = self.verified.lock().unwrap_or_else(PoisonError::into_inner);
        if kept
            .as_ref()
            .is_some_and(|kept| kept.head.generation >= verified.head.generation)
        {
            return;
        }
        *kept = Some(Arc::clone(verified));
        self.keys.forget_without_slot(&verified.slots);
    }
}

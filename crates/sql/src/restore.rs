//! The way back to a backup.
//!
//! Putting an older copy of the file in place of the store's is what an attacker does, and is refused. To go back on
//! purpose has its own call, which says before what would be lost and makes the backup's content the *newest*
//! generation.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use keyfob_core::{Error, ErrorKind, Result};
use keyfob_envelope::{KekId, KeySlot, KeySource, StoreId, kek_of};

use crate::backup::reading_of_copy;
use crate::blocking::blocking;
use crate::config::SqlConfig;
use crate::engine::SCHEME;
use crate::error::corrupt;
use crate::integrity::{BucketHash, Buckets, bucket_of, secret_digest};
use crate::keyring::Keyring;
use crate::preview::{Content, RestorePreview};
use crate::reading::Reading;
use crate::remembered::Remembered;
use crate::root::root_mac;
use crate::root_tables::RootTables;
use crate::rows::{Head, SecretRow, VersionRow};
use crate::sqlite::{self, Outcome, Sqlite, from_io};
use crate::store::SqlStore;
use crate::verify::{expect_whole, verify};

impl SqlStore {
    /// Says what [`restore_backup`](Self::restore_backup) would change, and changes nothing.
    ///
    /// # Errors
    /// As for restoring.
    pub async fn preview_backup(config: SqlConfig, file: impl Into<PathBuf>) -> Result<RestorePreview> {
        let plan = Plan::new(config, file.into()).await?;
        blocking(move || plan.preview()).await
    }

    /// Makes the content of the backup `file` the newest generation of the store at `config`, in one transaction, and
    /// says what that changed. The key slots stay those of the present store.
    ///
    /// The present store need not be whole: that an older copy was put in its place is no hindrance. A present file
    /// that is damaged beyond reading is set aside under the name `FILE.damaged-GENERATION`, and a missing one is
    /// made; other processes must then open the store again.
    ///
    /// # Errors
    /// - `InvalidInput`: the backup belongs to another store, or is the store's own file.
    /// - `Corrupt`: the backup itself is damaged.
    /// - `Unauthenticated`: the key does not fit the backup or the present store. A backup from before a change of
    ///   the key needs the old key: restore it with that to another path.
    pub async fn restore_backup(config: SqlConfig, file: impl Into<PathBuf>) -> Result<RestorePreview> {
        let plan = Plan::new(config, file.into()).await?;
        blocking(move || plan.restore()).await
    }
}

/// Everything that must be known before anything is touched.
struct Plan {
    config: SqlConfig,
    file: PathBuf,
    store: StoreId,
    source: Arc<dyn KeySource>,
    backup_ring: Keyring,
    present: Present,
    remembered: Remembered,
}

enum Present {
    Missing,
    Damaged(Error),
    Readable { sqlite: Sqlite, ring: Keyring },
}

impl Plan {
    async fn new(config: SqlConfig, file: PathBuf) -> Result<Self> {
        config.check()?;
        let source = config.key.source()?;
        let (path, busy_timeout) = (config.path.clone(), config.busy_timeout);
        let backup_file = file.clone();
        let ((store, slots), present) = blocking(move || {
            if is_same_file(&path, &backup_file) {
                return Err(Error::new(ErrorKind::InvalidInput, "the backup is the store's own file")
                    .with("path", backup_file.display().to_string()));
            }
            let backup = sqlite::read_only(&backup_file, identity)?;
            let present = Sqlite::open(path, busy_timeout).and_then(|sqlite| {
                let identity = sqlite.read(identity)?;
                Ok((sqlite, identity))
            });
            Ok((backup, present))
        })
        .await?;
        let backup_ring = unlock(&slots, &*source, store, &file).await?;
        let present = match present {
            Err(error) if error.kind() == ErrorKind::NotFound => Present::Missing,
            Err(error) if error.kind() == ErrorKind::Corrupt => Present::Damaged(error),
            Err(error) => return Err(error),
            Ok((_, (other, _))) if other != store => {
                return Err(Error::new(ErrorKind::InvalidInput, "the backup belongs to another store")
                    .with("path", file.display().to_string())
                    .with("store_id", other.to_string())
                    .with("backup_of", store.to_string())
                    .with_hint("to read it as it is, put it back to a path where no store is"));
            }
            Ok((sqlite, (_, slots))) => match unlock(&slots, &*source, store, &config.path).await {
                Ok(ring) => Present::Readable { sqlite, ring },
                Err(error) if error.kind() == ErrorKind::Corrupt => Present::Damaged(error),
                Err(error) => return Err(error),
            },
        };
        Ok(Self {
            remembered: Remembered::open(config.state_dir.as_deref(), store, &config.path)?,
            config,
            file,
            store,
            source,
            backup_ring,
            present,
        })
    }

    fn preview(&self) -> Result<RestorePreview> {
        self.with_backup(|backup| {
            let catalog = backup.catalog()?;
            let present = match &self.present {
                Present::Missing => Ok(None),
                Present::Damaged(error) => Err(error.clone()),
                Present::Readable { sqlite, ring } => sqlite.read(|tables| content(tables, ring)).map(Some),
            };
            Ok(self.compare(backup, &catalog, present))
        })
    }

    fn restore(self) -> Result<RestorePreview> {
        self.with_backup(|backup| {
            let catalog = backup.catalog()?;
            let (preview, head, ring) = match &self.present {
                Present::Readable { sqlite, ring } => {
                    let (preview, head) = self.replace_content(backup, &catalog, sqlite, ring)?;
                    (preview, head, ring)
                }
                missing_or_damaged => {
                    let problem = match missing_or_damaged {
                        Present::Damaged(error) => Err(error.clone()),
                        _ => Ok(None),
                    };
                    let generation = self.next_generation(backup, 0)?;
                    if problem.is_err() {
                        set_aside(&self.config.path, generation)?;
                    }
                    let mut head = None;
                    Sqlite::create(&self.config.path, |tables| {
                        let keys = (backup.verified.head.kek, backup.verified.slots.clone());
                        head = Some(self.fill(tables, backup, &catalog, &self.backup_ring, keys, generation)?);
                        Ok(())
                    })?;
                    let head = head.ok_or_else(|| corrupt("the backup was not copied"))?;
                    (self.compare(backup, &catalog, problem), head, &self.backup_ring)
                }
            };
            self.remembered.remember(&head, ring);
            Ok(preview)
        })
    }

    /// In one transaction of the live file: other processes see the content before or after.
    fn replace_content(
        &self,
        backup: &Reading<'_>,
        catalog: &[SecretRow],
        sqlite: &Sqlite,
        ring: &Keyring,
    ) -> Result<(RestorePreview, Head)> {
        sqlite.write(|tables| {
            let present = content(tables, ring);
            // No version token is given twice, as far as the present store can be believed.
            let mut last: BTreeMap<&str, u64> = BTreeMap::new();
            if let Ok(content) = &present {
                last.extend(content.rows.iter().map(|row| (row.name.as_str(), row.last)));
            }
            let mut rows = catalog.to_vec();
            for row in &mut rows {
                row.last = row.last.max(last.get(row.name.as_str()).copied().unwrap_or(0));
            }
            let (head, mut slots) = (tables.head()?, tables.slots()?);
            if present.is_err() {
                // Nothing vouches for slots that this source does not open.
                slots.retain(|slot| ring.has(slot.kek) && self.source.fits(&slot.source));
            }
            let generation = self.next_generation(backup, head.generation)?;
            let preview = self.compare(backup, catalog, present.map(Some));
            tables.clear()?;
            let head = self.fill(tables, backup, &rows, ring, (head.kek, slots), generation)?;
            Ok(Outcome::Commit((preview, head)))
        })
    }

    /// Copies the backup's rows, with data keys that `ring` opens, and makes the record over them.
    fn fill(
        &self,
        tables: &dyn RootTables,
        backup: &Reading<'_>,
        rows: &[SecretRow],
        ring: &Keyring,
        (kek, slots): (KekId, Vec<KeySlot>),
        generation: u64,
    ) -> Result<Head> {
        let key = ring.key(kek)?;
        let mut hashes: BTreeMap<u16, BucketHash> = BTreeMap::new();
        for row in rows {
            let bucket = bucket_of(&row.name);
            let digest = secret_digest(&row.columns(&row.history.encode(), [0; 32]));
            tables.set_secret(bucket, row, &digest)?;
            hashes.entry(bucket).or_insert_with(BucketHash::new).add(&row.name, &digest);
        }
        backup.tables.all_versions(&mut |bucket, name, version| {
            let is_known = kek_of(version.wrapped_key).is_ok_and(|owner| slots.iter().any(|slot| slot.kek == owner));
            if is_known {
                return tables.add_version(bucket, name, version);
            }
            let wrapped_key = self.backup_ring.rewrap(&key.kek, name, version.number, version.wrapped_key)?;
            let version = VersionRow {
                wrapped_key: &wrapped_key,
                ..version.clone()
            };
            tables.add_version(bucket, name, &version)
        })?;
        let mut buckets = Buckets::new();
        for (bucket, hash) in hashes {
            let digest = hash.finish();
            tables.set_bucket(bucket, &digest)?;
            buckets.set(bucket, digest);
        }
        let mut head = Head {
            format: Head::FORMAT,
            store: self.store,
            kek,
            generation,
            next_purge: rows.iter().filter_map(|row| row.purge_at).min(),
            mac: [0; 32],
        };
        head.mac = root_mac(&key.integrity, &head, &slots, &buckets);
        tables.set_slots(&slots)?;
        tables.set_head(&head)?;
        Ok(head)
    }

    /// Reads the backup in one transaction, after finding every row of it whole.
    fn with_backup<T>(&self, work: impl FnOnce(&Reading<'_>) -> Result<T>) -> Result<T> {
        let damaged = |error: Error| match error.kind() {
            ErrorKind::Corrupt => error
                .with("path", self.file.display().to_string())
                .with_hint("this backup is damaged: take another"),
            _ => error,
        };
        let scheme = Arc::from(SCHEME);
        sqlite::read_only(&self.file, |tables| {
            let reading = reading_of_copy(tables, &self.backup_ring, &scheme).map_err(damaged)?;
            verify(&reading).and_then(expect_whole).map_err(damaged)?;
            work(&reading)
        })
    }

    fn compare(&self, backup: &Reading<'_>, rows: &[SecretRow], present: Result<Option<Content>>) -> RestorePreview {
        RestorePreview::new(backup.verified.head.generation, rows, present, self.newest_remembered())
    }

    fn next_generation(&self, backup: &Reading<'_>, present: u64) -> Result<u64> {
        let remembered = self.newest_remembered();
        let newest = remembered.max(present).max(backup.verified.head.generation);
        newest
            .checked_add(1)
            .filter(|next| i64::try_from(*next).is_ok())
            .ok_or_else(|| corrupt("the store's generation can't rise any further"))
    }

    fn newest_remembered(&self) -> u64 {
        let ring = match &self.present {
            Present::Readable { ring, .. } => ring,
            _ => &self.backup_ring,
        };
        // A record that is damaged is replaced by this.
        let record = self.remembered.read(ring).ok().flatten();
        record.map_or(0, |record| record.generation)
    }
}

fn identity(tables: &sqlite::SqliteTables<'_>) -> Result<(StoreId, Vec<KeySlot>)> {
    Ok((tables.head()?.store, tables.slots()?))
}

async fn unlock(slots: &[KeySlot], source: &dyn KeySource, store: StoreId, path: &Path) -> Result<Keyring> {
    Keyring::unlock(slots, source, store)
        .await
        .map_err(|error| error.with("path", path.display().to_string()))
}

/// The generation and the secrets of a store, whatever was known of it before.
fn content(tables: &dyn RootTables, ring: &Keyring) -> Result<Content> {
    let scheme = Arc::from(SCHEME);
    let reading = reading_of_copy(tables, ring, &scheme)?;
    Ok(Content {
        generation: reading.verified.head.generation,
        rows: reading.catalog()?,
    })
}

/// Renames a damaged store, with the files that SQLite keeps beside it.
fn set_aside(path: &Path, generation: u64) -> Result<()> {
    let with = |suffix: &str| {
        let mut name = OsString::from(path);
        name.push(suffix);
        PathBuf::from(name)
    };
    let aside = format!(".damaged-{generation}");
    for suffix in ["-wal", "-shm", ""] {
        match fs::rename(with(suffix), with(&format!("{aside}{suffix}"))) {
            Err(error) if suffix.is_empty() || error.kind() != std::io::ErrorKind::NotFound => {
                return Err(from_io(error, "can't set the damaged store aside", path));
            }
            _ => {}
        }
    }
    Ok(())
}

fn is_same_file(a: &Path, b: &Path) -> bool {
    match (fs::metadata(a), fs::metadata(b)) {
        (Ok(a), Ok(b)) => (a.dev(), a.ino()) == (b.dev(), b.ino()),
        _ => false,
    }
}

//! The tables in SQLite.

use std::borrow::Cow;
use std::cell::Cell;

use keyfob_core::Result;
use keyfob_envelope::{KekId, KeySlot, StoreId, kek_of};
use rusqlite::types::ValueRef;
use rusqlite::{CachedStatement, Connection, Params, Row, params};

use super::error::from_sqlite;
use crate::error::corrupt;
use crate::integrity::Buckets;
use crate::root_tables::{Place, RootTables, WrappedVersion};
use crate::rows::{Digest, Facts, Head, SecretColumns, SecretRow, Time, VersionRow};
use crate::tables::{At, Tables};

/// The tables as a transaction of this connection sees them.
pub(crate) struct SqliteTables<'c> {
    connection: &'c Connection,
    /// The two statements that run once for every secret of a batch: looking them up each time would show.
    version: Held<'c>,
    facts: Held<'c>,
}

/// A statement that is ready for the next row.
type Held<'c> = Cell<Option<CachedStatement<'c>>>;

impl<'c> SqliteTables<'c> {
    pub(crate) fn new(connection: &'c Connection) -> Self {
        Self {
            connection,
            version: Cell::default(),
            facts: Cell::default(),
        }
    }

    fn prepare(&self, sql: &str) -> Result<CachedStatement<'c>> {
        self.connection.prepare_cached(sql).map_err(from_sqlite)
    }

    fn execute(&self, sql: &str, params: impl Params) -> Result<usize> {
        self.prepare(sql)?.execute(params).map_err(from_sqlite)
    }

    /// Runs `sql` and shows each row.
    fn each(&self, sql: &str, params: impl Params, show: impl FnMut(&Row<'_>) -> Result<()>) -> Result<()> {
        each(&mut self.prepare(sql)?, params, show)
    }

    /// The same with a statement that is held for the next time.
    fn each_held(&self, held: &Held<'c>, sql: &str, params: impl Params, show: impl FnMut(&Row<'_>) -> Result<()>) -> Result<()> {
        let mut statement = match held.take() {
            Some(statement) => statement,
            None => self.prepare(sql)?,
        };
        each(&mut statement, params, show)?;
        held.set(Some(statement));
        Ok(())
    }
}

impl Tables for SqliteTables<'_> {
    fn secrets(&self, bucket: u16, show: &mut dyn FnMut(&SecretColumns<'_>) -> Result<()>) -> Result<()> {
        let sql = "SELECT bucket, name, last, deleted_at, purge_at, digest, history FROM secret WHERE bucket = ?1 ORDER BY name";
        self.each(sql, [bucket], |row| show(&secret(row)?))
    }

    fn all_secrets(&self, show: &mut dyn FnMut(u16, &SecretColumns<'_>) -> Result<()>) -> Result<()> {
        let sql = "SELECT bucket, name, last, deleted_at, purge_at, digest, history FROM secret ORDER BY bucket, name";
        self.each(sql, [], |row| show(bucket(row)?, &secret(row)?))
    }

    fn version(&self, at: At<'_>, show: &mut dyn FnMut(&VersionRow<'_>) -> Result<()>) -> Result<bool> {
        let sql = "SELECT bucket, name, number, created, updated, expires_at, description, tags, ciphertext_digest, wrapped_key, \
                   ciphertext FROM version WHERE bucket = ?1 AND name = ?2 AND number = ?3";
        let mut found = false;
        self.each_held(&self.version, sql, params![at.bucket, at.name, signed(at.number)], |row| {
            found = true;
            show(&version(row)?)
        })?;
        Ok(found)
    }

    fn facts(&self, at: At<'_>) -> Result<Option<(Facts<'static>, Digest)>> {
        let sql = "SELECT bucket, name, number, created, updated, expires_at, description, tags, ciphertext_digest \
                   FROM version WHERE bucket = ?1 AND name = ?2 AND number = ?3";
        let mut found = None;
        self.each_held(&self.facts, sql, params![at.bucket, at.name, signed(at.number)], |row| {
            found = Some((facts(row)?.into_owned(), bytes(row, 8)?));
            Ok(())
        })?;
        Ok(found)
    }

    fn all_versions(&self, show: &mut dyn FnMut(u16, &str, &VersionRow<'_>) -> Result<()>) -> Result<()> {
        let sql = "SELECT bucket, name, number, created, updated, expires_at, description, tags, ciphertext_digest, wrapped_key, \
                   ciphertext FROM version ORDER BY bucket, name, number";
        self.each(sql, [], |row| show(bucket(row)?, text(row, 1)?, &version(row)?))
    }

    fn set_secret(&self, bucket: u16, row: &SecretRow, digest: &Digest) -> Result<()> {
        self.execute(
            "INSERT OR REPLACE INTO secret (bucket, name, last, deleted_at, purge_at, digest, history) VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7)",
            params![
                bucket,
                row.name,
                signed(row.last),
                row.deleted_at.map(|time| time.0),
                row.purge_at.map(|time| time.0),
                digest,
                row.history.encode()
            ],
        )
        .map(drop)
    }

    fn remove_secret(&self, bucket: u16, name: &str) -> Result<()> {
        self.execute("DELETE FROM version WHERE bucket = ?1 AND name = ?2", params![bucket, name])?;
        self.execute("DELETE FROM secret WHERE bucket = ?1 AND name = ?2", params![bucket, name])
            .map(drop)
    }

    fn add_version(&self, bucket: u16, name: &str, row: &VersionRow<'_>) -> Result<()> {
        self.execute(
            "INSERT INTO version (bucket, name, number, created, updated, expires_at, description, tags, ciphertext_digest, \
             wrapped_key, ciphertext) VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11)",
            params![
                bucket,
                name,
                signed(row.number),
                row.facts.created.0,
                row.facts.updated.0,
                row.facts.expires_at.map(|time| time.0),
                row.facts.description.as_deref(),
                row.facts.tags,
                row.ciphertext_digest,
                row.wrapped_key,
                row.ciphertext
            ],
        )
        .map(drop)
    }

    fn remove_version(&self, at: At<'_>) -> Result<()> {
        self.execute(
            "DELETE FROM version WHERE bucket = ?1 AND name = ?2 AND number = ?3",
            params![at.bucket, at.name, signed(at.number)],
        )
        .map(drop)
    }
}

impl RootTables for SqliteTables<'_> {
    fn head(&self) -> Result<Head> {
        let mut head = None;
        let sql = "SELECT format, store_id, kek, generation, next_purge, mac FROM store WHERE id = 1";
        self.each(sql, [], |row| {
            head = Some(Head {
                format: integer(row, 0)?,
                store: StoreId(bytes(row, 1)?),
                kek: KekId(bytes(row, 2)?),
                generation: natural(row, 3)?,
                next_purge: time(row, 4)?,
                mac: bytes(row, 5)?,
            });
            Ok(())
        })?;
        head.ok_or_else(|| corrupt("the row that describes the store is missing"))
    }

    fn slots(&self) -> Result<Vec<KeySlot>> {
        let mut slots = Vec::new();
        self.each("SELECT kek, source, wrapped FROM key_slot", [], |row| {
            slots.push(KeySlot {
                kek: KekId(bytes(row, 0)?),
                source: text(row, 1)?.to_owned(),
                wrapped: blob(row, 2)?.to_vec(),
            });
            Ok(())
        })?;
        Ok(slots)
    }

    fn buckets(&self) -> Result<Buckets> {
        let mut buckets = Buckets::new();
        self.each("SELECT id, digest FROM bucket", [], |row| {
            let known = u16::try_from(integer(row, 0)?).is_ok_and(|id| bytes(row, 1).is_ok_and(|digest| buckets.set(id, digest)));
            if known {
                Ok(())
            } else {
                Err(corrupt("a row of the integrity record makes no sense"))
            }
        })?;
        Ok(buckets)
    }

    fn versions_of_other_keys(&self, kek: KekId, after: Option<&Place>, limit: usize) -> Result<Vec<WrappedVersion>> {
        let sql = "SELECT bucket, name, number, wrapped_key FROM version WHERE (bucket, name, number) > (?1, ?2, ?3) \
                   ORDER BY bucket, name, number";
        let (bucket_after, name_after, number_after) = match after {
            Some(place) => (i64::from(place.bucket), place.name.as_str(), signed(place.number)),
            None => (-1, "", 0),
        };
        let mut found = Vec::new();
        let mut statement = self.prepare(sql)?;
        let mut rows = statement
            .query(params![bucket_after, name_after, number_after])
            .map_err(from_sqlite)?;
        while found.len() < limit {
            let Some(row) = rows.next().map_err(from_sqlite)? else { break };
            let wrapped_key = blob(row, 3)?;
            if kek_of(wrapped_key).is_ok_and(|owner| owner == kek) {
                continue;
            }
            found.push(WrappedVersion {
                place: Place {
                    bucket: bucket(row)?,
                    name: text(row, 1)?.to_owned(),
                    number: natural(row, 2)?,
                },
                wrapped_key: wrapped_key.to_vec(),
            });
        }
        Ok(found)
    }

    fn set_head(&self, head: &Head) -> Result<()> {
        self.execute(
            "INSERT OR REPLACE INTO store (id, format, store_id, kek, generation, next_purge, mac) VALUES (1, ?1, ?2, ?3, ?4, ?5, ?6)",
            params![
                head.format,
                head.store.as_bytes(),
                head.kek.as_bytes(),
                signed(head.generation),
                head.next_purge.map(|time| time.0),
                head.mac
            ],
        )
        .map(drop)
    }

    fn set_slots(&self, slots: &[KeySlot]) -> Result<()> {
        self.execute("DELETE FROM key_slot", [])?;
        for slot in slots {
            self.execute(
                "INSERT INTO key_slot (kek, source, wrapped) VALUES (?1, ?2, ?3)",
                params![slot.kek.as_bytes(), slot.source, slot.wrapped],
            )?;
        }
        Ok(())
    }

    fn set_bucket(&self, bucket: u16, digest: &Digest) -> Result<()> {
        if *digest == Buckets::EMPTY {
            return self.execute("DELETE FROM bucket WHERE id = ?1", [bucket]).map(drop);
        }
        self.execute(
            "INSERT OR REPLACE INTO bucket (id, digest) VALUES (?1, ?2)",
            params![bucket, digest],
        )
        .map(drop)
    }

    fn set_wrapped_key(&self, at: At<'_>, wrapped_key: &[u8]) -> Result<()> {
        self.execute(
            "UPDATE version SET wrapped_key = ?4 WHERE bucket = ?1 AND name = ?2 AND number = ?3",
            params![at.bucket, at.name, signed(at.number), wrapped_key],
        )
        .map(drop)
    }

    fn clear(&self) -> Result<()> {
        for table in ["version", "secret", "bucket"] {
            self.execute(&format!("DELETE FROM {table}"), [])?;
        }
        Ok(())
    }
}

fn each(statement: &mut CachedStatement<'_>, params: impl Params, mut show: impl FnMut(&Row<'_>) -> Result<()>) -> Result<()> {
    let mut rows = statement.query(params).map_err(from_sqlite)?;
    while let Some(row) = rows.next().map_err(from_sqlite)? {
        show(row)?;
    }
    Ok(())
}

/// Columns `bucket, name, last, deleted_at, purge_at, digest, history`.
fn secret<'r>(row: &'r Row<'_>) -> Result<SecretColumns<'r>> {
    Ok(SecretColumns {
        name: text(row, 1)?,
        last: natural(row, 2)?,
        deleted_at: time(row, 3)?,
        purge_at: time(row, 4)?,
        digest: bytes(row, 5)?,
        history: blob(row, 6)?,
    })
}

/// Columns `bucket, name, number`, then [`facts`], `ciphertext_digest, wrapped_key, ciphertext`.
fn version<'r>(row: &'r Row<'_>) -> Result<VersionRow<'r>> {
    Ok(VersionRow {
        number: natural(row, 2)?,
        facts: facts(row)?,
        ciphertext_digest: bytes(row, 8)?,
        wrapped_key: blob(row, 9)?,
        ciphertext: blob(row, 10)?,
    })
}

/// Columns `created, updated, expires_at, description, tags` from the fourth on.
fn facts<'r>(row: &'r Row<'_>) -> Result<Facts<'r>> {
    Ok(Facts {
        created: Time(integer(row, 3)?),
        updated: Time(integer(row, 4)?),
        expires_at: time(row, 5)?,
        description: match column(row, 6)? {
            ValueRef::Null => None,
            _ => Some(Cow::Borrowed(text(row, 6)?)),
        },
        tags: Cow::Borrowed(text(row, 7)?),
    })
}

fn bucket(row: &Row<'_>) -> Result<u16> {
    u16::try_from(integer(row, 0)?).map_err(|_| strange())
}

fn column<'r>(row: &'r Row<'_>, index: usize) -> Result<ValueRef<'r>> {
    row.get_ref(index).map_err(from_sqlite)
}

fn integer(row: &Row<'_>, index: usize) -> Result<i64> {
    column(row, index)?.as_i64().map_err(|_| strange())
}

fn natural(row: &Row<'_>, index: usize) -> Result<u64> {
    u64::try_from(integer(row, index)?).map_err(|_| strange())
}

fn time(row: &Row<'_>, index: usize) -> Result<Option<Time>> {
    Ok(column(row, index)?.as_i64_or_null().map_err(|_| strange())?.map(Time))
}

fn text<'r>(row: &'r Row<'_>, index: usize) -> Result<&'r str> {
    column(row, index)?.as_str().map_err(|_| strange())
}

fn blob<'r>(row: &'r Row<'_>, index: usize) -> Result<&'r [u8]> {
    column(row, index)?.as_blob().map_err(|_| strange())
}

fn bytes<const N: usize>(row: &Row<'_>, index: usize) -> Result<[u8; N]> {
    blob(row, index)?.try_into().map_err(|_| strange())
}

fn strange() -> keyfob_core::Error {
    corrupt("a column holds something that was never written there")
}

/// Numbers begin at one and rise by one: no store lives long enough to reach the sign.
fn signed(number: u64) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}

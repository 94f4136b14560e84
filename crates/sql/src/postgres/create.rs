//! Making a store: its schema, its tables, its first rows; and bringing tables of an older keyfob up to date.

use std::sync::Arc;

use keyfob_core::{Error, ErrorKind, Result};
use keyfob_envelope::KeySlot;

use super::columns::{SlotColumns, signed};
use super::config::PostgresConfig;
use super::connection::{Connection, Execution, LONG, READ, WRITE, lasting, pool};
use super::engine::{Engine, lock_key, within};
use super::error::{advised, is_denied, of_reading};
use super::fetch;
use super::record::{BucketRow, sealed_head};
use super::schema::{MIGRATIONS, VERSION, layout_after, missing};
use super::seen_store::SeenStore;
use super::statements::{LOCK_ALONE, Statements};
use crate::error::corrupt;
use crate::integrity::{BUCKETS, Buckets};
use crate::keyring::Keyring;
use crate::rows::Head;

impl Engine {
    /// Makes the tables and an empty store with a new key, protected by the configured one.
    pub(super) async fn create(config: PostgresConfig) -> Result<Arc<Self>> {
        config.check()?;
        let source = config.key.source()?;
        let (ring, kek, slots) = Keyring::generate(&*source).await?;
        let head = sealed_head(ring.store, kek, 1, &slots, &ring)?;
        let (pool, statements) = (pool(&config)?, Statements::new(&config.schema));
        let made = async {
            let mut connection = Connection::take(&pool).await?;
            connection.perform(WRITE).await?;
            if let Some(found) = layout(&mut connection, &config.schema, true).await? {
                return Err(match other_layout(found, VERSION) {
                    Some(error) if found > VERSION => error,
                    _ => Error::new(ErrorKind::AlreadyExists, "there is a store already"),
                });
            }
            climb(&mut connection, &config.schema, MIGRATIONS, 0).await?;
            fill(&mut connection, &statements, &head, &slots, &ring).await?;
            Ok(connection)
        };
        let locate = |error: Error| advised(error).with("store", config.location());
        let connection = within(config.timeout, made).await.map_err(of_making).map_err(locate)?;
        connection.commit(config.timeout).await.map_err(locate)?;
        if let Some(directory) = &config.state_dir {
            // Whoever makes a store where another one was means to.
            SeenStore::replace(directory, &config.location(), source.id(), ring.store)?;
        }
        Self::open(config).await
    }

    /// Takes the tables of an older keyfob up to the layout that all `steps` lead to, in one transaction and alone. The layout
    /// before, if it was another one.
    pub(super) async fn upgrade(config: &PostgresConfig, steps: &[&str]) -> Result<Option<i32>> {
        config.check()?;
        let newest = layout_after(steps);
        let pool = pool(config)?;
        let upgraded = async {
            let mut connection = Connection::take(&pool).await?;
            // Most often there is nothing to do, and then nobody is kept waiting.
            let found = known_layout(&mut connection, &config.schema, newest, false).await?;
            connection.roll_back().await;
            if found == newest {
                return Ok(None);
            }
            let mut connection = Connection::take(&pool).await?;
            connection.perform(&lasting(WRITE)).await?;
            // Somebody else may have done it meanwhile.
            let found = known_layout(&mut connection, &config.schema, newest, true).await?;
            if found == newest {
                connection.roll_back().await;
                return Ok(None);
            }
            climb(&mut connection, &config.schema, steps, found).await?;
            let sql = format!("UPDATE \"{}\".store SET schema_version = $1 WHERE id = 1", config.schema);
            connection.write(&[(&sql, vec![&newest], Some(1))]).await?;
            Ok(Some((connection, found)))
        };
        let locate = |error: Error| advised(error).with("store", config.location());
        let Some((connection, found)) = within(LONG, upgraded).await.map_err(locate)? else {
            return Ok(None);
        };
        connection.commit(LONG).await.map_err(locate)?;
        Ok(Some(found))
    }

    /// Whether there is a store, of whatever layout.
    pub(super) async fn exists(config: &PostgresConfig) -> Result<bool> {
        config.check()?;
        let pool = pool(config)?;
        let found = within(config.timeout, async {
            layout(&mut Connection::take(&pool).await?, &config.schema, false).await
        });
        let found = found.await.map_err(of_reading);
        Ok(found
            .map_err(|error| advised(error).with("store", config.location()))?
            .is_some())
    }
}

/// There are no tables.
pub(super) fn no_store() -> Error {
    Error::new(ErrorKind::NotFound, "there is no store in this schema").with_hint("make one with `keyfob init`")
}

/// The error for tables that are not of the layout `newest`, if they aren't.
pub(super) fn other_layout(found: i32, newest: i32) -> Option<Error> {
    let message = || format!("the store has layout {found}, this keyfob knows {newest}");
    let error = |message: String, hint| Error::new(ErrorKind::InvalidConfig, message).with_hint(hint);
    match found {
        ..=0 => Some(corrupt("the store has a layout that there never was")),
        _ if found < newest => Some(error(
            message(),
            "`keyfob init` brings the tables up to date, as the role that owns them",
        )),
        _ if found > newest => Some(error(message(), "use the keyfob that wrote it, or a newer one")),
        _ => None,
    }
}

/// The layout of a store that is there and that `newest` can be made of.
async fn known_layout(connection: &mut Connection, schema: &str, newest: i32, prepare: bool) -> Result<i32> {
    let found = layout(connection, schema, prepare).await?.ok_or_else(no_store)?;
    match other_layout(found, newest) {
        Some(error) if !(1..newest).contains(&found) => Err(error),
        _ => Ok(found),
    }
}

/// Goes the steps that a store of layout `from` lacks.
async fn climb(connection: &mut Connection, schema: &str, steps: &[&str], from: i32) -> Result<()> {
    let schema = format!("\"{schema}\"");
    for step in missing(steps, from) {
        connection.perform(&step.replace("SCHEMA", &schema)).await?;
    }
    Ok(())
}

/// Who makes tables needs other rights than who reads and writes rows.
fn of_making(error: Error) -> Error {
    match error.kind() {
        ErrorKind::PermissionDenied if is_denied(&error) => {
            error.with_hint("the role must be allowed to make the schema (`GRANT CREATE ON DATABASE ... TO ...`), or own it")
        }
        _ => error,
    }
}

/// The layout of the tables in the schema; `None` when there is no store. With `prepare`, in the caller's transaction: excludes
/// everybody else, and makes the schema. Without, in one of its own, which it leaves open.
pub(super) async fn layout(connection: &mut Connection, schema: &str, prepare: bool) -> Result<Option<i32>> {
    if prepare {
        let lock = lock_key(schema);
        connection.read(None, &[(LOCK_ALONE, vec![&lock])], None).await?;
    }
    let sql = "SELECT current_setting('server_encoding'), EXISTS (SELECT FROM pg_namespace WHERE nspname = $1::text), \
               EXISTS (SELECT FROM pg_class JOIN pg_namespace AS n ON n.oid = relnamespace WHERE nspname = $1::text AND relname = 'store')";
    let begin = if prepare { None } else { Some(READ) };
    let rows = connection.read(begin, &[(sql, vec![&schema])], None).await?;
    let row = rows
        .first()
        .and_then(|rows| rows.first())
        .ok_or_else(|| corrupt("a read went unanswered"))?;
    if fetch::column::<&str>(row, 0)? != "UTF8" {
        return Err(
            Error::new(ErrorKind::InvalidConfig, "the database does not keep text as UTF-8")
                .with_hint("make one with `CREATE DATABASE ... ENCODING 'UTF8' TEMPLATE template0`"),
        );
    }
    let (has_schema, has_store): (bool, bool) = (fetch::column(row, 1)?, fetch::column(row, 2)?);
    if !has_store {
        if prepare && !has_schema {
            connection.perform(&format!("CREATE SCHEMA \"{schema}\"")).await?;
        }
        return Ok(None);
    }
    let sql = format!("SELECT schema_version FROM \"{schema}\".store");
    let rows = connection.read(None, &[(&sql, Vec::new())], None).await?;
    let row = rows.first().and_then(|rows| rows.first());
    let row = row.ok_or_else(|| corrupt("the row that describes the store is missing"))?;
    fetch::column(row, 0).map(Some)
}

/// Writes the rows of an empty store.
async fn fill(connection: &mut Connection, s: &Statements, head: &Head, slots: &[KeySlot], ring: &Keyring) -> Result<()> {
    let records: Vec<BucketRow> = (0..BUCKETS)
        .map(|bucket| {
            let record = BucketRow {
                bucket,
                generation: 0,
                digest: Buckets::EMPTY,
                kek: head.kek,
                mac: [0; 32],
            };
            record.sealed(ring)
        })
        .collect::<Result<_>>()?;
    let ids: Vec<i16> = records.iter().map(|record| record.bucket.cast_signed()).collect();
    let macs: Vec<&[u8]> = records.iter().map(|record| record.mac.as_slice()).collect();
    let slots = SlotColumns::new(slots);
    let (store, kek, mac) = (
        head.store.as_bytes().as_slice(),
        head.kek.as_bytes().as_slice(),
        head.mac.as_slice(),
    );
    let (generation, empty) = (signed(head.generation), Buckets::EMPTY.as_slice());
    let changes: [Execution<'_>; 3] = [
        (
            &s.insert_head,
            vec![&VERSION, &head.format, &store, &kek, &generation, &mac],
            Some(1),
        ),
        (&s.insert_slots, slots.parameters(), Some(slots.len())),
        (&s.insert_buckets, vec![&ids, &macs, &empty, &kek], Some(u64::from(BUCKETS))),
    ];
    connection.write(&changes).await
}

#[cfg(test)]
mod tests;

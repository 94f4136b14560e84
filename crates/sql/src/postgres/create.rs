//! Making a store: its schema, its tables, its first rows, and tables of an older keyfob brought up to date.

use std::sync::Arc;

use keyfob_core::{Error, ErrorKind, Result};
use keyfob_envelope::KeySlot;

use super::columns::{SlotColumns, signed};
use super::config::PostgresConfig;
use super::connection::{Connection, Execution, WRITE, pool};
use super::engine::{Engine, lock_key, within};
use super::fetch;
use super::record::{BucketRow, sealed_head};
use super::schema::{VERSION, missing};
use super::statements::{LOCK_ALONE, Statements};
use crate::error::corrupt;
use crate::integrity::{BUCKETS, Buckets};
use crate::keyring::Keyring;
use crate::rows::Head;

impl Engine {
    /// Makes the tables and an empty store with a new key, protected by the configured one; or brings the tables of an
    /// older keyfob up to date.
    pub(super) async fn create(config: PostgresConfig) -> Result<Arc<Self>> {
        config.check()?;
        let (ring, kek, slots) = Keyring::generate(&*config.key.source()?).await?;
        let head = sealed_head(ring.store, kek, 1, &slots, &ring)?;
        let (pool, statements) = (pool(&config)?, Statements::new(&config.schema));
        let made = async {
            let mut connection = Connection::take(&pool).await?;
            connection.perform(WRITE).await?;
            let found = layout(&mut connection, &config.schema, true).await?;
            if found == Some(VERSION) {
                return Err(Error::new(ErrorKind::AlreadyExists, "there is a store already"));
            }
            if let Some(newer) = found.filter(|found| *found > VERSION) {
                return Err(newer_layout(newer));
            }
            let schema = format!("\"{}\"", config.schema);
            for step in missing(found.unwrap_or(0)) {
                connection.perform(&step.replace("SCHEMA", &schema)).await?;
            }
            match found {
                None => fill(&mut connection, &statements, &head, &slots, &ring).await?,
                Some(_) => {
                    let sql = format!("UPDATE {schema}.store SET schema_version = {VERSION}");
                    connection.perform(&sql).await?;
                }
            }
            connection.commit(config.timeout).await
        };
        within(config.timeout, made)
            .await
            .map_err(|error| error.with("store", config.location()))?;
        Self::open(config).await
    }

    /// Whether there is a store of this layout or a newer one.
    pub(super) async fn exists(config: &PostgresConfig) -> Result<bool> {
        config.check()?;
        let pool = pool(config)?;
        let found = within(config.timeout, async {
            layout(&mut Connection::take(&pool).await?, &config.schema, false).await
        });
        let found = found.await.map_err(|error| error.with("store", config.location()))?;
        Ok(found.is_some_and(|found| found >= VERSION))
    }
}

/// The tables are those of a newer keyfob.
pub(super) fn newer_layout(found: i32) -> Error {
    let message = format!("the store has layout {found}, this keyfob knows {VERSION}");
    Error::new(ErrorKind::InvalidConfig, message).with_hint("use the keyfob that wrote it, or a newer one")
}

/// The layout of the tables in the schema; `None` when there is no store. With `prepare`, in a transaction: excludes
/// everybody else, and makes the schema.
pub(super) async fn layout(connection: &mut Connection, schema: &str, prepare: bool) -> Result<Option<i32>> {
    if prepare {
        let lock = lock_key(schema);
        connection.read(None, &[(LOCK_ALONE, vec![&lock])], None).await?;
    }
    let sql = "SELECT current_setting('server_encoding'), EXISTS (SELECT FROM pg_namespace WHERE nspname = $1::text), \
               EXISTS (SELECT FROM pg_class JOIN pg_namespace AS n ON n.oid = relnamespace WHERE nspname = $1::text AND relname = 'store')";
    let rows = connection.read(None, &[(sql, vec![&schema])], None).await?;
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

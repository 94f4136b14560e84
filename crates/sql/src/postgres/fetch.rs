//! From the rows of the server to what they say. Nothing that comes out of them is trusted.

use std::borrow::Cow;
use std::collections::BTreeMap;

use keyfob_core::{Error, ErrorKind, Result};
use keyfob_envelope::{KekId, KeySlot, StoreId};
use tokio_postgres::Row;
use tokio_postgres::types::FromSql;

use super::create::other_layout;
use super::error::strange;
use super::record::BucketRow;
use super::schema::VERSION;
use super::snapshot::{Circumstances, Snapshot, StoredSeal, StoredSecret, StoredVersion};
use crate::error::corrupt;
use crate::rows::{Facts, Head, Time};

/// The row of the head. Its layout and format are looked at first: a newer keyfob may have other columns.
pub(super) fn head(rows: &[Row]) -> Result<Head> {
    let [row] = rows else {
        return Err(corrupt("the row that describes the store is missing"));
    };
    let (layout, format): (i32, i64) = (column(row, 0)?, column(row, 1)?);
    if let Some(error) = other_layout(layout, VERSION) {
        return Err(error);
    }
    if format != Head::FORMAT {
        let message = format!("the store has format {format}, this keyfob knows {}", Head::FORMAT);
        return Err(Error::new(ErrorKind::InvalidConfig, message).with_hint("use the keyfob that wrote it, or a newer one"));
    }
    Ok(Head {
        format,
        store: StoreId(bytes(row, 2)?),
        kek: KekId(bytes(row, 3)?),
        generation: natural(row, 4)?,
        next_purge: None,
        mac: bytes(row, 5)?,
    })
}

/// The circumstances of a transaction, which are no part of the store. Nothing depends on them but what is said and when a
/// deleted secret goes.
pub(super) fn circumstances(rows: &[Row]) -> Result<Circumstances> {
    match rows {
        [row] => Ok(Circumstances {
            server_time: Time(column(row, 6)?),
            is_filtered: column(row, 7)?,
        }),
        _ => Err(strange()),
    }
}

pub(super) fn slots(rows: &[Row]) -> Result<Vec<KeySlot>> {
    let slot = |row: &Row| {
        Ok(KeySlot {
            kek: KekId(bytes(row, 0)?),
            source: column::<&str>(row, 1)?.to_owned(),
            wrapped: column::<&[u8]>(row, 2)?.to_vec(),
        })
    };
    rows.iter().map(slot).collect()
}

/// The records of buckets, every one only once.
pub(super) fn buckets(rows: &[Row]) -> Result<BTreeMap<u16, BucketRow>> {
    let mut found = BTreeMap::new();
    for row in rows {
        let bucket = bucket(row)?;
        let row = BucketRow {
            bucket,
            generation: natural(row, 1)?,
            digest: bytes(row, 2)?,
            kek: KekId(bytes(row, 3)?),
            mac: bytes(row, 4)?,
        };
        if found.insert(bucket, row).is_some() {
            return Err(corrupt("a bucket has two records").with("bucket", bucket.to_string()));
        }
    }
    Ok(found)
}

pub(super) fn add_secrets(snapshot: &mut Snapshot, rows: &[Row]) -> Result<()> {
    for row in rows {
        let secret = StoredSecret {
            name: column::<&str>(row, 1)?.to_owned(),
            last: natural(row, 2)?,
            deleted_at: time(row, 3)?,
            purge_at: time(row, 4)?,
            digest: bytes(row, 5)?,
            history: column::<&[u8]>(row, 6)?.to_vec(),
        };
        snapshot.add_secret(bucket(row)?, secret);
    }
    Ok(())
}

/// Versions, with their values when the rows have these columns.
pub(super) fn add_versions(snapshot: &mut Snapshot, rows: &[Row]) -> Result<()> {
    for row in rows {
        let sealed = match row.len() {
            0..=9 => None,
            _ => Some(StoredSeal {
                wrapped_key: column::<&[u8]>(row, 9)?.to_vec(),
                ciphertext: column::<&[u8]>(row, 10)?.to_vec(),
            }),
        };
        let version = StoredVersion {
            number: natural(row, 2)?,
            facts: Facts {
                created: Time(column(row, 3)?),
                updated: Time(column(row, 4)?),
                expires_at: time(row, 5)?,
                description: column::<Option<String>>(row, 6)?.map(Cow::Owned),
                tags: Cow::Owned(column(row, 7)?),
            },
            ciphertext_digest: bytes(row, 8)?,
            sealed,
        };
        snapshot.add_version(bucket(row)?, column::<&str>(row, 1)?.to_owned(), version);
    }
    Ok(())
}

/// The first column as the number of a bucket.
pub(super) fn bucket(row: &Row) -> Result<u16> {
    u16::try_from(column::<i16>(row, 0)?).map_err(|_| strange())
}

pub(super) fn column<'r, T: FromSql<'r>>(row: &'r Row, index: usize) -> Result<T> {
    // Its own words repeat what stands in the column.
    row.try_get(index).map_err(|_| strange())
}

pub(super) fn natural(row: &Row, index: usize) -> Result<u64> {
    u64::try_from(column::<i64>(row, index)?).map_err(|_| strange())
}

fn time(row: &Row, index: usize) -> Result<Option<Time>> {
    Ok(column::<Option<i64>>(row, index)?.map(Time))
}

fn bytes<const N: usize>(row: &Row, index: usize) -> Result<[u8; N]> {
    column::<&[u8]>(row, index)?.try_into().map_err(|_| strange())
}

//! What is written, as the types that the columns have.

use keyfob_core::Result;
use keyfob_envelope::KeySlot;

use super::connection::{Connection, Execution};
use super::record::BucketRow;
use super::schema::Parameter;
use super::snapshot::Change;
use super::statements::Statements;

/// Sends the changes of rows, then those of their buckets' records.
pub(super) async fn apply(connection: &mut Connection, s: &Statements, changes: &[Change], records: &[BucketRow]) -> Result<()> {
    let changes: Vec<ChangeColumns<'_>> = changes.iter().map(ChangeColumns::new).collect();
    let records: Vec<RecordColumns<'_>> = records.iter().map(RecordColumns::new).collect();
    let mut executions: Vec<Execution<'_>> = changes.iter().flat_map(|change| change.executions(s)).collect();
    executions.extend(records.iter().map(|record| record.execution(s)));
    connection.write(&executions).await
}

/// The columns of a change, as the types that the database has.
struct ChangeColumns<'c> {
    change: &'c Change,
    bucket: i16,
    name: &'c str,
    number: i64,
    times: [Option<i64>; 3],
    history: Vec<u8>,
    bytes: [&'c [u8]; 3],
    texts: (Option<&'c str>, &'c str),
    made: (i64, i64),
}

impl<'c> ChangeColumns<'c> {
    fn new(change: &'c Change) -> Self {
        let mut columns = Self {
            change,
            bucket: 0,
            name: "",
            number: 0,
            times: [None; 3],
            history: Vec::new(),
            bytes: [&[]; 3],
            texts: (None, ""),
            made: (0, 0),
        };
        match change {
            Change::SetSecret { bucket, row, digest } => {
                (columns.bucket, columns.name, columns.number) = (bucket.cast_signed(), &row.name, signed(row.last));
                columns.times = [row.deleted_at.map(|time| time.0), row.purge_at.map(|time| time.0), None];
                columns.history = row.history.encode();
                columns.bytes[0] = digest;
            }
            Change::RemoveSecret { bucket, name } => (columns.bucket, columns.name) = (bucket.cast_signed(), name),
            Change::RemoveVersion { bucket, name, number } => {
                (columns.bucket, columns.name, columns.number) = (bucket.cast_signed(), name, signed(*number));
            }
            Change::AddVersion { bucket, name, row } => {
                (columns.bucket, columns.name, columns.number) = (bucket.cast_signed(), name, signed(row.number));
                columns.made = (row.facts.created.0, row.facts.updated.0);
                columns.times[0] = row.facts.expires_at.map(|time| time.0);
                columns.texts = (row.facts.description.as_deref(), &row.facts.tags);
                columns.bytes[0] = &row.ciphertext_digest;
                if let Some(sealed) = &row.sealed {
                    columns.bytes[1] = &sealed.wrapped_key;
                    columns.bytes[2] = &sealed.ciphertext;
                }
            }
        }
        columns
    }

    fn executions<'a>(&'a self, s: &'a Statements) -> Vec<Execution<'a>> {
        let place: Vec<Parameter<'a>> = vec![&self.bucket, &self.name];
        match self.change {
            Change::SetSecret { .. } => {
                let mut parameters = place;
                parameters.extend([
                    &self.number as Parameter<'a>,
                    &self.times[0],
                    &self.times[1],
                    &self.bytes[0],
                    &self.history,
                ]);
                vec![(&s.set_secret, parameters, Some(1))]
            }
            Change::RemoveSecret { .. } => vec![(&s.remove_versions, place.clone(), None), (&s.remove_secret, place, Some(1))],
            Change::RemoveVersion { .. } => {
                let mut parameters = place;
                parameters.push(&self.number);
                vec![(&s.remove_version, parameters, None)]
            }
            Change::AddVersion { .. } => {
                let mut parameters = place;
                parameters.extend([&self.number as Parameter<'a>, &self.made.0, &self.made.1, &self.times[0]]);
                parameters.extend([&self.texts.0 as Parameter<'a>, &self.texts.1]);
                parameters.extend(self.bytes.iter().map(|bytes| bytes as Parameter<'a>));
                vec![(&s.add_version, parameters, Some(1))]
            }
        }
    }
}

struct RecordColumns<'r> {
    bucket: i16,
    generation: i64,
    digest: &'r [u8],
    mac: &'r [u8],
}

impl<'r> RecordColumns<'r> {
    fn new(record: &'r BucketRow) -> Self {
        Self {
            bucket: record.bucket.cast_signed(),
            generation: signed(record.generation),
            digest: &record.digest,
            mac: &record.mac,
        }
    }

    fn execution<'a>(&'a self, s: &'a Statements) -> Execution<'a> {
        let parameters: Vec<Parameter<'a>> = vec![&self.bucket, &self.generation, &self.digest, &self.mac];
        (&s.set_bucket, parameters, Some(1))
    }
}

/// Numbers begin at zero and rise by one: no store lives long enough to reach the sign.
pub(super) fn signed(number: u64) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}

/// Key slots as columns.
pub(super) struct SlotColumns<'s> {
    keks: Vec<&'s [u8]>,
    sources: Vec<&'s str>,
    wrapped: Vec<&'s [u8]>,
}

impl<'s> SlotColumns<'s> {
    pub(super) fn new(slots: &'s [KeySlot]) -> Self {
        Self {
            keks: slots.iter().map(|slot| slot.kek.as_bytes().as_slice()).collect(),
            sources: slots.iter().map(|slot| slot.source.as_str()).collect(),
            wrapped: slots.iter().map(|slot| slot.wrapped.as_slice()).collect(),
        }
    }

    pub(super) fn parameters(&self) -> Vec<Parameter<'_>> {
        vec![&self.keks, &self.sources, &self.wrapped]
    }

    pub(super) fn len(&self) -> u64 {
        self.keks.len() as u64
    }
}

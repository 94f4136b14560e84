//! A log in a table: what holds for any database.

#![expect(clippy::unwrap_used, reason = "helpers of tests may panic as tests do")]

mod common;

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

use common::record;
use keyfob_audit::{
    AuditReader, Checkpoint, Durability, LineTable, SigningKey, TableAudit, TableAuditOptions, Verification, checkpoint_of_table,
    verify_table,
};
use keyfob_core::{AuditFilter, AuditReceipt, AuditSink, Error, ErrorKind, Result};

/// A table in memory, shared by those who write to it.
#[derive(Clone, Default)]
struct Table(Arc<Mutex<BTreeMap<u64, String>>>);

impl LineTable for Table {
    fn place(&self) -> String {
        "memory".to_owned()
    }

    fn last(&mut self) -> Result<u64> {
        Ok(self.0.lock().unwrap().keys().next_back().copied().unwrap_or(0))
    }

    fn lines(&mut self, first: u64, most: u64) -> Result<Vec<(u64, String)>> {
        let rows = self.0.lock().unwrap();
        let most = usize::try_from(most).unwrap();
        Ok(rows
            .range(first..)
            .take(most)
            .map(|(number, line)| (*number, line.clone()))
            .collect())
    }

    fn add(&mut self, first: u64, lines: &[&str]) -> Result<()> {
        let mut rows = self.0.lock().unwrap();
        let numbered = || (first..).zip(lines);
        if numbered().any(|(number, _)| rows.contains_key(&number)) {
            return Err(Error::new(ErrorKind::Conflict, "there is such a line"));
        }
        rows.extend(numbered().map(|(number, line)| (number, (*line).to_owned())));
        Ok(())
    }
}

struct Bed {
    table: Table,
    place: tempfile::TempDir,
}

impl Bed {
    fn new() -> Self {
        let place = tempfile::tempdir().unwrap();
        SigningKey::create_file(place.path().join("key")).unwrap();
        let table = Table::default();
        Self { table, place }
    }

    fn key(&self) -> SigningKey {
        SigningKey::from_file(self.place.path().join("key")).unwrap()
    }

    fn options(&self) -> TableAuditOptions {
        TableAuditOptions::new(Box::new(self.table.clone()), self.key())
    }

    fn open(&self, durability: Durability) -> TableAudit {
        TableAudit::open(self.options().durability(durability)).unwrap()
    }

    fn with(&self, count: u64) -> &Self {
        let log = self.open(Durability::BestEffort);
        for number in 0..count {
            let _ = log.record(record(number));
        }
        log.close().unwrap();
        self
    }

    fn verify(&self, kept: &[Checkpoint]) -> Verification {
        verify_table(&mut self.table.clone(), &[self.key().public_key()], kept).unwrap()
    }

    fn checkpoint(&self) -> Checkpoint {
        checkpoint_of_table(&mut self.table.clone(), &[self.key().public_key()]).unwrap()
    }
}

#[test]
fn what_was_recorded_is_verified_and_read_back() {
    let bed = Bed::new();
    bed.with(2500).with(3);
    let seen = bed.verify(&[bed.checkpoint()]);
    assert!(seen.is_intact(), "{seen:?}");
    assert_eq!((seen.accesses, seen.unsigned), (2503, 0));
    let mut reader = AuditReader::of_table(Box::new(bed.table.clone()), AuditFilter::default()).unwrap();
    let mut count = 0;
    while reader.next().unwrap().is_some() {
        count += 1;
    }
    assert_eq!(count, 2503);
    // It follows.
    bed.with(1);
    assert!(reader.next().unwrap().is_some() && reader.next().unwrap().is_none());
}

#[test]
fn many_writers_make_one_chain() {
    let bed = Bed::new();
    std::thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                for _ in 0..20 {
                    bed.with(5);
                }
            });
        }
    });
    let seen = bed.verify(&[]);
    assert!(seen.is_intact(), "{seen:?}");
    assert_eq!((seen.accesses, seen.lost), (400, 0));
}

#[tokio::test]
async fn a_durable_record_is_there_when_its_receipt_is() {
    let bed = Bed::new();
    let log = bed.open(Durability::Durable);
    for number in 0..50 {
        let AuditReceipt::Pending(receipt) = log.record(record(number)) else {
            panic!("nothing to wait for")
        };
        receipt.await.unwrap();
        assert_eq!(bed.verify(&[]).accesses, number + 1);
    }
}

#[test]
fn a_change_a_deletion_a_swap_and_a_cut_are_found() {
    let bed = Bed::new();
    bed.with(30);
    let kept = bed.checkpoint();
    let original = bed.table.0.lock().unwrap().clone();
    let last = *original.keys().next_back().unwrap();
    let found = |change: &dyn Fn(&mut BTreeMap<u64, String>)| {
        let mut rows = original.clone();
        change(&mut rows);
        *bed.table.0.lock().unwrap() = rows;
        bed.verify(std::slice::from_ref(&kept)).finding.map(|finding| finding.seq)
    };
    assert_eq!(found(&|_| ()), None);
    for number in 2..=last {
        assert_eq!(found(&|rows| drop(rows.remove(&number))), Some(number), "{number}");
        let edit = |rows: &mut BTreeMap<u64, String>| {
            let line = rows.get_mut(&number).unwrap();
            *line = line.replacen("\"time\":\"2", "\"time\":\"3", 1);
        };
        assert_eq!(found(&edit), Some(number));
    }
    let swap = |rows: &mut BTreeMap<u64, String>| {
        let (one, other) = (rows[&5].clone(), rows[&6].clone());
        rows.insert(5, other);
        rows.insert(6, one);
    };
    assert_eq!(found(&swap), Some(5));
    // A copy of a line under a number of its own.
    assert_eq!(
        found(&|rows| drop(rows.insert(last + 1, rows[&last].clone()))),
        Some(last + 1)
    );
    assert_eq!(found(&|rows| rows.retain(|number, _| *number < 10)), Some(10));

    // Nobody goes on with a log of which the end is gone.
    *bed.table.0.lock().unwrap() = original.clone();
    let log = bed.open(Durability::BestEffort);
    bed.table.0.lock().unwrap().retain(|number, _| *number < 10);
    bed.table.0.lock().unwrap().insert(last + 1, "x".to_owned());
    let _ = log.record(record(1));
    assert!(log.close().is_err());
}

#[test]
fn a_table_that_is_not_the_one_that_was_here_is_refused_or_marked() {
    let bed = Bed::new();
    let state = bed.place.path().join("state");
    let with_memory = |durability| {
        let log = TableAudit::open(bed.options().remember_in(&state).durability(durability))?;
        let receipt = log.record(record(1));
        assert!(matches!(receipt, AuditReceipt::Taken) || durability == Durability::Durable);
        log.close()
    };
    let harms: [fn(&mut BTreeMap<u64, String>); 3] = [
        BTreeMap::clear,
        |rows| rows.retain(|number, _| *number < 3),
        // Another line with the same number.
        |rows| {
            let line = rows.get(&2).cloned().unwrap();
            for (number, row) in rows.iter_mut().skip(2) {
                *row = line.replacen("\"seq\":2", &format!("\"seq\":{number}"), 1);
            }
        },
    ];
    for (number, harm) in harms.into_iter().enumerate() {
        *bed.table.0.lock().unwrap() = BTreeMap::new();
        let _ = std::fs::remove_dir_all(&state);
        for durability in [Durability::BestEffort, Durability::Durable, Durability::BestEffort] {
            with_memory(durability).unwrap();
        }
        let kept = Checkpoint::remembered_of_table(&state, &bed.table).unwrap().unwrap();
        assert_eq!(kept, bed.checkpoint());
        assert!(bed.verify(std::slice::from_ref(&kept)).is_intact());
        harm(&mut bed.table.0.lock().unwrap());
        let before = bed.table.0.lock().unwrap().clone();
        let error = with_memory(Durability::Durable).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Corrupt, "{number}: {error}");
        assert_eq!(*bed.table.0.lock().unwrap(), before);
        for _ in 0..2 {
            with_memory(Durability::BestEffort).unwrap();
        }
        with_memory(Durability::Durable).unwrap();
        let rows = bed.table.0.lock().unwrap().clone();
        let marks = rows.values().filter(|line| line.contains("\"kind\":\"missing\"")).count();
        assert_eq!(marks, 1, "{number}");
        assert!(bed.verify(&[]).finding.is_some(), "{number}");
    }
}

#[test]
fn a_table_of_another_key_is_refused_or_told() {
    let bed = Bed::new();
    bed.with(3);
    let other = SigningKey::create_file(bed.place.path().join("other")).unwrap();
    let public = other.public_key();
    let options = |key| TableAuditOptions::new(Box::new(bed.table.clone()), key);
    let error = TableAudit::open(options(other).durability(Durability::Durable)).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::InvalidConfig, "{error}");
    assert!(bed.verify(&[]).is_intact());
    let other = SigningKey::from_file(bed.place.path().join("other")).unwrap();
    let log = TableAudit::open(options(other)).unwrap();
    let _ = log.record(record(1));
    log.close().unwrap();
    assert!(bed.verify(&[]).finding.is_some());
    let keys = [bed.key().public_key(), public];
    assert!(verify_table(&mut bed.table.clone(), &keys, &[]).unwrap().is_intact());
}

//! A log is opened by its thread: nobody waits for it who need not.

#![expect(clippy::unwrap_used, reason = "helpers of tests may panic as tests do")]

mod common;

use std::fs::{self, File, OpenOptions, Permissions};
use std::os::unix::fs::PermissionsExt as _;
use std::sync::mpsc::{Sender, channel};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::Duration;

use common::{Bed, give, record};
use keyfob_audit::{Durability, FileAudit, LineTable, TableAudit, TableAuditOptions, verify};
use keyfob_core::{AuditReceipt, AuditSink, Error, ErrorKind, Result};
use rustix::fs::{FlockOperation, flock};

const MOMENT: Duration = Duration::from_millis(100);

/// Holds the lock of a log that need not be there yet.
fn hold(bed: &Bed) -> File {
    fs::create_dir_all(bed.log()).unwrap();
    fs::set_permissions(bed.log(), Permissions::from_mode(0o700)).unwrap();
    let mut options = OpenOptions::new();
    let lock = options
        .create(true)
        .truncate(false)
        .write(true)
        .open(bed.log().join("lock"))
        .unwrap();
    fs::set_permissions(bed.log().join("lock"), Permissions::from_mode(0o600)).unwrap();
    flock(&lock, FlockOperation::NonBlockingLockExclusive).unwrap();
    lock
}

#[test]
fn what_comes_while_another_process_holds_the_log_is_kept_when_it_lets_go() {
    let bed = Bed::new();
    let lock = hold(&bed);
    let log = FileAudit::start(bed.options()).unwrap();
    give(&log, 0..5);
    log.ready().unwrap();
    assert!(bed.files().is_empty());
    drop(lock);
    log.close().unwrap();
    assert_eq!((bed.verify().accesses, log.lost()), (5, 0));
}

#[test]
fn who_ends_waits_no_longer_than_it_is_told_and_hears_what_is_lost() {
    let bed = Bed::new();
    let lock = hold(&bed);
    let log = FileAudit::start(bed.options()).unwrap();
    give(&log, 0..3);
    let error = log.close_within(MOMENT).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unavailable);
    let told = error.to_string();
    assert!(
        told.contains("3 audit records are lost") && told.contains("another process holds it"),
        "{told}"
    );
    assert!(told.contains(&bed.log().display().to_string()), "{told}");
    assert!(error.hint().unwrap().contains("fuser"));
    // It was told once.
    log.close().unwrap();
    drop(lock);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_durable_log_that_is_held_is_waited_for_and_says_so() {
    let bed = Bed::new();
    let lock = hold(&bed);
    let log = FileAudit::start(bed.options().durability(Durability::Durable)).unwrap();
    assert!(tokio::time::timeout(MOMENT, log.opened()).await.is_err());
    let delay = log.delay().unwrap();
    let told = delay.to_string();
    assert!(told.contains("another process holds the audit log"), "{told}");
    assert!(told.contains(&bed.log().display().to_string()), "{told}");
    let AuditReceipt::Pending(receipt) = log.record(record(1)) else {
        panic!("nothing to wait for")
    };
    drop(lock);
    log.opened().await.unwrap();
    receipt.await.unwrap();
    assert_eq!(bed.verify().accesses, 1);
    // Who comes later waits for nothing.
    log.opened().await.unwrap();
}

#[test]
fn what_no_waiting_mends_is_told_at_once_however_much_accesses_wait() {
    let bed = Bed::new();
    let kind = |durability| FileAudit::start(bed.options().durability(durability)).unwrap_err().kind();
    for durability in [Durability::BestEffort, Durability::Durable] {
        fs::write(bed.log(), "").unwrap();
        assert_eq!(kind(durability), ErrorKind::InvalidConfig, "it is a file");
        fs::remove_file(bed.log()).unwrap();
        fs::create_dir(bed.log()).unwrap();
        fs::set_permissions(bed.log(), Permissions::from_mode(0o777)).unwrap();
        assert_eq!(kind(durability), ErrorKind::InvalidConfig, "others may write");
        fs::set_permissions(bed.log(), Permissions::from_mode(0o700)).unwrap();
        let first = bed.log().join("audit-00000001.jsonl");
        fs::write(&first, "").unwrap();
        fs::set_permissions(&first, Permissions::from_mode(0o666)).unwrap();
        assert_eq!(kind(durability), ErrorKind::InvalidConfig, "others may write the file");
        fs::remove_dir_all(bed.log()).unwrap();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_log_that_is_damaged_fails_durable_accesses_and_no_others() {
    let bed = Bed::new();
    let log = FileAudit::open(bed.options()).unwrap();
    give(&log, 0..3);
    log.close().unwrap();
    let file = bed.files().remove(0);
    let text = fs::read_to_string(&file).unwrap();
    fs::write(&file, format!("{text}{{}}\n")).unwrap();

    let log = FileAudit::start(bed.options().durability(Durability::Durable)).unwrap();
    assert_eq!(log.opened().await.unwrap_err().kind(), ErrorKind::Corrupt);
    assert_eq!(log.ready().unwrap_err().kind(), ErrorKind::Unavailable);
    drop(log);

    let log = FileAudit::start(bed.options()).unwrap();
    assert_eq!(log.opened().await.unwrap_err().kind(), ErrorKind::Corrupt);
    log.ready().unwrap();
    give(&log, 3..5);
    assert!(log.close().is_err());
    assert_eq!(log.lost(), 2);

    // Once it is as it was, the log is open again, and says what it lost.
    let log = FileAudit::start(bed.options()).unwrap();
    log.opened().await.unwrap_err();
    fs::write(&file, text).unwrap();
    give(&log, 5..6);
    log.close().unwrap();
    let seen = verify(bed.log(), &[bed.public_key], &[]).unwrap();
    assert!(seen.is_intact(), "{seen:?}");
    assert_eq!((seen.accesses, seen.lost), (4, 0));
}

/// A database that answers nothing before it is told to.
#[derive(Debug)]
struct Silent(Arc<Mutex<()>>);

impl LineTable for Silent {
    fn place(&self) -> String {
        "silent".to_owned()
    }

    fn last(&mut self) -> Result<u64> {
        drop(self.0.lock().unwrap());
        Err(Error::new(ErrorKind::Unavailable, "the database is gone"))
    }

    fn lines(&mut self, _: u64, _: u64) -> Result<Vec<(u64, String)>> {
        unreachable!("it has none")
    }

    fn add(&mut self, _: u64, _: &[&str]) -> Result<()> {
        unreachable!("its end is not known")
    }
}

/// Keeps a lock until it is told to let go.
fn held(lock: &Arc<Mutex<()>>) -> Sender<()> {
    let (let_go, told) = channel();
    let (lock, (is_held, wait)) = (Arc::clone(lock), channel());
    thread::spawn(move || {
        let _held = lock.lock().unwrap();
        is_held.send(()).unwrap();
        let _ = told.recv();
    });
    wait.recv().unwrap();
    let_go
}

#[tokio::test(flavor = "multi_thread")]
async fn nobody_waits_for_a_database_that_does_not_answer() {
    let bed = Bed::new();
    let lock = Arc::new(Mutex::new(()));
    let let_go = held(&lock);
    let start = |durability| {
        let options = TableAuditOptions::new(Box::new(Silent(Arc::clone(&lock))), bed.key());
        TableAudit::start(options.durability(durability)).unwrap()
    };
    let log = start(Durability::BestEffort);
    assert!(matches!(log.record(record(1)), AuditReceipt::Taken));
    log.ready().unwrap();
    let told = log.close_within(MOMENT).unwrap_err().to_string();
    assert!(
        told.contains("1 audit record is lost") && told.contains("does not answer"),
        "{told}"
    );

    let log = start(Durability::Durable);
    assert!(tokio::time::timeout(MOMENT, log.opened()).await.is_err());
    let told = log.delay().unwrap().to_string();
    assert!(told.contains("not open yet") && told.contains("silent"), "{told}");
    drop(let_go);
    assert_eq!(log.opened().await.unwrap_err().message(), "the database is gone");
    assert_eq!(log.ready().unwrap_err().kind(), ErrorKind::Unavailable);
}

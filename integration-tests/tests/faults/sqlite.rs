//! The SQLite store and what happens to files.

use std::fs;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use keyfob_core::ErrorKind::{self, Corrupt, InvalidConfig, NotFound, PermissionDenied, Timeout, Unauthenticated, Unavailable};
use keyfob_core::{PutRequest, SecretStore};
use keyfob_envelope::RawKey;
use keyfob_sql::{KeyConfig, SqlConfig, SqlStore};

use crate::bed::name;
use crate::files::{self, Kind, Place};
use crate::harm::{self, Fault, Moment, SmallDisk};
use crate::verb;

const SQLITE: Kind = Kind {
    scheme: "sqlite",
    file: "secrets.db",
    make,
    open,
};

/// Short, as no lock here goes by itself.
const BUSY: Duration = Duration::from_millis(100);
const CLOSED: &[Moment] = &[Moment::Closed];
const OPEN: &[Moment] = &[Moment::Open];
/// What a damaged file may be called: what says that it is a store, and of which key, can be what is damaged.
const DAMAGED: &[ErrorKind] = &[Corrupt, InvalidConfig, Unauthenticated];

fn make(place: &Place) -> files::Opening {
    RawKey::create_file(place.path("key")).unwrap();
    let config = config(place, place.file());
    Box::pin(async move { Ok(Arc::new(SqlStore::create(config).await?) as Arc<dyn SecretStore>) })
}

fn open(place: &Place) -> files::Opening {
    let config = config(place, place.file());
    Box::pin(async move { Ok(Arc::new(SqlStore::open(config).await?) as Arc<dyn SecretStore>) })
}

fn config(place: &Place, file: PathBuf) -> SqlConfig {
    let mut config = SqlConfig::new(file, KeyConfig::File(place.path("key"))).with_state_dir(place.path("state"));
    config.busy_timeout = BUSY;
    config
}

/// The one record of the newest generation.
fn record(place: &Place) -> PathBuf {
    let mut entries = fs::read_dir(place.path("state")).unwrap();
    entries.next().unwrap().unwrap().path()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_verb_meets_another_file() {
    let mut faults = Vec::new();
    for gone in [harm::directory_away, harm::file_away, harm::dangling_link] {
        faults.push(gone(&[NotFound]).at(CLOSED));
        // `NotFound` would say that the secret is not there.
        faults.push(gone(&[Unavailable]).at(OPEN));
    }
    faults.push(harm::link_to_itself(&[Unavailable]));
    faults.extend(harm::no_file(&[InvalidConfig]));
    let dotenv = Fault::instead("a `.env` file in its place", &[InvalidConfig], |_, file| {
        fs::write(file, "DB_PASSWORD='kfcanary-inanotherfile'\n".repeat(200)).unwrap();
    });
    faults.push(dotenv.clone().at(CLOSED));
    faults.push(dotenv.kinds(&[Corrupt]).at(OPEN));
    faults.push(another_store("another store of another key in its place", "other-key", &[Unauthenticated]).at(CLOSED));
    faults.push(another_store("another store of another key put in its place", "other-key", &[Corrupt]).at(OPEN));
    faults.push(another_store("another store of the same key put in its place", "key", &[Corrupt]).at(OPEN));
    faults.push(older_copy(&[Corrupt]));
    faults.push(directory_beside("-wal").at(CLOSED));
    // SQLite reads without it.
    faults.push(directory_beside("-shm").reads_succeed().at(CLOSED));
    files::run(SQLITE, &std::env::temp_dir(), faults, 4).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_verb_meets_damage() {
    let mut faults = vec![
        Fault::bytes("emptied", DAMAGED, Vec::clear),
        Fault::bytes("zeros", DAMAGED, |bytes| bytes.fill(0)).at(CLOSED),
        // Who has read all of it needs none of it again.
        Fault::bytes("zeros beneath it", DAMAGED, |bytes| bytes.fill(0))
            .may_succeed()
            .at(OPEN),
        // To SQLite, a file of a format that it may only read.
        Fault::bytes("a newer format of SQLite", DAMAGED, |bytes| bytes[18] = 3)
            .writes(&[PermissionDenied])
            .may_succeed(),
        Fault::bytes("zeros from the middle on", DAMAGED, |bytes| {
            let middle = bytes.len() / 2;
            bytes[middle..].fill(0);
        })
        .may_succeed(),
    ];
    // The header's magic, page size, versions, counters, sizes, format, and what makes the file ours.
    let header = [0, 16, 19, 21, 24, 28, 40, 44, 56, 60, 68, 92, 100].map(|place| (place, 0));
    // And the rest, in the middle of a page and elsewhere.
    for (place, step) in header.into_iter().chain((0..32).map(|step| (step * 61, step))) {
        let flipped = move |bytes: &mut Vec<u8>| {
            let place = (bytes.len() / 32 * step + place).min(bytes.len() - 1);
            bytes[place] ^= 0x41;
        };
        faults.push(Fault::bytes(format!("byte {place} of part {step}/32 flipped"), DAMAGED, flipped).may_succeed());
    }
    for step in 1..16 {
        let truncated = Fault::bytes(format!("truncated at {step}/16"), DAMAGED, move |bytes| {
            bytes.truncate(bytes.len() * step / 16);
        });
        faults.push(truncated.may_succeed());
    }
    files::run(SQLITE, &std::env::temp_dir(), faults, 4).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_verb_meets_a_lock_that_another_process_keeps() {
    let exclusive = "PRAGMA locking_mode = EXCLUSIVE; BEGIN EXCLUSIVE; SELECT * FROM store";
    let faults = vec![
        harm::locked("locked for writing", "BEGIN IMMEDIATE", Place::file, &[Unavailable]).reads_succeed(),
        harm::locked("locked for everything", exclusive, Place::file, &[Unavailable]).at(CLOSED),
        // It may be behind, so nobody need wait for it.
        harm::locked("its record locked", "flock", record, &[]).may_succeed(),
    ];
    files::run(SQLITE, &std::env::temp_dir(), faults, 8).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_verb_meets_another_key() {
    type Put = fn(&std::path::Path);
    let keys: [(&str, &'static [ErrorKind], Put); 6] = [
        ("another key", &[Unauthenticated], |file| {
            drop(RawKey::create_file(file).unwrap());
        }),
        ("no key", &[NotFound], |_| {}),
        ("an empty key file", &[InvalidConfig], |file| private(file, "")),
        ("no key in the key file", &[InvalidConfig], |file| {
            private(file, "kfcanary-notakeyatall");
        }),
        ("a directory as key file", &[InvalidConfig], |file| {
            fs::create_dir(file).unwrap();
        }),
        ("a pipe as key file", &[InvalidConfig], |file| {
            let mode = rustix::fs::Mode::RUSR | rustix::fs::Mode::WUSR;
            rustix::fs::mkfifoat(rustix::fs::CWD, file, mode).unwrap();
        }),
    ];
    let mut faults = Vec::new();
    for (name, kinds, put) in keys {
        let fault = Fault::new(name, kinds, move |place| {
            let (key, aside) = (place.path("key"), place.path("aside"));
            fs::rename(&key, &aside).unwrap();
            put(&key);
            Box::new(move || {
                if key.is_dir() {
                    fs::remove_dir(&key).unwrap();
                }
                fs::rename(aside, key).unwrap();
            })
        });
        faults.push(fault.at(CLOSED));
    }
    files::run(SQLITE, &std::env::temp_dir(), faults, 4).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_verb_meets_another_record_of_the_newest_generation() {
    let damaged = |name: &str, change: fn(&mut Vec<u8>)| {
        Fault::new(name, &[Corrupt], move |place| {
            let record = record(place);
            let before = fs::read(&record).unwrap();
            let mut bytes = before.clone();
            change(&mut bytes);
            fs::write(&record, bytes).unwrap();
            Box::new(move || fs::write(record, before).unwrap())
        })
    };
    let faults = vec![
        damaged("half of the record", |bytes| bytes.truncate(56)),
        damaged("a generation in the record that never was", |bytes| bytes[47] ^= 0x41),
        damaged("zeros for a record", |bytes| bytes.fill(0)),
        Fault::new("a directory in the place of the record", &[InvalidConfig], |place| {
            let (record, aside) = (record(place), place.path("aside"));
            fs::rename(&record, &aside).unwrap();
            fs::create_dir(&record).unwrap();
            Box::new(move || {
                fs::remove_dir(&record).unwrap();
                fs::rename(aside, record).unwrap();
            })
        })
        .at(CLOSED),
        // Without it nothing is less true; only an older copy is not noticed.
        Fault::new("the state directory moved away", &[], |place| {
            let (state, aside) = (place.path("state"), place.path("aside"));
            fs::rename(&state, &aside).unwrap();
            Box::new(move || {
                let _ = fs::remove_dir_all(&state);
                fs::rename(aside, state).unwrap();
            })
        })
        .may_succeed(),
    ];
    files::run(SQLITE, &std::env::temp_dir(), faults, 4).await;
}

#[test]
fn every_verb_meets_a_limit_of_the_size_of_files() {
    harm::in_a_process_of_its_own("sqlite::under_a_limit", "trap '' XFSZ; exec");
}

#[tokio::test]
#[ignore = "a process that `every_verb_meets_a_limit_of_the_size_of_files` starts"]
async fn under_a_limit() {
    // Where no write can succeed; opening makes files, too.
    let none = [0, 4096].map(|limit| {
        harm::size_limit(limit, &[Unavailable])
            .reads_succeed()
            .writes(&[Unavailable, Timeout])
    });
    // From where the write-ahead log begins to have room, to where there is enough.
    let some = (9..26).map(|pages| harm::size_limit(pages * 4096, &[Unavailable, Timeout]).may_succeed());
    files::run(SQLITE, &std::env::temp_dir(), none.into_iter().chain(some).collect(), 1).await;
}

#[test]
fn every_verb_meets_a_full_and_a_read_only_file_system() {
    harm::on_a_small_disk("sqlite::with_a_small_disk");
}

#[tokio::test]
#[ignore = "a process that `every_verb_meets_a_full_and_a_read_only_file_system` starts"]
async fn with_a_small_disk() {
    let disk = SmallDisk::mount();
    let mut faults = vec![
        disk.read_only(&[PermissionDenied]).at(CLOSED),
        disk.full(0, &[Unavailable]).reads_succeed(),
    ];
    faults.extend((1..26).map(|pages| disk.full(pages * 4096, &[Unavailable]).may_succeed()));
    files::run(SQLITE, disk.path(), faults, 1).await;
}

fn directory_beside(suffix: &'static str) -> Fault {
    Fault::new(
        format!("a directory in the place of `{suffix}`"),
        &[PermissionDenied],
        move |place| {
            let directory = place.directory().join(format!("secrets.db{suffix}"));
            fs::create_dir(&directory).unwrap();
            Box::new(move || fs::remove_dir(directory).unwrap())
        },
    )
}

fn private(file: &std::path::Path, contents: &str) {
    fs::write(file, contents).unwrap();
    fs::set_permissions(file, std::os::unix::fs::PermissionsExt::from_mode(0o600)).unwrap();
}

fn another_store(name: &str, key: &'static str, kinds: &'static [ErrorKind]) -> Fault {
    Fault::instead(name, kinds, move |place, file| {
        let (key, other) = (place.path(key), place.path("other.db"));
        if !key.exists() {
            RawKey::create_file(&key).unwrap();
        }
        let config = SqlConfig::new(&other, KeyConfig::File(key));
        at_once(async { verb::make_shared(&SqlStore::create(config).await.unwrap()).await });
        fs::rename(other, file).unwrap();
    })
}

fn older_copy(kinds: &'static [ErrorKind]) -> Fault {
    Fault::instead("an older copy in its place", kinds, |place, file| {
        let (aside, older) = (place.path("aside"), place.path("older"));
        fs::copy(&aside, &older).unwrap();
        fs::rename(&aside, file).unwrap();
        let config = config(place, file.to_owned());
        at_once(async {
            let store = SqlStore::open(config).await.unwrap();
            store
                .put(&name("newer"), PutRequest::new("kfcanary-newerthanthecopy"))
                .await
                .unwrap();
        });
        fs::rename(file, &aside).unwrap();
        fs::rename(older, file).unwrap();
    })
}

/// Runs it to its end, from code that is not asynchronous.
fn at_once<T: Send>(work: impl Future<Output = T> + Send) -> T {
    std::thread::scope(|scope| {
        let run = || tokio::runtime::Builder::new_current_thread().build().unwrap().block_on(work);
        scope.spawn(run).join().unwrap()
    })
}

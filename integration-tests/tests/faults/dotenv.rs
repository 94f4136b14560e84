//! The `.env` store and what happens to files.

use std::fs;
use std::sync::Arc;

use keyfob_core::ErrorKind::{Corrupt, InvalidConfig, NotFound, Other, PermissionDenied, Unavailable};
use keyfob_core::SecretStore;
use keyfob_env::{DotenvConfig, DotenvStore};

use crate::files::{self, Kind, Place};
use crate::harm::{self, Fault, SmallDisk};

const DOTENV: Kind = Kind {
    scheme: "dotenv",
    file: ".env",
    make: open,
    open,
};

/// What a file without the secrets says.
const LESS: &[&str] = &["not all names are listed"];

fn open(place: &Place) -> files::Opening {
    let config = DotenvConfig::new(place.file());
    Box::pin(async move { Ok(Arc::new(DotenvStore::new(&config)?) as Arc<dyn SecretStore>) })
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_verb_meets_another_file() {
    // A missing file is a store without secrets, and is made where its directory is.
    let mut faults = vec![
        harm::directory_away(&[NotFound])
            .reads_succeed()
            .unseen(LESS)
            .writes(&[NotFound, InvalidConfig]),
        harm::file_away(&[NotFound]).may_succeed().unseen(LESS),
        harm::dangling_link(&[NotFound])
            .reads_succeed()
            .unseen(LESS)
            .writes(&[NotFound, InvalidConfig]),
        harm::link_to_itself(&[Other]),
        Fault::instead("a SQLite database in its place", &[Corrupt], |_, file| {
            fs::write(file, b"SQLite format 3\0\x10\0\x02\x02\0\x40\x20\x20kfcanary-databasepage").unwrap();
        }),
        Fault::instead("more than a `.env` file has in its place", &[InvalidConfig], |_, file| {
            fs::File::create(file).unwrap().set_len(1 << 30).unwrap();
        }),
    ];
    faults.extend(harm::no_file(&[InvalidConfig]));
    files::run(DOTENV, &std::env::temp_dir(), faults, 4).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_verb_meets_damage() {
    let mut faults = vec![
        Fault::bytes("emptied", &[NotFound], Vec::clear).may_succeed().unseen(LESS),
        Fault::bytes("zeros", &[Corrupt], |bytes| bytes.fill(0)),
        // What a power failure makes of a file that something else wrote.
        Fault::bytes("zeros from the middle on", &[Corrupt], |bytes| {
            let middle = bytes.len() / 2;
            bytes[middle..].fill(0);
        }),
    ];
    for step in 0..40 {
        // No ASCII text is text any more with it. What a letter becomes another letter by, nobody can tell: the format has
        // no checksum.
        faults.push(Fault::bytes(format!("byte {step}/40 flipped"), &[Corrupt], move |bytes| {
            let place = bytes.len() * step / 40;
            bytes[place] ^= 0x80;
        }));
        let truncated = Fault::bytes(format!("truncated at {step}/40"), &[Corrupt, NotFound], move |bytes| {
            let mut length = bytes.len() * step / 40;
            // `NAME=` is an empty value, and nobody can tell.
            length -= usize::from(bytes[..length].ends_with(b"="));
            bytes.truncate(length);
        });
        faults.push(truncated.may_succeed().unseen(LESS));
    }
    files::run(DOTENV, &std::env::temp_dir(), faults, 4).await;
}

/// All at once: each waits as long as the store has patience.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_lock_that_another_process_keeps_is_waited_for_in_vain() {
    let lock = harm::locked("locked", "flock", Place::file, &[Unavailable]).reads_succeed();
    files::run(DOTENV, &std::env::temp_dir(), vec![lock], 16).await;
}

#[test]
fn every_verb_meets_a_limit_of_the_size_of_files() {
    harm::in_a_process_of_its_own("dotenv::under_a_limit", "trap '' XFSZ; exec");
}

#[tokio::test]
#[ignore = "a process that `every_verb_meets_a_limit_of_the_size_of_files` starts"]
async fn under_a_limit() {
    // None of them has room for the whole file.
    let faults = [0, 1, 512, 1024].map(|limit| harm::size_limit(limit, &[Unavailable]).reads_succeed());
    files::run(DOTENV, &std::env::temp_dir(), faults.into(), 1).await;
}

#[test]
fn every_verb_meets_a_full_and_a_read_only_file_system() {
    harm::on_a_small_disk("dotenv::with_a_small_disk");
}

#[tokio::test]
#[ignore = "a process that `every_verb_meets_a_full_and_a_read_only_file_system` starts"]
async fn with_a_small_disk() {
    let disk = SmallDisk::mount();
    let faults = vec![
        disk.read_only(&[PermissionDenied]).reads_succeed(),
        disk.full(0, &[Unavailable]).reads_succeed(),
    ];
    files::run(DOTENV, disk.path(), faults, 1).await;
}

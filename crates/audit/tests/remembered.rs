//! A log that was taken away, cut off or replaced is missed, because the last signed line is remembered outside of it.

#![expect(clippy::unwrap_used, reason = "helpers of tests may panic as tests do")]

mod common;

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use common::{Bed, Day, give};
use keyfob_audit::{Checkpoint, Durability, FileAudit, FileAuditOptions, SigningKey, checkpoint, verify};
use keyfob_core::{ErrorKind, Result};

fn state(bed: &Bed) -> PathBuf {
    bed.place.path().join("state")
}

fn options(bed: &Bed) -> FileAuditOptions {
    bed.options().remember_in(state(bed))
}

fn write(bed: &Bed, numbers: std::ops::Range<u64>) {
    let log = FileAudit::open(options(bed)).unwrap();
    give(&log, numbers);
    log.close().unwrap();
}

fn open_durably(bed: &Bed) -> Result<()> {
    FileAudit::open(options(bed).durability(Durability::Durable))?.close()
}

fn remembered(bed: &Bed) -> Option<Checkpoint> {
    Checkpoint::remembered(&state(bed), &bed.log()).unwrap()
}

/// What a proof with what is remembered finds, if anything.
fn found(bed: &Bed) -> Option<String> {
    let seen = verify(bed.log(), &[bed.public_key], remembered(bed).as_slice()).unwrap();
    seen.finding.map(|finding| finding.problem)
}

/// The only record in the state directory.
fn record_of(state: &Path) -> PathBuf {
    let mut files: Vec<PathBuf> = fs::read_dir(state).unwrap().map(|entry| entry.unwrap().path()).collect();
    assert_eq!(files.len(), 1, "{files:?}");
    files.remove(0)
}

/// A way to do harm to a log.
type Harm = fn(&Bed);

#[test]
fn a_log_that_is_not_the_one_that_was_here_is_refused_or_marked() {
    let harms: [(&str, Harm); 6] = [
        ("the directory is gone", |bed| fs::remove_dir_all(bed.log()).unwrap()),
        ("the file is gone", |bed| fs::remove_file(&bed.files()[0]).unwrap()),
        ("it is cut off", |bed| {
            let file = &bed.files()[0];
            let text = fs::read_to_string(file).unwrap();
            let cut: String = text.lines().take(3).map(|line| format!("{line}\n")).collect();
            fs::write(file, cut).unwrap();
        }),
        ("an older copy was put back, and others went on", |bed| {
            fs::remove_dir_all(bed.log()).unwrap();
            fs::create_dir(bed.log()).unwrap();
            fs::set_permissions(bed.log(), std::os::unix::fs::PermissionsExt::from_mode(0o700)).unwrap();
            let first = bed.place.path().join("first");
            fs::copy(first, bed.log().join("audit-00000001.jsonl")).unwrap();
            let log = FileAudit::open(bed.options()).unwrap();
            give(&log, 100..200);
            log.close().unwrap();
        }),
        ("another log is in its place", |bed| {
            fs::remove_dir_all(bed.log()).unwrap();
            let log = FileAudit::open(bed.options()).unwrap();
            give(&log, 0..100);
            log.close().unwrap();
        }),
        ("another log of the same length", |bed| {
            fs::remove_dir_all(bed.log()).unwrap();
            for part in 0..2 {
                let log = FileAudit::open(bed.options()).unwrap();
                give(&log, part * 5..part * 5 + 5);
                log.close().unwrap();
            }
        }),
    ];
    for (what, harm) in harms {
        let bed = Bed::new();
        write(&bed, 0..5);
        fs::copy(&bed.files()[0], bed.place.path().join("first")).unwrap();
        write(&bed, 5..10);
        assert_eq!(found(&bed), None);
        open_durably(&bed).unwrap();
        let before = remembered(&bed).unwrap();
        assert_eq!(before, checkpoint(bed.log(), &[bed.public_key]).unwrap());
        harm(&bed);

        let error = open_durably(&bed).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Corrupt, "{what}: {error}");
        let record = record_of(&state(&bed));
        assert!(
            error.hint().unwrap().contains(&record.display().to_string()),
            "{what}: {error:?}"
        );
        assert_eq!(remembered(&bed), Some(before), "{what}");

        // Best effort goes on, with a mark that stays found.
        write(&bed, 10..12);
        write(&bed, 12..13);
        open_durably(&bed).unwrap();
        let text: String = bed.files().iter().map(|file| fs::read_to_string(file).unwrap()).collect();
        assert_eq!(text.matches("\"kind\":\"missing\"").count(), 1, "{what}");
        assert!(found(&bed).unwrap().contains("the writer missed record"), "{what}");
        assert!(bed.verify().finding.is_some(), "{what}: found without what is remembered too");
    }
}

#[test]
fn what_was_taken_away_on_purpose_is_forgotten_with_its_record() {
    let bed = Bed::new();
    write(&bed, 0..5);
    fs::remove_dir_all(bed.log()).unwrap();
    open_durably(&bed).unwrap_err();
    assert!(!bed.log().exists(), "what is refused begins nothing");
    fs::remove_file(record_of(&state(&bed))).unwrap();
    open_durably(&bed).unwrap();
    write(&bed, 0..1);
    assert_eq!(found(&bed), None);
}

#[test]
fn files_that_end_and_that_are_old_enough_are_not_missed() {
    let bed = Bed::new();
    for number in 0..6 {
        let options = options(&bed).clock(Arc::new(Day(number * 548))).keep_years(3);
        let log = FileAudit::open(options.durability(Durability::Durable)).unwrap();
        log.close().unwrap();
        assert_eq!(found(&bed), None, "{number}");
    }
    let kept = fs::read(record_of(&state(&bed))).unwrap();
    assert!(!bed.log().join("audit-00000001.jsonl").exists());

    // Another machine goes on for years, until all that this one has seen is deleted.
    for number in 6..12 {
        let options = bed.options().clock(Arc::new(Day(number * 548))).keep_years(3);
        FileAudit::open(options).unwrap().close().unwrap();
    }
    assert!(fs::read(record_of(&state(&bed))).unwrap() == kept);
    assert_eq!(found(&bed), None);
    open_durably(&bed).unwrap();
    assert!(fs::read(record_of(&state(&bed))).unwrap() != kept, "it goes forward again");
}

#[test]
fn a_record_that_is_far_behind_is_found_in_a_long_log() {
    let bed = Bed::new();
    write(&bed, 0..3);
    let early = fs::read(record_of(&state(&bed))).unwrap();
    // More than is looked at of the end of a file, in several of them.
    for part in 0..3 {
        let log = FileAudit::open(options(&bed).max_bytes(1_500_000)).unwrap();
        give(&log, part * 5000..part * 5000 + 5000);
        log.close().unwrap();
    }
    assert!(bed.files().len() > 1);
    fs::write(record_of(&state(&bed)), &early).unwrap();
    open_durably(&bed).unwrap();
    assert!(fs::read(record_of(&state(&bed))).unwrap() != early, "it goes forward again");
    assert_eq!(found(&bed), None);
}

#[test]
fn a_file_that_is_gone_from_the_middle_is_missed() {
    let bed = Bed::new();
    for part in 0..3 {
        let log = FileAudit::open(options(&bed).max_bytes(1)).unwrap();
        give(&log, part..part + 1);
        log.close().unwrap();
        if part == 0 {
            fs::copy(record_of(&state(&bed)), bed.place.path().join("early")).unwrap();
        }
    }
    fs::copy(bed.place.path().join("early"), record_of(&state(&bed))).unwrap();
    let files = bed.files();
    let of_the_early = fs::read_to_string(bed.place.path().join("early")).unwrap();
    let gone = files
        .iter()
        .find(|file| fs::read_to_string(file).unwrap().contains(of_the_early.trim()))
        .unwrap();
    assert!(gone != &files[0] && Some(gone) != files.last());
    fs::remove_file(gone).unwrap();
    let error = open_durably(&bed).unwrap_err();
    assert!(error.to_string().contains("is gone"), "{error}");
}

#[test]
fn without_a_state_directory_a_log_is_kept_all_the_same() {
    let bed = Bed::new();
    for _ in 0..2 {
        let options = || bed.options().remember_in("/dev/null/state").durability(Durability::Durable);
        FileAudit::open(options()).unwrap().close().unwrap();
        fs::remove_dir_all(bed.log()).unwrap();
    }
    // Two with a memory of their own, as machines have.
    for state in ["one", "other", "one", "other"] {
        let options = bed.options().remember_in(bed.place.path().join(state));
        let log = FileAudit::open(options.durability(Durability::Durable)).unwrap();
        log.close().unwrap();
    }
}

#[test]
fn a_checkpoint_of_a_log_that_was_cut_off_does_not_follow_what_is_remembered() {
    let bed = Bed::new();
    write(&bed, 0..3);
    let early = fs::read(&bed.files()[0]).unwrap();
    let before = remembered(&bed).unwrap();
    write(&bed, 3..6);
    let last = || checkpoint(bed.log(), &[bed.public_key]).unwrap();
    let now = remembered(&bed).unwrap();
    last().follows(&before, &bed.log()).unwrap();
    last().follows(&now, &bed.log()).unwrap();
    fs::write(&bed.files()[0], early).unwrap();
    last().follows(&before, &bed.log()).unwrap();
    let error = last().follows(&now, &bed.log()).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Corrupt);
    // As long as before, but another.
    let options = bed.options();
    fs::remove_dir_all(bed.log()).unwrap();
    let log = FileAudit::open(options).unwrap();
    give(&log, 0..9);
    log.close().unwrap();
    assert!(
        last()
            .follows(&now, &bed.log())
            .unwrap_err()
            .to_string()
            .contains("another log")
    );
}

#[test]
fn a_damaged_record_is_refused_or_made_anew() {
    let bed = Bed::new();
    write(&bed, 0..3);
    let record = record_of(&state(&bed));
    fs::write(&record, "{\"seq\":").unwrap();
    let error = open_durably(&bed).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Corrupt);
    let shown = record.display().to_string();
    assert!(error.to_string().contains(&shown), "{error}");
    assert!(error.hint().unwrap().contains(&format!("remove `{shown}`")), "{error:?}");
    write(&bed, 3..4);
    open_durably(&bed).unwrap();
    assert_eq!(found(&bed), None);
    // To take a permission away does not switch it off.
    fs::remove_file(&record).unwrap();
    std::os::unix::fs::symlink("elsewhere", &record).unwrap();
    assert_eq!(FileAudit::start(options(&bed)).unwrap_err().kind(), ErrorKind::InvalidConfig);
}

#[test]
fn a_log_of_another_key_is_refused_or_told_and_proven_by_both() {
    let bed = Bed::new();
    write(&bed, 0..3);
    let other = || SigningKey::from_file(bed.place.path().join("other")).unwrap();
    let public = SigningKey::create_file(bed.place.path().join("other")).unwrap().public_key();
    let before = fs::read(&bed.files()[0]).unwrap();
    let options = || FileAuditOptions::new(bed.log(), other());
    let error = FileAudit::open(options().durability(Durability::Durable)).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::InvalidConfig);
    assert!(
        error.to_string().contains(&bed.public_key.id()) && error.to_string().contains(&public.id()),
        "{error}"
    );
    assert_eq!(fs::read(&bed.files()[0]).unwrap(), before);

    let log = FileAudit::open(options()).unwrap();
    give(&log, 3..5);
    log.close().unwrap();
    assert!(bed.verify().finding.is_some());
    assert!(verify(bed.log(), &[bed.public_key, public], &[]).unwrap().is_intact());

    // A signature that only says that it is of the key is none.
    let file = &bed.files()[0];
    let text = String::from_utf8(before).unwrap();
    let last = text.lines().last().unwrap();
    let signature = last.find("\"signature\":\"").unwrap() + 13;
    let swapped = if last[signature..].starts_with('A') { "B" } else { "A" };
    let forged = format!("{}{swapped}{}", &last[..signature], &last[signature + 1..]);
    fs::write(file, text.replace(last, &forged)).unwrap();
    let error = FileAudit::open(bed.options().durability(Durability::Durable)).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Corrupt);
}

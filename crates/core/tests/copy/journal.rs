//! What a journal is told, how fast writes begin, and copies of some names only.

use std::num::NonZeroU32;
use std::sync::Mutex;
use std::sync::atomic::Ordering;
use std::time::Duration;

use keyfob_core::copy::{self, CopyEntry, CopyJournal, CopyOptions};
use keyfob_core::{Error, ErrorKind, Result};

use crate::support::{Fault, Store, name, overwrite, words};

/// Writes down what it is told; refuses one name.
#[derive(Default)]
struct Notes {
    lines: Mutex<Vec<String>>,
    refuses: Option<&'static str>,
}

impl CopyJournal for Notes {
    fn begins(&self, planned: &CopyEntry) -> Result<()> {
        assert!(planned.written.is_none());
        if self.refuses == Some(planned.name.as_str()) {
            return Err(Error::new(ErrorKind::Other, "the disk is full").with("name", planned.name.as_str()));
        }
        let seen = planned.seen.is_some();
        self.note(format!("begins {} {} {seen}", planned.name, planned.outcome.as_str()));
        Ok(())
    }

    fn ended(&self, entry: &CopyEntry) {
        let written = entry.written.is_some();
        self.note(format!("ended {} {} {written}", entry.name, entry.outcome.as_str()));
    }
}

impl Notes {
    fn note(&self, line: String) {
        self.lines.lock().unwrap().push(line);
    }
}

#[tokio::test]
async fn every_write_is_told_before_and_after_and_nothing_else() {
    let (from, to) = (Store::new(), Store::new());
    for secret in ["changed", "new", "same"] {
        from.add(secret, "one").await;
    }
    to.add("changed", "two").await;
    to.add("same", "one").await;
    let mut options = overwrite();
    options.concurrency = 1;
    let plan = copy::plan(from, to, options, |_| {}).await.unwrap();
    let seen: Vec<bool> = plan.report().entries.iter().map(|entry| entry.seen.is_some()).collect();
    assert_eq!(seen, [true, false, true]);
    let notes = Notes::default();
    let report = plan.carry_out_with(&notes, |_| {}).await;
    assert_eq!(report.entries[2].seen, plan_version(&report.entries[2]));
    assert_eq!(
        *notes.lines.lock().unwrap(),
        [
            "begins changed changed true",
            "ended changed changed true",
            "begins new created false",
            "ended new created true"
        ]
    );
}

fn plan_version(entry: &CopyEntry) -> Option<keyfob_core::Version> {
    assert!(entry.seen.is_some() && entry.written.is_none());
    entry.seen.clone()
}

#[tokio::test]
async fn what_cannot_be_written_down_is_not_written() {
    let (from, to) = (Store::new(), Store::new());
    for secret in ["a", "b", "c"] {
        from.add(secret, "one").await;
    }
    let plan = copy::plan(from, to.clone(), CopyOptions::default(), |_| {}).await.unwrap();
    let notes = Notes {
        refuses: Some("b"),
        ..Notes::default()
    };
    let report = plan.carry_out_with(&notes, |_| {}).await;
    assert_eq!(words(&report), ["a created", "b failed other", "c created"]);
    assert_eq!(to.puts.load(Ordering::SeqCst), 2);
    assert!(!to.has("b", "one").await);
}

#[tokio::test]
async fn a_failed_write_has_ended_too() {
    let (from, to) = (Store::new(), Store::failing(Fault::Denied));
    from.add("a", "one").await;
    let plan = copy::plan(from, to, CopyOptions::default(), |_| {}).await.unwrap();
    let notes = Notes::default();
    plan.carry_out_with(&notes, |_| {}).await;
    assert_eq!(
        *notes.lines.lock().unwrap(),
        ["begins a created false", "ended a failed false"]
    );
}

#[tokio::test(start_paused = true)]
async fn no_more_writes_begin_in_a_second_than_the_rate() {
    let (from, to) = (Store::new(), Store::new());
    for index in 0..21 {
        from.add(&format!("s/{index:02}"), "one").await;
    }
    let mut options = CopyOptions::default();
    options.rate = NonZeroU32::new(10);
    let plan = copy::plan(from, to.clone(), options, |_| {}).await.unwrap();
    let begin = tokio::time::Instant::now();
    let mut times = Vec::new();
    plan.carry_out(|_| times.push(begin.elapsed())).await;
    assert_eq!(to.puts.load(Ordering::SeqCst), 21);
    for (index, time) in times.iter().enumerate() {
        let due = Duration::from_millis(100) * u32::try_from(index).unwrap();
        assert!(*time >= due && *time < due + Duration::from_millis(50), "{index}: {time:?}");
    }
}

#[tokio::test]
async fn names_that_are_given_are_all_that_is_copied_and_the_source_is_not_listed() {
    let (from, to) = (Store::new(), Store::new());
    for secret in ["app/a", "app/b", "z"] {
        from.add(secret, "one").await;
    }
    let mut options = CopyOptions::default();
    options.prefix = "app/".to_owned();
    options.names = Some([name("app/b"), name("app/none"), name("z")].into());
    let plan = copy::plan(from, to, options, |_| {}).await.unwrap();
    assert_eq!(words(&plan.report()), ["app/b created", "app/none failed not_found"]);
}

//! Taking back what a copy wrote.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use keyfob_core::copy::{self, CopyOptions, CopyOutcome, Undone, Wrote};
use keyfob_core::{DeleteOptions, ErrorKind, GetOptions, SecretStore as _};

use crate::support::{Fault, Store, canary, copied, name, overwrite};

/// A target that a copy created, changed and left things in, what it had before, and what was written.
async fn done() -> (Arc<Store>, Arc<Store>, Vec<Wrote>) {
    let (from, to, before) = (Store::new(), Store::new(), Store::new());
    for secret in ["new", "newer", "changed", "changed-2", "same"] {
        from.add(secret, "one").await;
    }
    for store in [&to, &before] {
        store.add("changed", "before").await;
        store.add("changed-2", "before").await;
        store.add("same", "one").await;
    }
    let plan = copy::plan(from.clone(), to.clone(), overwrite(), |_| {}).await.unwrap();
    let planned = plan.report();
    assert!(planned.entries.iter().all(|entry| entry.written.is_none()));
    let report = plan.carry_out(|_| {}).await;
    let entries = report.entries.iter().zip(&planned.entries);
    let wrote: Vec<Wrote> = entries
        .filter_map(|(entry, planned)| Wrote::of(entry, &planned.outcome))
        .collect();
    assert_eq!(wrote.len(), 4, "what is the same was not written");
    to.puts.store(0, Ordering::SeqCst);
    (to, before, wrote)
}

fn words(undone: &[Undone]) -> Vec<String> {
    let words = undone
        .iter()
        .map(|undone| format!("{} {}", undone.name, undone.outcome.as_str()));
    words.collect()
}

const ALL: [&str; 4] = ["changed put_back", "changed-2 put_back", "new deleted", "newer deleted"];

#[tokio::test]
async fn what_was_changed_is_put_back_and_what_was_made_is_deleted() {
    let (to, before, wrote) = done().await;
    let would = copy::undo(to.clone(), Some(before.clone()), &wrote, 4, true).await;
    assert_eq!(words(&would), ALL);
    assert!(
        to.has("new", "one").await && to.has("changed", "one").await,
        "a dry run changes nothing"
    );
    let undone = copy::undo(to.clone(), Some(before.clone()), &wrote, 4, false).await;
    assert_eq!(words(&undone), ALL);
    assert!(to.has("changed", "before").await && to.has("changed-2", "before").await && to.has("same", "one").await);
    let gone = to.get(&name("new"), &GetOptions::default()).await.unwrap_err();
    assert_eq!(gone.kind(), ErrorKind::NotFound);
    let again = copy::undo(to.clone(), Some(before), &wrote, 4, false).await;
    assert!(words(&again).iter().all(|word| word.ends_with(" unchanged")));
    assert_eq!(to.puts.load(Ordering::SeqCst), 2);
}

#[tokio::test]
async fn what_others_changed_since_is_left_to_them() {
    let (to, before, wrote) = done().await;
    to.add("new", "theirs").await;
    to.add("changed", "theirs").await;
    to.delete(&name("changed-2"), &DeleteOptions::default()).await.unwrap();
    let undone = copy::undo(to.clone(), Some(before), &wrote, 4, false).await;
    assert_eq!(
        words(&undone),
        ["changed left", "changed-2 left", "new left", "newer deleted"]
    );
    assert!(to.has("new", "theirs").await && to.has("changed", "theirs").await);
}

#[tokio::test]
async fn without_what_was_before_only_what_was_made_is_taken_back() {
    let (to, _, wrote) = done().await;
    let undone = copy::undo(to.clone(), None, &wrote, 0, false).await;
    assert_eq!(
        words(&undone),
        ["changed failed", "changed-2 failed", "new deleted", "newer deleted"]
    );
    assert!(to.has("changed", "one").await);
}

#[tokio::test(start_paused = true)]
async fn a_write_that_failed_after_it_was_made_is_known() {
    for (fault, is_known) in [
        (Fault::KeepsOtherBytes, true),
        (Fault::AnswerIsLost, true),
        (Fault::RequestIsLost, false),
        (Fault::Denied, false),
    ] {
        let (from, to) = (Store::new(), Store::failing(fault));
        from.add("a", "one").await;
        let report = copied(&from, &to, CopyOptions::default()).await;
        let wrote = Wrote::of(&report.entries[0], &CopyOutcome::Created);
        assert_eq!(wrote.is_some(), is_known);
        let undone = copy::undo(to.clone(), None, wrote.as_slice(), 1, false).await;
        assert_eq!(words(&undone), if is_known { vec!["a deleted"] } else { vec![] });
        let gone = to.right.get(&name("a"), &GetOptions::default()).await.map(|_| canary("x"));
        assert_eq!(gone.unwrap_err().kind(), ErrorKind::NotFound);
    }
}

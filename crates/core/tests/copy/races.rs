//! Other writers, lost answers, and stores that don't keep what they were given.

use keyfob_core::copy::{self, CopyOptions};
use keyfob_core::{Capabilities, Change, ErrorKind};

use crate::support::{Fault, Store, copied, overwrite, tags, words};

#[tokio::test]
async fn what_somebody_else_creates_meanwhile_is_never_replaced() {
    for (theirs, options, outcome) in [
        ("two", CopyOptions::default(), "a left value"),
        ("two", overwrite(), "a failed already_exists"),
        ("one", CopyOptions::default(), "a unchanged"),
        ("one", overwrite(), "a unchanged"),
    ] {
        let (from, to) = (Store::new(), Store::failing(Fault::OvertakenBy(theirs)));
        from.add("a", "one").await;
        assert_eq!(words(&copied(&from, &to, options).await), [outcome]);
        assert!(to.has("a", theirs).await);
        assert_eq!(to.versions_of("a").await, 1);
    }
}

#[tokio::test]
async fn what_somebody_else_changes_meanwhile_is_never_replaced() {
    for (theirs, outcome) in [("three", "a failed conflict"), ("one", "a unchanged")] {
        let (from, to) = (Store::new(), Store::failing(Fault::OvertakenBy(theirs)));
        from.add("a", "one").await;
        to.add("a", "two").await;
        assert_eq!(words(&copied(&from, &to, overwrite()).await), [outcome]);
        assert!(to.has("a", theirs).await);
    }
}

/// Such a store is looked at once more just before the write.
#[tokio::test]
async fn a_store_that_cannot_compare_is_looked_at_again_before_each_write() {
    let cannot_compare = |can: &mut Capabilities| (can.put_create, can.put_match) = (false, false);
    for (before, options, outcome) in [
        (None, CopyOptions::default(), "a left value"),
        (None, overwrite(), "a failed conflict"),
        (Some("two"), overwrite(), "a failed conflict"),
    ] {
        let (from, to) = (Store::new(), Store::with(cannot_compare, Fault::None));
        from.add("a", "one").await;
        if let Some(before) = before {
            to.add("a", before).await;
        }
        let plan = copy::plan(from.clone(), to.clone(), options, |_| {}).await.unwrap();
        to.add("a", "three").await;
        assert_eq!(words(&plan.carry_out(|_| {}).await), [outcome]);
        assert!(to.has("a", "three").await);
    }
    let (from, to) = (Store::new(), Store::with(cannot_compare, Fault::None));
    from.add("a", "one").await;
    from.add("b", "one").await;
    to.add("a", "two").await;
    let report = copied(&from, &to, overwrite()).await;
    assert_eq!(words(&report), ["a changed value", "b created"]);
}

#[tokio::test]
async fn what_is_deleted_meanwhile_is_not_made_again() {
    let (from, to) = (Store::new(), Store::new());
    from.add("a", "one").await;
    to.add("a", "two").await;
    let plan = copy::plan(from.clone(), to.clone(), overwrite(), |_| {}).await.unwrap();
    let mode = keyfob_core::DeleteMode::Permanent;
    keyfob_core::SecretStore::delete(&*to, &crate::support::name("a"), &keyfob_core::DeleteOptions { mode })
        .await
        .unwrap();
    assert_eq!(words(&plan.carry_out(|_| {}).await), ["a failed not_found"]);
}

#[tokio::test]
async fn the_source_is_read_again_so_a_newer_value_is_what_is_copied() {
    let (from, to) = (Store::new(), Store::new());
    from.add("a", "one").await;
    from.add("b", "one").await;
    let plan = copy::plan(from.clone(), to.clone(), CopyOptions::default(), |_| {})
        .await
        .unwrap();
    from.add("a", "newer").await;
    keyfob_core::SecretStore::delete(&*from, &crate::support::name("b"), &keyfob_core::DeleteOptions::default())
        .await
        .unwrap();
    assert_eq!(words(&plan.carry_out(|_| {}).await), ["a created", "b failed not_found"]);
    assert!(to.has("a", "newer").await);
}

#[tokio::test]
async fn a_write_whose_answer_is_lost_is_settled_by_reading() {
    let (from, to) = (Store::new(), Store::failing(Fault::AnswerIsLost));
    from.add("a", "one").await;
    assert_eq!(words(&copied(&from, &to, CopyOptions::default()).await), ["a created"]);
    assert_eq!(to.versions_of("a").await, 1);

    let to = Store::failing(Fault::RequestIsLost);
    to.add("a", "two").await;
    let report = copied(&from, &to, overwrite()).await;
    assert_eq!(words(&report), ["a failed timeout"]);
    assert!(report.failures().next().unwrap().1.hint().unwrap().contains("copy again"));
    assert!(to.has("a", "two").await);
}

#[tokio::test]
async fn what_is_not_kept_as_it_was_written_is_found() {
    for fault in [Fault::KeepsOtherBytes, Fault::LosesTags] {
        let (from, to) = (Store::new(), Store::failing(fault));
        from.put_with("a", "one", |request| request.tags = Change::Set(tags(&[("team", "db")])))
            .await;
        assert_eq!(words(&copied(&from, &to, CopyOptions::default()).await), ["a failed corrupt"]);
    }
}

#[tokio::test]
async fn a_write_that_shows_late_is_waited_for() {
    let (from, to) = (Store::new(), Store::failing(Fault::IsSeenLate));
    from.add("a", "one").await;
    assert_eq!(words(&copied(&from, &to, CopyOptions::default()).await), ["a created"]);
}

#[tokio::test]
async fn another_writer_just_after_is_no_damage() {
    // With versions it is our own that is read back; without, nothing can be proven.
    let (from, to) = (Store::new(), Store::failing(Fault::FollowedBy("two")));
    from.add("a", "one").await;
    assert_eq!(words(&copied(&from, &to, CopyOptions::default()).await), ["a created"]);
    let to = Store::with(|can| can.versions = false, Fault::FollowedBy("two"));
    assert_eq!(
        words(&copied(&from, &to, CopyOptions::default()).await),
        ["a failed conflict"]
    );
    assert!(to.has("a", "two").await);
}

#[tokio::test]
async fn one_refused_write_does_not_stop_the_others() {
    let (from, to) = (Store::new(), Store::failing(Fault::Denied));
    for secret in ["a", "b", "c"] {
        from.add(secret, "one").await;
    }
    let report = copied(&from, &to, CopyOptions::default()).await;
    assert_eq!(report.failures().count(), 3);
    assert!(
        report
            .failures()
            .all(|(_, error)| error.kind() == ErrorKind::PermissionDenied)
    );
}

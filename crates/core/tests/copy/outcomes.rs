//! What becomes of every secret.

use std::sync::atomic::Ordering;

use keyfob_core::copy::{self, CopyOptions, CopyProgress};
use keyfob_core::{Change, DeleteOptions, ErrorKind, GetOptions, NameRule, PutRequest, SecretStore as _};

use crate::support::{Fault, Store, an_hour_ago, copied, in_an_hour, name, overwrite, planned, tags, words};

/// One secret of every sort.
async fn both() -> (std::sync::Arc<Store>, std::sync::Arc<Store>) {
    let (from, to) = (Store::new(), Store::new());
    for secret in ["new", "same", "other", "z/new"] {
        from.add(secret, "one").await;
    }
    from.put_with("tagged", "one", |request| request.tags = Change::Set(tags(&[("team", "db")])))
        .await;
    from.put_with("expired", "one", |request| request.expires_at = Change::Set(an_hour_ago()))
        .await;
    to.add("same", "one").await;
    to.add("tagged", "one").await;
    to.add("other", "two").await;
    to.add("theirs", "two").await;
    (from, to)
}

#[tokio::test]
async fn every_secret_has_exactly_one_outcome_and_the_plan_foretells_it() {
    let expected = [
        "expired failed expired",
        "new created",
        "other left value",
        "same unchanged",
        "tagged left metadata",
        "z/new created",
    ];
    let (from, to) = both().await;
    assert_eq!(words(&planned(&from, &to, CopyOptions::default()).await), expected);
    assert_eq!(to.puts.load(Ordering::SeqCst), 0, "a plan writes nothing");
    assert_eq!(words(&copied(&from, &to, CopyOptions::default()).await), expected);
    assert!(to.has("new", "one").await && to.has("z/new", "one").await);
    assert!(to.has("other", "two").await && to.has("theirs", "two").await);
    assert_eq!(to.puts.load(Ordering::SeqCst), 2);
}

#[tokio::test]
async fn what_refers_to_a_secret_does_not_take_its_place() {
    let (from, to) = (Store::new(), Store::new());
    for refers in ["${secret:same}", "postgres://u:${secret:db/password}@h", "${secret:"] {
        from.add(refers.len().to_string().as_str(), refers).await;
    }
    from.add("same", "${secret:same}").await;
    from.add("plain", "$${secret:same} ${env:HOME} $x").await;
    to.add("same", "one").await;
    let options = || {
        let mut options = overwrite();
        options.leave_references = true;
        options
    };
    let expected = [
        "14 left reference",
        "36 left reference",
        "9 left reference",
        "plain created",
        "same left reference",
    ];
    assert_eq!(words(&planned(&from, &to, options()).await), expected);
    assert_eq!(words(&copied(&from, &to, options()).await), expected);
    assert!(to.has("same", "one").await);
    // Between stores of secrets it is a text like any other.
    assert_eq!(words(&copied(&from, &to, overwrite()).await)[4], "same changed value");
}

#[tokio::test]
async fn overwriting_replaces_what_differs_and_nothing_else() {
    let expected = [
        "expired failed expired",
        "new created",
        "other changed value",
        "same unchanged",
        "tagged changed metadata",
        "z/new created",
    ];
    let (from, to) = both().await;
    assert_eq!(words(&planned(&from, &to, overwrite()).await), expected);
    assert_eq!(words(&copied(&from, &to, overwrite()).await), expected);
    assert!(to.has("other", "one").await && to.has("theirs", "two").await);
    assert_eq!(to.metadata_of("tagged").await.tags, tags(&[("team", "db")]));
    assert_eq!(to.versions_of("same").await, 1);
}

#[tokio::test]
async fn a_second_copy_changes_nothing() {
    let (from, to) = both().await;
    copied(&from, &to, overwrite()).await;
    let puts = to.puts.load(Ordering::SeqCst);
    let again = words(&copied(&from, &to, overwrite()).await);
    assert!(again.iter().skip(1).all(|line| line.ends_with(" unchanged")), "{again:?}");
    assert_eq!(to.puts.load(Ordering::SeqCst), puts);
}

#[tokio::test]
async fn a_prefix_selects() {
    let (from, to) = both().await;
    let mut options = CopyOptions::default();
    options.prefix = "z/".to_owned();
    assert_eq!(words(&copied(&from, &to, options).await), ["z/new created"]);
    assert!(!to.has("new", "one").await);
}

#[tokio::test]
async fn all_metadata_comes_along() {
    let (from, to) = (Store::new(), Store::new());
    let expiry = in_an_hour();
    from.put_with("a", "one", |request| {
        request.description = Change::Set("the login".to_owned());
        request.tags = Change::Set(tags(&[("team", "db")]));
        request.expires_at = Change::Set(expiry);
    })
    .await;
    copied(&from, &to, CopyOptions::default()).await;
    let metadata = to.metadata_of("a").await;
    assert_eq!(metadata.description.as_deref(), Some("the login"));
    assert_eq!(metadata.tags, tags(&[("team", "db")]));
    assert_eq!(metadata.expires_at, Some(expiry));
}

#[tokio::test]
async fn what_the_source_has_taken_away_is_taken_away() {
    let (from, to) = (Store::new(), Store::new());
    from.add("a", "one").await;
    to.put_with("a", "two", |request| request.expires_at = Change::Set(in_an_hour()))
        .await;
    assert_eq!(words(&copied(&from, &to, overwrite()).await), ["a changed value"]);
    assert_eq!(to.metadata_of("a").await.expires_at, None);
}

#[tokio::test]
async fn what_the_source_cannot_know_stays() {
    let from = Store::with(
        |can| (can.tags, can.expiry, can.description) = (false, false, false),
        Fault::None,
    );
    let to = Store::new();
    from.add("a", "one").await;
    from.add("b", "one").await;
    for secret in ["a", "b"] {
        let value = if secret == "a" { "one" } else { "two" };
        to.put_with(secret, value, |request| request.tags = Change::Set(tags(&[("team", "db")])))
            .await;
    }
    let report = copied(&from, &to, overwrite()).await;
    assert_eq!(words(&report), ["a unchanged", "b changed value"]);
    assert_eq!(to.metadata_of("b").await.tags, tags(&[("team", "db")]));
}

#[tokio::test]
async fn what_the_target_cannot_hold_fails_before_anything_is_written_and_the_rest_is_copied() {
    let from = Store::new();
    from.add("fine", "one").await;
    from.add("users/jo@x.org", "one").await;
    from.add("large", &"x".repeat(200)).await;
    for (secret, value) in [("binary", &b"\xff\xfe"[..]), ("empty", b"")] {
        from.right.put(&name(secret), PutRequest::new(value)).await.unwrap();
    }
    from.put_with("tagged", "one", |request| request.tags = Change::Set(tags(&[("team", "db")])))
        .await;
    let to = Store::with(
        |can| {
            can.names = NameRule::Portable;
            can.max_value_bytes = 100;
            (can.binary, can.empty_value, can.tags) = (false, false, false);
        },
        Fault::None,
    );
    let expected = [
        "binary failed not_text",
        "empty failed unsupported",
        "fine created",
        "large failed invalid_input",
        "tagged failed unsupported",
        "users/jo@x.org failed unsupported",
    ];
    assert_eq!(words(&planned(&from, &to, CopyOptions::default()).await), expected);
    assert_eq!(words(&copied(&from, &to, CopyOptions::default()).await), expected);
    assert_eq!(to.puts.load(Ordering::SeqCst), 1);
}

#[tokio::test]
async fn metadata_is_dropped_only_when_asked_and_never_from_what_has_expired() {
    let from = Store::new();
    from.put_with("tagged", "one", |request| {
        request.tags = Change::Set(tags(&[("team", "db")]));
        request.expires_at = Change::Set(in_an_hour());
    })
    .await;
    from.put_with("expired", "one", |request| request.expires_at = Change::Set(an_hour_ago()))
        .await;
    let to = Store::with(|can| (can.tags, can.expiry) = (false, false), Fault::None);
    let mut options = CopyOptions::default();
    options.include_expired = true;
    let report = copied(&from, &to, options.clone()).await;
    assert_eq!(words(&report), ["expired failed expired", "tagged failed unsupported"]);
    let (_, error) = report.failures().nth(1).unwrap();
    assert_eq!(
        error.to_string(),
        "the target keeps no tags and no expiry, which the secret has (name `tagged`, store `memory`)"
    );
    options.drop_metadata = true;
    let report = copied(&from, &to, options.clone()).await;
    assert_eq!(words(&report), ["expired failed expired", "tagged created"]);
    let again = copied(&from, &to, options).await;
    assert_eq!(words(&again), ["expired failed expired", "tagged unchanged"]);
}

#[tokio::test]
async fn what_has_expired_is_copied_only_when_asked_and_stays_expired() {
    let (from, to) = (Store::new(), Store::new());
    from.put_with("a", "one", |request| request.expires_at = Change::Set(an_hour_ago()))
        .await;
    let report = copied(&from, &to, CopyOptions::default()).await;
    let (_, error) = report.failures().next().unwrap();
    assert!(error.hint().unwrap().contains("--include-expired"), "{error:?}");
    assert!(!to.has("a", "one").await);
    let mut options = CopyOptions::default();
    options.include_expired = true;
    assert_eq!(words(&copied(&from, &to, options).await), ["a created"]);
    let read = to.get(&name("a"), &GetOptions::default()).await;
    assert_eq!(read.unwrap_err().kind(), ErrorKind::Expired);
}

#[tokio::test]
async fn a_name_that_a_deleted_secret_of_the_target_holds_fails_before_anything_is_written() {
    let (from, to) = (Store::new(), Store::new());
    from.add("a", "one").await;
    to.add("a", "one").await;
    to.delete(&name("a"), &DeleteOptions::default()).await.unwrap();
    assert_eq!(words(&planned(&from, &to, overwrite()).await), ["a failed conflict"]);
    // Where a deleted secret does not hold its name, nothing is looked for.
    let to = Store::with(|can| can.deleted_reserves_name = false, Fault::None);
    to.add("a", "one").await;
    to.delete(&name("a"), &DeleteOptions::default()).await.unwrap();
    assert_eq!(words(&planned(&from, &to, overwrite()).await), ["a created"]);
}

#[tokio::test]
async fn a_deleted_secret_of_the_target_is_brought_back_when_asked_and_then_changed() {
    let (from, to) = (Store::new(), Store::new());
    for secret in ["differs", "same"] {
        from.add(secret, "new").await;
        to.add(secret, if secret == "same" { "new" } else { "old" }).await;
        to.delete(&name(secret), &DeleteOptions::default()).await.unwrap();
    }
    let options = || {
        let mut options = overwrite();
        options.bring_back = true;
        options
    };
    let expected = ["differs created", "same created"];
    assert_eq!(words(&planned(&from, &to, options()).await), expected);
    assert_eq!(to.puts.load(Ordering::SeqCst), 0);
    assert!(!to.has("same", "new").await, "a plan changes nothing");
    assert_eq!(words(&copied(&from, &to, options()).await), expected);
    assert!(to.has("differs", "new").await && to.has("same", "new").await);
    assert_eq!((to.versions_of("differs").await, to.versions_of("same").await), (2, 1));
    assert_eq!(
        words(&copied(&from, &to, options()).await),
        ["differs unchanged", "same unchanged"]
    );
}

#[tokio::test]
async fn only_the_current_version_is_copied() {
    let (from, to) = (Store::new(), Store::new());
    from.add("a", "old").await;
    from.add("a", "one").await;
    copied(&from, &to, CopyOptions::default()).await;
    assert!(to.has("a", "one").await);
    assert_eq!(to.versions_of("a").await, 1);
}

#[tokio::test]
async fn progress_counts_every_secret() {
    let (from, to) = both().await;
    let (mut compared, mut written) = (0, Vec::new());
    let plan = copy::plan(from, to, overwrite(), |at| {
        if let CopyProgress::Compared(count) = at {
            compared = count;
        }
    });
    let plan = plan.await.unwrap();
    plan.carry_out(|at| written.push(at)).await;
    assert_eq!(compared, 6);
    let expected: Vec<_> = (1..=4).map(|done| CopyProgress::Written { done, total: 4 }).collect();
    assert_eq!(written, expected);
}

#[tokio::test]
async fn bytes_are_copied_as_they_are() {
    let (from, to) = (Store::new(), Store::new());
    let bytes: Vec<u8> = (0..=255).cycle().take(5000).collect();
    from.right.put(&name("a"), PutRequest::new(bytes.clone())).await.unwrap();
    assert_eq!(words(&copied(&from, &to, CopyOptions::default()).await), ["a created"]);
    let read = to.get(&name("a"), &GetOptions::default()).await.unwrap();
    assert!(read.value.expose_secret() == bytes);
}

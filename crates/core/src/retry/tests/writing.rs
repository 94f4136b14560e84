//! Writes: which are repeated, and what a refused repetition means.

use std::collections::BTreeMap;

use super::*;
use crate::capabilities::Capabilities;
use crate::limit::{LimitLayer, LimitOptions};
use crate::options::{Change, DeleteMode, DeleteOptions, PutMode};
use crate::secret::{Metadata, PassedOver, Version};

const SETTLED: [ErrorKind; 2] = [ErrorKind::Timeout, ErrorKind::Unavailable];

fn done_but(kind: ErrorKind) -> Step {
    Step::DoneButFail(error(kind))
}

fn create(text: &str) -> PutRequest {
    PutRequest::new(value(text)).mode(PutMode::Create)
}

fn replace(version: &Version, text: &str) -> PutRequest {
    PutRequest::new(value(text)).mode(PutMode::Match(version.clone()))
}

async fn put(store: &Arc<ScriptedStore>, request: PutRequest) -> Result<Metadata, Error> {
    over(store, generous()).put(&name("a"), request).await
}

/// The version and the value that stand there.
async fn stands(store: &Arc<ScriptedStore>) -> (Version, String) {
    let secret = store.memory.get(&name("a"), &GetOptions::default()).await.unwrap();
    let text = secret.value.expose_str().unwrap().to_owned();
    (secret.metadata.version.clone().unwrap(), text)
}

fn says_unknown(error: &Error) {
    assert_eq!(error.kind(), ErrorKind::Timeout);
    assert_eq!(error.hint(), Some(super::super::call::SETTLE));
}

#[tokio::test(start_paused = true)]
async fn writes_are_repeated_only_where_it_is_safe() {
    let seen = with_a([]).await;
    let version = stands(&seen).await.0;
    for kind in ErrorKind::ALL {
        let retryable = RETRYABLE.contains(&kind);
        let limited = kind == ErrorKind::RateLimited;
        for (verb, repeats) in [
            ("create", retryable),
            ("match", retryable),
            ("restore", retryable),
            ("upsert", limited),
            ("delete", limited),
        ] {
            let store = Arc::new(ScriptedStore::new([Step::fail(kind)]));
            if verb != "create" {
                store.memory.put(&name("a"), PutRequest::new(value("a"))).await.unwrap();
            }
            let layered = over(&store, generous());
            let error = match verb {
                "create" => layered.put(&name("a"), create("b")).await.err(),
                "match" => layered.put(&name("a"), replace(&version, "b")).await.err(),
                "upsert" => layered.put(&name("a"), PutRequest::new(value("b"))).await.err(),
                "restore" => layered.restore(&name("a")).await.err(),
                _ => layered.delete(&name("a"), &DeleteOptions::default()).await.err(),
            };
            assert_eq!(store.verbs().len(), if repeats { 2 } else { 1 }, "{verb} after {kind}");
            assert_eq!(error.as_ref().map(Error::kind), (!repeats).then_some(kind), "{verb}");
            if let Some(error) = error.filter(|error| error.kind() == ErrorKind::Timeout) {
                says_unknown(&error);
            }
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_create_that_meets_its_own_first_attempt_has_succeeded() {
    for kind in SETTLED {
        let store = Arc::new(ScriptedStore::new([done_but(kind)]));
        let layer = layer(generous(), 1);
        let mut request = create("a");
        request.tags = Change::Set(BTreeMap::from([("team".to_owned(), "blue".to_owned())]));
        request.expires_at = Change::Set(SystemTime::now() - Duration::from_secs(1));
        let written = layer.layer(store.clone()).put(&name("a"), request).await.unwrap();
        assert_eq!((written.version, written.tags.len()), (Some(Version::from(1)), 1));
        assert_eq!(store.verbs(), ["put", "put", "get", "get"]);
        assert_eq!(layer.stats().settled, 1);
    }
}

#[tokio::test(start_paused = true)]
async fn a_match_that_meets_its_own_first_attempt_has_succeeded() {
    for kind in SETTLED {
        let store = with_a([done_but(kind), Step::fail(ErrorKind::RateLimited)]).await;
        let before = stands(&store).await.0;
        let written = put(&store, replace(&before, "b")).await.unwrap();
        assert_eq!((written.version.unwrap(), value("b")), stands(&store).await);
    }
}

#[tokio::test(start_paused = true)]
async fn the_reads_that_settle_are_repeated_too() {
    let store = with_a([done_but(ErrorKind::Timeout), Step::Answer, Step::fail(ErrorKind::Unavailable)]).await;
    let before = stands(&store).await.0;
    assert!(put(&store, replace(&before, "b")).await.is_ok());
    assert_eq!(store.verbs(), ["put", "put", "get", "get", "get"]);
}

#[tokio::test(start_paused = true)]
async fn a_write_that_met_anothers_is_refused_whatever_its_first_attempt_said() {
    for kind in RETRYABLE {
        let store = with_a([Step::fail(kind)]).await;
        let error = put(&store, create("b")).await.unwrap_err();
        assert_eq!(
            (error.kind(), attempts(&error).as_deref()),
            (ErrorKind::AlreadyExists, Some("2")),
            "{kind}"
        );

        let store = with_a([Step::fail(kind)]).await;
        let before = stands(&store).await.0;
        store.memory.put(&name("a"), PutRequest::new(value("x"))).await.unwrap();
        let error = put(&store, replace(&before, "b")).await.unwrap_err();
        assert_eq!(
            (error.kind(), attempts(&error).as_deref()),
            (ErrorKind::Conflict, Some("2")),
            "{kind}"
        );
    }
}

/// The same bytes, but not ours: somebody has written more than once since the version that was to be matched.
#[tokio::test(start_paused = true)]
async fn equal_bytes_in_another_place_prove_nothing() {
    let store = with_a([Step::fail(ErrorKind::Timeout)]).await;
    let before = stands(&store).await.0;
    for text in ["x", "b"] {
        store.memory.put(&name("a"), PutRequest::new(value(text))).await.unwrap();
    }
    let error = put(&store, replace(&before, "b")).await.unwrap_err();
    says_unknown(&error);
    assert_eq!(
        (source(&error), attempts(&error).as_deref()),
        (Some(ErrorKind::Conflict), Some("2"))
    );

    let store = with_a([Step::fail(ErrorKind::Timeout)]).await;
    store.memory.put(&name("a"), PutRequest::new(value("b"))).await.unwrap();
    says_unknown(&put(&store, create("b")).await.unwrap_err());
}

#[tokio::test(start_paused = true)]
async fn what_was_rate_limited_was_not_done_so_equal_bytes_are_anothers() {
    let store = with_a([Step::fail(ErrorKind::RateLimited)]).await;
    assert_eq!(put(&store, create("a")).await.unwrap_err().kind(), ErrorKind::AlreadyExists);
    assert_eq!(store.verbs(), ["put", "put"]);
    // And the first attempt of all proves nothing either.
    assert_eq!(put(&store, create("a")).await.unwrap_err().kind(), ErrorKind::AlreadyExists);
    assert_eq!(store.verbs(), ["put", "put", "put"]);
}

#[tokio::test(start_paused = true)]
async fn equal_bytes_with_other_metadata_prove_nothing() {
    let expiry = SystemTime::now() + Duration::from_secs(1000);
    let tags = |text: &str| Change::Set(BTreeMap::from([("is".to_owned(), text.to_owned())]));
    let differ: [fn(&mut PutRequest); 4] = [
        |request| request.description = Change::Set("other".to_owned()),
        |request| request.tags = Change::Clear,
        |request| request.expires_at = Change::Clear,
        |request| request.expires_at = Change::Set(SystemTime::now() + Duration::from_secs(1005)),
    ];
    for change in differ {
        let store = Arc::new(ScriptedStore::new([Step::fail(ErrorKind::Timeout)]));
        let mut request = create("a");
        request.description = Change::Set("of ours".to_owned());
        request.tags = tags("ours");
        request.expires_at = Change::Set(expiry);
        store.memory.put(&name("a"), request.clone()).await.unwrap();
        assert!(put(&store, request.clone()).await.is_ok());
        change(&mut request);
        store.then([Step::fail(ErrorKind::Timeout)]);
        says_unknown(&put(&store, request).await.unwrap_err());
    }
}

#[tokio::test(start_paused = true)]
async fn what_stood_there_long_before_the_call_is_not_ours() {
    let made = |age: u64| async move {
        let mut store = ScriptedStore::new([Step::fail(ErrorKind::Timeout)]);
        store.made = Some(SystemTime::now() - Duration::from_secs(age));
        let store = Arc::new(store);
        store.memory.put(&name("a"), create("a")).await.unwrap();
        put(&store, create("a")).await
    };
    assert!(made(200).await.is_ok(), "clocks may differ");
    says_unknown(&made(400).await.unwrap_err());
}

#[tokio::test(start_paused = true)]
async fn a_stand_in_proves_nothing() {
    let mut store = ScriptedStore::new([done_but(ErrorKind::Timeout)]);
    store.passed_over = vec![PassedOver::new("primary", ErrorKind::Unavailable)];
    says_unknown(&put(&Arc::new(store), create("a")).await.unwrap_err());
}

#[tokio::test(start_paused = true)]
async fn of_several_stores_that_are_written_to_one_proves_nothing() {
    use crate::failover::{Failover, FailoverOptions, FailoverWrites};
    for writes in [FailoverWrites::First, FailoverWrites::Replicate] {
        let first = Arc::new(ScriptedStore::new([done_but(ErrorKind::Timeout)]));
        let second = Arc::new(ScriptedStore::new([]));
        let members: [(&str, Arc<dyn SecretStore>); 2] = [("one", first.clone()), ("two", second.clone())];
        let options = FailoverOptions {
            writes,
            ..FailoverOptions::default()
        };
        let list = Failover::new(options).over(members).unwrap();
        let written = layer(generous(), 1).layer(Arc::new(list)).put(&name("a"), create("a")).await;
        assert!(second.asked().is_empty());
        match writes {
            FailoverWrites::First => assert!(written.is_ok()),
            FailoverWrites::Replicate => says_unknown(&written.unwrap_err()),
        }
    }
}

#[tokio::test(start_paused = true)]
async fn without_versions_equal_bytes_have_to_do_and_others_prove_nothing() {
    let mut can = Capabilities::FULL;
    can.versions = false;
    let store = Arc::new(ScriptedStore::with(can, [done_but(ErrorKind::Timeout)]));
    let first = put(&store, create("a")).await.unwrap().version.unwrap();
    assert_eq!(store.verbs(), ["put", "put", "get"]);
    store.then([done_but(ErrorKind::Unavailable)]);
    assert!(put(&store, replace(&first, "b")).await.is_ok());
    store.then([Step::fail(ErrorKind::Timeout)]);
    says_unknown(&put(&store, replace(&first, "c")).await.unwrap_err());
    // A store that can't serve has done nothing, as far as is known.
    store.then([Step::fail(ErrorKind::Unavailable)]);
    assert_eq!(
        put(&store, replace(&first, "c")).await.unwrap_err().kind(),
        ErrorKind::Conflict
    );
    // Metadata alone, when another may have written a value with it.
    let mut request = replace(&first, "");
    request.value = None;
    request.tags = Change::Clear;
    store.then([Step::fail(ErrorKind::Timeout)]);
    says_unknown(&put(&store, request).await.unwrap_err());
}

#[tokio::test(start_paused = true)]
async fn metadata_alone_is_settled_by_the_value_that_was_to_stay() {
    let store = with_a([Step::fail(ErrorKind::Timeout)]).await;
    let before = stands(&store).await.0;
    let mut request = replace(&before, "");
    request.value = None;
    request.description = Change::Set("new".to_owned());
    // The store gives a new version to new metadata: here by a write of the same value.
    let mut same = PutRequest::new(value("a"));
    same.description = request.description.clone();
    store.memory.put(&name("a"), same).await.unwrap();
    assert!(put(&store, request.clone()).await.is_ok());
    request.mode = PutMode::Match(stands(&store).await.0);
    let mut other = PutRequest::new(value("b"));
    other.description = request.description.clone();
    store.memory.put(&name("a"), other).await.unwrap();
    store.then([Step::fail(ErrorKind::Timeout)]);
    assert_eq!(put(&store, request).await.unwrap_err().kind(), ErrorKind::Conflict);
}

#[tokio::test(start_paused = true)]
async fn an_outcome_that_stays_unknown_says_so() {
    // The last attempt got no answer.
    let store = with_a(vec![Step::fail(ErrorKind::Timeout); 4]).await;
    let error = put(&store, create("b")).await.unwrap_err();
    says_unknown(&error);
    assert_eq!(attempts(&error).as_deref(), Some("4"));
    // An earlier one got none, and the last one says less.
    let store = with_a([Step::fail(ErrorKind::Timeout), Step::fail(ErrorKind::Unavailable)]).await;
    let few = RetryOptions {
        attempts: 2,
        ..generous()
    };
    let error = over(&store, few).put(&name("a"), create("b")).await.unwrap_err();
    says_unknown(&error);
    assert_eq!(source(&error), Some(ErrorKind::Unavailable));
    // Whoever looks is not let in, or finds nothing.
    for look in [ErrorKind::PermissionDenied, ErrorKind::NotFound] {
        let store = with_a([Step::fail(ErrorKind::Timeout), Step::Answer, Step::fail(look)]).await;
        says_unknown(&put(&store, create("a")).await.unwrap_err());
    }
    // The secret is gone, or the repetition may not be.
    for refusal in [ErrorKind::NotFound, ErrorKind::PermissionDenied] {
        let store = with_a([Step::fail(ErrorKind::Timeout), Step::fail(refusal)]).await;
        let error = put(&store, replace(&Version::from(1), "b")).await.unwrap_err();
        says_unknown(&error);
        assert_eq!(source(&error), Some(refusal));
    }
    // The deadline passes in an attempt, or while somebody looks.
    let store = with_a([Step::fail(ErrorKind::Unavailable), Step::hang()]).await;
    let error = put(&store, create("b")).await.unwrap_err();
    says_unknown(&error);
    assert_eq!(
        (source(&error), attempts(&error).as_deref()),
        (Some(ErrorKind::Unavailable), Some("2"))
    );
    let store = with_a([Step::fail(ErrorKind::Timeout), Step::Answer, Step::hang()]).await;
    says_unknown(&put(&store, create("a")).await.unwrap_err());
    let store = with_a([Step::hang()]).await;
    let layered = over(&store, generous());
    says_unknown(&layered.put(&name("a"), PutRequest::new(value("b"))).await.unwrap_err());
    store.then([Step::hang()]);
    let options = DeleteOptions {
        mode: DeleteMode::Permanent,
    };
    says_unknown(&layered.delete(&name("a"), &options).await.unwrap_err());
}

#[tokio::test(start_paused = true)]
async fn errors_of_writes_hold_no_value() {
    let store = with_a([Step::fail(ErrorKind::Timeout), Step::Answer, Step::hang()]).await;
    let layered = over(&store, generous());
    let error = layered.put(&name("a"), create("b")).await.unwrap_err();
    assert!(!format!("{error:?} {layered:?}").contains("kfcanary"));
}

/// A limit of one, whose only place is taken by a request that gets no answer.
async fn full(store: &Arc<ScriptedStore>) -> (Arc<dyn SecretStore>, tokio::task::JoinHandle<()>) {
    let options = LimitOptions {
        first: 1,
        least: 1,
        most: 1,
    };
    let limited = LimitLayer::new(options).unwrap().layer(store.clone());
    let other = limited.clone();
    let holder = tokio::spawn(async move { drop(other.health().await) });
    tokio::task::yield_now().await;
    (limited, holder)
}

#[tokio::test(start_paused = true)]
async fn a_write_whose_time_is_over_before_it_has_a_place_was_not_sent() {
    let store = with_a([Step::hang()]).await;
    let version = stands(&store).await.0;
    let (limited, _holder) = full(&store).await;
    let layered = layer(generous(), 1).layer(limited);
    for request in [PutRequest::new(value("b")), create("b"), replace(&version, "b")] {
        let error = layered.put(&name("a"), request).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::RateLimited);
        assert!(error.message().contains("not sent within 30s"), "{error}");
    }
    let deleted = layered.delete(&name("a"), &DeleteOptions::default()).await;
    assert_eq!(deleted.unwrap_err().kind(), ErrorKind::RateLimited);
    assert_eq!(layered.restore(&name("a")).await.unwrap_err().kind(), ErrorKind::RateLimited);
    let read = layered.get(&name("a"), &GetOptions::default()).await;
    assert_eq!(read.unwrap_err().kind(), ErrorKind::Timeout);
    assert_eq!(store.verbs(), ["health"]);
}

#[tokio::test(start_paused = true)]
async fn that_the_last_attempt_was_not_sent_says_nothing_of_the_one_before() {
    let store = with_a([]).await;
    let version = stands(&store).await.0;
    store.then([Step::after(10, done_but(ErrorKind::Timeout)), Step::hang()]);
    let options = LimitOptions {
        first: 1,
        least: 1,
        most: 1,
    };
    let limited = LimitLayer::new(options).unwrap().layer(store.clone());
    let layered = layer(generous(), 1).layer(limited.clone());
    let writer = tokio::spawn(async move { layered.put(&name("a"), replace(&version, "b")).await });
    tokio::time::sleep(Duration::from_millis(1)).await;
    // Waits behind the first attempt, so that it is there before the second one.
    let _holder = tokio::spawn(async move { drop(limited.health().await) });
    says_unknown(&writer.await.unwrap().unwrap_err());
    assert_eq!(store.verbs(), ["put", "health"]);
}

#[tokio::test(start_paused = true)]
async fn a_write_that_had_a_place_is_unknown_as_ever() {
    let store = with_a([Step::hang()]).await;
    let limited = LimitLayer::default().layer(store.clone());
    let written = layer(generous(), 1).layer(limited).put(&name("a"), create("b")).await;
    says_unknown(&written.unwrap_err());
    assert_eq!(store.verbs(), ["put"]);
}

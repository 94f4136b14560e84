//! Accesses that never reach a store.

use std::future::pending;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use futures_util::FutureExt as _;
use keyfob_core::{
    AuditedStore, Error, ErrorKind, GetOptions, GetRequest, Intent, Layer as _, MemoryStore, PutRequest, Reason, Result, Verb,
    VersionSelector, with_reason,
};

use crate::{Bed, name};

fn vault() -> AuditedStore {
    AuditedStore::new("prod", "vault", "https://vault.example:8200")
}

#[tokio::test]
async fn each_access_to_a_store_that_can_not_be_opened_has_its_record() {
    let bed = Bed::new();
    let refused = async || Err::<(), _>(Error::new(ErrorKind::Unauthenticated, "kfcanary-audit0009"));
    let reason = Reason::new("ticket 42").unwrap();
    let mut batch = [GetRequest::new(name("a")), GetRequest::new(name("b"))];
    batch[1].options = GetOptions::version(VersionSelector::Previous);
    for intent in [
        Intent::of(Verb::Put, &name("a")),
        Intent::get_many(&batch),
        Intent::new(Verb::List).prefix("db/"),
        Intent::new(Verb::List).prefix(""),
    ] {
        let opened = with_reason(reason.clone(), bed.layer.opening(vault(), &intent, refused())).await;
        assert_eq!(opened.unwrap_err().kind(), ErrorKind::Unauthenticated);
    }
    let expected = [
        "put a - failed unauthenticated",
        "get_many a - failed unauthenticated",
        "get_many b previous failed unauthenticated",
        "list db/ - failed unauthenticated",
        "list - - failed unauthenticated",
    ];
    assert_eq!(bed.told(), expected);
    for record in bed.records() {
        assert_eq!((&*record.store, record.reason.as_ref()), (&vault(), Some(&reason)));
        assert!(!format!("{record:?}").contains("kfcanary"));
    }
}

#[tokio::test]
async fn a_store_is_opened_for_nothing_that_would_be_refused() {
    let bed = Bed::new();
    let layer = bed.layer.clone().require_reason().mask_names(|name| format!("masked {name}"));
    let intent = Intent::of(Verb::Delete, &name("a"));
    let never = async { panic!("it is opened") };
    let refused: Result<()> = layer.opening(vault(), &intent, never).await;
    assert_eq!(refused.unwrap_err().kind(), ErrorKind::InvalidInput);
    assert_eq!(bed.told(), ["delete masked a - failed invalid_input"]);

    // What is opened is recorded when it is asked, not before.
    let reason = Reason::new("ticket 42").unwrap();
    layer
        .reason(reason)
        .opening(vault(), &intent, async { Ok(()) })
        .await
        .unwrap();
    assert_eq!(bed.told().len(), 1);
}

#[tokio::test]
async fn an_access_that_is_given_up_while_its_store_is_opened_has_done_nothing() {
    let bed = Bed::new();
    let intent = Intent::of(Verb::Put, &name("a"));
    let opening = bed.layer.opening(vault(), &intent, pending::<Result<()>>());
    assert!(opening.now_or_never().is_none());
    assert_eq!(bed.told(), ["put a - cancelled -"]);
}

#[tokio::test]
async fn the_first_access_has_waited_for_its_store_to_be_opened_too() {
    const OPENING: Duration = Duration::from_secs(700);
    let bed = Bed::new();
    let over = || bed.layer.clone().opened_in(OPENING).layer(Arc::new(MemoryStore::new()));
    let (one, other, batched) = (over(), over(), over());
    let begun = SystemTime::now() - OPENING;
    one.get(&name("a"), &GetOptions::default()).await.unwrap_err();
    one.get(&name("a"), &GetOptions::default()).await.unwrap_err();
    other.put(&name("a"), PutRequest::new("v")).await.unwrap();
    batched
        .get_many(&[GetRequest::new(name("a")), GetRequest::new(name("b"))])
        .await;
    let waited: Vec<bool> = bed.records().iter().map(|record| record.latency >= OPENING).collect();
    assert_eq!(waited, [true, false, true, true, true]);
    let first = bed.records()[0].time.duration_since(begun).unwrap();
    assert!(first < OPENING / 2, "it began when its store was opened: {first:?}");
}

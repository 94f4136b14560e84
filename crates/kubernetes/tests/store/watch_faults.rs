//! A watch that breaks off, is forgotten, or ends.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use futures_util::StreamExt as _;
use keyfob_core::StoreChange;

use crate::name;
use crate::service::{Reply, Request, connect, json, metadata, refusal, service};

fn event(event_type: &str, name: &str, version: &str) -> String {
    format!(
        r#"{{"type":"{event_type}","object":{{"kind":"PartialObjectMetadata","metadata":{}}}}}"#,
        metadata(name, version)
    )
}

const EXPIRED: &str =
    r#"{"type":"ERROR","object":{"kind":"Status","status":"Failure","message":"too old","reason":"Expired","code":410}}"#;

fn list(version: &str) -> Reply {
    json(format!(
        r#"{{"kind":"PartialObjectMetadataList","metadata":{{"resourceVersion":"{version}"}},"items":[]}}"#
    ))
}

/// The changes that come from a server whose watches go like this, one after the other, until the last hangs.
async fn changes(watches: Vec<fn() -> Reply>, many: usize) -> (Vec<StoreChange>, Vec<Request>) {
    let count = AtomicUsize::new(0);
    let (address, asked) = service(move |request| match request.is_watch() {
        false => list("5"),
        true => match watches.get(count.fetch_add(1, Ordering::SeqCst)) {
            Some(watch) => watch(),
            None => Reply::Hang,
        },
    });
    let changes = connect("k8s:", &address).await.changes.unwrap();
    assert!(asked.lock().unwrap().is_empty(), "asked before somebody listens");
    let stream = changes.changes();
    assert!(asked.lock().unwrap().is_empty(), "asked before somebody listens");
    let told = stream.take(many).collect::<Vec<_>>();
    let told = tokio::time::timeout(Duration::from_secs(30), told).await.unwrap();
    let asked = asked.lock().unwrap().clone();
    (told, asked)
}

fn watched_from(asked: &[Request]) -> Vec<Option<String>> {
    let from = |request: &Request| {
        let parameter = request.path.split("resourceVersion=").nth(1)?;
        Some(parameter.split('&').next()?.to_owned())
    };
    asked.iter().filter(|request| request.is_watch()).map(from).collect()
}

#[tokio::test]
async fn a_watch_that_the_server_ends_goes_on_where_it_was() {
    let (told, asked) = changes(
        vec![
            || Reply::Lines(vec![event("ADDED", "a", "6"), event("BOOKMARK", "", "9")]),
            || Reply::Lines(vec![event("DELETED", "b", "10")]),
        ],
        3,
    )
    .await;
    assert_eq!(
        told,
        [
            StoreChange::Anything,
            StoreChange::Secret(name("a")),
            StoreChange::Secret(name("b"))
        ]
    );
    assert_eq!(watched_from(&asked), [Some("5".to_owned()), Some("9".to_owned())]);
    for request in &asked {
        assert!(
            request.header("accept").unwrap().contains("as=PartialObjectMetadata"),
            "values were asked for"
        );
    }
    assert!(asked[1].path.contains("allowWatchBookmarks=true"));
}

#[tokio::test]
async fn a_watch_that_was_forgotten_or_breaks_begins_anew_and_says_that_anything_may_have_changed() {
    let begin = Instant::now();
    let (told, asked) = changes(
        vec![
            || Reply::Lines(vec![event("MODIFIED", "a", "6"), EXPIRED.to_owned()]),
            || refusal(410, "Expired", "too old"),
            || Reply::BrokenLines(vec![event("MODIFIED", "b", "7")]),
            || Reply::Lines(vec!["{\"type\":\"MOD".to_owned()]),
            || refusal(503, "ServiceUnavailable", "no"),
            || Reply::Lines(vec![event("MODIFIED", "c", "8")]),
        ],
        7,
    )
    .await;
    let secret = |text| StoreChange::Secret(name(text));
    let expected = [
        StoreChange::Anything,
        secret("a"),
        StoreChange::Anything,
        secret("b"),
        StoreChange::Anything,
        StoreChange::Anything,
        secret("c"),
    ];
    assert_eq!(told, expected);
    let lists = asked.iter().filter(|request| !request.is_watch()).count();
    assert!(lists >= 5, "it did not ask anew from where to watch: {lists}");
    assert!(begin.elapsed() > Duration::from_millis(1000), "no pause between failures");
}

#[tokio::test]
async fn who_may_not_list_watches_from_the_objects_version_and_then_from_what_there_is() {
    let count = AtomicUsize::new(0);
    let (address, asked) = service(move |request| {
        if request.path.ends_with("/secrets/app") {
            return crate::service::partial("app");
        }
        match (request.is_watch(), count.load(Ordering::SeqCst)) {
            (false, _) => refusal(403, "Forbidden", "no"),
            (true, 0) => {
                count.fetch_add(1, Ordering::SeqCst);
                Reply::Lines(vec![EXPIRED.to_owned()])
            }
            (true, _) => Reply::Lines(vec![event("ADDED", "app", "8")]),
        }
    });
    let changes = connect("k8s:///app", &address).await.changes.unwrap();
    let told: Vec<_> = changes.changes().take(3).collect().await;
    assert_eq!(told, [StoreChange::Anything, StoreChange::Anything, StoreChange::Anything]);
    let asked = asked.lock().unwrap();
    assert_eq!(watched_from(&asked), [Some("8".to_owned()), Some("0".to_owned())]);
    let watches = asked.iter().filter(|request| request.is_watch());
    assert!(
        watches
            .into_iter()
            .all(|request| request.path.contains("fieldSelector=metadata%2Ename%3Dapp"))
    );
}

#[tokio::test]
async fn a_stream_that_is_dropped_asks_no_more() {
    let (address, asked) = service(|request| match request.is_watch() {
        false => list("5"),
        true => Reply::Lines(vec![event("ADDED", "a", "6")]),
    });
    let changes = connect("k8s:", &address).await.changes.unwrap();
    let mut stream = changes.changes();
    assert_eq!(stream.next().await, Some(StoreChange::Anything));
    drop(stream);
    let before = asked.lock().unwrap().len();
    tokio::time::sleep(Duration::from_millis(1500)).await;
    assert_eq!(asked.lock().unwrap().len(), before);
}

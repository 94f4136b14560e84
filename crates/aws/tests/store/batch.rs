//! `get_many`: how many requests, which answers.

use std::collections::HashSet;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use keyfob_core::{ErrorKind, GetOptions, GetRequest, SecretStore, VersionSelector};

use crate::support::{Reply, batch_ids, count, entry, json, name, refusal, requests, service, store};

fn names(count: usize) -> Vec<String> {
    (0..count).map(|index| format!("team/name-{index}")).collect()
}

/// Answers a batch in another order than it was asked for.
fn backwards(ids: &[String]) -> Reply {
    let entries: Vec<String> = ids.iter().rev().map(|id| entry(id, &format!("kfcanary-{id}"))).collect();
    json(format!(r#"{{"SecretValues":[{}],"Errors":[]}}"#, entries.join(",")))
}

#[tokio::test]
async fn a_hundred_secrets_are_five_requests_at_once_and_come_in_order() {
    let waiting = Arc::new(AtomicUsize::new(0));
    let (address, asked) = service(move |request| {
        // Nobody is answered before all five are there: one after the other they would time out.
        waiting.fetch_add(1, Ordering::SeqCst);
        let begin = Instant::now();
        while waiting.load(Ordering::SeqCst) < 5 && begin.elapsed() < Duration::from_secs(5) {
            std::thread::sleep(Duration::from_millis(1));
        }
        backwards(&batch_ids(request))
    });
    let names = names(100);
    let answers = store(&address).await.get_many(&requests(&names)).await;
    for (name, answer) in names.iter().zip(&answers) {
        let secret = answer.as_ref().unwrap();
        assert_eq!(secret.metadata.name.as_str(), name);
        assert!(
            secret.value.expose_secret() == format!("kfcanary-{name}").as_bytes(),
            "{name} has another's value"
        );
    }
    assert_eq!((count(&asked, "BatchGetSecretValue"), asked.lock().unwrap().len()), (5, 5));
}

#[tokio::test]
async fn one_secret_is_one_request_and_what_is_asked_twice_is_read_once() {
    let (address, asked) = service(|_| json(entry("a", "kfcanary-batchone1")));
    let store = store(&address).await;
    let twice = [GetRequest::new(name("a")), GetRequest::new(name("a"))];
    assert!(store.get_many(&twice).await.iter().all(Result::is_ok));
    assert_eq!((count(&asked, "GetSecretValue"), asked.lock().unwrap().len()), (1, 1));
}

#[tokio::test]
async fn errors_of_items_are_of_these_items_only() {
    let (address, asked) = service(|request| match request.action.as_str() {
        "BatchGetSecretValue" => json(format!(
            r#"{{"SecretValues":[{}],"Errors":[
                {{"SecretId":"denied","ErrorCode":"AccessDeniedException","Message":"kfcanary-itemmessage"}},
                {{"SecretId":"missing","ErrorCode":"ResourceNotFoundException","Message":"x"}},
                {{"SecretId":"locked","ErrorCode":"DecryptionFailure","Message":"x"}},
                {{"SecretId":"gone","ErrorCode":"InvalidRequestException","Message":"it was marked for deletion"}}]}}"#,
            entry("there", "kfcanary-there0001")
        )),
        _ => json(entry("silent", "kfcanary-silent0001")),
    });
    let store = store(&address).await;
    let asked_for = ["denied", "there", "missing", "locked", "gone", "silent"].map(str::to_owned);
    let answers = store.get_many(&requests(&asked_for)).await;
    let kinds: Vec<_> = answers
        .iter()
        .map(|answer| answer.as_ref().err().map(keyfob_core::Error::kind))
        .collect();
    assert_eq!(
        kinds,
        [
            Some(ErrorKind::PermissionDenied),
            None,
            Some(ErrorKind::NotFound),
            Some(ErrorKind::PermissionDenied),
            Some(ErrorKind::NotFound),
            None,
        ]
    );
    assert!(answers[4].as_ref().unwrap_err().hint().unwrap().contains("restored"));
    answers
        .iter()
        .filter_map(|answer| answer.as_ref().err())
        .for_each(crate::support::assert_harmless);
    // What the service said nothing about was asked for by itself; a denied item is no denied batch.
    assert_eq!(
        (count(&asked, "BatchGetSecretValue"), count(&asked, "GetSecretValue")),
        (1, 1)
    );
    store.get_many(&requests(&asked_for)).await;
    assert_eq!(count(&asked, "BatchGetSecretValue"), 2);
}

#[tokio::test]
async fn a_batch_that_is_not_allowed_is_read_one_by_one_and_remembered() {
    let (address, asked) = service(|request| match request.action.as_str() {
        "BatchGetSecretValue" => refusal(400, "AccessDeniedException", "no"),
        _ => {
            let id = request.body.split('"').nth(3).unwrap_or_default().to_owned();
            json(entry(&id, &format!("kfcanary-{id}")))
        }
    });
    let store = store(&address).await;
    let names = names(30);
    for round in 1..=2 {
        let answers = store.get_many(&requests(&names)).await;
        for (name, answer) in names.iter().zip(&answers) {
            assert!(answer.as_ref().unwrap().value.expose_secret() == format!("kfcanary-{name}").as_bytes());
        }
        assert_eq!(count(&asked, "GetSecretValue"), 30 * round);
    }
    // Two chunks found it out; nobody asked again.
    assert_eq!(count(&asked, "BatchGetSecretValue"), 2);
}

#[tokio::test]
async fn a_batch_that_fails_as_a_whole_touches_no_other() {
    let (address, _) = service(|request| {
        let ids = batch_ids(request);
        match ids.iter().any(|id| id == "team/name-7") {
            true => refusal(400, "ThrottlingException", "slow down"),
            false => backwards(&ids),
        }
    });
    let names = names(60);
    let answers = store(&address).await.get_many(&requests(&names)).await;
    let failed: Vec<_> = answers.iter().filter_map(|answer| answer.as_ref().err()).collect();
    assert_eq!(failed.len(), 20);
    assert!(failed.iter().all(|error| error.kind() == ErrorKind::RateLimited));
    assert!(answers[7].is_err());
    let told: HashSet<&str> = failed
        .iter()
        .filter_map(|error| error.context().find(|(key, _)| *key == "name"))
        .map(|(_, name)| name)
        .collect();
    assert_eq!(told.len(), 20, "each error names its own secret");
}

#[tokio::test]
async fn further_pages_of_a_batch_are_read() {
    let pages = Arc::new(Mutex::new(0));
    let (address, asked) = service(move |request| {
        let mut page = pages.lock().unwrap();
        *page += 1;
        assert_eq!(request.body.contains("NextToken"), *page > 1);
        let next = if *page < 3 { r#","NextToken":"more""# } else { "" };
        let name = format!("n{page}");
        json(format!(
            r#"{{"SecretValues":[{}],"Errors":[]{next}}}"#,
            entry(&name, "kfcanary-page0001")
        ))
    });
    let answers = store(&address)
        .await
        .get_many(&requests(&["n1", "n2", "n3"].map(str::to_owned)))
        .await;
    assert!(answers.iter().all(Result::is_ok));
    assert_eq!(asked.lock().unwrap().len(), 3);
}

#[tokio::test]
async fn a_service_that_never_stops_giving_pages_is_not_followed_for_ever() {
    let (address, asked) = service(|_| json(r#"{"SecretValues":[],"Errors":[],"NextToken":"more"}"#));
    let answers = store(&address)
        .await
        .get_many(&requests(&["n1", "n2"].map(str::to_owned)))
        .await;
    assert!(answers.iter().all(Result::is_err));
    assert!(asked.lock().unwrap().len() < 50);
}

#[tokio::test]
async fn other_versions_than_the_current_one_are_read_beside_the_batch() {
    let (address, asked) = service(|request| match request.action.as_str() {
        "BatchGetSecretValue" => backwards(&batch_ids(request)),
        _ => json(entry("a", "kfcanary-previous1")),
    });
    let mut batch = requests(&["a", "b"].map(str::to_owned));
    batch.push(GetRequest {
        name: name("a"),
        options: GetOptions::version(VersionSelector::Previous),
    });
    let answers = store(&address).await.get_many(&batch).await;
    assert!(answers[2].as_ref().unwrap().value.expose_secret() == b"kfcanary-previous1");
    assert!(answers[0].as_ref().unwrap().value.expose_secret() == b"kfcanary-a");
    let asked = asked.lock().unwrap();
    assert!(asked.iter().any(|request| request.body.contains("AWSPREVIOUS")));
    assert_eq!(asked.len(), 2);
}

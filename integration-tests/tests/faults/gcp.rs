//! Google Cloud Secret Manager: the double behind the proxy.

use std::time::{Duration, Instant};

use keyfob_core::ErrorKind::{
    self, AlreadyExists, Conflict, InvalidConfig, InvalidInput, NotFound, Other, PermissionDenied, RateLimited, Timeout,
    Unauthenticated, Unavailable,
};
use keyfob_core::{Environment, Error, GetOptions, GetRequest, PutRequest};
use keyfob_integration_tests::fault_proxy::{Answer, Fault, FaultProxy, Line, Request, Rule};

use crate::bed::{Bed, name, prefix};
use crate::spoil::{PLANTED, Spoil, common};
use crate::suite;
use crate::verb::{self, Shared, Verb};

const CONTENT_TYPE: &str = "application/json; charset=UTF-8";
const REQUEST_ID: &str = "0a1b2c3d-faff-4000-8000-00000000abcd";
const NOT_DATA: &str = "JSON without data";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_verb_on_gcp_survives_every_fault() {
    let Some(bed) = bed("every_verb_on_gcp_survives_every_fault") else {
        return;
    };
    let mut spoils = common(CONTENT_TYPE, &[InvalidConfig]);
    // An empty object is how this service says that a list is empty: it has a test of its own.
    spoils.retain(|spoil| spoil.name != NOT_DATA);
    spoils.extend(refusals());
    suite::run(bed, spoils).await;
}

pub(crate) fn bed(test: &str) -> Option<Bed> {
    let upstream = keyfob_testkit::server(test, "KEYFOB_TEST_GCP_DOUBLE_URL")?;
    Some(Bed {
        backend: keyfob_gcp::BACKEND,
        upstream,
        environment: Environment::fake().build(),
        credentials: Vec::new(),
        url: |address, prefix, seconds| format!("gcp://keyfob-faults?endpoint={address}&prefix={prefix}&timeout={seconds}"),
        writes,
        survives,
    })
}

fn writes(request: &Request) -> bool {
    request.method() != "GET"
}

/// What is asked: the last part of the path, without the version or the name.
fn asks(request: &Request) -> &'static str {
    let path = request.path().split('?').next().unwrap_or_default();
    let last = path.rsplit('/').next().unwrap_or_default();
    match (request.method(), last) {
        ("GET", "secrets") => "list",
        ("GET", "versions") => "versions",
        ("GET", "latest") => "newest",
        ("GET", last) if last.ends_with(":access") => "access",
        ("GET", _) => "describe",
        ("POST", last) if last.ends_with(":disable") => "disable",
        ("POST", last) if last.ends_with(":enable") => "enable",
        ("POST", last) if last.ends_with(":addVersion") => "add",
        ("POST", _) => "create",
        ("PATCH", _) => "update",
        _ => "remove",
    }
}

fn survives(verb: Verb, spoil: &str, request: &Request) -> bool {
    match (verb, asks(request), spoil) {
        // Who may only read values gets them; without a listing each secret is asked for by itself.
        (Verb::Get | Verb::GetMany | Verb::Versions, "describe", "PERMISSION_DENIED") => true,
        (Verb::GetMany, "list", "PERMISSION_DENIED") => true,
        // The newest of all may be disabled: then others are looked for.
        (Verb::Get | Verb::GetMany, "access", "FAILED_PRECONDITION") => true,
        // The service knows who asks.
        (Verb::Health, _, "PERMISSION_DENIED") => true,
        // Somebody was faster: the write begins again.
        (Verb::PutMetadata | Verb::Delete | Verb::Restore, "update", "FAILED_PRECONDITION" | "ABORTED") => true,
        // A version that is gone needs no change of its state.
        (Verb::Delete, "disable", "FAILED_PRECONDITION" | "NOT_FOUND") => true,
        (Verb::Restore, "enable", "FAILED_PRECONDITION" | "NOT_FOUND") => true,
        // No version yet: the first is about to come.
        (_, "newest", "NOT_FOUND") => true,
        // A name that was free a moment ago, or is: it is looked at again.
        (Verb::Create, "create", "ALREADY_EXISTS") => true,
        (Verb::Upsert, "describe", "NOT_FOUND") => true,
        _ => false,
    }
}

/// Refusals as Google documents them.
fn refusals() -> Vec<Spoil> {
    let error = |status: u16, code: &str, details: &str| {
        let body = format!(
            r#"{{"error": {{"code": {status}, "message": "{PLANTED}", "status": "{code}", "details": [
                {{"@type": "type.googleapis.com/google.rpc.RequestInfo", "requestId": "{REQUEST_ID}", "servingData": "{PLANTED}"}}
                {details}]}}}}"#
        );
        Answer::new(status).header("content-type", CONTENT_TYPE).body(body)
    };
    let refusal = |code: &'static str, status: u16, kinds: &'static [ErrorKind]| {
        let facts: &[(&str, &str)] = &[("request_id", REQUEST_ID)];
        Spoil::new(code, error(status, code, ""), kinds).facts(facts)
    };
    let info = format!(
        r#", {{"@type": "type.googleapis.com/google.rpc.ErrorInfo", "reason": "SERVICE_DISABLED", "domain": "googleapis.com",
            "metadata": {{"consumer": "{PLANTED}"}}}}"#
    );
    let retry = r#", {"@type": "type.googleapis.com/google.rpc.RetryInfo", "retryDelay": "7s"}"#;
    let in_header = Answer::new(429).header("retry-after", "7").body("{}");
    let fake = format!(
        r#"{{"error": {{"code": 400, "status": "{PLANTED}", "details": [
            {{"@type": "type.googleapis.com/google.rpc.RequestInfo", "requestId": "{PLANTED} and more"}}]}}}}"#
    );
    let fake = Answer::new(400).header("content-type", CONTENT_TYPE).body(fake);
    vec![
        Spoil::new("RESOURCE_EXHAUSTED", error(429, "RESOURCE_EXHAUSTED", retry), &[RateLimited])
            .facts(&[("status", "429"), ("code", "RESOURCE_EXHAUSTED")])
            .retry_after(7),
        Spoil::new("throttled, in the header", in_header, &[RateLimited])
            .facts(&[("status", "429")])
            .retry_after(7),
        Spoil::new("SERVICE_DISABLED", error(401, "UNAUTHENTICATED", &info), &[Unauthenticated])
            .facts(&[("reason", "SERVICE_DISABLED")]),
        refusal("PERMISSION_DENIED", 403, &[PermissionDenied]),
        refusal("UNAUTHENTICATED", 401, &[Unauthenticated]),
        refusal("NOT_FOUND", 404, &[NotFound]),
        refusal("ALREADY_EXISTS", 409, &[AlreadyExists, Conflict]),
        refusal("INVALID_ARGUMENT", 400, &[InvalidInput, NotFound]),
        refusal("FAILED_PRECONDITION", 400, &[Conflict, NotFound, AlreadyExists]),
        refusal("ABORTED", 409, &[Conflict, AlreadyExists]),
        refusal("INTERNAL", 500, &[Unavailable]).writes(&[Unavailable, Timeout]),
        refusal("UNAVAILABLE", 503, &[Unavailable]).writes(&[Unavailable, Timeout]),
        refusal("DEADLINE_EXCEEDED", 504, &[Timeout]),
        Spoil::new("a code and an id that are none", fake, &[Other]),
    ]
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_answer_that_says_nothing_is_not_taken_for_a_value() {
    let Some(bed) = bed("an_answer_that_says_nothing_is_not_taken_for_a_value") else {
        return;
    };
    let shared = Shared::make(&bed).await;
    let empty = || Answer::new(200).header("content-type", CONTENT_TYPE).body("{}");
    for (asked, kinds) in [("access", &[Other][..]), ("describe", &[Other])] {
        let proxy = FaultProxy::to(&bed.upstream).unwrap().start().unwrap();
        let is_asked: fn(&Request) -> bool = match asked {
            "access" => |request| asks(request) == "access",
            _ => |request| asks(request) == "describe",
        };
        proxy.add(Rule::new(empty()).when(is_asked));
        let store = bed.connect(&proxy.url(), &shared.prefix).await.unwrap();
        let first = &verb::shared_requests()[0];
        let error = store.get(&first.name, &GetOptions::default()).await.unwrap_err();
        assert!(kinds.contains(&error.kind()), "{asked}: {error:?}");
    }
    let own = prefix();
    for at in 1..=2 {
        let proxy = FaultProxy::to(&bed.upstream).unwrap().start().unwrap();
        proxy.add(Rule::new(empty()).when(writes).nth(at));
        let store = bed.connect(&proxy.url(), &own).await.unwrap();
        let written = store.put(&name("a"), PutRequest::new("kfcanary-nothing01")).await;
        assert_eq!(written.unwrap_err().kind(), Other, "the write {at} was believed");
    }
    shared.clean(&bed).await;
}

/// So many requests at once come back in a few round trips.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_batch_is_one_request_for_each_value_and_one_for_all_expiries() {
    let Some(bed) = bed("a_batch_is_one_request_for_each_value_and_one_for_all_expiries") else {
        return;
    };
    let shared = Shared::make(&bed).await;
    let line = Line::round_trip(Duration::from_millis(100));
    let proxy = FaultProxy::to(&bed.upstream).unwrap().line(line).start().unwrap();
    let store = bed.patient(&proxy.url(), &shared.prefix).await;
    let start = Instant::now();
    let answers = store.get_many(&verb::shared_requests()).await;
    let elapsed = start.elapsed();
    assert!(answers.iter().all(Result::is_ok));
    let requests = proxy.requests();
    let count = |asked: &str| requests.iter().filter(|request| asks(request) == asked).count();
    assert_eq!(
        (count("access"), count("list"), requests.len()),
        (verb::SHARED, 1, verb::SHARED + 1)
    );
    assert!(elapsed < Duration::from_millis(1_000), "one after the other: {elapsed:?}");
    shared.clean(&bed).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_listing_that_is_denied_is_not_asked_for_again() {
    let Some(bed) = bed("a_listing_that_is_denied_is_not_asked_for_again") else {
        return;
    };
    let shared = Shared::make(&bed).await;
    let proxy = FaultProxy::to(&bed.upstream).unwrap().start().unwrap();
    let denied = Answer::new(403)
        .header("content-type", CONTENT_TYPE)
        .body(r#"{"error": {"code": 403, "status": "PERMISSION_DENIED"}}"#);
    proxy.add(Rule::new(denied).when(|request| matches!(asks(request), "list" | "describe")));
    let store = bed.connect(&proxy.url(), &shared.prefix).await.unwrap();
    for (listings, descriptions) in [(1, verb::SHARED), (0, 0)] {
        proxy.forget();
        let answers = store.get_many(&verb::shared_requests()).await;
        assert!(answers.iter().all(Result::is_ok));
        let requests = proxy.requests();
        let count = |asked: &str| requests.iter().filter(|request| asks(request) == asked).count();
        assert_eq!((count("list"), count("describe")), (listings, descriptions));
    }
    shared.clean(&bed).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_says_nothing_of_expiries_gives_no_values() {
    let Some(bed) = bed("what_says_nothing_of_expiries_gives_no_values") else {
        return;
    };
    let shared = Shared::make(&bed).await;
    let proxy = FaultProxy::to(&bed.upstream).unwrap().start().unwrap();
    proxy.add(Rule::new(Answer::new(503)).when(|request| asks(request) == "list"));
    let store = bed.connect(&proxy.url(), &shared.prefix).await.unwrap();
    let requests: Vec<GetRequest> = verb::shared_requests();
    let failed: Vec<ErrorKind> = store
        .get_many(&requests)
        .await
        .iter()
        .filter_map(|answer| answer.as_ref().err())
        .map(Error::kind)
        .collect();
    assert_eq!(failed, vec![Unavailable; verb::SHARED]);
    shared.clean(&bed).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_lost_answer_to_a_write_is_told_as_unknown_and_reading_settles_it() {
    let Some(bed) = bed("a_lost_answer_to_a_write_is_told_as_unknown_and_reading_settles_it") else {
        return;
    };
    suite::lost_answer(&bed, |request| request.path().contains(":addVersion")).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_answer_without_end_is_left_when_it_is_too_large() {
    let Some(bed) = bed("an_answer_without_end_is_left_when_it_is_too_large") else {
        return;
    };
    let proxy = FaultProxy::to(&bed.upstream).unwrap().start().unwrap();
    let endless = Answer::new(200).header("content-type", CONTENT_TYPE).body("{\"a\": \"b\"}, ");
    proxy.add(Rule::new(Fault::Endless(endless)));
    // With time enough that only the size can end it.
    let store = bed.patient(&proxy.url(), &prefix()).await;
    let error = store.get(&name("a"), &GetOptions::default()).await.unwrap_err();
    assert_eq!(error.kind(), Other, "{error:?}");
}

//! AWS Secrets Manager: LocalStack behind the proxy.

use keyfob_core::ErrorKind::{
    self, AlreadyExists, Conflict, InvalidConfig, InvalidInput, NotFound, Other, PermissionDenied, RateLimited, Timeout,
    Unauthenticated, Unavailable,
};
use keyfob_core::{Environment, Error, GetOptions};
use keyfob_integration_tests::fault_proxy::{Answer, Fault, FaultProxy, Request, Rule};

use crate::bed::{Bed, name, prefix};
use crate::spoil::{PLANTED, Spoil, common};
use crate::suite;
use crate::verb::{self, Shared, Verb};

const CONTENT_TYPE: &str = "application/x-amz-json-1.1";
const REQUEST_ID: &str = "0a1b2c3d-faff-4000-8000-00000000abcd";
const KEY: &str = "kf-secret-access-key-5d41402abc4b";
const BATCH_GET: &str = "secretsmanager.BatchGetSecretValue";
const SESSION: &str = "kf-session-token-7d793037a0760186";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_verb_on_aws_survives_every_fault() {
    let Some(bed) = bed("every_verb_on_aws_survives_every_fault") else {
        return;
    };
    let mut spoils = common(CONTENT_TYPE, &[InvalidConfig]);
    spoils.extend(refusals());
    suite::run(bed, spoils).await;
}

pub(crate) fn bed(test: &str) -> Option<Bed> {
    let upstream = keyfob_testkit::server(test, "KEYFOB_TEST_LOCALSTACK_URL")?;
    let environment = Environment::fake()
        .var("AWS_ACCESS_KEY_ID", "test")
        .var("AWS_SECRET_ACCESS_KEY", KEY)
        .var("AWS_SESSION_TOKEN", SESSION)
        .var("AWS_EC2_METADATA_DISABLED", "true")
        .build();
    Some(Bed {
        backend: keyfob_aws::BACKEND,
        upstream,
        environment,
        credentials: vec![KEY.to_owned(), SESSION.to_owned()],
        url: |address, prefix, seconds| format!("aws://us-east-1?endpoint={address}&prefix={prefix}&timeout={seconds}"),
        writes,
        survives,
    })
}

pub(crate) fn action(request: &Request) -> &str {
    let target = request.header("x-amz-target").unwrap_or_default();
    target.strip_prefix("secretsmanager.").unwrap_or(target)
}

fn writes(request: &Request) -> bool {
    let reads = ["Get", "BatchGet", "Describe", "List"];
    !reads.iter().any(|verb| action(request).starts_with(verb))
}

fn survives(verb: Verb, spoil: &str, request: &Request) -> bool {
    match (verb, action(request), spoil) {
        // What a batch as a whole is refused, or says nothing about, is asked for one by one.
        (Verb::GetMany, "BatchGetSecretValue", spoil) => matches!(
            spoil,
            "AccessDeniedException"
                | "ResourceNotFoundException"
                | "InvalidRequestException"
                | "DecryptionFailure"
                | "JSON without data"
        ),
        // Who may only read values gets them; and a secret may be deleted between two requests.
        (Verb::Get, "DescribeSecret", "AccessDeniedException" | "ResourceNotFoundException") => true,
        (Verb::Versions, "DescribeSecret", "AccessDeniedException") => true,
        // The service knows who asks.
        (Verb::Health, _, "AccessDeniedException") => true,
        // The service answers these with nothing.
        (_, "TagResource" | "UntagResource", "JSON without data") => true,
        // Another's version is current, as far as the answer says.
        (Verb::Match, "UpdateSecretVersionStage", "ResourceNotFoundException") => true,
        // The value is current; only the label under which it waited is left.
        (Verb::Match, "UpdateSecretVersionStage", _) => moves_no_value(request),
        _ => false,
    }
}

fn moves_no_value(request: &Request) -> bool {
    !request.contains("AWSCURRENT")
}

/// Refusals as the service writes them: 400 with the code in the body and, for some, in a header.
fn refusals() -> Vec<Spoil> {
    let refusal = |code: &'static str, status, kinds: &'static [ErrorKind]| {
        let body = format!("{{\"__type\":\"{code}\",\"message\":\"{PLANTED}\",\"Message\":\"{PLANTED}\"}}");
        let answer = Answer::new(status)
            .header("content-type", CONTENT_TYPE)
            .header("x-amzn-requestid", REQUEST_ID)
            .body(body);
        let facts: &[(&str, &str)] = match status {
            500 => &[("status", "500"), ("request_id", REQUEST_ID)],
            503 => &[("status", "503"), ("request_id", REQUEST_ID)],
            _ => &[("status", "400"), ("request_id", REQUEST_ID)],
        };
        Spoil::new(code, answer, kinds).facts(facts)
    };
    let in_header = Answer::new(400)
        .header("content-type", CONTENT_TYPE)
        .header("x-amzn-requestid", REQUEST_ID)
        .header("x-amzn-errortype", "ThrottlingException:http://internal.amazon.com/coral/")
        .header("retry-after", "7")
        .body("{}");
    let fake_request_id = Answer::new(400)
        .header("content-type", CONTENT_TYPE)
        .header("x-amzn-requestid", format!("{PLANTED} and more"))
        .body(format!("{{\"__type\":\"{PLANTED}\"}}"));
    vec![
        refusal("ThrottlingException", 400, &[RateLimited]),
        Spoil::new("throttled, in the header", in_header, &[RateLimited])
            .facts(&[("status", "400"), ("request_id", REQUEST_ID)])
            .retry_after(7),
        refusal("AccessDeniedException", 400, &[PermissionDenied]),
        refusal("ExpiredTokenException", 400, &[Unauthenticated]),
        refusal("UnrecognizedClientException", 400, &[Unauthenticated]),
        refusal("InvalidSignatureException", 400, &[Unauthenticated]),
        refusal("InternalServiceError", 500, &[Unavailable]).writes(&[Unavailable, Timeout]),
        refusal("ServiceUnavailableException", 503, &[Unavailable]).writes(&[Unavailable, Timeout]),
        refusal("DecryptionFailure", 400, &[PermissionDenied, Unavailable, Other, Conflict]),
        refusal(
            "LimitExceededException",
            400,
            &[RateLimited, Conflict, Other, InvalidInput, Unavailable],
        ),
        refusal("ResourceNotFoundException", 400, &[NotFound]),
        refusal(
            "InvalidRequestException",
            400,
            &[Conflict, InvalidInput, NotFound, Other, AlreadyExists],
        ),
        Spoil::new("a code and an id that are none", fake_request_id, &[Other, InvalidInput]),
    ]
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_batch_that_fails_takes_only_its_own_names_with_it() {
    let Some(bed) = bed("a_batch_that_fails_takes_only_its_own_names_with_it") else {
        return;
    };
    let shared = Shared::make(&bed).await;
    let proxy = FaultProxy::to(&bed.upstream).unwrap().start().unwrap();
    let throttled = Answer::new(400).header("x-amzn-errortype", "ThrottlingException").body("{}");
    proxy.add(Rule::new(throttled).header("x-amz-target", BATCH_GET).nth(2));
    let store = bed.connect(&proxy.url(), &shared.prefix).await.unwrap();
    let answers = store.get_many(&verb::shared_requests()).await;
    let failed: Vec<ErrorKind> = answers
        .iter()
        .filter_map(|answer| answer.as_ref().err())
        .map(Error::kind)
        .collect();
    let batches = proxy
        .requests()
        .iter()
        .filter(|request| action(request) == "BatchGetSecretValue")
        .count();
    assert_eq!((answers.len(), batches), (verb::SHARED, 2));
    // Which of the two came second is not said.
    assert!([20, verb::SHARED - 20].contains(&failed.len()), "{failed:?}");
    assert!(failed.iter().all(|kind| *kind == RateLimited), "{failed:?}");
    shared.clean(&bed).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn batches_that_are_denied_are_read_one_by_one_and_not_asked_for_again() {
    let Some(bed) = bed("batches_that_are_denied_are_read_one_by_one_and_not_asked_for_again") else {
        return;
    };
    let shared = Shared::make(&bed).await;
    let proxy = FaultProxy::to(&bed.upstream).unwrap().start().unwrap();
    let denied = Answer::new(400)
        .header("content-type", CONTENT_TYPE)
        .body(r#"{"__type":"AccessDeniedException"}"#);
    proxy.add(Rule::new(denied).header("x-amz-target", BATCH_GET));
    let store = bed.connect(&proxy.url(), &shared.prefix).await.unwrap();
    for batches in [2, 0] {
        proxy.forget();
        let answers = store.get_many(&verb::shared_requests()).await;
        assert!(answers.iter().all(Result::is_ok));
        let requests = proxy.requests();
        let asked = requests
            .iter()
            .filter(|request| action(request) == "BatchGetSecretValue")
            .count();
        assert_eq!((asked, requests.len()), (batches, batches + verb::SHARED));
    }
    shared.clean(&bed).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_lost_answer_to_a_write_is_told_as_unknown_and_reading_settles_it() {
    let Some(bed) = bed("a_lost_answer_to_a_write_is_told_as_unknown_and_reading_settles_it") else {
        return;
    };
    suite::lost_answer(&bed, |request| action(request) == "CreateSecret").await;
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

//! Vault: OpenBao behind the proxy.

use keyfob_core::ErrorKind::{self, InvalidConfig, Other, PermissionDenied, RateLimited, Timeout, Unauthenticated, Unavailable};
use keyfob_core::{Environment, Error, GetOptions};
use keyfob_integration_tests::fault_proxy::{Answer, Fault, FaultProxy, Request, Rule};
use keyfob_integration_tests::servers;

use crate::bed::{Bed, name, prefix};
use crate::spoil::{PLANTED, Spoil, common};
use crate::suite;
use crate::verb::{self, Shared, Verb};

const REQUEST_ID: &str = "0a1b2c3d-faff-4000-8000-00000000abcd";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_verb_on_vault_survives_every_fault() {
    let Some(bed) = bed("every_verb_on_vault_survives_every_fault") else {
        return;
    };
    let mut spoils = common("application/json", &[Unavailable]);
    spoils.extend(refusals());
    suite::run(bed, spoils).await;
}

/// A mount of KV 1, whose writes are answered with nothing: what reaches no mount must not count as written.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_verb_on_kv_1_survives_every_fault() {
    let Some(mut bed) = bed("every_verb_on_kv_1_survives_every_fault") else {
        return;
    };
    let mount = prefix().trim_end_matches('/').to_owned();
    let token = bed.credentials[0].clone();
    let mounts = format!("{}/v1/sys/mounts/{mount}", bed.upstream);
    let headers = [("X-Vault-Token", token.as_str())];
    let _ = servers::send("POST", &mounts, &headers, r#"{"type":"kv","options":{"version":"1"}}"#);
    bed.environment = Environment::fake()
        .var("VAULT_TOKEN", token.as_str())
        .var("VAULT_PATH", mount.as_str())
        .var("VAULT_KV_VERSION", "1")
        .build();
    bed.url = |address, prefix, seconds| format!("vault:?address={address}&prefix={prefix}&timeout={seconds}");
    let mut spoils = common("application/json", &[Unavailable]);
    spoils.extend(refusals());
    suite::run(bed, spoils).await;
    let _ = servers::send("DELETE", &mounts, &headers, "");
}

pub(crate) fn bed(test: &str) -> Option<Bed> {
    let upstream = keyfob_testkit::server(test, "KEYFOB_TEST_OPENBAO_URL")?;
    let token = keyfob_testkit::server(test, "KEYFOB_TEST_OPENBAO_TOKEN")?;
    Some(Bed {
        backend: keyfob_vault::BACKEND,
        upstream,
        environment: Environment::fake().var("VAULT_TOKEN", token.as_str()).build(),
        credentials: vec![token],
        url: |address, prefix, seconds| format!("vault:secret?address={address}&prefix={prefix}&timeout={seconds}"),
        writes: |request| !matches!(request.method(), "GET" | "LIST" | "SCAN" | "HEAD"),
        survives,
    })
}

fn survives(verb: Verb, spoil: &str, request: &Request) -> bool {
    // Who is known was asked before; this adds facts.
    if verb == Verb::Health && request.path().contains("/sys/health") {
        return true;
    }
    // One secret that may not be looked at hides no other: it is listed by its name.
    let looks_at_one = request.path().contains("/shared/secret-") && !request.path().contains("list=");
    if verb == Verb::List && looks_at_one && spoil.starts_with("403") {
        return true;
    }
    // The secret is deleted: whatever fails after that is told as unsettled, with what to do.
    if verb == Verb::Delete && request.method() == "PATCH" {
        return true;
    }
    // The server answers these with nothing, so there is nothing to check in an answer that is no refusal.
    let answered_with_nothing = request.method() != "GET" && !request.path().contains("/data/");
    answered_with_nothing && matches!(spoil, "JSON without data" | "JSON of another shape" | "data of another shape")
}

/// Refusals as the server writes them.
fn refusals() -> Vec<Spoil> {
    let json = |status, body: String| Answer::new(status).header("content-type", "application/json").body(body);
    let errors = |status, text: &str| json(status, format!("{{\"errors\":[\"{text}\"]}}\n"));
    let shapeless = format!("{{\"request_id\":\"{REQUEST_ID}\",\"data\":\"{PLANTED}\"}}");
    vec![
        Spoil::new(
            "429",
            errors(429, "request path exceeded the quota").header("retry-after", "7"),
            &[RateLimited],
        )
        .facts(&[("status", "429")])
        .retry_after(7),
        Spoil::new("429 without a time", errors(429, PLANTED), &[RateLimited]).facts(&[("status", "429")]),
        // Every request is denied, the look-up of the token by itself too; or the token is good and may not do this.
        Spoil::new("403", errors(403, "permission denied"), &[PermissionDenied, Unauthenticated]).facts(&[("status", "403")]),
        Spoil::new("403 with a text", errors(403, PLANTED), &[PermissionDenied, Unauthenticated]).facts(&[("status", "403")]),
        Spoil::new("sealed", errors(503, "Vault is sealed"), &[Unavailable]).facts(&[("status", "503")]),
        Spoil::new("500", errors(500, PLANTED), &[Unavailable]).facts(&[("status", "500")]),
        Spoil::new("502", errors(502, PLANTED), &[Unavailable])
            .writes(&[Unavailable, Timeout])
            .facts(&[("status", "502")]),
        Spoil::new("504", errors(504, PLANTED), &[Unavailable, Timeout]).facts(&[("status", "504")]),
        Spoil::new("data of another shape", json(200, shapeless), &[Other])
            .writes(&[Other, Timeout])
            .facts(&[("status", "200"), ("request_id", REQUEST_ID)]),
    ]
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_read_that_fails_takes_no_other_name_with_it() {
    let Some(bed) = bed("a_read_that_fails_takes_no_other_name_with_it") else {
        return;
    };
    let shared = Shared::make(&bed).await;
    let proxy = FaultProxy::to(&bed.upstream).unwrap().start().unwrap();
    proxy.add(Rule::new(Answer::new(500)).path("secret-07"));
    proxy.add(Rule::new(Fault::Hang).path("secret-19"));
    let store = bed.connect(&proxy.url(), &shared.prefix).await.unwrap();
    let answers = store.get_many(&verb::shared_requests()).await;
    let failed: Vec<(usize, ErrorKind)> = (0..)
        .zip(&answers)
        .filter_map(|(index, answer)| Some((index, answer.as_ref().err()?.kind())))
        .collect();
    assert_eq!((answers.len(), failed), (verb::SHARED, vec![(7, Unavailable), (19, Timeout)]));
    shared.clean(&bed).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_lost_answer_to_a_write_is_told_as_unknown_and_reading_settles_it() {
    let Some(bed) = bed("a_lost_answer_to_a_write_is_told_as_unknown_and_reading_settles_it") else {
        return;
    };
    suite::lost_answer(&bed, |request| request.method() != "GET" && request.path().contains("/data/")).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_token_that_is_not_valid_is_told_apart_from_one_that_may_not() {
    let Some(mut bed) = bed("a_token_that_is_not_valid_is_told_apart_from_one_that_may_not") else {
        return;
    };
    bed.environment = Environment::fake().var("VAULT_TOKEN", "hvs.kfnosuchtoken").build();
    let error = failing(&bed, &bed.upstream).await;
    assert_eq!(error.kind(), Unauthenticated, "{error:?}");
    assert!(!format!("{error:?}").contains("kfnosuchtoken"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_log_in_that_fails_is_told_without_its_credentials() {
    let Some(mut bed) = bed("a_log_in_that_fails_is_told_without_its_credentials") else {
        return;
    };
    let secret_id = "kf-secret-id-0cc175b9c0f1";
    bed.environment = Environment::fake()
        .var("VAULT_ROLE_ID", "kf-role")
        .var("VAULT_SECRET_ID", secret_id)
        .build();
    bed.credentials = vec![secret_id.to_owned()];
    let answer = |status, body: &str| -> Fault {
        Answer::new(status)
            .header("content-type", "application/json")
            .body(body)
            .into()
    };
    for (what, fault, kinds) in [
        ("hang", Fault::Hang, &[Timeout][..]),
        ("reset", Fault::Reset, &[Unavailable]),
        ("500", answer(500, r#"{"errors":["kfcanary-inananswer12"]}"#), &[Unavailable]),
        ("429", answer(429, r#"{"errors":["x"]}"#), &[RateLimited]),
        (
            "refusal",
            answer(400, r#"{"errors":["invalid role or secret ID"]}"#),
            &[Unauthenticated],
        ),
        (
            "denial",
            answer(403, r#"{"errors":["permission denied"]}"#),
            &[Unauthenticated, PermissionDenied],
        ),
        ("no token", answer(200, r#"{"data":{}}"#), &[Other]),
        (
            "an empty token",
            answer(200, r#"{"auth":{"client_token":""}}"#),
            &[Other, Unauthenticated],
        ),
        (
            "a token in two lines",
            answer(200, r#"{"auth":{"client_token":"a\nb"}}"#),
            &[Other, Unauthenticated, InvalidConfig],
        ),
        (
            "malformed",
            answer(200, r#"{"auth":{"client_token":"kfcanary-inananswer12"#),
            &[Other],
        ),
        (
            "endless",
            Fault::Endless(Answer::new(200).header("content-type", "application/json").body("{}")),
            &[Other, Timeout],
        ),
    ] {
        let proxy = FaultProxy::to(&bed.upstream).unwrap().start().unwrap();
        proxy.add(Rule::new(fault).path("/login"));
        let error = failing(&bed, &proxy.url()).await;
        let log_ins = proxy
            .requests()
            .iter()
            .filter(|request| request.path().contains("/login"))
            .count();
        // The value and the kind of the mount are asked for side by side; neither asks twice.
        assert!((1..=2).contains(&log_ins), "{what}: {log_ins} log-ins");
        assert_eq!(suite::leak(&bed, &error), None, "{what}");
        assert!(kinds.contains(&error.kind()), "{what}: {error:?}");
    }
}

async fn failing(bed: &Bed, address: &str) -> Error {
    match bed.connect(address, &prefix()).await {
        Ok(store) => store.get(&name("a"), &GetOptions::default()).await.unwrap_err(),
        Err(error) => error,
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_answer_without_end_is_left_when_it_is_too_large() {
    let Some(bed) = bed("an_answer_without_end_is_left_when_it_is_too_large") else {
        return;
    };
    let proxy = FaultProxy::to(&bed.upstream).unwrap().start().unwrap();
    let endless = Answer::new(200)
        .header("content-type", "application/json")
        .body("{\"a\": \"b\"}, ");
    proxy.add(Rule::new(Fault::Endless(endless)));
    // With time enough that only the size can end it.
    let store = bed.patient(&proxy.url(), &prefix()).await;
    let error = store.get(&name("a"), &GetOptions::default()).await.unwrap_err();
    assert_eq!(error.kind(), Other, "{error:?}");
}

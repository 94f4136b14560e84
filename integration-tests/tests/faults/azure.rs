//! Azure Key Vault: its double behind the proxy, over TLS on both sides. Only the vault is behind it, not the log-in.

use std::io::Write as _;
use std::path::PathBuf;
use std::sync::OnceLock;

use keyfob_core::ErrorKind::{
    self, Conflict, InvalidConfig, InvalidInput, NotFound, Other, PermissionDenied, RateLimited, Timeout, Unauthenticated,
    Unavailable,
};
use keyfob_core::{DeleteMode, DeleteOptions, Environment, GetOptions, ListOptions, PutRequest};
use keyfob_integration_tests::fault_proxy::{Answer, Fault, FaultProxy, Request, Rule};

use crate::bed::{Bed, name, prefix};
use crate::spoil::{PLANTED, Spoil, common};
use crate::suite;
use crate::verb::{self, Shared, Verb};

const CONTENT_TYPE: &str = "application/json; charset=utf-8";
const REQUEST_ID: &str = "0a1b2c3d-faff-4000-8000-00000000abcd";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_verb_on_azure_survives_every_fault() {
    let Some(bed) = bed("every_verb_on_azure_survives_every_fault") else {
        return;
    };
    let mut spoils = common(CONTENT_TYPE, &[InvalidConfig]);
    spoils.extend(refusals());
    suite::run(bed, spoils).await;
}

pub(crate) fn bed(test: &str) -> Option<Bed> {
    let variable = |name: &str| keyfob_testkit::server(test, &format!("KEYFOB_TEST_AZURE_{name}"));
    let (upstream, authority) = (variable("URL")?, variable("AUTHORITY")?);
    let (tenant, client, secret) = (variable("TENANT_ID")?, variable("CLIENT_ID")?, variable("CLIENT_SECRET")?);
    authorities(&variable("CA")?);
    let environment = Environment::fake()
        .host_files()
        .var("AZURE_AUTHORITY_HOST", authority)
        .var("AZURE_TENANT_ID", tenant)
        .var("AZURE_CLIENT_ID", client)
        .var("AZURE_CLIENT_SECRET", secret.as_str())
        .build();
    Some(Bed {
        backend: keyfob_azure::BACKEND,
        upstream,
        environment,
        credentials: vec![secret],
        url: |address, prefix, seconds| {
            let host = address.strip_prefix("https://").unwrap_or(address);
            let ca = AUTHORITIES.get().unwrap().display();
            format!("azure://{host}?ca={ca}&challenge=unverified&prefix={prefix}&timeout={seconds}&recovery-timeout=5")
        },
        writes,
        survives,
    })
}

static AUTHORITIES: OnceLock<PathBuf> = OnceLock::new();

/// A file with the authority of the double, which the log-in needs, and that of the proxies.
fn authorities(double: &str) {
    AUTHORITIES.get_or_init(|| {
        let proxy = FaultProxy::alone().tls().start().unwrap();
        let file = std::env::temp_dir().join(format!("keyfob-faults-{}.pem", std::process::id()));
        let mut both = std::fs::File::create(&file).unwrap();
        for authority in [std::fs::read(double).unwrap(), std::fs::read(proxy.ca()).unwrap()] {
            both.write_all(&authority).unwrap();
        }
        file
    });
}

fn writes(request: &Request) -> bool {
    request.method() != "GET"
}

fn is_deleted(request: &Request) -> bool {
    request.path().starts_with("/deletedsecrets/")
}

/// The second half of a delete for good. When it fails the first half is done, and the error says so.
pub(crate) fn is_purge(request: &Request) -> bool {
    request.method() == "DELETE" && is_deleted(request)
}

fn survives(verb: Verb, spoil: &str, request: &Request) -> bool {
    let looks = request.method() == "GET";
    match verb {
        // Whatever is wrong with a look, the vault does what it has accepted, and the next look sees it.
        Verb::Delete | Verb::DeletePermanent if looks && is_deleted(request) => true,
        Verb::Restore if looks => true,
        // A purge waits until the delete before it is done.
        Verb::DeletePermanent if is_purge(request) => spoil == "being deleted",
        // Which version is current is seen in the list too, where a value may not be read.
        Verb::Versions if !request.path().contains("/versions") => {
            matches!(
                spoil,
                "denied by role" | "denied by policy" | "denied by the firewall" | "disabled"
            )
        }
        // A secret whose version is disabled is looked up in the list.
        Verb::Upsert | Verb::PutMetadata | Verb::Delete | Verb::DeletePermanent if looks => spoil == "disabled",
        // The vault knows who asks.
        Verb::Health => spoil.starts_with("denied"),
        _ => false,
    }
}

/// Refusals as the service writes them.
fn refusals() -> Vec<Spoil> {
    let answer = |status: u16, code: &str, inner: Option<&str>| {
        let inner = inner
            .map(|code| format!(",\"innererror\":{{\"code\":\"{code}\"}}"))
            .unwrap_or_default();
        Answer::new(status)
            .header("content-type", CONTENT_TYPE)
            .header("x-ms-request-id", REQUEST_ID)
            .body(format!(
                "{{\"error\":{{\"code\":\"{code}\",\"message\":\"{PLANTED}\"{inner}}}}}"
            ))
    };
    let refusal = |name, status, code, inner, kinds: &'static [ErrorKind]| {
        let facts: &[(&str, &str)] = match status {
            400 => &[("status", "400"), ("request_id", REQUEST_ID)],
            401 => &[("status", "401"), ("request_id", REQUEST_ID)],
            403 => &[("status", "403"), ("request_id", REQUEST_ID)],
            409 => &[("status", "409"), ("request_id", REQUEST_ID)],
            500 => &[("status", "500"), ("request_id", REQUEST_ID)],
            503 => &[("status", "503"), ("request_id", REQUEST_ID)],
            _ => &[],
        };
        Spoil::new(name, answer(status, code, inner), kinds).facts(facts)
    };
    let throttled = answer(429, "Throttled", None).header("retry-after", "2");
    let no_code = Answer::new(400)
        .header("content-type", CONTENT_TYPE)
        .header("x-ms-request-id", format!("{PLANTED} and more"))
        .body(format!(
            "{{\"error\":{{\"code\":\"{PLANTED}\",\"innererror\":{{\"code\":\"{PLANTED}\"}}}}}}"
        ));
    vec![
        Spoil::new("throttled", throttled, &[RateLimited])
            .facts(&[("status", "429"), ("request_id", REQUEST_ID)])
            .retry_after(2),
        // Without a challenge there is nothing to log in for.
        refusal("no token", 401, "Unauthorized", None, &[Unauthenticated]),
        refusal(
            "denied by role",
            403,
            "Forbidden",
            Some("ForbiddenByRbac"),
            &[PermissionDenied, NotFound],
        ),
        refusal(
            "denied by policy",
            403,
            "Forbidden",
            Some("AccessDenied"),
            &[PermissionDenied, NotFound],
        ),
        refusal(
            "denied by the firewall",
            403,
            "Forbidden",
            Some("ForbiddenByFirewall"),
            &[PermissionDenied, NotFound],
        ),
        refusal("disabled", 403, "Forbidden", Some("SecretDisabled"), &[PermissionDenied]),
        // Not "no such secret": that can't be told from the truth, and a write would make a new one.
        refusal("being deleted", 409, "Conflict", Some("ObjectIsBeingDeleted"), &[Conflict]),
        refusal(
            "reserved",
            409,
            "Conflict",
            Some("ObjectIsDeletedButRecoverable"),
            &[Conflict],
        ),
        refusal("an internal error", 500, "InternalServerError", None, &[Unavailable]).writes(&[Unavailable, Timeout]),
        refusal("unavailable", 503, "ServiceUnavailable", None, &[Unavailable]).writes(&[Unavailable, Timeout]),
        refusal("a bad parameter", 400, "BadParameter", None, &[InvalidInput]),
        Spoil::new("a code and an id that are none", no_code, &[InvalidInput, Other]),
    ]
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_token_goes_to_no_other_host_and_for_no_other_purpose() {
    let Some(bed) = bed("a_token_goes_to_no_other_host_and_for_no_other_purpose") else {
        return;
    };
    let (prefix, proxy) = (prefix(), bed.proxy());
    let elsewhere = FaultProxy::alone().tls().start().unwrap();
    let page = |next: String| {
        let body = format!("{{\"value\":[],\"nextLink\":\"{next}\"}}");
        Answer::new(200).header("content-type", CONTENT_TYPE).body(body)
    };
    let store = bed.patient(&proxy.url(), &prefix).await;
    store.health().await.unwrap();
    for next in [
        format!("{}/secrets?$skiptoken=x", elsewhere.url()),
        format!("{}/deletedsecrets?$skiptoken=x", proxy.url()),
        format!("{}/secrets/../keys?$skiptoken=x", proxy.url()),
        format!("//{}/secrets?$skiptoken=x", elsewhere.address()),
    ] {
        proxy.clear();
        proxy.add(Rule::new(page(next.clone())).path("/secrets"));
        let error = store.list(&ListOptions::default()).await.unwrap_err();
        assert_eq!(error.kind(), Other, "{next}: {error:?}");
    }
    proxy.clear();
    proxy.add(Rule::new(Answer::redirect(format!("{}/secrets", elsewhere.url()))));
    let error = store.list(&ListOptions::default()).await.unwrap_err();
    assert_eq!(error.kind(), InvalidConfig, "{error:?}");
    assert_eq!(elsewhere.connections(), 0);
}

/// The answer is about another secret than the one that was asked for.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_answer_about_another_secret_is_none() {
    let Some(bed) = bed("an_answer_about_another_secret_is_none") else {
        return;
    };
    let (prefix, proxy) = (prefix(), bed.proxy());
    let direct = bed.direct(&prefix).await;
    direct
        .put(&name("mine"), PutRequest::new("kfcanary-ofmysecret01"))
        .await
        .unwrap();
    let store = bed.patient(&proxy.url(), &prefix).await;
    store.health().await.unwrap();
    let version = "0123456789abcdef0123456789abcdef";
    for id in [
        format!("{}/secrets/another/{version}", proxy.url()),
        format!("{}/keys/mine/{version}", proxy.url()),
        "another".to_owned(),
        String::new(),
    ] {
        proxy.clear();
        let body = format!("{{\"value\":\"{PLANTED}\",\"id\":\"{id}\",\"attributes\":{{}}}}");
        proxy.add(Rule::new(Answer::new(200).header("content-type", CONTENT_TYPE).body(body)));
        let error = store.get(&name("mine"), &GetOptions::default()).await.unwrap_err();
        assert_eq!(error.kind(), Other, "{id}: {error:?}");
        assert!(suite::leak(&bed, &error).is_none(), "{id}");
    }
    let permanent = DeleteOptions {
        mode: DeleteMode::Permanent,
    };
    direct.delete(&name("mine"), &permanent).await.unwrap();
}

/// Nothing is deleted when it can't be deleted for good.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_vault_with_purge_protection_says_so_before_anything_is_deleted() {
    let Some(bed) = bed("a_vault_with_purge_protection_says_so_before_anything_is_deleted") else {
        return;
    };
    let proxy = bed.proxy();
    let prefix = prefix();
    let store = bed.patient(&proxy.url(), &prefix).await;
    store.health().await.unwrap();
    let id = format!(
        "{}/secrets/{}mine/0123456789abcdef0123456789abcdef",
        proxy.url(),
        prefix.replace('/', "--")
    );
    let permanent = DeleteOptions {
        mode: DeleteMode::Permanent,
    };
    for level in ["Recoverable", "CustomizedRecoverable+ProtectedSubscription"] {
        proxy.clear();
        proxy.forget();
        let attributes = format!("{{\"enabled\":true,\"recoveryLevel\":\"{level}\"}}");
        let tags = format!("{{\"keyfob-name\":\"{prefix}mine\"}}");
        let body = format!("{{\"value\":\"{PLANTED}\",\"id\":\"{id}\",\"attributes\":{attributes},\"tags\":{tags}}}");
        proxy.add(Rule::new(Answer::new(200).header("content-type", CONTENT_TYPE).body(body)).method("GET"));
        let error = store.delete(&name("mine"), &permanent).await.unwrap_err();
        assert_eq!(error.kind(), PermissionDenied, "{level}: {error:?}");
        assert!(
            error.message().contains("purge protection") && error.hint().is_some(),
            "{error:?}"
        );
        assert!(proxy.requests().iter().all(|request| request.method() == "GET"), "{level}");
    }
}

/// A role on one secret of another tool's is refused everywhere else, also where keyfob would look first.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_may_read_one_secret_only_reads_it() {
    let Some(bed) = bed("who_may_read_one_secret_only_reads_it") else {
        return;
    };
    let proxy = bed.proxy();
    let store = bed.patient(&proxy.url(), "").await;
    store.health().await.unwrap();
    let denied = r#"{"error":{"code":"Forbidden","innererror":{"code":"ForbiddenByRbac"}}}"#;
    let id = format!("{}/secrets/DbPassword/0123456789abcdef0123456789abcdef", proxy.url());
    let body = format!("{{\"value\":\"{PLANTED}\",\"id\":\"{id}\",\"attributes\":{{\"enabled\":true}}}}");
    let answer = |status, body: &str| Answer::new(status).header("content-type", CONTENT_TYPE).body(body);
    proxy.add(Rule::new(answer(200, &body)).path("/secrets/DbPassword/"));
    proxy.add(Rule::new(answer(403, denied)));
    let secret = store.get(&name("DbPassword"), &GetOptions::default()).await.unwrap();
    assert!(secret.value.expose_secret() == PLANTED.as_bytes());
    for other in ["dbpassword", "DbPasswords", "DBPASSWORD"] {
        let error = store.get(&name(other), &GetOptions::default()).await.unwrap_err();
        assert_eq!(error.kind(), PermissionDenied, "{other}: {error:?}");
    }
}

/// One request meets the vault, and the others come with a token at once.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_batch_meets_one_challenge() {
    let Some(bed) = bed("a_batch_meets_one_challenge") else {
        return;
    };
    let (shared, proxy) = (Shared::make(&bed).await, bed.proxy());
    let store = bed.connect(&proxy.url(), &shared.prefix).await.unwrap();
    let answers = store.get_many(&verb::shared_requests()).await;
    assert!(answers.iter().all(Result::is_ok));
    let requests = proxy.requests();
    let without_token = requests
        .iter()
        .filter(|request| request.header("authorization").is_none())
        .count();
    assert_eq!((requests.len(), without_token), (verb::SHARED + 1, 1));
    shared.clean(&bed).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_lost_answer_to_a_write_to_azure_is_told_as_unknown_and_reading_settles_it() {
    let Some(bed) = bed("a_lost_answer_to_a_write_to_azure_is_told_as_unknown_and_reading_settles_it") else {
        return;
    };
    let (prefix, proxy) = (prefix(), bed.proxy());
    let direct = bed.direct(&prefix).await;
    proxy.add(Rule::new(Fault::LoseAnswer).method("PUT"));
    let store = bed.connect(&proxy.url(), &prefix).await.unwrap();
    let secret = name("written/secret");
    let error = store
        .put(&secret, PutRequest::new("kfcanary-lostanswer01"))
        .await
        .unwrap_err();
    assert_eq!(error.kind(), Timeout, "{error:?}");
    assert!(error.hint().is_some(), "nothing says what to do: {error:?}");
    assert!(
        direct.get(&secret, &GetOptions::default()).await.is_ok(),
        "the vault did not get it, so nothing is proven"
    );
    verb::clean(&*direct).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_answer_of_azure_without_end_is_left_when_it_is_too_large() {
    let Some(bed) = bed("an_answer_of_azure_without_end_is_left_when_it_is_too_large") else {
        return;
    };
    let proxy = bed.proxy();
    let endless = Answer::new(200).header("content-type", CONTENT_TYPE).body("{\"a\": \"b\"}, ");
    proxy.add(Rule::new(Fault::Endless(endless)));
    let store = bed.patient(&proxy.url(), &prefix()).await;
    let error = store.get(&name("a"), &GetOptions::default()).await.unwrap_err();
    assert_eq!(error.kind(), Other, "{error:?}");
}

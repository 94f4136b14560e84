//! Kubernetes: the API server behind the proxy, in both shapes. A proxy of its own takes the TLS away before.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, OnceLock, PoisonError};
use std::time::{Duration, Instant};

use keyfob_core::ErrorKind::{
    self, AlreadyExists, Conflict, InvalidConfig, InvalidInput, NotFound, Other, PermissionDenied, RateLimited, Timeout,
    Unauthenticated, Unavailable,
};
use keyfob_core::{Environment, GetOptions, PutRequest};
use keyfob_integration_tests::fault_proxy::{Answer, Fault, FaultProxy, Line, Request, Rule};
use keyfob_integration_tests::servers::{Provider, remove, variables};

use crate::bed::{Bed, name, prefix};
use crate::spoil::{PLANTED, Spoil, common};
use crate::suite;
use crate::verb::{self, Shared, Verb};

const CONTENT_TYPE: &str = "application/json";
const ROUND_TRIP: Duration = Duration::from_millis(100);

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_verb_on_objects_survives_every_fault() {
    let _running = Running::new();
    let Some(bed) = objects("every_verb_on_objects_survives_every_fault") else {
        return;
    };
    let mut spoils = common(CONTENT_TYPE, &[InvalidConfig]);
    spoils.extend(refusals());
    spoils.push(refusal("no such secret", 404, "NotFound", "secrets", &[NotFound]));
    suite::run(bed, spoils).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_verb_on_keys_survives_every_fault() {
    let _running = Running::new();
    let Some(bed) = keys("every_verb_on_keys_survives_every_fault") else {
        return;
    };
    // That there is no such object is no fault: then no key is there, either.
    let mut spoils = common(CONTENT_TYPE, &[InvalidConfig]);
    spoils.extend(refusals());
    suite::run(bed, spoils).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_lost_answer_to_a_write_is_told_as_unknown_and_reading_settles_it() {
    let _running = Running::new();
    let test = "a_lost_answer_to_a_write_is_told_as_unknown_and_reading_settles_it";
    for bed in [objects(test), keys(test)] {
        let Some(bed) = bed else { return };
        suite::lost_answer(&bed, writes).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_of_a_batch_that_fails_leaves_the_others() {
    let _running = Running::new();
    let Some(bed) = objects("one_of_a_batch_that_fails_leaves_the_others") else {
        return;
    };
    let shared = Shared::make(&bed).await;
    let proxy = FaultProxy::to(&bed.upstream).unwrap().start().unwrap();
    proxy.add(Rule::new(status(503, "ServiceUnavailable", "secrets")).nth(8));
    proxy.add(Rule::new(Fault::Hang).nth(20));
    let store = bed.connect(&proxy.url(), &shared.prefix).await.unwrap();
    let answers = store.get_many(&verb::shared_requests()).await;
    let mut failed: Vec<ErrorKind> = answers
        .iter()
        .filter_map(|answer| Some(answer.as_ref().err()?.kind()))
        .collect();
    failed.sort();
    assert_eq!((answers.len(), failed), (verb::SHARED, vec![Timeout, Unavailable]));
    shared.clean(&bed).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_batch_of_objects_takes_one_connection_and_is_asked_for_at_once() {
    let _running = Running::new();
    let test = "a_batch_of_objects_takes_one_connection_and_is_asked_for_at_once";
    let Some(kubeconfig) = keyfob_testkit::server(test, "KEYFOB_TEST_KUBECONFIG") else {
        return;
    };
    let Some(bed) = objects(test) else { return };
    let shared = Shared::make(&bed).await;
    // The bytes pass as they are, so that it is the API server's TLS and HTTP/2, on a slow line.
    let text = std::fs::read_to_string(kubeconfig).unwrap();
    let line = Line::round_trip(ROUND_TRIP);
    let proxy = FaultProxy::to(&server_of(&text))
        .unwrap()
        .line(line)
        .opaque()
        .start()
        .unwrap();
    let slow = text.replace(&server_of(&text), &format!("https://{}", proxy.address()));
    let (_, namespace) = namespace(&shared.prefix);
    let url = keyfob_core::StoreUrl::parse(&format!("k8s://{namespace}?timeout=30")).unwrap();
    let environment = Environment::fake().file("~/.kube/config", slow).build();
    let store = (bed.backend.connect)(url, &environment).await.unwrap().store;
    let begin = Instant::now();
    let answers = store.get_many(&verb::shared_requests()).await;
    assert!(answers.iter().all(Result::is_ok));
    assert_eq!(proxy.connections(), 1);
    // Not one after the other: that would take a round trip for each, however fast the machine.
    assert!(begin.elapsed() < ROUND_TRIP * u32::try_from(verb::SHARED).unwrap());
    shared.clean(&bed).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_connection_that_was_cut_is_made_anew() {
    let _running = Running::new();
    let test = "a_connection_that_was_cut_is_made_anew";
    let Some(kubeconfig) = keyfob_testkit::server(test, "KEYFOB_TEST_KUBECONFIG") else {
        return;
    };
    let text = std::fs::read_to_string(kubeconfig).unwrap();
    let proxy = FaultProxy::to(&server_of(&text)).unwrap().opaque().start().unwrap();
    let text = text.replace(&server_of(&text), &format!("https://{}", proxy.address()));
    let environment = Environment::fake().file("~/.kube/config", text).build();
    let url = keyfob_core::StoreUrl::parse("k8s://default?timeout=5").unwrap();
    let store = (keyfob_kubernetes::BACKEND.connect)(url, &environment).await.unwrap().store;
    let kind = async || {
        let read = store.get(&name("kf-there-is-none"), &GetOptions::default()).await;
        read.unwrap_err().kind()
    };
    assert_eq!(kind().await, NotFound);
    proxy.refuse();
    // Whether the old connection or a new one fails is not said.
    assert_eq!(kind().await, Unavailable);
    proxy.accept();
    assert_eq!(kind().await, NotFound);
    assert_eq!(proxy.connections(), 2);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_answer_without_end_is_left_when_it_is_too_large() {
    let _running = Running::new();
    let Some(bed) = objects("an_answer_without_end_is_left_when_it_is_too_large") else {
        return;
    };
    let proxy = FaultProxy::to(&bed.upstream).unwrap().start().unwrap();
    let endless = Answer::new(200).header("content-type", CONTENT_TYPE).body("{\"a\": \"b\"}, ");
    proxy.add(Rule::new(Fault::Endless(endless)));
    // With time enough that only the size can end it.
    let store = bed.patient(&proxy.url(), &prefix()).await;
    let error = store.get(&name("a"), &GetOptions::default()).await.unwrap_err();
    assert_eq!(error.kind(), Other, "{error:?}");
    let error = store.put(&name("a"), PutRequest::new("x")).await.unwrap_err();
    assert_eq!(error.kind(), Other, "{error:?}");
}

/// An object per secret: a namespace for each prefix.
fn objects(test: &str) -> Option<Bed> {
    bed(test, |address, prefix, seconds| {
        let (config, namespace) = (config(address), namespace(prefix).1);
        format!("k8s://{namespace}?kubeconfig={}&timeout={seconds}", config.display())
    })
}

/// The keys of one object: one namespace, and an object for each prefix.
fn keys(test: &str) -> Option<Bed> {
    bed(test, |address, prefix, seconds| {
        let (config, namespace, object) = (config(address), namespace("").1, prefix.trim_end_matches('/'));
        format!("k8s://{namespace}/{object}?kubeconfig={}&timeout={seconds}", config.display())
    })
}

fn bed(test: &str, url: fn(&str, &str, u64) -> String) -> Option<Bed> {
    let file = keyfob_testkit::server(test, "KEYFOB_TEST_KUBECONFIG")?;
    let text = std::fs::read_to_string(file).unwrap();
    let token = value_of(&text, "token:");
    let place = PLACE.get_or_init(|| Place::new(text));
    Some(Bed {
        backend: keyfob_kubernetes::BACKEND,
        upstream: place.plain.url(),
        environment: Environment::fake().host_files().build(),
        credentials: vec![token],
        url,
        writes,
        survives,
    })
}

/// What beds share: a function can't take anything with it.
struct Place {
    /// Speaks TLS with the API server, and plain HTTP with us.
    plain: FaultProxy,
    /// An administrator's.
    kubeconfig: String,
    directory: tempfile::TempDir,
    namespaces: Mutex<BTreeMap<String, Vec<(&'static str, String)>>>,
}

static PLACE: OnceLock<Place> = OnceLock::new();

impl Place {
    fn new(kubeconfig: String) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let authority = directory.path().join("ca.pem");
        let encoded = serde_json::Value::String(value_of(&kubeconfig, "certificate-authority-data:"));
        let decoded: k8s_openapi::ByteString = serde_json::from_value(encoded).unwrap();
        std::fs::write(&authority, decoded.0).unwrap();
        let plain = FaultProxy::to(&server_of(&kubeconfig)).unwrap().trust(&authority).unwrap();
        Self {
            plain: plain.start().unwrap(),
            kubeconfig,
            directory,
            namespaces: Mutex::default(),
        }
    }
}

/// What stands behind a key of the kubeconfig, which has each of these once.
fn value_of(kubeconfig: &str, key: &str) -> String {
    let line = kubeconfig
        .lines()
        .find_map(|line| line.trim().trim_start_matches("- ").strip_prefix(key));
    line.unwrap().trim().trim_matches(['"', '\'']).to_owned()
}

fn server_of(kubeconfig: &str) -> String {
    value_of(kubeconfig, "server:")
}

/// A kubeconfig for the server at this address.
fn config(address: &str) -> PathBuf {
    let place = PLACE.get().unwrap();
    let file = place.directory.path().join(address.replace(['/', ':'], "-"));
    let _alone = place.namespaces.lock().unwrap_or_else(PoisonError::into_inner);
    if !file.exists() {
        let text = place.kubeconfig.replace(&server_of(&place.kubeconfig), address);
        std::fs::write(&file, text).unwrap();
    }
    file
}

/// A namespace for what has this prefix: the same for the same.
fn namespace(prefix: &str) -> (&'static str, String) {
    let place = PLACE.get().unwrap();
    let mut namespaces = place.namespaces.lock().unwrap_or_else(PoisonError::into_inner);
    let made = namespaces
        .entry(prefix.to_owned())
        .or_insert_with(|| variables("faults on Kubernetes", Provider::Kubernetes).unwrap());
    let found = made.iter().find(|(name, _)| *name == "K8S_SECRET_NAMESPACE");
    found.cloned().unwrap()
}

/// One test of this file. The last that ends removes the namespaces, which they share.
struct Running;

impl Running {
    fn new() -> Self {
        RUNNING.fetch_add(1, Ordering::SeqCst);
        Self
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        if RUNNING.fetch_sub(1, Ordering::SeqCst) > 1 || std::thread::panicking() {
            return;
        }
        let namespaces = PLACE
            .get()
            .map(|place| place.namespaces.lock().unwrap_or_else(PoisonError::into_inner));
        for made in namespaces
            .map(|mut namespaces| std::mem::take(&mut *namespaces))
            .unwrap_or_default()
            .into_values()
        {
            remove(&made);
        }
    }
}

static RUNNING: AtomicUsize = AtomicUsize::new(0);

fn writes(request: &Request) -> bool {
    request.method() != "GET"
}

fn survives(verb: Verb, spoil: &str, request: &Request) -> bool {
    let is_secret = request.path().contains("/secrets");
    match (verb, request.method()) {
        // Few may look at the namespace, so what comes of that is not believed to be more than it is.
        (Verb::Health, _) if !is_secret => true,
        // The API server knows who asks.
        (Verb::Health, _) => spoil.starts_with("403"),
        // Another object seems to have the name since, or none: what is there now decides.
        (Verb::Upsert | Verb::PutMetadata | Verb::Match | Verb::DeletePermanent, "PATCH" | "DELETE") => {
            matches!(spoil, "conflict" | "no such secret")
                || spoil == "a patch that does not apply" && request.method() == "PATCH"
        }
        // Somebody else seems to have made the object: with which keys is looked up.
        (Verb::Create, "POST") => spoil == "already exists",
        _ => false,
    }
}

fn status(status: u16, reason: &str, about: &str) -> Answer {
    Answer::new(status).header("content-type", CONTENT_TYPE).body(format!(
        "{{\"kind\":\"Status\",\"apiVersion\":\"v1\",\"status\":\"Failure\",\"message\":\"{PLANTED}\",\"reason\":\"{reason}\",\
         \"details\":{{\"name\":\"{PLANTED}\",\"kind\":\"{about}\",\"causes\":[{{\"reason\":\"{PLANTED}\",\"message\":\"{PLANTED}\"}}]}},\
         \"code\":{status}}}"
    ))
}

/// What the API server answers when it can't apply a JSON patch.
fn status_of_no_cause(status: u16, reason: &str) -> Answer {
    Answer::new(status).header("content-type", CONTENT_TYPE).body(format!(
        "{{\"kind\":\"Status\",\"apiVersion\":\"v1\",\"status\":\"Failure\",\"message\":\"{PLANTED}\",\"reason\":\"{reason}\",\
         \"details\":{{}},\"code\":{status}}}"
    ))
}

fn refusal(name: &'static str, code: u16, reason: &str, about: &str, kinds: &'static [ErrorKind]) -> Spoil {
    Spoil::new(name, status(code, reason, about), kinds)
}

/// Refusals as the API server writes them.
fn refusals() -> Vec<Spoil> {
    let plain = |name, code, reason, kinds: &'static [ErrorKind]| {
        let facts: &[(&str, &str)] = match code {
            401 => &[("status", "401"), ("reason", "Unauthorized")],
            403 => &[("status", "403"), ("reason", "Forbidden")],
            410 => &[("status", "410"), ("reason", "Expired")],
            422 => &[("status", "422"), ("reason", "Invalid")],
            503 => &[("status", "503"), ("reason", "ServiceUnavailable")],
            504 => &[("status", "504"), ("reason", "Timeout")],
            _ => &[],
        };
        refusal(name, code, reason, "secrets", kinds).facts(facts)
    };
    let throttled = status(429, "TooManyRequests", "secrets").header("retry-after", "3");
    vec![
        plain("403", 403, "Forbidden", &[PermissionDenied]),
        plain("401", 401, "Unauthorized", &[Unauthenticated]),
        Spoil::new("429", throttled, &[RateLimited])
            .facts(&[("status", "429"), ("reason", "TooManyRequests")])
            .retry_after(3),
        plain("internal error", 500, "InternalError", &[Unavailable]).writes(&[Unavailable, Timeout]),
        plain("server timeout", 500, "ServerTimeout", &[Timeout]),
        plain("503", 503, "ServiceUnavailable", &[Unavailable]).writes(&[Unavailable, Timeout]),
        plain("504", 504, "Timeout", &[Timeout]),
        plain("conflict", 409, "Conflict", &[Conflict]),
        plain("already exists", 409, "AlreadyExists", &[AlreadyExists, Conflict]),
        plain("410", 410, "Expired", &[Unavailable]),
        plain("422", 422, "Invalid", &[InvalidInput]),
        Spoil::new(
            "a patch that does not apply",
            status_of_no_cause(422, "Invalid"),
            &[InvalidInput, Conflict],
        ),
        refusal("no such namespace", 404, "NotFound", "namespaces", &[InvalidConfig]),
        refusal("a reason that is none", 418, PLANTED, PLANTED, &[Other]),
    ]
}

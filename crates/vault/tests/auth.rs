//! Staying logged in, and what happens when a token dies, on a real server.

#![expect(clippy::unwrap_used, reason = "helpers of tests may panic like tests")]

mod support;

use std::io::Write as _;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use keyfob_core::ErrorKind;
use keyfob_vault::{AuthConfig, SecretSource, Vault};
use serde_json::{Value, json};

use support::{Admin, Proxy, StandIn, random, response, vault};

/// An AppRole of its own, at a mount of its own, which goes when the test ends well.
struct Role {
    admin: Admin,
    mount: String,
    id: String,
}

impl Role {
    async fn with(test: &str, settings: Value) -> Option<Self> {
        let admin = Admin::of(test)?;
        let mount = random("approle");
        admin
            .call("POST", &format!("sys/auth/{mount}"), json!({"type": "approle"}))
            .await;
        admin.call("POST", &format!("auth/{mount}/role/app"), settings).await;
        let id = admin.call("GET", &format!("auth/{mount}/role/app/role-id"), json!({})).await;
        let id = id["data"]["role_id"].as_str().unwrap().to_owned();
        Some(Self { admin, mount, id })
    }

    async fn secret_id(&self) -> SecretSource {
        let answer = self.admin.call("POST", &self.path("role/app/secret-id"), json!({})).await;
        SecretSource::Value(answer["data"]["secret_id"].as_str().unwrap().into())
    }

    async fn wrapped_secret_id(&self) -> SecretSource {
        let path = self.path("role/app/secret-id");
        let (_, answer) = self.admin.try_call("POST", &path, true, json!({})).await;
        SecretSource::Value(answer["wrap_info"]["token"].as_str().unwrap().into())
    }

    fn auth(&self, secret_id: SecretSource, wrapped: bool) -> AuthConfig {
        AuthConfig::AppRole {
            mount: self.mount.clone(),
            role_id: self.id.clone(),
            secret_id: Some(secret_id),
            wrapped,
        }
    }

    /// A connection through a proxy that counts.
    async fn connect(&self) -> (Vault, Proxy) {
        let proxy = Proxy::to(&self.admin.url);
        let vault = vault(&proxy.url, self.auth(self.secret_id().await, false)).await;
        (vault, proxy)
    }

    fn path(&self, rest: &str) -> String {
        format!("auth/{}/{rest}", self.mount)
    }

    fn log_ins(&self, proxy: &Proxy) -> usize {
        proxy.count(&self.path("login"))
    }

    async fn revoke_tokens(&self) {
        let path = format!("sys/leases/revoke-prefix/{}", self.path("login"));
        self.admin.call("PUT", &path, json!({"sync": true})).await;
    }

    async fn remove(self) {
        self.admin
            .call("DELETE", &format!("sys/auth/{}", self.mount), json!({}))
            .await;
    }
}

/// Uses the connection all the time for this long.
async fn keep_using(vault: &Vault, time: Duration) {
    let started = Instant::now();
    while started.elapsed() < time {
        vault.token_info().await.unwrap();
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

async fn fifty(vault: &Vault) -> Vec<keyfob_core::Result<keyfob_vault::TokenInfo>> {
    futures_util::future::join_all((0..50).map(|_| vault.token_info())).await
}

#[tokio::test(flavor = "multi_thread")]
async fn fifty_requests_cause_one_log_in() {
    let Some(role) = Role::with("fifty_requests_cause_one_log_in", json!({"token_ttl": "60s"})).await else {
        return;
    };
    let (vault, proxy) = role.connect().await;
    assert_eq!(role.log_ins(&proxy), 0);
    let answers = fifty(&vault).await;
    assert!(answers.iter().all(Result::is_ok));
    assert_eq!(role.log_ins(&proxy), 1);
    let info = answers[0].as_ref().unwrap();
    assert_eq!(
        (info.policies.as_slice(), info.renewable),
        (["default".to_owned()].as_slice(), true)
    );
    role.remove().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_refused_log_in_answers_everyone_who_waits() {
    let Some(role) = Role::with("a_refused_log_in_answers_everyone_who_waits", json!({})).await else {
        return;
    };
    let proxy = Proxy::to(&role.admin.url);
    let wrong = SecretSource::Value("kfcanary-wrongsecretid1".into());
    let vault = vault(&proxy.url, role.auth(wrong, false)).await;
    for answer in fifty(&vault).await {
        let error = answer.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Unauthenticated);
        assert!(error.hint().unwrap().contains("secret id"));
        assert!(!format!("{error:?}").contains("kfcanary-"));
    }
    assert!(role.log_ins(&proxy) < 5);
    // Not for ever: the next request tries again.
    let before = role.log_ins(&proxy);
    assert!(vault.token_info().await.is_err());
    assert_eq!(role.log_ins(&proxy), before + 1);
    role.remove().await;
}

#[tokio::test]
async fn a_wrapped_secret_id_is_exchanged_once() {
    let Some(role) = Role::with("a_wrapped_secret_id_is_exchanged_once", json!({"token_ttl": "60s"})).await else {
        return;
    };
    let proxy = Proxy::to(&role.admin.url);
    let wrapped = role.wrapped_secret_id().await;
    let first = vault(&proxy.url, role.auth(wrapped.clone(), true)).await;
    assert!(fifty(&first).await.iter().all(Result::is_ok));
    role.revoke_tokens().await;
    assert!(first.token_info().await.is_ok());
    assert_eq!((role.log_ins(&proxy), proxy.count("sys/wrapping/unwrap")), (2, 1));

    let second = vault(&proxy.url, role.auth(wrapped, true)).await;
    let error = second.token_info().await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unauthenticated);
    assert!(error.hint().unwrap().contains("somebody else"));
    role.remove().await;
}

#[tokio::test]
async fn a_dropped_request_does_not_waste_a_wrapped_secret_id() {
    let used = AtomicBool::new(false);
    let server = StandIn::answering(move |request, stream| {
        let json = "Content-Type: application/json\r\n";
        let text = if !request.contains("/sys/wrapping/unwrap ") {
            let auth = json!({"client_token": "kfcanary-granted1234", "lease_duration": 60, "renewable": true});
            response("200 OK", json, &json!({"auth": auth, "data": {}}).to_string())
        } else if used.swap(true, Ordering::SeqCst) {
            response(
                "400 Bad Request",
                json,
                r#"{"errors":["wrapping token is not valid or does not exist"]}"#,
            )
        } else {
            thread::sleep(Duration::from_millis(300));
            response("200 OK", json, r#"{"data":{"secret_id":"kfcanary-secretid123"}}"#)
        };
        drop(stream.write_all(text.as_bytes()));
    });
    let auth = AuthConfig::AppRole {
        mount: "approle".to_owned(),
        role_id: "app".to_owned(),
        secret_id: Some(SecretSource::Value("kfcanary-wrapping1234".into())),
        wrapped: true,
    };
    let vault = vault(&server.url, auth).await;
    let dropped = tokio::time::timeout(Duration::from_millis(100), vault.token_info()).await;
    assert!(dropped.is_err());
    assert!(vault.token_info().await.is_ok());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_token_is_renewed_before_it_ends() {
    let Some(role) = Role::with("a_token_is_renewed_before_it_ends", json!({"token_ttl": "2s"})).await else {
        return;
    };
    let (vault, proxy) = role.connect().await;
    keep_using(&vault, Duration::from_millis(4_500)).await;
    assert_eq!(role.log_ins(&proxy), 1);
    let renewals = proxy.count("auth/token/renew-self");
    assert!((2..=4).contains(&renewals), "{renewals} renewals");
    role.remove().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_token_that_nears_its_longest_time_is_replaced() {
    let settings = json!({"token_ttl": "2s", "token_max_ttl": "3s"});
    let Some(role) = Role::with("a_token_that_nears_its_longest_time_is_replaced", settings).await else {
        return;
    };
    let (vault, proxy) = role.connect().await;
    keep_using(&vault, Duration::from_millis(5_000)).await;
    let log_ins = role.log_ins(&proxy);
    assert!((2..=5).contains(&log_ins), "{log_ins} log-ins");
    role.remove().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_renewal_that_gives_less_is_followed_by_a_log_in_before_the_end() {
    let server = StandIn::answering(|request, stream| {
        let seconds = if request.contains("/renew-self") { 2 } else { 3 };
        let auth = json!({"client_token": "kfcanary-granted1234", "lease_duration": seconds, "renewable": true});
        let body = json!({"auth": auth, "data": {}}).to_string();
        drop(stream.write_all(response("200 OK", "Content-Type: application/json\r\n", &body).as_bytes()));
    });
    let vault = vault(&server.url, AuthConfig::app_role("app", "kfcanary-secretid123")).await;
    keep_using(&vault, Duration::from_millis(2_500)).await;
    let requests = server.requests();
    let count = |path: &str| requests.iter().filter(|request| request.contains(path)).count();
    assert_eq!((count("/renew-self "), count("/login ")), (1, 2));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_token_that_nobody_can_renew_is_replaced_in_time() {
    let settings = json!({"token_ttl": "2s", "token_type": "batch"});
    let Some(role) = Role::with("a_token_that_nobody_can_renew_is_replaced_in_time", settings).await else {
        return;
    };
    let (vault, proxy) = role.connect().await;
    assert!(!vault.token_info().await.unwrap().renewable);
    keep_using(&vault, Duration::from_millis(4_000)).await;
    let log_ins = role.log_ins(&proxy);
    assert!((2..=4).contains(&log_ins), "{log_ins} log-ins");
    assert_eq!(proxy.count("auth/token/renew-self"), 0);
    role.remove().await;
}

#[tokio::test]
async fn a_connection_that_rested_longer_than_its_token_logs_in_again() {
    let test = "a_connection_that_rested_longer_than_its_token_logs_in_again";
    let Some(role) = Role::with(test, json!({"token_ttl": "1s"})).await else {
        return;
    };
    let (vault, proxy) = role.connect().await;
    vault.token_info().await.unwrap();
    tokio::time::sleep(Duration::from_millis(1_500)).await;
    vault.token_info().await.unwrap();
    assert_eq!(role.log_ins(&proxy), 2);
    role.remove().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_revoked_token_is_replaced_once_for_fifty_requests() {
    let test = "a_revoked_token_is_replaced_once_for_fifty_requests";
    let Some(role) = Role::with(test, json!({"token_ttl": "60s"})).await else {
        return;
    };
    let (vault, proxy) = role.connect().await;
    vault.token_info().await.unwrap();
    role.revoke_tokens().await;
    assert!(fifty(&vault).await.iter().all(Result::is_ok));
    assert_eq!(role.log_ins(&proxy), 2);
    role.remove().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_token_that_may_not_is_not_replaced() {
    // Without the default policy a token may not even look itself up.
    let settings = json!({"token_ttl": "60s", "token_no_default_policy": true, "token_policies": ["kf-none"]});
    let Some(role) = Role::with("a_token_that_may_not_is_not_replaced", settings).await else {
        return;
    };
    let (vault, proxy) = role.connect().await;
    for answer in fifty(&vault).await {
        assert_eq!(answer.unwrap_err().kind(), ErrorKind::PermissionDenied);
    }
    assert_eq!(role.log_ins(&proxy), 1);
    // The requests themselves, and fewer checks of the token than requests.
    let requests = proxy.count("auth/token/lookup-self");
    assert!(requests < 90, "{requests} requests");
    role.remove().await;
}

#[tokio::test]
async fn a_dead_token_is_told_from_one_that_may_not() {
    let Some(admin) = Admin::of("a_dead_token_is_told_from_one_that_may_not") else {
        return;
    };
    let create = json!({"ttl": "60s", "policies": ["kf-none"], "no_default_policy": true});
    let created = admin.call("POST", "auth/token/create", create).await;
    let token = created["auth"]["client_token"].as_str().unwrap();
    let vault = vault(&admin.url, AuthConfig::token(token)).await;
    let error = vault.token_info().await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::PermissionDenied);
    admin.call("POST", "auth/token/revoke", json!({"token": token})).await;
    for _ in 0..2 {
        let error = vault.token_info().await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Unauthenticated);
        assert!(error.hint().unwrap().contains("VAULT_TOKEN"));
        assert!(error.context().any(|fact| fact == ("status", "403")));
        assert!(!format!("{error:?}").contains(token));
    }
}

#[tokio::test]
async fn a_token_file_is_read_again_when_its_token_is_dead() {
    let Some(admin) = Admin::of("a_token_file_is_read_again_when_its_token_is_dead") else {
        return;
    };
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("token");
    std::fs::write(&file, "kfcanary-deadtoken1234\n").unwrap();
    let vault = vault(&admin.url, AuthConfig::Token(SecretSource::File(file.clone()))).await;
    assert_eq!(vault.token_info().await.unwrap_err().kind(), ErrorKind::Unauthenticated);
    std::fs::write(&file, format!("{}\n", admin.token)).unwrap();
    assert_eq!(vault.token_info().await.unwrap().policies, ["root"]);
}

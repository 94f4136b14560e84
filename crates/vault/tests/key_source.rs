//! A transit key as a key source, against a real server.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

mod support;

use std::time::{Duration, Instant};

use keyfob_core::{Error, ErrorKind};
use keyfob_envelope::KeySource as _;
use keyfob_vault::{AuthConfig, Transit, TransitKeySource, TransitKeyType, Vault};
use serde_json::{Value, json};

use support::{Admin, config, random, vault};

const KEY: [u8; 32] = *b"kfcanary-keybytes0123456789abcde";
const CONTEXT: &[u8] = b"keyfob key slot\0\x01 and \xff";

struct Engine {
    admin: Admin,
    mount: String,
    transit: Transit,
}

impl Engine {
    async fn new(test: &str) -> Option<Self> {
        let admin = Admin::of(test)?;
        let mount = random("source");
        admin
            .call("POST", &format!("sys/mounts/{mount}"), json!({"type": "transit"}))
            .await;
        let vault = vault(&admin.url, AuthConfig::token(admin.token.as_str())).await;
        let transit = Transit::new(vault, &mount).unwrap();
        transit.create_key("app", TransitKeyType::Aes256Gcm96).await.unwrap();
        Some(Self { admin, mount, transit })
    }

    fn source(&self, key: &str) -> TransitKeySource {
        TransitKeySource::new(self.transit.clone(), key).unwrap()
    }

    /// The source with a token that may do only this; `MOUNT` in the policy is the mount.
    async fn source_with_policy(&self, policy: &str) -> TransitKeySource {
        let name = random("policy");
        let policy = policy.replace("MOUNT", &self.mount);
        self.admin
            .call("PUT", &format!("sys/policies/acl/{name}"), json!({"policy": policy}))
            .await;
        let body = json!({"policies": [name.as_str()], "no_parent": true, "ttl": "5m"});
        let token = self.admin.call("POST", "auth/token/create", body).await;
        let token = token["auth"]["client_token"].as_str().unwrap().to_owned();
        let vault = vault(&self.admin.url, AuthConfig::token(token)).await;
        TransitKeySource::new(Transit::new(vault, &self.mount).unwrap(), "app").unwrap()
    }

    async fn remove(self) {
        self.admin
            .call("DELETE", &format!("sys/mounts/{}", self.mount), Value::Null)
            .await;
    }
}

fn checked(error: Error) -> Error {
    assert!(!format!("{error:?}").contains("kfcanary-"), "the error tells the key");
    error
}

#[tokio::test]
async fn a_key_comes_back_in_its_context_and_from_its_key_alone() {
    let Some(engine) = Engine::new("a_key_comes_back_in_its_context").await else {
        return;
    };
    let source = engine.source("app");
    assert_eq!(source.id().as_str(), format!("vault-transit:{}/app", engine.mount));
    assert!(source.fits(source.id().as_str()) && !source.fits("vault-transit:transit/app"));
    let wrapped = source.wrap(CONTEXT, &KEY).await.unwrap();
    assert!(!format!("{source:?} {wrapped:?}").contains("kfcanary-"));
    assert!(wrapped.starts_with(b"\x01\x03vault:v1:"));
    assert!(*source.unwrap(CONTEXT, &wrapped).await.unwrap() == KEY);

    for context in [&b""[..], b"another", &[CONTEXT, b"\0"].concat()] {
        let error = checked(source.unwrap(context, &wrapped).await.unwrap_err());
        assert_eq!(error.kind(), ErrorKind::Unauthenticated);
    }
    engine.transit.create_key("other", TransitKeyType::Aes256Gcm96).await.unwrap();
    let other = checked(engine.source("other").unwrap(CONTEXT, &wrapped).await.unwrap_err());
    assert_eq!(other.kind(), ErrorKind::Unauthenticated);
    for damaged in [&wrapped[1..], b"", &[1, 3, 0xff]] {
        assert_eq!(
            checked(source.unwrap(CONTEXT, damaged).await.unwrap_err()).kind(),
            ErrorKind::Corrupt
        );
    }
    let short = engine.transit.encrypt("app", b"kfcanary-tooshort1", CONTEXT).await.unwrap();
    let short = [b"\x01\x03", short.as_bytes()].concat();
    assert_eq!(
        checked(source.unwrap(CONTEXT, &short).await.unwrap_err()).kind(),
        ErrorKind::Corrupt
    );
    engine.remove().await;
}

#[tokio::test]
async fn a_mistyped_key_is_a_wrong_configuration_and_makes_no_key() {
    let Some(engine) = Engine::new("a_mistyped_key_is_a_wrong_configuration").await else {
        return;
    };
    let error = checked(engine.source("ap").wrap(CONTEXT, &KEY).await.unwrap_err());
    assert_eq!(error.kind(), ErrorKind::InvalidConfig);
    assert_eq!(
        engine.transit.key("ap").await.unwrap_err().kind(),
        ErrorKind::NotFound,
        "the key was made"
    );
    let error = checked(
        engine
            .source("ap")
            .unwrap(CONTEXT, b"\x01\x03vault:v1:AAAA")
            .await
            .unwrap_err(),
    );
    assert_eq!(error.kind(), ErrorKind::InvalidConfig);
    for key in ["", "a/b", "..", "a b", "a@b"] {
        let error = TransitKeySource::new(engine.transit.clone(), key).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::InvalidConfig, "{key}");
    }
    engine.transit.create_key("rsa", TransitKeyType::Rsa2048).await.unwrap();
    let error = checked(engine.source("rsa").wrap(CONTEXT, &KEY).await.unwrap_err());
    assert_eq!(error.kind(), ErrorKind::Unsupported);
    engine.remove().await;
}

#[tokio::test]
async fn a_token_without_permission_is_denied_before_a_store_could_be_made() {
    let Some(engine) = Engine::new("a_token_without_permission_is_denied").await else {
        return;
    };
    let encrypt = r#"path "MOUNT/encrypt/app" { capabilities = ["update"] }"#;
    let decrypt = r#"path "MOUNT/decrypt/app" { capabilities = ["update"] }"#;
    let wrapped = engine.source("app").wrap(CONTEXT, &KEY).await.unwrap();

    let only_encrypts = engine.source_with_policy(encrypt).await;
    for error in [
        only_encrypts.wrap(CONTEXT, &KEY).await.unwrap_err(),
        only_encrypts.unwrap(CONTEXT, &wrapped).await.unwrap_err(),
    ] {
        assert_eq!(checked(error).kind(), ErrorKind::PermissionDenied);
    }
    let only_decrypts = engine.source_with_policy(decrypt).await;
    assert!(*only_decrypts.unwrap(CONTEXT, &wrapped).await.unwrap() == KEY);
    let error = checked(only_decrypts.wrap(CONTEXT, &KEY).await.unwrap_err());
    assert_eq!(error.kind(), ErrorKind::PermissionDenied);

    let both = engine.source_with_policy(&format!("{encrypt}\n{decrypt}")).await;
    let wrapped = both.wrap(CONTEXT, &KEY).await.unwrap();
    assert!(*both.unwrap(CONTEXT, &wrapped).await.unwrap() == KEY);
    // A dead token may not look like a key that does not fit.
    let vault = vault(&engine.admin.url, AuthConfig::token("kfcanary-deadtoken12")).await;
    let dead = TransitKeySource::new(Transit::new(vault, &engine.mount).unwrap(), "app").unwrap();
    let error = checked(dead.unwrap(CONTEXT, &wrapped).await.unwrap_err());
    assert_eq!(error.kind(), ErrorKind::PermissionDenied);
    engine.remove().await;
}

#[tokio::test]
async fn what_an_older_version_wrapped_opens_until_the_server_forbids_it() {
    let Some(engine) = Engine::new("what_an_older_version_wrapped_opens").await else {
        return;
    };
    let source = engine.source("app");
    let old = source.wrap(CONTEXT, &KEY).await.unwrap();
    engine.transit.rotate_key("app").await.unwrap();
    assert!(*source.unwrap(CONTEXT, &old).await.unwrap() == KEY);
    let new = source.wrap(CONTEXT, &KEY).await.unwrap();
    assert!(new.starts_with(b"\x01\x03vault:v2:"));
    engine.transit.set_min_decryption_version("app", 2).await.unwrap();
    let error = checked(source.unwrap(CONTEXT, &old).await.unwrap_err());
    assert_eq!(error.kind(), ErrorKind::PermissionDenied);
    assert!(error.hint().unwrap().contains("min_decryption_version"));
    assert!(*source.unwrap(CONTEXT, &new).await.unwrap() == KEY);
    engine.remove().await;
}

#[tokio::test]
async fn a_server_that_is_down_is_unavailable_within_the_deadline() {
    let mut config = config("http://127.0.0.1:1", AuthConfig::token("kfcanary-clienttoken5"));
    config.timeout = Duration::from_secs(2);
    let vault = Vault::connect(&config).await.unwrap();
    let source = TransitKeySource::new(Transit::new(vault, "transit").unwrap(), "app").unwrap();
    let begin = Instant::now();
    for error in [
        source.wrap(CONTEXT, &KEY).await.unwrap_err(),
        source.unwrap(CONTEXT, b"\x01\x03vault:v1:AAAA").await.unwrap_err(),
    ] {
        assert_eq!(checked(error).kind(), ErrorKind::Unavailable);
    }
    assert!(begin.elapsed() < Duration::from_secs(5));
}

/// A server that ignores associated data, as Vault before 1.9 did.
#[tokio::test]
async fn a_server_that_does_not_bind_the_context_is_refused() {
    use std::io::Write as _;
    let key = data_of(&KEY);
    let server = support::StandIn::answering(move |request, stream| {
        let json = "Content-Type: application/json\r\n";
        let answer = if request.contains("/encrypt/") {
            support::response("200 OK", json, r#"{"data":{"ciphertext":"vault:v1:BBBB"}}"#)
        } else if request.contains("vault:v1:BBBB") {
            support::response("200 OK", json, &format!(r#"{{"data":{{"plaintext":"{key}"}}}}"#))
        } else {
            support::response("400 Bad Request", json, r#"{"errors":["invalid ciphertext length"]}"#)
        };
        let _ = stream.write_all(answer.as_bytes());
    });
    let vault = vault(&server.url, AuthConfig::token("kfcanary-clienttoken6")).await;
    let source = TransitKeySource::new(Transit::new(vault, "transit").unwrap(), "app").unwrap();
    let error = checked(source.wrap(CONTEXT, &KEY).await.unwrap_err());
    assert_eq!(error.kind(), ErrorKind::Unsupported, "{error}");
    assert!(error.message().contains("does not bind associated data"));
}

fn data_of(bytes: &[u8]) -> String {
    use base64::Engine as _;
    base64::engine::general_purpose::STANDARD.encode(bytes)
}

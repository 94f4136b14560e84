//! The ways to log in that need an identity from elsewhere, on a real server.

mod support;

use std::io::Write as _;

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use keyfob_core::ErrorKind;
use keyfob_vault::{AuthConfig, SecretSource, Vault};
use serde_json::{Value, json};

use support::{Admin, StandIn, config, random, response, vault};

#[tokio::test]
async fn a_json_web_token_logs_in() {
    let Some(admin) = Admin::of("a_json_web_token_logs_in") else {
        return;
    };
    // The server's own transit engine is the identity provider.
    let (transit, mount) = (random("transit"), random("jwt"));
    admin
        .call("POST", &format!("sys/mounts/{transit}"), json!({"type": "transit"}))
        .await;
    let key = format!("{transit}/keys/issuer");
    admin.call("POST", &key, json!({"type": "ecdsa-p256"})).await;
    let key = admin.call("GET", &key, json!({})).await;
    let public_key = &key["data"]["keys"]["1"]["public_key"];
    admin.call("POST", &format!("sys/auth/{mount}"), json!({"type": "jwt"})).await;
    let keys = json!({"jwt_validation_pubkeys": [public_key]});
    admin.call("POST", &format!("auth/{mount}/config"), keys).await;
    let role = json!({"role_type": "jwt", "user_claim": "sub", "bound_audiences": "keyfob", "token_ttl": "60s"});
    admin.call("POST", &format!("auth/{mount}/role/ci"), role).await;

    let sign = async |audience: &str| {
        let part = |value: Value| URL_SAFE_NO_PAD.encode(value.to_string());
        let claims = json!({"sub": "build-7", "aud": audience, "exp": 4_000_000_000_u64, "iat": 1_700_000_000});
        let text = format!("{}.{}", part(json!({"alg": "ES256", "typ": "JWT"})), part(claims));
        let order = json!({"input": STANDARD.encode(&text), "marshaling_algorithm": "jws", "hash_algorithm": "sha2-256"});
        let signed = admin.call("POST", &format!("{transit}/sign/issuer"), order).await;
        let signature = signed["data"]["signature"]
            .as_str()
            .unwrap()
            .rsplit(':')
            .next()
            .unwrap()
            .to_owned();
        format!("{text}.{signature}")
    };
    let auth = |role: &str, jwt: SecretSource| AuthConfig::Jwt {
        mount: mount.clone(),
        role: Some(role.to_owned()),
        jwt,
    };
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("jwt");
    std::fs::write(&file, format!("{}\n", sign("keyfob").await)).unwrap();
    let right = vault(&admin.url, auth("ci", SecretSource::File(file))).await;
    let info = right.token_info().await;
    let other_audience = SecretSource::Value(sign("somebody else").await.into());
    let wrong = vault(&admin.url, auth("ci", other_audience.clone())).await.token_info().await;
    let no_role = vault(&admin.url, auth("nobody", other_audience)).await.token_info().await;
    admin.call("DELETE", &format!("sys/auth/{mount}"), json!({})).await;
    admin.call("DELETE", &format!("sys/mounts/{transit}"), json!({})).await;

    assert!(info.unwrap().display_name.contains("build-7"));
    assert_eq!(wrong.unwrap_err().kind(), ErrorKind::Unauthenticated);
    let error = no_role.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unauthenticated);
    assert!(error.message().contains("no such role"));
}

#[tokio::test]
async fn a_pods_service_account_logs_in() {
    let test = "a_pods_service_account_logs_in";
    let Some(admin) = Admin::of(test) else { return };
    // Any will do: the method wants one, and the stand-in speaks plain HTTP.
    let Some(authority) = keyfob_testkit::server(test, "KEYFOB_TEST_OPENBAO_TLS_CA") else {
        return;
    };
    // Kubernetes is asked whether it knows the token.
    let kubernetes = StandIn::answering(|request, stream| {
        let known = request.contains("a29iZQ");
        let status = json!({
            "authenticated": known,
            "audiences": ["keyfob"],
            "user": {
                "username": "system:serviceaccount:shop:app",
                "uid": "u-1",
                "groups": ["system:serviceaccounts"],
            },
        });
        let review = json!({"apiVersion": "authentication.k8s.io/v1", "kind": "TokenReview", "status": status});
        let text = response("201 Created", "Content-Type: application/json\r\n", &review.to_string());
        drop(stream.write_all(text.as_bytes()));
    });
    let mount = random("kubernetes");
    admin
        .call("POST", &format!("sys/auth/{mount}"), json!({"type": "kubernetes"}))
        .await;
    let settings = json!({
        "kubernetes_host": kubernetes.url,
        "kubernetes_ca_cert": std::fs::read_to_string(authority).unwrap(),
        "disable_local_ca_jwt": true,
        "token_reviewer_jwt": "x",
    });
    admin.call("POST", &format!("auth/{mount}/config"), settings).await;
    let role = json!({
        "bound_service_account_names": "app",
        "bound_service_account_namespaces": "shop",
        "audience": "keyfob",
        "token_ttl": "60s",
    });
    admin.call("POST", &format!("auth/{mount}/role/app"), role).await;

    let jwt = |signature: &str| {
        let part = |value: Value| URL_SAFE_NO_PAD.encode(value.to_string());
        let account = json!({"namespace": "shop", "serviceaccount": {"name": "app", "uid": "u-1"}});
        let claims = json!({
            "iss": "https://kubernetes.default.svc",
            "aud": ["keyfob"],
            "sub": "system:serviceaccount:shop:app",
            "iat": 1_700_000_000,
            "nbf": 1_700_000_000,
            "exp": 4_000_000_000_u64,
            "kubernetes.io": account,
        });
        SecretSource::Value(format!("{}.{}.{signature}", part(json!({"alg": "RS256"})), part(claims)).into())
    };
    let auth = |jwt: SecretSource| AuthConfig::Kubernetes {
        mount: mount.clone(),
        role: "app".to_owned(),
        jwt,
    };
    let info = vault(&admin.url, auth(jwt("a29iZQ"))).await.token_info().await;
    let unknown = vault(&admin.url, auth(jwt("bm9uZQ"))).await.token_info().await;
    admin.call("DELETE", &format!("sys/auth/{mount}"), json!({})).await;
    assert!(info.unwrap().display_name.contains("shop"));
    assert_eq!(unknown.unwrap_err().kind(), ErrorKind::Unauthenticated);
}

#[tokio::test]
async fn a_log_in_method_that_is_not_there_is_told() {
    let Some(admin) = Admin::of("a_log_in_method_that_is_not_there_is_told") else {
        return;
    };
    let auth = AuthConfig::app_role("kf-role", "kfcanary-secretid123");
    let AuthConfig::AppRole {
        role_id,
        secret_id,
        wrapped,
        ..
    } = auth
    else {
        panic!("not an AppRole");
    };
    let auth = AuthConfig::AppRole {
        mount: random("nothing"),
        role_id,
        secret_id,
        wrapped,
    };
    let error = Vault::connect(&config(&admin.url, auth))
        .await
        .unwrap()
        .token_info()
        .await
        .unwrap_err();
    assert!(
        matches!(error.kind(), ErrorKind::Unauthenticated | ErrorKind::InvalidConfig),
        "{error}"
    );
    assert!(!format!("{error:?}").contains("kfcanary-"));
}

//! The connection itself: what comes back when the way to the server, or what stands there, is not what it should be.

#![expect(clippy::unwrap_used, reason = "helpers of tests may panic like tests")]

mod support;

use std::io::Write as _;
use std::net::{Shutdown, TcpListener};
use std::path::PathBuf;
use std::thread;
use std::time::{Duration, Instant};

use keyfob_core::{Error, ErrorKind};
use keyfob_vault::{AuthConfig, CertificateAuthority, Vault, Verification};

use support::{Admin, Proxy, StandIn, config, random, response, socket_to, vault};

const TOKEN: &str = "kfcanary-clienttoken123";
const JSON: &str = "Content-Type: application/json\r\n";

async fn failure(address: &str) -> Error {
    let error = vault(address, AuthConfig::token(TOKEN)).await.token_info().await.unwrap_err();
    let shown = format!("{error:?}");
    assert!(!shown.contains("kfcanary-"), "the error tells a secret");
    assert!(shown.contains(address), "the error doesn't say where: {shown}");
    error
}

fn fact<'a>(error: &'a Error, key: &str) -> Option<&'a str> {
    error.context().find(|(known, _)| *known == key).map(|(_, value)| value)
}

#[tokio::test]
async fn connecting_sends_nothing_and_debug_shows_the_address_only() {
    let server = StandIn::fixed("200 OK", JSON, "{}");
    let vault = vault(&server.url, AuthConfig::token(TOKEN)).await;
    assert_eq!(format!("{vault:?}"), format!("Vault {{ address: \"{}\", .. }}", server.url));
    assert!(server.requests().is_empty());
}

#[tokio::test]
async fn a_request_carries_token_namespace_and_the_sign_of_a_request() {
    let body = r#"{"data":{"display_name":"me","policies":["p"],"ttl":7,"renewable":true}}"#;
    let server = StandIn::fixed("200 OK", JSON, body);
    let mut config = config(&server.url, AuthConfig::token(format!(" {TOKEN}\n")));
    config.namespace = Some("team/a".to_owned());
    let vault = Vault::connect(&config).await.unwrap();
    let info = vault.token_info().await.unwrap();
    assert_eq!(
        (info.display_name.as_str(), info.expires_in),
        ("me", Some(Duration::from_secs(7)))
    );
    let request = server.requests().remove(0);
    assert!(request.starts_with("GET /v1/auth/token/lookup-self HTTP/1.1\r\n"));
    assert!(request.contains("x-vault-namespace: team/a\r\n"));
    assert!(request.contains("x-vault-request: true\r\n"));
    assert!(request.contains(&format!("x-vault-token: {TOKEN}\r\n")));
}

#[tokio::test]
async fn a_token_with_a_new_line_is_refused_and_no_panic() {
    for token in ["kfcanary-a\nb12345678", "", " \n", "kfcanary-\u{e9}12345678"] {
        let config = config("http://127.0.0.1:1", AuthConfig::token(token));
        let error = Vault::connect(&config).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::InvalidConfig);
        assert!(!format!("{error:?}").contains("kfcanary-"));
    }
}

#[tokio::test]
async fn a_redirect_to_another_host_gets_no_token() {
    let other = StandIn::fixed("200 OK", JSON, "{}");
    let to_other = format!("Location: {}/v1/auth/token/lookup-self\r\n", other.url);
    for status in ["301 Moved", "302 Found", "307 Temporary Redirect", "308 Permanent Redirect"] {
        let server = StandIn::fixed(status, &to_other, "");
        let error = failure(&server.url).await;
        assert_eq!(error.kind(), ErrorKind::Unavailable);
        assert_eq!(fact(&error, "offered"), Some(other.url.as_str()));
    }
    assert!(other.requests().is_empty());
    // The same host by another scheme is another place.
    let server = StandIn::fixed("307 Temporary Redirect", "Location: https://127.0.0.1/x\r\n", "");
    assert_eq!(failure(&server.url).await.kind(), ErrorKind::Unavailable);
}

#[tokio::test]
async fn a_redirect_on_the_same_server_is_followed_but_not_for_ever() {
    let server = StandIn::answering(|request, stream| {
        let text = match request.starts_with("GET /v1/elsewhere ") {
            true => response("200 OK", JSON, r#"{"data":{}}"#),
            false => response("307 Temporary Redirect", "Location: /v1/elsewhere\r\n", ""),
        };
        drop(stream.write_all(text.as_bytes()));
    });
    let vault = vault(&server.url, AuthConfig::token(TOKEN)).await;
    vault.token_info().await.unwrap();
    assert!(server.requests()[1].contains(TOKEN));

    let server = StandIn::fixed("307 Temporary Redirect", "Location: /v1/x\r\n", "");
    assert_eq!(failure(&server.url).await.kind(), ErrorKind::Unavailable);
    assert_eq!(server.requests().len(), 3);
    let server = StandIn::fixed("307 Temporary Redirect", "", "");
    assert_eq!(failure(&server.url).await.kind(), ErrorKind::Unavailable);
}

#[tokio::test]
async fn an_answer_has_a_bound() {
    let server = StandIn::answering(|_, stream| {
        let _ = stream.write_all(format!("HTTP/1.1 200 OK\r\n{JSON}\r\n\"").as_bytes());
        while stream.write_all(&[b'x'; 1 << 16]).is_ok() {}
    });
    let error = failure(&server.url).await;
    assert_eq!((error.kind(), fact(&error, "status")), (ErrorKind::Other, Some("200")));
    assert!(error.message().contains("32 MiB"));
    let server = StandIn::answering(|_, stream| {
        drop(stream.write_all(format!("HTTP/1.1 200 OK\r\n{JSON}Content-Length: 99999999999\r\n\r\n").as_bytes()));
    });
    assert!(failure(&server.url).await.message().contains("32 MiB"));
}

#[tokio::test]
async fn a_hang_ends_at_the_deadline_wherever_it_is() {
    let silent = StandIn::answering(|_, _| thread::sleep(Duration::from_secs(60)));
    let half = StandIn::answering(|_, stream| {
        let _ = stream.write_all(format!("HTTP/1.1 200 OK\r\nContent-Length: 9\r\n{JSON}\r\n{{").as_bytes());
        thread::sleep(Duration::from_secs(60));
    });
    for server in [silent, half] {
        let mut config = config(&server.url, AuthConfig::token(TOKEN));
        config.timeout = Duration::from_millis(300);
        let started = Instant::now();
        let error = Vault::connect(&config).await.unwrap().token_info().await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Timeout);
        assert!(started.elapsed() < Duration::from_secs(5));
    }
}

#[tokio::test]
async fn a_broken_or_refused_connection_is_unavailable() {
    let closed = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = format!("http://{}", closed.local_addr().unwrap());
    drop(closed);
    let error = failure(&address).await;
    assert_eq!(error.kind(), ErrorKind::Unavailable);
    assert!(error.message().contains("nothing listens"));

    let broken = StandIn::answering(|_, stream| {
        let _ = stream.write_all(format!("HTTP/1.1 200 OK\r\nContent-Length: 99\r\n{JSON}\r\n{{").as_bytes());
        let _ = stream.shutdown(Shutdown::Both);
    });
    assert_eq!(failure(&broken.url).await.kind(), ErrorKind::Unavailable);
    let cut = StandIn::answering(|_, stream| drop(stream.shutdown(Shutdown::Both)));
    assert_eq!(failure(&cut.url).await.kind(), ErrorKind::Unavailable);
    let error = failure("http://keyfob.invalid").await;
    assert_eq!(error.kind(), ErrorKind::Unavailable);
    assert!(error.message().contains("name"));
    assert_eq!(failure("unix:///nowhere/bao.sock").await.kind(), ErrorKind::Unavailable);
}

#[tokio::test]
async fn what_is_not_the_api_is_told_with_its_status() {
    let html = "Content-Type: text/html\r\n";
    for (status, headers, body, kind) in [
        ("200 OK", html, "<html>kfcanary-page12345</html>", ErrorKind::Other),
        ("200 OK", "", r#"{"data":{}}"#, ErrorKind::Other),
        ("200 OK", JSON, r#"{"data":{"x":"kfcanary-half12345"#, ErrorKind::Other),
        ("200 OK", JSON, "", ErrorKind::Other),
        ("200 OK", JSON, r#"{"data":"kfcanary-shape1234"}"#, ErrorKind::Other),
        ("404 Not Found", html, "kfcanary-page12345", ErrorKind::Other),
        ("502 Bad Gateway", html, "kfcanary-page12345", ErrorKind::Unavailable),
        (
            "503 Service Unavailable",
            JSON,
            r#"{"errors":["Vault is sealed"]}"#,
            ErrorKind::Unavailable,
        ),
        (
            "500 Internal Server Error",
            JSON,
            r#"{"errors":["kfcanary-text12345"]}"#,
            ErrorKind::Unavailable,
        ),
        (
            "400 Bad Request",
            JSON,
            r#"{"errors":["kfcanary-text12345"]}"#,
            ErrorKind::InvalidInput,
        ),
        (
            "400 Bad Request",
            JSON,
            r#"{"errors":"kfcanary-text12345"}"#,
            ErrorKind::InvalidInput,
        ),
        (
            "405 Method Not Allowed",
            JSON,
            r#"{"errors":["unsupported operation"]}"#,
            ErrorKind::Unsupported,
        ),
        ("418 Teapot", JSON, "{}", ErrorKind::Other),
        ("404 Not Found", JSON, r#"{"errors":[]}"#, ErrorKind::NotFound),
        // The half of an answer does not say that there is nothing.
        ("404 Not Found", JSON, r#"{"data":{"metad"#, ErrorKind::Other),
    ] {
        let server = StandIn::fixed(status, headers, body);
        let error = failure(&server.url).await;
        assert_eq!(error.kind(), kind, "{status}");
        assert_eq!(fact(&error, "status"), status.split(' ').next());
    }
}

#[tokio::test]
async fn what_does_not_speak_http_is_not_asked_again() {
    let server = StandIn::answering(|_, stream| drop(stream.write_all(b"220 mail.example ESMTP\r\n\r\n")));
    assert_eq!(failure(&server.url).await.kind(), ErrorKind::Other);
}

#[tokio::test]
async fn throttling_says_how_long_to_wait() {
    let headers = format!("{JSON}Retry-After: 7\r\n");
    let server = StandIn::fixed(
        "429 Too Many Requests",
        &headers,
        r#"{"errors":["request path: rate limit quota exceeded"]}"#,
    );
    let error = failure(&server.url).await;
    assert_eq!(
        (error.kind(), error.retry_after()),
        (ErrorKind::RateLimited, Some(Duration::from_secs(7)))
    );
    assert_eq!(server.requests().len(), 1);
}

#[tokio::test]
async fn a_socket_is_an_address() {
    let Some(admin) = Admin::of("a_socket_is_an_address") else {
        return;
    };
    let directory = tempfile::tempdir().unwrap();
    let socket = directory.path().join("bao.sock");
    socket_to(&admin.url, &socket);
    let vault = vault(&format!("unix://{}", socket.display()), AuthConfig::token(admin.token)).await;
    assert_eq!(vault.token_info().await.unwrap().policies, ["root"]);
}

#[tokio::test]
async fn a_server_says_who_it_is_without_a_log_in() {
    let Some(admin) = Admin::of("a_server_says_who_it_is_without_a_log_in") else {
        return;
    };
    let vault = vault(&admin.url, AuthConfig::token(TOKEN)).await;
    let health = vault.server_health().await.unwrap();
    assert!(health.version.contains('.') && !health.standby);
    let sealed = r#"{"initialized":true,"sealed":true,"version":"1"}"#;
    let server = StandIn::fixed("200 OK", JSON, sealed);
    let vault = support::vault(&server.url, AuthConfig::token(TOKEN)).await;
    let error = vault.server_health().await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unavailable);
    assert!(error.message().contains("sealed") && !server.requests()[0].contains(TOKEN));
}

#[tokio::test]
async fn a_namespace_that_is_not_there_is_no_other_place() {
    let Some(admin) = Admin::of("a_namespace_that_is_not_there_is_no_other_place") else {
        return;
    };
    let mut config = config(&admin.url, AuthConfig::token(admin.token.as_str()));
    config.namespace = Some(random("none"));
    assert!(Vault::connect(&config).await.unwrap().token_info().await.is_err());
    let namespace = random("ns");
    admin
        .call("PUT", &format!("sys/namespaces/{namespace}"), serde_json::json!({}))
        .await;
    config.namespace = Some(namespace.clone());
    let found = Vault::connect(&config).await.unwrap().token_info().await;
    admin
        .call("DELETE", &format!("sys/namespaces/{namespace}"), serde_json::json!({}))
        .await;
    assert_eq!(found.unwrap().policies, ["root"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_hundred_requests_go_out_at_once() {
    // Each answer comes only when all requests are there.
    let waiting = std::sync::Arc::new(std::sync::Barrier::new(100));
    let server = StandIn::answering(move |_, stream| {
        waiting.wait();
        drop(stream.write_all(response("200 OK", JSON, r#"{"data":{}}"#).as_bytes()));
    });
    let vault = vault(&server.url, AuthConfig::token(TOKEN)).await;
    let requests = (0..100).map(|_| vault.token_info());
    let answers = futures_util::future::join_all(requests).await;
    assert!(answers.iter().all(Result::is_ok));
}

#[tokio::test]
async fn a_private_authority_is_trusted_only_when_named() {
    let test = "a_private_authority_is_trusted_only_when_named";
    let Some(url) = keyfob_testkit::server(test, "KEYFOB_TEST_OPENBAO_TLS_URL") else {
        return;
    };
    let Some(token) = keyfob_testkit::server(test, "KEYFOB_TEST_OPENBAO_TLS_TOKEN") else {
        return;
    };
    let Some(authority) = keyfob_testkit::server(test, "KEYFOB_TEST_OPENBAO_TLS_CA") else {
        return;
    };
    let with = |change: &dyn Fn(&mut keyfob_vault::VaultConfig)| {
        let mut config = config(&url, AuthConfig::token(token.as_str()));
        change(&mut config);
        async move { Vault::connect(&config).await?.token_info().await }
    };

    let found = with(&|config| config.tls.authorities = vec![CertificateAuthority::File(PathBuf::from(&authority))]).await;
    assert_eq!(found.unwrap().policies, ["root"]);
    let pem = std::fs::read(&authority).unwrap();
    let found = with(&|config| config.tls.authorities = vec![CertificateAuthority::Pem(pem.clone())]).await;
    assert!(found.is_ok());

    let error = with(&|_| {}).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::InvalidConfig);
    assert!(error.hint().unwrap().contains("VAULT_CACERT"));
    assert!(with(&|config| config.tls.verification = Verification::Off).await.is_ok());

    for wrong in ["/nowhere/ca.pem", "/", concat!(env!("CARGO_MANIFEST_DIR"), "/Cargo.toml")] {
        let error = with(&|config| config.tls.authorities = vec![CertificateAuthority::File(wrong.into())]).await;
        assert_eq!(error.unwrap_err().kind(), ErrorKind::InvalidConfig, "{wrong}");
    }
    let plain = url.replace("https://", "http://");
    let error = failure(&plain).await;
    assert_eq!(error.kind(), ErrorKind::InvalidConfig);
    assert!(error.hint().unwrap().contains("https://"));
}

#[tokio::test]
async fn tls_to_a_plain_server_says_so() {
    let Some(admin) = Admin::of("tls_to_a_plain_server_says_so") else {
        return;
    };
    let proxy = Proxy::to(&admin.url);
    let error = failure(&proxy.url.replace("http://", "https://")).await;
    assert_eq!(error.kind(), ErrorKind::InvalidConfig);
    assert!(error.hint().unwrap().contains("tls=off"));
}

//! As whom the API server is asked: tokens that change, programs that give them.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use data_encoding::BASE64;
use keyfob_core::{Environment, ErrorKind, GetOptions, PutRequest, StoreUrl};
use keyfob_kubernetes::BACKEND;

use crate::cluster::{Namespace, environment};
use crate::service::{TOKEN, kubeconfig, refusal, secret, service, try_connect};
use crate::{CANARY, assert_harmless, name};

const VALUE: &str = "a2ZjYW5hcnktYQ==";

fn write(directory: &Path, file: &str, text: &str, mode: u32) -> String {
    let path = directory.join(file);
    fs::write(&path, text).unwrap();
    fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
    path.display().to_string()
}

fn host(kubeconfig: &str) -> Environment {
    Environment::fake().host_files().var("KUBECONFIG", kubeconfig).build()
}

#[tokio::test]
async fn a_token_that_was_renewed_is_read_again_when_the_old_one_is_refused() {
    let directory = tempfile::tempdir().unwrap();
    let token = write(directory.path(), "token", "kfcanary-oldtoken0001\n", 0o600);
    let renewed = Arc::new(AtomicBool::new(false));
    let now = Arc::clone(&renewed);
    let (address, asked) = service(move |request| {
        let expected = match now.load(Ordering::SeqCst) {
            false => "Bearer kfcanary-oldtoken0001",
            true => "Bearer kfcanary-newtoken0001",
        };
        match request.header("authorization") == Some(expected) {
            true => secret("a", "value", VALUE),
            false => refusal(401, "Unauthorized", "no"),
        }
    });
    let config = write(directory.path(), "config", &kubeconfig(&address, "{tokenFile: token}"), 0o600);
    let store = try_connect("k8s:", &host(&config)).await.unwrap().store;
    store.get(&name("a"), &GetOptions::default()).await.unwrap();
    renewed.store(true, Ordering::SeqCst);
    let refused = store.get(&name("a"), &GetOptions::default()).await.unwrap_err();
    assert_eq!(refused.kind(), ErrorKind::Unauthenticated);
    assert_eq!(asked.lock().unwrap().len(), 2, "the same token is not sent twice");
    fs::write(&token, "kfcanary-newtoken0001\n").unwrap();
    store.get(&name("a"), &GetOptions::default()).await.unwrap();
    assert_eq!(asked.lock().unwrap().len(), 4);
}

#[tokio::test]
async fn a_program_gives_the_token_and_what_it_prints_is_not_shown() {
    let directory = tempfile::tempdir().unwrap();
    let (address, asked) = service(|_| secret("a", "value", VALUE));
    let answer = format!(
        r#"{{"apiVersion":"client.authentication.k8s.io/v1","kind":"ExecCredential","status":{{"token":"{TOKEN}","expirationTimestamp":"2100-01-01T00:00:00Z"}}}}"#
    );
    let script = format!("#!/bin/sh\necho run >> \"$(dirname \"$0\")/runs\"\necho '{answer}'\n");
    write(directory.path(), "give", &script, 0o700);
    let user = "{exec: {apiVersion: client.authentication.k8s.io/v1, command: ./give, interactiveMode: Never}}";
    let config = write(directory.path(), "config", &kubeconfig(&address, user), 0o600);
    let store = try_connect("k8s:", &host(&config)).await.unwrap().store;
    store.get(&name("a"), &GetOptions::default()).await.unwrap();
    let sent = asked.lock().unwrap()[0].header("authorization") == Some(&format!("Bearer {TOKEN}"));
    assert!(sent);
    assert_eq!(
        fs::read_to_string(directory.path().join("runs")).unwrap(),
        "run\n",
        "it ran more than once"
    );

    write(
        directory.path(),
        "give",
        "#!/bin/sh\necho kfcanary-printed01 >&2\necho kfcanary-printed02\nexit 3\n",
        0o700,
    );
    let error = try_connect("k8s:", &host(&config)).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unauthenticated);
    assert!(error.context().any(|fact| fact == ("exit_code", "3")), "{error}");
    assert_harmless(&error);
    write(
        directory.path(),
        "give",
        "#!/bin/sh\necho '{\"status\": kfcanary-printed03'\n",
        0o700,
    );
    assert_harmless(&try_connect("k8s:", &host(&config)).await.unwrap_err());
}

#[tokio::test]
async fn a_program_is_not_run_when_others_can_write_the_kubeconfig() {
    let directory = tempfile::tempdir().unwrap();
    let marker = directory.path().join("ran");
    write(
        directory.path(),
        "give",
        &format!("#!/bin/sh\ntouch {}\n", marker.display()),
        0o700,
    );
    let user = "{exec: {apiVersion: client.authentication.k8s.io/v1, command: ./give, interactiveMode: Never}}";
    let text = kubeconfig("https://127.0.0.1:1", user);
    for mode in [0o620, 0o602] {
        let config = write(directory.path(), "config", &text, mode);
        let error = try_connect("k8s:", &host(&config)).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::InvalidConfig, "{error:?}");
        assert!(error.hint().is_some());
    }
    let config = write(directory.path(), "config", &text, 0o600);
    fs::set_permissions(directory.path(), fs::Permissions::from_mode(0o777)).unwrap();
    assert_eq!(
        try_connect("k8s:", &host(&config)).await.unwrap_err().kind(),
        ErrorKind::InvalidConfig
    );
    assert!(!marker.exists(), "the program was run");
}

/// What stands behind a key of the test bed's kubeconfig, which has each once.
fn value_of<'a>(kubeconfig: &'a str, key: &str) -> &'a str {
    let line = kubeconfig
        .lines()
        .find_map(|line| line.trim().trim_start_matches("- ").strip_prefix(key));
    line.unwrap().trim().trim_matches(['"', '\''])
}

#[tokio::test]
async fn a_pod_asks_with_its_service_account_in_its_namespace() {
    let Some(namespace) = Namespace::make("a_pod_asks_with_its_service_account_in_its_namespace").await else {
        return;
    };
    namespace
        .connect("")
        .await
        .put(&name("a"), PutRequest::new(CANARY))
        .await
        .unwrap();
    let kubeconfig = namespace.account("pod", &[(&["get"], &["a"])]).await;
    let (host, port) = value_of(&kubeconfig, "server: https://").rsplit_once(':').unwrap();
    let authority = BASE64
        .decode(value_of(&kubeconfig, "certificate-authority-data:").as_bytes())
        .unwrap();
    let account = "/var/run/secrets/kubernetes.io/serviceaccount";
    let environment = Environment::fake()
        .var("KUBERNETES_SERVICE_HOST", host)
        .var("KUBERNETES_SERVICE_PORT", port)
        .file(format!("{account}/token"), format!("{}\n", value_of(&kubeconfig, "token:")))
        .file(format!("{account}/ca.crt"), authority)
        .file(format!("{account}/namespace"), namespace.name.as_str())
        .build();
    let store = (BACKEND.connect)(StoreUrl::parse("k8s:").unwrap(), &environment)
        .await
        .unwrap()
        .store;
    assert!(store.info().location.contains(&namespace.name), "{}", store.info().location);
    let secret = store.get(&name("a"), &GetOptions::default()).await.unwrap();
    assert!(secret.value.expose_secret() == CANARY.as_bytes());
    namespace.remove().await;
}

#[tokio::test]
async fn an_api_server_that_is_not_the_configured_one_gets_no_token() {
    let Some(namespace) = Namespace::make("an_api_server_that_is_not_the_configured_one_gets_no_token").await else {
        return;
    };
    let text = &namespace.kubeconfig;
    let get = async |kubeconfig: &str| {
        let url = StoreUrl::parse("k8s://default").unwrap();
        let store = (BACKEND.connect)(url, &environment(kubeconfig)).await.unwrap().store;
        store
            .get(&name("kf-there-is-none"), &GetOptions::default())
            .await
            .unwrap_err()
    };
    assert_eq!(get(text).await.kind(), ErrorKind::NotFound);
    // The system's authorities did not sign it.
    let authority = text.lines().find(|line| line.contains("certificate-authority-data")).unwrap();
    let error = get(&text.replace(authority, "")).await;
    assert_eq!(error.kind(), ErrorKind::Unavailable, "{error:?}");
    assert!(error.to_string().contains("certificate"), "{error}");
    // The kubeconfig may know another name than that of the address.
    let indent = &authority[..authority.len() - authority.trim_start().len()];
    let named = |name: &str| text.replace(authority, &format!("{authority}\n{indent}tls-server-name: {name}"));
    assert_eq!(get(&named("localhost")).await.kind(), ErrorKind::NotFound);
    let error = get(&named("kubernetes.example")).await;
    assert_eq!(error.kind(), ErrorKind::Unavailable, "{error:?}");
    // Nobody looks.
    let unverified = text.replace(authority, &format!("{indent}insecure-skip-tls-verify: true"));
    assert_eq!(get(&unverified).await.kind(), ErrorKind::NotFound);
    let store = (BACKEND.connect)(StoreUrl::parse("k8s://default").unwrap(), &environment(&unverified)).await;
    let health = store.unwrap().store.health().await.unwrap();
    assert!(
        health
            .warnings
            .iter()
            .any(|warning| warning.contains("insecure-skip-tls-verify"))
    );
    namespace.remove().await;
}

#[tokio::test]
async fn certificates_that_are_none_are_a_wrong_configuration() {
    let pem = BASE64.encode(b"kfcanary-notpem0001");
    for user in [
        format!("{{client-certificate-data: {pem}, client-key-data: {pem}}}"),
        "{client-certificate-data: 'kfcanary-!', client-key-data: 'kfcanary-!'}".to_owned(),
        format!("{{client-certificate-data: {pem}}}"),
        "{client-certificate: /missing, client-key: /missing}".to_owned(),
    ] {
        let environment = Environment::fake()
            .file("~/.kube/config", kubeconfig("https://127.0.0.1:1", &user))
            .build();
        let error = try_connect("k8s:", &environment).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::InvalidConfig, "{error:?}");
        assert_harmless(&error);
    }
}

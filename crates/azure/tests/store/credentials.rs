//! Each way to log in, against the double's own services.

use std::os::unix::fs::PermissionsExt as _;
use std::time::Duration;

use keyfob_azure::{AzureCredential, describe_identity};
use keyfob_core::{ErrorKind, FakeEnvironment, GetOptions, GetRequest, PutRequest, SecretStore as _};

use crate::support::{Double, name, permanent, unique};

#[tokio::test]
async fn every_way_to_log_in_reaches_the_vault() {
    let Some(double) = Double::of("every_way_to_log_in_reaches_the_vault").await else {
        return;
    };
    let all = double.text("/principals/all/client_id");
    let ways: [(&str, FakeEnvironment); 6] = [
        ("the client secret", double.application("all")),
        (
            "the certificate",
            double
                .tenant("all")
                .var("AZURE_CLIENT_CERTIFICATE_PATH", double.text("/certificate")),
        ),
        (
            "the workload identity",
            double
                .tenant("all")
                .var("AZURE_FEDERATED_TOKEN_FILE", double.text("/federated_token")),
        ),
        (
            "App Service's managed identity",
            double
                .tenant("all")
                .var("IDENTITY_ENDPOINT", double.text("/app_service_url"))
                .var("IDENTITY_HEADER", double.text("/app_service_header")),
        ),
        (
            "the virtual machine's managed identity with the client id",
            double
                .tenant("all")
                .var("AZURE_POD_IDENTITY_AUTHORITY_HOST", double.text("/imds_url")),
        ),
        (
            "the virtual machine's managed identity, else",
            keyfob_core::Environment::fake()
                .var("AZURE_POD_IDENTITY_AUTHORITY_HOST", double.text("/imds_url"))
                .host_files(),
        ),
    ];
    for (way, environment) in ways {
        // What `keyfob explain` says before anybody is asked is what then happens.
        let identity = describe_identity(&double.url(""), &environment.clone().build()).unwrap();
        assert!(identity.starts_with(way), "{identity}");
        let store = double.connect(environment, "").await;
        let health = store.health().await.unwrap_or_else(|error| panic!("{way}: {error:?}"));
        assert_eq!(health.warnings, Vec::<String>::new(), "{way}");
        assert!(!way.ends_with("client id") || identity.contains(all));
        // Where two may be meant, who has logged in knows which it was.
        let chosen = health.details.iter().find(|(name, _)| *name == "logged in by");
        let expected = way.ends_with("else").then_some("the virtual machine's managed identity");
        assert_eq!(chosen.map(|(_, chosen)| chosen.as_str()), expected, "{way}");
    }
}

/// A program that answers as `az` does, first in the search path.
#[tokio::test]
async fn azure_cli_is_asked_by_its_name_in_the_search_path() {
    let Some(double) = Double::of("azure_cli_is_asked_by_its_name_in_the_search_path").await else {
        return;
    };
    let directory = std::env::temp_dir().join(unique());
    std::fs::create_dir(&directory).unwrap();
    let program = directory.join("az");
    let write = |script: &str| {
        std::fs::write(&program, format!("#!/bin/sh\n{script}\n")).unwrap();
        std::fs::set_permissions(&program, std::fs::Permissions::from_mode(0o700)).unwrap();
    };
    let environment = || {
        let path = format!("{}:/usr/bin:/bin", directory.display());
        keyfob_core::Environment::fake().host_files().var("PATH", path)
    };
    let token = double.token().await;
    write(&format!(
        r#"case "$*" in "account get-access-token -o json --scope https://vault.azure.net/.default") ;; *) exit 3;; esac
        echo '{{"accessToken":"{token}","expires_on":4102444800,"tokenType":"Bearer"}}'"#
    ));
    let store = double.connect(environment(), "&identity=cli").await;
    store.health().await.unwrap();
    for (script, expected) in [
        (
            "echo 'ERROR: kfcanary-fromstderr1 Please run az login' >&2; exit 1",
            "nobody is logged in",
        ),
        ("echo kfcanary-fromstdout1", "can't be understood"),
        ("exit 1", "failed"),
    ] {
        write(script);
        let store = double.connect(environment(), "&identity=cli").await;
        let error = store.health().await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Unauthenticated, "{error:?}");
        assert!(error.message().contains(expected), "{error:?}");
        assert!(!format!("{error:?}").contains("kfcanary-"));
    }
    std::fs::remove_dir_all(&directory).unwrap();
    let missing = keyfob_core::Environment::fake()
        .host_files()
        .var("PATH", directory.display().to_string());
    let error = double.connect(missing, "&identity=cli").await.health().await.unwrap_err();
    assert!(error.message().contains("not installed"), "{error:?}");
}

#[tokio::test]
async fn a_log_in_that_is_refused_says_why_and_shows_no_secret() {
    let Some(double) = Double::of("a_log_in_that_is_refused_says_why_and_shows_no_secret").await else {
        return;
    };
    let wrong = double.tenant("all").var("AZURE_CLIENT_SECRET", "kfcanary-wrongsecret1");
    let nobody = double
        .tenant("all")
        .var("AZURE_CLIENT_SECRET", "x")
        .var("AZURE_CLIENT_ID", "00000000-0000-0000-0000-0000000000aa");
    let header = double
        .tenant("all")
        .var("IDENTITY_ENDPOINT", double.text("/app_service_url"))
        .var("IDENTITY_HEADER", "kfcanary-wrongheader1");
    let unknown = double
        .tenant("all")
        .var("AZURE_POD_IDENTITY_AUTHORITY_HOST", double.text("/imds_url"))
        .var("AZURE_CLIENT_ID", "00000000-0000-0000-0000-0000000000aa");
    for (environment, code) in [
        (wrong, Some("AADSTS7000215")),
        (nobody, Some("AADSTS700016")),
        (header, None),
        (unknown, None),
    ] {
        let store = double.connect(environment, "").await;
        let error = store.get(&name("a"), &GetOptions::default()).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Unauthenticated, "{error:?}");
        assert_eq!(
            error.context().find(|(key, _)| *key == "code").map(|(_, code)| code),
            code,
            "{error:?}"
        );
        assert!(error.hint().is_some() || code.is_none(), "{error:?}");
        assert!(!format!("{error:?}").contains("kfcanary-"));
    }
}

#[tokio::test]
async fn away_from_azure_the_machine_is_not_waited_for() {
    let Some(double) = Double::of("away_from_azure_the_machine_is_not_waited_for").await else {
        return;
    };
    let free = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let environment = keyfob_core::Environment::fake()
        .host_files()
        .var("AZURE_POD_IDENTITY_AUTHORITY_HOST", format!("http://{free}"))
        .var("PATH", "/nonexistent");
    let begin = std::time::Instant::now();
    let error = double.connect(environment, "").await.health().await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unauthenticated, "{error:?}");
    assert!(error.hint().unwrap().contains("az login"), "{error:?}");
    assert!(begin.elapsed() < Duration::from_secs(5));
}

#[tokio::test]
async fn a_log_in_server_that_can_not_serve_is_worth_another_try() {
    let Some(double) = Double::of("a_log_in_server_that_can_not_serve_is_worth_another_try").await else {
        return;
    };
    for (status, kind) in [(503, ErrorKind::Unavailable), (429, ErrorKind::RateLimited)] {
        let store = double.store();
        double.fault("token", status, Some(7), 1).await;
        let error = store.health().await.unwrap_err();
        assert_eq!(error.kind(), kind, "{error:?}");
        assert_eq!(error.retry_after(), Some(Duration::from_secs(7)));
        store.health().await.unwrap();
    }
}

#[tokio::test]
async fn a_token_that_the_vault_refuses_is_asked_for_anew_once_for_all() {
    let Some(double) = Double::of("a_token_that_the_vault_refuses_is_asked_for_anew_once_for_all").await else {
        return;
    };
    let (store, secret) = (double.store(), name(&unique()));
    store.put(&secret, PutRequest::new("kfcanary-afterrefusal")).await.unwrap();
    let before = double.count("token").await;
    double.fault("get", 401, None, 1).await;
    store.get(&secret, &GetOptions::default()).await.unwrap();
    assert_eq!(double.count("token").await - before, 1);
    // Refused again: the store does each request once, and its challenge once.
    double.fault("get", 401, None, 2).await;
    let error = store.get(&secret, &GetOptions::default()).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unauthenticated, "{error:?}");
    store.delete(&secret, &permanent()).await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_batch_is_challenged_once_and_logs_in_once() {
    let Some(double) = Double::of("a_batch_is_challenged_once_and_logs_in_once").await else {
        return;
    };
    let requests: Vec<GetRequest> = (0..40)
        .map(|index| GetRequest::new(name(&format!("{}-{index}", unique()))))
        .collect();
    let store = double.store();
    let (gets, tokens) = (double.count("get").await, double.count("token").await);
    let answers = store.get_many(&requests).await;
    assert!(
        answers
            .iter()
            .all(|answer| answer.as_ref().is_err_and(|error| error.kind() == ErrorKind::NotFound))
    );
    assert_eq!(double.count("token").await - tokens, 1);
    // Those that were challenged are not counted.
    assert_eq!(double.count("get").await - gets, 40);
}

#[tokio::test]
async fn the_choice_and_its_reason_can_be_asked_without_a_vault() {
    let environment = keyfob_core::Environment::fake()
        .var("AZURE_CLIENT_SECRET", "kfcanary-notshown1234")
        .var("AZURE_CLIENT_ID", "app")
        .var("AZURE_TENANT_ID", "tenant")
        .build();
    let url = keyfob_core::StoreUrl::parse("azure://team-vault").unwrap();
    let line = describe_identity(&url, &environment).unwrap();
    assert_eq!(
        line,
        "the client secret of application `app` in tenant `tenant`, because `AZURE_CLIENT_SECRET` is set"
    );
    let config = keyfob_azure::AzureConfig::from_url(&url, &environment).unwrap();
    assert!(matches!(config.identity.credential, AzureCredential::ClientSecret { .. }));
    assert!(!format!("{config:?}").contains("kfcanary-"));
}

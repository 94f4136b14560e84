use std::path::Path;

use keyfob_core::{ErrorKind, FakeEnvironment};

use super::*;
use crate::config::{AuthConfig, SecretSource};

fn config(url: &str, environment: FakeEnvironment) -> Result<VaultConfig> {
    VaultConfig::from_url(&StoreUrl::parse(url)?, &environment.build())
}

fn with_token() -> FakeEnvironment {
    Environment::fake().var("VAULT_TOKEN", "kfcanary-token12345")
}

#[test]
fn the_address_is_the_urls_or_the_environments() {
    let found = |url: &str, environment: FakeEnvironment| config(url, environment).unwrap().address.to_string();
    let both = || with_token().var("VAULT_ADDR", " http://v:1\n").var("BAO_ADDR", "http://b:2");
    assert_eq!(found("vault://h.example", both()), "https://h.example:8200");
    assert_eq!(found("vault://h:1/team/kv?tls=off", both()), "http://h:1");
    assert_eq!(found("vault://[::1]:9", both()), "https://[::1]:9");
    assert_eq!(found("vault:", both()), "http://v:1");
    assert_eq!(found("vault:", with_token().var("BAO_ADDR", "https://b")), "https://b");
    assert_eq!(found("vault:?address=unix:///run/bao.sock", both()), "unix:///run/bao.sock");
    assert!(
        config("vault:", with_token())
            .unwrap_err()
            .hint()
            .unwrap()
            .contains("VAULT_ADDR")
    );
}

#[test]
fn everything_else_comes_from_the_url_first() {
    let environment = with_token()
        .var("VAULT_ADDR", "https://v")
        .var("VAULT_NAMESPACE", "team/a/")
        .var("VAULT_PATH", "kv/")
        .var("VAULT_KV_VERSION", "1")
        .var("VAULT_PREFIX", "app/")
        .var("VAULT_CACERT", "/ca.pem")
        .var("VAULT_CLIENT_TIMEOUT", "2m");
    let found = config("vault:", environment.clone()).unwrap();
    assert_eq!(found.namespace.as_deref(), Some("team/a"));
    assert_eq!((found.mount.as_str(), found.prefix.as_str()), ("kv", "app/"));
    assert_eq!(
        (found.kv_version, found.timeout),
        (Some(KvVersion::V1), Duration::from_secs(120))
    );
    assert!(matches!(&found.tls.authorities[..], [CertificateAuthority::File(file)] if file == Path::new("/ca.pem")));

    let url = "vault:team/secret/?namespace=b&kv=2&prefix=&ca-file=~/ca.pem&timeout=3";
    let found = config(url, environment).unwrap();
    assert_eq!(found.namespace.as_deref(), Some("b"));
    assert_eq!((found.mount.as_str(), found.prefix.as_str()), ("team/secret", ""));
    assert_eq!(
        (found.kv_version, found.timeout),
        (Some(KvVersion::V2), Duration::from_secs(3))
    );
    assert_eq!(found.connect_timeout, Duration::from_secs(3));
    assert!(matches!(&found.tls.authorities[..], [CertificateAuthority::File(file)] if file == Path::new("/home/user/ca.pem")));

    let found = config("vault://h", with_token()).unwrap();
    assert_eq!((found.mount.as_str(), found.prefix.as_str()), ("secret", ""));
    assert_eq!((found.namespace, found.kv_version), (None, None));
}

#[test]
fn every_parameter_is_known() {
    // A parameter that is in the help and that nothing takes would be refused as unknown.
    for parameter in VaultConfig::PARAMETERS {
        let result = config(&format!("vault://h?{}=", parameter.name), with_token());
        let unknown = result.is_err_and(|error| error.message().starts_with("unknown parameter"));
        assert!(!unknown, "{}", parameter.name);
    }
    assert!(config("vault://h?mount=x", with_token()).is_err());
}

#[test]
fn the_check_of_certificates_is_turned_off_only_in_so_many_words() {
    for value in ["1", "true", "t", "yes", "x"] {
        let error = config("vault://h", with_token().var("VAULT_SKIP_VERIFY", value)).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::InvalidConfig);
        assert!(error.hint().unwrap().contains("tls=unverified"));
    }
    for value in ["0", "false", "f"] {
        let found = config("vault://h", with_token().var("VAULT_SKIP_VERIFY", value)).unwrap();
        assert_eq!(found.tls.verification, Verification::On);
    }
    let found = config("vault://h?tls=unverified", with_token().var("VAULT_SKIP_VERIFY", "1")).unwrap();
    assert_eq!(found.tls.verification, Verification::Off);
    assert!(found.warnings()[0].contains("not checked"));
}

#[test]
fn an_open_connection_to_another_machine_is_worth_a_warning() {
    let warnings = |url: &str| config(url, with_token()).unwrap().warnings();
    assert!(warnings("vault://h?tls=off")[0].contains("not encrypted"));
    assert_eq!(warnings("vault://127.0.0.1?tls=off"), Vec::<String>::new());
    assert_eq!(warnings("vault://h"), Vec::<String>::new());
}

fn auth(url: &str, environment: FakeEnvironment) -> Result<AuthConfig> {
    config(url, environment).map(|config| config.auth)
}

fn text(source: &SecretSource) -> String {
    match source {
        SecretSource::Value(value) => value.expose_str().unwrap().to_owned(),
        SecretSource::File(path) => path.display().to_string(),
    }
}

#[test]
fn the_log_in_is_the_one_that_something_is_set_for() {
    let fake = Environment::fake;
    let file = |name: &str| fake().file("/home/user/.vault-token", name);
    let token = |environment: FakeEnvironment| match auth("vault://h", environment).unwrap() {
        AuthConfig::Token(source) => text(&source),
        other => panic!("not a token: {other:?}"),
    };
    assert_eq!(token(fake().var("VAULT_TOKEN", "a").var("BAO_TOKEN", "b")), "a");
    assert_eq!(token(fake().var("BAO_TOKEN", "b")), "b");
    assert_eq!(token(fake().var("VAULT_TOKEN_FILE", "t")), "/home/user/project/t");
    assert_eq!(token(file("x")), "/home/user/.vault-token");
    assert_eq!(token(file("x").var("VAULT_TOKEN", "a")), "a");
    assert_eq!(token(file("x").var("VAULT_TOKEN", " \n")), "/home/user/.vault-token");

    // The file that people's log-ins leave does not stand against what is set on purpose.
    let environment = file("x").var("VAULT_ROLE_ID", " r\n").var("VAULT_SECRET_ID", "s");
    let AuthConfig::AppRole {
        mount,
        role_id,
        secret_id: Some(secret_id),
        wrapped: false,
    } = auth("vault://h", environment.clone()).unwrap()
    else {
        panic!("not an AppRole");
    };
    assert_eq!(
        (mount.as_str(), role_id.as_str(), text(&secret_id).as_str()),
        ("approle", "r", "s")
    );
    assert!(matches!(
        auth("vault://h?login=token", environment).unwrap(),
        AuthConfig::Token(_)
    ));

    let wrapped = fake().var("VAULT_ROLE_ID", "r").var("VAULT_WRAPPED_SECRET_ID", "w");
    assert!(matches!(
        auth("vault://h", wrapped).unwrap(),
        AuthConfig::AppRole { wrapped: true, .. }
    ));
    assert!(matches!(
        auth("vault://h?login=approle&role=r", fake()).unwrap(),
        AuthConfig::AppRole { secret_id: None, .. }
    ));

    let jwt = fake()
        .var("VAULT_ROLE", "ci")
        .var("VAULT_JWT_FILE", "/j")
        .var("VAULT_AUTH_MOUNT", "gitlab/");
    let AuthConfig::Jwt { mount, role, jwt } = auth("vault://h", jwt).unwrap() else {
        panic!("not a JWT")
    };
    assert_eq!(
        (mount.as_str(), role.as_deref(), text(&jwt).as_str()),
        ("gitlab", Some("ci"), "/j")
    );

    let AuthConfig::Kubernetes { mount, role, jwt } = auth("vault://h", fake().var("VAULT_K8S_ROLE", "app")).unwrap() else {
        panic!("not Kubernetes");
    };
    assert_eq!((mount.as_str(), role.as_str()), ("kubernetes", "app"));
    assert_eq!(text(&jwt), "/var/run/secrets/kubernetes.io/serviceaccount/token");
}

#[test]
fn a_log_in_that_is_missing_or_not_clear_is_told() {
    let fake = Environment::fake;
    let error = auth("vault://h", fake()).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unauthenticated);
    assert!(error.hint().unwrap().contains("VAULT_K8S_ROLE"));
    for (url, environment, message, hint) in [
        (
            "vault://h",
            with_token().var("VAULT_ROLE_ID", "r"),
            "more than one way",
            "`login=token` or `login=approle`",
        ),
        (
            "vault://h",
            fake().var("VAULT_ROLE_ID", "r"),
            "secret id is missing",
            "VAULT_SECRET_ID",
        ),
        (
            "vault://h",
            fake().var("VAULT_SECRET_ID", "s"),
            "role id is missing",
            "VAULT_ROLE_ID",
        ),
        ("vault://h?login=jwt", fake(), "JSON Web Token is missing", "VAULT_JWT_FILE"),
        ("vault://h?login=kubernetes", fake(), "role is missing", "VAULT_K8S_ROLE"),
        ("vault://h?login=token", fake(), "no token", "VAULT_TOKEN"),
        (
            "vault://h?secret-id-file=/s",
            fake().var("VAULT_ROLE_ID", "r").var("VAULT_WRAPPED_SECRET_ID", "w"),
            "and a wrapped one too",
            "unset",
        ),
    ] {
        let error = auth(url, environment).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::InvalidConfig, "{error}");
        assert!(error.message().contains(message), "{error}");
        assert!(error.hint().unwrap().contains(hint), "{error:?}");
    }
    assert!(
        auth("vault://h?login=ldap", with_token())
            .unwrap_err()
            .message()
            .contains("`login`")
    );
}

#[test]
fn what_can_not_be_sent_is_refused_and_not_shown() {
    for (url, environment) in [
        ("vault://h", Environment::fake().var("VAULT_TOKEN", "kfcanary-new\nline12345")),
        ("vault://h", Environment::fake().var("VAULT_TOKEN", "kfcanary-zero\0byte1234")),
        ("vault://h", Environment::fake().var("VAULT_TOKEN", "kfcanary-é-notascii12")),
        ("vault://h", with_token().var("VAULT_NAMESPACE", "a\nb")),
        ("vault://h?namespace=a%20b", with_token()),
        ("vault://h/../x?kv=3", with_token()),
        ("vault:a//b?address=https://h", with_token()),
        ("vault:a/%2e%2e/b?address=https://h", with_token()),
        ("vault://kfcanary-user1234@h", with_token()),
        ("vault://h?tls=of", with_token()),
        ("vault://h?timeout=0", with_token()),
        ("vault://h?timeout=601", with_token()),
        ("vault://h?namespace=", with_token()),
        ("vault:?address=https://h&tls=off", with_token()),
        ("vault://h?address=https://h", with_token()),
        ("vault://h", with_token().var("VAULT_CLIENT_CERT", "/c")),
        ("vault://h?login-mount=../sys", with_token().var("VAULT_ROLE_ID", "r")),
    ] {
        let error = config(url, environment).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::InvalidConfig, "{url}: {error}");
        assert!(!format!("{error:?}").contains("kfcanary-"));
    }
}

#[test]
fn debug_shows_no_credential() {
    let environment = Environment::fake()
        .var("VAULT_ROLE_ID", "r")
        .var("VAULT_SECRET_ID", "kfcanary-secretid123");
    let shown = format!("{:?}", config("vault://h", environment).unwrap());
    assert!(shown.contains("[REDACTED]") && !shown.contains("kfcanary-"));
}

use super::*;
use keyfob_core::FakeEnvironment;

fn config(url: &str, environment: FakeEnvironment) -> Result<PostgresConfig> {
    PostgresConfig::from_url(&StoreUrl::parse(url)?, &environment.build())
}

#[test]
fn a_url_says_everything_and_shows_no_password() {
    let url = "postgresql://app:kfcanary-password1@[::1]:6000/secrets?schema=team_a&timeout=3&connections=2&versions=5";
    let found = config(url, Environment::fake().var("PGPASSWORD", "other")).unwrap();
    assert_eq!((found.host.as_str(), found.port), ("::1", 6000));
    assert_eq!((found.database.as_str(), found.user.as_str()), ("secrets", "app"));
    assert_eq!((found.schema.as_str(), found.timeout), ("team_a", Duration::from_secs(3)));
    assert_eq!((found.max_connections, found.keep_versions), (2, 5));
    assert_eq!(found.tls, PostgresTls::Off);
    assert!(found.password.as_ref().is_some_and(|password| password.len() == 18));
    assert_eq!(found.location(), "[::1]:6000/secrets?schema=team_a");
    assert!(!format!("{found:?}").contains("kfcanary-"));
    let identity = "role `app` with a password, at `[::1]:6000/secrets?schema=team_a` without TLS";
    assert_eq!(found.identity(), identity);
}

#[test]
fn a_bare_url_takes_the_one_of_the_environment() {
    let environment = Environment::fake()
        .var("POSTGRES_URL", "postgres://app@db.example/s")
        .var("PGPASSWORD", "word");
    let found = config("postgres:", environment).unwrap();
    assert_eq!((found.host.as_str(), found.port), ("db.example", 5432));
    assert!(found.password.is_some_and(|password| password.expose_secret() == b"word"));
    assert_eq!(found.tls, PostgresTls::Verified { authorities: None });
    let error = config("postgres:", Environment::fake()).unwrap_err();
    assert!(error.hint().unwrap().contains("POSTGRES_URL"), "{error:?}");
    let wrong = Environment::fake().var("POSTGRES_URL", "vault://kfcanary-hostname1/x");
    let error = config("postgres:", wrong).unwrap_err();
    assert!(!format!("{error:?}").contains("kfcanary-"));
}

#[test]
fn no_sslmode_sends_secrets_to_whoever_answers() {
    let tls = |parameters: &str| {
        let url = format!("postgres://app@db.example/s{parameters}");
        config(&url, Environment::fake()).map(|config| config.tls)
    };
    let verified = |file: Option<&str>| PostgresTls::Verified {
        authorities: file.map(PathBuf::from),
    };
    for mode in ["require", "verify-ca", "verify-full"] {
        assert_eq!(tls(&format!("?sslmode={mode}")).unwrap(), verified(None));
    }
    assert_eq!(tls("?sslrootcert=/ca.pem").unwrap(), verified(Some("/ca.pem")));
    assert_eq!(tls("?sslrootcert=system").unwrap(), verified(None));
    assert_eq!(tls("?sslmode=disable").unwrap(), PostgresTls::Off);
    for wrong in [
        "?sslmode=prefer",
        "?sslmode=allow",
        "?sslmode=on",
        "?sslmode=disable&sslrootcert=/ca.pem",
    ] {
        assert_eq!(tls(wrong).unwrap_err().kind(), ErrorKind::InvalidConfig, "{wrong}");
    }
}

#[test]
fn the_variables_of_postgresql_say_what_the_url_leaves_open() {
    let environment = || {
        Environment::fake()
            .var("PGHOST", "db.example")
            .var("PGPORT", "6000")
            .var("PGDATABASE", "secrets")
            .var("PGUSER", "app")
            .var("PGSSLROOTCERT", "/ca.pem")
    };
    let found = config("postgres:?schema=team_a", environment()).unwrap();
    assert_eq!(found.location(), "db.example:6000/secrets?schema=team_a");
    assert_eq!(found.user, "app");
    let verified = |file: &str| PostgresTls::Verified {
        authorities: Some(PathBuf::from(file)),
    };
    assert_eq!(found.tls, verified("/ca.pem"));

    let whole = "postgres://other@localhost:1/d";
    let found = config(whole, environment()).unwrap();
    assert_eq!(
        (found.location().as_str(), found.user.as_str()),
        ("localhost:1/d?schema=keyfob", "other")
    );
    assert_eq!(found.tls, PostgresTls::Off);
    let tls = |mode: &str, parameters: &str| config(&format!("{whole}{parameters}"), environment().var("PGSSLMODE", mode));
    assert_eq!(
        tls("verify-full", "").unwrap().tls,
        verified("/ca.pem"),
        "what is asked for is done"
    );
    assert_eq!(tls("prefer", "").unwrap().tls, PostgresTls::Off);
    assert_eq!(tls("disable", "?sslmode=verify-full").unwrap().tls, verified("/ca.pem"));
    assert_eq!(tls("disable", "?sslrootcert=/b.pem").unwrap().tls, verified("/b.pem"));
    assert_eq!(tls("verify-full", "?sslmode=disable").unwrap().tls, PostgresTls::Off);
    assert_eq!(tls("on", "").unwrap_err().kind(), ErrorKind::InvalidConfig);

    let named = environment().var("POSTGRES_URL", "postgres://u@named.example/d");
    assert_eq!(config("postgres:", named).unwrap().host, "named.example");
    for (name, value) in [("PGPORT", "many"), ("PGHOST", "/var/run/postgresql")] {
        let error = config("postgres:", environment().var(name, value)).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::InvalidConfig, "{name}");
    }
}

#[test]
fn what_is_wrong_is_named() {
    for url in [
        "postgres://db.example/s",
        "postgres://app@db.example/a/b",
        "postgres://app@db.example/s?schema=Team",
        "postgres://app@db.example/s?schema=pg_x",
        "postgres://app@db.example/s?timeout=0",
        "postgres://app@db.example/s?connections=101",
        "postgres://app@db.example/s?versions=0",
        "postgres://app@db.example/s?key-source=a:b&key-file=k",
        "postgres://app@db.example/s?shcema=x",
        "postgres://app@%2Fvar%2Frun/s",
        "postgres://app@one.example,two.example/s",
    ] {
        assert_eq!(
            config(url, Environment::fake()).unwrap_err().kind(),
            ErrorKind::InvalidConfig,
            "{url}"
        );
    }
}

//! A cache in Redis, from settings to the command: what one process has read another finds there, and what a third one writes
//! none of them reads old.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::path::Path;

use keyfob::{Environment, ErrorKind, Freshness, SecretManager, SecretManagerBuilder};
use keyfob_integration_tests::sandbox::{Sandbox, said};

const KEY: &str = "BwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwc=";
const OLD: &str = "kfcanary-sharedvalue1";
const NEW: &str = "kfcanary-sharedvalue2";

/// An application with its own memory, over the `.env` file at `path`.
async fn application(path: &Path, variables: &[(&str, &str)]) -> keyfob::Result<SecretManager> {
    builder(path, variables).build().await
}

fn builder(path: &Path, variables: &[(&str, &str)]) -> SecretManagerBuilder {
    let mut environment = Environment::fake().host_files();
    for (name, value) in variables {
        environment = environment.var(*name, *value);
    }
    let store = format!("dotenv:{}", path.display());
    SecretManager::builder().environment(environment.build()).store(store)
}

async fn read(manager: &SecretManager) -> (String, Freshness) {
    let secret = manager.get("DB").await.unwrap();
    (
        secret.value.expose_str().unwrap().to_owned(),
        secret.metadata.origin.freshness,
    )
}

#[tokio::test]
async fn what_one_application_has_read_another_finds_until_the_command_writes() {
    let test = "what_one_application_has_read_another_finds";
    let Some(redis) = keyfob_testkit::server(test, "KEYFOB_TEST_REDIS_URL") else {
        return;
    };
    let sandbox = Sandbox::new();
    sandbox.write("app.env", format!("DB={OLD}\n"));
    let path = sandbox.work().join("app.env");
    let prefix = format!("kf-test-{}", std::process::id());
    let variables = [
        ("SECRET_CACHE_REDIS", redis.as_str()),
        ("SECRET_CACHE_REDIS_KEY", KEY),
        ("SECRET_CACHE_REDIS_PREFIX", prefix.as_str()),
        ("SECRET_CACHE_REDIS_TIMEOUT", "2000"),
    ];
    let one = application(&path, &variables).await.unwrap();
    assert_eq!(read(&one).await, (OLD.to_owned(), Freshness::Store));
    let other = application(&path, &variables).await.unwrap();
    assert_eq!(read(&other).await, (OLD.to_owned(), Freshness::Cache));
    // Without the cache it is asked again.
    let alone = application(&path, &[]).await.unwrap();
    assert_eq!(read(&alone).await.1, Freshness::Store);

    // The command, which caches nothing.
    sandbox.write("new", NEW);
    let store = format!("dotenv:{}", path.display());
    let mut command = sandbox.keyfob(["--store", &store, "set", "DB", "--from-file", "new"]);
    let output = command.envs(variables).output().unwrap();
    assert!(output.status.success(), "{}", said(&output));
    let third = application(&path, &variables).await.unwrap();
    assert_eq!(read(&third).await, (NEW.to_owned(), Freshness::Store));
    let fourth = application(&path, &variables).await.unwrap();
    assert_eq!(read(&fourth).await, (NEW.to_owned(), Freshness::Cache));
}

#[tokio::test]
async fn what_one_application_clears_no_other_finds() {
    let test = "what_one_application_clears_no_other_finds";
    let Some(redis) = keyfob_testkit::server(test, "KEYFOB_TEST_REDIS_URL") else {
        return;
    };
    let sandbox = Sandbox::new();
    let path = sandbox.work().join("app.env");
    let prefix = format!("kf-clear-{}", std::process::id());
    let variables = [
        ("SECRET_CACHE_REDIS", redis.as_str()),
        ("SECRET_CACHE_REDIS_KEY", KEY),
        ("SECRET_CACHE_REDIS_PREFIX", prefix.as_str()),
        ("SECRET_CACHE_REDIS_TIMEOUT", "2000"),
    ];
    sandbox.write("app.env", format!("DB={OLD}\n"));
    let one = application(&path, &variables).await.unwrap();
    assert_eq!(read(&one).await, (OLD.to_owned(), Freshness::Store));
    // Somebody changes it who has no keyfob, and an application that has not read it itself hears of that.
    sandbox.write("app.env", format!("DB={NEW}\n"));
    let other = builder(&path, &variables).build_lazily().unwrap();
    assert!(other.cache().clear("DB").await.unwrap());
    let third = application(&path, &variables).await.unwrap();
    assert_eq!(read(&third).await, (NEW.to_owned(), Freshness::Store));
    assert_eq!(read(&other).await.0, NEW);
    // What lies in the memory of another process lives on for its time.
    assert_eq!(read(&one).await, (OLD.to_owned(), Freshness::Cache));
    one.cache().clear_all();
    assert_eq!(read(&one).await.0, NEW);
}

#[tokio::test]
async fn an_application_works_without_its_redis() {
    let sandbox = Sandbox::new();
    sandbox.write("app.env", format!("DB={OLD}\n"));
    let path = sandbox.work().join("app.env");
    let variables = [("SECRET_CACHE_REDIS", "redis://127.0.0.1:1"), ("SECRET_CACHE_REDIS_KEY", KEY)];
    let manager = application(&path, &variables).await.unwrap();
    assert_eq!(read(&manager).await, (OLD.to_owned(), Freshness::Store));
    assert_eq!(read(&manager).await, (OLD.to_owned(), Freshness::Cache));
}

#[tokio::test]
async fn what_is_set_up_wrong_is_told_of_at_the_start_and_shows_no_secret() {
    let sandbox = Sandbox::new();
    sandbox.write("app.env", format!("DB={OLD}\n"));
    let path = sandbox.work().join("app.env");
    let secret = "kfcanary-sharedsecret1";
    let with_password = format!("redis://me:{secret}@127.0.0.1");
    let cases: [(&[(&str, &str)], &str); 6] = [
        (
            &[("SECRET_CACHE_REDIS", "redis://127.0.0.1")],
            "the cache in Redis has no key",
        ),
        (
            &[
                ("SECRET_CACHE_REDIS", with_password.as_str()),
                ("SECRET_CACHE_REDIS_KEY", KEY),
            ],
            "is not a URL without a password",
        ),
        (
            &[("SECRET_CACHE_REDIS", "http://127.0.0.1"), ("SECRET_CACHE_REDIS_KEY", KEY)],
            "the URL of Redis is wrong",
        ),
        (
            &[
                ("SECRET_CACHE_REDIS", "redis://127.0.0.1"),
                ("SECRET_CACHE_REDIS_KEY", secret),
            ],
            "the key is not 32 bytes",
        ),
        (
            &[
                ("SECRET_CACHE_REDIS", "rediss://127.0.0.1"),
                ("SECRET_CACHE_REDIS_KEY", KEY),
                ("SECRET_CACHE_REDIS_CA_FILE", "/nowhere.pem"),
            ],
            "the authorities for Redis can't be read",
        ),
        (
            &[
                ("SECRET_CACHE_REDIS", "redis://127.0.0.1"),
                ("SECRET_CACHE_REDIS_KEY", KEY),
                ("SECRET_CACHE_REDIS_PREFIX", "no{such}word"),
            ],
            "is not a word",
        ),
    ];
    for (variables, problem) in cases {
        let error = application(&path, variables).await.unwrap_err();
        let shown = format!("{error} {:?} {:?}", error.hint(), error);
        assert!(
            matches!(error.kind(), ErrorKind::InvalidConfig | ErrorKind::NotFound),
            "{error}"
        );
        assert!(shown.contains(problem), "{problem}: {error}");
        assert!(!shown.contains(secret), "{problem}: a secret is shown");
    }
}

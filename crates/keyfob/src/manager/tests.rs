use keyfob_core::{FakeEnvironment, Freshness, MemoryStore};

use super::*;
use crate::backends;
use crate::layers::LayerSettings;

fn block_on<T>(future: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_current_thread()
        .enable_time()
        .build()
        .unwrap()
        .block_on(future)
}

fn lazily(fake: FakeEnvironment) -> SecretManager {
    SecretManager::builder().environment(fake.build()).build_lazily().unwrap()
}

#[test]
fn one_line_reads_from_the_environment_when_nothing_else_is_there() {
    block_on(async {
        let env = Environment::fake().var("DB_PASSWORD", "canary-7f3a").build();
        let manager = SecretManager::builder().environment(env).build().await.unwrap();
        assert_eq!(
            manager.get("db/password").await.unwrap().value.expose_secret(),
            b"canary-7f3a"
        );
        assert_eq!(
            manager.get("${env:DB_PASSWORD}").await.unwrap().value.expose_secret(),
            b"canary-7f3a"
        );
        assert!(!format!("{manager:?}").contains("canary"));
    });
}

#[test]
fn every_verb_passes_through_to_the_default_store() {
    block_on(async {
        let env = Environment::fake().build();
        let builder = SecretManager::builder().environment(env);
        let manager = builder
            .with_store("secret", Arc::new(MemoryStore::new()))
            .build()
            .await
            .unwrap();
        manager.put("a", PutRequest::new("1")).await.unwrap();
        manager.put("a", PutRequest::new(r#"{"k": "2"}"#)).await.unwrap();
        assert_eq!(manager.get("a@previous").await.unwrap().value.expose_secret(), b"1");
        assert_eq!(manager.get("a#k").await.unwrap().value.expose_secret(), b"2");
        assert_eq!(manager.get("$<secret:a#k>").await.unwrap().value.expose_secret(), b"2");
        assert_eq!(manager.list(&ListOptions::default()).await.unwrap().items.len(), 1);
        assert_eq!(manager.versions("a", &PageRequest::default()).await.unwrap().items.len(), 2);
        manager.delete("a", &DeleteOptions::default()).await.unwrap();
        assert_eq!(manager.get("a").await.unwrap_err().kind(), ErrorKind::NotFound);
        manager.restore("a").await.unwrap();
        manager.health().await.unwrap();
        let missing = manager.get("a#nope").await.unwrap_err();
        assert_eq!(missing.kind(), ErrorKind::NotFound);
        assert!(missing.to_string().contains("name `a`"), "{missing}");
        for wrong in ["a b", "${secret:a:-x}", "${secret:a?}", "${file:a}", "${nope}"] {
            assert_eq!(
                manager.get(wrong).await.unwrap_err().kind(),
                ErrorKind::InvalidInput,
                "{wrong}"
            );
        }
    });
}

#[test]
fn schemes_are_the_providers_the_stores_and_the_aliases() {
    let toml =
        "default = \"team\"\n[stores.team]\nurl = \"dotenv:a\"\n[stores.other]\nurl = \"dotenv:b\"\n[aliases]\nt = \"team\"\n";
    let manager = lazily(Environment::fake().file("keyfob.toml", toml));
    for scheme in ["secret", "env", "dotenv", "sqlite", "aws", "kubernetes", "team", "other", "t"] {
        assert!(manager.has_scheme(scheme), "{scheme}");
    }
    for scheme in ["file", "HOME", "nope", ""] {
        assert!(!manager.has_scheme(scheme), "{scheme}");
    }
    block_on(async {
        let default = manager.store().await.unwrap();
        for scheme in ["secret", "team", "t", "dotenv"] {
            assert!(
                Arc::ptr_eq(&default, &manager.store_of(scheme).await.unwrap()),
                "{scheme} is the default store"
            );
        }
        assert!(!Arc::ptr_eq(&default, &manager.store_of("other").await.unwrap()));
        if !backends::BUILT_IN.iter().any(|backend| backend.scheme == "gcp") {
            let absent = manager.store_of("gcp").await.unwrap_err();
            assert_eq!(absent.kind(), ErrorKind::Unsupported);
        }
        let unknown = manager.store_of("taem").await.unwrap_err();
        assert_eq!(
            (unknown.kind(), unknown.hint()),
            (ErrorKind::InvalidConfig, Some("did you mean `team`?"))
        );
    });
}

#[test]
fn many_callers_at_once_connect_a_store_once() {
    block_on(async {
        let manager = lazily(Environment::fake());
        let stores = futures_util::future::join_all((0..20).map(|_| manager.clone().store_of_owned("env"))).await;
        assert!(stores.iter().all(|store| Arc::ptr_eq(store, &stores[0])));
    });
}

impl SecretManager {
    async fn store_of_owned(self, scheme: &str) -> Arc<dyn SecretStore> {
        self.store_of(scheme).await.unwrap()
    }
}

#[test]
fn a_default_store_that_cannot_be_chosen_hinders_only_who_asks_for_it() {
    block_on(async {
        let fake = Environment::fake()
            .var("AWS_PROFILE", "x")
            .var("VAULT_ADDR", "y")
            .var("A", "1");
        let eager = SecretManager::builder().environment(fake.clone().build()).build().await;
        assert_eq!(eager.unwrap_err().kind(), ErrorKind::InvalidConfig);
        let manager = lazily(fake);
        assert!(
            manager
                .store()
                .await
                .unwrap_err()
                .to_string()
                .contains("evidence for 2 providers")
        );
        assert_eq!(manager.get("${env:A}").await.unwrap().value.expose_secret(), b"1");
    });
}

#[test]
fn values_are_cached_for_the_time_to_live() {
    block_on(async {
        let freshness = async |fake: FakeEnvironment| {
            let manager = lazily(fake.var("A", "1"));
            manager.get("A").await.unwrap();
            manager.get("A").await.unwrap().metadata.origin.freshness
        };
        assert_eq!(freshness(Environment::fake()).await, Freshness::Cache);
        assert_eq!(
            freshness(Environment::fake().var("SECRET_CACHE_TTL", "0")).await,
            Freshness::Store
        );
    });
}

#[test]
fn a_given_store_takes_the_place_of_what_its_scheme_meant() {
    block_on(async {
        let toml = "default = \"team\"\n[stores.team]\nurl = \"aws:\"\n[aliases]\nt = \"team\"\n";
        let env = Environment::fake().file("keyfob.toml", toml).build();
        let given: Arc<dyn SecretStore> = Arc::new(MemoryStore::new());
        let manager = SecretManager::builder()
            .environment(env.clone())
            .with_store("team", given.clone());
        let manager = manager.build_lazily().unwrap();
        assert!(Arc::ptr_eq(&manager.store_of("t").await.unwrap(), &given));
        for scheme in ["File", "file", "a b"] {
            let builder = SecretManager::builder()
                .environment(env.clone())
                .with_store(scheme, given.clone());
            assert_eq!(
                builder.build_lazily().unwrap_err().kind(),
                ErrorKind::InvalidConfig,
                "{scheme}"
            );
        }
    });
}

#[test]
fn a_url_that_a_store_does_not_understand_is_refused() {
    block_on(async {
        for (url, why) in [
            ("env:x", "nothing can follow `env:`"),
            ("env:?a=b", "unknown parameter `a`"),
            ("dotenv:x?mode=1", "unknown parameter `mode`"),
            ("dotenv://x", "what follows `//` is a host"),
        ] {
            let env = Environment::fake().build();
            let error = SecretManager::builder()
                .environment(env)
                .store(url)
                .build()
                .await
                .unwrap_err();
            assert_eq!(error.kind(), ErrorKind::InvalidConfig);
            assert!(error.to_string().contains(why), "{error}");
        }
    });
}

#[cfg(feature = "sqlite")]
#[test]
fn the_encrypted_store_of_a_project_keeps_what_is_put() {
    block_on(async {
        let top = tempfile::tempdir().unwrap();
        let directory = top.path().canonicalize().unwrap();
        std::fs::write(
            directory.join("keyfob.toml"),
            "default = \"team\"\n[stores.team]\nurl = \"sqlite:team.db\"",
        )
        .unwrap();
        let env = Environment::fake().host_files().home(&directory).current_dir(&directory);
        let env = env.var("KEYFOB_KEY", "ab".repeat(32)).build();
        let url = Selection::of(&env, &crate::SelectOptions::default())
            .unwrap()
            .store
            .unwrap()
            .url;
        let missing = SecretManager::builder().environment(env.clone()).build().await.unwrap_err();
        assert_eq!(missing.kind(), ErrorKind::NotFound, "a store is never made by opening it");
        let config = keyfob_sql::SqlConfig::from_url(&url, &env).unwrap();
        keyfob_sql::SqlStore::create(config).await.unwrap();
        let open = || SecretManager::builder().environment(env.clone()).build();
        open()
            .await
            .unwrap()
            .put("db/password", PutRequest::new("canary-7f3a"))
            .await
            .unwrap();
        assert!(directory.join("team.db").exists(), "relative to the file that names it");
        let read = open().await.unwrap().get("${sqlite:db/password}").await.unwrap();
        assert_eq!(read.value.expose_secret(), b"canary-7f3a");
    });
}

#[test]
fn a_list_asks_the_next_store_and_says_who_answered() {
    block_on(async {
        let top = tempfile::tempdir().unwrap();
        let directory = top.path().canonicalize().unwrap();
        let toml =
            "default = [\"near\", \"far\"]\n[stores.near]\nurl = \"dotenv:near.env\"\n[stores.far]\nurl = \"dotenv:far.env\"\n";
        for (file, text) in [
            ("keyfob.toml", toml),
            ("near.env", "A=near\n"),
            ("far.env", "A=far\nB=only-far\n"),
        ] {
            std::fs::write(directory.join(file), text).unwrap();
        }
        let fake = || Environment::fake().host_files().home(&directory).current_dir(&directory);
        let manager = lazily(fake());
        assert!(manager.location_of("secret").unwrap().contains("near.env, then dotenv:"));
        assert_eq!(manager.get("A").await.unwrap().value.expose_secret(), b"near");
        // A missing secret is not hidden by an old copy, unless that is asked for.
        assert_eq!(manager.get("B").await.unwrap_err().kind(), ErrorKind::NotFound);
        let labels: Vec<String> = manager
            .failover_of("secret")
            .await
            .unwrap()
            .iter()
            .map(|member| member.label.to_string())
            .collect();
        assert_eq!(labels, ["near", "far"]);
        assert!(manager.failover_of("near").await.unwrap().is_empty());

        let asked_for = lazily(fake().var("SECRET_FAILOVER_NOT_FOUND_FALLS_THROUGH", "true"));
        let secret = asked_for.get("B").await.unwrap();
        assert_eq!(secret.value.expose_secret(), b"only-far");
        assert_eq!(secret.metadata.origin.passed_over[0].kind, ErrorKind::NotFound);
    });
}

#[test]
fn what_is_wrong_with_a_store_of_a_list_is_told_and_not_passed_over() {
    block_on(async {
        let manager = lazily(Environment::fake().var("SECRET_PROVIDER", "env:x,dotenv:a.env"));
        assert_eq!(manager.get("A").await.unwrap_err().kind(), ErrorKind::InvalidConfig);
    });
}

#[test]
fn settings_of_layers_come_from_code_else_variables_else_the_file() {
    let toml =
        "[cache]\nttl = \"1s\"\njitter = 0\n[cache.names]\n\"live/*\" = { ttl = \"0s\" }\n[retry]\nattempts = 7\nhedge = true\n";
    let fake = || Environment::fake().file("keyfob.toml", toml);
    let layers = |fake: FakeEnvironment| lazily(fake).selection().layers.clone();
    let settings = layers(fake().var("SECRET_RETRY_ATTEMPTS", "2"));
    assert_eq!(settings.cache.ttl, std::time::Duration::from_secs(1));
    assert_eq!(settings.cache.jitter, 0.0);
    assert_eq!(settings.cache.rules.len(), 1);
    assert_eq!((settings.retry.attempts, settings.retry.hedge), (2, true));

    let mut given = LayerSettings::default();
    given.retry.attempts = 1;
    let builder = SecretManager::builder().environment(fake().build()).layers(given.clone());
    assert_eq!(builder.build_lazily().unwrap().selection().layers, given);

    for (toml, why) in [
        ("[retry]\nattempt = 1", "unknown key `attempt`"),
        (
            "[retry]\nattempts = \"x\"",
            "`attempts` is a whole number, and this is of type string",
        ),
        ("[cache]\njitter = 1.5", "`jitter` is not a number from 0 to 1"),
        ("[cache.names]\n\"a*\" = {}", "the rule for `a*` has no `ttl`"),
    ] {
        let env = Environment::fake().file("keyfob.toml", toml).build();
        let error = SecretManager::builder().environment(env).build_lazily().unwrap_err();
        assert!(error.to_string().contains(why), "{error}");
    }
    let wrong = Environment::fake().var("SECRET_RETRY_HEDGE", "perhaps").build();
    let error = SecretManager::builder().environment(wrong).build_lazily().unwrap_err();
    assert_eq!(error.to_string(), "the variable `SECRET_RETRY_HEDGE` is not true or false");
}

#[test]
fn settings_that_cannot_be_are_told_before_a_store_is_opened_with_what_set_them() {
    for (toml, variable, why) in [
        ("", ("SECRET_RETRY_ATTEMPTS", "0"), "`attempts` must be at least 1"),
        (
            "[limit]\nfirst = 9\n",
            ("SECRET_LIMIT_MOST", "4"),
            "`first` must be from `least` to `most`",
        ),
        ("", ("SECRET_FAILOVER_FAILURES", "0"), "`failures` must be at least 1"),
        (
            "[cache]\nmax_age = \"1m\"\n",
            ("SECRET_CACHE_TTL", "120000"),
            "`max_age` of the cache (60s) is shorter than its `ttl` (120s)",
        ),
        (
            "",
            ("SECRET_CACHE_MAX_ENTRIES", "0"),
            "`max_entries` of the cache must be at least 1",
        ),
        (
            "",
            ("SECRET_CACHE_MAX_BYTES", "0"),
            "`max_bytes` of the cache must be at least 1",
        ),
        (
            "",
            ("SECRET_CACHE_REDIS_TIMEOUT", "0"),
            "`redis_timeout` of the cache must be longer than nothing",
        ),
        (
            "",
            ("SECRET_WATCH_INTERVAL", "0"),
            "`interval` of `[watch]` must be longer than nothing",
        ),
        (
            "",
            ("SECRET_RETRY_BUDGET_PER_SECOND", "1001"),
            "`budget_per_second` must be from 0 to 1000",
        ),
        (
            "",
            ("SECRET_ROTATION_LEASE", "999"),
            "`lease` of `[rotation]` must be at least 1 second",
        ),
        ("", ("SECRET_FAILOVER_WINDOW", "65"), "`window` must be at most 64"),
        ("", ("SECRET_FAILOVER_SHARE", "0"), "`share` must be more than 0"),
    ] {
        let environment = Environment::fake()
            .file("keyfob.toml", toml)
            .var(variable.0, variable.1)
            .build();
        let error = SecretManager::builder().environment(environment).build_lazily().unwrap_err();
        assert_eq!(error.kind(), ErrorKind::InvalidConfig);
        assert!(
            error.to_string().contains(why) && error.to_string().contains(variable.0),
            "{error}"
        );
    }
    let file = Environment::fake()
        .file("keyfob.toml", "[watch]\ninterval = \"0s\"\n")
        .build();
    let error = SecretManager::builder().environment(file).build_lazily().unwrap_err();
    assert!(
        error.to_string().contains("set by `watch.interval of keyfob.toml`"),
        "{error}"
    );
    let idle = LayerSettings {
        watch_interval: std::time::Duration::ZERO,
        ..LayerSettings::default()
    };
    let error = SecretManager::builder()
        .environment(Environment::fake().build())
        .layers(idle)
        .build_lazily();
    assert_eq!(error.unwrap_err().kind(), ErrorKind::InvalidConfig);
    // The usual maximum age gives way.
    lazily(Environment::fake().var("SECRET_CACHE_TTL", "7200000"));
    block_on(async {
        let mut settings = LayerSettings::default();
        settings.retry.attempts = 0;
        let environment = Environment::fake().var("A", "1").var("SECRET_PROVIDER", "env").build();
        let manager = SecretManager::builder()
            .environment(environment)
            .layers(settings)
            .build_lazily()
            .unwrap();
        assert_eq!(manager.get("A").await.unwrap_err().kind(), ErrorKind::InvalidConfig);
    });
}

use std::fmt;
use std::time::Duration;

use keyfob_core::{AuditFilter, CacheLayer, Environment, FakeEnvironment, Freshness, MemoryStore, PutRequest, SecretStore, Verb};
use tempfile::TempDir;

use super::*;
use crate::{LayerSettings, SecretManagerBuilder, SelectOptions, Selection};

fn block_on<T>(future: impl Future<Output = T>) -> T {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(future)
}

/// `odd` can't be opened.
const STORES: &str = "[stores.near]\nurl = \"dotenv:near.env\"\n[stores.far]\nurl = \"dotenv:far.env\"\n\
                      [stores.odd]\nurl = \"dotenv:odd.env?nope=1\"\n[aliases]\nf = \"far\"\n";

/// Two files as stores, which change without keyfob.
struct Place {
    directory: TempDir,
    fake: FakeEnvironment,
}

impl Place {
    fn new(toml: &str) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let real = directory.path().canonicalize().unwrap();
        let fake = Environment::fake().host_files().home(&real).current_dir(&real);
        std::fs::write(directory.path().join("keyfob.toml"), format!("{toml}\n{STORES}")).unwrap();
        let place = Self { directory, fake };
        place.say("old");
        place
    }

    /// Changes all values of both stores.
    fn say(&self, what: &str) {
        for store in ["near", "far"] {
            let text = format!("A={store}-{what}\nTEAM_A={store}-{what}\n");
            std::fs::write(self.directory.path().join(format!("{store}.env")), text).unwrap();
        }
    }

    fn var(mut self, name: &str, value: &str) -> Self {
        self.fake = self.fake.var(name, value);
        self
    }

    fn builder(&self) -> SecretManagerBuilder {
        SecretManager::builder().environment(self.fake.clone().build())
    }
}

async fn read(manager: &SecretManager, reference: &str) -> String {
    manager.get(reference).await.unwrap().value.expose_str().unwrap().to_owned()
}

async fn freshness(manager: &SecretManager, reference: &str) -> Freshness {
    manager.get(reference).await.unwrap().metadata.origin.freshness
}

async fn read_all(manager: &SecretManager) -> Vec<String> {
    let mut all = Vec::new();
    for reference in ["A", "team/a", "${far:A}", "${far:team/a}"] {
        all.push(read(manager, reference).await);
    }
    all
}

#[test]
fn what_is_cleared_is_read_again_and_nothing_else() {
    block_on(async {
        let [near_old, near_new, far_old, far_new] = ["near-old", "near-new", "far-old", "far-new"];
        let cases: [(&str, [&str; 4]); 7] = [
            ("nothing", [near_old, near_old, far_old, far_old]),
            ("A", [near_new, near_old, far_old, far_old]),
            ("far:A", [near_old, near_old, far_new, far_old]),
            ("${f:A@previous#x}", [near_old, near_old, far_new, far_old]),
            ("secret team/", [near_old, near_new, far_old, far_old]),
            ("f ", [near_old, near_old, far_new, far_new]),
            ("all", [near_new, near_new, far_new, far_new]),
        ];
        for (what, expected) in cases {
            let place = Place::new("default = \"near\"");
            let manager = place.builder().build().await.unwrap();
            read_all(&manager).await;
            let cache = manager.cache();
            assert_eq!(cache.usage().entries, 4);
            place.say("new");
            assert!(match (what, what.split_once(' ')) {
                ("nothing", _) => true,
                ("all", _) => cache.clear_all(),
                (_, Some((scheme, prefix))) => cache.clear_prefix(scheme, prefix).unwrap(),
                (reference, None) => cache.clear(reference).await.unwrap(),
            });
            assert_eq!(read_all(&manager).await, expected, "{what}");
        }
    });
}

#[test]
fn a_list_forgets_with_its_stores_and_they_with_it() {
    block_on(async {
        for cleared in ["A", "near:A", "far:A"] {
            let place = Place::new("default = [\"near\", \"far\"]");
            let manager = place.builder().build().await.unwrap();
            for reference in ["A", "${near:A}"] {
                assert_eq!(read(&manager, reference).await, "near-old");
            }
            place.say("new");
            assert!(manager.cache().clear(cleared).await.unwrap());
            assert_eq!(read(&manager, "A").await, "near-new", "{cleared}");
            let near = if cleared == "far:A" { "near-old" } else { "near-new" };
            assert_eq!(read(&manager, "${near:A}").await, near, "{cleared}");
        }
    });
}

#[test]
fn where_nothing_is_kept_that_is_said_and_no_store_is_asked() {
    block_on(async {
        // Connecting Vault would fail.
        let off = Place::new("[cache]\nttl = \"0s\"").var("SECRET_PROVIDER", "vault");
        let off = off.builder().build_lazily().unwrap();
        let on = Place::new("[cache.names]\n\"live/*\" = { ttl = \"0s\" }");
        let given: Arc<dyn SecretStore> = Arc::new(MemoryStore::new());
        let given = on.builder().with_store("secret", given).build().await.unwrap();
        for manager in [&off, &given] {
            let cache = manager.cache();
            assert!(!cache.clear("A").await.unwrap());
            assert!(!cache.clear_prefix("secret", "").unwrap());
            let warmed = cache.warm(["A"]).await;
            assert_eq!(warmed[0].as_ref().unwrap_err().kind(), ErrorKind::Unsupported);
            assert_eq!(cache.usage(), CacheUsage::default());
        }
        assert!(!off.cache().clear_all());
        // Other stores have a cache, but not for such names.
        let warmed = given.cache().warm(["near:live/a", "near:A"]).await;
        assert_eq!(warmed[0].as_ref().unwrap_err().kind(), ErrorKind::Unsupported);
        assert!(warmed[1].is_ok());
    });
}

#[test]
fn what_is_warmed_is_at_hand_and_each_failure_stands_in_its_place() {
    block_on(async {
        let place = Place::new("default = \"near\"");
        let manager = place.builder().build().await.unwrap();
        let references = ["far:A", "a b/", "A", "MISSING", "${nope:A}", "odd:A", "far:team/a", "A"];
        let warmed = manager.cache().warm(references).await;
        let kinds: Vec<Option<ErrorKind>> = warmed.iter().map(|result| result.as_ref().err().map(Error::kind)).collect();
        let expected = [
            None,
            Some(ErrorKind::InvalidInput),
            None,
            Some(ErrorKind::NotFound),
            Some(ErrorKind::InvalidConfig),
            Some(ErrorKind::InvalidConfig),
            None,
            None,
        ];
        assert_eq!(kinds, expected);
        for reference in ["A", "${far:A}", "${f:team/a}"] {
            assert_eq!(freshness(&manager, reference).await, Freshness::Cache, "{reference}");
        }
        assert_eq!(freshness(&manager, "team/a").await, Freshness::Store);
    });
}

#[test]
fn a_start_warms_what_the_file_the_variable_or_code_lists() {
    block_on(async {
        let toml = "default = \"near\"\n[cache]\nwarm = [\"A\", \"${far:A}\"]\n[env.production.cache]\nwarm = []";
        let start = async |place: &Place| place.builder().build().await.unwrap().cache().usage().entries;
        assert_eq!(start(&Place::new(toml)).await, 2);
        assert_eq!(start(&Place::new(toml).var("SECRET_CACHE_WARM", "f:A, A ,team/a")).await, 3);
        assert_eq!(start(&Place::new(toml).var("KEYFOB_ENV", "production")).await, 0);
        assert_eq!(start(&Place::new(toml).var("SECRET_CACHE_TTL", "0")).await, 0);

        let place = Place::new(toml);
        let mut layers = LayerSettings::default();
        layers.cache.warm = vec!["team/a".to_owned()];
        let manager = place.builder().layers(layers).build().await.unwrap();
        assert_eq!(freshness(&manager, "team/a").await, Freshness::Cache);
        assert_eq!(freshness(&manager, "A").await, Freshness::Store);
        // As the command has it.
        let manager = place.builder().cache_ttl(Duration::ZERO).build().await.unwrap();
        assert!(manager.selection().layers.cache.warm.is_empty());
        let lazily = place.builder().build_lazily().unwrap();
        assert_eq!(lazily.cache().usage().entries, 0);
    });
}

#[test]
fn what_is_warmed_at_start_is_recorded_with_a_reason() {
    block_on(async {
        let toml = "default = \"near\"\n[cache]\nwarm = [\"A\", \"MISSING\"]\n[audit]\nmemory = 10\nreason_required = true";
        let place = Place::new(toml);
        let told = |manager: &SecretManager| -> Vec<(Verb, String)> {
            let records = manager.audit_records(&AuditFilter::default());
            let told = records
                .iter()
                .map(|record| (record.verb, record.reason.as_ref().unwrap().to_string()));
            told.collect()
        };
        let twice = |reason: &str| vec![(Verb::GetMany, reason.to_owned()); 2];
        assert_eq!(told(&place.builder().build().await.unwrap()), twice("the application starts"));
        let builder = place.builder().reason(Reason::new("ticket 42").unwrap());
        assert_eq!(told(&builder.build().await.unwrap()), twice("ticket 42"));
    });
}

#[test]
fn a_start_goes_on_without_what_can_not_be_warmed_and_tells_no_names() {
    let events = Events::default();
    let _guard = tracing::subscriber::set_default(events.clone());
    block_on(async {
        let toml = "default = \"near\"\n[cache]\nwarm = [\"GONE\", \"A\", \"f:GONE\", \"odd:A\", \"GONE2\"]";
        let place = Place::new(toml);
        let manager = place.builder().build().await.unwrap();
        assert_eq!(manager.cache().usage().entries, 1);
        let expected = [
            "store=\"f\" kind=\"not_found\" entries=[3]",
            "store=\"odd\" kind=\"invalid_config\" entries=[4]",
            "store=\"secret\" kind=\"not_found\" entries=[1, 5]",
        ];
        assert_eq!(events.take(), expected);
        place.builder().trace_names(true).build().await.unwrap();
        let told = events.take();
        assert!(told[2].ends_with("entries=[1, 5] names=\"GONE,GONE2\""), "{told:?}");
    });
}

#[test]
fn an_entry_that_can_never_be_warmed_is_an_error_that_says_where() {
    let wrong = |toml: &str| {
        let place = Place::new(toml);
        let error = place.builder().build_lazily().unwrap_err();
        assert_eq!(error.kind(), ErrorKind::InvalidConfig);
        error.to_string()
    };
    let error = wrong("[cache]\nwarm = [\"A\", \"${secret:A:-hunter2}\"]");
    assert!(error.starts_with("entry 2 of `cache.warm` of the file `"), "{error}");
    assert!(
        error.contains("a reference with a default") && !error.contains("hunter2"),
        "{error}"
    );
    for (toml, why) in [
        ("warm = [\"a/../b\"]", "it has the segment `..`"),
        ("warm = [\"${tame:A}\"]", "there is no store or provider `tame`"),
        ("warm = \"A\"", "`warm` is an array of references"),
        ("warm = [1]", "`warm` is a string"),
    ] {
        let error = wrong(&format!("[cache]\n{toml}"));
        assert!(error.contains(why), "{error}");
    }
    let place = Place::new("").var("SECRET_CACHE_WARM", "a,,b");
    let error = Selection::of(&place.fake.build(), &SelectOptions::default()).unwrap_err();
    let expected = "the variable `SECRET_CACHE_WARM` is not references with commas between them";
    assert!(error.to_string().starts_with(expected), "{error}");
}

#[test]
fn what_was_cleared_before_the_store_was_opened_is_not_believed_either() {
    block_on(async {
        let name = SecretName::new("A").unwrap();
        for (is_cleared, entries) in [(false, 1), (true, 0)] {
            let store = CacheLayer::new(Duration::from_secs(60)).build(Arc::new(MemoryStore::new()));
            store.put(&name, PutRequest::new("1")).await.unwrap();
            store.get(&name, &GetOptions::default()).await.unwrap();
            let handle = Handle::default();
            if is_cleared {
                assert!(handle.to_forget().is_none());
            }
            handle.set(store.clone());
            assert_eq!(store.usage().entries, entries);
        }
    });
}

/// The warnings of keyfob, as text.
#[derive(Debug, Clone, Default)]
struct Events(Arc<Mutex<Vec<String>>>);

impl Events {
    fn take(&self) -> Vec<String> {
        std::mem::take(&mut *self.0.lock().unwrap())
    }
}

impl tracing::Subscriber for Events {
    fn enabled(&self, metadata: &tracing::Metadata<'_>) -> bool {
        *metadata.level() == tracing::Level::WARN
    }

    fn new_span(&self, _: &tracing::span::Attributes<'_>) -> tracing::span::Id {
        tracing::span::Id::from_u64(1)
    }

    fn record(&self, _: &tracing::span::Id, _: &tracing::span::Record<'_>) {}

    fn record_follows_from(&self, _: &tracing::span::Id, _: &tracing::span::Id) {}

    fn event(&self, event: &tracing::Event<'_>) {
        let mut text = Text::default();
        event.record(&mut text);
        self.0.lock().unwrap().push(text.0.join(" "));
    }

    fn enter(&self, _: &tracing::span::Id) {}

    fn exit(&self, _: &tracing::span::Id) {}
}

#[derive(Default)]
struct Text(Vec<String>);

impl tracing::field::Visit for Text {
    fn record_debug(&mut self, field: &tracing::field::Field, value: &dyn fmt::Debug) {
        if field.name() != "message" {
            self.0.push(format!("{field}={value:?}"));
        }
    }
}

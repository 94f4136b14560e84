use keyfob_core::{Environment, GetOptions, PutRequest, SecretName, SecretStore as _, StoreUrl};
use keyfob_envelope::RawKey;
use tokio_postgres::{Client, NoTls};

use super::*;
use crate::key_config::KeyConfig;
use crate::postgres::PostgresStore;

/// What a later keyfob may do to the tables.
const SECOND: &str = "ALTER TABLE SCHEMA.secret ADD COLUMN note text; CREATE INDEX ON SCHEMA.secret (last)";
const NEXT: &[&str] = &[MIGRATIONS[0], SECOND];

struct Place {
    config: PostgresConfig,
    administrator: Client,
}

impl Place {
    async fn new(test: &str) -> Option<Self> {
        let server = keyfob_testkit::server(test, "KEYFOB_TEST_POSTGRES_URL")?;
        let schema = format!("kf_up_{}", keyfob_envelope::StoreId::generate().unwrap());
        let url = StoreUrl::parse(&format!("{server}?schema={schema}&timeout=5")).unwrap();
        let environment = Environment::fake().var("KEYFOB_KEY_FILE", "/nowhere").build();
        let mut config = PostgresConfig::from_url(&url, &environment).unwrap();
        config.key = KeyConfig::Source(Arc::new(RawKey::generate().unwrap()));
        config.state_dir = None;
        let (administrator, connection) = tokio_postgres::connect(&server, NoTls).await.unwrap();
        tokio::spawn(connection);
        let place = Self { config, administrator };
        place.run("DROP SCHEMA IF EXISTS SCHEMA CASCADE").await;
        Some(place)
    }

    async fn run(&self, sql: &str) {
        let sql = sql.replace("SCHEMA.", &format!("{}.", self.config.schema));
        let sql = sql.replace("EXISTS SCHEMA", &format!("EXISTS {}", self.config.schema));
        self.administrator.batch_execute(&sql).await.unwrap();
    }

    async fn layout(&self) -> i32 {
        let sql = format!("SELECT schema_version FROM {}.store", self.config.schema);
        self.administrator.query_one(&sql, &[]).await.unwrap().get(0)
    }

    async fn remove(self) {
        self.run("DROP SCHEMA IF EXISTS SCHEMA CASCADE").await;
    }
}

fn name() -> SecretName {
    SecretName::new("a").unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_older_layout_is_brought_up_to_date_once_and_keeps_its_secrets() {
    let test = "an_older_layout_is_brought_up_to_date_once_and_keeps_its_secrets";
    let Some(place) = Place::new(test).await else { return };
    let running = PostgresStore::create(place.config.clone()).await.unwrap();
    running.put(&name(), PutRequest::new("kfcanary-upgrade1")).await.unwrap();
    assert!(
        !PostgresStore::upgrade(&place.config).await.unwrap(),
        "there is nothing to do yet"
    );

    let attempts: Vec<_> = (0..4)
        .map(|_| {
            let config = place.config.clone();
            tokio::spawn(async move { Engine::upgrade(&config, NEXT).await.unwrap() })
        })
        .collect();
    let mut done = Vec::new();
    for attempt in attempts {
        done.extend(attempt.await.unwrap());
    }
    assert_eq!(done, [1], "of several at once one does it");
    assert_eq!(place.layout().await, 2);
    place.run("SELECT note FROM SCHEMA.secret").await;

    // This keyfob is the older one now: it refuses, and does not make a store over it.
    let says_so = |error: Error| {
        assert_eq!(error.kind(), ErrorKind::InvalidConfig, "{error}");
        assert!(error.hint().unwrap().contains("newer"), "{error:?}");
    };
    says_so(PostgresStore::open(place.config.clone()).await.unwrap_err());
    says_so(PostgresStore::create(place.config.clone()).await.unwrap_err());
    says_so(PostgresStore::upgrade(&place.config).await.unwrap_err());
    says_so(running.get(&name(), &GetOptions::default()).await.unwrap_err());
    says_so(running.put(&name(), PutRequest::new("kfcanary-upgrade2")).await.unwrap_err());

    place.run("UPDATE SCHEMA.store SET schema_version = 1").await;
    let secret = running.get(&name(), &GetOptions::default()).await.unwrap();
    assert!(secret.value.expose_secret() == b"kfcanary-upgrade1");
    assert!(running.verify().await.unwrap().problems.is_empty());
    place.remove().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_step_that_fails_leaves_everything_as_it_was() {
    let Some(place) = Place::new("a_step_that_fails_leaves_everything_as_it_was").await else {
        return;
    };
    let store = PostgresStore::create(place.config.clone()).await.unwrap();
    store.put(&name(), PutRequest::new("kfcanary-upgrade3")).await.unwrap();
    let steps = [MIGRATIONS[0], SECOND, "DELETE FROM SCHEMA.version; SELECT 1 / 0"];
    Engine::upgrade(&place.config, &steps).await.unwrap_err();
    assert_eq!(place.layout().await, 1);
    store.get(&name(), &GetOptions::default()).await.unwrap();
    Engine::upgrade(&place.config, &steps[..2]).await.unwrap();
    assert_eq!(place.layout().await, 2);
    place.remove().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_upgrade_waits_for_writers_and_not_for_good() {
    let Some(mut place) = Place::new("an_upgrade_waits_for_writers_and_not_for_good").await else {
        return;
    };
    place.config.timeout = std::time::Duration::from_secs(3);
    PostgresStore::create(place.config.clone()).await.unwrap();
    let lock = format!("SELECT pg_advisory_lock_shared({})", lock_key(&place.config.schema));
    place.run(&lock).await;
    let begin = std::time::Instant::now();
    let error = Engine::upgrade(&place.config, NEXT).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unavailable, "{error}");
    assert!(begin.elapsed().as_secs() < 9, "{:?}", begin.elapsed());
    assert_eq!(place.layout().await, 1);
    place.run(&lock.replace("_lock_", "_unlock_")).await;
    assert_eq!(Engine::upgrade(&place.config, NEXT).await.unwrap(), Some(1));
    place.remove().await;
}

#[test]
fn a_layout_is_older_newer_or_none_that_ever_was() {
    let told = |found| other_layout(found, 2).map(|error| (error.kind(), error.hint().unwrap_or_default().to_owned()));
    assert_eq!(told(2), None);
    assert!(told(1).is_some_and(|(kind, hint)| kind == ErrorKind::InvalidConfig && hint.contains("keyfob init")));
    assert!(told(3).is_some_and(|(kind, hint)| kind == ErrorKind::InvalidConfig && hint.contains("newer")));
    assert!(told(0).is_some_and(|(kind, _)| kind == ErrorKind::Corrupt));
}

//! A schema of its own for every test, removed at its end.

use std::path::PathBuf;
use std::time::Duration;

use keyfob_core::{Environment, StoreUrl};
use keyfob_envelope::RawKey;
use keyfob_sql::{KeyConfig, PostgresConfig, PostgresStore};
use tokio_postgres::{Client, NoTls};

/// The variable that names the server.
pub(crate) const SERVER: &str = "KEYFOB_TEST_POSTGRES_URL";

/// A schema, a key and a state directory that no other test has.
pub(crate) struct Place {
    pub(crate) schema: String,
    pub(crate) server: String,
    directory: tempfile::TempDir,
}

impl Place {
    /// `None`, said once, when there is no server.
    pub(crate) fn new(test: &str) -> Option<Self> {
        Self::at(test, SERVER)
    }

    /// At the server that a variable names.
    pub(crate) fn at(test: &str, variable: &str) -> Option<Self> {
        let server = keyfob_testkit::server(test, variable)?;
        let directory = tempfile::tempdir().unwrap();
        RawKey::create_file(directory.path().join("key")).unwrap();
        let random = directory.path().file_name().unwrap().to_str().unwrap().to_lowercase();
        let random: String = random.chars().filter(char::is_ascii_alphanumeric).collect();
        let schema = format!("kf_{random}_{}", std::process::id());
        Some(Self {
            schema,
            server,
            directory,
        })
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    pub(crate) fn key(&self) -> KeyConfig {
        KeyConfig::File(self.path("key"))
    }

    /// As an application on the machine `machine` would have it: every machine remembers for itself.
    pub(crate) fn config_on(&self, machine: &str) -> PostgresConfig {
        let url = StoreUrl::parse(&format!("{}?schema={}", self.server, self.schema)).unwrap();
        let environment = Environment::fake()
            .var("KEYFOB_KEY_FILE", self.path("key").to_str().unwrap())
            .build();
        let mut config = PostgresConfig::from_url(&url, &environment).unwrap();
        config.key = self.key();
        config.state_dir = Some(self.path(machine));
        config.timeout = Duration::from_secs(10);
        config
    }

    pub(crate) fn config(&self) -> PostgresConfig {
        self.config_on("state")
    }

    pub(crate) async fn create(&self) -> PostgresStore {
        PostgresStore::create(self.config()).await.unwrap()
    }

    pub(crate) async fn open(&self) -> PostgresStore {
        PostgresStore::open(self.config()).await.unwrap()
    }

    /// As the database's administrator.
    pub(crate) async fn administrator(&self) -> Client {
        connect(&self.server).await
    }

    /// Runs statements as the administrator; `S` before a dot is the schema.
    pub(crate) async fn tamper(&self, sql: &str) {
        let sql = sql.replace("S.", &format!("{}.", self.schema));
        self.administrator().await.batch_execute(&sql).await.unwrap();
    }

    /// After `before`, which removes what depends on the schema.
    pub(crate) async fn remove_with(self, before: impl AsyncFnOnce(&Self)) {
        before(&self).await;
        self.remove().await;
    }

    pub(crate) async fn remove(self) {
        self.tamper(&format!("DROP SCHEMA IF EXISTS {} CASCADE", self.schema)).await;
    }
}

pub(crate) async fn connect(url: &str) -> Client {
    let (client, connection) = tokio_postgres::connect(url, NoTls).await.unwrap();
    tokio::spawn(connection);
    client
}

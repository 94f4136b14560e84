//! The kinds of stores of the test bed, and a place of each that nobody else has.

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use keyfob::{Environment, FakeEnvironment, SecretStore, StoreUrl, backends};
use keyfob_envelope::RawKey;
use keyfob_integration_tests::servers::{self, Provider};
use keyfob_sql::{PostgresConfig, PostgresStore, SqlConfig, SqlStore};

/// A kind of store.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    Dotenv,
    Sqlite,
    Postgres,
    LocalStack,
    Moto,
    VaultKv2,
    VaultKv1,
    GcpDouble,
    Drongo,
    Azure,
    /// An object for each secret.
    KubernetesObjects,
    /// One object, whose keys are the secrets.
    KubernetesKeys,
}

/// A store of a kind, empty.
pub(crate) struct Place {
    /// The store, as `SECRET_PROVIDER` takes it.
    pub(crate) url: String,
    /// What is needed to connect it.
    pub(crate) environment: FakeEnvironment,
    variables: Vec<(&'static str, String)>,
    directory: tempfile::TempDir,
}

impl Kind {
    /// Makes a place; `None`, told, when there is no such server.
    pub(crate) async fn open(self, test: &'static str) -> Option<Place> {
        // A client of the cluster is made with a runtime of its own.
        let variables = tokio::task::spawn_blocking(move || self.variables(test)).await.unwrap()?;
        let directory = tempfile::tempdir().unwrap();
        let path = |name: &str| directory.path().join(name).display().to_string();
        RawKey::create_file(directory.path().join("key")).unwrap();
        let url = match self {
            Self::Dotenv => format!("dotenv:{}", path(".env")),
            Self::Sqlite => format!("sqlite:{}", path("secrets.db")),
            _ => match servers::store(&variables, self.provider()?) {
                name if !name.contains(':') => format!("{name}:"),
                url => url,
            },
        };
        let environment = Environment::fake()
            .host_files()
            .home(directory.path())
            .var("KEYFOB_KEY_FILE", path("key"))
            .var("KEYFOB_STATE_DIR", path("state"));
        let environment = variables
            .iter()
            .fold(environment, |fake, (name, value)| fake.var(*name, value.as_str()));
        let place = Place {
            url,
            environment,
            variables,
            directory,
        };
        place.create(self).await;
        Some(place)
    }

    fn variables(self, test: &str) -> Option<Vec<(&'static str, String)>> {
        let Some(provider) = self.provider() else {
            return Some(Vec::new());
        };
        let mut variables = servers::variables(test, provider)?;
        let mut set = |name, value| variables.iter_mut().find(|(known, _)| *known == name).unwrap().1 = value;
        if provider == Provider::Aws {
            set("AWS_SECRET_MANAGER_REGION", region(self));
        }
        if self == Self::Moto {
            set("AWS_ENDPOINT_URL", keyfob_testkit::server(test, "KEYFOB_TEST_MOTO_URL")?);
        }
        if self == Self::Drongo {
            let address = keyfob_testkit::server(test, "KEYFOB_TEST_DRONGO_URL")?;
            set("SECRET_PROVIDER", format!("gcp://keyfob-test?endpoint={address}"));
        }
        Some(variables)
    }

    fn provider(self) -> Option<Provider> {
        Some(match self {
            Self::Dotenv | Self::Sqlite => return None,
            Self::Postgres => Provider::Postgres,
            Self::LocalStack | Self::Moto => Provider::Aws,
            Self::VaultKv2 => Provider::Vault,
            Self::VaultKv1 => Provider::VaultKv1,
            Self::GcpDouble | Self::Drongo => Provider::Gcp,
            Self::Azure => Provider::Azure,
            Self::KubernetesObjects => Provider::Kubernetes,
            Self::KubernetesKeys => Provider::KubernetesObject,
        })
    }
}

impl Place {
    /// A path in a directory that goes with the place.
    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    /// A store that stands by, empty.
    pub(crate) fn standby(&self) -> String {
        format!("dotenv:{}", self.path("standby.env").display())
    }

    /// The store without layers.
    pub(crate) async fn store(&self) -> Arc<dyn SecretStore> {
        self.store_at(&self.url).await
    }

    /// Another store with the same environment.
    pub(crate) async fn store_at(&self, url: &str) -> Arc<dyn SecretStore> {
        let url = StoreUrl::parse(url).unwrap();
        let backend = backends::find(url.scheme()).unwrap();
        let environment = self.environment.clone().build();
        (backend.connect)(url, &environment).await.unwrap().store
    }

    /// Makes what has to be there before a store can be opened.
    async fn create(&self, kind: Kind) {
        let url = StoreUrl::parse(&self.url).unwrap();
        let environment = self.environment.clone().build();
        match kind {
            Kind::Sqlite => {
                let config = SqlConfig::from_url(&url, &environment).unwrap();
                drop(SqlStore::create(config).await.unwrap());
            }
            Kind::Postgres => {
                let config = PostgresConfig::from_url(&url, &environment).unwrap();
                drop(PostgresStore::create(config).await.unwrap());
            }
            _ => {}
        }
    }

    /// Removes what is no secret.
    pub(crate) async fn clean_up(self) {
        let Self { variables, .. } = self;
        tokio::task::spawn_blocking(move || servers::remove(&variables))
            .await
            .unwrap();
    }
}

/// Another one each time, as far as they go: moto, of which LocalStack is made, looks through all secrets of a region without
/// minding those that are made meanwhile, and then answers with a 500.
fn region(server: Kind) -> String {
    static NUMBERS: [AtomicUsize; 2] = [const { AtomicUsize::new(0) }; 2];
    const REGIONS: [&str; 12] = [
        "us-east-1",
        "us-east-2",
        "us-west-1",
        "us-west-2",
        "ca-central-1",
        "sa-east-1",
        "eu-central-1",
        "eu-west-1",
        "eu-west-2",
        "eu-west-3",
        "eu-north-1",
        "ap-south-1",
    ];
    let number = NUMBERS[usize::from(server == Kind::Moto)].fetch_add(1, Ordering::Relaxed);
    REGIONS[number % REGIONS.len()].to_owned()
}

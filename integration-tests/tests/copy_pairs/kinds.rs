//! The kinds of stores, and a place of each that nobody else has.

use std::sync::Arc;

use keyfob::{Environment, MemoryStore, SecretStore, StoreUrl, backends};
use keyfob_core::{Layer as _, RetryLayer};
use keyfob_integration_tests::servers::{self, Provider};

use crate::secrets::Sample;

/// A kind of store.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    Memory,
    Dotenv,
    Sqlite,
    Postgres,
    Aws,
    VaultKv2,
    VaultKv1,
    Gcp,
    Azure,
    /// An object for each secret.
    KubernetesObjects,
    /// One object, whose keys are the secrets.
    KubernetesKeys,
}

/// A store of a kind, empty.
pub(crate) struct Place {
    pub(crate) store: Arc<dyn SecretStore>,
    /// Whether [`Place::clean_up`] takes the secrets too.
    pub(crate) goes_as_a_whole: bool,
    variables: Vec<(&'static str, String)>,
    _directory: tempfile::TempDir,
}

impl Kind {
    pub(crate) const ALL: [Self; 11] = [
        Self::Memory,
        Self::Dotenv,
        Self::Sqlite,
        Self::Postgres,
        Self::Aws,
        Self::VaultKv2,
        Self::VaultKv1,
        Self::Gcp,
        Self::Azure,
        Self::KubernetesObjects,
        Self::KubernetesKeys,
    ];

    /// Makes a place; `None`, told, when there is no such server.
    pub(crate) async fn open(self, test: &str) -> Option<Place> {
        let directory = tempfile::tempdir().unwrap();
        let path = |name: &str| directory.path().join(name).display().to_string();
        let mut variables = match self.provider() {
            Some(provider) => servers::variables(test, provider)?,
            None => Vec::new(),
        };
        let url = match self {
            Self::Memory => {
                return Some(Place {
                    store: Arc::new(MemoryStore::new()),
                    goes_as_a_whole: true,
                    variables,
                    _directory: directory,
                });
            }
            Self::Dotenv => format!("dotenv:{}", path(".env")),
            Self::Sqlite => format!("sqlite:{}", path("secrets.db")),
            _ => match servers::store(&variables, self.provider()?) {
                name if !name.contains(':') => format!("{name}:"),
                url => url,
            },
        };
        if matches!(self, Self::Sqlite | Self::Postgres) {
            let key = path("key");
            keyfob_envelope::RawKey::create_file(std::path::Path::new(&key)).unwrap();
            variables.extend([("KEYFOB_KEY_FILE", key), ("KEYFOB_STATE_DIR", path("state"))]);
        }
        let fake = Environment::fake().host_files().home(directory.path());
        let fake = variables
            .iter()
            .fold(fake, |fake, (name, value)| fake.var(*name, value.as_str()));
        let environment = fake.build();
        let url = StoreUrl::parse(&url).unwrap();
        match self {
            Self::Sqlite => {
                let config = keyfob_sql::SqlConfig::from_url(&url, &environment).unwrap();
                drop(keyfob_sql::SqlStore::create(config).await.unwrap());
            }
            Self::Postgres => {
                let config = keyfob_sql::PostgresConfig::from_url(&url, &environment).unwrap();
                drop(keyfob_sql::PostgresStore::create(config).await.unwrap());
            }
            _ => {}
        }
        let backend = backends::find(url.scheme()).unwrap();
        // A server that is out of breath is asked again, as it is in every application.
        let store = RetryLayer::default().layer((backend.connect)(url, &environment).await.unwrap().store);
        Some(Place {
            store,
            goes_as_a_whole: !matches!(self, Self::Aws | Self::VaultKv2 | Self::Gcp | Self::Azure),
            variables,
            _directory: directory,
        })
    }

    fn provider(self) -> Option<Provider> {
        Some(match self {
            Self::Memory | Self::Dotenv | Self::Sqlite => return None,
            Self::Postgres => Provider::Postgres,
            Self::Aws => Provider::Aws,
            Self::VaultKv2 => Provider::Vault,
            Self::VaultKv1 => Provider::VaultKv1,
            Self::Gcp => Provider::Gcp,
            Self::Azure => Provider::Azure,
            Self::KubernetesObjects => Provider::Kubernetes,
            Self::KubernetesKeys => Provider::KubernetesObject,
        })
    }

    /// What can be asked of it in a test. The server keeps every state of an object for minutes: a thousand states of one that
    /// is a quarter of a megabyte fill it.
    pub(crate) fn is_reasonable(self, sample: &Sample) -> bool {
        self != Self::KubernetesKeys || sample.traits().value_bytes < 40_000
    }

    /// Whether this kind has to keep the secret, as its service's documentation has it; `None`: that depends on more than is
    /// looked at here.
    pub(crate) fn must_keep(self, sample: &Sample) -> Option<bool> {
        let secret = sample.traits();
        let keeps_bytes = !matches!(self, Self::Dotenv | Self::VaultKv1 | Self::VaultKv2 | Self::Azure);
        let most_bytes = match self {
            Self::Aws | Self::Gcp => 65_536,
            Self::Azure => 25_600,
            _ => 1 << 20,
        };
        let keeps_value = (secret.text || keeps_bytes) && secret.value_bytes <= most_bytes;
        if !keeps_value {
            return Some(false);
        }
        // Who keeps no empty value and which texts a `.env` file can't hold is the adapter's page to say.
        if secret.value_bytes == 0 || self == Self::Dotenv {
            return None;
        }
        match self {
            Self::Memory | Self::Sqlite | Self::Postgres => Some(true),
            // The prefix counts too.
            Self::Aws => (secret.portable && secret.name_bytes <= 400).then_some(true),
            Self::VaultKv2 | Self::VaultKv1 => (secret.portable && secret.name_bytes <= 100).then_some(true),
            // An alphabet that is smaller, so that names get longer.
            Self::Gcp | Self::Azure | Self::KubernetesObjects | Self::KubernetesKeys => {
                (secret.portable && secret.name_bytes <= 40).then_some(true)
            }
            Self::Dotenv => None,
        }
    }
}

impl Place {
    /// Removes what is no secret.
    pub(crate) async fn clean_up(self) {
        let Self {
            store,
            variables,
            _directory,
            ..
        } = self;
        drop(store);
        tokio::task::spawn_blocking(move || servers::remove(&variables))
            .await
            .unwrap();
    }
}

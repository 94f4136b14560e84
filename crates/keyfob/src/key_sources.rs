//! Keys in services that protect the encrypted store: which there are, and how they are connected.
//!
//! The adapters know nothing of each other: the store takes any key source, the services each offer one, and they meet
//! here.

use std::sync::Arc;

use keyfob_core::{Backend, Connected, Environment, Error, ErrorKind, Result, nearest};
use keyfob_envelope::KeySource;
use keyfob_sql::{KeyConfig, KeySourceName};
#[cfg(feature = "postgres")]
use keyfob_sql::{PostgresConfig, PostgresStore};
#[cfg(feature = "sqlite")]
use keyfob_sql::{SqlConfig, SqlStore};

/// A kind of key source that keyfob knows.
#[derive(Debug, Clone, Copy)]
#[non_exhaustive]
pub struct KeySourceKind {
    /// The word before `:`.
    pub kind: &'static str,
    /// How it is written.
    pub form: &'static str,
    /// What it is, in one line.
    pub summary: &'static str,
    /// Whether this build has it.
    pub built_in: bool,
}

/// The kinds of key sources that keyfob knows.
pub const KINDS: &[KeySourceKind] = &[
    KeySourceKind {
        kind: "vault-transit",
        form: "vault-transit:KEY@MOUNT",
        summary: "a key of the transit engine of HashiCorp Vault or OpenBao; without a mount, of `transit`",
        built_in: cfg!(feature = "vault"),
    },
    KeySourceKind {
        kind: "aws-kms",
        form: "aws-kms:KEY",
        summary: "a symmetric key of AWS KMS: `alias/NAME`, a key id, or an ARN",
        built_in: cfg!(feature = "aws"),
    },
];

/// The embedded store, with keys in services.
#[cfg(feature = "sqlite")]
pub(crate) const SQLITE: Backend = Backend {
    connect: |url, environment| {
        Box::pin(async move {
            let store = open(SqlConfig::from_url(&url, environment)?, environment).await?;
            Ok(Connected::new(store))
        })
    },
    ..keyfob_sql::BACKEND
};

/// The store in PostgreSQL, with keys in services.
#[cfg(feature = "postgres")]
pub(crate) const POSTGRES: Backend = Backend {
    connect: |url, environment| {
        Box::pin(async move {
            let store = open_postgres(PostgresConfig::from_url(&url, environment)?, environment).await?;
            Ok(Connected::new(store))
        })
    },
    ..keyfob_sql::BACKEND_POSTGRES
};

/// Opens an encrypted store in PostgreSQL, and connects its key source if the key is in a service.
///
/// # Errors
/// Those of [`connect`] and of [`PostgresStore::open`].
#[cfg(feature = "postgres")]
pub async fn open_postgres(mut config: PostgresConfig, environment: &Environment) -> Result<PostgresStore> {
    config.key = connected(config.key, environment).await?;
    PostgresStore::open(config).await
}

/// Opens an encrypted store in a file, and connects its key source if the key is in a service.
///
/// # Errors
/// Those of [`connect`] and of [`SqlStore::open`].
#[cfg(feature = "sqlite")]
pub async fn open(mut config: SqlConfig, environment: &Environment) -> Result<SqlStore> {
    // Where there is no store, no service is asked for its key: opening says that there is none.
    if environment.status(&config.path).is_ok() {
        config.key = connected(config.key, environment).await?;
    }
    SqlStore::open(config).await
}

/// The key with its source connected, if it is in a service; any other key as it is.
///
/// # Errors
/// Those of [`connect`].
pub async fn connected(key: KeyConfig, environment: &Environment) -> Result<KeyConfig> {
    match key {
        KeyConfig::Named(name) => connect(&name, environment).await.map(KeyConfig::Source),
        other => Ok(other),
    }
}

/// Connects a key source. Its address and credentials are those of the store of the same provider, from the environment.
///
/// # Errors
/// - `InvalidConfig`: there is no such kind, the key can't be one, or the provider's configuration is wrong.
/// - `Unsupported`: this build does not have it.
/// - Those of connecting to the service.
#[cfg_attr(
    not(any(feature = "aws", feature = "vault")),
    expect(unused_variables, reason = "a build without services has nobody to show it to")
)]
pub async fn connect(name: &KeySourceName, environment: &Environment) -> Result<Arc<dyn KeySource>> {
    let source = match name.kind() {
        #[cfg(feature = "vault")]
        keyfob_vault::TransitKeySource::KIND => vault(name, environment).await,
        #[cfg(feature = "aws")]
        keyfob_aws::KmsKeySource::KIND => aws(name, environment).await,
        kind => Err(absent(kind)),
    };
    source.map_err(|error| error.with("key_source", name.to_string()))
}

#[cfg(feature = "vault")]
async fn vault(name: &KeySourceName, environment: &Environment) -> Result<Arc<dyn KeySource>> {
    use keyfob_core::StoreUrl;
    use keyfob_vault::{Transit, TransitKeySource, Vault, VaultConfig};
    let (key, mount) = name.which().split_once('@').unwrap_or((name.which(), Transit::DEFAULT_MOUNT));
    let config = VaultConfig::from_url(&StoreUrl::of_scheme("vault")?, environment)?;
    let transit = Transit::new(Vault::connect(&config).await?, mount)?;
    Ok(Arc::new(TransitKeySource::new(transit, key)?))
}

#[cfg(feature = "aws")]
async fn aws(name: &KeySourceName, environment: &Environment) -> Result<Arc<dyn KeySource>> {
    let source = keyfob_aws::KmsKeySource::connect(name.which(), environment).await?;
    Ok(Arc::new(source))
}

fn absent(kind: &str) -> Error {
    if KINDS.iter().any(|known| known.kind == kind) {
        return Error::new(ErrorKind::Unsupported, format!("this build has no key source `{kind}`"));
    }
    let error = Error::new(ErrorKind::InvalidConfig, format!("there is no kind of key source `{kind}`"));
    match nearest(kind, KINDS.iter().map(|known| known.kind)).first() {
        Some(near) => error.with_hint(format!("did you mean `{near}`?")),
        None => {
            let forms: Vec<String> = KINDS.iter().map(|known| format!("`{}`", known.form)).collect();
            error.with_hint(format!("there are {}", forms.join(" and ")))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn an_unknown_kind_is_met_with_the_nearest_one() {
        let environment = Environment::fake().build();
        for (text, hint) in [
            ("vault-transti:app", "did you mean `vault-transit`?"),
            ("zzzzzz:app", "there are `vault-transit:KEY@MOUNT` and `aws-kms:KEY`"),
        ] {
            let name = KeySourceName::parse(text).unwrap();
            let error = connect(&name, &environment).await.unwrap_err();
            assert_eq!((error.kind(), error.hint()), (ErrorKind::InvalidConfig, Some(hint)));
        }
    }

    #[cfg(feature = "sqlite")]
    #[tokio::test]
    async fn a_store_that_is_not_there_is_not_looked_for_in_a_service() {
        let url = keyfob_core::StoreUrl::parse("sqlite:/nowhere/x.db?key-source=vault-transit:app").unwrap();
        let environment = Environment::fake().build();
        let error = (SQLITE.connect)(url, &environment).await.err().unwrap();
        assert_eq!(error.kind(), ErrorKind::NotFound, "{error}");
    }
}

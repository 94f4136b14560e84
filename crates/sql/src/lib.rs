#![cfg_attr(feature = "sqlite", doc = include_str!("../README.md"))]
#![cfg_attr(not(feature = "sqlite"), doc = "keyfob's own encrypted secret store in a SQL database.")]

#[cfg(all(feature = "audit", any(feature = "sqlite", feature = "postgres")))]
mod audit_table;
#[cfg(feature = "sqlite")]
mod backup;
mod blocking;
#[cfg(feature = "sqlite")]
mod config;
#[cfg(feature = "sqlite")]
mod engine;
mod error;
mod integrity;
mod key_config;
mod key_source_name;
mod keyring;
mod keys;
mod limits;
mod pages;
#[cfg(feature = "postgres")]
mod postgres;
#[cfg(feature = "sqlite")]
mod preview;
mod reading;
mod record_file;
#[cfg(feature = "sqlite")]
mod remembered;
#[cfg(feature = "sqlite")]
mod restore;
#[cfg(feature = "sqlite")]
mod root;
#[cfg(feature = "sqlite")]
mod root_tables;
#[cfg(feature = "sqlite")]
mod root_writing;
#[cfg(feature = "sqlite")]
mod rotate;
mod rotation;
mod rows;
#[cfg(feature = "sqlite")]
mod sqlite;
#[cfg(feature = "sqlite")]
mod store;
mod tables;
mod verified;
mod verify;
mod writing;

#[cfg(any(feature = "sqlite", feature = "postgres"))]
use keyfob_core::{Backend, Connected};

#[cfg(all(feature = "audit", any(feature = "sqlite", feature = "postgres")))]
pub use audit_table::{audit_table, audit_table_to_read};
#[cfg(feature = "sqlite")]
pub use backup::BackupReport;
#[cfg(feature = "sqlite")]
pub use config::SqlConfig;
pub use key_config::KeyConfig;
pub use key_source_name::KeySourceName;
#[cfg(feature = "postgres")]
pub use postgres::{PostgresConfig, PostgresStore, PostgresTls};
#[cfg(all(feature = "postgres", feature = "rotation"))]
pub use postgres::{PostgresRotator, PostgresServer};
#[cfg(feature = "sqlite")]
pub use preview::{ChangedSecret, RestorePreview, VersionsOf};
pub use rotation::{KeyStatus, RotateStep};
#[cfg(feature = "sqlite")]
pub use store::SqlStore;
pub use verify::VerifyReport;

/// The embedded store in a SQLite file.
#[cfg(feature = "sqlite")]
pub const BACKEND: Backend = Backend {
    scheme: engine::SCHEME,
    aliases: &[],
    summary: "keyfob's own encrypted store in a SQLite file",
    url_help: "sqlite:FILE",
    parameters: SqlConfig::PARAMETERS,
    identity: None,
    place: None,
    connect: |url, environment| {
        Box::pin(async move {
            let store = SqlStore::open(SqlConfig::from_url(&url, environment)?).await?;
            Ok(Connected::new(store))
        })
    },
};

/// The embedded store in PostgreSQL.
#[cfg(feature = "postgres")]
pub const BACKEND_POSTGRES: Backend = Backend {
    scheme: postgres::SCHEME,
    aliases: &["postgresql"],
    summary: "keyfob's own encrypted store in PostgreSQL",
    url_help: "postgres://USER@HOST/DATABASE",
    parameters: PostgresConfig::PARAMETERS,
    identity: Some(|url, environment| Ok(PostgresConfig::from_url(url, environment)?.identity())),
    place: None,
    connect: |url, environment| {
        Box::pin(async move {
            let store = PostgresStore::open(PostgresConfig::from_url(&url, environment)?).await?;
            Ok(Connected::new(store))
        })
    },
};

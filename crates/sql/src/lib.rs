#![doc = include_str!("../README.md")]

mod backup;
mod config;
mod engine;
mod error;
mod integrity;
mod key_source_name;
mod keyring;
mod preview;
mod reading;
mod remembered;
mod restore;
mod rotate;
mod rows;
mod sqlite;
mod store;
mod tables;
mod verified;
mod verify;
mod writing;

use std::sync::Arc;

use keyfob_core::{Backend, SecretStore};

pub use backup::BackupReport;
pub use config::{KeyConfig, SqlConfig};
pub use key_source_name::KeySourceName;
pub use preview::{ChangedSecret, RestorePreview, VersionsOf};
pub use rotate::{KeyStatus, RotateStep};
pub use store::SqlStore;
pub use verify::VerifyReport;

/// The embedded store in a SQLite file.
pub const BACKEND: Backend = Backend {
    scheme: engine::SCHEME,
    aliases: &[],
    summary: "keyfob's own encrypted store in a SQLite file",
    url_help: "sqlite:FILE",
    parameters: SqlConfig::PARAMETERS,
    connect: |url, environment| {
        Box::pin(async move {
            let store = SqlStore::open(SqlConfig::from_url(&url, environment)?).await?;
            Ok(Arc::new(store) as Arc<dyn SecretStore>)
        })
    },
};

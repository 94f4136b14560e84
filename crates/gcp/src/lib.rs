#![doc = include_str!("../README.md")]

mod config;
mod crc32c;
mod credentials;
mod error;
mod machine;
mod names;
mod notes;
mod permissions;
mod ranges;
mod store;
mod transport;

use keyfob_core::{Backend, Connected};

pub use config::{CredentialSource, GcpConfig};
pub use store::GcpStore;

/// Google Cloud Secret Manager: `gcp://PROJECT`, or `gcp:` for the project of the environment.
pub const BACKEND: Backend = Backend {
    scheme: store::SCHEME,
    aliases: &[],
    summary: "Google Cloud Secret Manager",
    url_help: "gcp://PROJECT, gcp://PROJECT/LOCATION",
    parameters: GcpConfig::PARAMETERS,
    identity: Some(|url, environment| credentials::described(&GcpConfig::from_url(url, environment)?)),
    place: Some(config::place),
    connect: |url, environment| {
        Box::pin(async move {
            let store = GcpStore::connect(&GcpConfig::from_url(&url, environment)?).await?;
            Ok(Connected::new(store))
        })
    },
};

#![doc = include_str!("../README.md")]

mod client;
mod config;
mod credentials;
mod error;
mod http;
mod names;
mod permissions;
mod problem;
mod store;

use keyfob_core::{Backend, Connected};

pub use config::{Application, AzureConfig, AzureCredential, AzureIdentity, VaultAddress, describe_identity};
pub use store::AzureStore;

/// Azure Key Vault: `azure://VAULT`, or `azure:` for the vault of the environment.
pub const BACKEND: Backend = Backend {
    scheme: store::SCHEME,
    aliases: &[],
    summary: "Azure Key Vault",
    url_help: "azure://VAULT, or azure: with `AZURE_KEYVAULT_URL`",
    parameters: AzureConfig::PARAMETERS,
    identity: Some(describe_identity),
    place: Some(config::place),
    connect: |url, environment| {
        Box::pin(async move {
            let store = AzureStore::connect(&AzureConfig::from_url(&url, environment)?)?;
            Ok(Connected::new(store))
        })
    },
};

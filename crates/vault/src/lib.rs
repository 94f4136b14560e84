#![doc = include_str!("../README.md")]

mod auth;
mod client;
mod config;
mod error;
mod key_source;
mod kv;
mod kv1;
mod kv2;
mod lease;
mod listing;
mod store;
mod transit;

use keyfob_core::{Backend, Connected};

pub use auth::TokenInfo;
pub use client::{ServerHealth, Vault};
pub use config::{
    Address, AuthConfig, CertificateAuthority, ClientIdentity, KvVersion, SecretSource, TlsConfig, VaultConfig, Verification,
};
pub use key_source::TransitKeySource;
pub use lease::Lease;
pub use store::VaultStore;
pub use transit::{HashAlgorithm, RsaPadding, SignOptions, Transit, TransitKey, TransitKeyType};

/// A KV mount of a HashiCorp Vault or OpenBao server.
pub const BACKEND: Backend = Backend {
    scheme: kv::SCHEME,
    aliases: &["openbao"],
    summary: "HashiCorp Vault or OpenBao, KV version 1 or 2",
    url_help: "vault://HOST[:PORT][/MOUNT], or vault:[MOUNT] with `VAULT_ADDR`",
    parameters: VaultConfig::PARAMETERS,
    identity: Some(|url, environment| Ok(VaultConfig::from_url(url, environment)?.auth.described())),
    place: None,
    connect: |url, environment| {
        Box::pin(async move {
            let store = VaultStore::connect(&VaultConfig::from_url(&url, environment)?).await?;
            Ok(Connected::new(store))
        })
    },
};

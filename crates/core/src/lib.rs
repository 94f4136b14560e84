#![doc = include_str!("../README.md")]

mod capabilities;
mod error;
mod layer;
mod memory;
mod name;
mod options;
mod secret;
mod store;
mod value;

pub use capabilities::{Capabilities, NameRule};
pub use error::{Error, ErrorKind, Result};
pub use layer::{Layer, stack};
pub use memory::MemoryStore;
pub use name::SecretName;
pub use options::{
    Change, DeleteMode, DeleteOptions, Deleted, Expired, GetOptions, GetRequest, ListOptions, Page, PageRequest, PageToken,
    PutMode, PutRequest, VersionSelector,
};
pub use secret::{Freshness, Metadata, Origin, Secret, Version, VersionInfo};
pub use store::{Health, SecretStore, StoreInfo};
pub use value::SecretValue;

/// Re-exported for implementors of [`SecretStore`].
pub use async_trait::async_trait;

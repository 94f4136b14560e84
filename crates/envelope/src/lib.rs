#![doc = include_str!("../README.md")]

mod context;
mod crypto;
mod ids;
mod kek;
mod key_file;
mod passphrase;
mod raw_key;
mod sealed;
mod slot;
mod source;
#[cfg(test)]
mod vectors;

pub use context::Context;
pub use ids::{KekId, StoreId};
pub use kek::KeyEncryptionKey;
pub use passphrase::{Passphrase, PassphraseCost};
pub use raw_key::RawKey;
pub use sealed::{Sealed, kek_of};
pub use slot::KeySlot;
pub use source::{KeySource, KeySourceId};

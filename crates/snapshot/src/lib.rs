#![doc = include_str!("../README.md")]

mod archive;
mod blocking;
mod create;
mod depot;
mod diff;
mod directory;
mod document;
mod draft;
mod error;
mod id;
mod index;
mod layout;
mod manifest;
mod options;
mod pack;
mod record;
mod restore;
mod retention;
mod snapshot;
mod store;

pub use depot::SnapshotDepot;
pub use diff::{ChangeKind, SecretChange};
pub use directory::{Listed, SnapshotDirectory};
pub use id::{Digest, SnapshotId};
pub use manifest::{Base, Keeps, Manifest, SecretEntry, Summary};
pub use options::{CreateOptions, DEFAULT_CONCURRENCY, Parent};
pub use restore::{RestoreOptions, RestorePlan, Restored};
pub use retention::{BEFORE_MIGRATION, Decision, Keep, Retention};
pub use snapshot::{Snapshot, Verified};
pub use store::SnapshotStore;

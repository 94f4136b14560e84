#![doc = include_str!("../README.md")]

mod assignments;
mod audit;
pub mod backends;
pub mod detect;
mod flatten;
pub mod format;
mod interpolation;
#[cfg(any(feature = "sqlite", feature = "postgres"))]
pub mod key_sources;
mod layers;
mod load;
mod manager;
#[cfg(feature = "rotation")]
mod policies;
pub mod project;
mod resolve;
pub mod rewrite;
pub mod select;
mod shared;
mod template;
mod tree;
pub mod variables;
mod watch;

pub use assignments::Assignments;
pub use audit::{AuditSettings, AuditStore};
pub use flatten::flatten;
#[cfg(feature = "rotation")]
#[doc(inline)]
pub use keyfob_rotation as rotation;
#[cfg(feature = "snapshot")]
#[doc(inline)]
pub use keyfob_snapshot as snapshot;
pub use layers::{CacheSettings, LayerSettings, RotationSettings, SnapshotSettings};
#[cfg(feature = "snapshot")]
pub use manager::Snapshots;
pub use manager::{Caches, MemberHealth, SecretManager, SecretManagerBuilder, parse_secret};
#[cfg(feature = "rotation")]
pub use policies::{POLICIES_FILE_NAME, policies};
pub use project::Project;
pub use resolve::{MAX_CONFIGURATION_BYTES, load, read_configuration};
pub use select::{SelectOptions, Selection};
pub use shared::RedisSettings;
pub use template::Template;
pub use watch::{Occasions, SecretStream};

#[doc(inline)]
pub use keyfob_core::*;

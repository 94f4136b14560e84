//! Snapshots of a store in memory, in directories that are thrown away.
#![expect(clippy::unwrap_used, reason = "a test that fails panics")]

mod chain;
mod content;
mod damage;
mod depot;
mod directory;
mod restore;
mod world;

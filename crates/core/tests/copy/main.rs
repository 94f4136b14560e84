//! Copying between stores, and between stores that fail.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

mod batches;
mod journal;
mod limits;
mod outcomes;
mod races;
mod support;
mod undo;

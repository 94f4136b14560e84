//! Migrations by real processes, over real servers: killed on the way, while the target dies, and how much memory they need.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

mod chain;
mod dead_target;
mod memory;
mod world;

//! The engine against doubles of stores and of the systems that secrets are for.
#![expect(clippy::unwrap_used, reason = "a test that fails panics")]

mod audited;
mod changes;
mod crash;
mod fencing;
mod flow;
mod layered;
mod leases;
mod runner;
mod stores;
mod systems;
mod waiting;
mod world;

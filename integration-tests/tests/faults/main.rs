//! Every verb of every store, each against each fault. Of a store on a network, through the fault proxy: on every request and
//! on each request of the verb alone; what must hold is said in `suite.rs`. Of a store in a file: before it is opened and beneath
//! it; what must hold is said in `files.rs`.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

mod aws;
mod azure;
mod bed;
mod command_line;
mod dotenv;
mod files;
mod gcp;
mod harm;
mod kubernetes;
mod memory;
mod postgres;
mod spoil;
mod sqlite;
mod suite;
mod vault;
mod verb;

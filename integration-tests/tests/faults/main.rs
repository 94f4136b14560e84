//! Every verb of every store on a network, through the fault proxy: each verb against each fault, on every request and on each
//! request of the verb alone. What must hold is said in `suite.rs`.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

mod aws;
mod azure;
mod bed;
mod command_line;
mod gcp;
mod kubernetes;
mod spoil;
mod suite;
mod vault;
mod verb;

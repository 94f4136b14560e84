//! Measures keyfob's layers: reads that are answered from memory, audited reads, and the memory that they take.
//!
//! Other people's caches are measured by the same means in the same run: `benches/peers` gives them to [`main`]. They are
//! in another workspace, because of what they bring.

mod contestant;
mod durable;
mod full;
mod group_commit;
mod memory;
mod recorder;
pub mod report;
pub mod sample;
mod timing;

use std::process::ExitCode;

pub use contestant::{Contestant, Reader};
pub use full::{Fixture, VALUE_BYTES};
use report::{Goal, Report, say};
use sample::Effort;

/// What can go wrong here is fatal and for developers' eyes.
pub type Outcome<T = ()> = Result<T, Box<dyn std::error::Error>>;

/// Someone whose reads are held against keyfob's.
pub struct Peer {
    /// What it is called, with its version.
    pub title: String,
    /// Whose reads are timed.
    pub contestant: Contestant,
    /// What keyfob's reads have to be beside its own.
    pub goal: Goal,
}

/// Measures everything: `--quick` takes few samples, to show that the measurements run; `--write` also replaces
/// `docs/src/benchmarks-layers.md` and its plot. `peers` fill themselves with what the fixture has.
pub fn main(peers: impl FnOnce(&Fixture) -> Outcome<Vec<Peer>>) -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    match run(&arguments, peers) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            say(&format!("error: {error}"));
            ExitCode::FAILURE
        }
    }
}

fn run(arguments: &[String], peers: impl FnOnce(&Fixture) -> Outcome<Vec<Peer>>) -> Outcome {
    // Started by `memory::measure`.
    if let [command, what, number] = arguments
        && command == "--memory"
    {
        return memory::child(what, number.parse()?);
    }
    let effort = Effort::of(arguments);
    let mut report = Report::default();
    // First, while no other measurement has left dirty pages behind.
    durable::measure(&mut report, effort)?;
    memory::measure(&mut report, effort)?;
    let fixture = Fixture::new();
    let peers = peers(&fixture)?;
    full::measure(&mut report, &fixture, &peers, effort)?;
    report.print();
    if arguments.iter().any(|argument| argument == "--write") {
        let command = "cargo xtask bench --only-layers --write";
        report.write("benchmarks-layers", "Benchmarks of the layers", command, "")?;
    }
    Ok(())
}

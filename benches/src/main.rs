//! Measures keyfob beside what it is compared with, in one run, and writes the page of results.
//!
//! `cargo xtask bench` builds everything with optimisation and runs this; `--write` also replaces
//! `docs/src/benchmarks.md` and its plot. `--quick` takes few samples, to show that the measurements run. `--only-clouds`
//! leaves out all that needs no server, and `--only-migration` measures migrations alone and writes `docs/src/benchmarks-migration.md`.

mod clouds;
mod migration;
mod scan;
mod start;
mod store;

use std::process::ExitCode;

use keyfob_bench_layers::{Outcome, report, sample};

use report::Report;
use sample::Effort;

fn main() -> ExitCode {
    match run() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            report::say(&format!("error: {error}"));
            ExitCode::FAILURE
        }
    }
}

fn run() -> Outcome {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    // Started by `store::processes_writing`.
    if let [command, directory, writer] = arguments.as_slice()
        && command == "--writer"
    {
        return store::writer(directory.as_ref(), writer.parse()?);
    }
    let effort = Effort::of(&arguments);
    let mut report = Report::default();
    let is_given = |switch: &str| arguments.iter().any(|argument| argument == switch);
    if is_given("--only-migration") {
        return only_migration(&mut report, effort, is_given("--write"));
    }
    if !arguments.iter().any(|argument| argument == "--only-clouds") {
        let prepared = start::Prepared::new(effort)?;
        scan::measure(&mut report, effort);
        store::measure(&mut report, effort)?;
        start::measure(&mut report, effort, &prepared)?;
    }
    let clouds = clouds::measure(&mut report, effort);
    report.print();
    clouds?;
    if effort == Effort::Quick {
        only_migration(&mut Report::default(), effort, false)?;
    }
    if arguments.iter().any(|argument| argument == "--write") {
        let versions = format!("- SQLite {}\n", rusqlite::version());
        report.write("benchmarks", "Benchmarks", "cargo xtask bench --write", &versions)?;
    }
    Ok(())
}

/// On a page of its own, because it keeps the servers busy for minutes.
fn only_migration(report: &mut Report, effort: Effort, write: bool) -> Outcome {
    migration::measure(report, effort)?;
    report.print();
    if write {
        let command = "cargo xtask bench --only-migration --write";
        report.write(
            "benchmarks-migration",
            "Benchmarks of migrations",
            command,
            &migration::versions()?,
        )?;
    }
    Ok(())
}

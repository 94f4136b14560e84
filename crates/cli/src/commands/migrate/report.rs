//! `keyfob migrate report`

use std::path::PathBuf;

use clap::Parser;
use serde::Serialize;

use super::record::{Entry, Record};
use crate::context::Context;
use crate::exit::{Exit, Outcome};
use crate::printer::Table;

/// Show what a migration did, as its report says it
///
/// Asks no store.
#[derive(Debug, Parser)]
#[command(after_help = "\
Examples:
  keyfob migrate report keyfob-migration.jsonl
  keyfob migrate report keyfob-migration.jsonl --json

JSON: {from, to, finished, runs, secrets}; `runs` a list of {begun, finished, unchanged, backup}, `secrets` a list of {name, outcome,
version, why, rolled_back}, where `outcome` is `created`, `changed`, `left`, `failed`, or `begun` for what was killed in the middle.")]
pub(crate) struct Args {
    /// The report
    report: PathBuf,

    /// Print JSON
    #[arg(long)]
    json: bool,
}

#[derive(Serialize)]
struct ReportJson<'a> {
    from: &'a str,
    to: &'a str,
    finished: bool,
    runs: Vec<RunJson<'a>>,
    secrets: Vec<SecretJson<'a>>,
}

#[derive(Serialize)]
struct RunJson<'a> {
    begun: &'a str,
    finished: Option<&'a str>,
    unchanged: usize,
    backup: Option<&'a str>,
}

#[derive(Serialize)]
struct SecretJson<'a> {
    name: &'a str,
    outcome: &'a str,
    version: Option<&'a str>,
    why: Option<&'a str>,
    rolled_back: Option<&'a str>,
}

impl Args {
    pub(crate) fn run(self, context: &Context) -> Outcome {
        let record = Record::read(&self.report)?;
        let printer = context.printer();
        let finished = record.runs.last().is_some_and(|run| run.finished.is_some());
        if self.json {
            printer.json(&json(&record, finished))?;
            return Ok(Exit::Success);
        }
        let mut table = Table::new(&["NAME", "OUTCOME", "ROLLED BACK", "WHY"]);
        for (name, entry) in &record.entries {
            table.row([
                name.to_string(),
                outcome(entry).to_owned(),
                entry.rolled_back.clone().unwrap_or_default(),
                entry.why.clone().unwrap_or_default(),
            ]);
        }
        printer.table(&table)?;
        printer.note(format_args!("from {} to {}", record.about.from.place, record.about.to.place));
        for run in &record.runs {
            let end = run.finished.as_deref().unwrap_or("not finished");
            let backup = run
                .backup
                .as_ref()
                .map(|backup| format!(", before it: snapshot {}", backup.snapshot));
            printer.note(format_args!(
                "run of {} to {end}, {} unchanged{}",
                run.begun,
                run.unchanged,
                backup.unwrap_or_default()
            ));
        }
        if !finished {
            printer.hint("the last run did not end: run it again, and it goes on; or roll it back");
        }
        Ok(Exit::Success)
    }
}

fn outcome(entry: &Entry) -> &str {
    if entry.outcome.is_empty() { "begun" } else { &entry.outcome }
}

fn json(record: &Record, finished: bool) -> ReportJson<'_> {
    let runs = record.runs.iter().map(|run| RunJson {
        begun: &run.begun,
        finished: run.finished.as_deref(),
        unchanged: run.unchanged,
        backup: run.backup.as_ref().map(|backup| backup.snapshot.as_str()),
    });
    let secrets = record.entries.iter().map(|(name, entry)| {
        let version = entry.wrote.as_ref().and_then(|wrote| wrote.version.as_ref());
        SecretJson {
            name: name.as_str(),
            outcome: outcome(entry),
            version: version.map(keyfob::Version::as_str),
            why: entry.why.as_deref(),
            rolled_back: entry.rolled_back.as_deref(),
        }
    });
    ReportJson {
        from: &record.about.from.place,
        to: &record.about.to.place,
        finished,
        runs: runs.collect(),
        secrets: secrets.collect(),
    }
}

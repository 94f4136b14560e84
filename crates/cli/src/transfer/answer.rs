//! What is said of secrets that were brought from one store into another.

use std::collections::BTreeSet;

use keyfob::copy::{CopyOutcome, CopyReport, Difference};
use keyfob::{Error, SecretName};
use serde::Serialize;

use crate::exit::{Exit, OutputError};
use crate::printer::{Printer, Table};

/// A report to be told.
pub(crate) struct Answer<'a> {
    report: &'a CopyReport,
    dry_run: bool,
}

#[derive(Serialize)]
pub(crate) struct Json<'a> {
    dry_run: bool,
    created: Vec<&'a str>,
    changed: Vec<&'a str>,
    unchanged: Vec<&'a str>,
    left: Vec<&'a str>,
    failed: Vec<FailedJson<'a>>,
}

/// Why something did not become of a secret.
#[derive(Serialize)]
pub(crate) struct FailedJson<'a> {
    name: &'a str,
    kind: &'static str,
    why: String,
    hint: Option<&'a str>,
}

impl<'a> FailedJson<'a> {
    pub(crate) fn new(name: &'a SecretName, error: &'a Error) -> Self {
        Self {
            name: name.as_str(),
            kind: error.kind().as_str(),
            why: error.to_string(),
            hint: error.hint(),
        }
    }
}

impl<'a> Answer<'a> {
    pub(crate) fn new(report: &'a CopyReport, dry_run: bool) -> Self {
        Self { report, dry_run }
    }

    pub(crate) fn json(&self) -> Json<'a> {
        Json {
            dry_run: self.dry_run,
            created: self.names("created"),
            changed: self.names("changed"),
            unchanged: self.names("unchanged"),
            left: self.names("left"),
            failed: self
                .report
                .failures()
                .map(|(name, error)| FailedJson::new(name, error))
                .collect(),
        }
    }

    /// A dry run's table of everything; of a copy only the numbers and what was left alone, since failures were told as
    /// they were found.
    pub(crate) fn tell(&self, printer: &Printer) -> Result<(), OutputError> {
        if self.report.entries.is_empty() {
            printer.note("there is nothing to copy");
            return Ok(());
        }
        if self.dry_run {
            printer.table(&self.table())?;
        } else {
            for entry in &self.report.entries {
                if let CopyOutcome::Left(difference) = entry.outcome {
                    printer.note(format_args!("left `{}`: {}", entry.name, left(difference)));
                }
            }
        }
        let count = |outcome| self.names(outcome).len();
        printer.note(format_args!(
            "{}{} created, {} changed, {} unchanged, {} left, {} failed",
            if self.dry_run { "would be: " } else { "" },
            count("created"),
            count("changed"),
            count("unchanged"),
            count("left"),
            count("failed")
        ));
        let is_kept = |outcome: &CopyOutcome| matches!(outcome, CopyOutcome::Left(Difference::Value | Difference::Metadata));
        if self.report.entries.iter().any(|entry| is_kept(&entry.outcome)) {
            printer.hint("what differs in the target was left alone; `--overwrite` replaces it");
        }
        let hints: BTreeSet<&str> = self.report.failures().filter_map(|(_, error)| error.hint()).collect();
        hints.into_iter().for_each(|hint| printer.hint(hint));
        Ok(())
    }

    /// What was left alone is no failure.
    pub(crate) fn exit(&self) -> Exit {
        match self.report.failures().next() {
            None => Exit::Success,
            Some(_) => Exit::Failure,
        }
    }

    fn table(&self) -> Table {
        let mut table = Table::new(&["NAME", "ACTION", "WHY"]);
        for entry in &self.report.entries {
            let (action, why) = match &entry.outcome {
                CopyOutcome::Created => ("create", String::new()),
                CopyOutcome::Changed(difference) => ("change", format!("the target has {}", other(*difference))),
                CopyOutcome::Unchanged => ("nothing", "the target has the same".to_owned()),
                CopyOutcome::Left(difference) => ("leave", left(*difference)),
                CopyOutcome::Failed(error) => ("fail", error.to_string()),
            };
            table.row([entry.name.to_string(), action.to_owned(), why]);
        }
        table
    }

    fn names(&self, outcome: &str) -> Vec<&'a str> {
        let entries = self.report.entries.iter();
        entries
            .filter(|entry| entry.outcome.as_str() == outcome)
            .map(|entry| entry.name.as_str())
            .collect()
    }
}

/// Why a secret is not copied.
fn left(difference: Difference) -> String {
    match difference {
        Difference::Reference => "the source refers to a secret (`${secret:…}`)".to_owned(),
        Difference::Value | Difference::Metadata => format!("the target has {}", other(difference)),
    }
}

/// What the other store has.
pub(crate) fn other(difference: Difference) -> &'static str {
    match difference {
        Difference::Value => "another value",
        Difference::Metadata => "other metadata",
        Difference::Reference => "the secret itself",
    }
}

//! `keyfob check`

use std::path::PathBuf;

use clap::Parser;
use keyfob::format::Format;
use keyfob::{Occurrence, Report};
use serde::Serialize;

use crate::context::Context;
use crate::exit::{Exit, Failure, Outcome};
use crate::references::{ReferenceArgs, STANDARD_INPUT, parse_format, resolve, template};

#[derive(Debug, Parser)]
#[command(after_help = "\
Examples:
  keyfob check app.yaml .env
  keyfob check --env production deploy/*.yaml
  keyfob check --json app.yaml | jq -r '.failures[].reference'

JSON: {references, failures: [{reference, kind, message, hint, store, nearest, locations: [{file,
line, column, key}]}]}

Exit status: 0 when everything can be resolved, else 1.")]
pub(crate) struct Args {
    /// The files; `-`, or none, is standard input
    files: Vec<PathBuf>,

    /// `text`, `dotenv`, `json`, `yaml` or `toml`, whatever the names of the files say
    #[arg(long, value_name = "FORMAT", value_parser = parse_format)]
    format: Option<Format>,

    /// Print JSON
    #[arg(long)]
    json: bool,

    #[command(flatten)]
    references: ReferenceArgs,
}

impl Args {
    pub(crate) fn run(mut self, context: &Context) -> Outcome {
        let printer = context.printer();
        if self.files.is_empty() {
            self.files.push(STANDARD_INPUT.into());
        }
        let manager = self.references.manager(context)?;
        let mut occurrences: Vec<Occurrence> = Vec::new();
        for file in &self.files {
            occurrences.extend(template(&manager, file, self.format)?.occurrences());
        }
        match context.block_on(resolve(&manager, &occurrences)) {
            Ok(_) if self.json => printer.json(&CheckJson {
                references: different(&occurrences),
                failures: Vec::new(),
            })?,
            Ok(_) => printer.note(format_args!(
                "{} can be resolved",
                match different(&occurrences) {
                    0 => "no reference was found, everything".to_owned(),
                    1 => "1 reference".to_owned(),
                    count => format!("all {count} references"),
                }
            )),
            Err(Failure::Report(report)) if self.json => {
                printer.json(&CheckJson::new(&report))?;
                return Ok(Exit::Failure);
            }
            Err(failure) => return Err(failure),
        }
        Ok(Exit::Success)
    }
}

/// How many references there are, each counted once however often it stands there.
fn different(occurrences: &[Occurrence]) -> usize {
    let mut written: Vec<_> = occurrences
        .iter()
        .map(|occurrence| (&occurrence.written, &occurrence.directory))
        .collect();
    written.sort_unstable();
    written.dedup();
    written.len()
}

#[derive(Serialize)]
struct CheckJson<'a> {
    references: usize,
    failures: Vec<FailureJson<'a>>,
}

#[derive(Serialize)]
struct FailureJson<'a> {
    reference: &'a str,
    kind: &'static str,
    message: String,
    hint: Option<&'a str>,
    store: Option<&'a str>,
    nearest: &'a [String],
    locations: Vec<LocationJson<'a>>,
}

#[derive(Serialize)]
struct LocationJson<'a> {
    file: &'a str,
    line: usize,
    column: usize,
    key: Option<&'a str>,
}

impl<'a> CheckJson<'a> {
    fn new(report: &'a Report) -> Self {
        let failures = report.failures.iter().map(|failure| FailureJson {
            reference: &failure.reference,
            kind: failure.error.kind().as_str(),
            message: failure.error.to_string(),
            hint: failure.error.hint(),
            store: failure.store.as_deref(),
            nearest: &failure.nearest,
            locations: failure
                .locations
                .iter()
                .map(|place| LocationJson {
                    file: &place.source,
                    line: place.line,
                    column: place.column,
                    key: place.key.as_deref(),
                })
                .collect(),
        });
        Self {
            references: report.references,
            failures: failures.collect(),
        }
    }
}

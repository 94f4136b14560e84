//! `keyfob audit verify`

use std::path::PathBuf;

use clap::Parser;
use keyfob::Result;
use keyfob_audit::{Checkpoint, Finding, Verification};
use serde::Serialize;

use super::log::{KeyArgs, LogArgs, lines};
use crate::context::Context;
use crate::exit::{Exit, Outcome, OutputError};
use crate::printer::{BAD, FAINT, GOOD, Printer};
use crate::text::escape_untrusted;

/// Prove that an audit log is as it was written
///
/// Every record is read, and the first that was changed, moved, put in or taken out is named. Exit status 1 when there is one.
///
/// Records that were cut off at the end of the log are only missed with a checkpoint that was kept elsewhere. Those after the last
/// signature can be changed by whoever can write to the log's files.
#[derive(Debug, Parser)]
#[command(after_help = "\
Examples:
  keyfob audit verify                                   the log of this directory
  keyfob audit verify /backup/audit --public-key audit.pub --checkpoint kept.jsonl

JSON: {intact, finding: {file, line, record, problem} | null, files, lines, accesses, checkpoint,
unsigned, unfinished, repairs, lost, expired}; `checkpoint` is the number of the last signed record.")]
pub(crate) struct Args {
    #[command(flatten)]
    log: LogArgs,

    #[command(flatten)]
    keys: KeyArgs,

    /// A file with checkpoints that were kept, one a line; can be given several times
    #[arg(long, value_name = "FILE")]
    checkpoint: Vec<PathBuf>,

    /// Print JSON
    #[arg(long)]
    json: bool,
}

impl Args {
    pub(crate) fn run(self, context: &Context) -> Outcome {
        let printer = context.printer();
        let log = self.log.log(context)?;
        let keys = self.keys.keys(&log, context)?;
        let seen = log.verify(&keys, &self.kept()?, context)?;
        if self.json {
            printer.json(&VerificationJson::new(&seen))?;
        } else {
            tell(printer, &seen)?;
        }
        Ok(if seen.is_intact() { Exit::Success } else { Exit::Failure })
    }

    fn kept(&self) -> Result<Vec<Checkpoint>> {
        let mut kept = Vec::new();
        for file in &self.checkpoint {
            for line in lines(file)? {
                let checkpoint = line.parse::<Checkpoint>();
                kept.push(checkpoint.map_err(|error| error.with("file", file.display().to_string()))?);
            }
        }
        Ok(kept)
    }
}

fn tell(printer: &Printer, seen: &Verification) -> Result<(), OutputError> {
    let Verification {
        lines, accesses, files, ..
    } = seen;
    match &seen.finding {
        Some(finding) => {
            let finding = finding.to_string();
            printer.line(format_args!("{BAD}changed{BAD:#} {}", escape_untrusted(&finding)))?;
            printer.line(format_args!("  {FAINT}right before it: {lines}{FAINT:#}"))?;
            return Ok(());
        }
        None => printer.line(format_args!(
            "{GOOD}intact{GOOD:#} {lines} records, {accesses} of them accesses, in {files} {}",
            if *files == 1 { "file" } else { "files" }
        ))?,
    }
    match &seen.checkpoint {
        Some(checkpoint) => printer.line(format_args!(
            "  signed up to record {}, {} records after it",
            checkpoint.seq(),
            seen.unsigned
        ))?,
        None => printer.line("  nothing is signed")?,
    }
    let further = [
        (seen.lost, "accesses were not recorded, as the writers say themselves"),
        (seen.repairs, "times a writer was killed, and its unfinished record cut off"),
        (
            seen.unfinished,
            "bytes of an unfinished record stand at the end: its writer was killed or is still at it",
        ),
        (seen.expired, "files were old enough and deleted"),
    ];
    for (count, what) in further.into_iter().filter(|(count, _)| *count > 0) {
        printer.line(format_args!("  {count} {what}"))?;
    }
    Ok(())
}

#[derive(Serialize)]
struct VerificationJson<'a> {
    intact: bool,
    finding: Option<FindingJson<'a>>,
    files: u64,
    lines: u64,
    accesses: u64,
    checkpoint: Option<u64>,
    unsigned: u64,
    unfinished: u64,
    repairs: u64,
    lost: u64,
    expired: u64,
}

#[derive(Serialize)]
struct FindingJson<'a> {
    file: String,
    line: u64,
    record: u64,
    problem: &'a str,
}

impl<'a> VerificationJson<'a> {
    fn new(seen: &'a Verification) -> Self {
        let finding = |finding: &'a Finding| FindingJson {
            file: finding.file.display().to_string(),
            line: finding.line,
            record: finding.seq,
            problem: &finding.problem,
        };
        Self {
            intact: seen.is_intact(),
            finding: seen.finding.as_ref().map(finding),
            files: seen.files,
            lines: seen.lines,
            accesses: seen.accesses,
            checkpoint: seen.checkpoint.as_ref().map(Checkpoint::seq),
            unsigned: seen.unsigned,
            unfinished: seen.unfinished,
            repairs: seen.repairs,
            lost: seen.lost,
            expired: seen.expired,
        }
    }
}

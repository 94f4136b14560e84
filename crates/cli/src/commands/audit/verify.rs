//! `keyfob audit verify`

use std::path::PathBuf;

use clap::Parser;
use keyfob::Result;
use keyfob_audit::{Checkpoint, Finding, Verification};
use serde::Serialize;

use super::log::{KeyArgs, Log, LogArgs, lines};
use crate::context::Context;
use crate::exit::{Exit, Failure, Outcome, OutputError, proven};
use crate::printer::{BAD, FAINT, GOOD, ODD, Printer};
use crate::text::escape_untrusted;

/// Prove that an audit log is as it was written
///
/// Every record is read, and the first that was changed, moved, put in or taken out is named.
///
/// Records that were cut off at the end of the log are only missed with a checkpoint that was kept elsewhere, or where keyfob remembers
/// the last one that it signed: as this user on this machine. Those after the last signature can be changed by whoever can write to the
/// log's files.
///
/// Where accesses are recorded in a directory and in a database, both logs are proven, one after the other.
#[derive(Debug, Parser)]
#[command(after_help = "\
Examples:
  keyfob audit verify                                   the log of this directory
  keyfob audit verify /backup/audit --public-key audit.pub --checkpoint kept.jsonl

JSON, for each log: {log, intact, finding: {file, line, record, problem} | null, files, lines, accesses,
checkpoint, unsigned, unfinished, repairs, lost, expired, kept_expired, next_missing, remembered}; `checkpoint`
is the number of the last signed record, `kept_expired` how many checkpoints that were kept are of files that
were old enough and deleted, `next_missing` the number of a file that the log says comes next and that is
not there, or null, `remembered` the number of the last record that this machine remembers to have signed, or
null: if it is not in the log, the log was changed.

Exit status: 0 the log is intact; 1 it was changed; 3 that could not be found out: there is no log, no key,
or the database does not answer; 2 wrong command line, or no log is named and none is kept here. Of two logs
1 comes before the others. Raise the alarm for anything but 0.")]
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
        proven(self.verify(context), context.printer())
    }

    fn verify(&self, context: &Context) -> Outcome {
        let printer = context.printer();
        let logs = self.log.logs(context)?;
        let kept = self.kept()?;
        if let [_, other, ..] = &logs[..]
            && !kept.is_empty()
        {
            return Err(Failure::usage(
                "it is not said of which log the checkpoints are: accesses are recorded in two here",
                format!("name the log, for example `{other}`"),
            ));
        }
        let (mut is_intact, mut failure) = (true, None::<Failure>);
        for log in &logs {
            if logs.len() > 1 && !self.json {
                printer.line(format_args!("{}:", escape_untrusted(&log.to_string())))?;
            }
            match self.prove(log, &kept, context) {
                Ok(found) => is_intact &= found,
                // The other one is looked at all the same.
                Err(error) => {
                    if let Some(before) = failure.replace(error) {
                        before.report(printer);
                    }
                }
            }
        }
        match failure {
            Some(failure) if is_intact => Err(failure),
            None if is_intact => Ok(Exit::Success),
            failure => {
                if let Some(failure) = failure {
                    failure.report(printer);
                }
                Ok(Exit::Failure)
            }
        }
    }

    /// Tells how a log is, and says whether it is intact.
    fn prove(&self, log: &Log, kept: &[Checkpoint], context: &Context) -> Result<bool, Failure> {
        let printer = context.printer();
        // Before the log, which is never the older one then.
        let remembered = log.remembered_or_told(context)?;
        log.still_exists(remembered.as_ref(), context)?;
        let keys = self.keys.keys(log, context)?;
        let kept: Vec<Checkpoint> = kept.iter().chain(&remembered).cloned().collect();
        let seen = log.verify(&keys, &kept, context)?;
        let remembered = remembered.as_ref().map(Checkpoint::seq);
        if self.json {
            printer.json(&VerificationJson::new(log, &seen, remembered))?;
        } else {
            tell(printer, &seen, remembered)?;
        }
        Ok(seen.is_intact())
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

fn tell(printer: &Printer, seen: &Verification, remembered: Option<u64>) -> Result<(), OutputError> {
    let Verification {
        lines, accesses, files, ..
    } = seen;
    match &seen.finding {
        Some(finding) => {
            let finding = finding.to_string();
            printer.line(format_args!("{BAD}changed{BAD:#} {}", escape_untrusted(&finding)))?;
            printer.line(format_args!("  {FAINT}right before it: {lines}{FAINT:#}"))?;
            if let Some(remembered) = remembered {
                printer.line(format_args!(
                    "  this machine remembers that record {remembered} was signed here"
                ))?;
            }
            return Ok(());
        }
        None => printer.line(format_args!(
            "{GOOD}intact{GOOD:#} {}, {accesses} of them accesses, in {}",
            counted(*lines, "record"),
            counted(*files, "file")
        ))?,
    }
    match &seen.checkpoint {
        Some(checkpoint) => printer.line(format_args!(
            "  signed up to record {}, {} after it",
            checkpoint.seq(),
            counted(seen.unsigned, "record")
        ))?,
        None => printer.line("  nothing is signed")?,
    }
    if let Some(remembered) = remembered {
        printer.line(format_args!(
            "  up to record {remembered} it is the log that this machine remembers to have signed"
        ))?;
    }
    let further = [
        (
            seen.lost,
            "access was",
            "accesses were",
            "not recorded, as the writers say themselves",
        ),
        (
            seen.repairs,
            "time",
            "times",
            "a writer was killed, and its unfinished record cut off",
        ),
        (
            seen.unfinished,
            "byte",
            "bytes",
            "of an unfinished record at the end: its writer was killed or is still at it",
        ),
        (seen.expired, "file was", "files were", "old enough and deleted"),
        (
            seen.kept_expired,
            "kept checkpoint is",
            "kept checkpoints are",
            "of such files, and no proof of anything any more",
        ),
    ];
    for (count, one, many, what) in further.into_iter().filter(|(count, ..)| *count > 0) {
        printer.line(format_args!("  {count} {} {what}", if count == 1 { one } else { many }))?;
    }
    if let Some(next) = seen.next_missing {
        printer.line(format_args!(
            "  {ODD}warning{ODD:#}: the log says that file {next} comes next, and it is not there: it was deleted, or its writer was \
             killed before it made it"
        ))?;
    }
    Ok(())
}

fn counted(count: u64, what: &str) -> String {
    format!("{count} {what}{}", if count == 1 { "" } else { "s" })
}

#[derive(Serialize)]
struct VerificationJson<'a> {
    log: String,
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
    kept_expired: u64,
    next_missing: Option<u64>,
    remembered: Option<u64>,
}

#[derive(Serialize)]
struct FindingJson<'a> {
    file: String,
    line: u64,
    record: u64,
    problem: &'a str,
}

impl<'a> VerificationJson<'a> {
    fn new(log: &Log, seen: &'a Verification, remembered: Option<u64>) -> Self {
        let finding = |finding: &'a Finding| FindingJson {
            file: finding.file.display().to_string(),
            line: finding.line,
            record: finding.seq,
            problem: &finding.problem,
        };
        Self {
            log: log.to_string(),
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
            kept_expired: seen.kept_expired,
            next_missing: seen.next_missing,
            remembered,
        }
    }
}

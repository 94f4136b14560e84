//! `keyfob snapshot verify`

use std::path::PathBuf;
use std::sync::Arc;

use clap::Parser;
use keyfob::snapshot::{SnapshotDirectory, SnapshotId, Verified};
use keyfob::{Error, ErrorKind, Snapshots};
use keyfob_envelope::KeySource;
use serde::Serialize;

use super::Place;
use super::summary::short;
use crate::context::Context;
use crate::exit::{Exit, Failure, Outcome, OutputError, proven};
use crate::printer::{BAD, GOOD, ODD, Printer};
use crate::text::escape_untrusted;

/// Prove that snapshots are as they were written, and can be restored
///
/// Every byte is read and every secret decrypted, also of the snapshots that they build on. What is wrong is told with its file.
#[derive(Debug, Parser)]
#[command(after_help = "\
Examples:
  keyfob snapshot verify                all of them
  keyfob snapshot verify latest
  keyfob snapshot verify --no-key       only whether a byte was damaged

JSON: an array of {id, path, intact, secrets, files, bytes, problem}; `intact` is null where it could not be found out, `problem`
{kind, why, hint} or null, `secrets`, `files` and `bytes` what was proven, or null.

Exit status: 0 all are intact; 1 one is damaged or was changed; 3 that could not be found out: there is none, the key does not fit,
a file can't be read; 2 wrong command line. 1 comes before 3.")]
pub(crate) struct Args {
    /// The snapshots: their ids, the beginnings of them, or `latest`, the newest whole one; all of the directory if none is given
    #[arg(value_name = "ID")]
    snapshots: Vec<String>,

    /// Compare each file with the digest at its end, without the key: finds damage, not what somebody changed on purpose
    #[arg(long)]
    no_key: bool,

    #[command(flatten)]
    place: Place,

    /// Print JSON
    #[arg(long)]
    json: bool,
}

/// How one snapshot is.
struct Proof {
    id: SnapshotId,
    path: PathBuf,
    /// What was proven, but for what needs the key.
    outcome: Result<Option<Verified>, Error>,
}

#[derive(Serialize)]
struct ProofJson<'a> {
    id: String,
    path: String,
    intact: Option<bool>,
    secrets: Option<usize>,
    files: Option<usize>,
    bytes: Option<u64>,
    problem: Option<ProblemJson<'a>>,
}

#[derive(Serialize)]
struct ProblemJson<'a> {
    kind: &'static str,
    why: String,
    hint: Option<&'a str>,
}

impl Args {
    pub(crate) fn run(self, context: &Context) -> Outcome {
        proven(self.verify(context), context.printer())
    }

    fn verify(&self, context: &Context) -> Outcome {
        let printer = context.printer();
        let proofs = context.block_on::<_, Failure>(async {
            let snapshots = match self.no_key {
                true => self.place.without_key(context)?,
                false => self.place.of(&context.manager()?, context)?,
            };
            let ids = self.ids(&snapshots).await?;
            let key = match self.no_key {
                true => None,
                false => Some(snapshots.key().await?),
            };
            let mut proofs = Vec::new();
            for (number, id) in ids.iter().enumerate() {
                let mut progress = printer.progress();
                progress.show(&format!("{} of {} proven", number, ids.len()));
                proofs.push(Proof::of(snapshots.directory(), *id, key.as_ref()).await);
                drop(progress);
                if !self.json
                    && let Some(proof) = proofs.last()
                {
                    proof.tell(printer)?;
                }
            }
            Ok(proofs)
        })?;
        if self.json {
            printer.json(&proofs.iter().map(Proof::json).collect::<Vec<_>>())?;
        }
        let of = |state: Option<bool>| proofs.iter().any(|proof| proof.is_intact() == state);
        Ok(match (of(Some(false)), of(None)) {
            (true, _) => Exit::Failure,
            (false, true) => Exit::NotProven,
            (false, false) => Exit::Success,
        })
    }

    async fn ids(&self, snapshots: &Snapshots) -> Result<Vec<SnapshotId>, Error> {
        let mut ids = Vec::new();
        for selector in &self.snapshots {
            ids.push(snapshots.find(selector).await?);
        }
        if self.snapshots.is_empty() {
            ids.extend(snapshots.directory().list().await?.iter().map(|listed| listed.id));
            if ids.is_empty() {
                return Err(Error::new(ErrorKind::NotFound, "there are no snapshots")
                    .with("path", snapshots.directory().path().display().to_string()));
            }
        }
        Ok(ids)
    }
}

impl Proof {
    async fn of(directory: &SnapshotDirectory, id: SnapshotId, key: Option<&Arc<dyn KeySource>>) -> Self {
        let proven = async {
            // First what needs no key: damage of the part that says which key fits looks like another key.
            directory.check(id).await?;
            let Some(key) = key else { return Ok(None) };
            let snapshot = directory.open_snapshot(id, &**key).await?;
            snapshot.verify().await.map(Some)
        };
        Self {
            id,
            path: directory.path_of(id),
            outcome: proven.await,
        }
    }

    /// `None`: that could not be found out.
    fn is_intact(&self) -> Option<bool> {
        match &self.outcome {
            Ok(_) => Some(true),
            // One that it builds on is gone: it can't be restored.
            Err(error) if matches!(error.kind(), ErrorKind::Corrupt | ErrorKind::NotFound) => Some(false),
            Err(_) => None,
        }
    }

    fn tell(&self, printer: &Printer) -> Result<(), OutputError> {
        let id = short(self.id);
        match (&self.outcome, self.is_intact()) {
            (
                Ok(Some(Verified {
                    secrets, files, bytes, ..
                })),
                _,
            ) => printer.line(format_args!(
                "{GOOD}intact{GOOD:#} {id} {secrets} secrets, {bytes} bytes in {files} {}",
                if *files == 1 { "file" } else { "files" }
            )),
            (Ok(None), _) => printer.line(format_args!("{GOOD}undamaged{GOOD:#} {id}")),
            (Err(error), Some(_)) => {
                printer.line(format_args!(
                    "{BAD}damaged{BAD:#} {id} {}",
                    escape_untrusted(&error.to_string())
                ))?;
                tell_hint(printer, error);
                Ok(())
            }
            (Err(error), None) => {
                printer.line(format_args!(
                    "{ODD}not proven{ODD:#} {id} {}",
                    escape_untrusted(&error.to_string())
                ))?;
                tell_hint(printer, error);
                Ok(())
            }
        }
    }

    fn json(&self) -> ProofJson<'_> {
        let verified = self.outcome.as_ref().ok().and_then(Option::as_ref);
        ProofJson {
            id: self.id.to_string(),
            path: self.path.display().to_string(),
            intact: self.is_intact(),
            secrets: verified.map(|verified| verified.secrets),
            files: verified.map(|verified| verified.files),
            bytes: verified.map(|verified| verified.bytes),
            problem: self.outcome.as_ref().err().map(|error| ProblemJson {
                kind: error.kind().as_str(),
                why: error.to_string(),
                hint: error.hint(),
            }),
        }
    }
}

fn tell_hint(printer: &Printer, error: &Error) {
    if let Some(hint) = error.hint() {
        printer.hint(hint);
    }
}

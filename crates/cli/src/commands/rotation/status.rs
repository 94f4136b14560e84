//! `keyfob rotation status`

use clap::Parser;
use keyfob::rotation::{Progress, Rotation, Status, UnderWayStatus};
use keyfob::{Error, ErrorKind, Intent, SecretName, Verb};
use serde::Serialize;

use crate::commands::rotate;
use crate::context::Context;
use crate::exit::{Exit, Failure, Outcome};
use crate::printer::Table;
use crate::time::{rfc3339, rfc3339_or_empty};

/// Show what is known of rotations: of one secret, or of all that were ever rotated
#[derive(Debug, Parser)]
#[command(after_help = "\
Examples:
  keyfob rotation status
  keyfob rotation status app/token
  keyfob rotation status --json | jq -r '.[] | select(.under_way) | .name'

JSON: an array of {name, under_way, last, lease, fence}, of one secret the object alone; under_way is {id, rotator, phase,
reversal, started, grace_until, attempts, failed, progress, data}, progress {cursor, done, total}, last {id, rotator, ended, at,
failed}, lease {holder, until}.

Exit status: 1 when a journal can't be read; the others are shown.")]
pub(crate) struct Args {
    /// The secret
    name: Option<String>,

    /// Print JSON
    #[arg(long)]
    json: bool,
}

#[derive(Serialize)]
struct Json {
    name: String,
    under_way: Option<UnderWayJson>,
    last: Option<LastJson>,
    lease: Option<LeaseJson>,
    fence: u64,
}

#[derive(Serialize)]
struct UnderWayJson {
    id: String,
    rotator: String,
    phase: &'static str,
    reversal: bool,
    started: String,
    grace_until: Option<String>,
    attempts: u32,
    failed: Option<&'static str>,
    progress: Option<Progress>,
    data: std::collections::BTreeMap<String, String>,
}

#[derive(Serialize)]
struct LastJson {
    id: String,
    rotator: String,
    ended: &'static str,
    at: String,
    failed: Option<&'static str>,
}

#[derive(Serialize)]
struct LeaseJson {
    holder: String,
    until: String,
}

type Known = (SecretName, Status);
type Unknown = (SecretName, Error);

impl Args {
    pub(crate) fn run(self, context: &Context) -> Outcome {
        let printer = context.printer();
        let only = self
            .name
            .as_deref()
            .map(SecretName::new)
            .transpose()
            .map_err(Failure::Usage)?;
        let is_one = only.is_some();
        let (known, unknown) = context.block_on::<_, Error>(async {
            let intent = match &only {
                Some(name) => Intent::of(Verb::Get, name),
                None => Intent::new(Verb::List),
            };
            read(&rotate::rotation(&context.manager()?, &intent).await?, only).await
        })?;
        for (name, error) in &unknown {
            printer.warning(&format!("of `{name}` nothing is known: {error}"));
            printer.hint(&format!(
                "`keyfob rotation forget {name}` deletes the journal, and the next rotation begins anew"
            ));
        }
        let exit = match unknown.is_empty() {
            true => Exit::Success,
            false => Exit::Failure,
        };
        if self.json {
            let mut all: Vec<Json> = known.iter().map(|(name, status)| Json::new(name, status)).collect();
            match (is_one, all.pop()) {
                (true, Some(one)) => printer.json(&one)?,
                (_, last) => {
                    all.extend(last);
                    printer.json(&all)?;
                }
            }
            return Ok(exit);
        }
        if known.is_empty() && unknown.is_empty() {
            printer.note("nothing was rotated yet");
        }
        let mut table = Table::new(&["NAME", "UNDER WAY", "UNTIL", "FAILED", "LAST", "AT", "HELD BY"]);
        for (name, status) in &known {
            let under_way = status.under_way.as_ref();
            let last = status.last.as_ref();
            table.row([
                name.to_string(),
                under_way.map(phase).unwrap_or_default(),
                rfc3339_or_empty(under_way.and_then(|under_way| under_way.grace_until)),
                under_way
                    .and_then(|under_way| under_way.failed)
                    .map(|kind| kind.as_str().to_owned())
                    .unwrap_or_default(),
                last.map(|last| last.ended.as_str().to_owned()).unwrap_or_default(),
                rfc3339_or_empty(last.map(|last| last.at)),
                status.lease.as_ref().map(|(holder, _)| holder.clone()).unwrap_or_default(),
            ]);
        }
        printer.table(&table)?;
        Ok(exit)
    }
}

/// Where it is, and how far in there: `finishing 500 of 2000`.
fn phase(under_way: &UnderWayStatus) -> String {
    let phase = under_way.phase;
    match under_way.progress() {
        None => phase.to_string(),
        Some(Progress {
            done,
            total: Some(total),
            ..
        }) => format!("{phase} {done} of {total}"),
        Some(Progress { done, .. }) => format!("{phase} {done}"),
    }
}

/// What is known, and why of others nothing is. Of a secret that was asked for alone, that is the error.
async fn read(rotation: &Rotation, only: Option<SecretName>) -> Result<(Vec<Known>, Vec<Unknown>), Error> {
    let (mut known, mut unknown) = (Vec::new(), Vec::new());
    if let Some(name) = only {
        let status = rotation.status(&name).await?;
        return Ok((vec![(name, status)], unknown));
    }
    for name in rotation.rotated().await? {
        match rotation.status(&name).await {
            Ok(status) => known.push((name, status)),
            Err(error) if error.kind() == ErrorKind::Corrupt => unknown.push((name, error)),
            Err(error) => return Err(error),
        }
    }
    Ok((known, unknown))
}

impl Json {
    fn new(name: &SecretName, status: &Status) -> Self {
        Self {
            name: name.to_string(),
            under_way: status.under_way.as_ref().map(|under_way| UnderWayJson {
                id: under_way.id.clone(),
                rotator: under_way.rotator.clone(),
                phase: under_way.phase.as_str(),
                reversal: under_way.is_reversal,
                started: rfc3339(under_way.started),
                grace_until: under_way.grace_until.map(rfc3339),
                attempts: under_way.attempts,
                failed: under_way.failed.map(ErrorKind::as_str),
                progress: under_way.progress(),
                data: under_way.data.iter().cloned().collect(),
            }),
            last: status.last.as_ref().map(|last| LastJson {
                id: last.id.clone(),
                rotator: last.rotator.clone(),
                ended: last.ended.as_str(),
                at: rfc3339(last.at),
                failed: last.failed.map(ErrorKind::as_str),
            }),
            lease: status.lease.as_ref().map(|(holder, until)| LeaseJson {
                holder: holder.clone(),
                until: rfc3339(*until),
            }),
            fence: status.fence,
        }
    }
}

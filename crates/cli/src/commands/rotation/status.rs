//! `keyfob rotation status`

use clap::Parser;
use keyfob::rotation::{Progress, Rotation, Status, UnderWayStatus};
use keyfob::{Error, Intent, SecretName, Verb};
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
failed}, lease {holder, until}.")]
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
        let known = context.block_on::<_, Error>(async {
            let intent = match &only {
                Some(name) => Intent::of(Verb::Get, name),
                None => Intent::new(Verb::List),
            };
            read(&rotate::rotation(&context.manager()?, &intent).await?, only).await
        })?;
        if self.json {
            let mut all: Vec<Json> = known.iter().map(|(name, status)| Json::new(name, status)).collect();
            match (is_one, all.pop()) {
                (true, Some(one)) => printer.json(&one)?,
                (_, last) => {
                    all.extend(last);
                    printer.json(&all)?;
                }
            }
            return Ok(Exit::Success);
        }
        if known.is_empty() {
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
        Ok(Exit::Success)
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

async fn read(rotation: &Rotation, only: Option<SecretName>) -> Result<Vec<(SecretName, Status)>, Error> {
    let names = match only {
        Some(name) => vec![name],
        None => rotation.rotated().await?,
    };
    let mut known = Vec::new();
    for name in names {
        let status = rotation.status(&name).await?;
        known.push((name, status));
    }
    Ok(known)
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
                failed: under_way.failed.map(keyfob::ErrorKind::as_str),
                progress: under_way.progress(),
                data: under_way.data.iter().cloned().collect(),
            }),
            last: status.last.as_ref().map(|last| LastJson {
                id: last.id.clone(),
                rotator: last.rotator.clone(),
                ended: last.ended.as_str(),
                at: rfc3339(last.at),
                failed: last.failed.map(keyfob::ErrorKind::as_str),
            }),
            lease: status.lease.as_ref().map(|(holder, until)| LeaseJson {
                holder: holder.clone(),
                until: rfc3339(*until),
            }),
            fence: status.fence,
        }
    }
}

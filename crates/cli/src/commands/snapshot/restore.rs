//! `keyfob snapshot restore`

use std::collections::BTreeSet;
use std::num::NonZeroUsize;
use std::sync::Arc;

use clap::Parser;
use keyfob::snapshot::{Manifest, RestoreOptions, SnapshotId, Summary};
use keyfob::{DEFAULT_SCHEME, Error, ErrorKind, Intent, Result, SecretManager, SecretName, SecretStore, Verb};
use serde::Serialize;

use super::Place;
use super::summary::{place, store};
use crate::context::Context;
use crate::embedded;
use crate::exit::{Failure, Outcome};
use crate::transfer::{self, Answer};

/// Give a store what a snapshot has: all of it, or some secrets
///
/// Every byte of the snapshot is proven and every secret of the store looked at before anything is written. What is there and is
/// replaced goes into another snapshot first, whose id is told: restoring that one takes this one back. What is the same already is
/// left alone, what was deleted is brought back, and what the store has besides stays.
///
/// An interrupted restore has left each secret old or new, and goes on when it is run again.
#[derive(Debug, Parser)]
#[command(after_help = "\
Examples:
  keyfob snapshot restore latest --dry-run          what would become of every secret
  keyfob snapshot restore latest db/password        one secret
  keyfob snapshot restore latest --to dotenv:copy.env    into another store

JSON: {snapshot, before, dry_run, created, changed, unchanged, left, failed}; `before` is the id of the snapshot of what was
replaced or null, each other a list of names, and `failed` a list of {name, kind, why, hint}.

Exit status: 1 when a secret failed, also with `--dry-run`.")]
pub(crate) struct Args {
    /// The snapshot: its id, the beginning of it, or `latest`, the newest whole one
    #[arg(value_name = "ID")]
    snapshot: String,

    /// Only these secrets
    #[arg(value_name = "NAME")]
    names: Vec<String>,

    /// Where to: a URL, a store of `keyfob.toml`, or a provider; the store that the snapshot is of if not given
    #[arg(long, value_name = "URL|NAME")]
    to: Option<String>,

    /// Show what would become of every secret, and do nothing
    #[arg(long)]
    dry_run: bool,

    /// Restore without the description, tags or expiry that the store can't keep; else such a secret fails
    #[arg(long)]
    drop_metadata: bool,

    /// How many secrets are looked at or written at the same time
    #[arg(long, short = 'j', value_name = "NUMBER", default_value = "16")]
    concurrency: NonZeroUsize,

    #[command(flatten)]
    place: Place,

    /// Print JSON
    #[arg(long)]
    json: bool,
}

#[derive(Serialize)]
struct Json<'a> {
    snapshot: String,
    before: Option<String>,
    #[serde(flatten)]
    answer: transfer::Json<'a>,
}

impl Args {
    pub(crate) fn run(self, context: &Context) -> Outcome {
        if self.to.is_some() {
            transfer::refuse_store(context, "a snapshot is restored to one store", "name it with `--to` only")?;
        }
        let printer = context.printer();
        let names = self.names.iter().map(SecretName::new);
        let names: BTreeSet<SecretName> = names.collect::<Result<_>>().map_err(Failure::Usage)?;
        let (id, before, report) = context.block_on::<_, Error>(async {
            let manager = context.manager()?;
            let snapshots = self.place.of(&manager, context)?;
            let snapshot = snapshots.open_snapshot(snapshots.find(&self.snapshot).await?).await?;
            let target = self.target(context, &manager, &snapshot.manifest().summary).await?;
            let mut options = RestoreOptions::default();
            options.names = (!names.is_empty()).then(|| names.clone());
            options.drop_metadata = self.drop_metadata;
            options.concurrency = self.concurrency.get();
            let mut progress = printer.progress();
            let plan = snapshot.plan_restore(target, &options, |at| transfer::show(&mut progress, at));
            let plan = plan.await?;
            drop(progress);
            let planned = plan.report();
            if self.dry_run {
                return Ok((snapshot.id(), None, planned));
            }
            // Before anything is written, so that who reads it can still stop.
            let told = transfer::tell_failures(context, &planned, &BTreeSet::new());
            let mut progress = printer.progress();
            let restored = snapshots.restore(plan, |at| transfer::show(&mut progress, at)).await?;
            drop(progress);
            transfer::tell_failures(context, &restored.report, &told);
            Ok((snapshot.id(), restored.before, restored.report))
        })?;
        let answer = Answer::new(&report, self.dry_run);
        if self.json {
            self.print_json(context, id, before.as_ref(), &answer)?;
        } else {
            answer.tell(printer)?;
            if let Some(before) = &before {
                printer.note(format_args!("what was replaced is in the snapshot {}", before.summary.id));
            }
        }
        Ok(answer.exit())
    }

    /// The store that is meant.
    async fn target(&self, context: &Context, manager: &SecretManager, summary: &Summary) -> Result<Arc<dyn SecretStore>> {
        let intent = Intent::new(Verb::Put);
        if let Some(to) = &self.to {
            return Ok(context.store_of(to, &intent).await?.0);
        }
        let target = manager.store_for(DEFAULT_SCHEME, &intent).await;
        let target = target.map_err(embedded::hint_at_init)?;
        let info = target.info();
        if *info.scheme != *summary.store || info.location != summary.location {
            let message = "the snapshot is of another store than the one that is meant here";
            return Err(Error::new(ErrorKind::InvalidInput, message)
                .with("snapshot_of", store(summary))
                .with("store", place(info))
                .with_hint("say where to restore it: `--to URL`"));
        }
        Ok(target)
    }

    fn print_json(
        &self,
        context: &Context,
        id: SnapshotId,
        before: Option<&Manifest>,
        answer: &Answer<'_>,
    ) -> Result<(), Failure> {
        context.printer().json(&Json {
            snapshot: id.to_string(),
            before: before.map(|before| before.summary.id.to_string()),
            answer: answer.json(),
        })?;
        Ok(())
    }
}

//! `keyfob migrate rollback`

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use clap::Parser;
use keyfob::copy::{self, CopyOptions, CopyOutcome, UndoOutcome, Undone, Wrote};
use keyfob::snapshot::SnapshotDirectory;
use keyfob::{
    Error, ErrorKind, Intent, PieceKind, Result, SecretName, SecretStore, SystemClock, Target, Verb, Version, read_configuration,
    scan,
};
use serde::Serialize;

use super::journal::{Backup, Journal};
use super::record::{Place, Record};
use crate::context::Context;
use crate::exit::{Exit, Outcome, OutputError};
use crate::printer::Table;
use crate::transfer::{self, DEFAULT_CONCURRENCY, FailedJson, Named, Opened};

/// Take back what a migration wrote
///
/// What it made is deleted, as the store deletes when nothing else is said; what it replaced is put back from the snapshot. What somebody
/// changed or deleted since is left to them. The source is asked only for what a killed run had begun: where the target has the
/// same, that run wrote it. A rollback that was interrupted goes on when it is called again.
///
/// While a file that `--rewrite` changed refers to the secrets, nothing is taken back without `--force`.
#[derive(Debug, Parser)]
#[command(after_help = "\
Examples:
  keyfob migrate rollback keyfob-migration.jsonl --dry-run
  keyfob migrate rollback keyfob-migration.jsonl --json

JSON: {dry_run, put_back, deleted, unchanged, left, failed}; each a list of names, and `failed` a list of {name, kind, why, hint}.

Exit status: 1 when a secret failed, also with `--dry-run`. What was left alone is no failure.")]
pub(crate) struct Args {
    /// The report of the migration
    report: PathBuf,

    /// Show what would become of every secret, and do nothing
    #[arg(long)]
    dry_run: bool,

    /// Take back also what files refer to that `--rewrite` changed
    #[arg(long)]
    force: bool,

    /// The store that was migrated to, where the report does not say it because its URL held a password
    #[arg(long, value_name = "URL|NAME|FILE")]
    to: Option<String>,

    /// The store that was migrated from, likewise
    #[arg(long, value_name = "URL|NAME|FILE")]
    from: Option<String>,

    /// How many secrets are taken back at the same time
    #[arg(long, short = 'j', value_name = "NUMBER", default_value_t = DEFAULT_CONCURRENCY)]
    concurrency: std::num::NonZeroUsize,

    /// Print JSON
    #[arg(long)]
    json: bool,
}

/// How many secrets are taken back between two looks at how far it is.
const AT_A_TIME: usize = 64;

#[derive(Serialize)]
struct RollbackJson<'a> {
    dry_run: bool,
    put_back: Vec<&'a str>,
    deleted: Vec<&'a str>,
    unchanged: Vec<&'a str>,
    left: Vec<&'a str>,
    failed: Vec<FailedJson<'a>>,
}

impl Args {
    pub(crate) fn run(self, context: &Context) -> Outcome {
        transfer::refuse_store(
            context,
            "the report says which stores are meant",
            "leave out `--store`; where the report can't say it, there is `--to`",
        )?;
        let undone = context.block_on(self.roll_back(context))?;
        if self.json {
            context.printer().json(&self.answer(&undone))?;
        } else {
            self.tell(context, &undone)?;
        }
        Ok(match names(&undone, "failed").is_empty() {
            true => Exit::Success,
            false => Exit::Failure,
        })
    }

    async fn roll_back(&self, context: &Context) -> Result<Vec<Undone>> {
        let record = Record::read(&self.report)?;
        self.check_files(context, &record)?;
        let journal = match self.dry_run {
            true => None,
            false => Some(Journal::open(&self.report)?),
        };
        let to = self.open(context, Side::To, &record, &Intent::new(Verb::Put)).await?;
        let (mut undone, wrote) = self.sort_out(context, &record, &to).await;
        for undone in &undone {
            note(journal.as_ref(), undone)?;
        }
        let mut progress = context.printer().progress();
        let total = wrote.values().map(Vec::len).sum::<usize>();
        let mut done = 0;
        for (backup, wrote) in wrote {
            let before = match backup.and_then(|run| record.runs.get(run)?.backup.as_ref()) {
                Some(backup) => open_backup(context, backup).await.map(Some),
                None => Ok(None),
            };
            for some in wrote.chunks(AT_A_TIME) {
                let some = match &before {
                    Ok(before) => {
                        let (to, before) = (Arc::clone(&to.store), before.clone());
                        copy::undo(to, before, some, self.concurrency.get(), self.dry_run).await
                    }
                    Err(error) => some.iter().map(|wrote| failed(&wrote.name, error.clone())).collect(),
                };
                for undone in &some {
                    note(journal.as_ref(), undone)?;
                }
                done += some.len();
                progress.show(&format!("{done} of {total} taken back"));
                undone.extend(some);
            }
        }
        drop(progress);
        undone.sort_by(|one, other| one.name.cmp(&other.name));
        Ok(undone)
    }

    /// Without its secrets a project that was turned over does not start.
    ///
    /// # Errors
    /// `Conflict` when a file that was rewritten refers to one.
    fn check_files(&self, context: &Context, record: &Record) -> Result<()> {
        let Some(file) = record.files.iter().find(|file| refers_to(file, record)) else {
            return Ok(());
        };
        let problem = format!("`{}` refers to what would be taken back, or can't be read", file.display());
        if self.force || self.dry_run {
            context.printer().warning(&problem);
            return Ok(());
        }
        Err(Error::new(ErrorKind::Conflict, problem).with_hint(format!(
            "put back what the file held before, from `{}.bak` if it is still there; `--force` takes back all the same",
            file.display()
        )))
    }

    /// What there is to take back, by the run whose snapshot has what was there before; and what became of the rest.
    async fn sort_out(
        &self,
        context: &Context,
        record: &Record,
        to: &Opened,
    ) -> (Vec<Undone>, BTreeMap<Option<usize>, Vec<Wrote>>) {
        let (mut undone, mut wrote) = (Vec::new(), BTreeMap::<_, Vec<Wrote>>::new());
        let settled = self.settle(context, record, to).await;
        for (name, entry) in &record.entries {
            let Some(written) = &entry.wrote else { continue };
            let version = match (written.open, settled.get(name)) {
                (true, Some(Settled::Written(version))) => version.as_ref(),
                (true, Some(Settled::Not(_)) | None) if written.version.is_some() => written.version.as_ref(),
                (true, Some(Settled::Not(outcome))) => {
                    undone.push(Undone::new(name.clone(), outcome.clone()));
                    continue;
                }
                _ => written.version.as_ref(),
            };
            match version {
                Some(version) => wrote.entry(written.existed.then_some(written.run)).or_default().push(Wrote {
                    name: name.clone(),
                    version: version.clone(),
                    existed: written.existed,
                }),
                None => {
                    let problem = "the store gives no versions, which would tell whether somebody changed the secret since";
                    let error = Error::new(ErrorKind::Unsupported, problem).with("name", name.as_str());
                    undone.push(failed(name, error.with_hint("take it back by hand")));
                }
            }
        }
        (undone, wrote)
    }

    /// Finds out whether what was begun and not ended was written: then the target has what the source has.
    async fn settle(&self, context: &Context, record: &Record, to: &Opened) -> BTreeMap<SecretName, Settled> {
        let open = record
            .entries
            .iter()
            .filter(|(_, entry)| entry.wrote.as_ref().is_some_and(|wrote| wrote.open));
        let names: BTreeSet<SecretName> = open.map(|(name, _)| name.clone()).collect();
        if names.is_empty() {
            return BTreeMap::new();
        }
        let mut options = CopyOptions::default();
        options.names = Some(names.clone());
        options.overwrite = true;
        options.include_expired = true;
        options.drop_metadata = true;
        options.concurrency = self.concurrency.get();
        let compared = async {
            let from = self.open(context, Side::From, record, &Intent::new(Verb::Get)).await?;
            let plan = copy::plan(Arc::clone(&from.store), Arc::clone(&to.store), options, |_| {}).await?;
            Ok::<_, Error>(plan.report())
        };
        let hint = "a run was killed while it wrote this, and only a comparison with the source tells whether it did";
        match compared.await {
            Ok(report) => {
                let settled = report.entries.into_iter().map(|entry| {
                    let settled = match entry.outcome {
                        CopyOutcome::Unchanged => Settled::Written(entry.seen),
                        CopyOutcome::Created => Settled::Not(UndoOutcome::Unchanged),
                        CopyOutcome::Failed(error) => Settled::Not(UndoOutcome::Failed(error.with_hint(hint))),
                        _ => Settled::Not(UndoOutcome::Left),
                    };
                    (entry.name, settled)
                });
                settled.collect()
            }
            Err(error) => {
                let error = error.with_hint(hint);
                let failed = |name| (name, Settled::Not(UndoOutcome::Failed(error.clone())));
                names.into_iter().map(failed).collect()
            }
        }
    }

    /// Opens a store of the report, and makes sure that it is the one.
    async fn open(&self, context: &Context, side: Side, record: &Record, intent: &Intent) -> Result<Opened> {
        let (option, given, place) = match side {
            Side::From => ("--from", &self.from, &record.about.from),
            Side::To => ("--to", &self.to, &record.about.to),
        };
        let text = given.as_ref().or(place.store.as_ref()).ok_or_else(|| {
            Error::new(
                ErrorKind::InvalidInput,
                "the URL of the store held a password, and the report does not have it",
            )
            .with("store", place.place.clone())
            .with_hint(format!("give it with `{option}`"))
        })?;
        let opened = transfer::open(context, Named::new(option, text), intent).await?;
        let now = Place::of(text, &opened);
        if now.place != place.place {
            let problem = format!("this is another store than that of the report, {}", place.place);
            return Err(Error::new(ErrorKind::Conflict, problem)
                .with("store", now.place)
                .with_hint(format!(
                    "variables and relative paths count as they did for the migration; or name the store with `{option}`"
                )));
        }
        Ok(opened)
    }

    fn answer<'a>(&self, undone: &'a [Undone]) -> RollbackJson<'a> {
        let failed = undone.iter().filter_map(|undone| match &undone.outcome {
            UndoOutcome::Failed(error) => Some(FailedJson::new(&undone.name, error)),
            _ => None,
        });
        RollbackJson {
            dry_run: self.dry_run,
            put_back: names(undone, "put_back"),
            deleted: names(undone, "deleted"),
            unchanged: names(undone, "unchanged"),
            left: names(undone, "left"),
            failed: failed.collect(),
        }
    }

    fn tell(&self, context: &Context, undone: &[Undone]) -> std::result::Result<(), OutputError> {
        let printer = context.printer();
        if self.dry_run {
            let mut table = Table::new(&["NAME", "ACTION", "WHY"]);
            for undone in undone {
                let (action, why) = match &undone.outcome {
                    UndoOutcome::PutBack => ("put back", String::new()),
                    UndoOutcome::Deleted => ("delete", String::new()),
                    UndoOutcome::Unchanged => ("nothing", "it is as it was before".to_owned()),
                    UndoOutcome::Left => ("leave", LEFT.to_owned()),
                    UndoOutcome::Failed(error) => ("fail", error.to_string()),
                };
                table.row([undone.name.to_string(), action.to_owned(), why]);
            }
            printer.table(&table)?;
        }
        for undone in undone.iter().filter(|_| !self.dry_run) {
            match &undone.outcome {
                UndoOutcome::Left => printer.note(format_args!("left `{}`: {LEFT}", undone.name)),
                UndoOutcome::Failed(error) => printer.warning(&format!("`{}` is not taken back: {error}", undone.name)),
                _ => {}
            }
        }
        let count = |outcome| names(undone, outcome).len();
        printer.note(format_args!(
            "{}{} put back, {} deleted, {} unchanged, {} left, {} failed",
            if self.dry_run { "would be: " } else { "" },
            count("put_back"),
            count("deleted"),
            count("unchanged"),
            count("left"),
            count("failed")
        ));
        let hints: BTreeSet<&str> = undone
            .iter()
            .filter_map(|undone| match &undone.outcome {
                UndoOutcome::Failed(error) => error.hint(),
                _ => None,
            })
            .collect();
        hints.into_iter().for_each(|hint| printer.hint(hint));
        Ok(())
    }
}

const LEFT: &str = "somebody changed or deleted it since";

#[derive(Debug, Clone, Copy)]
enum Side {
    From,
    To,
}

/// What a comparison says of a write that was begun and not ended.
enum Settled {
    /// It happened, and made this version.
    Written(Option<Version>),
    Not(UndoOutcome),
}

/// Whether a file has references to secrets that were written. One that can't be read here may have some, wherever it is now.
fn refers_to(file: &Path, record: &Record) -> bool {
    let Ok(text) = read_configuration(file) else {
        return true;
    };
    let is_written = |name: &SecretName| record.entries.get(name).is_some_and(|entry| entry.wrote.is_some());
    scan(&text, |_| true).into_iter().any(|piece| match piece.kind {
        PieceKind::Reference(Ok(reference)) => match &reference.target {
            Target::Secret(secret) => is_written(&secret.name),
            Target::File { .. } => false,
        },
        _ => false,
    })
}

fn note(journal: Option<&Journal>, undone: &Undone) -> Result<()> {
    journal.map_or(Ok(()), |journal| journal.rolled_back(undone))
}

fn failed(name: &SecretName, error: Error) -> Undone {
    Undone::new(name.clone(), UndoOutcome::Failed(error))
}

fn names<'a>(undone: &'a [Undone], outcome: &str) -> Vec<&'a str> {
    let those = undone.iter().filter(|undone| undone.outcome.as_str() == outcome);
    those.map(|undone| undone.name.as_str()).collect()
}

async fn open_backup(context: &Context, backup: &Backup) -> Result<Arc<dyn SecretStore>> {
    let snapshots = context
        .manager()?
        .snapshots()?
        .in_directory(SnapshotDirectory::new(&backup.directory));
    let id = snapshots.find(&backup.snapshot).await?;
    let snapshot = snapshots.open_snapshot(id).await?;
    Ok(Arc::new(snapshot.store(None, Arc::new(SystemClock::new()))?))
}

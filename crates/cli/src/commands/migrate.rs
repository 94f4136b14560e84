//! `keyfob migrate`

mod journal;
mod record;
mod report;
mod rewrite;
mod rollback;

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use clap::{Parser, Subcommand};
use keyfob::copy::{CopyOutcome, CopyReport};
use keyfob::snapshot::BEFORE_MIGRATION;
use keyfob::{Error, SecretName, Verb};
use serde::Serialize;

use self::journal::{Backup, Journal};
use self::record::{About, Place, Record};
use self::rewrite::{How, RewriteArgs, Rewritten};
use crate::context::Context;
use crate::exit::{Exit, Failure, Outcome};
use crate::transfer::{self, Answer, Json, Named, Pair, What};

#[derive(Debug, Parser)]
#[command(
    args_conflicts_with_subcommands = true,
    subcommand_negates_reqs = true,
    after_help = "\
Examples:
  keyfob migrate --from .env --to sqlite: --plan
  keyfob migrate --from .env --to sqlite:
  keyfob migrate --from team --to dotenv:copy.env --rate 50 --report move.jsonl
  keyfob migrate --from dotenv:.env --to sqlite: --overwrite --no-backup --json
  keyfob migrate --rewrite app.yaml .env --plan     show which values would become references
  keyfob migrate --rewrite app.yaml .env --yes
  keyfob migrate --from .env --to sqlite: --rewrite .env --yes

JSON: {dry_run, created, changed, unchanged, left, failed, report, backup, rewrite}; the first lists as of `keyfob copy`,
`report` the file, `backup` the id of the snapshot of what was changed, or null. `rewrite`, which without `--from` is the
whole document, is null or {dry_run, files, unread}: of each file {file, backup, replaced, left}, `replaced` a list of {line,
column, key, name, part}, `left` of {line, column, key, names, why}; `unread` a list of {name, kind, why}.

Exit status: 1 when a secret failed, also with `--plan`. What was left alone is no failure."
)]
pub(crate) struct Args {
    #[command(subcommand)]
    command: Option<Command>,

    /// Where the secrets are: a URL, a store of `keyfob.toml`, a provider, or a `.env` file
    #[arg(long, value_name = "URL|NAME|FILE", required_unless_present = "rewrite", requires = "to")]
    from: Option<String>,

    /// Where they are to be: a URL, a store of `keyfob.toml`, a provider, or a `.env` file
    #[arg(long, value_name = "URL|NAME|FILE", required_unless_present = "rewrite")]
    to: Option<String>,

    /// Show what would become of every secret, and do nothing
    #[arg(long, visible_alias = "plan")]
    dry_run: bool,

    /// Replace what the target has with another value or other metadata
    #[arg(long, requires = "from")]
    overwrite: bool,

    /// Make no snapshot of what is replaced: then it can't be rolled back
    #[arg(long, requires = "overwrite")]
    no_backup: bool,

    /// Bring back what is deleted in the target, where its name can't be used otherwise
    #[arg(long, requires = "from")]
    bring_back: bool,

    /// The report, which a second run goes on with
    #[arg(long, value_name = "FILE", default_value = DEFAULT_REPORT)]
    report: PathBuf,

    #[command(flatten)]
    what: What,

    #[command(flatten)]
    rewrite: RewriteArgs,

    /// Print JSON
    #[arg(long)]
    json: bool,
}

#[derive(Debug, Subcommand)]
enum Command {
    Report(report::Args),
    Rollback(rollback::Args),
}

const DEFAULT_REPORT: &str = "keyfob-migration.jsonl";

#[derive(Serialize)]
struct MigrationJson<'a> {
    #[serde(flatten)]
    copy: Json<'a>,
    report: Option<&'a Path>,
    backup: Option<&'a str>,
    rewrite: Option<&'a Rewritten>,
}

struct Done {
    report: CopyReport,
    backup: Option<Backup>,
}

impl Args {
    pub(crate) fn run(self, context: &Context) -> Outcome {
        match self.command {
            Some(Command::Report(args)) => args.run(context),
            Some(Command::Rollback(args)) => args.run(context),
            None if self.from.is_none() && self.rewrite.is_wanted() => self.rewrite_alone(context),
            None => self.migrate(context),
        }
    }

    fn rewrite_alone(&self, context: &Context) -> Outcome {
        let rewritten = self.rewrite.carry_out(context, self.how(self.to.as_deref()))?;
        if self.json {
            context.printer().json(&rewritten)?;
        }
        Ok(rewritten.exit())
    }

    fn how<'a>(&'a self, store: Option<&'a str>) -> How<'a> {
        How {
            store,
            prefix: &self.what.prefix,
            dry_run: self.dry_run,
            json: self.json,
            // Also of a migration before.
            report: (self.from.is_some() || self.report.exists()).then_some(&self.report),
        }
    }

    fn migrate(self, context: &Context) -> Outcome {
        transfer::refuse_store(
            context,
            "a migration has two stores",
            "name them with `--from` and `--to` instead of `--store`",
        )?;
        let (Some(from), Some(to)) = (&self.from, &self.to) else {
            return Err(Failure::usage(
                "a migration has two stores",
                "name them with `--from` and `--to`",
            ));
        };
        let printer = context.printer();
        let done = context.block_on(self.carry_out(context, from, to))?;
        let answer = Answer::new(&done.report, self.dry_run);
        if !self.json {
            answer.tell(printer)?;
            if !self.dry_run {
                self.tell_report(context, &done);
            }
        }
        let rewritten = match (self.rewrite.is_wanted(), answer.exit()) {
            (false, _) => Ok(None),
            // What was not migrated has values, too, and its references would lead nowhere.
            (true, Exit::Failure) => {
                printer.warning("no file is rewritten, because something could not be migrated");
                Ok(None)
            }
            // A plan has brought nothing to the target.
            (true, _) => {
                let store = if self.dry_run { from } else { to };
                self.rewrite.carry_out(context, self.how(Some(store))).map(Some)
            }
        };
        if self.json {
            printer.json(&MigrationJson {
                copy: answer.json(),
                report: (!self.dry_run).then_some(&self.report),
                backup: done.backup.as_ref().map(|backup| backup.snapshot.as_str()),
                rewrite: rewritten.as_ref().ok().and_then(Option::as_ref),
            })?;
        }
        Ok(match rewritten? {
            Some(rewritten) => rewritten.exit(),
            None => answer.exit(),
        })
    }

    fn tell_report(&self, context: &Context, done: &Done) {
        let (printer, file) = (context.printer(), self.report.display());
        if let Some(backup) = &done.backup {
            printer.note(format_args!("what was there before is in snapshot {}", backup.snapshot));
        }
        printer.note(format_args!(
            "the report is in `{file}`; `keyfob migrate rollback {file}` takes it back"
        ));
    }

    async fn carry_out(&self, context: &Context, from: &str, to: &str) -> Result<Done, Error> {
        let pair = Pair::open(
            context,
            Named::new("--from", from),
            Named::new("--to", to),
            &self.what.prefix,
            Verb::Put,
        )
        .await?;
        let about = About {
            from: Place::of(from, &pair.from),
            to: Place::of(to, &pair.to),
        };
        // Before all the reading: what is wrong with it is told now.
        self.earlier(&about)?;
        let mut options = self.what.options();
        options.overwrite = self.overwrite;
        options.bring_back = self.bring_back;
        let plan = pair.plan(context, options).await?;
        let planned = plan.report();
        if self.dry_run {
            return Ok(Done {
                report: planned,
                backup: None,
            });
        }
        // Before anything is written, so that who reads it can still stop.
        let told = transfer::tell_failures(context, &planned, &BTreeSet::new());
        let journal = Journal::open(&self.report)?;
        // Nobody else writes to it from here on.
        let earlier = self.earlier(&about)?;
        journal.begin(&about, earlier.as_ref(), &planned)?;
        let backup = self.back_up(context, &pair, &planned).await?;
        if let Some(backup) = &backup {
            journal.backed_up(backup)?;
        }
        let printer = context.printer();
        let mut progress = printer.progress();
        let report = plan.carry_out_with(&journal, |at| transfer::show(&mut progress, at)).await;
        drop(progress);
        transfer::tell_failures(context, &report, &told);
        journal.finish()?;
        Ok(Done { report, backup })
    }

    /// What the report says already; it must be of the same migration.
    fn earlier(&self, about: &About) -> Result<Option<Record>, Error> {
        let earlier = Record::read_if_there(&self.report)?;
        if let Some(earlier) = &earlier {
            earlier.check(&self.report, about)?;
        }
        Ok(earlier)
    }

    /// Makes a snapshot of what is about to be replaced.
    async fn back_up(&self, context: &Context, pair: &Pair, planned: &CopyReport) -> Result<Option<Backup>, Error> {
        if self.no_backup {
            return Ok(None);
        }
        let changed = planned
            .entries
            .iter()
            .filter(|entry| matches!(entry.outcome, CopyOutcome::Changed(_)));
        let changed: BTreeSet<SecretName> = changed.map(|entry| entry.name.clone()).collect();
        let note = format!("{BEFORE_MIGRATION} from {}", pair.from.place);
        let snapshots = context.manager()?.snapshots()?;
        let made = snapshots
            .before_change(&*pair.to.store, changed, note, self.what.concurrency.get())
            .await;
        let made = made.map_err(|error| match error.hint() {
            None => error.with_hint("`--no-backup` replaces without a snapshot, and then nothing of it can be taken back"),
            Some(_) => error,
        })?;
        Ok(made.map(|manifest| Backup {
            snapshot: manifest.summary.id.to_string(),
            directory: snapshots.directory().path().to_owned(),
        }))
    }
}

//! `keyfob snapshot prune`

use clap::Parser;
use keyfob::Error;
use keyfob::snapshot::{Decision, Keep, Retention, Summary};
use serde::Serialize;

use super::Place;
use super::summary::short;
use crate::context::Context;
use crate::exit::{Exit, Failure, Outcome};
use crate::printer::Table;
use crate::time::rfc3339;

/// Delete the snapshots that no rule keeps
///
/// Each rule keeps some: the newest ones, or the newest of so many hours, days, weeks, months or years in which there was one. The rules
/// hold for each store and prefix by itself, and for snapshots of chosen names (those that a restore makes, too) apart from whole ones. What
/// one that is kept builds on is kept, and what was made before a migration, which takes it back, until `keyfob snapshot delete`. Copies in a store go with those of the directory. Times are UTC, weeks begin on Monday. Needs no key.
#[derive(Debug, Parser)]
#[command(after_help = "\
Examples:
  keyfob snapshot prune --keep-last 3 --keep-daily 7 --keep-monthly 12 --dry-run
  keyfob snapshot prune --keep-last 10

JSON: {dry_run, kept, deleted}; `kept` [{id, why}] with a list of `last`, `hourly`, `daily`, `weekly`, `monthly`, `yearly`,
`needed` and `backup`, `deleted` ids.")]
pub(crate) struct Args {
    #[command(flatten)]
    rules: Rules,

    /// Show what would be deleted, and delete nothing
    #[arg(long)]
    dry_run: bool,

    #[command(flatten)]
    place: Place,

    /// Print JSON
    #[arg(long)]
    json: bool,
}

#[derive(Debug, clap::Args)]
#[group(required = true, multiple = true)]
struct Rules {
    /// Keep so many of the newest
    #[arg(long, value_name = "NUMBER")]
    keep_last: Option<usize>,

    /// Keep the newest of so many hours
    #[arg(long, value_name = "NUMBER")]
    keep_hourly: Option<usize>,

    /// Keep the newest of so many days
    #[arg(long, value_name = "NUMBER")]
    keep_daily: Option<usize>,

    /// Keep the newest of so many weeks
    #[arg(long, value_name = "NUMBER")]
    keep_weekly: Option<usize>,

    /// Keep the newest of so many months
    #[arg(long, value_name = "NUMBER")]
    keep_monthly: Option<usize>,

    /// Keep the newest of so many years
    #[arg(long, value_name = "NUMBER")]
    keep_yearly: Option<usize>,
}

#[derive(Serialize)]
struct Json {
    dry_run: bool,
    kept: Vec<KeptJson>,
    deleted: Vec<String>,
}

#[derive(Serialize)]
struct KeptJson {
    id: String,
    why: Vec<&'static str>,
}

impl Rules {
    fn retention(&self) -> Retention {
        let count = |rule: Option<usize>| rule.unwrap_or_default();
        Retention {
            last: count(self.keep_last),
            hourly: count(self.keep_hourly),
            daily: count(self.keep_daily),
            weekly: count(self.keep_weekly),
            monthly: count(self.keep_monthly),
            yearly: count(self.keep_yearly),
        }
    }
}

impl Args {
    pub(crate) fn run(self, context: &Context) -> Outcome {
        let printer = context.printer();
        let retention = self.rules.retention();
        // Rules that keep nothing are wrong whatever there is.
        retention.decide(&[]).map_err(Failure::Usage)?;
        let snapshots = self.place.without_key(context)?;
        let (summaries, decisions) = context.block_on::<_, Error>(async {
            let listed = snapshots.directory().list().await?;
            let summaries: Vec<Summary> = listed.into_iter().filter_map(|listed| listed.summary.ok()).collect();
            let decisions = retention.decide(&summaries)?;
            let goes = decisions.iter().filter(|decision| decision.keep.is_empty());
            let goes: Vec<String> = goes.map(|decision| decision.id.to_string()).collect();
            if !self.dry_run && !goes.is_empty() {
                snapshots.delete(&goes).await?;
            }
            Ok((summaries, decisions))
        })?;
        let (kept, deleted): (Vec<&Decision>, Vec<&Decision>) = decisions.iter().partition(|decision| !decision.keep.is_empty());
        if self.json {
            printer.json(&Json {
                dry_run: self.dry_run,
                kept: kept.iter().map(|decision| KeptJson::new(decision)).collect(),
                deleted: deleted.iter().map(|decision| decision.id.to_string()).collect(),
            })?;
            return Ok(Exit::Success);
        }
        let mut table = Table::new(&["ID", "MADE", "ACTION", "WHY"]);
        for decision in &decisions {
            let made = summaries.iter().find(|summary| summary.id == decision.id);
            let action = if decision.keep.is_empty() { "delete" } else { "keep" };
            table.row([
                short(decision.id),
                made.map(|summary| rfc3339(summary.begun)).unwrap_or_default(),
                action.to_owned(),
                why(decision).join(", "),
            ]);
        }
        if self.dry_run {
            printer.table(&table)?;
        }
        printer.note(format_args!(
            "{}{} kept, {} deleted",
            if self.dry_run { "would be: " } else { "" },
            kept.len(),
            deleted.len()
        ));
        Ok(Exit::Success)
    }
}

impl KeptJson {
    fn new(decision: &Decision) -> Self {
        Self {
            id: decision.id.to_string(),
            why: why(decision),
        }
    }
}

fn why(decision: &Decision) -> Vec<&'static str> {
    decision.keep.iter().map(|keep| Keep::as_str(*keep)).collect()
}

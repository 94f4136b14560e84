//! `keyfob snapshot diff`

use clap::Parser;
use keyfob::snapshot::{ChangeKind, SecretChange};
use keyfob::{DEFAULT_SCHEME, Error, Intent, Verb};
use serde::Serialize;

use super::Place;
use super::summary::place;
use crate::context::Context;
use crate::embedded;
use crate::exit::{Exit, Failure, Outcome};
use crate::printer::Table;

/// Show what changed since a snapshot: names, never values
///
/// Compares with another snapshot, or with what the store has now. A secret that was written again as it was is no change.
#[derive(Debug, Parser)]
#[command(after_help = "\
Examples:
  keyfob snapshot diff || test $? = 1          from the newest snapshot to now
  keyfob snapshot diff latest --json || test $? = 1

JSON: {from, to, changes}; `from` and `to` are ids or the place of the store, `changes` [{name, change}] with `added`, `removed`,
`value` or `metadata`.

Exit status: 0 when nothing has changed, 1 when something has, 2 when it could not be found out.")]
pub(crate) struct Args {
    /// The snapshot: its id, the beginning of it, or `latest`, the newest whole one
    #[arg(value_name = "ID", default_value = "latest", hide_default_value = true)]
    snapshot: String,

    /// A later snapshot; what the store has now if not given
    #[arg(value_name = "OTHER")]
    other: Option<String>,

    #[command(flatten)]
    place: Place,

    /// Print JSON
    #[arg(long)]
    json: bool,
}

#[derive(Serialize)]
struct Json<'a> {
    from: String,
    to: String,
    changes: Vec<ChangeJson<'a>>,
}

#[derive(Serialize)]
struct ChangeJson<'a> {
    name: &'a str,
    change: &'static str,
}

impl Args {
    pub(crate) fn run(self, context: &Context) -> Outcome {
        let printer = context.printer();
        let compared = context.block_on::<_, Error>(async {
            let manager = context.manager()?;
            let snapshots = self.place.of(&manager, context)?;
            let before = snapshots.open_snapshot(snapshots.find(&self.snapshot).await?).await?;
            let (to, changes) = match &self.other {
                Some(other) => {
                    let after = snapshots.open_snapshot(snapshots.find(other).await?).await?;
                    (after.id().to_string(), before.diff(&after).await?)
                }
                None => {
                    let intent = Intent::new(Verb::List).prefix(&before.manifest().summary.prefix);
                    let store = manager.store_for(DEFAULT_SCHEME, &intent).await;
                    let store = store.map_err(embedded::hint_at_init)?;
                    let mut progress = printer.progress();
                    let shown = |count| progress.show(&format!("{count} compared"));
                    let changes = snapshots.diff(&before, &*store, shown).await?;
                    (place(store.info()), changes)
                }
            };
            Ok((before.id().to_string(), to, changes))
        });
        // As `keyfob diff`: 1 says that something has changed, and nothing else may.
        let (from, to, changes) = compared.map_err(Failure::Usage)?;
        let exit = match changes.is_empty() {
            true => Exit::Success,
            false => Exit::Failure,
        };
        if self.json {
            let changes = changes.iter().map(ChangeJson::new).collect();
            printer.json(&Json { from, to, changes })?;
            return Ok(exit);
        }
        printer.note(format_args!("from {from} to {to}"));
        if changes.is_empty() {
            printer.note("nothing has changed");
        }
        let mut table = Table::new(&["NAME", "CHANGE"]);
        for change in &changes {
            table.row([change.name.to_string(), words(change.kind).to_owned()]);
        }
        printer.table(&table)?;
        Ok(exit)
    }
}

const fn words(change: ChangeKind) -> &'static str {
    match change {
        ChangeKind::Added => "added",
        ChangeKind::Removed => "removed",
        ChangeKind::Value => "another value",
        ChangeKind::Metadata => "other metadata",
    }
}

impl<'a> ChangeJson<'a> {
    fn new(change: &'a SecretChange) -> Self {
        Self {
            name: change.name.as_str(),
            change: change.kind.as_str(),
        }
    }
}

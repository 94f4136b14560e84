//! `keyfob backup restore`

use std::path::PathBuf;

use clap::Parser;
use keyfob_sql::{RestorePreview, SqlStore, VersionsOf};
use serde_json::{Value, json};

use crate::context::Context;
use crate::embedded;
use crate::exit::{Exit, Failure, Outcome};
use crate::printer::{Printer, Table};

/// Make the content of a backup the content of the store
///
/// Says first what would be lost. Putting an older copy in the store's place by hand is refused, because that is what
/// an attacker would do; this is the way to mean it.
#[derive(Debug, Parser)]
#[command(after_help = "\
Examples:
  keyfob backup restore secrets-monday.db --dry-run   what would change
  keyfob backup restore secrets-monday.db             shows it and asks
  keyfob backup restore secrets-monday.db --yes       in a script

JSON: {backup_generation, present_generation, present_problem, missing_generations, lost, back, changed, restored};
`missing_generations` is null or [first, last], `lost` and `back` are arrays of {name, versions}, `changed` of {name, now, afterwards}.")]
pub(crate) struct Args {
    /// The backup
    file: PathBuf,

    /// Do not ask
    #[arg(long, short)]
    yes: bool,

    /// Say what would change, and change nothing
    #[arg(long, conflicts_with = "yes")]
    dry_run: bool,

    /// Print what changes, as JSON
    #[arg(long)]
    json: bool,
}

impl Args {
    pub(crate) fn run(self, context: &Context) -> Outcome {
        let printer = context.printer();
        let config = embedded::file_config(context)?;
        let file = context.environment().absolute(&self.file);
        if !self.yes {
            let preview = context.block_on(async {
                let config = embedded::connected(config.clone(), context).await?;
                SqlStore::preview_backup(config, &file).await
            })?;
            self.show(printer, &preview, false)?;
            if self.dry_run {
                return Ok(Exit::Success);
            }
            match printer.confirm(&format!("make `{}` the content of the store?", self.file.display())) {
                Some(true) => {}
                Some(false) => {
                    printer.note("nothing was changed");
                    return Ok(Exit::Failure);
                }
                None => {
                    return Err(Failure::usage(
                        "there is nobody to confirm it, nothing was changed",
                        "add `--yes`",
                    ));
                }
            }
        }
        let changed = context.block_on(async {
            let config = embedded::connected(config, context).await?;
            SqlStore::restore_backup(config, &file).await
        })?;
        if self.yes {
            self.show(printer, &changed, true)?;
        }
        printer.note(format_args!("the store has the content of `{}`", self.file.display()));
        Ok(Exit::Success)
    }

    fn show(&self, printer: &Printer, preview: &RestorePreview, restored: bool) -> Result<(), Failure> {
        if self.json {
            printer.json(&preview_json(preview, restored))?;
            return Ok(());
        }
        if let Some(problem) = &preview.present_problem {
            printer.warning(&format!(
                "the present store can't be read, all that it holds is lost: {problem}"
            ));
        }
        if let Some((first, last)) = preview.missing_generations {
            let store = match preview.present_generation {
                Some(present) => format!("the present store is an older copy, of generation {present}"),
                None => "there is no present store".to_owned(),
            };
            let generations = if first == last {
                format!("generation {first}")
            } else {
                format!("the generations {first} to {last}")
            };
            printer.warning(&format!(
                "{store}: what was written in {generations} is in neither file, and is lost"
            ));
        }
        let mut table = Table::new(&["SECRET", "CHANGE"]);
        let versions = |of: &VersionsOf| of.versions.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ");
        for lost in &preview.lost {
            table.row([lost.name.to_string(), format!("loses version {}", versions(lost))]);
        }
        for back in &preview.back {
            table.row([back.name.to_string(), format!("gets back version {}", versions(back))]);
        }
        for change in &preview.changed {
            let word = |version: &Option<keyfob::Version>| {
                version
                    .as_ref()
                    .map_or("deleted".to_owned(), |version| format!("version {version}"))
            };
            table.row([
                change.name.to_string(),
                format!("now {}, then {}", word(&change.now), word(&change.afterwards)),
            ]);
        }
        if table.is_empty() && preview.present_problem.is_none() {
            printer.note(match preview.missing_generations {
                None => "it holds what the store holds",
                Some(_) => "it holds what the present file holds",
            });
        }
        printer.table(&table)?;
        Ok(())
    }
}

fn preview_json(preview: &RestorePreview, restored: bool) -> Value {
    let versions_of = |all: &[VersionsOf]| -> Value {
        all.iter()
            .map(|of| json!({"name": of.name.as_str(), "versions": of.versions.iter().map(|version| version.as_str()).collect::<Vec<_>>()}))
            .collect()
    };
    let changed: Value = preview
        .changed
        .iter()
        .map(|change| {
            json!({
                "name": change.name.as_str(),
                "now": change.now.as_ref().map(|version| version.as_str()),
                "afterwards": change.afterwards.as_ref().map(|version| version.as_str()),
            })
        })
        .collect();
    json!({
        "backup_generation": preview.backup_generation,
        "present_generation": preview.present_generation,
        "present_problem": preview.present_problem.as_ref().map(ToString::to_string),
        "missing_generations": preview.missing_generations.map(|(first, last)| [first, last]),
        "lost": versions_of(&preview.lost),
        "back": versions_of(&preview.back),
        "changed": changed,
        "restored": restored,
    })
}

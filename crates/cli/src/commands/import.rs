//! `keyfob import`

use std::path::PathBuf;

use clap::Parser;
use futures_util::{StreamExt as _, TryStreamExt as _};
use keyfob::copy::refers_to_a_secret;
use keyfob::format::Format;
use keyfob::{
    Error, ErrorKind, Expired, GetOptions, GetRequest, Intent, PutMode, PutRequest, Result, SecretName, SecretStore, SecretValue,
    Verb, VersionSelector, flatten,
};
use serde::Serialize;

use crate::context::Context;
use crate::exit::{Exit, Failure, Outcome};
use crate::printer::Printer;
use crate::references::{STANDARD_INPUT, parse_format, text};

/// How many writes run at the same time.
const AT_ONCE: usize = 8;

#[derive(Debug, Parser)]
#[command(after_help = "\
Examples:
  keyfob import .env --dry-run
  keyfob import .env --prefix app/
  keyfob import secrets.yaml --overwrite
  sops decrypt secrets.json | keyfob import - --format json

JSON: {dry_run, created, changed, kept, unchanged}, each a list of names.")]
pub(crate) struct Args {
    /// A `.env`, JSON, YAML or TOML file; `-` is standard input
    file: PathBuf,

    /// What the names begin with, for example `app/`
    #[arg(long, value_name = "PREFIX", default_value = "", hide_default_value = true)]
    prefix: String,

    /// Replace values that exist
    #[arg(long)]
    overwrite: bool,

    /// Show what would be done, and do nothing
    #[arg(long)]
    dry_run: bool,

    /// `dotenv`, `json`, `yaml` or `toml`, whatever the name of the file says
    #[arg(long, value_name = "FORMAT", value_parser = parse_format)]
    format: Option<Format>,

    /// Print JSON
    #[arg(long)]
    json: bool,
}

impl Args {
    pub(crate) fn run(self, context: &Context) -> Outcome {
        let printer = context.printer();
        let values = self.values()?;
        let plan = context.block_on(async {
            let add = |intent: Intent, (name, _): &(SecretName, _)| intent.secret(name, &VersionSelector::Current);
            let intent = values.iter().fold(Intent::new(Verb::Put), add);
            let store = context.store(&intent).await?;
            let plan = Plan::make(&*store, values, self.overwrite).await?;
            if !self.dry_run {
                plan.carry_out(&*store, printer).await?;
            }
            Ok::<_, Error>(plan)
        })?;
        if self.json {
            printer.json(&plan.summary(self.dry_run))?;
        } else {
            plan.tell(printer, self.dry_run)?;
        }
        Ok(Exit::Success)
    }

    fn values(&self) -> Result<Vec<(SecretName, SecretValue)>, Failure> {
        let is_stdin = self.file.as_os_str() == STANDARD_INPUT;
        let format = match self.format {
            Some(format) => format,
            None if is_stdin => {
                return Err(Failure::usage(
                    "standard input has no name that tells its format",
                    "add `--format`",
                ));
            }
            None => Format::of_path(&self.file),
        };
        let text = text(&self.file)?;
        let shown = if is_stdin {
            "<stdin>".to_owned()
        } else {
            self.file.display().to_string()
        };
        let values = flatten(format, &text).map_err(|error| error.with("file", shown))?;
        let prefixed = values
            .into_iter()
            .map(|(name, value)| Ok((SecretName::new(format!("{}{name}", self.prefix))?, value)));
        Ok(prefixed.collect::<Result<_>>()?)
    }
}

struct Plan {
    entries: Vec<(SecretName, SecretValue, Fate)>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Fate {
    Created,
    Changed,
    Kept,
    Unchanged,
}

impl Plan {
    async fn make(store: &dyn SecretStore, values: Vec<(SecretName, SecretValue)>, overwrite: bool) -> Result<Self> {
        // What the store can't keep is refused before anything is written.
        for (name, value) in &values {
            store.info().capabilities.check_put(name, &PutRequest::new(value.clone()))?;
        }
        let options = GetOptions {
            expired: Expired::Allow,
            ..GetOptions::default()
        };
        let requests: Vec<GetRequest> = values
            .iter()
            .map(|(name, _)| GetRequest {
                name: name.clone(),
                options: options.clone(),
            })
            .collect();
        let present = store.get_many(&requests).await;
        let mut entries = Vec::with_capacity(values.len());
        for ((name, value), present) in values.into_iter().zip(present) {
            let fate = match present {
                Ok(present) if present.value.expose_secret() == value.expose_secret() => Fate::Unchanged,
                // What stands there refers to the secret, and must not take its place.
                Ok(_) if overwrite && !refers_to_a_secret(&value) => Fate::Changed,
                Ok(_) => Fate::Kept,
                Err(error) if error.kind() == ErrorKind::NotFound => Fate::Created,
                Err(error) => return Err(error),
            };
            entries.push((name, value, fate));
        }
        Ok(Self { entries })
    }

    async fn carry_out(&self, store: &dyn SecretStore, printer: &Printer) -> Result<()> {
        let writes: Vec<_> = self
            .entries
            .iter()
            .filter(|(_, _, fate)| matches!(fate, Fate::Created | Fate::Changed))
            .collect();
        let total = writes.len();
        let mut progress = printer.progress();
        let can_create = store.info().capabilities.put_create;
        let mut done = 0;
        let mut running = futures_util::stream::iter(writes)
            .map(|(name, value, fate)| async move {
                // Somebody may have made it since we looked: it is not ours to replace.
                let mode = if *fate == Fate::Created && can_create {
                    PutMode::Create
                } else {
                    PutMode::Upsert
                };
                store
                    .put(name, PutRequest::new(value.clone()).mode(mode))
                    .await
                    .map_err(|error| error.with("name", name.as_str()))
            })
            .buffer_unordered(AT_ONCE);
        while running.try_next().await?.is_some() {
            done += 1;
            progress.show(&format!("{done} of {total} written"));
        }
        Ok(())
    }

    fn names(&self, wanted: Fate) -> Vec<&str> {
        self.entries
            .iter()
            .filter(|(_, _, fate)| *fate == wanted)
            .map(|(name, _, _)| name.as_str())
            .collect()
    }

    fn tell(&self, printer: &Printer, dry_run: bool) -> Result<(), Failure> {
        let words = [
            (Fate::Created, "create"),
            (Fate::Changed, "change"),
            (Fate::Kept, "keep"),
            (Fate::Unchanged, "unchanged"),
        ];
        if dry_run {
            for (fate, word) in words {
                for name in self.names(fate) {
                    printer.line(format_args!("{word:<9} {}", crate::text::escape_untrusted(name)))?;
                }
            }
        }
        let count = |fate| self.names(fate).len();
        printer.note(format_args!(
            "{}{} created, {} changed, {} kept, {} unchanged",
            if dry_run { "would be: " } else { "" },
            count(Fate::Created),
            count(Fate::Changed),
            count(Fate::Kept),
            count(Fate::Unchanged)
        ));
        if count(Fate::Kept) > 0 {
            printer.hint("what exists with another value was kept; `--overwrite` replaces it");
        }
        Ok(())
    }

    fn summary(&self, dry_run: bool) -> SummaryJson<'_> {
        SummaryJson {
            dry_run,
            created: self.names(Fate::Created),
            changed: self.names(Fate::Changed),
            kept: self.names(Fate::Kept),
            unchanged: self.names(Fate::Unchanged),
        }
    }
}

#[derive(Serialize)]
struct SummaryJson<'a> {
    dry_run: bool,
    created: Vec<&'a str>,
    changed: Vec<&'a str>,
    kept: Vec<&'a str>,
    unchanged: Vec<&'a str>,
}

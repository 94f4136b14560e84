//! `keyfob sync`

use std::collections::BTreeSet;
use std::time::Duration;

use clap::Parser;
use futures_util::stream::{self, StreamExt as _};
use keyfob::copy::CopyReport;
use keyfob::{DeleteOptions, Deleted, Error, ErrorKind, Expired, GetOptions, Result, SecretName, Verb};
use serde::Serialize;

use crate::commands::list;
use crate::context::Context;
use crate::exit::{Exit, Failure, Outcome};
use crate::transfer::{self, Answer, FailedJson, Json, Named, Pair, What};

#[derive(Debug, Parser)]
#[command(after_help = "\
Examples:
  keyfob sync sqlite: dotenv:copy.env --dry-run
  keyfob sync sqlite: dotenv:copy.env --prefix db/
  keyfob sync sqlite: dotenv:old.env --prune --confirm-prune 1

JSON: {dry_run, created, changed, unchanged, left, failed, pruned, not_pruned}; the first lists as of `keyfob copy`, `pruned` a list of
names, `not_pruned` a list of {name, kind, why, hint}.

Exit status: 1 when a secret failed or could not be pruned, also with `--dry-run`.")]
pub(crate) struct Args {
    /// The store that says how it is to be: a URL, a store of `keyfob.toml`, a provider, or a `.env` file
    #[arg(value_name = "FROM")]
    from: String,

    /// The store that is to be so
    #[arg(value_name = "TO")]
    to: String,

    /// Delete what the target has and the source does not: so that it can be restored, where the store can
    #[arg(long)]
    prune: bool,

    /// Do not ask: delete, if it is exactly so many
    #[arg(long, value_name = "NUMBER", requires = "prune")]
    confirm_prune: Option<usize>,

    /// Show what would become of every secret, and do nothing
    #[arg(long)]
    dry_run: bool,

    #[command(flatten)]
    what: What,

    /// Print JSON
    #[arg(long)]
    json: bool,
}

#[derive(Serialize)]
struct SyncJson<'a> {
    #[serde(flatten)]
    copy: Json<'a>,
    pruned: Vec<&'a str>,
    not_pruned: Vec<FailedJson<'a>>,
}

/// What was done, or would be.
struct Done {
    report: CopyReport,
    pruned: Vec<SecretName>,
    not_pruned: Vec<(SecretName, Error)>,
}

impl Args {
    pub(crate) fn run(self, context: &Context) -> Outcome {
        transfer::refuse_store(
            context,
            "a sync has two stores",
            "name them one after the other instead of with `--store`",
        )?;
        let printer = context.printer();
        let Some(done) = context.block_on(self.carry_out(context))? else {
            printer.note("nothing was done");
            return Ok(Exit::Failure);
        };
        for (name, error) in &done.not_pruned {
            printer.warning(&format!("`{name}` is not deleted: {error}"));
        }
        let answer = Answer::new(&done.report, self.dry_run);
        if self.json {
            let not_pruned = done.not_pruned.iter().map(|(name, error)| FailedJson::new(name, error));
            printer.json(&SyncJson {
                copy: answer.json(),
                pruned: done.pruned.iter().map(SecretName::as_str).collect(),
                not_pruned: not_pruned.collect(),
            })?;
        } else {
            answer.tell(printer)?;
            if self.prune {
                for name in done.pruned.iter().filter(|_| self.dry_run) {
                    printer.line(format_args!("would delete {}", crate::text::escape_untrusted(name.as_str())))?;
                }
                let would = if self.dry_run { "would be: " } else { "" };
                printer.note(format_args!("{would}{} deleted", done.pruned.len()));
            }
        }
        Ok(match done.not_pruned.is_empty() {
            true => answer.exit(),
            false => Exit::Failure,
        })
    }

    /// `None` when nobody wanted it after all.
    async fn carry_out(&self, context: &Context) -> Result<Option<Done>, Failure> {
        let (from, to) = (Named::new("FROM", &self.from), Named::new("TO", &self.to));
        let pair = Pair::open(context, from, to, &self.what.prefix, Verb::Put).await?;
        let surplus = self.surplus(&pair).await?;
        let mut options = self.what.options();
        options.overwrite = true;
        options.bring_back = true;
        let plan = pair.plan(context, options).await?;
        let planned = plan.report();
        if self.dry_run {
            return Ok(Some(Done {
                report: planned,
                pruned: surplus,
                not_pruned: Vec::new(),
            }));
        }
        if !surplus.is_empty() && !self.confirmed(context, &pair, surplus.len())? {
            return Ok(None);
        }
        let told = transfer::tell_failures(context, &planned, &BTreeSet::new());
        let mut progress = context.printer().progress();
        let report = plan.carry_out(|at| transfer::show(&mut progress, at)).await;
        drop(progress);
        transfer::tell_failures(context, &report, &told);
        let mut done = Done {
            report,
            pruned: Vec::new(),
            not_pruned: Vec::new(),
        };
        if !surplus.is_empty() && done.report.failures().next().is_some() {
            context
                .printer()
                .warning("nothing is deleted, because a secret could not be copied");
        } else {
            self.delete(&pair, surplus, &mut done).await;
        }
        Ok(Some(done))
    }

    /// What only the target has.
    async fn surplus(&self, pair: &Pair) -> Result<Vec<SecretName>, Failure> {
        if !self.prune {
            return Ok(Vec::new());
        }
        let (source, target) = (&pair.from.store, &pair.to.store);
        let names = |listed: Vec<keyfob::Metadata>| listed.into_iter().map(|metadata| metadata.name).collect();
        let wanted: BTreeSet<SecretName> = names(list::all(&**source, &self.what.prefix, Deleted::Exclude).await?);
        if wanted.is_empty() {
            let error = Error::new(ErrorKind::NotFound, "the source has no secrets, and then nothing is pruned");
            return Err(error
                .with("store", pair.from.place.clone())
                .with_hint("is it the right store, and the right prefix? `keyfob delete` deletes on purpose")
                .into());
        }
        let present: BTreeSet<SecretName> = names(list::all(&**target, &self.what.prefix, Deleted::Exclude).await?);
        let surplus = present.difference(&wanted).filter(|name| !name.is_reserved());
        Ok(surplus.cloned().collect())
    }

    fn confirmed(&self, context: &Context, pair: &Pair, count: usize) -> Result<bool, Failure> {
        let secrets = if count == 1 {
            "1 secret".to_owned()
        } else {
            format!("{count} secrets")
        };
        if let Some(confirmed) = self.confirm_prune {
            if confirmed == count {
                return Ok(true);
            }
            return Err(Failure::usage(
                format!("`--confirm-prune` says {confirmed}, and {secrets} would be deleted"),
                "look at them with `--dry-run`",
            ));
        }
        let for_good = match pair.to.store.info().capabilities.delete_recoverable {
            true => "",
            false => " FOR GOOD",
        };
        let question = format!(
            "delete {secrets} of {}{for_good}, which {} does not have?",
            pair.to.place, pair.from.place
        );
        context.printer().confirm(&question).ok_or_else(|| {
            Failure::usage(
                format!("there is nobody to confirm the deletion of {secrets}{for_good}"),
                format!("look at them with `--dry-run`, then add `--confirm-prune {count}`"),
            )
        })
    }

    async fn delete(&self, pair: &Pair, surplus: Vec<SecretName>, done: &mut Done) {
        let pause = self.what.pause();
        let mut deletions = Box::pin(
            stream::iter(surplus)
                .then(|name| async move {
                    tokio::time::sleep(pause).await;
                    name
                })
                .map(|name| async move { (delete(pair, &name).await, name) })
                .buffered(self.what.concurrency.get()),
        );
        while let Some((deleted, name)) = deletions.next().await {
            match deleted {
                Ok(()) => done.pruned.push(name),
                Err(error) => done.not_pruned.push((name, error)),
            }
        }
    }
}

async fn delete(pair: &Pair, name: &SecretName) -> Result<()> {
    let fresh = GetOptions {
        max_age: Some(Duration::ZERO),
        expired: Expired::Allow,
        ..GetOptions::default()
    };
    match pair.from.store.get(name, &fresh).await {
        Err(error) if error.kind() == ErrorKind::NotFound => {}
        Err(error) => return Err(error.with("name", name.as_str())),
        Ok(_) => {
            let error = Error::new(ErrorKind::Conflict, "the source has the secret now");
            return Err(error.with("name", name.as_str()).with_hint("sync again"));
        }
    }
    match pair.to.store.delete(name, &DeleteOptions::default()).await {
        Err(error) if error.kind() != ErrorKind::NotFound => Err(error.with("name", name.as_str())),
        _ => Ok(()),
    }
}

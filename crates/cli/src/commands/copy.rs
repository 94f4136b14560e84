//! `keyfob copy`

mod answer;

use std::collections::BTreeSet;
use std::num::NonZeroUsize;
use std::sync::Arc;

use clap::Parser;
use keyfob::copy::{self, CopyOptions, CopyProgress, CopyReport};
use keyfob::{Error, ErrorKind, Intent, SecretStore, Verb};

use self::answer::Answer;
use crate::context::Context;
use crate::exit::{Exit, Failure, Outcome};
use crate::printer::Progress;

#[derive(Debug, Parser)]
#[command(after_help = "\
Examples:
  keyfob copy --from team --to dotenv:copy.env --dry-run
  keyfob copy --from team --to dotenv:copy.env --prefix db/
  keyfob copy --from dotenv:.env --to sqlite: --overwrite
  keyfob copy --from sqlite: --to dotenv:copy.env --json | jq -r .created[]

JSON: {dry_run, created, changed, unchanged, left, failed}; each a list of names, and `failed` a
list of {name, kind, why, hint}.

Exit status: 1 when a secret failed, also with `--dry-run`. What was left alone is no failure.")]
pub(crate) struct Args {
    /// Where to copy from: a URL, a store of `keyfob.toml`, or a provider
    #[arg(long, value_name = "URL|NAME")]
    from: String,

    /// Where to copy to: a URL, a store of `keyfob.toml`, or a provider
    #[arg(long, value_name = "URL|NAME")]
    to: String,

    /// Only names that begin with this text
    #[arg(long, value_name = "PREFIX", default_value = "", hide_default_value = true)]
    prefix: String,

    /// Replace what the target has with another value or other metadata
    #[arg(long)]
    overwrite: bool,

    /// Show what would become of every secret, and do nothing
    #[arg(long)]
    dry_run: bool,

    /// Copy what has expired too, with its expiry; else it fails
    #[arg(long)]
    include_expired: bool,

    /// Copy without the description, tags or expiry that the target can't keep; else such a secret fails
    #[arg(long)]
    drop_metadata: bool,

    /// How many secrets are looked at or written at the same time
    #[arg(long, short = 'j', value_name = "NUMBER", default_value_t = DEFAULT_CONCURRENCY)]
    concurrency: NonZeroUsize,

    /// Print JSON
    #[arg(long)]
    json: bool,
}

const DEFAULT_CONCURRENCY: NonZeroUsize = NonZeroUsize::new(copy::DEFAULT_CONCURRENCY).expect("it is not zero");

impl Args {
    pub(crate) fn run(self, context: &Context) -> Outcome {
        if context.select_options().store.is_some() {
            return Err(Failure::usage(
                "a copy has two stores",
                "name them with `--from` and `--to` instead of `--store`",
            ));
        }
        let printer = context.printer();
        let report = context.block_on::<_, Error>(async {
            let listing = Intent::new(Verb::List).prefix(&self.prefix);
            let (from, from_url) = connect(context, "--from", &self.from, &listing).await?;
            // What it will be is known when the other one has told its names.
            let (to, to_url) = connect(context, "--to", &self.to, &Intent::new(Verb::Put)).await?;
            let is_file = to.info().location.starts_with('/');
            // What follows the `?` can choose an account, which the place does not show.
            if copy::is_same_store(&*from, &*to) && (is_file || parameters(&from_url) == parameters(&to_url)) {
                return Err(Error::new(ErrorKind::InvalidInput, "`--from` and `--to` are the same store")
                    .with("store", to.info().location.clone()));
            }
            let mut progress = printer.progress();
            let plan = copy::plan(from, to, self.options(), |at| show(&mut progress, at)).await?;
            drop(progress);
            let planned = plan.report();
            if self.dry_run {
                return Ok(planned);
            }
            // Before anything is written, so that who reads it can still stop.
            let told = tell_failures(context, &planned, &BTreeSet::new());
            let mut progress = printer.progress();
            let report = plan.carry_out(|at| show(&mut progress, at)).await;
            drop(progress);
            tell_failures(context, &report, &told);
            Ok(report)
        })?;
        let answer = Answer::new(&report, self.dry_run);
        if self.json {
            answer.print_json(printer)?;
        } else {
            answer.tell(printer)?;
        }
        Ok(if report.failures().next().is_none() {
            Exit::Success
        } else {
            Exit::Failure
        })
    }

    fn options(&self) -> CopyOptions {
        let mut options = CopyOptions::default();
        options.prefix.clone_from(&self.prefix);
        options.overwrite = self.overwrite;
        options.include_expired = self.include_expired;
        options.drop_metadata = self.drop_metadata;
        options.concurrency = self.concurrency.get();
        options
    }
}

/// A store, and its URL to be shown.
async fn connect(
    context: &Context,
    option: &'static str,
    text: &str,
    intent: &Intent,
) -> Result<(Arc<dyn SecretStore>, String), Error> {
    let connected = context.store_of(text, intent).await;
    connected.map_err(|error| error.with("option", option))
}

fn parameters(url: &str) -> Option<&str> {
    url.split_once('?').map(|(_, parameters)| parameters)
}

/// Warns of every failure that was not `told` before, and gives the names of all that have been told now.
fn tell_failures(context: &Context, report: &CopyReport, told: &BTreeSet<String>) -> BTreeSet<String> {
    let mut names = told.clone();
    for (name, error) in report.failures() {
        if names.insert(name.to_string()) {
            context.printer().warning(&format!("`{name}` is not copied: {error}"));
        }
    }
    names
}

fn show(progress: &mut Progress, at: CopyProgress) {
    match at {
        CopyProgress::Compared(count) => progress.show(&format!("{count} compared")),
        CopyProgress::Written { done, total } => progress.show(&format!("{done} of {total} written")),
    }
}

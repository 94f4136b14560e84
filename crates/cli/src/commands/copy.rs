//! `keyfob copy`

use std::collections::BTreeSet;

use clap::Parser;
use keyfob::{Error, Verb};

use crate::context::Context;
use crate::exit::Outcome;
use crate::transfer::{self, Answer, Named, Pair, What};

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

    /// Replace what the target has with another value or other metadata
    #[arg(long)]
    overwrite: bool,

    /// Show what would become of every secret, and do nothing
    #[arg(long)]
    dry_run: bool,

    #[command(flatten)]
    what: What,

    /// Print JSON
    #[arg(long)]
    json: bool,
}

impl Args {
    pub(crate) fn run(self, context: &Context) -> Outcome {
        transfer::refuse_store(
            context,
            "a copy has two stores",
            "name them with `--from` and `--to` instead of `--store`",
        )?;
        let printer = context.printer();
        let report = context.block_on::<_, Error>(async {
            let (from, to) = (Named::new("--from", &self.from), Named::new("--to", &self.to));
            let pair = Pair::open(context, from, to, &self.what.prefix, Verb::Put).await?;
            let mut options = self.what.options();
            options.overwrite = self.overwrite;
            let plan = pair.plan(context, options).await?;
            let planned = plan.report();
            if self.dry_run {
                return Ok(planned);
            }
            // Before anything is written, so that who reads it can still stop.
            let told = transfer::tell_failures(context, &planned, &BTreeSet::new());
            let mut progress = printer.progress();
            let report = plan.carry_out(|at| transfer::show(&mut progress, at)).await;
            drop(progress);
            transfer::tell_failures(context, &report, &told);
            Ok(report)
        })?;
        let answer = Answer::new(&report, self.dry_run);
        if self.json {
            printer.json(&answer.json())?;
        } else {
            answer.tell(printer)?;
        }
        Ok(answer.exit())
    }
}

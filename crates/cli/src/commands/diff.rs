//! `keyfob diff`

mod compare;

use clap::Parser;
use keyfob::{SecretName, Verb};
use serde::Serialize;

use self::compare::Compared;
use crate::context::Context;
use crate::exit::{Exit, Failure, Outcome, OutputError};
use crate::printer::{Printer, Table};
use crate::transfer::{self, DEFAULT_CONCURRENCY, Named, Pair};

#[derive(Debug, Parser)]
#[command(after_help = "\
Examples:
  keyfob diff sqlite: dotenv:.env || test $? = 1
  keyfob diff sqlite: dotenv:.env --prefix db/ --json || test $? = 1

JSON: {same, only_in_a, only_in_b, differ}; `same` is a number, `only_in_a` and `only_in_b` are lists of names, and `differ` is a
list of {name, value, description, tags, expiry, a, b}: what differs, and a hash of each value that means something in this
answer only.

Exit status: 0 when nothing differs, 1 when something does, 2 when it could not be found out.")]
pub(crate) struct Args {
    /// A store: a URL, a store of `keyfob.toml`, a provider, or a `.env` file
    #[arg(value_name = "STORE_A")]
    a: String,

    /// The store that it is compared with
    #[arg(value_name = "STORE_B")]
    b: String,

    /// Only names that begin with this text
    #[arg(long, value_name = "PREFIX", default_value = "", hide_default_value = true)]
    prefix: String,

    /// How many secrets are compared at the same time
    #[arg(long, short = 'j', value_name = "NUMBER", default_value_t = DEFAULT_CONCURRENCY)]
    concurrency: std::num::NonZeroUsize,

    /// Print JSON
    #[arg(long)]
    json: bool,
}

#[derive(Serialize)]
struct DiffJson<'a> {
    same: usize,
    only_in_a: Vec<&'a str>,
    only_in_b: Vec<&'a str>,
    differ: Vec<DifferJson<'a>>,
}

#[derive(Serialize)]
struct DifferJson<'a> {
    name: &'a str,
    value: bool,
    description: bool,
    tags: bool,
    expiry: bool,
    a: &'a str,
    b: &'a str,
}

impl Args {
    pub(crate) fn run(self, context: &Context) -> Outcome {
        transfer::refuse_store(
            context,
            "a comparison has two stores",
            "name them one after the other instead of with `--store`",
        )?;
        let printer = context.printer();
        let compared = context.block_on(async {
            let (a, b) = (Named::new("STORE_A", &self.a), Named::new("STORE_B", &self.b));
            let pair = Pair::open(context, a, b, &self.prefix, Verb::List).await?;
            let mut progress = printer.progress();
            compare::compare(
                &*pair.from.store,
                &*pair.to.store,
                &self.prefix,
                self.concurrency.get(),
                |count| progress.show(&format!("{count} compared")),
            )
            .await
        });
        // As `diff`: 1 says that something differs, and nothing else may.
        let compared = compared.map_err(Failure::Usage)?;
        for (name, error) in &compared.failed {
            printer.warning(&format!("`{name}` could not be compared: {error}"));
        }
        if self.json {
            printer.json(&json(&compared))?;
        } else {
            tell(&compared, printer)?;
        }
        Ok(match (compared.failed.is_empty(), compared.is_same()) {
            (false, _) => Exit::Usage,
            (true, false) => Exit::Failure,
            (true, true) => Exit::Success,
        })
    }
}

fn json(compared: &Compared) -> DiffJson<'_> {
    let differ = compared.differ.iter().map(|difference| DifferJson {
        name: difference.name.as_str(),
        value: difference.value,
        description: difference.description,
        tags: difference.tags,
        expiry: difference.expiry,
        a: &difference.hashes.0,
        b: &difference.hashes.1,
    });
    DiffJson {
        same: compared.same,
        only_in_a: compared.only_in_a.iter().map(SecretName::as_str).collect(),
        only_in_b: compared.only_in_b.iter().map(SecretName::as_str).collect(),
        differ: differ.collect(),
    }
}

fn tell(compared: &Compared, printer: &Printer) -> Result<(), OutputError> {
    let mut rows: Vec<(&SecretName, String)> = Vec::new();
    rows.extend(compared.only_in_a.iter().map(|name| (name, "only in the first".to_owned())));
    rows.extend(compared.only_in_b.iter().map(|name| (name, "only in the second".to_owned())));
    rows.extend(
        compared
            .differ
            .iter()
            .map(|difference| (&difference.name, difference.words().join(", "))),
    );
    rows.sort_unstable();
    let mut table = Table::new(&["NAME", "DIFFERENCE"]);
    for (name, difference) in rows {
        table.row([name.to_string(), difference]);
    }
    if !table.is_empty() {
        printer.table(&table)?;
    }
    for kept in &compared.not_compared {
        printer.note(format_args!("{kept} is not compared: one of the stores keeps none"));
    }
    printer.note(format_args!(
        "{} the same, {} only in the first, {} only in the second, {} differ",
        compared.same,
        compared.only_in_a.len(),
        compared.only_in_b.len(),
        compared.differ.len()
    ));
    Ok(())
}

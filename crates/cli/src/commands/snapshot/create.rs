//! `keyfob snapshot create`

use std::collections::BTreeSet;
use std::num::NonZeroUsize;

use clap::Parser;
use keyfob::snapshot::{CreateOptions, Manifest, Parent};
use keyfob::{DEFAULT_SCHEME, Error, Intent, Result, SecretName, Snapshots, Verb};

use super::Place;
use super::summary::SummaryJson;
use crate::context::Context;
use crate::embedded;
use crate::exit::{Exit, Failure, Outcome};

/// Keep what the store has now, in one encrypted file
///
/// Every secret with its value, description, tags, expiry and the version that it has; not older versions, and not what is
/// deleted. A secret that can't be read fails the whole snapshot. The file appears complete or not at all.
///
/// What is as it was in the newest snapshot of the same store and prefix is not written again: the new one builds on that one, and
/// needs its file. `--parent none` makes one that needs no other.
#[derive(Debug, Parser)]
#[command(after_help = "\
Examples:
  keyfob snapshot create
  keyfob snapshot create --prefix db/ --note 'before the upgrade'
  keyfob snapshot create --name db/password --name mail/login
  keyfob snapshot create --parent none --json | jq -r .path

Prints the id. JSON: {id, path, begun, finished, store, location, prefix, whole, note, secrets, own, bytes, bases};
`own` is how many values are in the file itself, `bases` are the snapshots that have the others.

Exit status: 1 also when there is no secret of a `--name`.")]
pub(crate) struct Args {
    /// Only names that begin with this text
    #[arg(long, value_name = "PREFIX", default_value = "", hide_default_value = true)]
    prefix: String,

    /// Only this secret; can be given several times
    #[arg(long = "name", value_name = "NAME")]
    names: Vec<String>,

    /// Not names that begin with this text; can be given several times
    #[arg(long, value_name = "PREFIX")]
    exclude: Vec<String>,

    /// Why it is made; everybody who has the file can read it
    #[arg(long, value_name = "TEXT")]
    note: Option<String>,

    /// The snapshot to build on, or `none`; the newest of the same store and prefix if not given
    #[arg(long, value_name = "ID")]
    parent: Option<String>,

    /// Do not compress: the length of a compressed value tells something about it
    #[arg(long)]
    no_compress: bool,

    /// How many secrets are read at the same time
    #[arg(long, short = 'j', value_name = "NUMBER", default_value = "16")]
    concurrency: NonZeroUsize,

    #[command(flatten)]
    place: Place,

    /// Print JSON
    #[arg(long)]
    json: bool,
}

impl Args {
    pub(crate) fn run(self, context: &Context) -> Outcome {
        let printer = context.printer();
        let names = self.names.iter().map(SecretName::new);
        let names: BTreeSet<SecretName> = names.collect::<Result<_>>().map_err(Failure::Usage)?;
        let (made, path) = context.block_on::<_, Error>(async {
            let manager = context.manager()?;
            let snapshots = self.place.of(&manager, context)?;
            let intent = Intent::new(Verb::List).prefix(&self.prefix);
            let store = manager.store_for(DEFAULT_SCHEME, &intent).await;
            let store = store.map_err(embedded::hint_at_init)?;
            let options = self.options(&snapshots, &names).await?;
            let mut progress = printer.progress();
            let made = snapshots
                .create(&*store, options, |count| progress.show(&format!("{count} read")))
                .await?;
            Ok((made.clone(), snapshots.directory().path_of(made.summary.id)))
        })?;
        let summary = &made.summary;
        let new = match summary.bases.is_empty() {
            true => String::new(),
            false => format!(", {} of them new or changed", summary.own),
        };
        printer.note(format_args!(
            "{} secrets{new}, {} bytes in `{}`",
            summary.secrets,
            summary.bytes,
            path.display()
        ));
        if self.json {
            printer.json(&SummaryJson::new(summary, &path))?;
        } else {
            printer.line(summary.id)?;
        }
        Ok(self.exit(context, &made, &names))
    }

    async fn options(&self, snapshots: &Snapshots, names: &BTreeSet<SecretName>) -> Result<CreateOptions> {
        let mut options = CreateOptions::default();
        options.prefix.clone_from(&self.prefix);
        options.names = (!names.is_empty()).then(|| names.clone());
        options.exclude.clone_from(&self.exclude);
        options.note.clone_from(&self.note);
        options.compress = !self.no_compress;
        options.concurrency = self.concurrency.get();
        options.parent = match self.parent.as_deref() {
            None => Parent::Newest,
            Some("none") => Parent::None,
            Some(selector) => Parent::Of(snapshots.find(selector).await?),
        };
        Ok(options)
    }

    /// Says which of the chosen names the store does not have.
    fn exit(&self, context: &Context, made: &Manifest, names: &BTreeSet<SecretName>) -> Exit {
        let mut exit = Exit::Success;
        for name in names.iter().filter(|name| made.secret(name).is_none()) {
            context
                .printer()
                .warning(&format!("`{name}` is not in the snapshot: there is no such secret"));
            exit = Exit::Failure;
        }
        exit
    }
}

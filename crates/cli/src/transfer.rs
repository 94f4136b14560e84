//! What the commands that bring secrets from one store into another have in common.

mod answer;

use std::collections::BTreeSet;
use std::num::{NonZeroU32, NonZeroUsize};
use std::sync::Arc;
use std::time::Duration;

use keyfob::copy::{self, CopyOptions, CopyProgress, CopyReport};
use keyfob::{Error, ErrorKind, Intent, Result, SecretStore, Verb};

pub(crate) use self::answer::{Answer, FailedJson, Json};
use crate::context::Context;
use crate::exit::Failure;
use crate::printer::Progress;

/// How many secrets are looked at or written at the same time when nobody says otherwise.
pub(crate) const DEFAULT_CONCURRENCY: NonZeroUsize = NonZeroUsize::new(copy::DEFAULT_CONCURRENCY).expect("it is not zero");

// Which secrets, and what of them: options that each such command has. No documentation, which would become that of the command.
#[derive(Debug, clap::Args)]
pub(crate) struct What {
    /// Only names that begin with this text
    #[arg(long, value_name = "PREFIX", default_value = "", hide_default_value = true)]
    pub(crate) prefix: String,

    /// Copy what has expired too, with its expiry; else it fails
    #[arg(long)]
    include_expired: bool,

    /// Copy without the description, tags or expiry that the target can't keep; else such a secret fails
    #[arg(long)]
    drop_metadata: bool,

    /// How many secrets are looked at or written at the same time
    #[arg(long, short = 'j', value_name = "NUMBER", default_value_t = DEFAULT_CONCURRENCY)]
    pub(crate) concurrency: NonZeroUsize,

    /// At most so many writes in a second
    #[arg(long, value_name = "NUMBER")]
    rate: Option<NonZeroU32>,
}

impl What {
    pub(crate) fn options(&self) -> CopyOptions {
        let mut options = CopyOptions::default();
        options.prefix.clone_from(&self.prefix);
        options.include_expired = self.include_expired;
        options.drop_metadata = self.drop_metadata;
        options.concurrency = self.concurrency.get();
        options.rate = self.rate;
        options
    }

    /// The least time between two writes.
    pub(crate) fn pause(&self) -> Duration {
        self.rate.map_or(Duration::ZERO, |rate| Duration::from_secs(1) / rate.get())
    }
}

/// One of the two stores, as the command line says it.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Named<'a> {
    /// The option or argument that says it.
    option: &'static str,
    /// What it says.
    text: &'a str,
}

impl<'a> Named<'a> {
    pub(crate) const fn new(option: &'static str, text: &'a str) -> Self {
        Self { option, text }
    }
}

/// A store that is open, and its URL to be shown.
pub(crate) struct Opened {
    pub(crate) store: Arc<dyn SecretStore>,
    pub(crate) place: String,
}

/// Both stores.
pub(crate) struct Pair {
    pub(crate) from: Opened,
    pub(crate) to: Opened,
}

impl Pair {
    /// Opens both: the first to be read, the second for `verb`.
    ///
    /// # Errors
    /// `InvalidInput` when they are the same store; those of [`Context::store_of`].
    pub(crate) async fn open(context: &Context, from: Named<'_>, to: Named<'_>, prefix: &str, verb: Verb) -> Result<Self> {
        let options = (from.option, to.option);
        let from = open(context, from, &Intent::new(Verb::List).prefix(prefix)).await?;
        let intent = Intent::new(verb);
        // What a write will be is known when the other one has told its names.
        let intent = if verb == Verb::List { intent.prefix(prefix) } else { intent };
        let to = open(context, to, &intent).await?;
        let is_file = to.store.info().location.starts_with('/');
        // What follows the `?` can choose an account, which the place does not show.
        if copy::is_same_store(&*from.store, &*to.store) && (is_file || parameters(&from.place) == parameters(&to.place)) {
            let message = format!("`{}` and `{}` are the same store", options.0, options.1);
            return Err(Error::new(ErrorKind::InvalidInput, message).with("store", to.store.info().location.clone()));
        }
        Ok(Self { from, to })
    }

    /// Looks at every secret and shows how far that is.
    ///
    /// A file whose secrets were moved into a store refers to them: what stands there now must not become the secret.
    ///
    /// # Errors
    /// Those of [`copy::plan`].
    pub(crate) async fn plan(&self, context: &Context, mut options: CopyOptions) -> Result<copy::CopyPlan> {
        options.leave_references = is_configuration(&self.from) && !is_configuration(&self.to);
        let mut progress = context.printer().progress();
        let (from, to) = (Arc::clone(&self.from.store), Arc::clone(&self.to.store));
        copy::plan(from, to, options, |at| show(&mut progress, at)).await
    }
}

/// Opens a store that the command line names.
///
/// # Errors
/// Those of [`Context::store_of`], with the option.
pub(crate) async fn open(context: &Context, named: Named<'_>, intent: &Intent) -> Result<Opened> {
    let opened = context.store_of(named.text, intent).await;
    let (store, place) = opened.map_err(|error| error.with("option", named.option))?;
    Ok(Opened { store, place })
}

/// `--store` names one store, and here there are two.
///
/// # Errors
/// A wrong use of the command line, when it is given.
pub(crate) fn refuse_store(context: &Context, what: &'static str, instead: &'static str) -> Result<(), Failure> {
    match context.select_options().store {
        Some(_) => Err(Failure::usage(what, instead)),
        None => Ok(()),
    }
}

/// Whether values are read with references in them resolved.
fn is_configuration(opened: &Opened) -> bool {
    matches!(&*opened.store.info().scheme, "dotenv" | "env")
}

fn parameters(url: &str) -> Option<&str> {
    url.split_once('?').map(|(_, parameters)| parameters)
}

/// Warns of every failure that was not `told` before, and gives the names of all that have been told now.
pub(crate) fn tell_failures(context: &Context, report: &CopyReport, told: &BTreeSet<String>) -> BTreeSet<String> {
    let mut names = told.clone();
    for (name, error) in report.failures() {
        if names.insert(name.to_string()) {
            context.printer().warning(&format!("`{name}` is not copied: {error}"));
        }
    }
    names
}

pub(crate) fn show(progress: &mut Progress, at: CopyProgress) {
    match at {
        CopyProgress::Compared(count) => progress.show(&format!("{count} compared")),
        CopyProgress::Written { done, total } => progress.show(&format!("{done} of {total} written")),
    }
}

//! What every command works with.

use std::cell::{OnceCell, RefCell};
use std::collections::BTreeSet;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use keyfob::{
    DEFAULT_SCHEME, Environment, Error, ErrorKind, Intent, Reason, Result, SecretManager, SecretStore, SelectOptions, Selection,
    is_scheme, variables,
};
use tracing_subscriber::filter::{LevelFilter, Targets};
use tracing_subscriber::layer::SubscriberExt as _;
use tracing_subscriber::util::SubscriberInitExt as _;

use crate::args::GlobalArgs;
use crate::embedded;
use crate::printer::Printer;
use crate::warnings::Warnings;

/// The options that hold for every command, and what follows from them. Nothing is looked at before it is needed.
pub(crate) struct Context {
    options: GlobalArgs,
    printer: Printer,
    environment: OnceCell<Environment>,
    /// Those that were made, for what they record.
    managers: RefCell<Vec<SecretManager>>,
}

/// How long a command that ends waits for its audit log.
const AUDIT_PATIENCE: Duration = Duration::from_secs(2);

/// An error and what lies below it, in one line.
pub(crate) fn with_causes(error: &Error) -> String {
    let below = std::iter::successors(std::error::Error::source(error), |cause| cause.source());
    below.fold(error.to_string(), |text, cause| format!("{text}: {cause}"))
}

impl Context {
    pub(crate) fn new(options: GlobalArgs) -> Self {
        let printer = Printer::new(options.color, options.quiet);
        match options.verbose {
            0 => tell_warnings(printer.clone()),
            verbose => tell_what_is_done(verbose),
        }
        Self {
            options,
            printer,
            environment: OnceCell::new(),
            managers: RefCell::default(),
        }
    }

    pub(crate) fn printer(&self) -> &Printer {
        &self.printer
    }

    /// The process's variables and files.
    pub(crate) fn environment(&self) -> &Environment {
        self.environment.get_or_init(Environment::from_process)
    }

    /// What the command line says about the store.
    pub(crate) fn select_options(&self) -> SelectOptions {
        SelectOptions {
            project: self.options.project.clone(),
            store: self.options.store.clone(),
            environment: self.options.env.clone(),
            ..SelectOptions::default()
        }
    }

    /// Which store and which settings apply, and why.
    ///
    /// # Errors
    /// See [`Selection::of`].
    pub(crate) fn selection(&self) -> Result<Selection> {
        Selection::of(self.environment(), &self.select_options())
    }

    /// The stores that this command may ask.
    ///
    /// Without a cache: the process ends before it could serve twice. A passphrase that is nowhere else is asked for.
    ///
    /// # Errors
    /// See [`SecretManagerBuilder::build_lazily`](keyfob::SecretManagerBuilder::build_lazily).
    pub(crate) fn manager(&self) -> Result<SecretManager> {
        self.manager_allowing(None)
    }

    /// The same, with references limited to these schemes.
    ///
    /// # Errors
    /// Those of [`manager`](Self::manager).
    pub(crate) fn manager_allowing(&self, allow: Option<BTreeSet<String>>) -> Result<SecretManager> {
        self.manager_with(SelectOptions {
            allow,
            ..self.select_options()
        })
    }

    /// The same, for what needs no key: nobody is asked for a passphrase.
    ///
    /// # Errors
    /// Those of [`manager`](Self::manager).
    pub(crate) fn manager_without_asking(&self) -> Result<SecretManager> {
        self.manager_in(self.environment().clone(), self.select_options())
    }

    fn manager_with(&self, options: SelectOptions) -> Result<SecretManager> {
        let mut environment = self.environment().clone();
        if embedded::can_ask()
            && let Ok(choice) = Selection::of(self.environment(), &options)?.store
        {
            let fallbacks = choice.fallbacks.iter().map(|store| &store.url);
            for url in std::iter::once(&choice.url).chain(fallbacks) {
                environment = embedded::ask_for_missing_passphrase(&environment, url)?;
            }
        }
        self.manager_in(environment, options)
    }

    fn manager_in(&self, environment: Environment, options: SelectOptions) -> Result<SecretManager> {
        let options = SelectOptions {
            cache_ttl: Some(Duration::ZERO),
            reason: self.reason()?,
            ..options
        };
        let manager = SecretManager::builder()
            .environment(environment)
            .options(options)
            // Whoever asks for `--verbose` on a command line knows the names.
            .trace_names(true)
            .build_lazily()?;
        self.managers.borrow_mut().push(manager.clone());
        Ok(manager)
    }

    /// What this command is for: `--reason`, else `KEYFOB_REASON`.
    fn reason(&self) -> Result<Option<Reason>> {
        if let Some(reason) = &self.options.reason {
            return Ok(Some(reason.clone()));
        }
        let name = variables::KEYFOB_REASON.name;
        let Some(text) = self.environment().var(name)? else {
            return Ok(None);
        };
        Reason::new(text).map(Some).map_err(|error| error.with("variable", name))
    }

    /// Writes down what is still to be recorded of this command's accesses, for which nobody waits longer than a moment. Before the process ends
    /// or becomes another.
    pub(crate) fn close_audit(&self) {
        for manager in self.managers.take() {
            if let Err(error) = manager.close_audit_within(AUDIT_PATIENCE) {
                self.printer.warning(&with_causes(&error));
            }
        }
    }

    /// The store that is meant, connected for what is intended.
    ///
    /// # Errors
    /// See [`SecretManager::store_for`]; with a hint how to make a store where there is none.
    pub(crate) async fn store(&self, intent: &Intent) -> Result<Arc<dyn SecretStore>> {
        let store = self.manager()?.store_for(DEFAULT_SCHEME, intent).await;
        store.map_err(embedded::hint_at_init)
    }

    /// The stores, the default one of which is the store that `text` means, as it would after `--store`.
    ///
    /// What can't be the name of a store and is a file means that file, as `dotenv:` does.
    ///
    /// # Errors
    /// Those of [`manager`](Self::manager).
    pub(crate) fn manager_of(&self, text: &str) -> Result<SecretManager> {
        self.manager_with(SelectOptions {
            store: Some(store_of_file(text).unwrap_or_else(|| text.to_owned())),
            ..self.select_options()
        })
    }

    /// The store that `text` means, as it would after `--store`, connected for what is intended; and its URL, safe to show.
    ///
    /// # Errors
    /// Those of [`store`](Self::store).
    pub(crate) async fn store_of(&self, text: &str, intent: &Intent) -> Result<(Arc<dyn SecretStore>, String)> {
        let manager = self.manager_of(text)?;
        let url = manager.location_of(DEFAULT_SCHEME)?;
        let store = manager
            .store_for(DEFAULT_SCHEME, intent)
            .await
            .map_err(embedded::hint_at_init)?;
        Ok((store, url))
    }

    /// Runs the asynchronous part of a command.
    ///
    /// # Errors
    /// Those of `work`, and `Other` when the system lets us have no event loop.
    pub(crate) fn block_on<T, E: From<Error>>(&self, work: impl Future<Output = Result<T, E>>) -> Result<T, E> {
        // One thread for blocking work: a second one would only wait for the same file, and costs a stack and a heap.
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .max_blocking_threads(1)
            .build();
        let runtime = runtime.map_err(|error| Error::new(ErrorKind::Other, "can't start").with_source(error))?;
        let done = runtime.block_on(work);
        // What still blocks is nobody's business any more: a program for credentials that never ends, an address that is
        // looked up. A write has ended when `work` has.
        runtime.shutdown_timeout(Duration::from_millis(500));
        done
    }
}

/// The URL of a `.env` file that was named by its path.
fn store_of_file(text: &str) -> Option<String> {
    let is_path = !text.contains(':') && !is_scheme(text) && Path::new(text).is_file();
    let is_plain = |byte: &u8| byte.is_ascii_alphanumeric() || b"/._-~".contains(byte);
    let encode = |byte: u8| match is_plain(&byte) {
        true => char::from(byte).to_string(),
        false => format!("%{byte:02X}"),
    };
    is_path.then(|| format!("dotenv:{}", text.bytes().map(encode).collect::<String>()))
}

fn tell_warnings(printer: Printer) {
    let own = Targets::new().with_target("keyfob", LevelFilter::WARN);
    let _ = tracing_subscriber::registry().with(Warnings(printer)).with(own).try_init();
}

/// Only what keyfob's own crates say: other crates may log what they send and receive.
fn tell_what_is_done(verbose: u8) {
    let level = if verbose == 1 {
        LevelFilter::DEBUG
    } else {
        LevelFilter::TRACE
    };
    let lines = tracing_subscriber::fmt::layer().with_writer(std::io::stderr).with_ansi(false);
    let own = Targets::new().with_target("keyfob", level);
    let _ = tracing_subscriber::registry().with(lines).with(own).try_init();
}

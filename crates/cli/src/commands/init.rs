//! `keyfob init`

mod project_file;

use std::path::PathBuf;

use clap::Parser;
use keyfob::{Environment, Error, ErrorKind, Result, SelectOptions, Selection, StoreUrl};
use keyfob_envelope::RawKey;
use keyfob_sql::{KeyConfig, KeySourceName, PostgresStore};

use self::project_file::url_of_file;
use crate::context::Context;
use crate::embedded::{OwnConfig, SCHEME, is_own};
use crate::exit::{Exit, Failure, Outcome};
use crate::printer::Printer;
use crate::prompt;

#[derive(Debug, Parser)]
#[command(after_help = "\
Examples:
  keyfob init                       the user's own store
  keyfob init --path secrets.db     a store in this directory
  keyfob init --store postgres://app@db.example/secrets    a store for a team, in PostgreSQL
  keyfob init --passphrase          protected by a passphrase instead of a key file
  keyfob init --key-source vault-transit:app    protected by a key that stays in Vault
  keyfob init --key-source aws-kms:alias/app    protected by a key that stays in AWS KMS")]
pub(crate) struct Args {
    /// The file of the store
    #[arg(long, value_name = "FILE", conflicts_with = "store")]
    path: Option<PathBuf>,

    /// Protect the store with a passphrase: `KEYFOB_PASSPHRASE`, `KEYFOB_PASSPHRASE_FILE`, else it is asked for
    #[arg(long)]
    passphrase: bool,

    /// Protect the store with a key in a service: `vault-transit:KEY@MOUNT` or `aws-kms:KEY`
    #[arg(long, value_name = "SOURCE", conflicts_with = "passphrase")]
    key_source: Option<String>,

    /// Do not write a `keyfob.toml`
    #[arg(long)]
    no_project: bool,
}

impl Args {
    pub(crate) fn run(self, context: &Context) -> Outcome {
        let environment = context.environment();
        let selection = context.selection()?;
        let url = self.with_key_source(self.url(&selection, context)?)?;
        let mut config = OwnConfig::from_url(&url, environment)?;
        if !self.make(context, &mut config)? {
            if let OwnConfig::Postgres(config) = &config
                && context.block_on(PostgresStore::upgrade(config))?
            {
                let store = config.location();
                context
                    .printer()
                    .note(format_args!("brought the tables of `{store}` up to date"));
            }
            context.block_on(open_existing(&mut config, self.passphrase, environment))?;
            context.printer().note(format_args!("the store `{config}` exists and opens"));
        }
        self.use_here(context, &url, &config)?;
        Ok(Exit::Success)
    }

    /// The store to make: what is named, else what is chosen if that is an embedded store, else the user's own.
    fn url(&self, selection: &Selection, context: &Context) -> Result<StoreUrl, Failure> {
        if let Some(path) = &self.path {
            return Ok(StoreUrl::parse(&url_of_file(path))?);
        }
        match &selection.store {
            Ok(choice) if is_own(&choice.url) => Ok(choice.url.clone()),
            Ok(choice) if context.select_options().store.is_some() => {
                let message = format!("`keyfob init` makes only keyfob's own encrypted stores, not `{}`", choice.url);
                Err(Failure::usage(message, "name a file: `keyfob init --path secrets.db`"))
            }
            Err(error) if context.select_options().store.is_some() => Err(error.clone().into()),
            _ => Ok(StoreUrl::of_scheme(SCHEME)?),
        }
    }

    /// The key source belongs to the URL, so that what `keyfob.toml` and hints say opens the store.
    fn with_key_source(&self, url: StoreUrl) -> Result<StoreUrl, Failure> {
        let Some(source) = &self.key_source else {
            return Ok(url);
        };
        let source = KeySourceName::parse(source)?.to_string();
        let mut parameters = url.parameters();
        match (parameters.take("key-source"), parameters.take("key-file")) {
            (Some(named), None) if named == source => return Ok(url),
            (None, None) => {}
            _ => {
                let message = "the store's URL names another key";
                return Err(Failure::usage(
                    message,
                    "take `key-file` or `key-source` out of it, or leave out `--key-source`",
                ));
            }
        }
        Ok(url.with_parameter("key-source", source.as_str()))
    }

    /// Makes the store with what it needs. False, and nothing was made or asked, when there is one.
    fn make(&self, context: &Context, config: &mut OwnConfig) -> Result<bool, Failure> {
        let (printer, environment) = (context.printer(), context.environment());
        if context.block_on(exists(config, environment))? {
            return Ok(false);
        }
        if self.passphrase {
            config.set_key(passphrase(config.key(), environment, prompt::new_secret)?);
        } else if let KeyConfig::File(file) = config.key()
            && environment.status(file).is_err()
        {
            RawKey::create_file(file)?;
            printer.note(format_args!(
                "made the key `{}`: keep a copy, nothing opens the store without it",
                file.display()
            ));
        }
        match context.block_on(config.clone().create(environment)) {
            // Somebody else made it meanwhile: whether this key opens it is the next question.
            Err(error) if error.kind() == ErrorKind::AlreadyExists => return Ok(false),
            made => made?,
        }
        printer.note(format_args!("made the encrypted store `{config}`"));
        if self.passphrase && matches!(KeyConfig::from_environment(context.environment()), Ok(KeyConfig::File(_))) {
            printer.hint("on a terminal the passphrase is asked for; elsewhere give it in `KEYFOB_PASSPHRASE_FILE`");
        }
        Ok(true)
    }

    /// Sees to it that commands here use the store, or says how.
    fn use_here(&self, context: &Context, url: &StoreUrl, config: &OwnConfig) -> Result<(), Failure> {
        let printer = context.printer();
        // What the command line says now it will not say next time.
        let later = SelectOptions {
            store: None,
            ..context.select_options()
        };
        let environment = context.environment();
        let is_used = |selection: &Selection| is_chosen(selection, environment, config);
        let selection = Selection::of(environment, &later)?;
        if is_used(&selection) {
            return Ok(());
        }
        let names_another = later.project.is_some() || environment.var("KEYFOB_CONFIG")?.is_some();
        let text = url.text();
        if text.is_none() {
            printer
                .hint("no `keyfob.toml` was written, because the URL holds a password: put it into `PGPASSWORD`, or `~/.pgpass`");
        } else if let Some(text) = text
            && selection.project.is_none()
            && !self.no_project
            && !names_another
        {
            match project_file::write(environment, &text) {
                Ok(path) => printer.note(format_args!("wrote `{}`: commands here use that store", path.display())),
                Err(error) => {
                    printer.warning(&format!("no `keyfob.toml` was written: {error}"));
                }
            }
        }
        let selection = Selection::of(environment, &later)?;
        if !is_used(&selection) {
            say_how_to_use(printer, url, &selection);
        }
        Ok(())
    }
}

fn is_chosen(selection: &Selection, environment: &Environment, config: &OwnConfig) -> bool {
    let Ok(choice) = &selection.store else { return false };
    is_own(&choice.url) && OwnConfig::from_url(&choice.url, environment).is_ok_and(|chosen| chosen.is_same_store(config))
}

fn say_how_to_use(printer: &Printer, url: &StoreUrl, selection: &Selection) {
    let instead = match &selection.store {
        Ok(choice) => format!("commands here use `{}` ({} decides)", choice.url, choice.source),
        Err(_) => "commands here have no store".to_owned(),
    };
    // What is shown of such a URL can't be used.
    let how = match url.text() {
        None => "give its whole URL as `--store` or in `SECRET_PROVIDER`; `PGPASSFILE` keeps the password out of it".to_owned(),
        Some(url) => format!("give `--store {url}`, or set `SECRET_PROVIDER={url}`"),
    };
    printer.hint(&format!("{instead}; for the new store {how}"));
}

/// Whether there is a store already, of whatever keyfob.
async fn exists(config: &OwnConfig, environment: &Environment) -> Result<bool> {
    match config {
        OwnConfig::File(config) => Ok(environment.status(&config.path).is_ok()),
        OwnConfig::Postgres(config) => PostgresStore::exists(config).await,
    }
}

/// Opens what is there, with the key that is there: a new key would not fit.
async fn open_existing(config: &mut OwnConfig, with_passphrase: bool, environment: &Environment) -> Result<()> {
    if with_passphrase && matches!(config.key(), KeyConfig::File(_)) {
        config.set_key(KeyConfig::Passphrase(prompt::secret(&format!("passphrase of `{config}`"))?));
    }
    config.clone().open(environment).await.map(drop).map_err(|error| {
        let error = error.with("store", config.to_string());
        match config.key() {
            KeyConfig::File(file) if error.kind() == ErrorKind::NotFound => error.with_hint(format!(
                "the store exists and its key does not: put the key back at `{}`, or name it with `KEYFOB_KEY_FILE`",
                file.display()
            )),
            _ => error,
        }
    })
}

/// The passphrase that the environment names, else a new one from a person.
fn passphrase(
    present: &KeyConfig,
    environment: &Environment,
    ask: impl FnOnce(&str) -> Result<keyfob::SecretValue>,
) -> Result<KeyConfig> {
    match present {
        KeyConfig::Passphrase(passphrase) => Ok(KeyConfig::Passphrase(passphrase.clone())),
        KeyConfig::File(file) if KeyConfig::default_file(environment).is_ok_and(|default| default == *file) => {
            ask("passphrase").map(KeyConfig::Passphrase)
        }
        // Whoever opens the store later would try the other key, which does not fit.
        _ => Err(Error::new(
            ErrorKind::InvalidConfig,
            "another key is configured, so a passphrase would not be used",
        )
        .with_hint("unset `KEYFOB_KEY` and `KEYFOB_KEY_FILE`, and take `key-file` out of the store URL")),
    }
}

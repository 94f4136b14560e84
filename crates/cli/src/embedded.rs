//! What concerns keyfob's own encrypted store only: its key, and the work that no other store has.

use std::io::{self, IsTerminal as _};

use keyfob::{Environment, Error, ErrorKind, Result, StoreUrl, key_sources};
use keyfob_sql::{KeyConfig, SqlConfig, SqlStore};

use crate::context::Context;
use crate::prompt;

/// The scheme of the embedded store.
pub(crate) const SCHEME: &str = "sqlite";

/// The configuration of the embedded store that is meant.
///
/// # Errors
/// `Unsupported` when another kind of store is meant; those of the selection and of [`SqlConfig::from_url`].
pub(crate) fn config(context: &Context) -> Result<SqlConfig> {
    let choice = context.selection()?.store?;
    if choice.url.scheme() != SCHEME {
        let message = "only keyfob's own encrypted store can do this";
        return Err(Error::new(ErrorKind::Unsupported, message)
            .with("store", choice.url.to_string())
            .with_hint("name one with `--store sqlite:FILE`, or make one with `keyfob init`"));
    }
    let environment = ask_for_missing_passphrase(context.environment(), &choice.url)?;
    SqlConfig::from_url(&choice.url, &environment)
}

/// Opens the embedded store that is meant.
///
/// # Errors
/// Those of [`config`] and of [`key_sources::open`].
pub(crate) async fn open(context: &Context) -> Result<SqlStore> {
    let store = key_sources::open(config(context)?, context.environment()).await;
    store.map_err(hint_at_init)
}

/// The configuration with its key source connected, if the key is in a service. Within the event loop that uses it: its
/// connections end with it.
///
/// # Errors
/// Those of [`key_sources::connect`].
pub(crate) async fn connected(mut config: SqlConfig, context: &Context) -> Result<SqlConfig> {
    config.key = key_sources::connected(config.key, context.environment()).await?;
    Ok(config)
}

/// Whether somebody is there to ask. What is piped into standard input does not matter: the terminal is asked.
pub(crate) fn can_ask() -> bool {
    io::stderr().is_terminal()
}

/// Asks for the passphrase of an embedded store for which there is no key: no variable is set and there is no key
/// file. Without a terminal nothing is asked, and opening the store says what is missing.
pub(crate) fn ask_for_missing_passphrase(environment: &Environment, url: &StoreUrl) -> Result<Environment> {
    if url.scheme() != SCHEME || !can_ask() {
        return Ok(environment.clone());
    }
    // What is wrong with the URL is told when the store is opened.
    let Ok(config) = SqlConfig::from_url(url, environment) else {
        return Ok(environment.clone());
    };
    let has_no_key = match (&config.key, KeyConfig::default_file(environment)) {
        (KeyConfig::File(file), Ok(default)) => *file == default && environment.status(file).is_err(),
        _ => false,
    };
    if !has_no_key || environment.status(&config.path).is_err() {
        return Ok(environment.clone());
    }
    let passphrase = prompt::secret(&format!("passphrase of `{}`", config.path.display()))?;
    Ok(environment.with_var("KEYFOB_PASSPHRASE", passphrase))
}

/// Says how to make a store where there is none yet.
pub(crate) fn hint_at_init(error: Error) -> Error {
    if error.kind() == ErrorKind::NotFound && error.hint().is_none() {
        error.with_hint("`keyfob init` makes a store")
    } else {
        error
    }
}

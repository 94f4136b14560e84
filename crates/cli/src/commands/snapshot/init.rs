//! `keyfob snapshot init`

use std::path::PathBuf;

use clap::Parser;
use keyfob::{Error, ErrorKind};
use keyfob_envelope::RawKey;
use keyfob_sql::{KeyConfig, SqlConfig};

use super::Place;
use crate::context::Context;
use crate::embedded;
use crate::exit::{Exit, Failure, Outcome};

/// Make the key that protects snapshots, where there is none yet
///
/// The key of the encrypted store protects snapshots too (`KEYFOB_KEY` and its like, else `~/.config/keyfob/key`), unless `[snapshots]` of
/// `keyfob.toml` or a variable names another. Where there is no such key, this makes one: a file that only its owner may read. Keep
/// a copy of it elsewhere: without it no snapshot can be restored.
///
/// What is there already is left as it is.
#[derive(Debug, Parser)]
#[command(after_help = "\
Examples:
  keyfob snapshot init
  keyfob snapshot init --key-file snapshots.key     a key of its own")]
pub(crate) struct Args {
    /// The file of the key, instead of the one that is set
    #[arg(long, value_name = "FILE")]
    key_file: Option<PathBuf>,

    #[command(flatten)]
    place: Place,
}

impl Args {
    pub(crate) fn run(self, context: &Context) -> Outcome {
        let (printer, environment) = (context.printer(), context.environment());
        let snapshots = self.place.without_key(context)?;
        let set = snapshots.key_config()?;
        let (file, is_set) = match (&self.key_file, &set) {
            (Some(file), KeyConfig::File(set)) => (environment.absolute(file), environment.absolute(file) == *set),
            (Some(file), _) => (environment.absolute(file), false),
            (None, KeyConfig::File(set)) => (set.clone(), true),
            (None, _) => {
                context.block_on(snapshots.key())?;
                printer.note("snapshots have a key, which is not in a file: there is nothing to make");
                return Ok(Exit::Success);
            }
        };
        if environment.status(&file).is_ok() {
            RawKey::from_file(&file)?;
            printer.note(format_args!("the key `{}` is there", file.display()));
        } else {
            if self.key_file.is_none() {
                refuse_where_another_may_be_meant(context, &file)?;
                let made_before = context.block_on(snapshots.directory().list())?;
                if !made_before.is_empty() {
                    return Err(Failure::Error(
                        Error::new(ErrorKind::NotFound, "there are snapshots already, and their key is gone")
                            .with("key_file", file.display().to_string())
                            .with_hint("put the key back, or name the file of a new one with `--key-file`"),
                    ));
                }
            }
            RawKey::create_file(&file)?;
            printer.note(format_args!(
                "made the key `{}`: keep a copy elsewhere, nothing restores a snapshot without it",
                file.display()
            ));
        }
        if !is_set {
            printer.hint(&format!(
                "name it: `key_file = {0:?}` under `[snapshots]` of `keyfob.toml`, or `SECRET_SNAPSHOTS_KEY_FILE={1}`",
                file.display().to_string(),
                file.display()
            ));
        }
        Ok(Exit::Success)
    }
}

/// A key file where the encrypted store looks for its key, while that is protected by a passphrase, would keep it from being opened.
fn refuse_where_another_may_be_meant(context: &Context, file: &std::path::Path) -> Result<(), Failure> {
    let environment = context.environment();
    if KeyConfig::default_file(environment).ok().as_deref() != Some(file) {
        return Ok(());
    }
    let is_own = context.selection()?.store.is_ok_and(|choice| embedded::is_own(&choice.url));
    let has_default = SqlConfig::default_path(environment).is_ok_and(|path| environment.status(&path).is_ok());
    if !is_own && !has_default {
        return Ok(());
    }
    Err(Failure::Error(
        Error::new(ErrorKind::NotFound, "there is an encrypted store, and its key is not in its file")
            .with("key_file", file.display().to_string())
            .with_hint(
                "name the key as for the store (`KEYFOB_PASSPHRASE_FILE`, say), or make one of its own: `keyfob snapshot init --key-file FILE`",
            ),
    ))
}

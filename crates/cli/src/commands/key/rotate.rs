//! `keyfob key rotate`

use std::fs;
use std::path::{Path, PathBuf};

use clap::Parser;
use keyfob::{Error, ErrorKind, Result, key_sources};
use keyfob_envelope::RawKey;
use keyfob_sql::{KeyConfig, KeySourceName, RotateStep};

use crate::context::Context;
use crate::embedded;
use crate::exit::{Exit, Outcome};
use crate::input::{self, FinalNewline};
use crate::prompt;

/// Change the key of the store
///
/// The present key comes from where it always comes from. Values stay as they are; what is wrapped again are the keys
/// that protect them. Meanwhile both keys open the store, and other processes read and write. When it is done, only the
/// new key does. What was stopped is taken up by the same command.
///
/// Backups from before need the old key: keep it as long as them.
#[derive(Debug, Parser)]
#[command(after_help = "\
Examples:
  keyfob key rotate --to-key-file new.key            a new key file, made if it is missing
  keyfob key rotate --to-passphrase                  asks twice, without echo
  keyfob key rotate --to-passphrase-file phrase.txt
  keyfob key rotate --to-key-source vault-transit:app    a key that stays in Vault")]
pub(crate) struct Args {
    #[command(flatten)]
    to: Target,
}

#[derive(Debug, clap::Args)]
#[group(required = true, multiple = false)]
struct Target {
    /// The file with the new key; made with owner permissions if it is missing
    #[arg(long, value_name = "FILE")]
    to_key_file: Option<PathBuf>,

    /// A new passphrase, asked for on the terminal
    #[arg(long)]
    to_passphrase: bool,

    /// A new passphrase, the first line of a file
    #[arg(long, value_name = "FILE")]
    to_passphrase_file: Option<PathBuf>,

    /// A key in a service: `vault-transit:KEY@MOUNT` or `aws-kms:KEY`
    #[arg(long, value_name = "SOURCE")]
    to_key_source: Option<String>,
}

/// So many data keys at once: enough that the file is synced rarely, few enough that writers get their turn.
const BATCH: usize = 500;

impl Args {
    pub(crate) fn run(self, context: &Context) -> Outcome {
        let printer = context.printer();
        let wrapped = context.block_on(async {
            let store = embedded::open(context).await?;
            let (new, made) = self.to.key(context)?;
            let mut is_begun = false;
            let mut progress = printer.progress();
            let mut wrapped = 0;
            let rotated = async {
                let new = key_sources::connected(new, context.environment()).await?;
                let mut step = |step| {
                    is_begun = true;
                    match step {
                        RotateStep::Begun { resumed: true } => printer.note("taking up the change where it stopped"),
                        RotateStep::Wrapped(count) => {
                            wrapped = count;
                            progress.show(&format!("wrapped {count} keys again"));
                        }
                        _ => {}
                    }
                    Ok(())
                };
                store.rotate_key(new, BATCH, &mut step).await
            };
            if let Err(error) = rotated.await {
                // While nobody knows whether the change has begun, the store may need the key.
                if let (Some(made), false, false) = (made, is_begun, error.kind().is_retryable()) {
                    made.take_away(context);
                }
                return Err(error);
            }
            Ok::<_, Error>(wrapped)
        })?;
        printer.note(format_args!("the key is changed, {wrapped} versions are wrapped again"));
        self.to.say_how_to_open(context);
        Ok(Exit::Success)
    }
}

/// A key file that was made for a change that has not begun: nothing is protected by it.
struct Made(PathBuf);

impl Made {
    fn take_away(self, context: &Context) {
        let file = self.0.display();
        match fs::remove_file(&self.0) {
            Ok(()) => context
                .printer()
                .note(format_args!("took the key `{file}` away: nothing was changed")),
            Err(_) => context
                .printer()
                .note(format_args!("the key `{file}` protects nothing and can be deleted")),
        }
    }
}

impl Target {
    /// The new key, and its file if that was made for it.
    fn key(&self, context: &Context) -> Result<(KeyConfig, Option<Made>)> {
        let key = if let Some(file) = &self.to_key_file {
            let file = context.environment().absolute(file);
            if context.environment().status(&file).is_err() {
                RawKey::create_file(&file)?;
                context.printer().note(format_args!("made the key `{}`", file.display()));
                return Ok((KeyConfig::File(file.clone()), Some(Made(file))));
            }
            KeyConfig::File(file)
        } else if let Some(file) = &self.to_passphrase_file {
            passphrase_of(file)?
        } else if let Some(source) = &self.to_key_source {
            KeyConfig::Named(KeySourceName::parse(source)?)
        } else {
            KeyConfig::Passphrase(prompt::new_secret("new passphrase")?)
        };
        Ok((key, None))
    }

    fn say_how_to_open(&self, context: &Context) {
        let printer = context.printer();
        if let Some(source) = &self.to_key_source {
            printer.hint(&format!(
                "from now on name the key source: `key-source={source}` in the store URL, or `KEYFOB_KEY_SOURCE={source}` where no \
                 other variable names a key"
            ));
            return;
        }
        match &self.to_key_file {
            Some(file) => printer.hint(&format!(
                "from now on name the new key: `KEYFOB_KEY_FILE={0}`, or `key-file={0}` in the store URL, or move it to the old one's place",
                context.environment().absolute(file).display()
            )),
            None => printer.hint("from now on give the new passphrase, in `KEYFOB_PASSPHRASE_FILE` where nobody can be asked"),
        }
    }
}

fn passphrase_of(file: &Path) -> Result<KeyConfig> {
    let passphrase = input::value_from_file(file, FinalNewline::Strip)?;
    if passphrase.is_empty() || passphrase.expose_secret().contains(&b'\n') {
        let message = "the file must hold one line, the passphrase";
        return Err(Error::new(ErrorKind::InvalidInput, message).with("file", file.display().to_string()));
    }
    Ok(KeyConfig::Passphrase(passphrase))
}

//! `keyfob get`

use std::path::{Path, PathBuf};
use std::sync::Arc;

use clap::Parser;
use keyfob::{Error, Expired, Field, GetOptions, Intent, Secret, SecretRef, Verb, VersionSelector, parse_secret};
use serde::Serialize;

use crate::context::Context;
use crate::embedded;
use crate::exit::{Exit, Failure, Outcome};
use crate::metadata::SecretJson;
use crate::printer::Printer;
use crate::private_file;

#[derive(Debug, Parser)]
#[command(after_help = "\
Examples:
  keyfob get db/password | psql-login
  keyfob get db/password --show                 on the terminal
  keyfob get mail/login#user --show             one field of a JSON value
  keyfob get db/password@previous --output old  the version before, into a file
  keyfob get db/password --json | jq .version

JSON: what `keyfob list --json` says of a secret, and {value | value_base64}; `value` when it is text,
`value_base64` when it is not, neither on a terminal without `--show`.")]
pub(crate) struct Args {
    /// `name`, `name@version`, `name#field`, or a whole reference such as `${team:name}`
    ///
    /// Inside it `@ # % { } $ < > ?` and white space of a name are percent-encoded: `users/jo%40x.org`
    reference: String,

    /// One field of a JSON value: a top-level key, or a JSON Pointer such as `/db/user`
    #[arg(long, value_name = "FIELD")]
    field: Option<String>,

    /// Which version: `current`, `previous`, or the store's own
    #[arg(long, value_name = "VERSION")]
    version: Option<String>,

    /// Also a value whose expiry has passed
    #[arg(long)]
    expired: bool,

    /// Show the value on a terminal
    #[arg(long, conflicts_with = "output")]
    show: bool,

    /// Write the value to a file that only its owner may read
    #[arg(long, short, value_name = "FILE")]
    output: Option<PathBuf>,

    /// Print value and metadata as JSON
    #[arg(long, conflicts_with = "output")]
    json: bool,
}

impl Args {
    pub(crate) fn run(self, context: &Context) -> Outcome {
        let printer = context.printer();
        if self.output.as_deref() == Some(Path::new("-")) {
            return Err(Failure::usage(
                "`-` is no file",
                "without `--output` the value goes to standard output",
            ));
        }
        let (scheme, wanted) = self.wanted()?;
        let shows_value = self.show || self.output.is_some() || !printer.output_is_terminal();
        if !shows_value && !self.json {
            // Before anything is fetched.
            return Err(Failure::usage(
                "a value is printed to a terminal only with `--show`",
                "add `--show`, or send it elsewhere: `--output FILE`, or a pipe",
            ));
        }
        let secret = context.block_on(self.fetch(context, &scheme, &wanted))?;
        match &self.output {
            Some(path) => {
                private_file::write(path, secret.value.expose_secret())?;
                printer.note(format_args!("wrote {} bytes to `{}`", secret.value.len(), path.display()));
            }
            None if self.json => printer.json(&AnswerJson::new(&secret, shows_value))?,
            None => print(printer, &secret)?,
        }
        Ok(Exit::Success)
    }

    /// The store, and what to ask it for.
    fn wanted(&self) -> Result<(Arc<str>, SecretRef), Failure> {
        let (scheme, mut wanted) = parse_secret(&self.reference).map_err(Failure::Usage)?;
        if let Some(version) = &self.version {
            if wanted.version != VersionSelector::Current {
                return Err(Failure::usage("two versions are given", "give `@VERSION` or `--version`"));
            }
            wanted.version = VersionSelector::parse(version).map_err(Failure::Usage)?;
        }
        if let Some(field) = &self.field {
            if wanted.field.is_some() {
                return Err(Failure::usage("two fields are given", "give `#FIELD` or `--field`"));
            }
            wanted.field = Some(Field::parse(field).map_err(Failure::Usage)?);
        }
        Ok((scheme, wanted))
    }

    async fn fetch(&self, context: &Context, scheme: &str, wanted: &SecretRef) -> Result<Secret, Error> {
        let manager = context.manager()?;
        let intent = Intent::new(Verb::Get).secret(&wanted.name, &wanted.version);
        let store = manager.store_for(scheme, &intent).await.map_err(embedded::hint_at_init)?;
        let mut options = GetOptions::version(wanted.version.clone());
        if self.expired {
            options.expired = Expired::Allow;
        }
        let mut secret = store.get(&wanted.name, &options).await?;
        if let Some(field) = &wanted.field {
            secret.value = field
                .pick(&secret.value)
                .map_err(|error| error.with("name", wanted.name.as_str()))?;
        }
        Ok(secret)
    }
}

fn print(printer: &Printer, secret: &Secret) -> Result<(), Failure> {
    let value = secret.value.expose_secret();
    printer.bytes(value)?;
    // So that a shell's prompt does not stand behind it.
    if printer.output_is_terminal() && !value.ends_with(b"\n") {
        printer.bytes(b"\n")?;
    }
    Ok(())
}

#[derive(Serialize)]
struct AnswerJson<'a> {
    #[serde(flatten)]
    metadata: SecretJson<'a>,
    #[serde(skip_serializing_if = "Option::is_none")]
    value: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    value_base64: Option<String>,
}

impl<'a> AnswerJson<'a> {
    fn new(secret: &'a Secret, shows_value: bool) -> Self {
        let text = secret.value.expose_str().ok();
        let encode = || data_encoding::BASE64.encode(secret.value.expose_secret());
        Self {
            metadata: SecretJson::new(&secret.metadata),
            value: text.filter(|_| shows_value),
            value_base64: (text.is_none() && shows_value).then(encode),
        }
    }
}

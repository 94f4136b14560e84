//! `keyfob set`

mod generate;

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::SystemTime;

use clap::Parser;
use keyfob::{Change, Error, ErrorKind, Intent, PutMode, PutRequest, SecretName, SecretStore, SecretValue, Verb, Version};

use self::generate::Alphabet;
use crate::context::Context;
use crate::exit::{Exit, Failure, Outcome};
use crate::input::{self, FinalNewline, StandardInput};
use crate::metadata::SecretJson;
use crate::prompt;
use crate::time::parse_expiry;

#[derive(Debug, Parser)]
#[command(after_help = "\
Examples:
  keyfob set db/password                            asks twice, without echo
  keyfob set db/password --generate                 32 random letters and digits
  pwgen -s 40 1 | keyfob set db/password --expires 90d
  keyfob set tls/key --from-file key.pem --tag team=shop
  keyfob set db/password --description 'of the shop'  metadata alone
  keyfob set db/password --create --generate 20     only if there is none
  keyfob set db/password --match 3 --from-file -    only if version 3 is current

JSON: the secret's metadata, as in `keyfob list --json`.")]
pub(crate) struct Args {
    /// The secret, for example `team/db/password`
    name: String,

    #[command(flatten)]
    source: SourceArgs,

    /// Keep a line end at the end of the value
    #[arg(long, conflicts_with_all = ["generate", "prompt", "metadata_only"])]
    keep_newline: bool,

    /// Write an empty value too
    #[arg(long, conflicts_with_all = ["generate", "metadata_only"])]
    allow_empty: bool,

    /// Of what a generated value is made
    #[arg(long, value_name = "ALPHABET", requires = "generate", default_value = "alphanumeric")]
    alphabet: Alphabet,

    /// What it is for; empty takes it away
    #[arg(long, value_name = "TEXT")]
    description: Option<String>,

    /// A tag, not secret; may be given several times. Those given replace all that were there
    #[arg(long = "tag", value_name = "KEY=VALUE", value_parser = parse_tag)]
    tags: Vec<(String, String)>,

    /// Take all tags away
    #[arg(long, conflicts_with = "tags")]
    clear_tags: bool,

    /// When it expires: `90d`, `2030-01-31`, `2030-01-31T12:00:00Z`, or `never`
    #[arg(long, value_name = "WHEN", value_parser = parse_expiry)]
    expires: Option<Change<SystemTime>>,

    /// Only if there is no such secret
    #[arg(long, conflicts_with_all = ["match_version", "metadata_only"])]
    create: bool,

    /// Only if this version is current
    #[arg(long = "match", value_name = "VERSION")]
    match_version: Option<String>,

    /// Print what is known about it afterwards, as JSON
    #[arg(long)]
    json: bool,
}

// Where the value comes from. No documentation: the parser would take it for that of the command.
#[derive(Debug, clap::Args)]
#[group(multiple = false)]
struct SourceArgs {
    /// Read the value from a file; `-` is standard input
    #[arg(long, value_name = "FILE")]
    from_file: Option<PathBuf>,

    /// Make a random value of this many characters
    #[arg(long, value_name = "LENGTH", num_args = 0..=1, default_missing_value = "32", value_parser = clap::value_parser!(u16).range(1..=4096))]
    generate: Option<u16>,

    /// Ask for the value on the terminal, also when there is something on standard input
    #[arg(long)]
    prompt: bool,

    /// Change metadata only; do not look at standard input
    #[arg(long)]
    metadata_only: bool,
}

impl Args {
    pub(crate) fn run(self, context: &Context) -> Outcome {
        let name = SecretName::new(&self.name).map_err(Failure::Usage)?;
        let request = self.request()?;
        let source = self.source()?;
        let (metadata, has_value) = context.block_on(async {
            let store = context.store(&Intent::of(Verb::Put, &name)).await?;
            check_writable(&*store)?;
            // Asked for only when the store could take it.
            let value = self.value(source, &name)?;
            let has_value = value.is_some();
            let request = PutRequest { value, ..request };
            let put = store.put(&name, request).await;
            let metadata = put.map_err(|error| self.explain(error, has_value))?;
            Ok::<_, Failure>((metadata, has_value))
        })?;
        let printer = context.printer();
        match (&metadata.version, has_value) {
            (Some(version), true) => printer.note(format_args!("wrote `{name}`, version {version}")),
            (None, true) => printer.note(format_args!("wrote `{name}`")),
            (_, false) => printer.note(format_args!("changed the metadata of `{name}`, the value stays")),
        }
        if metadata.is_expired(SystemTime::now()) {
            printer.warning(&format!("`{name}` has expired: `keyfob get` refuses it without `--expired`"));
        }
        if self.json {
            printer.json(&SecretJson::new(&metadata))?;
        }
        Ok(Exit::Success)
    }

    /// Everything but the value.
    fn request(&self) -> Result<PutRequest, Failure> {
        let mode = match (&self.match_version, self.create) {
            (Some(version), _) => PutMode::Match(Version::new(version).map_err(Failure::Usage)?),
            (None, true) => PutMode::Create,
            (None, false) => PutMode::Upsert,
        };
        let mut request = PutRequest::default().mode(mode);
        request.description = match self.description.as_deref() {
            None => Change::Keep,
            Some("") => Change::Clear,
            Some(text) => Change::Set(text.to_owned()),
        };
        let tags: BTreeMap<String, String> = self.tags.iter().cloned().collect();
        if tags.len() < self.tags.len() {
            return Err(Failure::usage("a tag is given twice", "give each key once"));
        }
        request.tags = match (self.clear_tags, tags.is_empty()) {
            (true, _) => Change::Clear,
            (false, true) => Change::Keep,
            (false, false) => Change::Set(tags),
        };
        request.expires_at = self.expires.clone().unwrap_or_default();
        Ok(request)
    }

    fn changes_metadata(&self) -> bool {
        self.description.is_some() || !self.tags.is_empty() || self.clear_tags || self.expires.is_some()
    }

    /// Decides where the value comes from, without reading anything.
    fn source(&self) -> Result<Source, Failure> {
        let given = &self.source;
        if let Some(file) = &given.from_file {
            return Ok(Source::File(file.clone()));
        }
        if let Some(length) = given.generate {
            return Ok(Source::Generator(length));
        }
        if given.prompt {
            return Ok(Source::Prompt);
        }
        if given.metadata_only {
            return match self.changes_metadata() {
                true => Ok(Source::Nowhere),
                false => Err(Failure::usage(
                    "no metadata is given",
                    "add `--description`, `--tag`, `--clear-tags` or `--expires`",
                )),
            };
        }
        match StandardInput::look() {
            StandardInput::Data => Ok(Source::StandardInput),
            // An empty value from a device is asked for in so many words.
            StandardInput::Nothing if self.allow_empty => Ok(Source::StandardInput),
            _ if self.changes_metadata() && !self.create => Ok(Source::Nowhere),
            StandardInput::Terminal => Ok(Source::Prompt),
            StandardInput::Nothing => Err(Failure::usage(
                "there is no value: nothing is piped into standard input, and nobody is there to ask",
                "pipe the value in, or give `--from-file FILE` or `--generate`",
            )),
        }
    }

    fn value(&self, source: Source, name: &SecretName) -> Result<Option<SecretValue>, Error> {
        let newline = if self.keep_newline {
            FinalNewline::Keep
        } else {
            FinalNewline::Strip
        };
        let value = match source {
            Source::Nowhere => return Ok(None),
            Source::Generator(length) => generate::value(usize::from(length), self.alphabet)?,
            Source::Prompt => prompt::new_secret(&format!("value of `{name}`"))?,
            Source::StandardInput => input::value_from_stdin(newline)?,
            Source::File(file) => input::value_from_file(&file, newline)?,
        };
        if value.is_empty() && !self.allow_empty {
            let hint = if self.changes_metadata() {
                "`--metadata-only` leaves the value as it is; `--allow-empty` writes an empty one"
            } else {
                "`--allow-empty` writes an empty value"
            };
            return Err(Error::new(ErrorKind::InvalidInput, "the value is empty, nothing was written").with_hint(hint));
        }
        Ok(Some(value))
    }

    /// Says what somebody may have meant who gave metadata and no value.
    fn explain(&self, error: Error, has_value: bool) -> Error {
        let is_new = error.kind() == ErrorKind::NotFound && !has_value && self.match_version.is_none();
        if is_new && !self.source.metadata_only {
            error.with_hint("to make it, give a value too: pipe it in, or add `--prompt`, `--from-file FILE` or `--generate`")
        } else {
            error
        }
    }
}

enum Source {
    File(PathBuf),
    Generator(u16),
    Prompt,
    StandardInput,
    Nowhere,
}

fn check_writable(store: &dyn SecretStore) -> Result<(), Error> {
    let info = store.info();
    if info.capabilities.put {
        return Ok(());
    }
    // Of a list that writes to all, any of them.
    let read_only = info.members.iter().find(|member| !member.capabilities.put).unwrap_or(info);
    Err(Error::new(ErrorKind::Unsupported, "this store is read-only")
        .with("store", read_only.label.to_string())
        .with_hint("`keyfob init` makes an encrypted store and uses it here; `keyfob doctor` says why this one is used"))
}

fn parse_tag(text: &str) -> Result<(String, String), String> {
    match text.split_once('=') {
        Some((key, value)) if !key.is_empty() => Ok((key.to_owned(), value.to_owned())),
        _ => Err("a tag is `KEY=VALUE`".to_owned()),
    }
}

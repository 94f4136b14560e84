//! `keyfob explain`

use std::path::PathBuf;
use std::sync::Arc;

use clap::Parser;
use keyfob::format::Format;
use keyfob::select::Choice;
use keyfob::{
    DEFAULT_SCHEME, Error, ErrorKind, FILE_SCHEME, FailoverWrites, GetOptions, Intent, Metadata, Reference, Result,
    SecretManager, SecretRef, Selection, Target, Verb,
};
use serde::Serialize;

use super::audit::AuditJson;
use crate::context::Context;
use crate::embedded;
use crate::exit::{Exit, Failure, Outcome};
use crate::metadata::OriginJson;
use crate::printer::{FAINT, Printer, STRONG};
use crate::references::{parse_format, template};
use crate::text::escape_untrusted;

#[derive(Debug, Parser)]
#[command(after_help = "\
Examples:
  keyfob explain                            the store of `${secret:...}`
  keyfob explain '${team:db/password}'       of a store that `keyfob.toml` names
  keyfob explain app.yaml
  keyfob explain --ask app.yaml              who answers now, without the values

JSON: {store: {url, location, name, fallbacks, replicates, decided_by, reason, identity} | null, error,
considered: [{source, decided, outcome}], environment, allowed_schemes, audit: {directory, store, durable,
standard_error, reason_required, masks_names, decided_by} | null, references: [{reference, location,
store, error, answer: {version, store, freshness, member, passed_over, replicas} | null}]}; `answer`
with `--ask`, its fields as in `keyfob list --json`.")]
pub(crate) struct Args {
    /// References (`${...}`) and files
    #[arg(value_name = "REF|FILE")]
    subjects: Vec<String>,

    /// Read the secrets, and say which store answers each and why those before it do not
    #[arg(long, requires = "subjects")]
    ask: bool,

    /// `text`, `dotenv`, `json`, `yaml` or `toml`, whatever the names of the files say
    #[arg(long, value_name = "FORMAT", value_parser = parse_format)]
    format: Option<Format>,

    /// Print JSON
    #[arg(long)]
    json: bool,
}

impl Args {
    pub(crate) fn run(self, context: &Context) -> Outcome {
        let printer = context.printer();
        let manager = match self.ask {
            true => context.manager()?,
            false => SecretManager::builder()
                .environment(context.environment().clone())
                .options(context.select_options())
                .build_lazily()?,
        };
        let mut references = Vec::new();
        for subject in &self.subjects {
            references.extend(self.explained(&manager, subject)?);
        }
        if self.ask {
            context.block_on(async {
                for explained in &mut references {
                    explained.ask(&manager).await;
                }
                Ok::<_, Error>(())
            })?;
        }
        if self.json {
            printer.json(&ExplainJson::new(&manager, &references))?;
        } else {
            tell(printer, &manager, &references)?;
        }
        let is_fine = references.iter().all(|explained| explained.error().is_none());
        let needs_default = self.subjects.is_empty();
        Ok(if is_fine && (!needs_default || manager.selection().store.is_ok()) {
            Exit::Success
        } else {
            Exit::Failure
        })
    }

    fn explained(&self, manager: &SecretManager, subject: &str) -> Result<Vec<Explained>, Failure> {
        if let Some(body) = Reference::body(subject) {
            let reference = Reference::parse(body).map_err(Failure::Usage)?;
            return Ok(vec![Explained::new(manager, reference.to_string(), None, Ok(reference))]);
        }
        let template = template(manager, &PathBuf::from(subject), self.format).map_err(|error| match error.kind() {
            ErrorKind::NotFound => error.with_hint("a reference is written with braces: '${secret:db/password}'"),
            _ => error,
        })?;
        Ok(template
            .occurrences()
            .into_iter()
            .map(|occurrence| {
                let location = Some(occurrence.location.to_string());
                Explained::new(manager, occurrence.written, location, occurrence.reference)
            })
            .collect())
    }
}

struct Explained {
    written: String,
    location: Option<String>,
    store: Result<String>,
    /// What is asked of a store, and of which.
    secret: Option<(Arc<str>, SecretRef)>,
    /// What it said, once it was asked.
    answer: Option<Result<Arc<Metadata>>>,
}

impl Explained {
    fn new(manager: &SecretManager, written: String, location: Option<String>, reference: Result<Reference>) -> Self {
        let (store, secret) = match reference {
            Ok(reference) => {
                let store = store_of(manager, &reference);
                let secret = match reference.target {
                    Target::Secret(secret) if store.is_ok() => Some((reference.scheme, secret)),
                    _ => None,
                };
                (store, secret)
            }
            Err(error) => (Err(error), None),
        };
        Self {
            written,
            location,
            store,
            secret,
            answer: None,
        }
    }

    async fn ask(&mut self, manager: &SecretManager) {
        if let Some((scheme, secret)) = &self.secret {
            let asked = async {
                let intent = Intent::new(Verb::Get).secret(&secret.name, &secret.version);
                let store = manager.store_for(scheme, &intent).await.map_err(embedded::hint_at_init)?;
                let options = GetOptions::version(secret.version.clone());
                Ok(store.get(&secret.name, &options).await?.metadata)
            };
            self.answer = Some(asked.await);
        }
    }

    /// Why it can't be resolved, or could not be when it was asked for.
    fn error(&self) -> Option<&Error> {
        let answer = self.answer.as_ref().and_then(|answer| answer.as_ref().err());
        self.store.as_ref().err().or(answer)
    }
}

fn store_of(manager: &SecretManager, reference: &Reference) -> Result<String> {
    manager.allowed_schemes().check(&reference.scheme)?;
    if *reference.scheme == *FILE_SCHEME {
        return Ok("the file system".to_owned());
    }
    manager.location_of(&reference.scheme)
}

fn tell(printer: &Printer, manager: &SecretManager, references: &[Explained]) -> Result<(), Failure> {
    let selection = manager.selection();
    match &selection.store {
        Ok(choice) => {
            let location = manager.location_of(DEFAULT_SCHEME).unwrap_or_else(|_| choice.url.to_string());
            printer.line(format_args!(
                "{STRONG}`${{secret:...}}`{STRONG:#} asks {}",
                escape_untrusted(&location)
            ))?;
            printer.line(format_args!("  because {}", escape_untrusted(&choice.reason)))?;
            if let Some(writes) = writes(selection, choice) {
                printer.line(format_args!("  {}", escape_untrusted(&writes)))?;
            }
            match manager.identity_of(DEFAULT_SCHEME) {
                Ok(None) => {}
                Ok(Some(identity)) => printer.line(format_args!("  as {}", escape_untrusted(&identity)))?,
                Err(error) => {
                    printer.line(format_args!(
                        "  but it can't be asked: {}",
                        escape_untrusted(&error.to_string())
                    ))?;
                    if let Some(hint) = error.hint() {
                        printer.line(format_args!("  {}", escape_untrusted(hint)))?;
                    }
                }
            }
        }
        Err(error) => {
            printer.line(format_args!(
                "{STRONG}`${{secret:...}}`{STRONG:#} can't be resolved: {}",
                escape_untrusted(&error.to_string())
            ))?;
            if let Some(hint) = error.hint() {
                printer.line(format_args!("  {}", escape_untrusted(hint)))?;
            }
        }
    }
    printer.line("considered, in this order:")?;
    for considered in &selection.considered {
        let mark = if considered.decided { "*" } else { " " };
        let source = escape_untrusted(&considered.source.to_string()).into_owned();
        printer.line(format_args!(
            "{mark} {source}: {FAINT}{}{FAINT:#}",
            escape_untrusted(&considered.outcome)
        ))?;
    }
    if let Some(audit) = AuditJson::of(selection) {
        printer.line(escape_untrusted(&audit.sentence()))?;
    }
    for explained in references {
        let place = explained
            .location
            .as_ref()
            .map_or(String::new(), |place| format!("{place}: "));
        let answer = match &explained.store {
            Ok(store) => format!("asks {store}"),
            Err(error) => format!("can't be resolved: {error}"),
        };
        let line = format!("{place}{} {answer}", explained.written);
        printer.line(escape_untrusted(&line))?;
        if let Some(answer) = &explained.answer {
            printer.line(format_args!("  {}", escape_untrusted(&who_answered(answer))))?;
        }
    }
    Ok(())
}

/// Where the writes to a list go, and what decides it.
fn writes(selection: &Selection, choice: &Choice) -> Option<String> {
    if choice.fallbacks.is_empty() {
        return None;
    }
    let where_to = match replicates(selection, choice) {
        true => "writes go to all of them",
        false => "writes go to the first of them",
    };
    let decided = selection
        .layer_sources
        .iter()
        .find(|(setting, _)| setting == "failover.replicate");
    Some(match decided {
        Some((_, source)) => format!("{where_to}: {source} decides"),
        None => format!("{where_to}, unless `replicate` of `[failover]` says otherwise"),
    })
}

fn replicates(selection: &Selection, choice: &Choice) -> bool {
    !choice.fallbacks.is_empty() && selection.layers.failover.writes == FailoverWrites::Replicate
}

/// `far answered (sqlite, version far:3), not near: unavailable`
fn who_answered(answer: &Result<Arc<Metadata>>) -> String {
    let metadata = match answer {
        Ok(metadata) => metadata,
        Err(error) => return format!("was asked: {error}"),
    };
    let origin = &metadata.origin;
    let mut line = format!("{} answered", origin.member.as_ref().unwrap_or(&origin.store));
    let store = origin.member.as_ref().map(|_| origin.store.to_string());
    let version = metadata.version.as_ref().map(|version| format!("version {version}"));
    let details: Vec<String> = store.into_iter().chain(version).collect();
    if !details.is_empty() {
        line.push_str(&format!(" ({})", details.join(", ")));
    }
    for passed in &origin.passed_over {
        line.push_str(&format!(", not {passed}"));
    }
    line
}

#[derive(Serialize)]
struct ExplainJson<'a> {
    store: Option<ChoiceJson>,
    error: Option<String>,
    considered: Vec<ConsideredJson>,
    environment: Option<String>,
    allowed_schemes: Option<Vec<String>>,
    audit: Option<AuditJson>,
    references: Vec<ReferenceJson<'a>>,
}

#[derive(Serialize)]
struct ChoiceJson {
    url: String,
    /// The URL with what the environment says where it leaves the place open.
    location: Option<String>,
    name: Option<String>,
    /// The stores that are asked when it can't answer, in this order.
    fallbacks: Vec<String>,
    /// Whether writes go to all of them, and not to the first one only.
    replicates: bool,
    decided_by: String,
    reason: String,
    /// As whom it is asked, where there is somebody to be.
    identity: Option<String>,
}

#[derive(Serialize)]
struct ConsideredJson {
    source: String,
    decided: bool,
    outcome: String,
}

#[derive(Serialize)]
struct ReferenceJson<'a> {
    reference: &'a str,
    location: Option<&'a str>,
    store: Option<&'a str>,
    error: Option<String>,
    answer: Option<AnswerJson<'a>>,
}

#[derive(Serialize)]
struct AnswerJson<'a> {
    version: Option<&'a str>,
    #[serde(flatten)]
    origin: OriginJson<'a>,
}

impl<'a> AnswerJson<'a> {
    fn new(metadata: &'a Metadata) -> Self {
        Self {
            version: metadata.version.as_ref().map(|version| version.as_str()),
            origin: OriginJson::new(&metadata.origin),
        }
    }
}

impl<'a> ExplainJson<'a> {
    fn new(manager: &SecretManager, references: &'a [Explained]) -> Self {
        let selection = manager.selection();
        let allowed = match &selection.allowed.value {
            keyfob::AllowedSchemes::All => None,
            keyfob::AllowedSchemes::Only(schemes) => Some(schemes.iter().cloned().collect()),
        };
        Self {
            store: selection.store.as_ref().ok().map(|choice| ChoiceJson {
                url: choice.url.to_string(),
                location: manager.location_of(DEFAULT_SCHEME).ok(),
                name: choice.name.clone(),
                fallbacks: choice.fallbacks.iter().map(|store| store.url.to_string()).collect(),
                replicates: replicates(selection, choice),
                decided_by: choice.source.to_string(),
                reason: choice.reason.clone(),
                identity: manager.identity_of(DEFAULT_SCHEME).ok().flatten(),
            }),
            error: selection.store.as_ref().err().map(Error::to_string),
            considered: selection
                .considered
                .iter()
                .map(|considered| ConsideredJson {
                    source: considered.source.to_string(),
                    decided: considered.decided,
                    outcome: considered.outcome.clone(),
                })
                .collect(),
            environment: selection.environment.value.clone(),
            allowed_schemes: allowed,
            audit: AuditJson::of(selection),
            references: references
                .iter()
                .map(|explained| ReferenceJson {
                    reference: &explained.written,
                    location: explained.location.as_deref(),
                    store: explained.store.as_deref().ok(),
                    error: explained.error().map(Error::to_string),
                    answer: match &explained.answer {
                        Some(Ok(metadata)) => Some(AnswerJson::new(metadata)),
                        _ => None,
                    },
                })
                .collect(),
        }
    }
}

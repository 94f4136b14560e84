//! `keyfob explain`

use std::path::PathBuf;

use clap::Parser;
use keyfob::format::Format;
use keyfob::{DEFAULT_SCHEME, Error, ErrorKind, FILE_SCHEME, Occurrence, Reference, Result, SecretManager};
use serde::Serialize;

use super::audit::AuditJson;
use crate::context::Context;
use crate::exit::{Exit, Failure, Outcome};
use crate::printer::{FAINT, Printer, STRONG};
use crate::references::{parse_format, template};
use crate::text::escape_untrusted;

#[derive(Debug, Parser)]
#[command(after_help = "\
Examples:
  keyfob explain                            the store of `${secret:...}`
  keyfob explain '${team:db/password}'       of a store that `keyfob.toml` names
  keyfob explain app.yaml

JSON: {store: {url, location, name, fallbacks, decided_by, reason, identity} | null, error,
considered: [{source, decided, outcome}], environment, allowed_schemes, audit: {directory, durable,
standard_error, reason_required, masks_names, decided_by} | null, references: [{reference, location, store, error}]}")]
pub(crate) struct Args {
    /// References (`${...}`) and files
    #[arg(value_name = "REF|FILE")]
    subjects: Vec<String>,

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
        let manager = SecretManager::builder()
            .environment(context.environment().clone())
            .options(context.select_options())
            .build_lazily()?;
        let mut references = Vec::new();
        for subject in &self.subjects {
            references.extend(self.explained(&manager, subject)?);
        }
        if self.json {
            printer.json(&ExplainJson::new(&manager, &references))?;
        } else {
            tell(printer, &manager, &references)?;
        }
        let is_fine = references.iter().all(|explained| explained.store.is_ok());
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
            return Ok(vec![Explained {
                written: reference.to_string(),
                location: None,
                store: store_of(manager, &reference),
            }]);
        }
        let template = template(manager, &PathBuf::from(subject), self.format).map_err(|error| match error.kind() {
            ErrorKind::NotFound => error.with_hint("a reference is written with braces: '${secret:db/password}'"),
            _ => error,
        })?;
        Ok(template
            .occurrences()
            .into_iter()
            .map(|occurrence| Explained::of(manager, occurrence))
            .collect())
    }
}

struct Explained {
    written: String,
    location: Option<String>,
    store: Result<String>,
}

impl Explained {
    fn of(manager: &SecretManager, occurrence: Occurrence) -> Self {
        let store = occurrence.reference.and_then(|reference| store_of(manager, &reference));
        Self {
            written: occurrence.written,
            location: Some(occurrence.location.to_string()),
            store,
        }
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
    }
    Ok(())
}

#[derive(Serialize)]
struct ExplainJson {
    store: Option<ChoiceJson>,
    error: Option<String>,
    considered: Vec<ConsideredJson>,
    environment: Option<String>,
    allowed_schemes: Option<Vec<String>>,
    audit: Option<AuditJson>,
    references: Vec<ReferenceJson>,
}

#[derive(Serialize)]
struct ChoiceJson {
    url: String,
    /// The URL with what the environment says where it leaves the place open.
    location: Option<String>,
    name: Option<String>,
    /// The stores that are asked when it can't answer, in this order.
    fallbacks: Vec<String>,
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
struct ReferenceJson {
    reference: String,
    location: Option<String>,
    store: Option<String>,
    error: Option<String>,
}

impl ExplainJson {
    fn new(manager: &SecretManager, references: &[Explained]) -> Self {
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
                    reference: explained.written.clone(),
                    location: explained.location.clone(),
                    store: explained.store.as_ref().ok().cloned(),
                    error: explained.store.as_ref().err().map(Error::to_string),
                })
                .collect(),
        }
    }
}

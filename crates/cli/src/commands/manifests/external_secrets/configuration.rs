//! What configuration files refer to, and what stands around the references.

use std::ops::Range;
use std::path::{Path, PathBuf};

use keyfob::format::{Document, Format};
use keyfob::{
    DEFAULT_SCHEME, Error, ErrorKind, FILE_SCHEME, Fallback, PieceKind, Reference, Result, SecretManager, SecretRef, Target, scan,
};

use crate::references::{STANDARD_INPUT, text};

/// The files, and every secret that they refer to, once.
#[derive(Debug, Default)]
pub(super) struct Configuration {
    pub(super) files: Vec<File>,
    pub(super) secrets: Vec<Used>,
}

/// One file, its values cut up.
#[derive(Debug)]
pub(super) struct File {
    pub(super) path: PathBuf,
    /// All of it.
    pub(super) place: Place,
    pub(super) format: Format,
    pub(super) text: String,
    pub(super) values: Vec<Value>,
}

/// A value in which something stands that is not plain text.
#[derive(Debug)]
pub(super) struct Value {
    /// Where it stands in the file, quotes included.
    pub(super) span: Range<usize>,
    pub(super) key: Option<String>,
    /// Of its first reference.
    pub(super) place: Place,
    pub(super) parts: Vec<Part>,
}

#[derive(Debug)]
pub(super) enum Part {
    Text(String),
    /// A secret, by its number, and what stands in for it.
    Secret(usize, Fallback),
}

/// A secret, and where it stands first.
#[derive(Debug)]
pub(super) struct Used {
    pub(super) secret: SecretRef,
    pub(super) place: Place,
}

/// A place in a file; places are in the order in which people read.
#[derive(Debug, Clone, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Place {
    /// Which of the files.
    file: usize,
    /// From 1; 0 for the file as a whole.
    line: usize,
    column: usize,
    source: String,
}

impl std::fmt::Display for Place {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self.line {
            0 => f.write_str(&self.source),
            line => write!(f, "{}:{line}:{}", self.source, self.column),
        }
    }
}

impl Value {
    pub(super) fn has_secret(&self) -> bool {
        self.parts.iter().any(|part| matches!(part, Part::Secret(..)))
    }
}

/// What can't be expressed, each with its place: told together, so that a configuration is mended in one go.
#[derive(Debug, Default)]
pub(super) struct Problems(Vec<(Place, String)>);

impl Problems {
    pub(super) fn add(&mut self, place: &Place, what: impl std::fmt::Display) {
        self.0.push((place.clone(), what.to_string()));
    }

    pub(super) fn check(&self) -> Result<()> {
        let mut problems = self.0.clone();
        problems.sort();
        problems.dedup();
        let told: Vec<String> = problems.iter().map(|(place, what)| format!("{place}: {what}")).collect();
        let how_many = match told.len() {
            0 => return Ok(()),
            1 => "this".to_owned(),
            count => format!("{count} things"),
        };
        let message = format!("External Secrets can't do {how_many}: {}", told.join("; "));
        Err(Error::new(ErrorKind::Unsupported, message))
    }
}

impl Configuration {
    /// Reads the files. References must be to the store that `manager` has as its default.
    ///
    /// # Errors
    /// Those of reading and of the formats. What can't be expressed goes to `problems`.
    pub(super) fn read(
        manager: &SecretManager,
        paths: &[PathBuf],
        format: Option<Format>,
        problems: &mut Problems,
    ) -> Result<Self> {
        let mut configuration = Self::default();
        for (number, path) in paths.iter().enumerate() {
            let format = format.unwrap_or_else(|| match path == Path::new(STANDARD_INPUT) {
                true => Format::Text,
                false => Format::of_path(path),
            });
            let content = text(path)?;
            let source = path.display().to_string();
            let document = Document::parse(format, content.as_str().to_owned()).map_err(|error| {
                let message = format!("not a valid {format} document: {}", error.problem());
                Error::new(ErrorKind::InvalidInput, message).with("at", format!("{source}:{}:{}", error.line(), error.column()))
            })?;
            let mut values = Vec::new();
            for (index, slot) in document.slots().iter().enumerate() {
                let pieces = scan(slot.text(), |scheme| manager.is_reference_scheme(scheme));
                let Some(first) = pieces.first() else { continue };
                let place = |offset: usize| {
                    let position = document.position(index, offset);
                    Place {
                        file: number,
                        line: position.line,
                        column: position.column,
                        source: source.clone(),
                    }
                };
                let mut parts = Vec::new();
                let mut at = 0;
                for piece in &pieces {
                    let before = &slot.text()[at..piece.span.start];
                    if !before.is_empty() {
                        parts.push(Part::Text(before.to_owned()));
                    }
                    at = piece.span.end;
                    let PieceKind::Reference(reference) = &piece.kind else {
                        continue;
                    };
                    let here = place(piece.span.start);
                    match reference
                        .as_ref()
                        .map_err(ToString::to_string)
                        .and_then(|reference| of_store(manager, reference))
                    {
                        Ok((secret, fallback)) => parts.push(Part::Secret(configuration.number(secret, &here), fallback)),
                        Err(problem) => problems.add(&here, problem),
                    }
                }
                if at < slot.text().len() {
                    parts.push(Part::Text(slot.text()[at..].to_owned()));
                }
                values.push(Value {
                    span: slot.span(),
                    key: slot.key().map(str::to_owned),
                    place: place(first.span.start),
                    parts,
                });
            }
            configuration.files.push(File {
                path: path.clone(),
                place: Place {
                    file: number,
                    line: 0,
                    column: 0,
                    source: source.clone(),
                },
                format,
                text: content.as_str().to_owned(),
                values,
            });
        }
        Ok(configuration)
    }

    fn number(&mut self, secret: &SecretRef, place: &Place) -> usize {
        let known = self.secrets.iter().position(|used| used.secret == *secret);
        known.unwrap_or_else(|| {
            self.secrets.push(Used {
                secret: secret.clone(),
                place: place.clone(),
            });
            self.secrets.len() - 1
        })
    }

    /// Whether something may be absent.
    pub(super) fn has_fallback(&self) -> bool {
        let values = self.files.iter().flat_map(|file| &file.values);
        values.flat_map(|value| &value.parts).any(Part::may_be_absent)
    }
}

impl Part {
    pub(super) fn may_be_absent(&self) -> bool {
        matches!(self, Self::Secret(_, Fallback::Empty | Fallback::Text(_)))
    }
}

/// The secret of the default store that a reference is to; else why it isn't one.
fn of_store<'r>(manager: &SecretManager, reference: &'r Reference) -> Result<(&'r SecretRef, Fallback), String> {
    let scheme = &*reference.scheme;
    let Target::Secret(secret) = &reference.target else {
        return Err(format!("`${{{FILE_SCHEME}:…}}` is a file, and no secret of a store"));
    };
    let place = |scheme: &str| manager.location_of(scheme).map_err(|error| error.to_string());
    if scheme != DEFAULT_SCHEME && place(scheme)? != place(DEFAULT_SCHEME)? {
        return Err(format!(
            "`{reference}` is not of the store that the objects are made for: name it with `--store`, in a run of its own"
        ));
    }
    Ok((secret, reference.fallback.clone()))
}

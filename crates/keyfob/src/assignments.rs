//! Variables whose values hold references: for a process that is about to start.

use std::path::Path;
use std::sync::Arc;

use keyfob_core::{Error, ErrorKind, Location, Occurrence, Resolved, Result, SecretValue};
use keyfob_env::dotenv;
use zeroize::Zeroizing;

use crate::interpolation::Interpolation;

/// Names and values, with the references that stand in the values.
#[derive(Debug)]
pub struct Assignments {
    directory: Option<Arc<Path>>,
    entries: Vec<Assignment>,
}

struct Assignment {
    name: String,
    value: Zeroizing<String>,
    interpolation: Option<Interpolation>,
    /// Where each reference of the value stands, in order.
    locations: Vec<Location>,
}

/// Values may be secrets, whether they hold references or not.
impl std::fmt::Debug for Assignment {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Assignment").field("name", &self.name).finish_non_exhaustive()
    }
}

impl Assignments {
    /// The variables of a process. Those without references are left out: they stay as they are.
    #[must_use]
    pub fn from_variables<'a>(variables: impl IntoIterator<Item = (&'a str, &'a str)>, is_known: impl Fn(&str) -> bool) -> Self {
        let mut entries = Vec::new();
        for (name, value) in variables {
            let Some(interpolation) = Interpolation::of(value, &is_known) else {
                continue;
            };
            let at = |offset: usize| {
                let mut location = Location::new("environment", 1, value[..offset].chars().count() + 1);
                location.key = Some(name.to_owned());
                location
            };
            let locations = interpolation
                .occurrences(value, None, at)
                .map(|occurrence| occurrence.location)
                .collect();
            let value = Zeroizing::new(value.to_owned());
            entries.push(Assignment {
                name: name.to_owned(),
                value,
                interpolation: Some(interpolation),
                locations,
            });
        }
        Self {
            directory: None,
            entries,
        }
    }

    /// All variables of a `.env` file's text; of a name that stands there twice the last one counts.
    ///
    /// # Errors
    /// `InvalidInput` with line and column when it is not a `.env` file's text.
    pub fn from_dotenv(source: &str, directory: Option<&Path>, text: &str, is_known: impl Fn(&str) -> bool) -> Result<Self> {
        let document = dotenv::Document::parse(text).map_err(|error| {
            Error::new(ErrorKind::InvalidInput, format!("not a valid .env file: {}", error.problem()))
                .with("at", format!("{source}:{}:{}", error.line(), error.column()))
        })?;
        let source: Arc<str> = source.into();
        let mut entries: Vec<Assignment> = Vec::new();
        for entry in document.entries() {
            let value = Zeroizing::new(entry.value().to_owned());
            let interpolation = Interpolation::of(&value, &is_known);
            let at = |offset: usize| {
                let position = entry.position_of(offset);
                let mut location = Location::new(source.clone(), position.line, position.column);
                location.key = Some(entry.name().to_owned());
                location
            };
            let locations = interpolation.iter().flat_map(|found| found.occurrences(&value, None, at));
            let locations = locations.map(|occurrence| occurrence.location).collect();
            entries.retain(|known| known.name != entry.name());
            entries.push(Assignment {
                name: entry.name().to_owned(),
                value: value.clone(),
                interpolation,
                locations,
            });
        }
        Ok(Self {
            directory: directory.map(Arc::from),
            entries,
        })
    }

    /// Leaves out every name that `other` has: it is set anew there.
    pub fn remove_all_of(&mut self, other: &Self) {
        self.entries
            .retain(|entry| !other.entries.iter().any(|known| known.name == entry.name));
    }

    /// Every reference and where it stands.
    #[must_use]
    pub fn occurrences(&self) -> Vec<Occurrence> {
        let mut occurrences = Vec::new();
        for entry in &self.entries {
            let Some(interpolation) = &entry.interpolation else { continue };
            let found = interpolation.occurrences(&entry.value, self.directory.as_ref(), |_| Location::new("", 0, 0));
            occurrences.extend(found.zip(&entry.locations).map(|(occurrence, location)| Occurrence {
                location: location.clone(),
                ..occurrence
            }));
        }
        occurrences
    }

    /// The finished variables.
    ///
    /// # Errors
    /// `Other` when `resolved` does not answer a reference; `InvalidInput` for a value with a NUL, which no variable
    /// can hold.
    pub fn finish(&self, resolved: &Resolved) -> Result<Vec<(String, SecretValue)>> {
        let finish = |entry: &Assignment| {
            let mut value = match &entry.interpolation {
                Some(interpolation) => interpolation.fill(&entry.value, self.directory.as_ref(), resolved)?,
                None => entry.value.clone(),
            };
            if value.contains('\0') {
                return Err(
                    Error::new(ErrorKind::InvalidInput, "a variable can't hold a value with a NUL byte")
                        .with("variable", entry.name.clone())
                        .with_hint("hand it over in a file, with `keyfob run --config`"),
                );
            }
            Ok((entry.name.clone(), SecretValue::from(std::mem::take(&mut *value))))
        };
        self.entries.iter().map(finish).collect()
    }
}

//! What the formats report about a text.

use std::borrow::Cow;
use std::fmt;
use std::hash::{DefaultHasher, Hash, Hasher};

use keyfob_core::{Error, ErrorKind};
use keyfob_env::dotenv::Quoting;

use super::place::Position;
use super::toml::TomlString;
use super::yaml::YamlScalar;
use super::{Format, Slot};

/// Why a text is not of its format, and where. Never says what stands there.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SyntaxError {
    format: Format,
    position: Position,
    problem: Cow<'static, str>,
    hint: Option<&'static str>,
}

impl SyntaxError {
    pub(super) fn new(format: Format, position: Position, fault: Fault) -> Self {
        Self {
            format,
            position,
            problem: fault.problem,
            hint: fault.hint,
        }
    }

    /// The line, from 1.
    #[must_use]
    pub fn line(&self) -> usize {
        self.position.line
    }

    /// The column in characters, from 1.
    #[must_use]
    pub fn column(&self) -> usize {
        self.position.column
    }

    /// What is wrong.
    #[must_use]
    pub fn problem(&self) -> &str {
        &self.problem
    }

    /// What would be right, if that is known.
    #[must_use]
    pub fn hint(&self) -> Option<&'static str> {
        self.hint
    }
}

impl fmt::Display for SyntaxError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "not valid {} at {}: {}", self.format, self.position, self.problem)
    }
}

impl std::error::Error for SyntaxError {}

impl From<SyntaxError> for Error {
    /// As [`ErrorKind::InvalidInput`].
    fn from(error: SyntaxError) -> Self {
        let converted = Self::new(
            ErrorKind::InvalidInput,
            format!("not a valid {} document: {}", error.format, error.problem),
        )
        .with("line", error.line().to_string())
        .with("column", error.column().to_string());
        match error.hint {
            Some(hint) => converted.with_hint(hint),
            None => converted,
        }
    }
}

/// A [`SyntaxError`] before its offset has become a line and a column.
pub(super) struct Fault {
    pub(super) at: usize,
    pub(super) problem: Cow<'static, str>,
    pub(super) hint: Option<&'static str>,
}

impl Fault {
    pub(super) fn new(at: usize, problem: impl Into<Cow<'static, str>>) -> Self {
        Self {
            at,
            problem: problem.into(),
            hint: None,
        }
    }

    pub(super) fn too_deep(at: usize) -> Self {
        Self::new(at, format!("nested deeper than {} levels", super::MAX_DEPTH))
    }

    pub(super) fn with_hint(mut self, hint: &'static str) -> Self {
        self.hint = Some(hint);
        self
    }
}

/// What stands in a text.
pub(super) struct Scan {
    pub(super) slots: Vec<Slot>,
    /// A digest of everything that is not in a slot: structure, keys, other values. Equal before and after rendering.
    pub(super) outline: u64,
}

impl Scan {
    /// The whole text is one slot.
    pub(super) fn whole(text: &str) -> Self {
        Self {
            slots: vec![Slot::new(text, 0..text.len(), None, Literal::Whole)],
            outline: 0,
        }
    }
}

/// Collects a [`Scan`].
#[derive(Default)]
pub(super) struct Scanned {
    slots: Vec<Slot>,
    outline: DefaultHasher,
}

impl Scanned {
    pub(super) fn slot(&mut self, slot: Slot) {
        "slot".hash(&mut self.outline);
        self.slots.push(slot);
    }

    pub(super) fn other(&mut self, what: impl Hash) {
        what.hash(&mut self.outline);
    }

    pub(super) fn finish(self) -> Scan {
        Scan {
            slots: self.slots,
            outline: self.outline.finish(),
        }
    }
}

/// How the literal of a slot is written.
#[derive(Clone, Copy)]
pub(super) enum Literal {
    Whole,
    Dotenv(Quoting),
    Json,
    Toml(TomlString),
    Yaml(YamlScalar),
}

//! How far long work has got, in words that outlive the process that does it.

use keyfob_core::{Error, ErrorKind, Result};
use serde::{Deserialize, Serialize};

use crate::rotator::StepContext;

/// How far work is that is done in portions.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[non_exhaustive]
pub struct Progress {
    /// Where the next portion begins, in the words of whoever does the work; `None` for at the beginning. Never a secret.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cursor: Option<String>,
    /// How many are done.
    #[serde(default)]
    pub done: u64,
    /// How many there are, where that is known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub total: Option<u64>,
}

impl Progress {
    /// The longest cursor, in bytes.
    pub const MAX_CURSOR_BYTES: usize = 1024;

    /// The note under which the journal keeps it.
    const NOTE: &str = "progress";

    /// The next portion begins at `cursor`, and `done` are done.
    #[must_use]
    pub fn at(cursor: impl Into<String>, done: u64) -> Self {
        Self {
            cursor: Some(cursor.into()),
            done,
            total: None,
        }
    }

    /// So many there are.
    #[must_use]
    pub const fn of(mut self, total: u64) -> Self {
        self.total = Some(total);
        self
    }

    /// What the journal's notes say, whichever stage of the work they are from.
    pub(crate) fn noted<'n>(mut notes: impl Iterator<Item = (&'n str, &'n str)>) -> Option<Self> {
        let (_, note) = notes.find(|(key, _)| *key == Self::NOTE)?;
        serde_json::from_str::<Noted>(note).ok().map(|noted| noted.progress)
    }

    /// How far `stage` of a rotation's work is.
    pub(crate) fn kept(step: &StepContext<'_>, stage: &str) -> Self {
        let noted = step
            .data(Self::NOTE)
            .and_then(|note| serde_json::from_str::<Noted>(&note).ok());
        match noted {
            Some(noted) if noted.stage == stage => noted.progress,
            _ => Self::default(),
        }
    }

    /// Writes down how far `stage` is, in one entry of the journal.
    ///
    /// # Errors
    /// `InvalidInput` for a cursor that is too long; those of [`save`](StepContext::save).
    pub(crate) async fn keep(&self, step: &StepContext<'_>, stage: &str) -> Result<()> {
        if self
            .cursor
            .as_ref()
            .is_some_and(|cursor| cursor.len() > Self::MAX_CURSOR_BYTES)
        {
            let message = format!("a cursor has at most {} bytes", Self::MAX_CURSOR_BYTES);
            return Err(Error::new(ErrorKind::InvalidInput, message));
        }
        let noted = Noted {
            stage: stage.to_owned(),
            progress: self.clone(),
        };
        let note = serde_json::to_string(&noted).map_err(|_| Error::new(ErrorKind::Other, "progress can't be written down"))?;
        step.save(Self::NOTE, &note).await
    }
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Noted {
    stage: String,
    progress: Progress,
}

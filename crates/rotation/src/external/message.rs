//! The protocol: one JSON object as the question, one as the answer.

use std::collections::BTreeMap;

use data_encoding::BASE64;
use keyfob_core::{Error, ErrorKind, Result, SecretValue};
use serde::{Deserialize, Serialize};

use super::screen::Screen;
use crate::progress::Progress;
use crate::rotator::StepContext;

const PROTOCOL: &str = "keyfob-rotation/1";

/// What is asked.
pub(super) struct Question<'a> {
    pub(super) name: &'static str,
    pub(super) step: &'a StepContext<'a>,
    pub(super) old: Option<&'a SecretValue>,
    pub(super) new: Option<&'a SecretValue>,
    pub(super) more: More<'a>,
}

/// What some questions have besides.
#[derive(Debug, Default, Clone, Copy, Serialize)]
pub(super) struct More<'a> {
    /// Of `reencrypt`: where the last portion ended.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) progress: Option<&'a Progress>,
    /// Of `unused`: the ids of the keys that are asked about.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) keys: Option<&'a [String]>,
}

#[derive(Serialize)]
struct Document<'a> {
    protocol: &'static str,
    step: &'static str,
    name: &'a str,
    id: &'a str,
    fence: u64,
    reversal: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    old: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    old_base64: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    new: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    new_base64: Option<&'a str>,
    notes: BTreeMap<String, String>,
    #[serde(flatten)]
    more: More<'a>,
}

impl Question<'_> {
    pub(super) fn text(&self) -> Result<SecretValue> {
        // Values that are no text are said in base64, under another name, so that nobody mistakes one for the other.
        let encoded = |value: Option<&SecretValue>| {
            value
                .filter(|value| value.expose_str().is_err())
                .map(|value| SecretValue::from(BASE64.encode(value.expose_secret())))
        };
        let (old, new) = (encoded(self.old), encoded(self.new));
        let document = Document {
            protocol: PROTOCOL,
            step: self.name,
            name: self.step.name().as_str(),
            id: self.step.id(),
            fence: self.step.fence(),
            reversal: self.step.is_reversal(),
            old: text(self.old),
            old_base64: text(old.as_ref()),
            new: text(self.new),
            new_base64: text(new.as_ref()),
            notes: self.step.notes(),
            more: self.more,
        };
        // Six times is the most that JSON's escapes or base64 make of it, so that the buffer never grows and leaves a copy behind.
        let size = |value: Option<&SecretValue>| value.map_or(0, |value| 6 * value.len());
        let extra: usize = self.more.keys.unwrap_or_default().iter().map(|id| 6 * id.len() + 3).sum();
        let notes = 2 * StepContext::MAX_DATA_BYTES + 6 * Progress::MAX_CURSOR_BYTES;
        let mut bytes = Vec::with_capacity(1024 + notes + extra + size(self.old) + size(self.new));
        let written = serde_json::to_writer(&mut bytes, &document);
        bytes.push(b'\n');
        let text = SecretValue::new(bytes);
        written.map_err(|_| Error::new(ErrorKind::Other, "the question can't be written as JSON"))?;
        Ok(text)
    }
}

fn text(value: Option<&SecretValue>) -> Option<&str> {
    value.and_then(|value| value.expose_str().ok())
}

/// What is answered. Nothing at all is an empty answer.
#[derive(Deserialize, Default)]
#[serde(deny_unknown_fields, default)]
pub(super) struct Answer {
    value: Option<SecretValue>,
    value_base64: Option<SecretValue>,
    pub(super) notes: BTreeMap<String, String>,
    /// Whether the same question is to be asked again, because there is more to do.
    pub(super) again: bool,
    /// Of `reencrypt`: how far it is.
    pub(super) progress: Option<Progress>,
    /// Of `reencrypt`: whether all is done.
    pub(super) complete: bool,
    /// Of `unused`: the ids of the keys that nobody needs.
    pub(super) unused: Option<Vec<String>>,
    /// Of `drain`: whether nobody uses the old value any more.
    pub(super) drained: Option<bool>,
    /// What went wrong, in the program's own words.
    error: Option<String>,
    /// And of which kind that is.
    kind: Option<String>,
}

impl Answer {
    /// # Errors
    /// `InvalidInput` for what is not of the protocol. Never with a word of it.
    pub(super) fn parse(text: &SecretValue) -> Result<Self> {
        let bytes = text.expose_secret().trim_ascii();
        if bytes.is_empty() {
            return Ok(Self::default());
        }
        let strange = || invalid("the answer is not a JSON object with the fields of the protocol");
        // An array would be taken for the fields in their order.
        if !bytes.starts_with(b"{") {
            return Err(strange());
        }
        // What the parser says could quote the value.
        serde_json::from_slice(bytes).map_err(|error| {
            strange()
                .with("line", error.line().to_string())
                .with("column", error.column().to_string())
        })
    }

    /// The error that the answer is, if it is one.
    pub(super) fn error(&self, screen: &Screen) -> Option<Error> {
        let message = match screen.shown(self.error.as_ref()?) {
            Some(said) if said.is_empty() => "the rotator failed and does not say why".to_owned(),
            Some(said) => format!("the rotator failed: {said}"),
            None => "the rotator failed, and what it says is withheld because it holds a value".to_owned(),
        };
        let kind = ErrorKind::ALL
            .into_iter()
            .find(|kind| Some(kind.as_str()) == self.kind.as_deref());
        Some(Error::new(kind.unwrap_or(ErrorKind::Other), message))
    }

    /// # Errors
    /// `InvalidInput` for a field that answers to other steps have.
    pub(super) fn check_fields(&self, step: &str) -> Result<()> {
        let strays = [
            ("progress", self.progress.is_some() && step != "reencrypt"),
            ("complete", self.complete && step != "reencrypt"),
            ("unused", self.unused.is_some() && step != "unused"),
            ("drained", self.drained.is_some() && step != "drain"),
            ("again", self.again && matches!(step, "reencrypt" | "unused" | "drain")),
        ];
        match strays.into_iter().find(|(_, is_there)| *is_there) {
            Some((field, _)) => Err(invalid("the answer has a field of another step").with("field", field)),
            None => Ok(()),
        }
    }

    pub(super) fn value(&self) -> Result<Option<SecretValue>> {
        match (&self.value, &self.value_base64) {
            (Some(_), Some(_)) => Err(invalid("the answer has `value` and `value_base64`")),
            (None, Some(text)) => BASE64
                .decode(text.expose_secret())
                .map(|bytes| Some(SecretValue::new(bytes)))
                .map_err(|_| invalid("`value_base64` of the answer is not base64 with padding")),
            (value, None) => Ok(value.clone()),
        }
    }
}

fn invalid(message: &'static str) -> Error {
    Error::new(ErrorKind::InvalidInput, message)
}

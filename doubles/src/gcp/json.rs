//! Reading JSON as Google's front end does: <https://protobuf.dev/programming-guides/json/>. Unknown names are errors, a
//! name may be written in both cases, `null` is the same as nothing, 64-bit numbers are strings or numbers.

use std::collections::BTreeMap;

use base64::Engine as _;
use base64::alphabet;
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};
use jiff::Timestamp;
use serde_json::Value;

use super::status::Status;

/// A message that was read: its fields by their names in `camelCase`.
#[derive(Debug)]
pub(super) struct Message {
    fields: BTreeMap<String, Value>,
    /// Where it stands in the request, empty for the request itself.
    at: String,
}

impl Message {
    /// Reads `value`, which may have the fields `known`, in `camelCase`.
    pub(super) fn read(value: Value, at: &str, known: &[&str]) -> Result<Self, Status> {
        let Value::Object(map) = value else {
            return Err(Status::field(at, wrong(at, "an object")));
        };
        let mut fields = BTreeMap::new();
        for (name, value) in map {
            let camel = camel_case(&name);
            if !known.contains(&camel.as_str()) {
                return Err(unknown(at, &name));
            }
            if fields.insert(camel, value).is_some() {
                let message = format!("Invalid JSON payload received. The field '{name}' is set more than once.");
                return Err(Status::field(at, message));
            }
        }
        fields.retain(|_, value| !value.is_null());
        Ok(Self {
            fields,
            at: at.to_owned(),
        })
    }

    pub(super) fn take(&mut self, name: &str) -> Option<Value> {
        self.fields.remove(name)
    }

    /// A message inside this one.
    pub(super) fn message(&mut self, name: &str, known: &[&str]) -> Result<Option<Self>, Status> {
        let at = self.path(name);
        self.take(name).map(|value| Self::read(value, &at, known)).transpose()
    }

    /// Empty when it is not set, as proto 3 has it.
    pub(super) fn text(&mut self, name: &str) -> Result<String, Status> {
        match self.take(name) {
            None => Ok(String::new()),
            Some(Value::String(text)) => Ok(text),
            Some(_) => Err(self.wrong(name, "a string")),
        }
    }

    pub(super) fn list(&mut self, name: &str) -> Result<Vec<Value>, Status> {
        match self.take(name) {
            None => Ok(Vec::new()),
            Some(Value::Array(values)) => Ok(values),
            Some(_) => Err(self.wrong(name, "a list")),
        }
    }

    pub(super) fn texts(&mut self, name: &str) -> Result<Vec<String>, Status> {
        let values = self.list(name)?.into_iter();
        values
            .map(|value| match value {
                Value::String(text) => Ok(text),
                _ => Err(self.wrong(name, "a list of strings")),
            })
            .collect()
    }

    pub(super) fn map(&mut self, name: &str) -> Result<Vec<(String, Value)>, Status> {
        match self.take(name) {
            None => Ok(Vec::new()),
            Some(Value::Object(map)) => Ok(map.into_iter().collect()),
            Some(_) => Err(self.wrong(name, "an object")),
        }
    }

    pub(super) fn text_map(&mut self, name: &str) -> Result<BTreeMap<String, String>, Status> {
        let pairs = self.map(name)?.into_iter();
        pairs
            .map(|(key, value)| match value {
                Value::String(text) => Ok((key, text)),
                _ => Err(self.wrong(name, "an object of strings")),
            })
            .collect()
    }

    pub(super) fn integer(&mut self, name: &str) -> Result<Option<i64>, Status> {
        let value = self.take(name);
        value
            .map(|value| integer(&value).ok_or_else(|| self.wrong(name, "a 64-bit integer")))
            .transpose()
    }

    pub(super) fn timestamp(&mut self, name: &str) -> Result<Option<Timestamp>, Status> {
        let text = self.text(name)?;
        if text.is_empty() {
            return Ok(None);
        }
        let time = text.parse().map_err(|_| self.wrong(name, "a timestamp as in RFC 3339"))?;
        Ok(Some(time))
    }

    /// Whole seconds of a `google.protobuf.Duration`, `3600s`; what is finer is cut off.
    pub(super) fn seconds(&mut self, name: &str) -> Result<Option<i64>, Status> {
        let text = self.text(name)?;
        if text.is_empty() {
            return Ok(None);
        }
        let seconds = seconds(&text).ok_or_else(|| self.wrong(name, "a duration in seconds that ends with `s`"))?;
        Ok(Some(seconds))
    }

    /// Both of its alphabets, with and without padding.
    pub(super) fn bytes(&mut self, name: &str) -> Result<Vec<u8>, Status> {
        let text = self.text(name)?;
        decode(&text).ok_or_else(|| {
            let path = self.path(name);
            // Google's message has the value in it: whoever shows the message shows the secret.
            let message = format!("Invalid value at '{path}' (TYPE_BYTES), Base64 decoding failed for \"{text}\"");
            Status::field(&path, message)
        })
    }

    fn path(&self, name: &str) -> String {
        if self.at.is_empty() {
            return name.to_owned();
        }
        format!("{}.{name}", self.at)
    }

    fn wrong(&self, name: &str, expected: &str) -> Status {
        let path = self.path(name);
        Status::field(&path, wrong(&path, expected))
    }
}

/// `pageSize` for `page_size`.
pub(super) fn camel_case(name: &str) -> String {
    let mut upper = false;
    let mut camel = String::new();
    for letter in name.chars() {
        match letter {
            '_' if !camel.is_empty() => upper = true,
            letter if upper => {
                camel.extend(letter.to_uppercase());
                upper = false;
            }
            letter => camel.push(letter),
        }
    }
    camel
}

fn wrong(at: &str, expected: &str) -> String {
    format!("Invalid value at '{at}': it is not {expected}.")
}

fn unknown(at: &str, name: &str) -> Status {
    let place = if at.is_empty() { String::new() } else { format!(" at '{at}'") };
    let message = format!("Invalid JSON payload received. Unknown name \"{name}\"{place}: Cannot find field.");
    Status::field(at, message)
}

fn integer(value: &Value) -> Option<i64> {
    match value {
        Value::Number(number) => number.as_i64(),
        Value::String(text) => text.parse().ok(),
        _ => None,
    }
}

fn seconds(text: &str) -> Option<i64> {
    let number = text.strip_suffix('s')?;
    let (whole, fraction) = number.split_once('.').unwrap_or((number, ""));
    let digits = fraction.len() <= 9 && fraction.bytes().all(|byte| byte.is_ascii_digit());
    whole.parse().ok().filter(|_| digits)
}

fn decode(text: &str) -> Option<Vec<u8>> {
    let lenient = GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent);
    [&alphabet::STANDARD, &alphabet::URL_SAFE]
        .iter()
        .find_map(|alphabet| GeneralPurpose::new(alphabet, lenient).decode(text).ok())
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn message(value: Value) -> Message {
        Message::read(value, "secret", &["pageSize", "data", "ttl", "labels"]).unwrap()
    }

    #[test]
    fn unknown_names_are_named_as_google_names_them() {
        let status = Message::read(json!({ "labls": {} }), "secret", &["labels"]).unwrap_err();
        assert_eq!(
            status.message,
            "Invalid JSON payload received. Unknown name \"labls\" at 'secret': Cannot find field."
        );
        let status = Message::read(json!({ "x": 1 }), "", &[]).unwrap_err();
        assert_eq!(
            status.message,
            "Invalid JSON payload received. Unknown name \"x\": Cannot find field."
        );
        assert!(Message::read(json!([]), "", &[]).is_err());
    }

    #[test]
    fn both_cases_are_one_name() {
        assert_eq!(message(json!({ "page_size": "7" })).integer("pageSize"), Ok(Some(7)));
        assert_eq!(message(json!({ "pageSize": 7 })).integer("pageSize"), Ok(Some(7)));
        assert!(message(json!({ "pageSize": 7.5 })).integer("pageSize").is_err());
        assert!(Message::read(json!({ "a_b": 1, "aB": 2 }), "", &["aB"]).is_err());
        assert_eq!(message(json!({ "pageSize": null })).integer("pageSize"), Ok(None));
    }

    #[test]
    fn bytes_are_base64_of_either_alphabet() {
        for text in ["+/8=", "-_8=", "+/8", "-_8"] {
            assert_eq!(
                message(json!({ "data": text })).bytes("data").unwrap(),
                [0xFB, 0xFF],
                "{text}"
            );
        }
        let status = message(json!({ "data": "no base64!" })).bytes("data").unwrap_err();
        assert_eq!(
            status.message,
            "Invalid value at 'secret.data' (TYPE_BYTES), Base64 decoding failed for \"no base64!\""
        );
    }

    #[test]
    fn durations_end_with_their_unit() {
        for (text, seconds) in [
            ("3600s", Some(3600)),
            ("1.5s", Some(1)),
            ("60", None),
            ("1m", None),
            ("1.xs", None),
        ] {
            assert_eq!(
                message(json!({ "ttl": text })).seconds("ttl").ok().flatten(),
                seconds,
                "{text}"
            );
        }
    }
}

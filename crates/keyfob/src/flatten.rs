//! A document as names and values, for importing.

use keyfob_core::{Error, ErrorKind, Result, SecretName, SecretValue};
use serde::de::{Deserialize, Deserializer, MapAccess, Visitor};
use serde_json::value::RawValue;
use zeroize::Zeroizing;

use crate::format::{Document, Format, SyntaxError};
use crate::load::parse;
use crate::tree::Node;

/// Every value of a document, named by the keys on the way to it, joined by `/`.
///
/// `null` is left out. In JSON, a number, a boolean or a list is taken as it stands there. Other formats write the same
/// number in many ways (`0x1F`, `1_000`, `0123`), so there only text is taken, and lists as their JSON.
///
/// # Errors
/// `InvalidInput` naming place or key, never the value: a document that is none, keys that can't be part of a name, a name
/// that comes twice, a number or a boolean outside JSON. `Unsupported` for plain text.
pub fn flatten(format: Format, text: &str) -> Result<Vec<(SecretName, SecretValue)>> {
    Document::parse(format, Zeroizing::new(text.to_owned())).map_err(|error| not_a_document(format, None, &error))?;
    let mut flat = Flat::default();
    if format == Format::Json {
        let document = serde_json::from_str(text).map_err(|_| not_strict())?;
        flat.add_json(&mut Vec::new(), document)?;
    } else {
        flat.add(&mut Vec::new(), parse(format, text)?);
    }
    if flat.is_no_map {
        return Err(Error::new(
            ErrorKind::InvalidInput,
            "the document is not a map of names and values",
        ));
    }
    if let Some(problem) = all_of(flat.problems) {
        return Err(problem);
    }
    let mut names: Vec<&SecretName> = flat.values.iter().map(|(name, _)| name).collect();
    names.sort_unstable();
    match names.windows(2).find(|pair| pair[0] == pair[1]) {
        Some(pair) => Err(refused("two values have the same name", pair[0].as_str())),
        None => Ok(flat.values),
    }
}

/// What is wrong with a text of that format, where, and what would be right.
pub(crate) fn not_a_document(format: Format, source: Option<&str>, error: &SyntaxError) -> Error {
    let place = match source {
        Some(source) => format!("{source}:{}:{}", error.line(), error.column()),
        None => format!("{}:{}", error.line(), error.column()),
    };
    let message = format!("not a valid {format} document: {}", error.problem());
    let invalid = Error::new(ErrorKind::InvalidInput, message).with("at", place);
    match error.hint() {
        Some(hint) => invalid.with_hint(hint),
        None => invalid,
    }
}

#[derive(Default)]
struct Flat {
    values: Vec<(SecretName, SecretValue)>,
    /// Told together, so that a document is mended in one go.
    problems: Vec<Error>,
    is_no_map: bool,
}

impl Flat {
    fn add(&mut self, path: &mut Vec<String>, node: Node) {
        let value = match node {
            Node::Null => return,
            Node::Map(map) => {
                for (key, node) in map {
                    path.push(key);
                    self.add(path, node);
                    path.pop();
                }
                return;
            }
            Node::Text(mut text) | Node::Secret(mut text) => Ok(SecretValue::from(std::mem::take(&mut *text))),
            list @ Node::Sequence(_) => list.to_json().ok_or("a list holds a number that would lose digits"),
            Node::Bool(_) | Node::Unsigned(_) | Node::Signed(_) | Node::Float(_) => {
                Err("only text can be imported here without losing what stands there")
            }
        };
        self.push(path, value);
    }

    fn add_json(&mut self, path: &mut Vec<String>, raw: &RawValue) -> Result<()> {
        let value = match raw.get().as_bytes().first() {
            Some(b'{') => {
                let Entries(entries) = serde_json::from_str(raw.get()).map_err(|_| not_strict())?;
                for (key, raw) in entries {
                    path.push(key);
                    self.add_json(path, raw)?;
                    path.pop();
                }
                return Ok(());
            }
            Some(b'n') => return Ok(()),
            Some(b'"') => SecretValue::from(serde_json::from_str::<String>(raw.get()).map_err(|_| not_strict())?),
            _ => SecretValue::from(raw.get()),
        };
        self.push(path, Ok(value));
        Ok(())
    }

    fn push(&mut self, path: &[String], value: Result<SecretValue, &'static str>) {
        self.is_no_map |= path.is_empty();
        let key = path.join("/");
        let value = value.map_err(|problem| refused(problem, &key).with_hint("put the value in quotes"));
        match value.and_then(|value| Ok((SecretName::new(&key)?, value))) {
            Ok(named) => self.values.push(named),
            Err(problem) => self.problems.push(problem),
        }
    }
}

/// The entries of a JSON object in their order, a key that comes twice included: a map would keep one of its values.
struct Entries<'a>(Vec<(String, &'a RawValue)>);

impl<'de> Deserialize<'de> for Entries<'de> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> std::result::Result<Self, D::Error> {
        struct Object;
        impl<'de> Visitor<'de> for Object {
            type Value = Entries<'de>;
            fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str("an object")
            }
            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> std::result::Result<Entries<'de>, A::Error> {
                let mut entries = Vec::new();
                while let Some(entry) = map.next_entry()? {
                    entries.push(entry);
                }
                Ok(Entries(entries))
            }
        }
        deserializer.deserialize_map(Object)
    }
}

/// Comments and trailing commas are kept when a configuration is resolved, but JSON proper has none.
fn not_strict() -> Error {
    Error::new(
        ErrorKind::InvalidInput,
        "not a valid JSON document: comments and trailing commas are not taken here",
    )
}

/// One error that tells all of them.
fn all_of(problems: Vec<Error>) -> Option<Error> {
    let [first, _, ..] = problems.as_slice() else {
        return problems.into_iter().next();
    };
    let told: Vec<String> = problems.iter().map(Error::to_string).collect();
    let message = format!("{} values can't be taken: {}", told.len(), told.join("; "));
    let error = Error::new(first.kind(), message);
    Some(match first.hint() {
        Some(hint) => error.with_hint(hint.to_owned()),
        None => error,
    })
}

fn refused(problem: &'static str, key: &str) -> Error {
    Error::new(ErrorKind::InvalidInput, problem).with("key", key.escape_debug().to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn flat(format: Format, text: &str) -> Result<Vec<(String, String)>> {
        let values = flatten(format, text)?;
        Ok(values
            .into_iter()
            .map(|(name, value)| (name.to_string(), value.expose_str().unwrap().to_owned()))
            .collect())
    }

    fn pairs(pairs: &[(&str, &str)]) -> Vec<(String, String)> {
        pairs
            .iter()
            .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))
            .collect()
    }

    #[test]
    fn keys_become_names() {
        let json = r#"{"db":{"user":"jo","port":5432,"tls":true,"none":null},"list":["a", 1.10],"pi":3.140,"k":"v"}"#;
        let expected = [
            ("db/user", "jo"),
            ("db/port", "5432"),
            ("db/tls", "true"),
            ("list", r#"["a", 1.10]"#),
            ("pi", "3.140"),
            ("k", "v"),
        ];
        assert_eq!(flat(Format::Json, json).unwrap(), pairs(&expected));
        assert_eq!(flat(Format::Yaml, "db:\n  user: jo\n").unwrap(), pairs(&[("db/user", "jo")]));
        assert_eq!(
            flat(Format::Yaml, "no: {y: a, 1.10: b, 0x1F: c}\n").unwrap(),
            pairs(&[("no/y", "a"), ("no/1.10", "b"), ("no/0x1F", "c")])
        );
        assert_eq!(flat(Format::Dotenv, "A=1\nA=2\n").unwrap(), pairs(&[("A", "2")]));
    }

    #[test]
    fn all_problems_are_told_together() {
        let error = flat(Format::Json, r#"{"ok":"9871","..":"9871","a b\n":1.50,"a":{"":"9871"}}"#).unwrap_err();
        let told = error.to_string();
        assert!(told.starts_with("3 values can't be taken: "), "{told}");
        assert!(
            told.contains("`..`") && told.contains("`a/`") && !told.contains("9871"),
            "{told}"
        );
    }

    #[test]
    fn what_would_not_be_the_same_is_refused_without_the_value() {
        for (format, text) in [
            (Format::Yaml, "a: 0123\n"),
            (Format::Yaml, "a: yes\nb: 9871\n"),
            (Format::Json, r#"{"a/b":"9871","a":{"b":"9871"}}"#),
            (Format::Json, r#"{"a":"9871","a":"9871"}"#),
            (Format::Json, r#"{"..":"9871"}"#),
            (Format::Json, "[9871]"),
            (Format::Json, r#""9871""#),
            (Format::Text, "9871"),
        ] {
            let error = flat(format, text).unwrap_err();
            assert!(
                !format!("{error:?}").contains("9871") && !format!("{error:?}").contains("0123"),
                "{error:?}"
            );
        }
    }

    #[test]
    fn a_document_that_is_none_says_where() {
        for (format, text, place) in [
            (Format::Json, "{\"a\":\n 1,,}", "2:4"),
            (Format::Yaml, "a: [9871\n", "1:4"),
            (Format::Toml, "a = 1\nb = ", "2:"),
            (Format::Dotenv, "A=1\n9871", "2:"),
        ] {
            let error = flat(format, text).unwrap_err();
            assert!(
                error.to_string().contains(place) && !format!("{error:?}").contains("9871"),
                "{error:?}"
            );
        }
    }
}

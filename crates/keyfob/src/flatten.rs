//! A document as names and values, for importing.

use keyfob_core::{Error, ErrorKind, Result, SecretName, SecretValue};

use crate::format::Format;
use crate::load::parse;
use crate::tree::Node;

/// Every value of a document, named by the keys on the way to it, joined by `/`.
///
/// Lists stay together, as their JSON. `null` is left out. Numbers and booleans are taken from JSON only: other formats
/// write the same number in many ways (`0x1F`, `1_000`, `0123`), and the digits that stand there would be lost.
///
/// # Errors
/// `InvalidInput` naming the key, never the value: a document that is none, a key that can't be part of a name, a name
/// that comes twice, a number or a boolean outside JSON, a fraction. `Unsupported` for plain text.
pub fn flatten(format: Format, text: &str) -> Result<Vec<(SecretName, SecretValue)>> {
    let mut flat = Flat {
        format,
        values: Vec::new(),
        problems: Vec::new(),
    };
    flat.add(&mut Vec::new(), parse(format, text)?)?;
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

struct Flat {
    format: Format,
    values: Vec<(SecretName, SecretValue)>,
    /// Told together, so that a document is mended in one go.
    problems: Vec<Error>,
}

impl Flat {
    fn add(&mut self, path: &mut Vec<String>, node: Node) -> Result<()> {
        let value = match node {
            Node::Null => return Ok(()),
            Node::Map(map) => {
                for (key, node) in map {
                    path.push(key);
                    self.add(path, node)?;
                    path.pop();
                }
                return Ok(());
            }
            other => other,
        };
        let key = path.join("/");
        let exact = |node: &Node| matches!(self.format, Format::Json) && !matches!(node, Node::Float(_));
        let value = match value {
            Node::Text(mut text) | Node::Secret(mut text) => SecretValue::from(std::mem::take(&mut *text)),
            list @ Node::Sequence(_) => list
                .to_json()
                .ok_or_else(|| refused("a list holds a number that would lose digits", &key))?,
            scalar if exact(&scalar) => scalar
                .to_json()
                .ok_or_else(|| refused("the number would lose digits", &key))?,
            _ => {
                return Err(
                    refused("only text can be imported here without losing what stands there", &key)
                        .with_hint("put the value in quotes"),
                );
            }
        };
        if path.is_empty() {
            return Err(Error::new(
                ErrorKind::InvalidInput,
                "the document is not a map of names and values",
            ));
        }
        self.values.push((SecretName::new(&key)?, value));
        Ok(())
    }
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
        let json = r#"{"db":{"user":"jo","port":5432,"tls":true,"none":null},"list":["a",1],"k":"v"}"#;
        let expected = [
            ("db/user", "jo"),
            ("db/port", "5432"),
            ("db/tls", "true"),
            ("list", r#"["a",1]"#),
            ("k", "v"),
        ];
        assert_eq!(flat(Format::Json, json).unwrap(), pairs(&expected));
        assert_eq!(flat(Format::Yaml, "db:\n  user: jo\n").unwrap(), pairs(&[("db/user", "jo")]));
        assert_eq!(flat(Format::Dotenv, "A=1\nA=2\n").unwrap(), pairs(&[("A", "2")]));
    }

    #[test]
    fn what_would_not_be_the_same_is_refused_without_the_value() {
        for (format, text) in [
            (Format::Yaml, "a: 0123\n"),
            (Format::Yaml, "a: yes\nb: 9871\n"),
            (Format::Json, r#"{"a":1.10}"#),
            (Format::Json, r#"{"a/b":"9871","a":{"b":"9871"}}"#),
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
}

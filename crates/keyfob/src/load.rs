//! Typed configuration: a document with references, read into a type of the application.

use keyfob_core::{Error, ErrorKind, Resolved, Result};
use serde::de::DeserializeOwned;

use crate::format::Format;
use crate::template::Template;
use crate::tree::{Node, Values};

/// Reads a resolved template into `T`.
///
/// The parsers of the formats see placeholders only, so none of them can keep or print a value. A value that holds a
/// reference is text; where `T` wants a number or a boolean, the text is read as one, and an `Option` is `None` where
/// an optional reference (`?`) is absent.
///
/// # Errors
/// `InvalidInput`, naming the key and what was expected, never the value of a reference.
pub(crate) fn deserialize<T: DeserializeOwned>(template: &Template, resolved: &Resolved) -> Result<T> {
    let values = template.values(resolved)?;
    let prefix = unused_prefix(template);
    let text = template.with_placeholders(&prefix)?;
    let tree = parse(template.format(), &text)?;
    let tree = tree.fill(&Values {
        prefix: &prefix,
        values: &values,
    })?;
    T::deserialize(tree).map_err(|error| Error::new(ErrorKind::InvalidInput, error.to_string()))
}

fn unused_prefix(template: &Template) -> String {
    let mut attempt = 0_u32;
    loop {
        let prefix = format!("keyfob-placeholder-{attempt}-");
        if !template.contains(&prefix) {
            return prefix;
        }
        attempt += 1;
    }
}

/// Reads a document's structure.
///
/// # Errors
/// `InvalidInput` without quoting it, `Unsupported` for plain text.
pub(crate) fn parse(format: Format, text: &str) -> Result<Node> {
    // The parsers' messages can quote the document, which may hold secrets that are not references.
    let invalid = |line: Option<usize>| {
        let error = Error::new(ErrorKind::InvalidInput, format!("not a valid {format} document"));
        line.map_or(error.clone(), |line| error.with("line", line.to_string()))
    };
    match format {
        Format::Json => serde_json::from_str(text).map_err(|error| invalid(Some(error.line()))),
        Format::Toml => toml::from_str(text).map_err(|_| invalid(None)),
        Format::Yaml => serde_saphyr::from_str(text).map_err(|_| invalid(None)),
        Format::Dotenv => {
            let document = keyfob_env::dotenv::Document::parse(text).map_err(|error| invalid(Some(error.line())))?;
            Ok(Node::map(
                document
                    .entries()
                    .map(|entry| (entry.name().to_owned(), entry.value().to_owned())),
            ))
        }
        Format::Text => Err(Error::new(ErrorKind::Unsupported, "plain text has no names and values")
            .with_hint("name the file `.json`, `.yaml`, `.toml` or `.env`")),
    }
}

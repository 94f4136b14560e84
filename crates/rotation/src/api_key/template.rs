//! Texts with holes.

use keyfob_core::{Error, ErrorKind, Result};
use percent_encoding::percent_encode;
use zeroize::Zeroizing;

use crate::http::invalid;
use crate::percent::RESERVED;

/// What the holes of a request are filled with.
pub(super) struct Holes<'a> {
    pub(super) key: &'a str,
    pub(super) key_id: Option<&'a str>,
    pub(super) rotation: &'a str,
    pub(super) name: &'a str,
    pub(super) credential: Option<&'a str>,
}

/// How what is put into a hole is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Writing {
    AsIs,
    Percent,
}

const NAMES: [&str; 5] = ["key", "key_id", "rotation", "name", "credential"];

/// The text, filled.
///
/// # Errors
/// `InvalidConfig` for a hole of no known name; `InvalidInput` for one that there is nothing for.
pub(super) fn fill(text: &str, holes: &Holes<'_>, writing: Writing) -> Result<Zeroizing<String>> {
    let mut filled = Zeroizing::new(String::new());
    for part in parts(text)? {
        let hole = match part {
            Part::Text(text) => {
                filled.push_str(text);
                continue;
            }
            Part::Hole(hole) => hole,
        };
        let value = match hole {
            "key" => Some(holes.key),
            "key_id" => holes.key_id,
            "rotation" => Some(holes.rotation),
            "name" => Some(holes.name),
            _ => holes.credential,
        };
        let value = value.ok_or_else(|| missing(hole))?;
        match writing {
            Writing::AsIs => filled.push_str(value),
            // Encoded or not, these would be steps up the path.
            Writing::Percent if matches!(value, "." | "..") => {
                return Err(Error::new(ErrorKind::InvalidInput, "this can't stand in a path").with("hole", hole.to_owned()));
            }
            Writing::Percent => filled.extend(percent_encode(value.as_bytes(), RESERVED)),
        }
    }
    Ok(filled)
}

#[derive(Debug, PartialEq, Eq)]
pub(super) enum Part<'t> {
    Text(&'t str),
    Hole(&'t str),
}

pub(super) fn parts(text: &str) -> Result<Vec<Part<'_>>> {
    let mut parts = Vec::new();
    let mut rest = text;
    while let Some(at) = rest.find(['{', '}']) {
        let (before, brace) = rest.split_at(at);
        parts.push(Part::Text(before));
        if brace.starts_with("{{") || brace.starts_with("}}") {
            parts.push(Part::Text(&brace[..1]));
            rest = &brace[2..];
            continue;
        }
        let name = brace.strip_prefix('{').and_then(|brace| brace.split_once('}'));
        let Some((name, after)) = name.filter(|(name, _)| NAMES.contains(name)) else {
            return Err(invalid("a request has a `{` or `}` that encloses no known name")
                .with("known", NAMES.join(", "))
                .with_hint("write `{{` and `}}` for the characters themselves"));
        };
        parts.push(Part::Hole(name));
        rest = after;
    }
    parts.push(Part::Text(rest));
    Ok(parts)
}

fn missing(name: &str) -> Error {
    Error::new(ErrorKind::InvalidInput, "a request asks for what is not known")
        .with("hole", name.to_owned())
        .with_hint("`{key_id}` needs `ids_at` and a secret with an `id`, `{credential}` a credential")
}

#[cfg(test)]
mod tests {
    use super::*;

    const HOLES: Holes<'_> = Holes {
        key: "k/1 ä",
        key_id: Some("7"),
        rotation: "r",
        name: "n",
        credential: None,
    };

    #[test]
    fn holes_are_filled_and_braces_stay() {
        let filled = |text, writing| fill(text, &HOLES, writing).map(|text| text.to_string());
        assert_eq!(
            filled("a {key}{key_id} {{key}} {name}", Writing::AsIs).unwrap(),
            "a k/1 ä7 {key} n"
        );
        assert_eq!(
            filled("/{key}?r={rotation}", Writing::Percent).unwrap(),
            "/k%2F1%20%C3%A4?r=r"
        );
        for bad in ["{", "}", "{nobody}", "{key", "a}b"] {
            assert_eq!(
                filled(bad, Writing::AsIs).unwrap_err().kind(),
                ErrorKind::InvalidConfig,
                "{bad}"
            );
        }
        assert_eq!(
            filled("{credential}", Writing::AsIs).unwrap_err().kind(),
            ErrorKind::InvalidInput
        );
    }
}

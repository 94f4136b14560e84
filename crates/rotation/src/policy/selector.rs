//! Which secrets a policy is about.

use std::collections::BTreeMap;

use keyfob_core::{Error, ErrorKind, Metadata, Result, SecretName};

/// Which secrets a policy is about: by their names, by their tags, or both.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Selector {
    names: Vec<Pattern>,
    tags: BTreeMap<String, String>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Pattern {
    Name(SecretName),
    /// All that begin so.
    Prefix(String),
}

impl Selector {
    pub(super) fn new(names: &[String], tags: BTreeMap<String, String>) -> Result<Self> {
        if names.is_empty() && tags.is_empty() {
            return Err(Error::new(ErrorKind::InvalidConfig, "it says neither `secrets` nor `tags`")
                .with_hint("`secrets: [\"*\"]` for all of them"));
        }
        let names = names.iter().map(|text| Pattern::parse(text)).collect::<Result<_>>()?;
        Ok(Self { names, tags })
    }

    /// Whether the policy is about this secret. Never about the names that a rotation itself uses.
    #[must_use]
    pub fn fits(&self, secret: &Metadata) -> bool {
        !secret.name.is_reserved()
            && (self.names.is_empty() || self.names.iter().any(|pattern| pattern.fits(&secret.name)))
            && self.tags.iter().all(|(key, value)| secret.tags.get(key) == Some(value))
    }

    /// Whether the policy is about the secret of this name, whatever tags it has.
    pub(super) fn takes(&self, name: &SecretName) -> bool {
        !name.is_reserved() && self.tags.is_empty() && self.names.iter().any(|pattern| pattern.fits(name))
    }

    /// The names that are said in full, which can be asked for without listing a store.
    pub fn names(&self) -> impl Iterator<Item = &SecretName> {
        self.names.iter().filter_map(|pattern| match pattern {
            Pattern::Name(name) => Some(name),
            Pattern::Prefix(_) => None,
        })
    }

    /// What to list, so as to find all that it may be about: prefixes, an empty one for everything; none where
    /// [`names`](Self::names) are all.
    pub fn prefixes(&self) -> impl Iterator<Item = &str> {
        let everything = self.names.is_empty().then_some("");
        let prefixes = self.names.iter().filter_map(|pattern| match pattern {
            Pattern::Name(_) => None,
            Pattern::Prefix(prefix) => Some(prefix.as_str()),
        });
        everything.into_iter().chain(prefixes)
    }

    /// Whether it is about tags, too, which not every store tells in a listing.
    #[must_use]
    pub fn has_tags(&self) -> bool {
        !self.tags.is_empty()
    }
}

impl Pattern {
    fn parse(text: &str) -> Result<Self> {
        let wrong = |message: String| Error::new(ErrorKind::InvalidConfig, message);
        if let Some(prefix) = text.strip_suffix('*') {
            if prefix.contains('*') {
                return Err(wrong(format!("`{}`: a `*` stands only at the end", text.escape_debug())));
            }
            return Ok(Self::Prefix(prefix.to_owned()));
        }
        if text.contains('*') {
            return Err(wrong(format!("`{}`: a `*` stands only at the end", text.escape_debug())));
        }
        let name = SecretName::new(text).map_err(|error| wrong(format!("`{}`: {error}", text.escape_debug())))?;
        match name.is_reserved() {
            true => Err(wrong(format!("`{name}` is a name that keyfob uses itself"))),
            false => Ok(Self::Name(name)),
        }
    }

    fn fits(&self, name: &SecretName) -> bool {
        match self {
            Self::Name(known) => known == name,
            Self::Prefix(prefix) => name.as_str().starts_with(prefix.as_str()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn selector(names: &[&str], tags: &[(&str, &str)]) -> Selector {
        let names: Vec<String> = names.iter().map(|name| (*name).to_owned()).collect();
        let tags = tags
            .iter()
            .map(|(key, value)| ((*key).to_owned(), (*value).to_owned()))
            .collect();
        Selector::new(&names, tags).unwrap()
    }

    fn secret(name: &str, tags: &[(&str, &str)]) -> Metadata {
        let mut metadata = Metadata::new(SecretName::new(name).unwrap(), "memory");
        metadata.tags = tags
            .iter()
            .map(|(key, value)| ((*key).to_owned(), (*value).to_owned()))
            .collect();
        metadata
    }

    #[test]
    fn names_prefixes_and_tags_select() {
        let by_name = selector(&["db/a", "web/*"], &[]);
        for (name, fits) in [
            ("db/a", true),
            ("db/ab", false),
            ("web/x", true),
            ("web/x/y", true),
            ("webs", false),
        ] {
            assert_eq!(by_name.fits(&secret(name, &[])), fits, "{name}");
        }
        assert!(!by_name.fits(&secret("web/x.keyfob-rotation", &[])), "a journal is rotated");
        let by_both = selector(&["web/*"], &[("rotate", "monthly")]);
        assert!(by_both.fits(&secret("web/x", &[("rotate", "monthly"), ("team", "a")])));
        assert!(!by_both.fits(&secret("web/x", &[("rotate", "yearly")])));
        assert!(!by_both.fits(&secret("db/x", &[("rotate", "monthly")])));
    }

    #[test]
    fn what_is_to_be_listed_is_known() {
        let selector = selector(&["db/a", "web/*"], &[]);
        assert_eq!(selector.prefixes().collect::<Vec<_>>(), ["web/"]);
        assert_eq!(selector.names().map(SecretName::as_str).collect::<Vec<_>>(), ["db/a"]);
        let tagged = self::selector(&[], &[("a", "b")]);
        assert_eq!(tagged.prefixes().collect::<Vec<_>>(), [""]);
    }

    #[test]
    fn what_selects_nothing_or_is_no_name_is_refused() {
        for (names, word) in [
            (vec![], "neither"),
            (vec!["a*b"], "only at the end"),
            (vec!["**"], "only at the end"),
            (vec![""], "``"),
            (vec!["a.keyfob-pending"], "itself"),
        ] {
            let names: Vec<String> = names.into_iter().map(str::to_owned).collect();
            let error = Selector::new(&names, BTreeMap::new()).unwrap_err();
            assert!(error.to_string().contains(word), "{names:?}: {error}");
        }
    }
}

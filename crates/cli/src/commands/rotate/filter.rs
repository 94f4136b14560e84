//! Which of the secrets that policies are about.

use std::str::FromStr;

use keyfob::rotation::Planned;

/// What must hold of a secret.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Condition {
    Name(String),
    Policy(String),
    Tag(String, Option<String>),
}

impl Condition {
    pub(super) fn holds(&self, planned: &Planned) -> bool {
        match self {
            Self::Name(prefix) => planned.name.as_str().starts_with(prefix.as_str()),
            Self::Policy(name) => planned.policy.name == *name,
            Self::Tag(key, None) => planned.tags.contains_key(key),
            Self::Tag(key, Some(value)) => planned.tags.get(key) == Some(value),
        }
    }
}

impl FromStr for Condition {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let help = "give `name=PREFIX`, `policy=NAME`, `tag=KEY` or `tag=KEY=VALUE`";
        match text.split_once('=') {
            Some(("name", prefix)) if !prefix.is_empty() => Ok(Self::Name(prefix.to_owned())),
            Some(("policy", name)) if !name.is_empty() => Ok(Self::Policy(name.to_owned())),
            Some(("tag", tag)) if !tag.is_empty() => Ok(match tag.split_once('=') {
                Some((key, value)) => Self::Tag(key.to_owned(), Some(value.to_owned())),
                None => Self::Tag(tag.to_owned(), None),
            }),
            _ => Err(help.to_owned()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn conditions_are_written_as_the_help_says() {
        let parse = |text: &str| text.parse::<Condition>();
        assert_eq!(parse("name=web/"), Ok(Condition::Name("web/".to_owned())));
        assert_eq!(parse("policy=a b"), Ok(Condition::Policy("a b".to_owned())));
        assert_eq!(parse("tag=team"), Ok(Condition::Tag("team".to_owned(), None)));
        assert_eq!(
            parse("tag=team=a=b"),
            Ok(Condition::Tag("team".to_owned(), Some("a=b".to_owned())))
        );
        for wrong in ["", "tag", "tag=", "name=", "team=a", "policy="] {
            assert!(parse(wrong).is_err(), "{wrong}");
        }
    }
}

//! The map from secret names to what the vault calls a secret, and back.
//!
//! A vault takes letters, digits and `-`, and doesn't tell letter case apart. So the name that keyfob writes under, the
//! *own* name, has lower-case letters only, and everything else is [spelled out](spelling). What other tools made has
//! the name that they gave it, and is reached by that one too.

mod spelling;

use keyfob_core::{NameRule, SecretName};

use self::spelling::{longest, spell, unspell};

/// The longest name of a secret in a vault, in bytes.
pub(crate) const MAX_BYTES: usize = 127;
/// So that at least half of a name is left.
const MAX_PREFIX_BYTES: usize = 64;

/// What a vault calls a secret. What is no such name can't be built: it goes into the URL as it is.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) struct AzureName(String);

impl AzureName {
    pub(crate) fn parse(text: &str) -> Option<Self> {
        let is_one = (1..=MAX_BYTES).contains(&text.len()) && text.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-');
        is_one.then(|| Self(text.to_owned()))
    }

    pub(crate) fn as_str(&self) -> &str {
        &self.0
    }

    /// Whether a vault takes both for the same.
    pub(crate) fn is(&self, other: &Self) -> bool {
        self.0.eq_ignore_ascii_case(&other.0)
    }
}

/// A version as the vault calls it. What is none can't be built.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) struct VersionId(String);

impl VersionId {
    pub(crate) fn parse(text: &str) -> Option<Self> {
        let is_one = text.len() == 32 && text.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'));
        is_one.then(|| Self(text.to_owned()))
    }

    pub(crate) fn as_str(&self) -> &str {
        &self.0
    }
}

/// Where a secret can be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Places {
    /// Where keyfob writes it.
    pub(crate) own: AzureName,
    /// Where another tool would have written it, if that is another place.
    pub(crate) foreign: Option<AzureName>,
}

/// The map of one store: prefix and name are one text.
#[derive(Debug, Clone)]
pub(crate) struct Names {
    prefix: String,
    prefix_bytes: usize,
}

impl Names {
    /// `None` when `prefix` can't be one.
    pub(crate) fn new(prefix: &str) -> Option<Self> {
        let prefix_bytes = spell(prefix).len();
        let is_one = prefix_bytes <= MAX_PREFIX_BYTES && !prefix.chars().any(char::is_control) && prefix.trim() == prefix;
        is_one.then(|| Self {
            prefix: prefix.to_owned(),
            prefix_bytes,
        })
    }

    pub(crate) fn prefix(&self) -> &str {
        &self.prefix
    }

    /// Which names fit.
    pub(crate) fn rule(&self) -> NameRule {
        NameRule::Custom(RULES[self.prefix_bytes])
    }

    /// The longest name that fits behind the prefix.
    pub(crate) fn max_bytes(&self) -> usize {
        MAX_BYTES - self.prefix_bytes
    }

    /// The name with the prefix, as it is recorded.
    pub(crate) fn full(&self, name: &SecretName) -> String {
        format!("{}{name}", self.prefix)
    }

    /// Where the secret `name` can be; `None` for a name that [the rule](Self::rule) refuses.
    pub(crate) fn places(&self, name: &SecretName) -> Option<Places> {
        let full = self.full(name);
        let own = AzureName::parse(&spell(&full))?;
        let foreign = AzureName::parse(&full).filter(|foreign| *foreign != own);
        Some(Places { own, foreign })
    }

    /// What keyfob calls the secret that the vault calls `listed`, with the name that is recorded at it; `None` when it
    /// isn't one of this store's, or a name that doesn't reach it is recorded.
    pub(crate) fn name(&self, listed: &AzureName, recorded: Option<&str>) -> Option<SecretName> {
        match recorded {
            Some(recorded) => self.reaching(recorded, listed),
            // What another tool made can have a name that is the spelling of another one, and always has its own.
            None => unspell(listed.as_str())
                .and_then(|full| self.reaching(&full, listed))
                .or_else(|| self.reaching(listed.as_str(), listed)),
        }
    }

    /// The name whose full form is `full`, if it reaches `listed`.
    fn reaching(&self, full: &str, listed: &AzureName) -> Option<SecretName> {
        let name = SecretName::new(full.strip_prefix(&self.prefix)?).ok()?;
        RULES[self.prefix_bytes](&name).ok()?;
        let places = self.places(&name)?;
        let reaches = places.own.is(listed) || places.foreign.as_ref().is_some_and(|foreign| foreign.is(listed));
        reaches.then_some(name)
    }
}

type Rule = fn(&SecretName) -> Result<(), &'static str>;

/// Refuses what has no room behind a prefix of `PREFIX` bytes. A prefix can end in a way that makes a name longer.
fn rule<const PREFIX: usize>(name: &SecretName) -> Result<(), &'static str> {
    let length = match PREFIX {
        0 => spell(name.as_str()).len(),
        _ => longest(name.as_str()),
    };
    match PREFIX + length <= MAX_BYTES {
        true => Ok(()),
        false => Err("Azure takes 127 characters, of which `/` costs two, a capital letter up to four, and `_` and `.` four"),
    }
}

macro_rules! rules {
    ($($prefix:literal)*) => { [$(rule::<$prefix>),*] };
}

/// A rule knows nothing but the name, so there is one for each length of a prefix.
static RULES: [Rule; MAX_PREFIX_BYTES + 1] = rules!(
    0 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17 18 19 20 21 22 23 24 25 26 27 28 29 30 31 32 33 34 35 36 37 38 39 40 41 42
    43 44 45 46 47 48 49 50 51 52 53 54 55 56 57 58 59 60 61 62 63 64
);

#[cfg(test)]
mod tests;

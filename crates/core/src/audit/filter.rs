//! Which records somebody wants to see.

use std::time::SystemTime;

use super::record::{AuditOutcome, AuditRecord};
use crate::error::{Error, ErrorKind, Result};
use crate::nearest::nearest;
use crate::verb::Verb;

/// Lets through the records that fulfil all of its conditions; without any, all.
///
/// Where names are masked, `name` is compared with what the mask made of it, and `prefix` finds nothing.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct AuditFilter {
    /// Began at this time or later.
    pub since: Option<SystemTime>,
    /// Began before this time.
    pub until: Option<SystemTime>,
    /// Asked for this.
    pub verb: Option<Verb>,
    /// Of this name.
    pub name: Option<String>,
    /// Of a name that begins so.
    pub prefix: Option<String>,
    /// Of the store of this [name](super::AuditedStore::name); also of a list in which it is and that does not say who answered.
    pub store: Option<String>,
    /// Of a store of this scheme.
    pub scheme: Option<String>,
    /// Of a store in this place.
    pub location: Option<String>,
    /// Ended so.
    pub outcome: Option<AuditOutcome>,
    /// Failed with an error of this kind.
    pub error: Option<ErrorKind>,
    /// By this user.
    pub user: Option<String>,
    /// On this machine.
    pub host: Option<String>,
}

const KEYS: [&str; 10] = [
    "verb", "name", "prefix", "store", "scheme", "location", "outcome", "error", "user", "host",
];

impl AuditFilter {
    /// Adds a condition as people write it: `verb=get`, `name=db/password`, `prefix=db/`, `store=prod`, `scheme=vault`,
    /// `location=https://vault.example:8200`, `outcome=failed`, `error=permission_denied`, `user=jo`, `host=web1`.
    ///
    /// # Errors
    /// [`ErrorKind::InvalidInput`] for another key, for a verb, an outcome or a kind that there is not, and for a key that
    /// has a condition already: nothing could fulfil both.
    pub fn require(&mut self, condition: &str) -> Result<()> {
        let Some((key, value)) = condition.split_once('=') else {
            return Err(
                Error::new(ErrorKind::InvalidInput, format!("`{condition}` is not `key=value`"))
                    .with_hint(format!("the keys are {}", KEYS.join(", "))),
            );
        };
        match key {
            "verb" => once(&mut self.verb, key, one_of(value, Verb::ALL, Verb::as_str, "verb")?),
            "outcome" => once(
                &mut self.outcome,
                key,
                one_of(value, AuditOutcome::ALL, AuditOutcome::as_str, "outcome")?,
            ),
            "error" => once(
                &mut self.error,
                key,
                one_of(value, ErrorKind::ALL, ErrorKind::as_str, "kind of error")?,
            ),
            "name" => once(&mut self.name, key, value.to_owned()),
            "prefix" => once(&mut self.prefix, key, value.to_owned()),
            "store" => once(&mut self.store, key, value.to_owned()),
            "scheme" => once(&mut self.scheme, key, value.to_owned()),
            "location" => once(&mut self.location, key, value.to_owned()),
            "user" => once(&mut self.user, key, value.to_owned()),
            "host" => once(&mut self.host, key, value.to_owned()),
            _ => {
                let hint = match nearest(key, KEYS).first() {
                    Some(near) => format!("did you mean `{near}`?"),
                    None => format!("the keys are {}", KEYS.join(", ")),
                };
                Err(Error::new(ErrorKind::InvalidInput, format!("records have no `{key}` to filter by")).with_hint(hint))
            }
        }
    }

    /// Whether `record` fulfils all conditions.
    #[must_use]
    pub fn matches(&self, record: &AuditRecord) -> bool {
        let name = record.name.as_deref().unwrap_or_default();
        self.since.is_none_or(|since| record.time >= since)
            && self.until.is_none_or(|until| record.time < until)
            && self.verb.is_none_or(|verb| record.verb == verb)
            && self.name.as_ref().is_none_or(|wanted| name == wanted)
            && self.prefix.as_ref().is_none_or(|prefix| name.starts_with(prefix))
            && self.store.as_ref().is_none_or(|store| is_or_has(&record.store.name, store))
            && self.scheme.as_ref().is_none_or(|scheme| record.store.scheme == *scheme)
            && self
                .location
                .as_ref()
                .is_none_or(|location| record.store.location == *location)
            && self.outcome.is_none_or(|outcome| record.outcome == outcome)
            && self.error.is_none_or(|error| record.error == Some(error))
            && self.user.as_ref().is_none_or(|user| record.actor.user == *user)
            && self.host.as_ref().is_none_or(|host| record.actor.host == *host)
    }
}

/// Whether this is the name of the store, or of a list that has it.
fn is_or_has(name: &str, store: &str) -> bool {
    name == store || name.split(',').any(|member| member == store)
}

fn once<T>(condition: &mut Option<T>, key: &str, value: T) -> Result<()> {
    match condition.replace(value) {
        None => Ok(()),
        Some(_) => Err(Error::new(
            ErrorKind::InvalidInput,
            format!("there are two conditions for `{key}`"),
        )),
    }
}

fn one_of<T: Copy, const N: usize>(value: &str, all: [T; N], token: fn(T) -> &'static str, what: &str) -> Result<T> {
    all.into_iter().find(|one| token(*one) == value).ok_or_else(|| {
        let tokens: Vec<&str> = all.into_iter().map(token).collect();
        Error::new(ErrorKind::InvalidInput, format!("there is no {what} `{value}`"))
            .with_hint(format!("there are {}", tokens.join(", ")))
    })
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::time::Duration;

    use super::*;
    use crate::audit::record::{Actor, AuditedStore};

    #[test]
    fn every_condition_has_to_hold() {
        let time = SystemTime::UNIX_EPOCH + Duration::from_secs(100);
        let actor = Actor {
            user: "jo".into(),
            host: "web1".into(),
            ..Actor::default()
        };
        let store = AuditedStore::new("near,far", "vault", "https://near.example");
        let mut record = AuditRecord::new(time, Arc::new(actor), Verb::Put, Arc::new(store));
        record.name = Some("db/password".into());
        record.outcome = AuditOutcome::Failed;
        record.error = Some(ErrorKind::Conflict);
        let conditions = [
            ("verb=put", "verb=get"),
            ("name=db/password", "name=db"),
            ("prefix=db", "prefix=mail"),
            ("store=far", "store=vault"),
            ("scheme=vault", "scheme=far"),
            ("location=https://near.example", "location=https://near"),
            ("outcome=failed", "outcome=ok"),
            ("error=conflict", "error=other"),
            ("user=jo", "user=j"),
            ("host=web1", "host=web"),
        ];
        let mut all = AuditFilter::default();
        for (yes, no) in conditions {
            let mut one = AuditFilter::default();
            one.require(no).unwrap();
            assert!(!one.matches(&record), "{no}");
            all.require(yes).unwrap();
            assert!(all.matches(&record), "{yes}");
        }
        all.since = Some(time);
        assert!(all.matches(&record));
        all.until = Some(time);
        assert!(!all.matches(&record));
    }

    #[test]
    fn what_can_not_be_a_condition_is_refused_with_what_can() {
        for (wrong, hint) in [
            ("verb", "verb, name"),
            ("verb=read", "get, get_many"),
            ("nam=x", "`name`"),
            ("=", "the keys are"),
        ] {
            let error = AuditFilter::default().require(wrong).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::InvalidInput);
            assert!(error.hint().unwrap().contains(hint), "{error:?}");
        }
        let mut filter = AuditFilter::default();
        filter.require("verb=get").unwrap();
        assert!(filter.require("verb=put").is_err());
    }
}

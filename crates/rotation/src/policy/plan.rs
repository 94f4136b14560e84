//! What policies ask for, before anything is done.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::SystemTime;

use futures_util::stream::{self, StreamExt as _};
use keyfob_core::{
    Error, ErrorKind, Expired, GetRequest, ListOptions, Metadata, PageRequest, Result, SecretName, SecretStore, with_reason,
};

use super::file::copy_is_rotated;
use super::schedule::History;
use super::{Policies, Policy};
use crate::journal::Ended;
use crate::names::rotated_by;
use crate::phase::Phase;
use crate::rotation::Rotation;
use crate::run::reason;
use crate::status::{Status, UnderWayStatus};

/// How many journals are read at the same time.
const READERS: usize = 16;

/// What policies ask for.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct Plan {
    /// One for each secret that a policy is about, in the byte order of names.
    pub entries: Vec<Planned>,
    /// Names that policies say in full and that the store doesn't have.
    pub missing: Vec<(SecretName, Arc<Policy>)>,
}

/// What is known of one secret, and what its policy asks for.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct Planned {
    /// The secret.
    pub name: SecretName,
    /// Its tags, as far as the store tells them.
    pub tags: BTreeMap<String, String>,
    /// The policy that counts for it.
    pub policy: Arc<Policy>,
    /// The rotation that is under way.
    pub under_way: Option<UnderWayStatus>,
    /// What its schedule goes by.
    pub history: History,
    /// From when on there is something to do: go on with what is under way, or begin a rotation. `None` for never.
    pub due: Option<SystemTime>,
    /// Why it can't be read, or its journal. Then nothing is known of it, and nothing is due.
    pub error: Option<Error>,
}

impl Plan {
    /// What there is something to do for at `now`.
    pub fn due(&self, now: SystemTime) -> impl Iterator<Item = &Planned> {
        self.entries.iter().filter(move |planned| planned.is_due(now))
    }
}

impl Planned {
    /// Whether there is something to do at `now`.
    #[must_use]
    pub fn is_due(&self, now: SystemTime) -> bool {
        self.due.is_some_and(|due| due <= now)
    }

    fn new(secret: Metadata, policy: Arc<Policy>, status: Result<Status>, now: SystemTime) -> Self {
        let name = secret.name;
        let (status, error) = match status {
            Ok(status) => (Some(status), None),
            Err(error) => (None, Some(error)),
        };
        let last = status.as_ref().and_then(|status| status.last.as_ref());
        let ended = |how| last.filter(|last| last.ended == how).map(|last| last.at);
        let history = History {
            rotated: ended(Ended::Completed),
            written: secret.updated.or(secret.created),
            rolled_back: ended(Ended::RolledBack),
        };
        let under_way = status.and_then(|status| status.under_way);
        let due = match (&error, &under_way) {
            (Some(_), _) => None,
            (None, Some(under_way)) if under_way.phase == Phase::Grace && policy.drain.is_none() => {
                Some(under_way.grace_until.unwrap_or(now))
            }
            // In the past, whoever asks: from when it was begun there has been something to do.
            (None, Some(under_way)) => Some(under_way.started.min(now)),
            (None, None) => policy
                .schedule
                .as_ref()
                .and_then(|schedule| schedule.due(&name, &history, now)),
        };
        Self {
            name,
            tags: secret.tags,
            policy,
            under_way,
            history,
            due,
            error,
        }
    }
}

impl Rotation {
    /// What `policies` ask for: finds the secrets that they are about, and reads the journal of each. Nothing is written.
    ///
    /// # Errors
    /// `Unsupported` when a policy is about a prefix or tags and the store can't list its secrets; those of a list. A secret or a
    /// journal that can't be read stands in the plan.
    pub async fn plan(&self, policies: &Policies) -> Result<Plan> {
        let now = self.clock.system_now();
        let secrets = with_reason(reason(self, "plan")?, find(&*self.store, policies)).await?;
        let missing = policies.iter().flat_map(|policy| {
            let names = policy.selector.names().filter(|name| !secrets.contains_key(*name));
            names.map(|name| (name.clone(), Arc::clone(policy)))
        });
        let missing = missing.collect();
        let selected = secrets.values().filter_map(|(secret, error)| {
            let policy = policies.of(secret)?;
            // What only tags tell is not known before.
            let is_rotated = |copy: &&SecretName| secrets.get(*copy).is_some_and(|(copy, _)| policies.of(copy).is_some());
            let copied = policy.copies().find(is_rotated).map(copy_is_rotated);
            Some((secret.clone(), Arc::clone(policy), copied.or_else(|| error.clone())))
        });
        let planned = stream::iter(selected).map(|(secret, policy, error)| async move {
            let status = match error {
                Some(error) => Err(error),
                None => self.status(&secret.name).await,
            };
            Planned::new(secret, policy, status, now)
        });
        Ok(Plan {
            entries: planned.buffered(READERS).collect().await,
            missing,
        })
    }
}

impl Rotation {
    /// The secrets that were rotated: those that have a journal, sorted.
    ///
    /// # Errors
    /// `Unsupported` when the store of the journals can't list; those of that store.
    pub async fn rotated(&self) -> Result<Vec<SecretName>> {
        let (store, prefix) = self.journal_place();
        if !store.info().capabilities.list {
            return Err(
                Error::new(ErrorKind::Unsupported, "the store of the journals can't list them")
                    .with("store", &*store.info().scheme),
            );
        }
        let listed = with_reason(reason(self, "status")?, list(&**store, prefix)).await?;
        let mut names: Vec<SecretName> = listed.iter().filter_map(|secret| rotated_by(&secret.name, prefix)).collect();
        names.sort();
        Ok(names)
    }
}

/// A secret's metadata, and why it could not be read if that is so: then only the name is known.
type Found = (Metadata, Option<Error>);

/// All that the policies may be about, also what has expired: a new value is what it needs.
async fn find(store: &dyn SecretStore, policies: &Policies) -> Result<BTreeMap<SecretName, Found>> {
    let prefixes: BTreeSet<&str> = policies.iter().flat_map(|policy| policy.selector.prefixes()).collect();
    let can_list = store.info().capabilities.list;
    if !can_list && (!prefixes.is_empty() || policies.iter().any(|policy| policy.selector.has_tags())) {
        return Err(Error::new(
            ErrorKind::Unsupported,
            "a policy is about prefixes or tags, and the store can't list its secrets",
        )
        .with("store", &*store.info().scheme)
        .with_hint("say the names in full"));
    }
    let mut found = BTreeMap::new();
    for prefix in shortest(&prefixes) {
        for secret in list(store, prefix).await? {
            found.insert(secret.name.clone(), (secret, None));
        }
    }
    // What isn't listed yet is asked for by its name: no right to list is needed for that. Its value is dropped at once.
    let names: BTreeSet<&SecretName> = policies.iter().flat_map(|policy| policy.selector.names()).collect();
    let unlisted = names
        .into_iter()
        .filter(|name| !prefixes.iter().any(|prefix| name.as_str().starts_with(prefix)));
    let requests: Vec<GetRequest> = unlisted
        .map(|name| {
            let mut request = GetRequest::new(name.clone());
            request.options.expired = Expired::Allow;
            request
        })
        .collect();
    for (request, answer) in requests.iter().zip(store.get_many(&requests).await) {
        let name = request.name.clone();
        match answer {
            Ok(secret) => {
                found.insert(name, (Metadata::clone(&secret.metadata), None));
            }
            Err(error) if error.kind() == ErrorKind::NotFound => {}
            Err(error) => {
                let metadata = Metadata::new(name.clone(), Arc::clone(&store.info().scheme));
                found.insert(name, (metadata, Some(error)));
            }
        }
    }
    Ok(found)
}

/// Those that no other one covers.
fn shortest<'a>(prefixes: &BTreeSet<&'a str>) -> Vec<&'a str> {
    let mut kept: Vec<&str> = Vec::new();
    for prefix in prefixes {
        // In byte order a prefix comes before what it covers.
        if !kept.last().is_some_and(|last| prefix.starts_with(last)) {
            kept.push(prefix);
        }
    }
    kept
}

async fn list(store: &dyn SecretStore, prefix: &str) -> Result<Vec<Metadata>> {
    let mut all = Vec::new();
    let mut options = ListOptions {
        prefix: prefix.to_owned(),
        ..ListOptions::default()
    };
    loop {
        let page = store.list(&options).await?;
        all.extend(page.items);
        match page.next {
            None => return Ok(all),
            next => {
                options.page = PageRequest {
                    token: next,
                    ..PageRequest::default()
                };
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_shorter_prefix_covers_is_not_listed_twice() {
        let all = BTreeSet::from(["web/", "web/csrf/", "db", "db/", "webs/"]);
        assert_eq!(shortest(&all), ["db", "web/", "webs/"]);
        assert_eq!(shortest(&BTreeSet::from(["", "a"])), [""]);
    }
}

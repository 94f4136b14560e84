//! The verbs, each with what must be there before it and what is there after it.

use std::collections::BTreeMap;
use std::time::{Duration, SystemTime};

use keyfob_core::{
    Capabilities, Change, DeleteMode, DeleteOptions, Error, ErrorKind, GetOptions, GetRequest, ListOptions, PageRequest, PutMode,
    PutRequest, Result, SecretName, SecretStore, Version,
};

use crate::bed::{Bed, name, prefix};

/// More than one batch of AWS.
pub(crate) const SHARED: usize = 23;
/// The secret of a verb that writes.
const NAME: &str = "written/secret";
const OLD: &str = "kfcanary-oldvalue1234";
const NEW: &str = "kfcanary-newvalue5678";

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Verb {
    Get,
    GetMany,
    List,
    Versions,
    Health,
    Upsert,
    Create,
    Match,
    PutMetadata,
    Delete,
    DeletePermanent,
    Restore,
}

impl Verb {
    pub(crate) const ALL: [Self; 12] = [
        Self::Get,
        Self::GetMany,
        Self::List,
        Self::Versions,
        Self::Health,
        Self::Upsert,
        Self::Create,
        Self::Match,
        Self::PutMetadata,
        Self::Delete,
        Self::DeletePermanent,
        Self::Restore,
    ];

    /// Whether a store can do it.
    pub(crate) fn works(self, can: &Capabilities) -> bool {
        match self {
            Self::Get | Self::GetMany | Self::List | Self::Health | Self::Upsert | Self::DeletePermanent => true,
            Self::Versions => can.versions,
            Self::Create => can.put_create,
            Self::Match => can.put_match,
            Self::PutMetadata => can.put_metadata,
            Self::Delete | Self::Restore => can.delete_recoverable,
        }
    }

    /// Verbs that only read share what they read.
    pub(crate) fn reads(self) -> bool {
        matches!(self, Self::Get | Self::GetMany | Self::List | Self::Versions | Self::Health)
    }
}

/// What one run of a verb gave.
#[derive(Debug)]
pub(crate) enum Outcome {
    Done,
    /// One error, of `get_many` one for each name that failed.
    Failed(Vec<Error>),
    /// A success that is none: what is wrong with it.
    Wrong(&'static str),
}

/// What a secret is found to be afterwards.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum State {
    /// As before the verb.
    Before,
    /// As the verb leaves it.
    After,
    Neither(&'static str),
}

/// The secrets that verbs share which only read.
pub(crate) struct Shared {
    pub(crate) prefix: String,
}

impl Shared {
    pub(crate) async fn make(bed: &Bed) -> Self {
        let prefix = prefix();
        make_shared(&*bed.direct(&prefix).await).await;
        Self { prefix }
    }

    pub(crate) async fn clean(self, bed: &Bed) {
        let store = bed.direct(&self.prefix).await;
        for index in 0..SHARED {
            store.delete(&shared(index), &permanent()).await.unwrap();
        }
    }
}

pub(crate) async fn make_shared(store: &dyn SecretStore) {
    for index in 0..SHARED {
        store.put(&shared(index), PutRequest::new(OLD)).await.unwrap();
    }
}

/// Asks for all of them.
pub(crate) fn shared_requests() -> Vec<GetRequest> {
    (0..SHARED).map(|index| GetRequest::new(shared(index))).collect()
}

/// Makes what a verb that writes needs, and says which version is current.
pub(crate) async fn prepare(verb: Verb, store: &dyn SecretStore) -> Option<Version> {
    if verb == Verb::Create {
        return None;
    }
    let mut request = PutRequest::new(OLD);
    if store.info().capabilities.tags {
        request.tags = Change::Set(tags("old"));
    }
    let metadata = store.put(&name(NAME), request).await.unwrap();
    if verb == Verb::Restore {
        store.delete(&name(NAME), &recoverable()).await.unwrap();
    }
    metadata.version
}

/// Whether the verb's secret has a value.
/// Whether the value is there, or comes to be: a server that is busy may act long after its client has given up.
pub(crate) async fn comes_to_be_there(store: &dyn SecretStore) -> bool {
    for _ in 0..200 {
        if store.get(&name(NAME), &GetOptions::default()).await.is_ok() {
            return true;
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    false
}

pub(crate) async fn clean(store: &dyn SecretStore) {
    match store.delete(&name(NAME), &permanent()).await {
        Err(error) if error.kind() != ErrorKind::NotFound => panic!("{error:?}"),
        _ => {}
    }
}

pub(crate) async fn act(verb: Verb, store: &dyn SecretStore, current: Option<Version>) -> Outcome {
    let secret = name(NAME);
    let done = match verb {
        Verb::Get => match store.get(&shared(0), &GetOptions::default()).await {
            Ok(secret) if secret.value.expose_secret() != OLD.as_bytes() => return Outcome::Wrong("another value"),
            other => other.map(drop),
        },
        Verb::GetMany => return get_many(store).await,
        Verb::List => return list(store).await,
        Verb::Versions => match store.versions(&shared(0), &PageRequest::default()).await {
            Ok(page) if page.items.len() != 1 || !page.items[0].current => return Outcome::Wrong("other versions"),
            other => other.map(drop),
        },
        Verb::Health => store.health().await.map(drop),
        Verb::Upsert => store.put(&secret, PutRequest::new(NEW)).await.map(drop),
        Verb::Create => {
            let mut request = PutRequest::new(NEW).mode(PutMode::Create);
            let can = store.info().capabilities;
            if can.tags {
                request.tags = Change::Set(tags("new"));
            }
            if can.description {
                request.description = Change::Set("new".to_owned());
            }
            if can.expiry {
                request.expires_at = Change::Set(expiry());
            }
            store.put(&secret, request).await.map(drop)
        }
        Verb::Match => {
            let mode = PutMode::Match(current.unwrap());
            store.put(&secret, PutRequest::new(NEW).mode(mode)).await.map(drop)
        }
        Verb::PutMetadata => {
            let request = PutRequest {
                tags: Change::Set(tags("new")),
                ..PutRequest::default()
            };
            store.put(&secret, request).await.map(drop)
        }
        Verb::Delete => store.delete(&secret, &recoverable()).await,
        Verb::DeletePermanent => store.delete(&secret, &permanent()).await,
        Verb::Restore => store.restore(&secret).await.map(drop),
    };
    match done {
        Ok(()) => Outcome::Done,
        Err(error) => Outcome::Failed(vec![error]),
    }
}

/// A create that is one request on every store.
pub(crate) async fn create_value_alone(store: &dyn SecretStore) -> Outcome {
    let request = PutRequest::new(NEW).mode(PutMode::Create);
    match store.put(&name(NAME), request).await {
        Ok(_) => Outcome::Done,
        Err(error) => Outcome::Failed(vec![error]),
    }
}

/// Looks at what a verb that writes left.
pub(crate) async fn state(verb: Verb, store: &dyn SecretStore) -> State {
    try_state(verb, store).await.unwrap()
}

/// The same, where it may be that it can't be seen.
pub(crate) async fn try_state(verb: Verb, store: &dyn SecretStore) -> Result<State> {
    let found = match store.get(&name(NAME), &GetOptions::default()).await {
        Ok(found) => Some(found),
        Err(error) if error.kind() == ErrorKind::NotFound => None,
        Err(error) => return Err(error),
    };
    let value = found.as_ref().map(|secret| secret.value.expose_secret());
    let is = |text: &str| value == Some(text.as_bytes());
    let can = store.info().capabilities;
    let has = |text: &str| {
        found
            .as_ref()
            .is_some_and(|secret| !can.tags || secret.metadata.tags == tags(text))
    };
    let expires = found
        .as_ref()
        .is_some_and(|secret| !can.expiry || secret.metadata.expires_at == Some(expiry()));
    Ok(match verb {
        Verb::Upsert | Verb::Match if is(OLD) && has("old") => State::Before,
        Verb::Upsert | Verb::Match if is(NEW) && has("old") => State::After,
        Verb::PutMetadata if is(OLD) && has("old") => State::Before,
        Verb::PutMetadata if is(OLD) && has("new") => State::After,
        Verb::Create | Verb::Restore if value.is_none() => State::Before,
        Verb::Create if is(NEW) && has("new") && expires => State::After,
        Verb::Restore if is(OLD) && has("old") => State::After,
        Verb::Delete | Verb::DeletePermanent if is(OLD) && has("old") => State::Before,
        Verb::Delete | Verb::DeletePermanent if value.is_none() => State::After,
        _ if is(OLD) || is(NEW) => State::Neither("the tags or the value are not those of one state"),
        _ => State::Neither("there is another value, or none"),
    })
}

/// In the year 2100.
fn expiry() -> SystemTime {
    SystemTime::UNIX_EPOCH + Duration::from_secs(4_102_444_800)
}

async fn get_many(store: &dyn SecretStore) -> Outcome {
    let requests = shared_requests();
    let answers = store.get_many(&requests).await;
    if answers.len() != requests.len() {
        return Outcome::Wrong("not one answer for each request");
    }
    let mut errors = Vec::new();
    for (answer, request) in answers.into_iter().zip(&requests) {
        match answer {
            Ok(secret) if secret.metadata.name != request.name => return Outcome::Wrong("another name"),
            Ok(secret) if secret.value.expose_secret() != OLD.as_bytes() => return Outcome::Wrong("another value"),
            Ok(_) => {}
            Err(error) => errors.push(error),
        }
    }
    if errors.is_empty() {
        Outcome::Done
    } else {
        Outcome::Failed(errors)
    }
}

async fn list(store: &dyn SecretStore) -> Outcome {
    let mut options = ListOptions {
        prefix: "shared/".to_owned(),
        ..ListOptions::default()
    };
    let mut found = 0;
    loop {
        match store.list(&options).await {
            Ok(page) => {
                found += page.items.len();
                match page.next {
                    Some(next) => options.page.token = Some(next),
                    None if found == SHARED => return Outcome::Done,
                    None => return Outcome::Wrong("not all names are listed"),
                }
            }
            Err(error) => return Outcome::Failed(vec![error]),
        }
    }
}

fn shared(index: usize) -> SecretName {
    name(&format!("shared/secret-{index:02}"))
}

fn tags(state: &str) -> BTreeMap<String, String> {
    BTreeMap::from([("state".to_owned(), state.to_owned())])
}

fn permanent() -> DeleteOptions {
    DeleteOptions {
        mode: DeleteMode::Permanent,
    }
}

fn recoverable() -> DeleteOptions {
    DeleteOptions {
        mode: DeleteMode::Recoverable { window: None },
    }
}

//! Comparing two stores.
//!
//! Each value is read, hashed and forgotten: no more of them are in memory than are read at the same time. The key of the hashes is made
//! for one comparison and thrown away, so that a hash tells nothing to who finds it later.

use std::collections::BTreeSet;
use std::time::Duration;

use data_encoding::HEXLOWER;
use futures_util::stream::{self, StreamExt as _};
use hmac::{Hmac, KeyInit as _, Mac as _};
use keyfob::{Deleted, Error, ErrorKind, Expired, GetOptions, Metadata, Result, SecretName, SecretStore};
use sha2::Sha256;
use zeroize::Zeroizing;

use crate::commands::list;

/// What a comparison found.
pub(super) struct Compared {
    pub(super) same: usize,
    pub(super) only_in_a: Vec<SecretName>,
    pub(super) only_in_b: Vec<SecretName>,
    pub(super) differ: Vec<Difference>,
    /// What could not be read.
    pub(super) failed: Vec<(SecretName, Error)>,
    /// The metadata that one of the stores can't keep.
    pub(super) not_compared: Vec<&'static str>,
}

/// What differs of a secret that both have.
pub(super) struct Difference {
    pub(super) name: SecretName,
    pub(super) value: bool,
    pub(super) description: bool,
    pub(super) tags: bool,
    pub(super) expiry: bool,
    /// Of both values, shortened.
    pub(super) hashes: (String, String),
}

impl Compared {
    pub(super) fn is_same(&self) -> bool {
        self.only_in_a.is_empty() && self.only_in_b.is_empty() && self.differ.is_empty()
    }
}

impl Difference {
    pub(super) fn words(&self) -> Vec<&'static str> {
        let all = [
            (self.value, "value"),
            (self.description, "description"),
            (self.tags, "tags"),
            (self.expiry, "expiry"),
        ];
        all.into_iter()
            .filter_map(|(differs, word)| differs.then_some(word))
            .collect()
    }
}

/// Stores keep times with different precision.
const PRECISION: Duration = Duration::from_secs(1);

/// Compares the secrets whose names begin with `prefix`, what has expired too. `progress` is told how many were compared.
///
/// # Errors
/// Those of [`SecretStore::list`]; `Other` when the system has no random numbers.
pub(super) async fn compare(
    a: &dyn SecretStore,
    b: &dyn SecretStore,
    prefix: &str,
    concurrency: usize,
    mut progress: impl FnMut(usize),
) -> Result<Compared> {
    let (in_a, in_b) = (names(a, prefix).await?, names(b, prefix).await?);
    let kept = Kept::by_both(a, b);
    let mut found = Compared {
        same: 0,
        only_in_a: in_a.difference(&in_b).cloned().collect(),
        only_in_b: in_b.difference(&in_a).cloned().collect(),
        differ: Vec::new(),
        failed: Vec::new(),
        not_compared: kept.missing(),
    };
    let hasher = &Hasher::new()?;
    let mut reads = stream::iter(in_a.intersection(&in_b))
        .map(|name| async move {
            let both = (read(a, name, hasher).await, read(b, name, hasher).await);
            (name, both)
        })
        .buffered(concurrency);
    let mut count = 0;
    while let Some((name, both)) = reads.next().await {
        match both {
            (Ok(Some(of_a)), Ok(Some(of_b))) => match kept.difference(name, &of_a, &of_b) {
                None => found.same += 1,
                Some(difference) => found.differ.push(difference),
            },
            // Deleted since it was listed.
            (Ok(Some(_)), Ok(None)) => found.only_in_a.push(name.clone()),
            (Ok(None), Ok(Some(_))) => found.only_in_b.push(name.clone()),
            (Ok(None), Ok(None)) => {}
            (Err(error), _) | (_, Err(error)) => found.failed.push((name.clone(), error)),
        }
        count += 1;
        progress(count);
    }
    Ok(found)
}

async fn names(store: &dyn SecretStore, prefix: &str) -> Result<BTreeSet<SecretName>> {
    let listed = list::all(store, prefix, Deleted::Exclude).await;
    let listed = listed.map_err(|error| error.with("store", store.info().location.clone()))?;
    let names = listed.into_iter().map(|metadata| metadata.name);
    Ok(names.filter(|name| !name.is_reserved()).collect())
}

/// The hash of a value, and what else is known of the secret; `None` when there is none.
async fn read(store: &dyn SecretStore, name: &SecretName, hasher: &Hasher) -> Result<Option<([u8; 32], Metadata)>> {
    let options = GetOptions {
        max_age: Some(Duration::ZERO),
        expired: Expired::Allow,
        ..GetOptions::default()
    };
    match store.get(name, &options).await {
        Ok(secret) => Ok(Some((
            hasher.hash(secret.value.expose_secret()),
            secret.metadata.as_ref().clone(),
        ))),
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error.with("store", store.info().location.clone())),
    }
}

struct Hasher(Hmac<Sha256>);

impl Hasher {
    fn new() -> Result<Self> {
        let mut key = Zeroizing::new([0; 32]);
        getrandom::fill(&mut *key).map_err(|_| Error::new(ErrorKind::Other, "the system has no random numbers"))?;
        let keyed = Hmac::new_from_slice(&*key).map_err(|_| Error::new(ErrorKind::Other, "the key has a wrong length"))?;
        Ok(Self(keyed))
    }

    fn hash(&self, value: &[u8]) -> [u8; 32] {
        self.0.clone().chain_update(value).finalize().into_bytes().into()
    }
}

/// The metadata that both stores keep.
struct Kept {
    description: bool,
    tags: bool,
    expiry: bool,
}

impl Kept {
    fn by_both(a: &dyn SecretStore, b: &dyn SecretStore) -> Self {
        let (a, b) = (&a.info().capabilities, &b.info().capabilities);
        Self {
            description: a.description && b.description,
            tags: a.tags && b.tags,
            expiry: a.expiry && b.expiry,
        }
    }

    fn missing(&self) -> Vec<&'static str> {
        let all = [
            (self.description, "description"),
            (self.tags, "tags"),
            (self.expiry, "expiry"),
        ];
        all.into_iter().filter_map(|(kept, word)| (!kept).then_some(word)).collect()
    }

    fn difference(&self, name: &SecretName, a: &([u8; 32], Metadata), b: &([u8; 32], Metadata)) -> Option<Difference> {
        let ((hash_a, a), (hash_b, b)) = (a, b);
        let is_same_time = match (a.expires_at, b.expires_at) {
            (Some(a), Some(b)) => a.duration_since(b).unwrap_or_else(|error| error.duration()) < PRECISION,
            (a, b) => a == b,
        };
        let short = |hash: &[u8; 32]| HEXLOWER.encode(&hash[..8]);
        let difference = Difference {
            name: name.clone(),
            value: hash_a != hash_b,
            description: self.description && a.description != b.description,
            tags: self.tags && a.tags != b.tags,
            expiry: self.expiry && !is_same_time,
            hashes: (short(hash_a), short(hash_b)),
        };
        (!difference.words().is_empty()).then_some(difference)
    }
}

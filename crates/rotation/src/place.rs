//! One name in a store, written only over what was seen there.

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use keyfob_core::{
    Capabilities, Change, Error, ErrorKind, Expired, Freshness, GetOptions, PutMode, PutRequest, Result, SecretName, SecretStore,
    SecretValue, Version, VersionSelector,
};

/// How often a write is sent whose answer was lost, and that was not done.
const TRIES: u32 = 3;

/// How often a write is sent that met a token which another secret's change had moved. Each time somebody else got on.
const MOVES: u32 = 100;

/// Says no when nothing may be written any more.
pub(crate) type Guard<'a> = dyn Fn() -> Result<()> + Send + Sync + 'a;

/// A name in a store.
#[derive(Debug, Clone)]
pub(crate) struct Place {
    pub(crate) store: Arc<dyn SecretStore>,
    pub(crate) name: SecretName,
}

/// What stood there when it was read or written.
#[derive(Debug, Clone)]
pub(crate) struct Seen {
    pub(crate) value: SecretValue,
    /// `None` on a store without tokens of versions.
    pub(crate) version: Option<Version>,
    pub(crate) expires_at: Option<SystemTime>,
}

/// What came of a conditional write.
#[derive(Debug)]
pub(crate) enum Written {
    /// It is there.
    Done(Seen),
    /// Nothing was written: something else stands there now.
    Lost(Option<Seen>),
}

impl Seen {
    pub(crate) fn holds(&self, value: &SecretValue) -> bool {
        self.value.expose_secret() == value.expose_secret()
    }
}

impl Place {
    pub(crate) fn can(&self) -> Capabilities {
        self.store.info().capabilities
    }

    /// What stands there now, past every cache.
    ///
    /// # Errors
    /// Those of the store, and `Unavailable` when another store of a failover list or a cache answered in its place:
    /// what they have may be old.
    pub(crate) async fn read(&self) -> Result<Option<Seen>> {
        self.read_version(VersionSelector::Current).await
    }

    pub(crate) async fn read_version(&self, version: VersionSelector) -> Result<Option<Seen>> {
        let options = GetOptions {
            version,
            max_age: Some(Duration::ZERO),
            expired: Expired::Allow,
        };
        let secret = match self.store.get(&self.name, &options).await {
            Ok(secret) => secret,
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(error),
        };
        let origin = &secret.metadata.origin;
        if !origin.passed_over.is_empty() || origin.freshness != Freshness::Store {
            return Err(Error::new(
                ErrorKind::Unavailable,
                "the store that is written to did not answer, another one or a cache did, and a rotation can't build on that",
            )
            .with("name", self.name.as_str())
            .with("store", &*origin.store));
        }
        Ok(Some(Seen {
            version: secret.metadata.version.clone(),
            expires_at: secret.metadata.expires_at,
            value: secret.value,
        }))
    }

    /// Writes `value` if what was `seen` still stands there. A lost answer is settled by reading, so `value` must not have
    /// been written there by anybody else.
    ///
    /// Atomic where the store compares. Elsewhere what stands there is read and compared right before the write. `guard` is asked
    /// before every request that could write something: on a store without versions the same bytes count as unchanged, and only
    /// the guard knows whether they are there again.
    ///
    /// # Errors
    /// Those of the store and of the guard; `Timeout` when the outcome could not be found out.
    pub(crate) async fn write(
        &self,
        seen: Option<&Seen>,
        value: &SecretValue,
        expires_at: Change<SystemTime>,
        guard: &Guard<'_>,
    ) -> Result<Written> {
        let mut seen = seen.cloned();
        let (mut lost, mut moved) = (1, 1);
        loop {
            let mode = match self.precondition(seen.as_ref()) {
                Some(mode) => mode,
                None => {
                    let now = self.read().await?;
                    if !self.is_same(seen.as_ref(), now.as_ref()) {
                        return Ok(outcome(now, value));
                    }
                    PutMode::Upsert
                }
            };
            guard()?;
            let mut request = PutRequest::new(value.clone()).mode(mode);
            request.expires_at = expires_at.clone();
            let error = match self.store.put(&self.name, request).await {
                Ok(metadata) => {
                    return Ok(Written::Done(Seen {
                        value: value.clone(),
                        version: metadata.version,
                        expires_at: metadata.expires_at,
                    }));
                }
                Err(error) => error,
            };
            let is_refusal = matches!(
                error.kind(),
                ErrorKind::AlreadyExists | ErrorKind::Conflict | ErrorKind::NotFound
            );
            if !is_refusal && error.kind() != ErrorKind::Timeout {
                return Err(error);
            }
            // A refusal too may be the answer to a repetition of what a layer below had already done.
            let now = self.read().await.map_err(|_| unsettled(&error))?;
            if !self.is_same(seen.as_ref(), now.as_ref()) {
                return Ok(outcome(now, value));
            }
            // One file or object with many secrets may have one token for all of them.
            let has_moved = version(now.as_ref()) != version(seen.as_ref());
            let (count, most) = match (is_refusal, has_moved) {
                (true, true) => (&mut moved, MOVES),
                (true, false) => return Err(error),
                (false, _) => (&mut lost, TRIES),
            };
            if *count == most {
                return Err(error);
            }
            *count += 1;
            seen = now;
        }
    }

    /// Whether nothing has changed: by the tokens of versions where a store keeps versions, and elsewhere by the bytes.
    fn is_same(&self, seen: Option<&Seen>, now: Option<&Seen>) -> bool {
        match (seen, now) {
            (None, None) => true,
            (Some(seen), Some(now)) if self.can().versions => seen.version == now.version,
            (Some(seen), Some(now)) => seen.holds(&now.value),
            _ => false,
        }
    }

    /// `None` where the store can't compare.
    fn precondition(&self, seen: Option<&Seen>) -> Option<PutMode> {
        let can = self.can();
        match seen {
            None if can.put_create => Some(PutMode::Create),
            Some(Seen {
                version: Some(version), ..
            }) if can.put_match => Some(PutMode::Match(version.clone())),
            _ => None,
        }
    }
}

/// A refusal that nobody could look behind tells nothing.
fn unsettled(error: &Error) -> Error {
    Error::new(ErrorKind::Timeout, "the outcome of a write is unknown").with_source(error.clone())
}

fn outcome(now: Option<Seen>, value: &SecretValue) -> Written {
    match now {
        Some(now) if now.holds(value) => Written::Done(now),
        now => Written::Lost(now),
    }
}

fn version(seen: Option<&Seen>) -> Option<&Version> {
    seen.and_then(|seen| seen.version.as_ref())
}

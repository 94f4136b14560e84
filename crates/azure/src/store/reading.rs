//! `get` and `get_many`.

use std::collections::BTreeMap;
use std::time::{Duration, SystemTime};

use keyfob_core::adapter::Ramp;
use keyfob_core::{Error, ErrorKind, Expired, GetOptions, GetRequest, Result, Secret, SecretName, SecretValue, VersionSelector};

use super::finding::{Found, Place};
use super::{Inner, SCHEME};
use crate::client::Told;
use crate::error::{Failed, deleted, not_found};
use crate::names::{AzureName, VersionId};

/// Handshakes of TLS at the same time cost a vault nearby more than they gain, and delay its first answer.
const AT_ONCE: Ramp = Ramp {
    first: 12,
    soon: Duration::from_millis(15),
    ..Ramp::HTTP1
};

/// One read, however often it is asked for.
type Wanted = (SecretName, VersionSelector);

impl Inner {
    pub(super) async fn get(&self, name: &SecretName, options: &GetOptions) -> Result<Secret> {
        unexpired(self.read(name, &options.version).await?, options)
    }

    /// Reads side by side: the vault has no request for several.
    ///
    /// Each needs a connection, and the first on a connection is as good a time as any to be challenged: so none waits for
    /// another where the log-in doesn't wait for the challenge. Where it does, one read goes ahead.
    pub(super) async fn get_many(&self, requests: &[GetRequest]) -> Vec<Result<Secret>> {
        let refused: Vec<Result<()>> = requests
            .iter()
            .map(|request| self.capabilities.check_get(&request.name, &request.options))
            .collect();
        let asked = requests.iter().zip(&refused).filter(|(_, refused)| refused.is_ok());
        let wanted = asked.map(|(request, _)| (request.name.clone(), request.options.version.clone()));
        let mut answers: BTreeMap<Wanted, Option<Result<Secret>>> = wanted.map(|wanted| (wanted, None)).collect();
        if self.vault.must_be_met()
            && let Some(((name, version), answer)) = answers.iter_mut().next()
        {
            *answer = Some(self.read(name, version).await);
        }
        let open = answers.iter_mut().filter(|(_, answer)| answer.is_none());
        let reads = open.map(|((name, version), answer)| async move {
            *answer = Some(self.read(name, version).await);
        });
        // How far the vault is, a challenge tells as well as a secret, and it doesn't wait for the log-in. Later there is none.
        let sign = async {
            match self.vault.is_met() {
                false => self.vault.heard().await,
                true => std::future::pending().await,
            }
        };
        AT_ONCE.all_with_sign(reads.collect(), sign).await;
        requests
            .iter()
            .zip(refused)
            .map(|(request, refused)| {
                refused?;
                let wanted = (request.name.clone(), request.options.version.clone());
                let answer = answers.get(&wanted).cloned().flatten();
                unexpired(answer.unwrap_or_else(|| Err(not_found(&request.name)))?, &request.options)
            })
            .collect()
    }

    async fn read(&self, name: &SecretName, version: &VersionSelector) -> Result<Secret> {
        let version = match version {
            VersionSelector::Current => None,
            VersionSelector::Previous => return self.read_previous(name).await,
            VersionSelector::Exact(exact) => match VersionId::parse(exact.as_str()) {
                Some(id) => Some(id),
                None => return Err(self.no_such_version(name, version).await),
            },
        };
        let place = self
            .find(
                name,
                |place| {
                    let version = version.clone();
                    async move { self.vault.get(&place, version.as_ref()).await }
                },
                |(told, _): &(Told, SecretValue)| told,
            )
            .await;
        match place.map_err(|failed| failed.about(name))?.found {
            Found::It((told, value)) => Ok(Secret::new(value, told.metadata(name))),
            Found::Another(told) if version.is_none() => Err(hidden(name, &told)),
            Found::Nothing if version.is_none() => Err(self.missing(name).await),
            Found::Another(_) | Found::Nothing => {
                let version = version.map(|version| version.as_str().to_owned()).unwrap_or_default();
                Err(self.without_version(name, version).await)
            }
        }
    }

    /// The newest version but the current one.
    async fn read_previous(&self, name: &SecretName) -> Result<Secret> {
        let about = |failed: Failed| failed.about(name);
        let Place { name: place, found } = self.look(name).await.map_err(about)?;
        let current = match found {
            Found::It(current) => current,
            Found::Another(told) => return Err(hidden(name, &told)),
            Found::Nothing => return Err(self.missing(name).await),
        };
        let versions = self.all_versions(&place).await.map_err(about)?;
        let before = versions.into_iter().find(|told| told.version != current.version);
        let Some(before) = before.and_then(|told| told.version) else {
            return Err(no_version(name, "previous"));
        };
        let (told, value) = self.vault.get(&place, Some(&before)).await.map_err(about)?;
        match self.is_it(name, &place, &told) {
            true => Ok(Secret::new(value, told.metadata(name))),
            // Written by keyfob under another name before another tool wrote it anew.
            false => Err(no_version(name, "previous")),
        }
    }

    async fn no_such_version(&self, name: &SecretName, version: &VersionSelector) -> Error {
        self.without_version(name, version.to_string()).await
    }

    /// There is no such version: or there is no such secret.
    async fn without_version(&self, name: &SecretName, version: String) -> Error {
        match self.look(name).await {
            Ok(Place { found: Found::It(_), .. }) => no_version(name, &version),
            Ok(Place {
                found: Found::Another(told),
                ..
            }) => hidden(name, &told),
            Ok(Place {
                found: Found::Nothing, ..
            }) => self.missing(name).await,
            Err(failed) => failed.about(name),
        }
    }

    /// The error about a secret that is not there; it may be deleted.
    pub(super) async fn missing(&self, name: &SecretName) -> Error {
        match self.look_deleted(name).await {
            Ok(Place { found: Found::It(_), .. }) => deleted(name),
            // Who may not look there is told what is certain.
            _ => not_found(name),
        }
    }

    /// Whether a place holds the secret now, whatever becomes of its value.
    pub(super) async fn is_there(&self, place: &AzureName) -> Result<bool, Failed> {
        match self.current(place).await {
            Ok(_) => Ok(true),
            Err(failed) if failed.is_not_found() || failed.is_conflict() => Ok(false),
            Err(failed) => Err(failed),
        }
    }
}

/// Refuses what has expired, unless the caller wants it all the same.
fn unexpired(secret: Secret, options: &GetOptions) -> Result<Secret> {
    if options.expired == Expired::Refuse && secret.metadata.is_expired(SystemTime::now()) {
        return Err(Error::new(ErrorKind::Expired, "the secret has expired")
            .with("name", secret.metadata.name.as_str())
            .with("store", SCHEME));
    }
    Ok(secret)
}

fn no_version(name: &SecretName, version: &str) -> Error {
    Error::new(ErrorKind::NotFound, "no such version")
        .with("name", name.as_str())
        .with("version", version)
        .with("store", SCHEME)
}

/// Another secret stands there, whose value is not this one's.
pub(super) fn hidden(name: &SecretName, other: &Told) -> Error {
    let by = other.record.name.as_deref().unwrap_or(other.name.as_str());
    let other: String = by.escape_debug().take(128).collect();
    not_found(name).with_hint(format!(
        "the vault has `{other}` in the place of this name, which is another secret"
    ))
}

//! `get_many`: there is no request for many values, so all are asked for at once, and one listing says which of them have
//! annotations that a read must obey.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use futures_util::future::join;
use keyfob_core::adapter::Ramp;
use keyfob_core::{GetRequest, Result, Secret, SecretName, VersionSelector};

use super::Inner;
use super::reading::{gone, obey, unexpired};
use super::requests::id_in;
use crate::error::{Failed, not_found};
use crate::notes::{LABEL, LABEL_VALUE, Notes};

/// One read, however often it is asked for.
type Wanted = (SecretName, VersionSelector);

/// What must be obeyed.
enum Checks {
    /// The notes of all secrets that have such, by id.
    Listed(HashMap<String, Notes>),
    /// What each secret said by itself; `None` where that is not allowed.
    Single(BTreeMap<SecretName, Result<Option<Notes>, Failed>>),
    /// Nobody knows.
    Failed(Failed),
}

impl Inner {
    pub(super) async fn get_many(&self, requests: &[GetRequest]) -> Vec<Result<Secret>> {
        let refused: Vec<Result<()>> = requests
            .iter()
            .map(|request| self.capabilities.check_get(&request.name, &request.options))
            .collect();
        let wanted: BTreeSet<Wanted> = requests
            .iter()
            .zip(&refused)
            .filter(|(_, refused)| refused.is_ok())
            .map(|(request, _)| (request.name.clone(), request.options.version.clone()))
            .collect();
        let names: BTreeSet<SecretName> = wanted.iter().map(|(name, _)| name.clone()).collect();
        let values = wanted.iter().map(|(name, version)| self.value(name, version));
        let (values, checks) = join(Ramp::HTTP1.all(values.collect()), self.checks(names)).await;
        let answers: BTreeMap<Wanted, Result<Secret>> = wanted
            .into_iter()
            .zip(values)
            .map(|((name, version), value)| {
                let checked = value.and_then(|(number, secret)| self.checked(number, secret, &checks));
                ((name, version), checked)
            })
            .collect();
        requests
            .iter()
            .zip(refused)
            .map(|(request, refused)| {
                refused?;
                let wanted = (request.name.clone(), request.options.version.clone());
                let answer = answers.get(&wanted).cloned();
                unexpired(answer.unwrap_or_else(|| Err(not_found(&request.name)))?, &request.options)
            })
            .collect()
    }

    /// A listing is one request for all; single questions have a small quota.
    async fn checks(&self, names: BTreeSet<SecretName>) -> Checks {
        if names.len() > 1 && !self.denied.is_listing() {
            match self.list_all(&format!("labels.{LABEL}={LABEL_VALUE}")).await {
                Ok(secrets) => {
                    let notes = secrets.iter().filter_map(|secret| {
                        let id = id_in(&secret.name)?.to_owned();
                        Some((id, Notes::read(&secret.annotations, &secret.labels)))
                    });
                    return Checks::Listed(notes.collect());
                }
                Err(failed) if failed.is_denied() => self.denied.listing(),
                Err(failed) => return Checks::Failed(failed),
            }
        }
        let asked = names.iter().map(|name| async {
            let described = self.describe_if_allowed(name).await?;
            Ok(described.map(|described| described.notes))
        });
        let answers = Ramp::HTTP1.all(asked.collect()).await;
        Checks::Single(names.into_iter().zip(answers).collect())
    }

    /// The secret, with its expiry, unless it is deleted.
    fn checked(&self, number: u64, mut secret: Secret, checks: &Checks) -> Result<Secret> {
        let name = secret.metadata.name.clone();
        let notes = match checks {
            Checks::Listed(notes) => notes.get(&self.names.id(&name)),
            Checks::Single(answers) => match answers.get(&name) {
                Some(Ok(notes)) => notes.as_ref(),
                Some(Err(failed)) if failed.is_not_found() => return Err(gone(&name)),
                Some(Err(failed)) => return Err(failed.clone().about(&name)),
                None => None,
            },
            Checks::Failed(failed) => return Err(failed.clone().about(&name)),
        };
        if let Some(notes) = notes {
            obey(notes, &name)?;
            secret.metadata_mut().expires_at = notes.expiries.of(number);
        }
        Ok(secret)
    }
}

//! Where a secret is: under the name that keyfob writes, or under the one that another tool gave it.

use futures_util::future::join;
use keyfob_core::{Result, SecretName};

use super::{Inner, SCHEME};
use crate::client::{Listing, Told};
use crate::error::{Failed, taken};
use crate::names::{AzureName, Places};

/// What stands in the place of a name.
pub(super) enum Found<T> {
    /// The secret of that name.
    It(T),
    /// A secret of another name, whose letter case or record says so.
    Another(Box<Told>),
    Nothing,
}

/// A place that was looked at.
pub(super) struct Place<T> {
    pub(super) name: AzureName,
    pub(super) found: Found<T>,
}

impl Inner {
    /// The places of a name, which [the capabilities](keyfob_core::Capabilities) have checked.
    pub(super) fn places(&self, name: &SecretName) -> Result<Places> {
        self.names.places(name).ok_or_else(|| {
            let message = "this store can't have a secret of that name";
            keyfob_core::Error::new(keyfob_core::ErrorKind::Unsupported, message).with("name", name.as_str())
        })
    }

    /// Whether what stands at `place` is the secret `name`.
    ///
    /// What keyfob wrote says its exact name. What another tool made is it when the vault calls it exactly so: a vault
    /// answers for any letter case.
    pub(super) fn is_it(&self, name: &SecretName, place: &AzureName, told: &Told) -> bool {
        match &told.record.name {
            Some(recorded) => *recorded == self.names.full(name),
            None => told.name == *place,
        }
    }

    /// Asks at the own place, and then at the other one if there is another. Gives the first that is the secret; else the
    /// own place, with what stands there.
    pub(super) async fn find<T, F>(
        &self,
        name: &SecretName,
        ask: impl Fn(AzureName) -> F,
        told: impl Fn(&T) -> &Told,
    ) -> Result<Place<T>, Failed>
    where
        F: Future<Output = Result<T, Failed>>,
    {
        let Ok(Places { own, foreign }) = self.places(name) else {
            return Err(Failed::incomprehensible());
        };
        let mut first: Option<Result<Place<T>, Failed>> = None;
        for place in std::iter::once(own).chain(foreign) {
            let found = match ask(place.clone()).await {
                Ok(answer) if self.is_it(name, &place, told(&answer)) => {
                    return Ok(Place {
                        name: place,
                        found: Found::It(answer),
                    });
                }
                Ok(answer) => Ok(Found::Another(Box::new(told(&answer).clone()))),
                Err(failed) if failed.is_not_found() => Ok(Found::Nothing),
                // Who may ask for one secret only is refused everywhere else, also where there is nothing.
                Err(failed) if failed.is_denied() => Err(failed),
                Err(failed) => return Err(failed),
            };
            // The second place is another tool's: what stands there in the way matters to nobody.
            first.get_or_insert(found.map(|found| Place { name: place, found }));
        }
        first.unwrap_or_else(|| Err(Failed::incomprehensible()))
    }

    /// What is known of the current version, also of one that is disabled.
    pub(super) async fn look(&self, name: &SecretName) -> Result<Place<Told>, Failed> {
        self.find(name, |place| async move { self.current(&place).await }, |told| told)
            .await
    }

    /// What is deleted and can be recovered.
    pub(super) async fn look_deleted(&self, name: &SecretName) -> Result<Place<Told>, Failed> {
        self.find(name, |place| async move { self.vault.deleted(&place).await }, |told| told)
            .await
    }

    /// Both at once.
    pub(super) async fn look_everywhere(&self, name: &SecretName) -> (Result<Place<Told>, Failed>, Result<Place<Told>, Failed>) {
        join(self.look(name), self.look_deleted(name)).await
    }

    /// The current version at a place. A version that is disabled can't be read, but is listed.
    pub(super) async fn current(&self, place: &AzureName) -> Result<Told, Failed> {
        match self.vault.get(place, None).await {
            Ok((told, _)) => Ok(told),
            Err(failed) if failed.is_disabled() => {
                let versions = self.all_versions(place).await?;
                versions.into_iter().next().ok_or(failed)
            }
            Err(failed) => Err(failed),
        }
    }

    /// All versions at a place, the newest first.
    pub(super) async fn all_versions(&self, place: &AzureName) -> Result<Vec<Told>, Failed> {
        let (mut versions, mut token) = (Vec::new(), None);
        for _ in 0..MAX_PAGES {
            let (page, next) = self.vault.list(Listing::Versions(place), usize::MAX, token.as_ref()).await?;
            versions.extend(page);
            token = next;
            if token.is_none() {
                break;
            }
        }
        // Stable: of versions that nothing tells apart, the one that the vault lists later counts as newer.
        versions.reverse();
        versions.sort_by_key(|told| std::cmp::Reverse(told.age()));
        Ok(versions)
    }
}

/// A vault that goes on for so many pages is not believed.
const MAX_PAGES: usize = 400;

/// The error when another secret stands in the place of `name`.
pub(super) fn in_the_way(name: &SecretName, other: &Told) -> keyfob_core::Error {
    let by = other.record.name.as_deref().unwrap_or(other.name.as_str());
    taken(name, by).with("store", SCHEME)
}

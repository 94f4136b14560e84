//! Where the stores are, and as whom they are asked. Connects nothing.

use keyfob_core::{Result, StoreUrl};

use super::{Opening, SecretManager};
use crate::backends;
use crate::manager::failover::Member;

impl SecretManager {
    /// Where the store of `scheme` is, safe to show, without connecting it: its URL, and in parentheses what the
    /// environment says of the place where the URL leaves it open.
    ///
    /// # Errors
    /// `InvalidConfig` when the scheme means nothing, or why the store can't be chosen.
    pub fn location_of(&self, scheme: &str) -> Result<String> {
        self.location(&self.slot(scheme)?.opening)
    }

    pub(super) fn location(&self, opening: &Opening) -> Result<String> {
        match opening {
            Opening::Given(store) => Ok(format!("{} ({})", store.info().scheme, store.info().location)),
            Opening::One(member) => self.place(&member.url),
            Opening::List(members) => self.places(members),
            Opening::Never(error) => Err(error.clone()),
        }
    }

    pub(super) fn places(&self, members: &[Member]) -> Result<String> {
        let places: Result<Vec<String>> = members.iter().map(|member| self.place(&member.url)).collect();
        Ok(places?.join(", then "))
    }

    pub(super) fn place(&self, url: &StoreUrl) -> Result<String> {
        let place = backends::find(url.scheme())?.place;
        // What is wrong with the configuration is told when somebody asks the store.
        match place.and_then(|place| place(url, &self.0.environment).ok()) {
            Some(place) if !place.is_empty() => Ok(format!("{url} ({place})")),
            _ => Ok(url.to_string()),
        }
    }

    /// As whom the store of `scheme` would be asked, and why so; `None` where there is nobody to be. Connects nothing.
    ///
    /// # Errors
    /// `InvalidConfig` when the scheme means nothing, why the store can't be chosen, or what is wrong with its
    /// configuration.
    pub fn identity_of(&self, scheme: &str) -> Result<Option<String>> {
        self.identity_at(&self.slot(scheme)?.opening)
    }

    pub(super) fn identity_at(&self, opening: &Opening) -> Result<Option<String>> {
        match opening {
            Opening::Given(_) => Ok(None),
            Opening::One(member) => self.identity(&member.url),
            Opening::List(members) => {
                let mut identities = Vec::new();
                for member in members {
                    if let Some(identity) = self.identity(&member.url)? {
                        identities.push(format!("{} at `{}`", identity, member.label));
                    }
                }
                Ok((!identities.is_empty()).then(|| identities.join("; ")))
            }
            Opening::Never(error) => Err(error.clone()),
        }
    }

    fn identity(&self, url: &StoreUrl) -> Result<Option<String>> {
        match backends::find(url.scheme())?.identity {
            Some(identity) => identity(url, &self.0.environment).map(Some),
            None => Ok(None),
        }
    }
}

//! `versions`.

use futures_util::future::join;
use keyfob_core::{Page, PageRequest, PageToken, Result, SecretName, VersionInfo};

use super::Inner;
use super::finding::{Found, Place};
use super::reading::hidden;
use crate::client::{Told, not_a_token};
use crate::error::Failed;
use crate::names::AzureName;

const TOKEN: &str = "after:";

impl Inner {
    /// The vault promises no order, so all are read and put in order.
    pub(super) async fn versions(&self, name: &SecretName, page: &PageRequest) -> Result<Page<VersionInfo>> {
        let limit = page.limit_up_to(usize::MAX)?;
        let after = match &page.token {
            Some(token) => Some(token.as_str().strip_prefix(TOKEN).ok_or_else(not_a_token)?),
            None => None,
        };
        let place = self.find(
            name,
            |place| async move { self.history(&place).await },
            |history| &history.current,
        );
        let Place { found, .. } = place.await.map_err(|failed| failed.about(name))?;
        let History { current, versions } = match found {
            Found::It(history) => history,
            Found::Another(told) => return Err(hidden(name, &told)),
            Found::Nothing => return Err(self.missing(name).await),
        };
        let begin = match after {
            None => 0,
            Some(after) => {
                let is_last = |told: &Told| told.version.as_ref().is_some_and(|version| version.as_str() == after);
                versions.iter().position(is_last).ok_or_else(not_a_token)? + 1
            }
        };
        let rest = versions.get(begin..).unwrap_or_default();
        let shown = &rest[..limit.min(rest.len())];
        let items: Vec<VersionInfo> = shown.iter().filter_map(|told| info(told, &current)).collect();
        let next = items.last().filter(|_| shown.len() < rest.len());
        let next = next.map(|last| PageToken::new(format!("{TOKEN}{}", last.version)));
        Ok(Page { items, next })
    }

    /// All versions at a place, the current one first. Which one is current the vault says itself, where it may be asked.
    async fn history(&self, place: &AzureName) -> Result<History, Failed> {
        let (read, listed) = join(self.vault.get(place, None), self.all_versions(place)).await;
        let mut versions = listed?;
        let current = match read {
            Ok((told, _)) => told.version,
            Err(failed) if failed.is_denied() || failed.is_disabled() => None,
            Err(failed) => return Err(failed),
        };
        if let Some(index) = versions.iter().position(|told| current.is_some() && told.version == current) {
            let current = versions.remove(index);
            versions.insert(0, current);
        }
        // A vault may answer for a secret that it doesn't have with a list of nothing.
        let current = versions.first().cloned().ok_or_else(Failed::nothing)?;
        Ok(History { current, versions })
    }
}

struct History {
    current: Told,
    versions: Vec<Told>,
}

fn info(told: &Told, current: &Told) -> Option<VersionInfo> {
    let mut info = VersionInfo::new(told.token()?, told.version == current.version);
    info.created = told.created;
    info.expires_at = told.expires_at;
    Some(info)
}

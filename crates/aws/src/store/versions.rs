//! `versions`.

use std::cmp::Reverse;

use aws_sdk_secretsmanager::types::SecretVersionsListEntry;
use futures_util::future::join;
use keyfob_core::{Page, PageRequest, PageToken, Result, SecretName, Version, VersionInfo};

use super::Inner;
use super::listing::not_a_token;
use super::metadata::time;
use crate::error::{Failed, deleted, failed};
use crate::stages;

/// What ListSecretVersionIds gives at once.
const AT_ONCE: i32 = 100;
/// AWS keeps about a hundred versions; a service that goes on for so many pages is not believed.
const MAX_PAGES: usize = 20;
const TOKEN: &str = "after:";

impl Inner {
    /// AWS promises no order, so all are read and put in order; there are rarely more than its one page.
    pub(super) async fn versions(&self, name: &SecretName, page: &PageRequest) -> Result<Page<VersionInfo>> {
        let limit = page.limit_up_to(usize::MAX)?;
        let after = match &page.token {
            Some(token) => Some(token.as_str().strip_prefix(TOKEN).ok_or_else(not_a_token)?),
            None => None,
        };
        // The listing alone doesn't say that a secret is deleted.
        let (listed, described) = join(self.all_versions(name), self.describe(name)).await;
        let mut entries = listed.map_err(|failed| failed.about(name))?;
        match described {
            Ok(described) if described.deleted_at.is_some() => return Err(deleted(name)),
            Ok(_) => {}
            Err(failed) if failed.is_denied() => {}
            Err(failed) => return Err(failed.about(name)),
        }
        // Versions of the same moment: the label decides, then the service's order, in which the newest comes last.
        entries.reverse();
        entries.sort_by_key(|entry| (Reverse(entry.created_date().and_then(time)), rank(entry)));
        let versions: Vec<VersionInfo> = entries.iter().map(info).collect::<Result<_>>()?;
        let begin = match after {
            None => 0,
            Some(after) => {
                let index = versions.iter().position(|info| info.version.as_str() == after);
                index.ok_or_else(not_a_token)? + 1
            }
        };
        let rest = versions.get(begin..).unwrap_or_default();
        let items = rest[..limit.min(rest.len())].to_vec();
        let next = items.last().filter(|_| items.len() < rest.len());
        let next = next.map(|last| PageToken::new(format!("{TOKEN}{}", last.version)));
        Ok(Page { items, next })
    }

    async fn all_versions(&self, name: &SecretName) -> Result<Vec<SecretVersionsListEntry>, Failed> {
        let id = self.names.id(name);
        let mut entries = Vec::new();
        let mut token = None;
        for _ in 0..MAX_PAGES {
            let request = self.client.list_secret_version_ids().secret_id(&id).include_deprecated(true);
            let page = request
                .max_results(AT_ONCE)
                .set_next_token(token)
                .send()
                .await
                .map_err(failed)?;
            if page.versions.is_none() {
                return Err(Failed::incomprehensible());
            }
            entries.extend(page.versions.unwrap_or_default());
            token = page.next_token.filter(|token| !token.is_empty());
            if token.is_none() {
                break;
            }
        }
        Ok(entries)
    }
}

fn rank(entry: &SecretVersionsListEntry) -> u8 {
    let has = |label: &str| entry.version_stages().iter().any(|known| known == label);
    match (has(stages::CURRENT), has(stages::PREVIOUS)) {
        (true, _) => 0,
        (_, true) => 1,
        _ => 2,
    }
}

fn info(entry: &SecretVersionsListEntry) -> Result<VersionInfo> {
    let labels = entry.version_stages();
    let version = Version::new(entry.version_id().unwrap_or_default())?;
    let mut info = VersionInfo::new(version, labels.iter().any(|label| label == stages::CURRENT));
    info.created = entry.created_date().and_then(time);
    info.expires_at = stages::expiry_of(labels);
    info.labels = labels.iter().filter(|label| !stages::is_expiry(label)).cloned().collect();
    Ok(info)
}

//! `versions`.

use futures_util::future::join;
use keyfob_core::{Page, PageRequest, PageToken, Result, SecretName, Version, VersionInfo};

use super::Inner;
use super::listing::not_a_token;
use super::reading::obey;

/// Tells our tokens from other text.
const TOKEN: &str = "versions-before:";

impl Inner {
    /// A secret has few versions: all are asked for, and the pages are cut here, so that they are in order whatever the
    /// service does, and which version is current is known on every page.
    pub(super) async fn versions(&self, name: &SecretName, page: &PageRequest) -> Result<Page<VersionInfo>> {
        let limit = page.limit_up_to(usize::MAX)?;
        let before = match &page.token {
            None => u64::MAX,
            Some(token) => {
                let number = token.as_str().strip_prefix(TOKEN).and_then(|number| number.parse().ok());
                number.ok_or_else(not_a_token)?
            }
        };
        let (described, versions) = join(self.describe_if_allowed(name), self.all_versions(name, false)).await;
        let described = described.map_err(|failed| failed.about(name))?;
        let versions = versions.map_err(|failed| failed.about(name))?;
        if let Some(described) = &described {
            obey(&described.notes, name)?;
        }
        let current = versions
            .iter()
            .find(|version| version.is_enabled)
            .map(|version| version.number);
        let infos = versions
            .iter()
            .filter(|version| !version.is_destroyed && version.number < before);
        let mut items: Vec<VersionInfo> = infos
            .map(|version| {
                let mut info = VersionInfo::new(Version::from(version.number), Some(version.number) == current);
                info.created = version.created;
                if !version.is_enabled {
                    info.labels.push("disabled".to_owned());
                }
                if let Some(described) = &described {
                    info.expires_at = described.notes.expiries.of(version.number);
                    let aliases = described.aliases.iter().filter(|(_, number)| *number == version.number);
                    info.labels.extend(aliases.map(|(alias, _)| alias.clone()));
                    info.labels.sort();
                }
                info
            })
            .collect();
        let is_last = items.len() <= limit;
        items.truncate(limit);
        let last = items.last().filter(|_| !is_last).map(|info| info.version.clone());
        Ok(Page {
            items,
            next: last.map(|version| PageToken::new(format!("{TOKEN}{version}"))),
        })
    }
}

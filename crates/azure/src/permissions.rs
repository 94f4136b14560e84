//! What each request needs to be allowed, as roles and as access policies call it.

/// A permission on secrets: <https://learn.microsoft.com/azure/role-based-access-control/permissions/security#microsoftkeyvault>
/// for roles; each operation's page of <https://learn.microsoft.com/rest/api/keyvault/secrets> for access policies.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Permission {
    Get,
    /// What is deleted, which roles and access policies sort differently.
    GetDeleted,
    /// Secrets, deleted ones, and versions.
    List,
    Set,
    Update,
    Delete,
    Recover,
    Purge,
}

impl Permission {
    /// The data action in a role.
    pub(crate) const fn action(self) -> &'static str {
        match self {
            Self::Get => "Microsoft.KeyVault/vaults/secrets/getSecret/action",
            Self::GetDeleted | Self::List => "Microsoft.KeyVault/vaults/secrets/readMetadata/action",
            Self::Set => "Microsoft.KeyVault/vaults/secrets/setSecret/action",
            Self::Update => "Microsoft.KeyVault/vaults/secrets/update/action",
            Self::Delete => "Microsoft.KeyVault/vaults/secrets/delete",
            Self::Recover => "Microsoft.KeyVault/vaults/secrets/recover/action",
            Self::Purge => "Microsoft.KeyVault/vaults/secrets/purge/action",
        }
    }

    /// The same in an access policy.
    pub(crate) const fn in_policy(self) -> &'static str {
        match self {
            Self::Get | Self::GetDeleted => "secrets/get",
            Self::List => "secrets/list",
            Self::Set | Self::Update => "secrets/set",
            Self::Delete => "secrets/delete",
            Self::Recover => "secrets/recover",
            Self::Purge => "secrets/purge",
        }
    }

    /// Whether a request that needs it changes something.
    pub(crate) const fn is_to_write(self) -> bool {
        match self {
            Self::Set | Self::Update | Self::Delete | Self::Recover | Self::Purge => true,
            Self::Get | Self::GetDeleted | Self::List => false,
        }
    }
}

/// What each job of the page needs, in its words.
#[cfg(test)]
const JOBS: [(&str, &[Permission]); 6] = [
    ("`get`, `run`, `resolve`", &[Permission::Get]),
    (
        "`list`, `versions`, `@previous`, \"it is deleted and can be restored\"",
        &[Permission::List, Permission::GetDeleted],
    ),
    ("`set`", &[Permission::Get, Permission::Set]),
    ("`set` of metadata alone", &[Permission::Get, Permission::Update]),
    (
        "`delete`, `restore`",
        &[
            Permission::Get,
            Permission::GetDeleted,
            Permission::Delete,
            Permission::Recover,
        ],
    ),
    (
        "`delete --permanent`",
        &[
            Permission::Get,
            Permission::GetDeleted,
            Permission::Delete,
            Permission::Recover,
            Permission::Purge,
        ],
    ),
];

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use serde_json::Value;

    use super::*;

    const ACTIONS: &str = "Microsoft.KeyVault/vaults/secrets/";

    fn page() -> String {
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/src/stores/azure.md");
        std::fs::read_to_string(path).unwrap()
    }

    fn actions(permissions: &[Permission]) -> BTreeSet<String> {
        permissions.iter().map(|permission| permission.action().to_owned()).collect()
    }

    #[test]
    fn the_role_of_who_writes_allows_all_but_what_is_final() {
        let page = page();
        let block = page.split_once("```json file=keyfob-writer.json\n").unwrap().1;
        let role: Value = serde_json::from_str(block.split_once("\n```").unwrap().0).unwrap();
        let of = |key: &str| -> Vec<String> { serde_json::from_value(role[key].clone()).unwrap() };
        let listed: BTreeSet<String> = of("DataActions").into_iter().collect();
        assert_eq!(listed.len(), of("DataActions").len(), "an action stands there twice");
        let mut all: BTreeSet<String> = JOBS.iter().flat_map(|(_, needed)| actions(needed)).collect();
        assert_eq!(all.len(), 7, "an action that no job needs");
        assert!(all.remove(Permission::Purge.action()));
        assert_eq!(listed, all);
        for key in ["Actions", "NotActions", "NotDataActions"] {
            assert_eq!(of(key), Vec::<String>::new(), "{key}");
        }
        assert!(role["IsCustom"] == true && role["Name"].is_string() && of("AssignableScopes")[0].starts_with("/subscriptions/"));
    }

    #[test]
    fn the_table_says_for_each_job_what_is_asked_for() {
        let page = page();
        let table = page
            .split_once(&format!("| job | data actions of `{ACTIONS}` |\n|---|---|\n"))
            .unwrap()
            .1;
        let rows = table.lines().take_while(|line| line.starts_with('|'));
        let mut before = BTreeSet::new();
        let told: Vec<(String, BTreeSet<String>)> = rows
            .map(|row| {
                let (job, told) = row.trim_matches(['|', ' ']).split_once(" | ").unwrap();
                let named = told.split('`').skip(1).step_by(2).map(|action| format!("{ACTIONS}{action}"));
                let named: BTreeSet<String> = match told.starts_with("those and") {
                    true => named.chain(before.iter().cloned()).collect(),
                    false => named.collect(),
                };
                before.clone_from(&named);
                (job.to_owned(), named)
            })
            .collect();
        assert_eq!(told, JOBS.map(|(job, needed)| (job.to_owned(), actions(needed))));
    }

    #[test]
    fn the_access_policy_has_every_permission_that_is_asked_for() {
        let page = page();
        let text = page
            .split_once("--secret-permissions ")
            .unwrap()
            .1
            .split_once(" for the rest")
            .unwrap()
            .0;
        let told: BTreeSet<&str> = text
            .split(|character: char| !character.is_ascii_alphabetic())
            .filter(|word| !word.is_empty() && *word != "and")
            .collect();
        let needed = JOBS.iter().flat_map(|(_, needed)| *needed);
        let needed: BTreeSet<&str> = needed
            .map(|permission| permission.in_policy().trim_start_matches("secrets/"))
            .collect();
        assert_eq!(told, needed);
    }
}

//! What each request needs to be allowed, as IAM calls it.

/// A permission on secrets or their versions: <https://cloud.google.com/secret-manager/docs/access-control>.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Permission {
    CreateSecret,
    DeleteSecret,
    GetSecret,
    ListSecrets,
    UpdateSecret,
    AccessVersion,
    AddVersion,
    DisableVersion,
    EnableVersion,
    GetVersion,
    ListVersions,
}

impl Permission {
    /// Its name in roles.
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::CreateSecret => "secretmanager.secrets.create",
            Self::DeleteSecret => "secretmanager.secrets.delete",
            Self::GetSecret => "secretmanager.secrets.get",
            Self::ListSecrets => "secretmanager.secrets.list",
            Self::UpdateSecret => "secretmanager.secrets.update",
            Self::AccessVersion => "secretmanager.versions.access",
            Self::AddVersion => "secretmanager.versions.add",
            Self::DisableVersion => "secretmanager.versions.disable",
            Self::EnableVersion => "secretmanager.versions.enable",
            Self::GetVersion => "secretmanager.versions.get",
            Self::ListVersions => "secretmanager.versions.list",
        }
    }

    /// Whether a request that needs it changes something.
    pub(crate) const fn is_to_write(self) -> bool {
        match self {
            Self::CreateSecret
            | Self::DeleteSecret
            | Self::UpdateSecret
            | Self::AddVersion
            | Self::DisableVersion
            | Self::EnableVersion => true,
            Self::GetSecret | Self::ListSecrets | Self::AccessVersion | Self::GetVersion | Self::ListVersions => false,
        }
    }
}

/// What each verb asks for, the most that it can come to.
#[cfg(test)]
const VERBS: [(&str, &[Permission]); 8] = [
    (
        "get",
        &[
            Permission::AccessVersion,
            Permission::GetSecret,
            Permission::ListSecrets,
            Permission::ListVersions,
        ],
    ),
    (
        "put",
        &[
            Permission::GetSecret,
            Permission::CreateSecret,
            Permission::UpdateSecret,
            Permission::AddVersion,
            Permission::GetVersion,
            Permission::ListVersions,
        ],
    ),
    (
        "delete",
        &[
            Permission::GetSecret,
            Permission::UpdateSecret,
            Permission::ListVersions,
            Permission::DisableVersion,
            // When it fails in the middle.
            Permission::EnableVersion,
        ],
    ),
    ("delete for good", &[Permission::DeleteSecret]),
    (
        "restore",
        &[
            Permission::GetSecret,
            Permission::UpdateSecret,
            Permission::GetVersion,
            Permission::ListVersions,
            Permission::EnableVersion,
        ],
    ),
    ("list", &[Permission::ListSecrets]),
    ("versions", &[Permission::GetSecret, Permission::ListVersions]),
    ("health", &[Permission::ListSecrets, Permission::AccessVersion]),
];

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    fn page() -> String {
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/src/stores/gcp.md");
        std::fs::read_to_string(path).unwrap()
    }

    /// The permissions of a role of the page, which is a file for `gcloud iam roles create`.
    fn role(file: &str) -> BTreeSet<String> {
        let page = page();
        let block = page.split_once(&format!("```yaml file={file}\n")).unwrap().1;
        let block = block.split_once("\n```").unwrap().0;
        let mut lines = block.lines();
        for key in ["title: ", "description: ", "stage: GA"] {
            assert!(lines.next().unwrap().starts_with(key), "{file}: {key}");
        }
        assert_eq!(lines.next(), Some("includedPermissions:"), "{file}");
        let listed: Vec<String> = lines.map(|line| line.strip_prefix("  - ").unwrap().to_owned()).collect();
        let permissions: BTreeSet<String> = listed.iter().cloned().collect();
        assert_eq!(permissions.len(), listed.len(), "{file} names a permission twice");
        permissions
    }

    fn needed(verbs: &[&str]) -> BTreeSet<String> {
        let known: BTreeSet<&str> = VERBS.iter().map(|(verb, _)| *verb).collect();
        assert!(verbs.iter().all(|verb| known.contains(verb)));
        let needed = VERBS.iter().filter(|(verb, _)| verbs.contains(verb));
        needed
            .flat_map(|(_, needed)| *needed)
            .map(|permission| permission.name().to_owned())
            .collect()
    }

    #[test]
    fn the_role_of_who_writes_allows_all_but_what_is_final() {
        let mut all = needed(&VERBS.map(|(verb, _)| verb));
        assert_eq!(all.len(), 11, "a permission that no verb needs");
        let final_one = Permission::DeleteSecret.name();
        assert!(all.remove(final_one));
        assert_eq!(role("keyfob-writer.yaml"), all);
        assert_eq!(
            needed(&["get", "put", "delete", "restore", "list", "versions", "health"]),
            all
        );
        assert!(page().contains(&format!("`delete --permanent` needs `{final_one}` too")));
    }

    #[test]
    fn the_role_of_who_reads_allows_that_and_nothing_else() {
        let mut reading = needed(&["get", "list", "health"]);
        // The page says when that is needed.
        let seldom = Permission::ListVersions.name();
        assert!(page().contains(&format!("add `{seldom}`")) && reading.remove(seldom));
        assert_eq!(role("keyfob-reader.yaml"), reading);
    }

    #[test]
    fn the_role_of_who_rotates_reads_and_makes_nothing() {
        let mut rotating = needed(&["put", "delete"]);
        for permission in [Permission::CreateSecret, Permission::EnableVersion] {
            assert!(rotating.remove(permission.name()));
        }
        assert_eq!(role("keyfob-rotation.yaml"), rotating);
        assert!(!rotating.contains(Permission::AccessVersion.name()));
    }
}

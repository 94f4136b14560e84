//! What the roles of Azure RBAC allow on secrets.

/// A data action, as a role lists it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Action {
    Get,
    Set,
    Update,
    Delete,
    Recover,
    Purge,
    /// Lists, and everything about a deleted secret.
    ReadMetadata,
}

impl Action {
    /// Its name in role definitions.
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Get => "Microsoft.KeyVault/vaults/secrets/getSecret/action",
            Self::Set => "Microsoft.KeyVault/vaults/secrets/setSecret/action",
            Self::Update => "Microsoft.KeyVault/vaults/secrets/update/action",
            Self::Delete => "Microsoft.KeyVault/vaults/secrets/delete",
            Self::Recover => "Microsoft.KeyVault/vaults/secrets/recover/action",
            Self::Purge => "Microsoft.KeyVault/vaults/secrets/purge/action",
            Self::ReadMetadata => "Microsoft.KeyVault/vaults/secrets/readMetadata/action",
        }
    }
}

/// The role that a principal has on the vault.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Role {
    /// `Key Vault Secrets Officer`.
    All,
    /// `Key Vault Secrets User`.
    ReadOnly,
    /// A role of one's own with the one action: secrets whose names are known.
    GetOnly,
    /// `Key Vault Reader`: everything but the values.
    ListOnly,
    Nothing,
}

impl Role {
    pub(super) const ALL: [Self; 5] = [Self::All, Self::ReadOnly, Self::GetOnly, Self::ListOnly, Self::Nothing];

    /// What its principal is called in what the double prints.
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::All => "all",
            Self::ReadOnly => "read-only",
            Self::GetOnly => "get-only",
            Self::ListOnly => "list-only",
            Self::Nothing => "nothing",
        }
    }

    pub(super) fn allows(self, action: Action) -> bool {
        match self {
            Self::All => true,
            Self::ReadOnly => matches!(action, Action::Get | Action::ReadMetadata),
            Self::GetOnly => action == Action::Get,
            Self::ListOnly => action == Action::ReadMetadata,
            Self::Nothing => false,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ACTIONS: [Action; 7] = [
        Action::Get,
        Action::Set,
        Action::Update,
        Action::Delete,
        Action::Recover,
        Action::Purge,
        Action::ReadMetadata,
    ];

    #[test]
    fn each_role_allows_what_it_lists() {
        let allowed = |role: Role| ACTIONS.into_iter().filter(|action| role.allows(*action)).count();
        assert_eq!(Role::ALL.map(allowed), [7, 2, 1, 1, 0]);
        assert!(!Role::ListOnly.allows(Action::Get));
        assert!(!Role::GetOnly.allows(Action::ReadMetadata));
    }
}

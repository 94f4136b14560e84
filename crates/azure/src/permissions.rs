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

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

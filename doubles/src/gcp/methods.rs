//! The methods of the API: which request is which, and what a caller needs for it. From the published service definition,
//! `google.cloud.secretmanager.v1.SecretManagerService`.

use hyper::Method as Verb;

use super::names::Target;
use super::status::Status;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Method {
    ListSecrets,
    CreateSecret,
    GetSecret,
    UpdateSecret,
    DeleteSecret,
    AddSecretVersion,
    ListSecretVersions,
    GetSecretVersion,
    AccessSecretVersion,
    EnableSecretVersion,
    DisableSecretVersion,
    DestroySecretVersion,
    TestIamPermissions,
}

impl Method {
    /// `None` for what the API does not have, an error for what only this double does not.
    pub(super) fn of(verb: &Verb, target: &Target, custom: Option<&str>) -> Option<Result<Self, Status>> {
        let method = match (verb.as_str(), target, custom) {
            ("GET", Target::Secrets(_), None) => Self::ListSecrets,
            ("POST", Target::Secrets(_), None) => Self::CreateSecret,
            ("GET", Target::Secret(_), None) => Self::GetSecret,
            ("PATCH", Target::Secret(_), None) => Self::UpdateSecret,
            ("DELETE", Target::Secret(_), None) => Self::DeleteSecret,
            ("POST", Target::Secret(_), Some("addVersion")) => Self::AddSecretVersion,
            ("GET", Target::Versions(_), None) => Self::ListSecretVersions,
            ("GET", Target::Version(..), None) => Self::GetSecretVersion,
            ("GET", Target::Version(..), Some("access")) => Self::AccessSecretVersion,
            ("POST", Target::Version(..), Some("enable")) => Self::EnableSecretVersion,
            ("POST", Target::Version(..), Some("disable")) => Self::DisableSecretVersion,
            ("POST", Target::Version(..), Some("destroy")) => Self::DestroySecretVersion,
            ("POST", Target::Secret(_), Some("testIamPermissions")) => Self::TestIamPermissions,
            ("GET", Target::Secret(_), Some("getIamPolicy")) | ("POST", Target::Secret(_), Some("setIamPolicy")) => {
                return Some(Err(Status::not_doubled("IAM policies")));
            }
            ("POST", Target::Secret(_), Some("enableManagedRotation" | "rotateSecret")) => {
                return Some(Err(Status::not_doubled("rotation")));
            }
            ("GET", Target::Locations, None) => return Some(Err(Status::not_doubled("a list of locations"))),
            _ => return None,
        };
        Some(Ok(method))
    }

    pub(super) fn name(self) -> &'static str {
        match self {
            Self::ListSecrets => "ListSecrets",
            Self::CreateSecret => "CreateSecret",
            Self::GetSecret => "GetSecret",
            Self::UpdateSecret => "UpdateSecret",
            Self::DeleteSecret => "DeleteSecret",
            Self::AddSecretVersion => "AddSecretVersion",
            Self::ListSecretVersions => "ListSecretVersions",
            Self::GetSecretVersion => "GetSecretVersion",
            Self::AccessSecretVersion => "AccessSecretVersion",
            Self::EnableSecretVersion => "EnableSecretVersion",
            Self::DisableSecretVersion => "DisableSecretVersion",
            Self::DestroySecretVersion => "DestroySecretVersion",
            Self::TestIamPermissions => "TestIamPermissions",
        }
    }

    /// `None` when everybody may.
    pub(super) fn permission(self) -> Option<&'static str> {
        Some(match self {
            Self::ListSecrets => "secretmanager.secrets.list",
            Self::CreateSecret => "secretmanager.secrets.create",
            Self::GetSecret => "secretmanager.secrets.get",
            Self::UpdateSecret => "secretmanager.secrets.update",
            Self::DeleteSecret => "secretmanager.secrets.delete",
            Self::AddSecretVersion => "secretmanager.versions.add",
            Self::ListSecretVersions => "secretmanager.versions.list",
            Self::GetSecretVersion => "secretmanager.versions.get",
            Self::AccessSecretVersion => "secretmanager.versions.access",
            Self::EnableSecretVersion => "secretmanager.versions.enable",
            Self::DisableSecretVersion => "secretmanager.versions.disable",
            Self::DestroySecretVersion => "secretmanager.versions.destroy",
            Self::TestIamPermissions => return None,
        })
    }

    /// The parameters of the query, besides those that every method of every Google API takes.
    pub(super) fn parameters(self) -> &'static [&'static str] {
        match self {
            Self::ListSecrets | Self::ListSecretVersions => &["filter", "pageSize", "pageToken"],
            Self::CreateSecret => &["secretId"],
            Self::UpdateSecret => &["updateMask"],
            Self::DeleteSecret => &["etag"],
            _ => &[],
        }
    }
}

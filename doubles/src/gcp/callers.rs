//! Who calls, and what they may do.

use std::collections::HashMap;

use jiff::{SignedDuration, Timestamp};

use super::random;

/// How long a token that was given out is good for; Google says one second less than an hour.
pub(super) const TOKEN_SECONDS: i64 = 3599;

/// A token that is the same in every run, so that tests need no set-up: its name, the token, and what its owner may do.
pub(super) const KNOWN: &[(&str, &str, Rights)] = &[
    ("admin", "ya29.double-admin", Rights::All),
    (
        "accessor",
        "ya29.double-accessor",
        // As `roles/secretmanager.secretAccessor`.
        Rights::These(&["secretmanager.versions.access"]),
    ),
    (
        "viewer",
        "ya29.double-viewer",
        // As `roles/secretmanager.viewer`.
        Rights::These(&[
            "secretmanager.secrets.get",
            "secretmanager.secrets.getIamPolicy",
            "secretmanager.secrets.list",
            "secretmanager.versions.get",
            "secretmanager.versions.list",
        ]),
    ),
    (
        "adder",
        "ya29.double-adder",
        // As `roles/secretmanager.secretVersionAdder`.
        Rights::These(&["secretmanager.versions.add"]),
    ),
    ("nobody", "ya29.double-nobody", Rights::These(&[])),
];

/// A token that was good once.
pub(super) const EXPIRED: &str = "ya29.double-expired";

/// Every permission on secrets and versions.
pub(super) const PERMISSIONS: &[&str] = &[
    "secretmanager.secrets.create",
    "secretmanager.secrets.delete",
    "secretmanager.secrets.get",
    "secretmanager.secrets.getIamPolicy",
    "secretmanager.secrets.list",
    "secretmanager.secrets.setIamPolicy",
    "secretmanager.secrets.update",
    "secretmanager.versions.access",
    "secretmanager.versions.add",
    "secretmanager.versions.destroy",
    "secretmanager.versions.disable",
    "secretmanager.versions.enable",
    "secretmanager.versions.get",
    "secretmanager.versions.list",
];

/// What a caller may do, on every resource.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Rights {
    All,
    These(&'static [&'static str]),
}

impl Rights {
    pub(super) fn allow(self, permission: &str) -> bool {
        match self {
            Self::All => true,
            Self::These(permissions) => permissions.contains(&permission),
        }
    }
}

/// Why a token is no good.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Unknown {
    Expired,
    NoToken,
}

/// The tokens that were given out.
#[derive(Default)]
pub(super) struct Callers {
    issued: HashMap<String, Timestamp>,
}

impl Callers {
    /// A token with all rights.
    pub(super) fn issue(&mut self, now: Timestamp) -> String {
        let token = format!("ya29.{}", random::token());
        self.issued
            .insert(token.clone(), now + SignedDuration::from_secs(TOKEN_SECONDS));
        token
    }

    pub(super) fn rights(&self, token: &str, now: Timestamp) -> Result<Rights, Unknown> {
        if let Some((_, _, rights)) = KNOWN.iter().find(|(_, known, _)| *known == token) {
            return Ok(*rights);
        }
        match self.issued.get(token) {
            Some(until) if *until > now => Ok(Rights::All),
            Some(_) => Err(Unknown::Expired),
            None if token == EXPIRED => Err(Unknown::Expired),
            None => Err(Unknown::NoToken),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_token_has_its_rights_and_its_end() {
        let mut callers = Callers::default();
        let now = Timestamp::UNIX_EPOCH;
        let issued = callers.issue(now);
        assert_eq!(callers.rights(&issued, now), Ok(Rights::All));
        let later = now + SignedDuration::from_secs(TOKEN_SECONDS);
        assert_eq!(callers.rights(&issued, later), Err(Unknown::Expired));
        assert_eq!(callers.rights(EXPIRED, now), Err(Unknown::Expired));
        assert_eq!(callers.rights("ya29.invented", now), Err(Unknown::NoToken));
        let viewer = callers.rights("ya29.double-viewer", now).unwrap();
        assert!(viewer.allow("secretmanager.secrets.list") && !viewer.allow("secretmanager.versions.access"));
        for permission in PERMISSIONS {
            assert!(Rights::All.allow(permission) && !Rights::These(&[]).allow(permission));
        }
    }
}

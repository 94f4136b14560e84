//! The tenant of Microsoft Entra: who there is, and how each can prove it.

use super::certificates::ClientCertificate;
use super::jwt::Token;
use super::permissions::Role;
use super::random;
use crate::Failure;

/// Who signs the federated tokens that the applications trust.
pub(super) const FEDERATED_ISSUER: &str = "https://oidc.keyfob.test/";
/// Whose federated tokens the applications trust.
pub(super) const FEDERATED_SUBJECT: &str = "system:serviceaccount:default:keyfob";
/// For whom a federated token has to be.
pub(super) const FEDERATED_AUDIENCE: &str = "api://AzureADTokenExchange";

/// An application, or an identity that Azure manages.
#[derive(Debug, Clone)]
pub(super) struct Principal {
    pub(super) client_id: String,
    pub(super) object_id: String,
    pub(super) secret: String,
    pub(super) role: Role,
}

pub(super) struct Directory {
    pub(super) tenant: String,
    pub(super) principals: Vec<Principal>,
    /// Registered for every application.
    pub(super) certificate: ClientCertificate,
    /// Of the issuer of federated tokens, in DER.
    pub(super) issuer_key: Vec<u8>,
}

/// What is known of the principal with all rights before the start.
#[derive(Debug, Default)]
pub(super) struct Given {
    pub(super) tenant: Option<String>,
    pub(super) client_id: Option<String>,
    pub(super) secret: Option<String>,
}

/// Why an assertion proves nothing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Doubt {
    NoToken,
    UnknownCertificate,
    Signature,
    Time,
    Audience,
    Identity,
}

impl Directory {
    /// One principal for each role.
    pub(super) fn new(mut given: Given, certificate: ClientCertificate, issuer_key: Vec<u8>) -> Result<Self, Failure> {
        let or = |given: Option<String>, random: fn() -> Result<String, Failure>| given.map_or_else(random, Ok);
        let mut principals = Vec::new();
        for role in Role::ALL {
            let mine = role == Role::All;
            principals.push(Principal {
                client_id: or(given.client_id.take().filter(|_| mine), random::uuid)?,
                object_id: random::uuid()?,
                secret: or(given.secret.take().filter(|_| mine), random::password)?,
                role,
            });
        }
        Ok(Self {
            tenant: or(given.tenant.take(), random::uuid)?,
            principals,
            certificate,
            issuer_key,
        })
    }

    pub(super) fn by_role(&self, role: Role) -> Option<&Principal> {
        self.principals.iter().find(|principal| principal.role == role)
    }

    pub(super) fn by_client_id(&self, client_id: &str) -> Option<&Principal> {
        self.principals
            .iter()
            .find(|principal| principal.client_id.eq_ignore_ascii_case(client_id))
    }

    pub(super) fn by_object_id(&self, object_id: &str) -> Option<&Principal> {
        self.principals.iter().find(|principal| principal.object_id == object_id)
    }

    /// Whether `assertion` proves that it comes from the application `principal`: by its certificate, or because the
    /// issuer that it trusts says so. `endpoint` is the address that the assertion was sent to.
    pub(super) fn verify_assertion(&self, principal: &Principal, assertion: &str, endpoint: &str, now: i64) -> Result<(), Doubt> {
        let token = Token::parse(assertion).ok_or(Doubt::NoToken)?;
        let (key, audience, issuer, subject) = if token.claim("iss") == FEDERATED_ISSUER {
            (&self.issuer_key, FEDERATED_AUDIENCE, FEDERATED_ISSUER, FEDERATED_SUBJECT)
        } else {
            let text = |name: &str| token.header.get(name).and_then(|value| value.as_str());
            let known = [("x5t", &self.certificate.sha1), ("x5t#S256", &self.certificate.sha256)];
            if !known
                .into_iter()
                .any(|(name, print)| text(name).map(url_safe).as_ref() == Some(print))
            {
                return Err(Doubt::UnknownCertificate);
            }
            let me = principal.client_id.as_str();
            (&self.certificate.public_key, endpoint, me, me)
        };
        if !token.verify_rsa(key) {
            return Err(Doubt::Signature);
        }
        // Microsoft allows five minutes between clocks; on one machine there is no reason to.
        let starts = token.seconds("nbf").unwrap_or(i64::MIN);
        let expires = token.seconds("exp").unwrap_or(i64::MIN);
        if now < starts || now >= expires {
            return Err(Doubt::Time);
        }
        if token.claim("aud") != audience {
            return Err(Doubt::Audience);
        }
        if token.claim("iss") != issuer || token.claim("sub") != subject {
            return Err(Doubt::Identity);
        }
        Ok(())
    }
}

/// RFC 7515 has thumbprints in the alphabet for URLs and without padding; MSAL for Go writes the other one.
fn url_safe(base64: &str) -> String {
    base64.trim_end_matches('=').replace('+', "-").replace('/', "_")
}

#[cfg(test)]
pub(super) mod tests {
    use serde_json::{Value, json};

    use super::super::jwt::Issuer;
    use super::*;

    pub(in super::super) fn directory(issuer: &Issuer) -> Directory {
        let certificate = ClientCertificate {
            public_key: issuer.public_key().unwrap(),
            sha1: "one".to_owned(),
            sha256: "two".to_owned(),
        };
        Directory::new(Given::default(), certificate, issuer.public_key().unwrap()).unwrap()
    }

    fn federated() -> Value {
        json!({
            "iss": FEDERATED_ISSUER, "sub": FEDERATED_SUBJECT, "aud": FEDERATED_AUDIENCE, "nbf": 100, "exp": 200,
        })
    }

    #[test]
    fn a_federated_token_is_believed_only_if_everything_fits() {
        let issuer = Issuer::generate().unwrap();
        let directory = directory(&issuer);
        let principal = directory.by_role(Role::All).unwrap();
        let verify = |claims: &Value, now| {
            let assertion = issuer.sign(("kid", "1"), claims).unwrap();
            directory.verify_assertion(principal, &assertion, "https://login/token", now)
        };
        assert_eq!(verify(&federated(), 150), Ok(()));
        assert_eq!(verify(&federated(), 200), Err(Doubt::Time));
        assert_eq!(verify(&federated(), 99), Err(Doubt::Time));
        for (claim, doubt) in [("aud", Doubt::Audience), ("sub", Doubt::Identity)] {
            let mut claims = federated();
            claims[claim] = json!("other");
            assert_eq!(verify(&claims, 150), Err(doubt), "{claim}");
        }
        let stranger = Issuer::generate().unwrap().sign(("kid", "1"), &federated()).unwrap();
        let doubt = directory.verify_assertion(principal, &stranger, "https://login/token", 150);
        assert_eq!(doubt, Err(Doubt::Signature));
        let doubt = directory.verify_assertion(principal, "no token", "https://login/token", 150);
        assert_eq!(doubt, Err(Doubt::NoToken));
    }

    #[test]
    fn an_assertion_is_believed_only_with_a_registered_certificate_and_for_this_endpoint() {
        let issuer = Issuer::generate().unwrap();
        let directory = directory(&issuer);
        let principal = directory.by_role(Role::All).unwrap();
        let endpoint = "https://login/token";
        let verify = |key, issuer: &Issuer, audience, subject| {
            let claims = json!({ "iss": principal.client_id, "sub": subject, "aud": audience, "exp": 200.5 });
            let assertion = issuer.sign(key, &claims).unwrap();
            directory.verify_assertion(principal, &assertion, endpoint, 150)
        };
        let me = principal.client_id.as_str();
        assert_eq!(verify(("x5t", "one"), &issuer, endpoint, me), Ok(()));
        assert_eq!(verify(("x5t#S256", "two="), &issuer, endpoint, me), Ok(()));
        for key in [("x5t", "two"), ("x5t#S256", "one"), ("kid", "one")] {
            assert_eq!(verify(key, &issuer, endpoint, me), Err(Doubt::UnknownCertificate), "{key:?}");
        }
        let stranger = Issuer::generate().unwrap();
        assert_eq!(verify(("x5t", "one"), &stranger, endpoint, me), Err(Doubt::Signature));
        assert_eq!(
            verify(("x5t", "one"), &issuer, "https://other/token", me),
            Err(Doubt::Audience)
        );
        assert_eq!(verify(("x5t", "one"), &issuer, endpoint, "other"), Err(Doubt::Identity));
    }

    #[test]
    fn a_thumbprint_is_the_same_in_both_alphabets() {
        assert_eq!(url_safe("a+b/c="), "a-b_c");
        assert_eq!(url_safe("a-b_c"), "a-b_c");
    }

    #[test]
    fn what_is_given_is_kept_for_the_principal_with_all_rights() {
        let given = Given {
            tenant: Some("tenant".to_owned()),
            client_id: Some("client".to_owned()),
            secret: Some("password".to_owned()),
        };
        let certificate = directory(&Issuer::generate().unwrap()).certificate;
        let directory = Directory::new(given, certificate, Vec::new()).unwrap();
        let all = directory.by_role(Role::All).unwrap();
        assert_eq!(
            (directory.tenant.as_str(), all.client_id.as_str(), all.secret.as_str()),
            ("tenant", "client", "password")
        );
        assert_ne!(directory.by_role(Role::Nothing).unwrap().client_id, "client");
        assert_eq!(directory.by_client_id("CLIENT").unwrap().object_id, all.object_id);
        assert!(directory.by_object_id(&all.object_id).is_some());
    }
}

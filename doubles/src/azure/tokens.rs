//! Access tokens: made at sign-in, checked at the vault.

use serde_json::json;

use super::directory::{Directory, Principal};
use super::jwt::{ProcessKey, Token};
use crate::Failure;

/// The resource that a token for Key Vault is for.
pub(super) const VAULT_RESOURCE: &str = "https://vault.azure.net";
/// Another resource, for tokens that a vault has to refuse.
pub(super) const MANAGEMENT_RESOURCE: &str = "https://management.azure.com";

pub(super) struct Tokens {
    key: ProcessKey,
    lifetime: i64,
}

pub(super) struct Issued {
    pub(super) token: String,
    /// Seconds since 1970.
    pub(super) starts: i64,
    /// Seconds since 1970.
    pub(super) expires: i64,
}

impl Issued {
    pub(super) fn lifetime(&self) -> i64 {
        self.expires - self.starts
    }
}

impl Tokens {
    /// `lifetime` in seconds.
    pub(super) fn new(lifetime: u32) -> Result<Self, Failure> {
        Ok(Self {
            key: ProcessKey::generate()?,
            lifetime: lifetime.into(),
        })
    }

    pub(super) fn issue(&self, tenant: &str, principal: &Principal, resource: &str, now: i64) -> Issued {
        let expires = now + self.lifetime;
        let issuer = issuer(tenant);
        let claims = json!({
            "aud": resource,
            "iss": issuer,
            "iat": now,
            "nbf": now,
            "exp": expires,
            "appid": principal.client_id,
            "appidacr": "1",
            "idp": issuer,
            "idtyp": "app",
            "oid": principal.object_id,
            "sub": principal.object_id,
            "tid": tenant,
            "ver": "1.0",
        });
        Issued {
            token: self.key.sign(&claims),
            starts: now,
            expires,
        }
    }

    /// Whose token the header `Authorization` has, or the message of the refusal.
    pub(super) fn check<'a>(
        &self,
        authorization: Option<&str>,
        directory: &'a Directory,
        now: i64,
    ) -> Result<&'a Principal, String> {
        let bearer = authorization
            .and_then(|value| value.split_once(' '))
            .filter(|(scheme, _)| scheme.eq_ignore_ascii_case("bearer"))
            .map(|(_, token)| token.trim());
        let Some(text) = bearer.filter(|text| !text.is_empty()) else {
            return Err("AKV10000: Request is missing a Bearer or PoP token.".to_owned());
        };
        let Some(token) = Token::parse(text).filter(|token| self.key.verify(token)) else {
            return Err("AKV10046: Unable to resolve the key used for signature validation.".to_owned());
        };
        let audience = token.claim("aud").trim_end_matches('/');
        if audience != VAULT_RESOURCE {
            return Err(format!(
                "AKV10022: Invalid audience. Expected {VAULT_RESOURCE}, found: {audience}."
            ));
        }
        let expected = issuer(&directory.tenant);
        if token.claim("iss") != expected {
            let found = token.claim("iss");
            return Err(format!(
                "AKV10032: Invalid issuer. Expected one of {expected}, found {found}."
            ));
        }
        if token.seconds("exp").is_none_or(|expires| now >= expires) {
            return Err("[TokenExpired] Error validating token: 'S2S12086'.".to_owned());
        }
        if token.seconds("nbf").is_none_or(|starts| now < starts) {
            return Err("[TokenNotYetValid] Error validating token: 'S2S12087'.".to_owned());
        }
        directory
            .by_object_id(token.claim("oid"))
            .filter(|principal| principal.client_id == token.claim("appid"))
            .ok_or_else(|| "AKV10046: Unable to resolve the key used for signature validation.".to_owned())
    }
}

/// Who issues tokens of version 1, the ones that Key Vault takes.
pub(super) fn issuer(tenant: &str) -> String {
    format!("https://sts.windows.net/{tenant}/")
}

#[cfg(test)]
mod tests {
    use super::super::directory::tests::directory;
    use super::super::jwt::Issuer;
    use super::super::permissions::Role;
    use super::*;

    #[test]
    fn a_token_is_good_for_its_resource_its_tenant_and_its_time() {
        let directory = directory(&Issuer::generate().unwrap());
        let tokens = Tokens::new(60).unwrap();
        let me = directory.by_role(Role::ReadOnly).unwrap();
        let check = |tokens: &Tokens, issued: &Issued, now| {
            let header = format!("Bearer {}", issued.token);
            tokens.check(Some(&header), &directory, now).map(|principal| principal.role)
        };
        let good = tokens.issue(&directory.tenant, me, VAULT_RESOURCE, 1000);
        assert_eq!(check(&tokens, &good, 1059), Ok(Role::ReadOnly));
        assert!(check(&tokens, &good, 1060).unwrap_err().contains("TokenExpired"));
        assert!(check(&tokens, &good, 999).unwrap_err().contains("TokenNotYetValid"));
        let other = tokens.issue(&directory.tenant, me, MANAGEMENT_RESOURCE, 1000);
        assert!(check(&tokens, &other, 1000).unwrap_err().contains("AKV10022"));
        let elsewhere = tokens.issue("tenant", me, VAULT_RESOURCE, 1000);
        assert!(check(&tokens, &elsewhere, 1000).unwrap_err().contains("AKV10032"));
        let restarted = Tokens::new(60).unwrap();
        assert!(check(&restarted, &good, 1000).unwrap_err().contains("AKV10046"));
    }

    #[test]
    fn without_a_token_the_answer_says_so() {
        let directory = directory(&Issuer::generate().unwrap());
        let tokens = Tokens::new(60).unwrap();
        for header in [None, Some(""), Some("Bearer"), Some("Bearer "), Some("Basic e30=")] {
            let message = tokens.check(header, &directory, 0).map(|_| ()).unwrap_err();
            assert!(message.contains("AKV10000"), "{header:?}: {message}");
        }
    }
}

//! Application Default Credentials of this process: files as Google gives them to service accounts and to users, and what
//! proves that somebody has one. <https://developers.google.com/identity/protocols/oauth2/service-account>

use std::fs::OpenOptions;
use std::io::Write as _;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::Path;

use aws_lc_rs::encoding::{AsDer as _, Pkcs8V1Der};
use aws_lc_rs::rsa::KeySize;
use aws_lc_rs::signature::{KeyPair as _, RSA_PKCS1_2048_8192_SHA256, RsaKeyPair, UnparsedPublicKey};
use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use jiff::Timestamp;
use serde_json::{Value, json};

use super::random;
use super::status::SERVICE;
use crate::Failure;

pub(super) const PROJECT: &str = "keyfob-double";
pub(super) const SERVICE_ACCOUNT: &str = "keyfob@keyfob-double.iam.gserviceaccount.com";
pub(super) const SCOPE: &str = "https://www.googleapis.com/auth/cloud-platform";
const GOOGLES_TOKEN_URI: &str = "https://oauth2.googleapis.com/token";
const CLIENT_ID: &str = "764086051850-double.apps.googleusercontent.com";

/// How far the clocks of client and server may differ.
const CLOCK_SKEW_SECONDS: i64 = 300;

/// One service account and one user.
pub(super) struct Credentials {
    key: RsaKeyPair,
    key_id: String,
    client_secret: String,
    refresh_token: String,
    token_uri: String,
}

impl Credentials {
    /// `url` is the address of this server.
    pub(super) fn new(url: &str) -> Result<Self, Failure> {
        Ok(Self {
            key: RsaKeyPair::generate(KeySize::Rsa2048)?,
            key_id: random::token(),
            client_secret: random::token(),
            refresh_token: format!("1//{}", random::token()),
            token_uri: format!("{url}/token"),
        })
    }

    /// Writes `service-account.json` and `authorized-user.json` for their owner only.
    pub(super) fn write(&self, directory: &Path) -> Result<(), Failure> {
        let key: Pkcs8V1Der<'_> = self.key.as_der()?;
        let service_account = json!({
            "type": "service_account",
            "project_id": PROJECT,
            "private_key_id": self.key_id,
            "private_key": pem(key.as_ref()),
            "client_email": SERVICE_ACCOUNT,
            "client_id": "100000000000000000001",
            "token_uri": self.token_uri,
            "universe_domain": "googleapis.com",
        });
        let user = json!({
            "type": "authorized_user",
            "client_id": CLIENT_ID,
            "client_secret": self.client_secret,
            "refresh_token": self.refresh_token,
            "token_uri": self.token_uri,
            "universe_domain": "googleapis.com",
        });
        write_private(&directory.join("service-account.json"), &service_account)?;
        write_private(&directory.join("authorized-user.json"), &user)
    }

    /// Whether a token is signed by the service account for this service: clients that can, send that and never ask for
    /// an access token. <https://google.aip.dev/auth/4111>
    pub(super) fn is_self_signed(&self, token: &str, now: Timestamp) -> bool {
        self.claims(token, now).is_ok_and(|claims| {
            let audience = claims["aud"].as_str().unwrap_or_default().trim_end_matches('/');
            let for_service = audience == format!("https://{SERVICE}");
            claims["sub"] == SERVICE_ACCOUNT && (for_service || (audience.is_empty() && has_scope(&claims)))
        })
    }

    /// Checks a request for an access token, and says in the words of OAuth what is wrong with it.
    pub(super) fn check_grant(&self, parameter: &dyn Fn(&str) -> String, now: Timestamp) -> Result<(), Refusal> {
        match parameter("grant_type").as_str() {
            "urn:ietf:params:oauth:grant-type:jwt-bearer" => {
                let claims = self.claims(&parameter("assertion"), now)?;
                // Google's client for Python names Google's endpoint whatever the file says.
                let audience = claims["aud"].as_str().unwrap_or_default();
                if audience != self.token_uri && audience != GOOGLES_TOKEN_URI {
                    return Err(Refusal::grant("Invalid JWT: the audience is not this endpoint."));
                }
                if !has_scope(&claims) {
                    return Err(Refusal(
                        400,
                        "invalid_scope",
                        "Invalid OAuth scope or ID token audience provided.",
                    ));
                }
                Ok(())
            }
            "refresh_token" => {
                if parameter("client_id") != CLIENT_ID || parameter("client_secret") != self.client_secret {
                    return Err(Refusal(401, "invalid_client", "The OAuth client was not found."));
                }
                if parameter("refresh_token") != self.refresh_token {
                    return Err(Refusal::grant("Token has been expired or revoked."));
                }
                Ok(())
            }
            _ => Err(Refusal(400, "unsupported_grant_type", "Invalid grant_type")),
        }
    }

    /// The claims of a token that the service account signed and that is valid now.
    fn claims(&self, token: &str, now: Timestamp) -> Result<Value, Refusal> {
        let malformed = || Refusal::grant("Invalid JWT: it is not well-formed.");
        let (signed, signature) = token.rsplit_once('.').ok_or_else(malformed)?;
        let (header, claims) = signed.split_once('.').ok_or_else(malformed)?;
        let decode = |part: &str| URL_SAFE_NO_PAD.decode(part).map_err(|_| malformed());
        let parse = |part: &str| serde_json::from_slice::<Value>(&decode(part)?).map_err(|_| malformed());
        let (header, claims) = (parse(header)?, parse(claims)?);
        let key = UnparsedPublicKey::new(&RSA_PKCS1_2048_8192_SHA256, self.key.public_key().as_ref());
        let proven = key.verify(signed.as_bytes(), &decode(signature)?).is_ok();
        if header["alg"] != "RS256" || !proven || header.get("kid").is_some_and(|kid| *kid != self.key_id) {
            return Err(Refusal::grant("Invalid JWT Signature."));
        }
        if claims["iss"] != SERVICE_ACCOUNT {
            return Err(Refusal::grant("Invalid grant: account not found"));
        }
        let time = |name: &str| claims[name].as_i64().ok_or_else(malformed);
        let (issued, expires, now) = (time("iat")?, time("exp")?, now.as_second());
        let lives = expires - issued;
        if lives > 3600 + CLOCK_SKEW_SECONDS || issued > now + CLOCK_SKEW_SECONDS || expires < now - CLOCK_SKEW_SECONDS {
            return Err(Refusal::grant(
                "Invalid JWT: Token must be a short-lived token (60 minutes) and in a reasonable timeframe.",
            ));
        }
        Ok(claims)
    }
}

/// A status, and an error of RFC 6749 with its description.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Refusal(pub(super) u16, pub(super) &'static str, pub(super) &'static str);

impl Refusal {
    fn grant(description: &'static str) -> Self {
        Self(400, "invalid_grant", description)
    }
}

fn has_scope(claims: &Value) -> bool {
    claims["scope"]
        .as_str()
        .is_some_and(|scopes| scopes.split(' ').any(|scope| scope == SCOPE))
}

fn pem(der: &[u8]) -> String {
    let text = STANDARD.encode(der);
    let mut pem = "-----BEGIN PRIVATE KEY-----\n".to_owned();
    let mut rest = text.as_str();
    while !rest.is_empty() {
        let (line, after) = rest.split_at(rest.len().min(64));
        pem.push_str(line);
        pem.push('\n');
        rest = after;
    }
    pem + "-----END PRIVATE KEY-----\n"
}

/// In a file that nobody else can read, and that is not left from another run.
pub(super) fn write_private(path: &Path, content: &Value) -> Result<(), Failure> {
    let _ = std::fs::remove_file(path);
    let mut file = OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(path)
        .map_err(|error| format!("can't write `{}`: {error}", path.display()))?;
    file.write_all(content.to_string().as_bytes())?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use aws_lc_rs::rand::SystemRandom;
    use aws_lc_rs::signature::RSA_PKCS1_SHA256;

    use super::*;

    const NOW: i64 = 1_800_000_000;

    fn now() -> Timestamp {
        Timestamp::from_second(NOW).unwrap()
    }

    fn signed(by: &Credentials, claims: &Value) -> String {
        let part = |value: &Value| URL_SAFE_NO_PAD.encode(value.to_string());
        let signed = format!("{}.{}", part(&json!({ "alg": "RS256", "kid": by.key_id })), part(claims));
        let mut signature = vec![0; by.key.public_modulus_len()];
        by.key
            .sign(&RSA_PKCS1_SHA256, &SystemRandom::new(), signed.as_bytes(), &mut signature)
            .unwrap();
        format!("{signed}.{}", URL_SAFE_NO_PAD.encode(signature))
    }

    fn claims(changes: &Value) -> Value {
        let mut claims = json!({
            "iss": SERVICE_ACCOUNT, "sub": SERVICE_ACCOUNT, "iat": NOW, "exp": NOW + 3600,
            "aud": "http://127.0.0.1:1/token", "scope": format!("email {SCOPE}"),
        });
        for (name, value) in changes.as_object().unwrap() {
            claims[name] = value.clone();
        }
        claims
    }

    #[test]
    fn an_assertion_is_believed_only_with_its_signature_audience_scope_and_time() {
        let credentials = Credentials::new("http://127.0.0.1:1").unwrap();
        let stranger = Credentials::new("http://127.0.0.1:1").unwrap();
        let check = |assertion: String| {
            let parameter = |name: &str| match name {
                "grant_type" => "urn:ietf:params:oauth:grant-type:jwt-bearer".to_owned(),
                _ => assertion.clone(),
            };
            credentials.check_grant(&parameter, now()).map_err(|refusal| refusal.1)
        };
        let good = signed(&credentials, &claims(&json!({})));
        assert_eq!(check(good.clone()), Ok(()));
        let googles = json!({ "aud": "https://oauth2.googleapis.com/token" });
        assert_eq!(check(signed(&credentials, &claims(&googles))), Ok(()));
        for changes in [
            json!({ "aud": "https://127.0.0.1:2/token" }),
            json!({ "aud": null }),
            json!({ "exp": NOW - 400, "iat": NOW - 4000 }),
            json!({ "exp": NOW + 7200 }),
            json!({ "iat": NOW + 400 }),
            json!({ "iss": "other@keyfob-double.iam.gserviceaccount.com" }),
            json!({ "exp": null }),
        ] {
            assert_eq!(
                check(signed(&credentials, &claims(&changes))),
                Err("invalid_grant"),
                "{changes}"
            );
        }
        assert_eq!(
            check(signed(&credentials, &claims(&json!({ "scope": "email" })))),
            Err("invalid_scope")
        );
        let other_signature = signed(&stranger, &claims(&json!({})));
        let (_, signature) = other_signature.rsplit_once('.').unwrap();
        let (signed_part, _) = good.rsplit_once('.').unwrap();
        assert_eq!(check(format!("{signed_part}.{signature}")), Err("invalid_grant"));
        for bad in ["", "a.b", "a.b.c"] {
            assert_eq!(check(bad.to_owned()), Err("invalid_grant"));
        }
    }

    #[test]
    fn a_token_that_the_account_signed_itself_is_for_this_service() {
        let credentials = Credentials::new("http://127.0.0.1:1").unwrap();
        let accepted = |changes: Value| credentials.is_self_signed(&signed(&credentials, &claims(&changes)), now());
        assert!(accepted(json!({ "aud": null })));
        assert!(accepted(
            json!({ "aud": "https://secretmanager.googleapis.com/", "scope": null })
        ));
        assert!(!accepted(json!({ "aud": "https://storage.googleapis.com/" })));
        assert!(!accepted(json!({ "aud": null, "scope": null })));
        assert!(!accepted(json!({ "aud": null, "sub": "other" })));
        assert!(!credentials.is_self_signed("ya29.something", now()));
    }

    #[test]
    fn a_refresh_token_needs_its_client() {
        let credentials = Credentials::new("http://127.0.0.1:1").unwrap();
        let check = |secret: &str, token: &str| {
            let parameter = |name: &str| match name {
                "client_id" => CLIENT_ID.to_owned(),
                "client_secret" => secret.to_owned(),
                _ if name == "grant_type" => "refresh_token".to_owned(),
                _ => token.to_owned(),
            };
            credentials.check_grant(&parameter, now()).map_err(|refusal| refusal.1)
        };
        assert_eq!(check(&credentials.client_secret, &credentials.refresh_token), Ok(()));
        assert_eq!(check("other", &credentials.refresh_token), Err("invalid_client"));
        assert_eq!(check(&credentials.client_secret, "other"), Err("invalid_grant"));
    }
}

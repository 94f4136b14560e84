//! Signed tokens: made and checked here, so that no assertion and no access token is believed without proof.

use aws_lc_rs::encoding::AsDer as _;
use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::signature::{
    KeyPair as _, RSA_PKCS1_2048_8192_SHA256, RSA_PKCS1_SHA256, RSA_PSS_2048_8192_SHA256, RsaKeyPair, UnparsedPublicKey,
};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use hmac::{Hmac, KeyInit as _, Mac as _};
use serde_json::{Value, json};
use sha2::Sha256;

use super::random;
use crate::Failure;

/// A token in three parts. Nothing in it is to be believed before its signature is verified.
#[derive(Debug)]
pub(super) struct Token<'a> {
    pub(super) header: Value,
    pub(super) claims: Value,
    signed: &'a str,
    signature: Vec<u8>,
}

impl<'a> Token<'a> {
    pub(super) fn parse(text: &'a str) -> Option<Self> {
        let (signed, signature) = text.rsplit_once('.')?;
        let (header, claims) = signed.split_once('.')?;
        let object = |part: &str| {
            let value: Value = serde_json::from_slice(&URL_SAFE_NO_PAD.decode(part).ok()?).ok()?;
            value.is_object().then_some(value)
        };
        Some(Self {
            header: object(header)?,
            claims: object(claims)?,
            signed,
            signature: URL_SAFE_NO_PAD.decode(signature).ok()?,
        })
    }

    /// A claim that is text; empty when it is not.
    pub(super) fn claim(&self, name: &str) -> &str {
        self.claims.get(name).and_then(Value::as_str).unwrap_or_default()
    }

    /// A claim that is a number of seconds since 1970. It may have a fraction (RFC 7519, section 2): MSAL for Python
    /// writes one.
    pub(super) fn seconds(&self, name: &str) -> Option<i64> {
        let number = self.claims.get(name)?.as_f64()?;
        Some(number.floor() as i64)
    }

    fn algorithm(&self) -> &str {
        self.header.get("alg").and_then(Value::as_str).unwrap_or_default()
    }

    /// Whether the owner of the RSA key signed it, with RS256 or PS256. `public_key` is in DER.
    pub(super) fn verify_rsa(&self, public_key: &[u8]) -> bool {
        let algorithm = match self.algorithm() {
            "RS256" => &RSA_PKCS1_2048_8192_SHA256,
            "PS256" => &RSA_PSS_2048_8192_SHA256,
            _ => return false,
        };
        let key = UnparsedPublicKey::new(algorithm, public_key);
        key.verify(self.signed.as_bytes(), &self.signature).is_ok()
    }
}

/// The key of this process for HS256.
pub(super) struct ProcessKey([u8; 32]);

impl ProcessKey {
    pub(super) fn generate() -> Result<Self, Failure> {
        Ok(Self(random::bytes()?))
    }

    pub(super) fn sign(&self, claims: &Value) -> String {
        let signed = signed_part(&json!({ "typ": "JWT", "alg": "HS256" }), claims);
        let signature = URL_SAFE_NO_PAD.encode(self.mac(signed.as_bytes()).finalize().into_bytes());
        format!("{signed}.{signature}")
    }

    pub(super) fn verify(&self, token: &Token<'_>) -> bool {
        token.algorithm() == "HS256" && self.mac(token.signed.as_bytes()).verify_slice(&token.signature).is_ok()
    }

    fn mac(&self, message: &[u8]) -> Hmac<Sha256> {
        // HMAC takes keys of any length.
        let mut mac = Hmac::<Sha256>::new_from_slice(&self.0).unwrap_or_else(|_| unreachable!());
        mac.update(message);
        mac
    }
}

/// A pair of RSA keys that signs with RS256: an issuer of federated tokens.
pub(super) struct Issuer(RsaKeyPair);

impl Issuer {
    pub(super) fn generate() -> Result<Self, Failure> {
        let pair = RsaKeyPair::generate(aws_lc_rs::rsa::KeySize::Rsa2048).map_err(|_| "can't make an RSA key")?;
        Ok(Self(pair))
    }

    /// `name` and `value` are what the header says about the key.
    pub(super) fn sign(&self, (name, value): (&str, &str), claims: &Value) -> Result<String, Failure> {
        let mut header = json!({ "typ": "JWT", "alg": "RS256" });
        header[name] = json!(value);
        let signed = signed_part(&header, claims);
        let mut signature = vec![0; self.0.public_modulus_len()];
        self.0
            .sign(&RSA_PKCS1_SHA256, &SystemRandom::new(), signed.as_bytes(), &mut signature)
            .map_err(|_| "can't sign")?;
        Ok(format!("{signed}.{}", URL_SAFE_NO_PAD.encode(signature)))
    }

    /// In DER.
    pub(super) fn public_key(&self) -> Result<Vec<u8>, Failure> {
        let key = self.0.public_key().as_der().map_err(|_| "can't encode an RSA key")?;
        Ok(key.as_ref().to_vec())
    }
}

fn signed_part(header: &Value, claims: &Value) -> String {
    let part = |value: &Value| URL_SAFE_NO_PAD.encode(value.to_string());
    format!("{}.{}", part(header), part(claims))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_key_that_signed_verifies() {
        let (key, other) = (ProcessKey::generate().unwrap(), ProcessKey::generate().unwrap());
        let text = key.sign(&json!({ "sub": "me", "exp": 7 }));
        let token = Token::parse(&text).unwrap();
        assert!(key.verify(&token));
        assert!(!other.verify(&token));
        assert_eq!(
            (token.claim("sub"), token.seconds("exp"), token.claim("aud")),
            ("me", Some(7), "")
        );
    }

    #[test]
    fn a_time_may_have_a_fraction() {
        let text = ProcessKey([0; 32]).sign(&json!({ "exp": 1_795_000_000.75, "nbf": "7" }));
        let token = Token::parse(&text).unwrap();
        assert_eq!((token.seconds("exp"), token.seconds("nbf")), (Some(1_795_000_000), None));
    }

    #[test]
    fn a_changed_claim_is_noticed() {
        let key = ProcessKey::generate().unwrap();
        let text = key.sign(&json!({ "sub": "me" }));
        let mut parts: Vec<_> = text.split('.').map(str::to_owned).collect();
        parts[1] = URL_SAFE_NO_PAD.encode(r#"{"sub":"you"}"#);
        let changed = parts.join(".");
        assert!(!key.verify(&Token::parse(&changed).unwrap()));
    }

    #[test]
    fn an_rsa_signature_is_verified_with_the_public_key() {
        let (issuer, other) = (Issuer::generate().unwrap(), Issuer::generate().unwrap());
        let text = issuer.sign(("kid", "1"), &json!({ "sub": "me" })).unwrap();
        let token = Token::parse(&text).unwrap();
        assert!(token.verify_rsa(&issuer.public_key().unwrap()));
        assert!(!token.verify_rsa(&other.public_key().unwrap()));
    }

    #[test]
    fn no_algorithm_is_taken_for_another() {
        let key = ProcessKey::generate().unwrap();
        let issuer = Issuer::generate().unwrap();
        let unsigned = format!("{}.", signed_part(&json!({ "alg": "none" }), &json!({ "sub": "me" })));
        let token = Token::parse(&unsigned).unwrap();
        assert!(!key.verify(&token));
        assert!(!token.verify_rsa(&issuer.public_key().unwrap()));
    }

    #[test]
    fn what_is_no_token_is_none() {
        for text in ["", ".", "..", "a.b.c", "e30.e30", "W10.e30.AA"] {
            assert!(Token::parse(text).is_none(), "{text}");
        }
    }
}

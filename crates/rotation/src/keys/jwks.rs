//! A set of keys that sign tokens (RFC 7517): the first signs, all of them verify.

use aws_lc_rs::digest::{SHA256, digest};
use aws_lc_rs::encoding::{AsBigEndian as _, Curve25519SeedBin, EcPrivateKeyBin};
use aws_lc_rs::hmac;
use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::rsa::{KeyPair as RsaKeyPair, KeyPairComponents, PublicKeyComponents};
use aws_lc_rs::signature::{
    ECDSA_P256_SHA256_FIXED, ECDSA_P256_SHA256_FIXED_SIGNING, ED25519, EcdsaKeyPair, Ed25519KeyPair, KeyPair as _,
    RSA_PKCS1_2048_8192_SHA256, RSA_PKCS1_SHA256, UnparsedPublicKey,
};
use data_encoding::BASE64URL_NOPAD;
use keyfob_core::{Result, SecretValue, async_trait};
use serde_json::{Map, Value, json};
use zeroize::Zeroizing;

use super::der::{INTEGER, OCTET_STRING, SEQUENCE, split};
use super::set::{Key, Set};
use super::signing::{SigningKey, failed};
use super::{KeyKind, aside, unusable};
use crate::random::random_bytes;
use crate::rotator::{Rotator, StepContext};

/// How tokens are signed (RFC 7518, RFC 8037).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum TokenAlgorithm {
    /// Ed25519.
    EdDsa,
    /// ECDSA over P-256 with SHA-256.
    Es256,
    /// RSA with 2048 bits, PKCS #1, SHA-256.
    Rs256,
    /// HMAC with SHA-256: who verifies can also sign.
    Hs256,
}

/// Rotates a set of keys that sign tokens, so that no token is refused that was signed before.
///
/// The value is a JWK Set (RFC 7517) with private keys:
///
/// ```json
/// {"keys": [{"kty": "OKP", "crv": "Ed25519", "x": "...", "d": "...", "kid": "...", "alg": "EdDSA", "use": "sig"}]}
/// ```
///
/// *The first key signs, and all of them verify.* `kid` is the key's thumbprint (RFC 7638). A rotation puts the new key in front of
/// the others; at the end of the grace period those go that were there before. So the grace period should be as long as a token
/// lives. [`public_keys`](Self::public_keys) is what others may see, for `/.well-known/jwks.json`. Whoever keeps that for a while
/// should get it anew for a `kid` that is not in it.
///
/// A secret that is to begin with such a set holds `{"keys": []}`. The keys that are there may be of other algorithms, and of other
/// makers; their fields stay as they are.
///
/// Before a new set becomes current its first key signs something and is verified with its public part, and all keys of
/// the old set are in the new one. When a rotation is taken back after the switch, the key from before signs again, and the newer one
/// verifies until the grace period is over.
#[derive(Debug, Clone, Copy)]
pub struct JwksRotator {
    algorithm: TokenAlgorithm,
}

impl JwksRotator {
    /// New keys for this algorithm.
    #[must_use]
    pub const fn new(algorithm: TokenAlgorithm) -> Self {
        Self { algorithm }
    }

    /// The set without what only its owner may know. Keys of [`Hs256`](TokenAlgorithm::Hs256) are left out: they have no public part.
    ///
    /// # Errors
    /// `InvalidInput` for what is no set of keys.
    pub fn public_keys(value: &SecretValue) -> Result<String> {
        let keys = Set::parse(value)?;
        // What is public is named: a field that nobody here knows could be anything.
        let shown = ["kty", "crv", "x", "y", "n", "e", "kid", "alg", "use"];
        let public = keys
            .0
            .iter()
            .filter(|key| key.get("kty").is_some_and(|kind| kind != "oct"))
            .map(|key| {
                let fields = key.iter().filter(|(name, _)| shown.contains(&name.as_str()));
                fields
                    .map(|(name, field)| (name.clone(), field.clone()))
                    .collect::<Map<_, _>>()
            });
        Ok(json!({ "keys": public.collect::<Vec<_>>() }).to_string())
    }
}

#[async_trait]
impl Rotator for JwksRotator {
    fn kind(&self) -> &str {
        "jwks"
    }

    async fn create(&self, step: &StepContext<'_>) -> Result<SecretValue> {
        let algorithm = self.algorithm;
        let mut set = Set::parse(step.old_value()?)?;
        let key = aside(move || generate(algorithm)).await?;
        set.0.insert(0, key);
        set.text()
    }

    async fn set(&self, _: &StepContext<'_>) -> Result<()> {
        Ok(())
    }

    async fn test(&self, step: &StepContext<'_>) -> Result<()> {
        let (old, new) = (Set::parse(step.old_value()?)?, Set::parse(step.new_value()?)?);
        let first = new
            .0
            .first()
            .ok_or_else(|| unusable("there is no key in the set that could sign"))?;
        prove(first, step.id().as_bytes())?;
        if !old.0.iter().all(|key| new.0.contains(key)) {
            return Err(unusable("a key that tokens were signed with is not in the new set"));
        }
        Ok(())
    }

    async fn finish(&self, _: &StepContext<'_>) -> Result<()> {
        Ok(())
    }

    async fn revoke(&self, step: &StepContext<'_>) -> Result<Option<SecretValue>> {
        let mut current = Set::parse(step.new_value()?)?;
        let before = current.0.len();
        match step.old_value() {
            Ok(old) => {
                let old = Set::parse(old)?;
                let mut is_first = true;
                // The one that signs stays, whatever it was before.
                current.0.retain(|key| std::mem::take(&mut is_first) || !old.0.contains(key));
            }
            Err(_) => current.0.truncate(1),
        }
        match current.0.len() == before {
            true => Ok(None),
            false => current.text().map(Some),
        }
    }

    async fn rollback(&self, _: &StepContext<'_>) -> Result<()> {
        Ok(())
    }

    /// The key that signed before signs again, and tokens of the newer one are still verified.
    fn come_back(&self, old: &SecretValue, current: &SecretValue) -> Result<SecretValue> {
        let (mut set, mut newer) = (Set::parse(old)?, Set::parse(current)?);
        if set.0.is_empty() {
            return Err(unusable("the set from before has no key that could sign"));
        }
        newer.0.retain(|key| !set.0.contains(key));
        set.0.append(&mut newer.0);
        set.text()
    }
}

/// A new key with all its fields.
fn generate(algorithm: TokenAlgorithm) -> Result<Key> {
    let encoded = |bytes: &[u8]| Value::from(BASE64URL_NOPAD.encode(bytes));
    // The members that a thumbprint is made of, in its order.
    let (name, public, private) = match algorithm {
        TokenAlgorithm::EdDsa => {
            let pair = Ed25519KeyPair::generate().map_err(failed)?;
            let seed: Curve25519SeedBin<'_> = pair.seed().and_then(|seed| seed.as_be_bytes()).map_err(failed)?;
            let public = vec![
                ("crv", Value::from("Ed25519")),
                ("kty", Value::from("OKP")),
                ("x", encoded(pair.public_key().as_ref())),
            ];
            ("EdDSA", public, vec![("d", encoded(seed.as_ref()))])
        }
        TokenAlgorithm::Es256 => {
            let pair = EcdsaKeyPair::generate(&ECDSA_P256_SHA256_FIXED_SIGNING).map_err(failed)?;
            let secret: EcPrivateKeyBin<'_> = pair.private_key().as_be_bytes().map_err(failed)?;
            // 4, then both coordinates.
            let point = pair.public_key().as_ref();
            let public = vec![
                ("crv", Value::from("P-256")),
                ("kty", Value::from("EC")),
                ("x", encoded(&point[1..33])),
                ("y", encoded(&point[33..])),
            ];
            ("ES256", public, vec![("d", encoded(secret.as_ref()))])
        }
        TokenAlgorithm::Rs256 => {
            let pkcs8 = SigningKey::generate(KeyKind::Rsa2048)?;
            let numbers = rsa_numbers(&pkcs8).ok_or_else(|| failed(aws_lc_rs::error::Unspecified))?;
            let [modulus, exponent, private @ ..] = numbers;
            let names = ["d", "p", "q", "dp", "dq", "qi"];
            let private = names
                .into_iter()
                .zip(private)
                .map(|(name, number)| (name, encoded(number)))
                .collect();
            let public = vec![("e", encoded(exponent)), ("kty", Value::from("RSA")), ("n", encoded(modulus))];
            ("RS256", public, private)
        }
        TokenAlgorithm::Hs256 => {
            let bytes = random_bytes(32)?;
            ("HS256", vec![("k", encoded(&bytes)), ("kty", Value::from("oct"))], Vec::new())
        }
    };
    let members = Zeroizing::new(
        public
            .iter()
            .map(|(name, field)| format!("\"{name}\":{field}"))
            .collect::<Vec<_>>()
            .join(","),
    );
    let thumbprint = digest(&SHA256, Zeroizing::new(format!("{{{}}}", *members)).as_bytes());
    let mut key: Key = public
        .into_iter()
        .chain(private)
        .map(|(name, field)| (name.to_owned(), field))
        .collect();
    key.insert("kid".to_owned(), encoded(thumbprint.as_ref()));
    key.insert("alg".to_owned(), Value::from(name));
    key.insert("use".to_owned(), Value::from("sig"));
    Ok(key)
}

/// `n`, `e`, `d`, `p`, `q`, `dp`, `dq`, `qi` of a PKCS #8 document (RFC 5208, RFC 8017), without leading zeros.
fn rsa_numbers(pkcs8: &[u8]) -> Option<[&[u8]; 8]> {
    let (outer, _) = split(SEQUENCE, pkcs8)?;
    let (_, rest) = split(INTEGER, outer)?;
    let (_, rest) = split(SEQUENCE, rest)?;
    let (inner, _) = split(OCTET_STRING, rest)?;
    let (inner, _) = split(SEQUENCE, inner)?;
    let (_, mut rest) = split(INTEGER, inner)?;
    let mut numbers = [&[][..]; 8];
    for number in &mut numbers {
        let (digits, after) = split(INTEGER, rest)?;
        *number = digits.strip_prefix(&[0]).unwrap_or(digits);
        rest = after;
    }
    Some(numbers)
}

/// Proves that what the key signs is verified with its public part.
fn prove(key: &Key, message: &[u8]) -> Result<()> {
    let wrong = || unusable("the first key of the set can't sign what its public part verifies");
    let text = |name: &str| key.get(name).and_then(Value::as_str).ok_or_else(wrong);
    let bytes = |name: &str| -> Result<Zeroizing<Vec<u8>>> {
        BASE64URL_NOPAD
            .decode(text(name)?.as_bytes())
            .map(Zeroizing::new)
            .map_err(|_| wrong())
    };
    let random = SystemRandom::new();
    let is_proven = match (text("kty")?, text("alg")?) {
        ("OKP", "EdDSA") => {
            let public = bytes("x")?;
            let pair = Ed25519KeyPair::from_seed_and_public_key(&bytes("d")?, &public).map_err(|_| wrong())?;
            UnparsedPublicKey::new(&ED25519, &*public)
                .verify(message, pair.sign(message).as_ref())
                .is_ok()
        }
        ("EC", "ES256") => {
            let public = [&[4][..], &bytes("x")?, &bytes("y")?].concat();
            let pair = EcdsaKeyPair::from_private_key_and_public_key(&ECDSA_P256_SHA256_FIXED_SIGNING, &bytes("d")?, &public);
            let signature = pair.map_err(|_| wrong())?.sign(&random, message).map_err(failed)?;
            UnparsedPublicKey::new(&ECDSA_P256_SHA256_FIXED, public)
                .verify(message, signature.as_ref())
                .is_ok()
        }
        ("RSA", "RS256") => {
            let (modulus, exponent) = (bytes("n")?, bytes("e")?);
            let public = || PublicKeyComponents {
                n: &modulus[..],
                e: &exponent[..],
            };
            let pair = RsaKeyPair::from_components(&KeyPairComponents {
                public_key: public(),
                d: bytes("d")?.as_slice(),
                p: bytes("p")?.as_slice(),
                q: bytes("q")?.as_slice(),
                dP: bytes("dp")?.as_slice(),
                dQ: bytes("dq")?.as_slice(),
                qInv: bytes("qi")?.as_slice(),
            });
            let pair = pair.map_err(|_| wrong())?;
            let mut signature = vec![0; pair.public_modulus_len()];
            pair.sign(&RSA_PKCS1_SHA256, &random, message, &mut signature)
                .map_err(failed)?;
            public().verify(&RSA_PKCS1_2048_8192_SHA256, message, &signature).is_ok()
        }
        ("oct", "HS256") => {
            let secret = bytes("k")?;
            let key = hmac::Key::new(hmac::HMAC_SHA256, &secret);
            // RFC 7518 asks for a key at least as long as the hash.
            secret.len() >= 32 && hmac::verify(&key, message, hmac::sign(&key, message).as_ref()).is_ok()
        }
        _ => false,
    };
    match is_proven {
        true => Ok(()),
        false => Err(wrong()),
    }
}

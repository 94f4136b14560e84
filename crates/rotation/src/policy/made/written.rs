//! `make`, as it stands in the file.

use std::num::NonZeroUsize;
use std::path::Path;
use std::sync::Arc;

use keyfob_core::{Error, ErrorKind, Result};
use serde::Deserialize;

use super::Made;
use super::plans::{ApiKeyPlan, Asked, DrainPlan, EndpointPlan, KeyringPlan, PostgresRoles};
use crate::external::ExternalRotator;
use crate::generator::Generator;
use crate::keyring::DataAlgorithm;
use crate::keys::{JwksRotator, KeyKind, KeyPairRotator, TlsKeyRotator, TokenAlgorithm};
use crate::policy::program::Program;
use crate::recipe::{Alphabet, CharacterClass, Recipe};

#[derive(Debug, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(in crate::policy) enum Written {
    Text(Text),
    Hex(Bytes),
    Base64(Bytes),
    Base64Url(Bytes),
    Uuid,
    KeyPair(Pair),
    Jwks(Jwks),
    Keyring(Ring),
    Tls(Tls),
    Command(Program),
    Endpoint(EndpointPlan),
    ApiKey(Box<ApiKeyPlan>),
    Postgres(PostgresRoles),
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(in crate::policy) struct Pair {
    kind: Kind,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(in crate::policy) struct Jwks {
    algorithm: Algorithm,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(in crate::policy) struct Ring {
    algorithm: Encryption,
    keep: Option<NonZeroUsize>,
    reencrypt: Option<WrittenAsked>,
}

#[derive(Debug, Clone, Copy, Deserialize)]
#[serde(rename_all = "lowercase")]
enum Encryption {
    A128Gcm,
    A256Gcm,
    C20P,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(in crate::policy) enum WrittenDrain {
    Command(Program),
    Endpoint(EndpointPlan),
    Sessions,
}

/// Who is asked, in the words of the protocol.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(in crate::policy) enum WrittenAsked {
    Command(Program),
    Endpoint(EndpointPlan),
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(in crate::policy) struct Tls {
    kind: Kind,
    names: Vec<String>,
}

#[derive(Debug, Clone, Copy, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Kind {
    Ed25519,
    P256,
    P384,
    Rsa2048,
    Rsa3072,
    Rsa4096,
}

#[derive(Debug, Clone, Copy, Deserialize)]
#[serde(rename_all = "lowercase")]
enum Algorithm {
    EdDsa,
    Es256,
    Rs256,
    Hs256,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(in crate::policy) struct Text {
    length: usize,
    alphabet: Option<Named>,
    characters: Option<String>,
    #[serde(default)]
    require: Vec<Class>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(in crate::policy) struct Bytes {
    bytes: usize,
}

#[derive(Debug, Clone, Copy, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Named {
    Alphanumeric,
    Url,
    Symbols,
}

#[derive(Debug, Clone, Copy, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Class {
    Lower,
    Upper,
    Digit,
    Symbol,
}

impl Written {
    /// The program in it, if there is one.
    pub(in crate::policy) fn program(&self) -> Option<&Program> {
        match self {
            Self::Command(program) => Some(program),
            Self::Keyring(ring) => match &ring.reencrypt {
                Some(WrittenAsked::Command(program)) => Some(program),
                _ => None,
            },
            _ => None,
        }
    }

    /// # Errors
    /// `InvalidConfig`: what a recipe refuses as an input is a setting here.
    pub(in crate::policy) fn understand(self, directory: Option<&Path>) -> Result<Made> {
        let recipe = match self {
            Self::KeyPair(Pair { kind }) => return Ok(Made::Ready(Arc::new(KeyPairRotator::new(kind.into())))),
            Self::Jwks(Jwks { algorithm }) => return Ok(Made::Ready(Arc::new(JwksRotator::new(algorithm.into())))),
            Self::Keyring(ring) => return ring.understand(directory).map(Made::Keyring),
            Self::Tls(Tls { kind, names }) => {
                let names: Vec<&str> = names.iter().map(String::as_str).collect();
                return Ok(Made::Ready(Arc::new(TlsKeyRotator::new(kind.into(), &names)?)));
            }
            Self::Command(program) => return Ok(Made::Ready(Arc::new(ExternalRotator::command(program.command(directory)?)))),
            Self::Endpoint(plan) => return plan.check().map(|()| Made::Endpoint(plan)),
            Self::ApiKey(plan) => return plan.check().map(|()| Made::ApiKey(plan)),
            Self::Postgres(roles) => return roles.check().map(|()| Made::Postgres(roles)),
            Self::Text(text) => text.recipe(),
            Self::Hex(Bytes { bytes }) => Recipe::hex(bytes),
            Self::Base64(Bytes { bytes }) => Recipe::base64(bytes),
            Self::Base64Url(Bytes { bytes }) => Recipe::base64_url(bytes),
            Self::Uuid => Ok(Recipe::uuid()),
        };
        let recipe = recipe.map_err(|error| match error.kind() {
            ErrorKind::InvalidInput => Error::new(ErrorKind::InvalidConfig, error.to_string()),
            _ => error,
        })?;
        Ok(Made::Ready(Arc::new(Generator::new(recipe))))
    }
}

impl Ring {
    fn understand(self, directory: Option<&Path>) -> Result<KeyringPlan> {
        if self.keep.is_some() && self.reencrypt.is_none() {
            return Err(
                Error::new(ErrorKind::InvalidConfig, "`keep` says nothing without `reencrypt`")
                    .with_hint("nobody else can say that no record needs a key any more; without it all keys stay"),
            );
        }
        Ok(KeyringPlan {
            algorithm: match self.algorithm {
                Encryption::A128Gcm => DataAlgorithm::A128Gcm,
                Encryption::A256Gcm => DataAlgorithm::A256Gcm,
                Encryption::C20P => DataAlgorithm::C20P,
            },
            keep: self.keep,
            reencrypt: self.reencrypt.map(|asked| asked.understand(directory)).transpose()?,
        })
    }
}

impl WrittenAsked {
    pub(in crate::policy) fn understand(self, directory: Option<&Path>) -> Result<Asked> {
        Ok(match self {
            Self::Command(program) => Asked::Command(program.command(directory)?),
            Self::Endpoint(plan) => plan.check().map(|()| Asked::Endpoint(plan))?,
        })
    }
}

impl WrittenDrain {
    /// The program in it, if there is one.
    pub(in crate::policy) fn program(&self) -> Option<&Program> {
        match self {
            Self::Command(program) => Some(program),
            _ => None,
        }
    }

    pub(in crate::policy) fn understand(self, made: &Made, directory: Option<&Path>) -> Result<DrainPlan> {
        Ok(match self {
            Self::Command(program) => DrainPlan::Asked(Asked::Command(program.command(directory)?)),
            Self::Endpoint(plan) => plan.check().map(|()| DrainPlan::Asked(Asked::Endpoint(plan)))?,
            Self::Sessions => match made {
                Made::Postgres(plan) if plan.roles.len() == 2 => DrainPlan::Sessions,
                _ => {
                    let message = "`drain: sessions` is for two `roles` of PostgreSQL that take turns";
                    return Err(Error::new(ErrorKind::InvalidConfig, message)
                        .with_hint("let a `command` or an `endpoint` of the application say what is in use"));
                }
            },
        })
    }
}

impl From<Kind> for KeyKind {
    fn from(kind: Kind) -> Self {
        match kind {
            Kind::Ed25519 => Self::Ed25519,
            Kind::P256 => Self::P256,
            Kind::P384 => Self::P384,
            Kind::Rsa2048 => Self::Rsa2048,
            Kind::Rsa3072 => Self::Rsa3072,
            Kind::Rsa4096 => Self::Rsa4096,
        }
    }
}

impl From<Algorithm> for TokenAlgorithm {
    fn from(algorithm: Algorithm) -> Self {
        match algorithm {
            Algorithm::EdDsa => Self::EdDsa,
            Algorithm::Es256 => Self::Es256,
            Algorithm::Rs256 => Self::Rs256,
            Algorithm::Hs256 => Self::Hs256,
        }
    }
}

impl Text {
    fn recipe(&self) -> Result<Recipe> {
        let alphabet = match (self.alphabet, &self.characters) {
            (Some(_), Some(_)) => {
                let message = "`alphabet` and `characters` say the same thing";
                return Err(Error::new(ErrorKind::InvalidConfig, message));
            }
            (None, Some(characters)) => Alphabet::new(characters)?,
            (None | Some(Named::Alphanumeric), None) => Alphabet::alphanumeric(),
            (Some(Named::Url), None) => Alphabet::url(),
            (Some(Named::Symbols), None) => Alphabet::symbols(),
        };
        let required: Vec<CharacterClass> = self.require.iter().map(|class| (*class).into()).collect();
        Recipe::text(self.length, alphabet, &required)
    }
}

impl From<Class> for CharacterClass {
    fn from(class: Class) -> Self {
        match class {
            Class::Lower => Self::Lower,
            Class::Upper => Self::Upper,
            Class::Digit => Self::Digit,
            Class::Symbol => Self::Symbol,
        }
    }
}

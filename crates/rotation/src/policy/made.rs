//! How a policy says that new values are made.

use std::path::Path;
use std::sync::Arc;

use keyfob_core::{Error, ErrorKind, Result, async_trait};
use serde::Deserialize;

use super::program::Program;
use crate::external::RotationCommand;
use crate::recipe::{Alphabet, CharacterClass, Recipe};
use crate::rotator::Rotator;

/// How a new value is made: `make` of a policy.
///
/// | in the file | value |
/// |---|---|
/// | `text: { length: 32, alphabet: url, require: [upper, digit] }` | characters of an alphabet, `alphanumeric` (if left out), `url` or `symbols`, or of `characters: "abc…"` |
/// | `hex: { bytes: 32 }`, `base64: { bytes: 32 }`, `base64_url: { bytes: 32 }` | random bytes, written so |
/// | `uuid` | a random UUID |
/// | `command: { run: [./rotate-key, --partner], allow: [PARTNER_URL], limit: 30s }` | what a [program](crate::ExternalRotator) says, which is asked for every step |
/// | `postgres: { server: "postgres://admin@db.example/app", password: "${vault:pg/admin}", roles: [app_a, app_b] }` | a password of PostgreSQL: of one role, or of two in turn |
#[derive(Debug, Clone)]
#[non_exhaustive]
pub enum Made {
    /// By chance, with nobody to be told of it: [`Generator`](crate::Generator).
    Random(Recipe),
    /// By somebody's program: [`ExternalRotator`](crate::ExternalRotator).
    Command(RotationCommand),
    /// For roles of PostgreSQL: `PostgresRotator` of the crate `keyfob-sql`.
    Postgres(PostgresRoles),
}

/// Roles of PostgreSQL, as a policy says them.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
#[non_exhaustive]
pub struct PostgresRoles {
    /// The server as a URL without a password. A user in it is the administrator, who changes the passwords.
    pub server: String,
    /// The reference of the secret that is the administrator's password, for example `${vault:pg/admin}`.
    pub password: Option<String>,
    /// One role, or two that get new passwords in turn.
    pub roles: Vec<String>,
}

impl Made {
    /// Reads it as `make` of a policy has it: `uuid`, or `{ hex: { bytes: 32 } }`.
    ///
    /// # Errors
    /// `InvalidConfig` for what can't be understood.
    pub fn parse(yaml: &str) -> Result<Self> {
        super::file::read::<Written>(yaml)?.understand(None)
    }
}

/// Knows the rotator for what a policy says: `SecretManager` of the crate `keyfob`, which has the connections and secrets that
/// rotators need.
#[async_trait]
pub trait Rotators: Send + Sync {
    /// The rotator that makes values so.
    ///
    /// # Errors
    /// `Unsupported` when there is none in this build; `InvalidConfig` for what can't be; what reading a secret that it needs fails
    /// with.
    async fn rotator(&self, made: &Made) -> Result<Arc<dyn Rotator>>;
}

/// The same, as it stands in the file.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Written {
    Text(Text),
    Hex(Bytes),
    Base64(Bytes),
    Base64Url(Bytes),
    Uuid,
    Command(Program),
    Postgres(PostgresRoles),
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Text {
    length: usize,
    alphabet: Option<Named>,
    characters: Option<String>,
    #[serde(default)]
    require: Vec<Class>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Bytes {
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
    /// # Errors
    /// `InvalidConfig`: what a recipe refuses as an input is a setting here.
    pub(super) fn understand(&self, directory: Option<&Path>) -> Result<Made> {
        let recipe = match self {
            Self::Command(program) => return program.command(directory).map(Made::Command),
            Self::Postgres(roles) => return roles.check().map(|()| Made::Postgres(roles.clone())),
            Self::Text(text) => text.recipe(),
            Self::Hex(Bytes { bytes }) => Recipe::hex(*bytes),
            Self::Base64(Bytes { bytes }) => Recipe::base64(*bytes),
            Self::Base64Url(Bytes { bytes }) => Recipe::base64_url(*bytes),
            Self::Uuid => Ok(Recipe::uuid()),
        };
        let recipe = recipe.map_err(|error| match error.kind() {
            ErrorKind::InvalidInput => Error::new(ErrorKind::InvalidConfig, error.to_string()),
            _ => error,
        })?;
        Ok(Made::Random(recipe))
    }
}

impl PostgresRoles {
    fn check(&self) -> Result<()> {
        match self.roles.len() {
            1 | 2 => Ok(()),
            _ => Err(Error::new(
                ErrorKind::InvalidConfig,
                "`roles` are one, or two that take turns",
            )),
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

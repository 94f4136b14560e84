#![doc = include_str!("../README.md")]

#[cfg(feature = "http")]
mod api_key;
mod drain;
mod external;
mod generator;
mod hold;
#[cfg(feature = "http")]
mod http;
mod journal;
mod keyring;
mod keys;
mod names;
mod options;
mod orders;
mod percent;
mod phase;
mod place;
mod policy;
mod progress;
mod random;
mod recipe;
mod rotation;
mod rotator;
mod run;
mod slot;
mod staged;
mod status;
mod steps;
mod validated;

#[cfg(feature = "http")]
pub use api_key::{ApiKeyRotator, ApiRequest};
pub use drain::Drain;
#[cfg(feature = "http")]
pub use external::RotationEndpoint;
pub use external::{ExternalRotator, RotationCommand};
pub use generator::Generator;
pub use journal::Ended;
pub use keyring::{DataAlgorithm, DataKey, Keyring, KeyringRotator, Portion, Reencrypt};
pub use keys::{Issuer, JwksRotator, KeyKind, KeyPairRotator, TlsKeyRotator, TokenAlgorithm};
pub use options::RotationOptions;
pub use phase::Phase;
pub use policy::{
    ApiKeyPlan, Asked, Cron, DrainPlan, EndpointPlan, Frequency, History, KeyringPlan, Made, Pass, Passed, Plan, Planned,
    Policies, Policy, PostgresRoles, RequestPlan, Rotators, Schedule, Selector, Window,
};
pub use progress::Progress;
pub use recipe::{Alphabet, CharacterClass, Recipe};
pub use rotation::Rotation;
pub use rotator::{Rotator, StepContext};
pub use staged::{Stage, Staged};
pub use status::{LastStatus, Outcome, Status, UnderWayStatus};
pub use validated::Validated;

//! Who encrypts data anew.

use std::fmt;

use keyfob_core::{Result, async_trait};

use crate::progress::Progress;
use crate::rotator::StepContext;

/// Knows the data that is encrypted with the keys of a keyring: the application, or a program of it.
///
/// [`ExternalRotator`](crate::ExternalRotator) asks a command or an HTTP endpoint. Both methods may be called again after they were done, done in
/// part, or not done.
#[async_trait]
pub trait Reencrypt: Send + Sync + fmt::Debug {
    /// Encrypts some more records with the primary key of [`new_value`](StepContext::new_value): those from `progress` on that are
    /// encrypted with another one. A record must be readable at every moment, so each is replaced in one go.
    ///
    /// A portion is best as long as a few seconds: what is done of one when the process is killed is looked at again.
    async fn portion(&self, step: &StepContext<'_>, progress: &Progress) -> Result<Portion>;

    /// Of the keys with these ids, those that no record is encrypted with any more. They are taken out of the keyring.
    async fn unused(&self, step: &StepContext<'_>, ids: &[String]) -> Result<Vec<String>>;
}

/// How far a portion brought the work.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Portion {
    /// There may be more, from here on.
    More(Progress),
    /// All records are encrypted with the primary key.
    Last(Progress),
}

//! Who knows whether the old value is still in use.

use std::fmt;

use keyfob_core::{Result, async_trait};

use crate::rotator::StepContext;

/// Knows whether the application still uses the old value, for example in connections of a pool.
///
/// It is asked during the grace period: every [`drain_poll`](crate::RotationOptions::drain_poll) where the call
/// [waits](crate::RotationOptions::wait), and once by each [`resume`](crate::Rotation::resume) elsewhere, both without the lease. When
/// the old value is no longer in use the grace period ends early. An error counts as *still in use*: the grace period then lasts its
/// full time.
#[async_trait]
pub trait Drain: Send + Sync + fmt::Debug {
    /// Whether nobody uses [`old_value`](StepContext::old_value) any more.
    async fn is_drained(&self, step: &StepContext<'_>) -> Result<bool>;
}

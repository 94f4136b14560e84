//! More proof before a new value becomes current.

use std::sync::Arc;

use keyfob_core::{Result, SecretValue, async_trait};

use crate::rotator::{Rotator, StepContext};

/// A rotator whose new values somebody else has to accept too, before they become current: `test` of `check` follows its own.
///
/// ```
/// use std::sync::Arc;
/// use keyfob_rotation::{ExternalRotator, Generator, Recipe, RotationCommand, Validated};
///
/// let check = ExternalRotator::command(RotationCommand::new("./can-log-in"));
/// let rotator = Validated::new(Arc::new(Generator::new(Recipe::uuid())), Arc::new(check));
/// ```
#[derive(Debug, Clone)]
pub struct Validated {
    rotator: Arc<dyn Rotator>,
    check: Arc<dyn Rotator>,
}

impl Validated {
    /// Rotates as `rotator`, if `check` accepts the new value. Of `check` nothing but `test` is called.
    #[must_use]
    pub fn new(rotator: Arc<dyn Rotator>, check: Arc<dyn Rotator>) -> Self {
        Self { rotator, check }
    }
}

#[async_trait]
impl Rotator for Validated {
    fn kind(&self) -> &str {
        self.rotator.kind()
    }

    async fn create(&self, step: &StepContext<'_>) -> Result<SecretValue> {
        self.rotator.create(step).await
    }

    async fn set(&self, step: &StepContext<'_>) -> Result<()> {
        self.rotator.set(step).await
    }

    async fn test(&self, step: &StepContext<'_>) -> Result<()> {
        self.rotator.test(step).await?;
        self.check.test(step).await
    }

    async fn finish(&self, step: &StepContext<'_>) -> Result<()> {
        self.rotator.finish(step).await
    }

    async fn revoke(&self, step: &StepContext<'_>) -> Result<Option<SecretValue>> {
        self.rotator.revoke(step).await
    }

    async fn rollback(&self, step: &StepContext<'_>) -> Result<()> {
        self.rotator.rollback(step).await
    }

    fn come_back(&self, old: &SecretValue, current: &SecretValue) -> Result<SecretValue> {
        self.rotator.come_back(old, current)
    }
}

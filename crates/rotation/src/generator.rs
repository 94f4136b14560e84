//! A rotator for values that only have to be random.

use keyfob_core::{Error, ErrorKind, Result, SecretValue, async_trait};

use crate::recipe::Recipe;
use crate::rotator::{Rotator, StepContext};

/// Makes random values for secrets that nothing outside has to be told of: a session secret, a webhook's token, a key that all
/// who use it read from the store.
///
/// ```
/// use std::sync::Arc;
/// use keyfob_core::{MemoryStore, PutRequest, SecretName, SecretStore};
/// use keyfob_rotation::{Generator, Recipe, Rotation};
///
/// # tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap().block_on(async {
/// let store = Arc::new(MemoryStore::new());
/// let name = SecretName::new("web/session")?;
/// store.put(&name, PutRequest::new("s3cr3t")).await?;
/// Rotation::new(store).rotate(&name, &Generator::new(Recipe::base64_url(32)?)).await?;
/// # Ok::<(), keyfob_core::Error>(()) }).unwrap();
/// ```
#[derive(Debug, Clone)]
pub struct Generator {
    recipe: Recipe,
}

impl Generator {
    /// Values by this recipe.
    #[must_use]
    pub const fn new(recipe: Recipe) -> Self {
        Self { recipe }
    }
}

#[async_trait]
impl Rotator for Generator {
    fn kind(&self) -> &str {
        "random"
    }

    async fn create(&self, _: &StepContext<'_>) -> Result<SecretValue> {
        self.recipe.generate()
    }

    async fn set(&self, _: &StepContext<'_>) -> Result<()> {
        Ok(())
    }

    async fn test(&self, step: &StepContext<'_>) -> Result<()> {
        // What comes back in a reversal may be of another recipe, or somebody's own.
        if step.is_reversal() || self.recipe.fits(step.new_value()?) {
            return Ok(());
        }
        Err(Error::new(
            ErrorKind::InvalidInput,
            "the new value was not made by this recipe: it was changed during the rotation",
        )
        .with("name", step.name().as_str()))
    }

    async fn finish(&self, _: &StepContext<'_>) -> Result<()> {
        Ok(())
    }

    async fn revoke(&self, _: &StepContext<'_>) -> Result<Option<SecretValue>> {
        Ok(None)
    }

    async fn rollback(&self, _: &StepContext<'_>) -> Result<()> {
        Ok(())
    }
}

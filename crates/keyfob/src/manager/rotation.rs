//! Rotations of the secrets of a manager's stores.

use std::sync::Arc;

#[cfg(feature = "postgres")]
use keyfob_core::StoreUrl;
use keyfob_core::{DEFAULT_SCHEME, Error, ErrorKind, Intent, Result, SecretName, Verb, async_trait};
use keyfob_rotation::{ExternalRotator, Generator, Made, Outcome, Rotation, RotationOptions, Rotator, Rotators};

use super::SecretManager;

impl SecretManager {
    /// Rotations of the default store's secrets, with what [`RotationSettings`](crate::RotationSettings) say.
    ///
    /// # Errors
    /// `InvalidConfig` for settings that say only half of it; those of [`store_of`](Self::store_of).
    pub async fn rotation(&self) -> Result<Rotation> {
        self.rotation_for(DEFAULT_SCHEME, &Intent::new(Verb::Health)).await
    }

    /// Rotations of the secrets of the store that `scheme` means, opened for what is intended.
    ///
    /// # Errors
    /// As [`rotation`](Self::rotation).
    pub async fn rotation_for(&self, scheme: &str, intent: &Intent) -> Result<Rotation> {
        let settings = &self.0.selection.layers.rotation;
        let options = RotationOptions {
            reason: self.0.reason.clone(),
            ..RotationOptions::default()
        };
        let mut rotation = Rotation::new(self.store_for(scheme, intent).await?).options(options);
        match (&settings.journals, &settings.journals_prefix) {
            (Some(journals), Some(prefix)) => {
                rotation = rotation.journals(self.store_for(journals, intent).await?, prefix.as_str());
            }
            (None, None) => {}
            _ => {
                let message = "`journals` and `journals_prefix` under `[rotation]` go together";
                return Err(Error::new(ErrorKind::InvalidConfig, message)
                    .with_hint("the prefix tells apart stores whose journals are in one place, for example `azure-`"));
            }
        }
        if settings.sole_runner {
            rotation = rotation.sole_runner();
        }
        Ok(rotation)
    }

    /// Rotates a secret of the default store, with the usual [options](RotationOptions): the old value stays valid for an hour.
    ///
    /// # Errors
    /// Those of [`rotation`](Self::rotation) and of [`Rotation::rotate`]; `InvalidInput` for a wrong name.
    pub async fn rotate(&self, name: &str, rotator: &dyn Rotator) -> Result<Outcome> {
        let name = SecretName::new(name)?;
        let rotation = self.rotation_for(DEFAULT_SCHEME, &Intent::of(Verb::Put, &name)).await?;
        rotation.rotate(&name, rotator).await
    }
}

#[cfg(feature = "postgres")]
impl SecretManager {
    async fn postgres_rotator(&self, roles: &keyfob_rotation::PostgresRoles) -> Result<Arc<dyn Rotator>> {
        use keyfob_sql::{PostgresRotator, PostgresServer};

        let url = StoreUrl::parse(&roles.server)?;
        if url.password().is_some() {
            let message = "a password must not stand in a policy";
            return Err(Error::new(ErrorKind::InvalidConfig, message)
                .with_hint("name the secret that is the password: `password: ${vault:pg/admin}`"));
        }
        let mut server = PostgresServer::from_url(&url, &self.0.environment)?;
        if let Some(reference) = &roles.password {
            server.password = Some(self.get(reference).await?.value);
        }
        Ok(match roles.roles.as_slice() {
            [first, second] => Arc::new(PostgresRotator::alternating(server, first, second)?),
            all => {
                let one = all.first().map(String::as_str).unwrap_or_default();
                Arc::new(PostgresRotator::single(server, one)?)
            }
        })
    }
}

#[async_trait]
impl Rotators for SecretManager {
    async fn rotator(&self, made: &Made) -> Result<Arc<dyn Rotator>> {
        match made {
            Made::Random(recipe) => Ok(Arc::new(Generator::new(recipe.clone()))),
            Made::Command(command) => Ok(Arc::new(ExternalRotator::command(command.clone()))),
            #[cfg(feature = "postgres")]
            Made::Postgres(roles) => self.postgres_rotator(roles).await,
            other => Err(Error::new(
                ErrorKind::Unsupported,
                format!("this build has no rotator for {other:?}"),
            )),
        }
    }
}

#[cfg(test)]
mod tests {
    use keyfob_core::{Environment, MemoryStore, PutRequest};
    use keyfob_rotation::Recipe;

    use super::*;

    async fn manager(variables: &[(&str, &str)]) -> SecretManager {
        let environment = variables.iter().fold(Environment::fake(), |environment, (name, value)| {
            environment.var(*name, *value)
        });
        let store = MemoryStore::new();
        let name = SecretName::new("web/session").unwrap();
        keyfob_core::SecretStore::put(&store, &name, PutRequest::new("kfcanary-firstvalue"))
            .await
            .unwrap();
        SecretManager::builder()
            .environment(environment.build())
            .with_store("secret", Arc::new(store))
            .with_store("journals", Arc::new(MemoryStore::new()))
            .build_lazily()
            .unwrap()
    }

    #[tokio::test]
    async fn a_secret_is_rotated_in_one_call() {
        let manager = manager(&[]).await;
        let outcome = manager.rotate("web/session", &Generator::new(Recipe::uuid())).await.unwrap();
        assert!(matches!(outcome, Outcome::Grace { .. }));
        let value = manager.get("web/session").await.unwrap().value;
        assert_eq!(value.len(), 36);
        let before = manager.get("web/session@previous").await.unwrap().value;
        assert_eq!(before.expose_str().unwrap(), "kfcanary-firstvalue");
        assert!(
            manager.get("web/session.keyfob-rotation").await.is_ok(),
            "the journal is elsewhere"
        );
    }

    #[tokio::test]
    async fn journals_are_kept_where_the_settings_say() {
        let manager = manager(&[
            ("SECRET_ROTATION_JOURNALS", "journals"),
            ("SECRET_ROTATION_JOURNALS_PREFIX", "app-"),
        ])
        .await;
        manager.rotate("web/session", &Generator::new(Recipe::uuid())).await.unwrap();
        assert!(manager.get("${journals:app-web/session.keyfob-rotation}").await.is_ok());
        assert!(manager.get("web/session.keyfob-rotation").await.is_err());
    }

    #[tokio::test]
    async fn a_place_for_journals_needs_a_prefix() {
        let manager = manager(&[("SECRET_ROTATION_JOURNALS", "journals")]).await;
        let error = manager.rotation().await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::InvalidConfig);
    }
}

//! Rotations of the secrets of a manager's stores.

use std::sync::Arc;

use keyfob_core::{DEFAULT_SCHEME, Error, ErrorKind, Intent, Result, SecretName, SecretValue, Verb, async_trait};
use keyfob_rotation::{
    ApiKeyPlan, ApiKeyRotator, Asked, Drain, DrainPlan, EndpointPlan, ExternalRotator, KeyringPlan, Made, Outcome, Reencrypt,
    RequestPlan, Rotation, RotationEndpoint, RotationOptions, Rotator, Rotators,
};
use zeroize::Zeroizing;

use super::SecretManager;
use crate::format::Format;
use crate::policies::POLICIES_FILE_NAME;
use crate::template::Template;

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
            lease: settings.lease,
            clock_skew: settings.clock_skew,
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

#[async_trait]
impl Rotators for SecretManager {
    async fn rotator(&self, made: &Made) -> Result<Arc<dyn Rotator>> {
        match made {
            Made::Ready(rotator) => Ok(rotator.clone()),
            Made::Endpoint(plan) => Ok(Arc::new(self.endpoint(plan).await?)),
            Made::Keyring(plan) => self.keyring(plan).await,
            Made::ApiKey(plan) => self.api_key(plan).await,
            #[cfg(feature = "postgres")]
            Made::Postgres(roles) => Ok(Arc::new(self.postgres_roles(roles).await?)),
            other => Err(Error::new(
                ErrorKind::Unsupported,
                format!("this build has no rotator for {other:?}"),
            )),
        }
    }

    async fn drain(&self, made: &Made, plan: &DrainPlan) -> Result<Arc<dyn Drain>> {
        match (plan, made) {
            (DrainPlan::Asked(asked), _) => Ok(Arc::new(self.asked(asked).await?)),
            #[cfg(feature = "postgres")]
            (DrainPlan::Sessions, Made::Postgres(roles)) => Ok(Arc::new(self.postgres_roles(roles).await?)),
            (other, _) => Err(Error::new(
                ErrorKind::Unsupported,
                format!("this build has nobody for {other:?}"),
            )),
        }
    }
}

/// Rotators that need secrets.
impl SecretManager {
    async fn asked(&self, asked: &Asked) -> Result<ExternalRotator> {
        match asked {
            Asked::Command(command) => Ok(ExternalRotator::command(command.clone())),
            Asked::Endpoint(plan) => self.endpoint(plan).await,
            other => Err(Error::new(ErrorKind::Unsupported, format!("this build can't ask {other:?}"))),
        }
    }

    async fn keyring(&self, plan: &KeyringPlan) -> Result<Arc<dyn Rotator>> {
        let reencrypt: Option<Arc<dyn Reencrypt>> = match &plan.reencrypt {
            Some(asked) => Some(Arc::new(self.asked(asked).await?)),
            None => None,
        };
        Ok(Arc::new(plan.rotator(reencrypt)))
    }

    async fn endpoint(&self, plan: &EndpointPlan) -> Result<ExternalRotator> {
        let mut endpoint = RotationEndpoint::new(&plan.url)?;
        for (name, text) in &plan.headers {
            endpoint = endpoint.header(name, &self.resolved(text).await?)?;
        }
        if let Some(limit) = plan.limit {
            endpoint = endpoint.limit(limit);
        }
        Ok(ExternalRotator::endpoint(endpoint))
    }

    async fn api_key(&self, plan: &ApiKeyPlan) -> Result<Arc<dyn Rotator>> {
        let [create, test, revoke] = [&plan.create, &plan.test, &plan.revoke].map(RequestPlan::request);
        let mut rotator = ApiKeyRotator::new(create, test, revoke, &plan.key_at)?;
        if let Some(at) = &plan.ids_at {
            rotator = rotator.ids_at(at)?;
        }
        if let Some(reference) = &plan.credential {
            rotator = rotator.credential(self.get(reference).await?.value);
        }
        if let Some(limit) = plan.limit {
            rotator = rotator.limit(limit);
        }
        if let Some(settles) = plan.settles {
            rotator = rotator.settles(settles);
        }
        Ok(Arc::new(rotator))
    }

    #[cfg(feature = "postgres")]
    async fn postgres_roles(&self, plan: &keyfob_rotation::PostgresRoles) -> Result<keyfob_sql::PostgresRotator> {
        use keyfob_sql::{PostgresRotator, PostgresServer};

        plan.check()?;
        let url = keyfob_core::StoreUrl::parse(&plan.server)?;
        let mut server = PostgresServer::from_url(&url, &self.0.environment)?;
        if let Some(reference) = &plan.password {
            server.password = Some(self.get(reference).await?.value);
        }
        match plan.roles.as_slice() {
            [first, second] => PostgresRotator::alternating(server, first, second),
            roles => PostgresRotator::single(server, roles.first().map(String::as_str).unwrap_or_default()),
        }
    }

    /// A text of a policy, with its references in place.
    async fn resolved(&self, text: &str) -> Result<SecretValue> {
        let text = Zeroizing::new(text.to_owned());
        let is_known = |scheme: &str| self.is_reference_scheme(scheme);
        let template = Template::parse(POLICIES_FILE_NAME, None, Format::Text, text, is_known)?;
        let resolved = self.resolve(&template.occurrences()).await.map_err(|report| {
            // Of the file only this text is known here, so there is no line to tell; the reference itself says where to look.
            let Some(failure) = report.failures.into_iter().next() else {
                return Error::new(ErrorKind::Other, "a reference of a policy can't be resolved");
            };
            let hint = match failure.nearest.first() {
                Some(nearest) => Some(format!("did you mean `{nearest}`?")),
                None => failure.error.hint().map(str::to_owned),
            };
            let error = Error::new(failure.error.kind(), "a reference of a policy can't be resolved")
                .with("reference", failure.reference)
                .with_source(failure.error);
            match hint {
                Some(hint) => error.with_hint(hint),
                None => error,
            }
        })?;
        Ok(SecretValue::from(&**template.render(&resolved)?))
    }
}

#[cfg(test)]
mod tests {
    use keyfob_core::{Environment, MemoryStore, PutRequest};
    use keyfob_rotation::{Generator, Recipe};

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
    async fn a_lease_lasts_as_the_settings_say() {
        let usual = manager(&[]).await.rotation().await.unwrap();
        let (here, there) = (usual.present_options(), RotationOptions::default());
        assert_eq!((here.lease, here.clock_skew), (there.lease, there.clock_skew));
        let set = [("SECRET_ROTATION_LEASE", "2500"), ("SECRET_ROTATION_CLOCK_SKEW", "0")];
        let set = manager(&set).await.rotation().await.unwrap();
        let set = set.present_options();
        assert_eq!((set.lease.as_millis(), set.clock_skew.as_millis()), (2500, 0));
    }

    #[tokio::test]
    async fn references_in_the_texts_of_a_policy_are_put_in_place() {
        let manager = manager(&[]).await;
        let header = manager.resolved("Bearer ${secret:web/session}").await.unwrap();
        assert_eq!(header.expose_str().unwrap(), "Bearer kfcanary-firstvalue");
        let error = manager.resolved("Bearer ${secret:none}").await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::NotFound);
        let shown = format!("{error} {}", std::error::Error::source(&error).unwrap());
        assert!(shown.contains("${secret:none}") && !shown.contains(['\n', '\\']), "{shown}");
        let made = Made::parse(r#"{ endpoint: { url: "https://a.example", headers: { x: "${secret:web/session}" } } }"#).unwrap();
        let rotator = manager.rotator(&made).await.unwrap();
        assert!(!format!("{rotator:?}").contains("kfcanary"));
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

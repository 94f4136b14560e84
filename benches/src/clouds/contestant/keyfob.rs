//! `keyfob run --env-file`.

use super::super::service::{KeyVault, Kubernetes, OpenBao, Place, SecretManager, Service, Shape};
use super::super::way::Way;
use super::{Ready, lines};
use crate::Outcome;

impl Ready<'_> {
    pub(super) fn keyfob(&mut self, service: &Service, way: &Way) -> Outcome {
        let secrets = &service.secrets;
        let provider = match &service.place {
            Place::OpenBao(_) => {
                self.set("VAULT_PREFIX", format!("{}/", OpenBao::prefix(secrets)));
                "vault".to_owned()
            }
            Place::LocalStack(_) => {
                self.set("AWS_SECRET_PREFIX", format!("{}/", OpenBao::prefix(secrets)));
                "aws".to_owned()
            }
            Place::SecretManager(place) => {
                self.set("GCP_SECRET_PREFIX", SecretManager::prefix(secrets));
                format!("gcp://{}", place.project)
            }
            Place::KeyVault(_) => {
                self.set("AZURE_SECRET_PREFIX", KeyVault::prefix(secrets));
                format!("azure://{}", KeyVault::NAME)
            }
            Place::Kubernetes(place) => {
                self.set("K8S_SECRET_NAMESPACE", &secrets.project);
                if place.shape == Shape::Keys {
                    self.set("K8S_SECRET_NAME", Kubernetes::OBJECT);
                }
                "k8s".to_owned()
            }
            Place::Postgres(place) => {
                self.set("POSTGRES_URL", place.store(&way.url));
                "postgres".to_owned()
            }
        };
        self.set("SECRET_PROVIDER", provider);
        let file = lines(service, |variable, name| format!("{variable}=${{secret:{name}}}"));
        self.write("app.env", &file)?;
        self.arguments(&["run", "--env-file", "app.env", "--"]);
        Ok(())
    }
}

//! `vals exec -f`.

use super::super::service::{KeyVault, Kubernetes, OpenBao, Place, SecretManager, Service, Shape};
use super::{OWN_FORMAT, Ready, lines};
use crate::Outcome;

impl Ready<'_> {
    pub(super) fn vals(&mut self, service: &Service) -> Outcome {
        let secrets = &service.secrets;
        let (before, after) = match &service.place {
            // Its provider for OpenBao does the same requests and takes longer.
            Place::OpenBao(_) => (format!("vault://secret/{}/", OpenBao::prefix(secrets)), "#/value"),
            Place::LocalStack(_) => (format!("awssecrets://{}/", OpenBao::prefix(secrets)), ""),
            Place::SecretManager(place) => (
                format!("gcpsecrets://{}/{}", place.project, SecretManager::prefix(secrets)),
                "",
            ),
            Place::KeyVault(_) => (
                format!("azurekeyvault://{}/{}", KeyVault::NAME, KeyVault::prefix(secrets)),
                "",
            ),
            Place::Kubernetes(place) if place.shape == Shape::Keys => {
                (format!("k8s://v1/Secret/{}/{}/", secrets.project, Kubernetes::OBJECT), "")
            }
            Place::Kubernetes(_) => (format!("k8s://v1/Secret/{}/", secrets.project), "/value"),
            Place::Postgres(_) => return Err(OWN_FORMAT.into()),
        };
        let references = lines(service, |variable, name| format!("{variable}: ref+{before}{name}{after}"));
        self.write("app.yaml", &references)?;
        self.arguments(&["exec", "-f", "app.yaml", "--"]);
        Ok(())
    }
}

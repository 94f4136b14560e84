//! `secretspec run`.

use super::super::service::{KeyVault, Kubernetes, Place, Service, Shape};
use super::super::way::Way;
use super::{OWN_FORMAT, Ready, lines};
use crate::Outcome;

impl Ready<'_> {
    pub(super) fn secretspec(&mut self, service: &Service, way: &Way) -> Outcome {
        let secrets = &service.secrets;
        // Where its own convention can't be met, a secret is named as it is.
        let (provider, has_reference) = match &service.place {
            Place::OpenBao(_) => {
                let address = way.url.trim_start_matches("http://");
                (format!("openbao://{address}/secret?tls=false"), false)
            }
            Place::LocalStack(_) => ("awssm://us-east-1".to_owned(), false),
            Place::SecretManager(place) => (format!("gcsm://{}", place.project), false),
            Place::KeyVault(_) => (format!("akv://{}", KeyVault::NAME), true),
            Place::Kubernetes(place) if place.shape == Shape::Keys => {
                (format!("k8s+secret://{}@{}", Kubernetes::OBJECT, secrets.project), true)
            }
            Place::Kubernetes(_) => return Err("a provider of it is one object, and its secrets are the keys".into()),
            Place::Postgres(_) => return Err(OWN_FORMAT.into()),
        };
        let prefix = match &service.place {
            Place::KeyVault(_) => KeyVault::prefix(secrets),
            _ => String::new(),
        };
        let head = format!(
            "[project]\nname = \"{}\"\nrevision = \"1.0\"\n\n[profiles.default]\n",
            secrets.project
        );
        let secrets = lines(service, |variable, name| match has_reference {
            true => {
                format!("{variable} = {{ description = \"{variable}\", required = true, ref = {{ item = \"{prefix}{name}\" }} }}")
            }
            false => format!("{variable} = {{ description = \"{variable}\", required = true }}"),
        });
        self.write("secretspec.toml", &(head + &secrets))?;
        self.arguments(&["run", "--provider", &provider, "--"]);
        Ok(())
    }
}

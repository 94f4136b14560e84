//! `fnox exec`.

use std::path::Path;

use super::super::service::{OpenBao, Place, SecretManager, Service};
use super::{OWN_FORMAT, Ready, lines};
use crate::Outcome;

impl Ready<'_> {
    pub(super) fn fnox(&mut self, service: &Service) -> Outcome {
        let secrets = &service.secrets;
        let (provider, field) = match &service.place {
            Place::OpenBao(_) => {
                let path = OpenBao::prefix(secrets);
                (format!("type = \"vault\", path = \"secret/{path}\""), "/value")
            }
            Place::LocalStack(_) => {
                let prefix = OpenBao::prefix(secrets);
                (
                    format!("type = \"aws-sm\", region = \"us-east-1\", prefix = \"{prefix}/\""),
                    "",
                )
            }
            Place::SecretManager(place) => {
                let (project, prefix) = (&place.project, SecretManager::prefix(secrets));
                (
                    format!("type = \"gcp-sm\", project = \"{project}\", prefix = \"{prefix}\""),
                    "",
                )
            }
            Place::KeyVault(_) => {
                return Err("this version asks the command line of Azure for a token, once for each secret".into());
            }
            Place::Kubernetes(_) => return Err("this version has no provider for Kubernetes".into()),
            Place::Postgres(_) => return Err(OWN_FORMAT.into()),
        };
        let secrets = lines(service, |variable, name| {
            format!("{variable} = {{ provider = \"store\", value = \"{name}{field}\" }}")
        });
        self.write(
            "fnox.toml",
            &format!("[providers]\nstore = {{ {provider} }}\n\n[secrets]\n{secrets}"),
        )?;
        // It starts `vault` for each secret, which lies beside it.
        let programs = self.contestant.path.parent().unwrap_or(Path::new("/"));
        self.set("PATH", programs.to_string_lossy());
        // Cold: nothing that an earlier run has left behind may answer.
        self.arguments(&["--no-daemon", "exec", "--"]);
        Ok(())
    }
}

//! `varlock run`.

use super::super::service::{OpenBao, Place, Service};
use super::super::way::Way;
use super::{OWN_FORMAT, Ready, lines};
use crate::Outcome;

impl Ready<'_> {
    pub(super) fn varlock(&mut self, service: &Service, way: &Way) -> Outcome {
        let prefix = OpenBao::prefix(&service.secrets);
        let schema = match &service.place {
            Place::OpenBao(_) => format!(
                "# @plugin(@varlock/hashicorp-vault-plugin)\n\
                 # @initHcpVault(url=\"{}\", token=$VAULT_TOKEN, pathPrefix=\"secret/{prefix}\")\n# ---\n\
                 # @type=vaultToken @sensitive @internal\nVAULT_TOKEN=\n{}",
                way.url,
                lines(service, |variable, name| format!("{variable}=vaultSecret(\"{name}#value\")"))
            ),
            Place::LocalStack(_) => format!(
                "# @plugin(@varlock/aws-secrets-plugin)\n\
                 # @initAws(region=us-east-1, namePrefix=\"{prefix}/\")\n# ---\n{}",
                lines(service, |variable, name| format!("{variable}=awsSecret(\"{name}\")"))
            ),
            Place::Postgres(_) => return Err(OWN_FORMAT.into()),
            _ => return Err("no plugin of it for this store was found".into()),
        };
        self.write(".env.schema", &schema)?;
        // It looks for its plugins where a JavaScript project has them.
        self.write("package.json", "{\"name\":\"app\",\"version\":\"1.0.0\"}")?;
        std::os::unix::fs::symlink(self.contestant.path.join("node_modules"), self.home.join("node_modules"))?;
        self.set("VARLOCK_TELEMETRY_DISABLED", "1");
        self.arguments(&["run", "--"]);
        Ok(())
    }
}

//! Azure Key Vault.

use keyfob::{Environment, Result, SecretName, SecretRef, StoreUrl, VersionSelector};
use keyfob_azure::AzureConfig;
use serde_json::{Map, Value, json};

use super::field::property;
use super::{Access, Auth, Identity, Provider, Remote, no_place};
use crate::exit::Failure;

pub(super) struct Azure {
    config: AzureConfig,
    client: String,
    tenant: String,
    reference: Map<String, Value>,
}

impl Azure {
    pub(super) fn new(url: &StoreUrl, environment: &Environment, access: &Access) -> Result<Self, Failure> {
        let config = AzureConfig::from_url(url, environment)?;
        if config.ca.is_some() || !config.verify_challenge || config.vault.port().is_some() {
            return Err(no_place(
                "External Secrets reads only vaults of Azure itself: there is no place for a port, a certificate authority or \
                 an unverified challenge",
                url,
            )
            .into());
        }
        access.auth(&[Auth::WorkloadIdentity])?;
        let client = access.identity(
            "the client id of the managed identity or application",
            "00000000-0000-0000-0000-000000000000",
        )?;
        let Some(tenant) = access.tenant.clone() else {
            return Err(Failure::usage("the tenant is missing", "name its id with `--tenant`"));
        };
        for (option, id) in [("--identity", &client), ("--tenant", &tenant)] {
            if !is_id(id) {
                return Err(Failure::usage(
                    format!("`{option}` is no id of Azure"),
                    "it is like `00000000-0000-0000-0000-000000000000`",
                ));
            }
        }
        Ok(Self {
            config,
            client,
            tenant,
            reference: access.service_account_ref(),
        })
    }

    /// What External Secrets calls the cloud that the vault is in.
    fn cloud(&self) -> &'static str {
        match self.config.vault.host() {
            host if host.ends_with(".vault.azure.cn") => "ChinaCloud",
            host if host.ends_with(".vault.usgovcloudapi.net") => "USGovernmentCloud",
            _ => "PublicCloud",
        }
    }
}

impl Provider for Azure {
    fn remote(&self, secret: &SecretRef) -> Result<Remote, String> {
        Ok(Remote {
            key: self.config.secret_name(&secret.name).map_err(|error| error.to_string())?,
            property: secret.field.as_ref().map(property).transpose()?,
            version: match &secret.version {
                VersionSelector::Current => None,
                VersionSelector::Previous => {
                    return Err(
                        "`@previous` moves with every new version, and Azure has no name for it: write its id".to_owned(),
                    );
                }
                VersionSelector::Exact(version) => Some(version.to_string()),
            },
        })
    }

    fn whole(&self, name: &SecretName, _has_fields: bool) -> Result<Remote, String> {
        self.remote(&SecretRef::new(name.clone()))
    }

    fn spec(&self) -> Value {
        json!({"azurekv": {
            "environmentType": self.cloud(),
            "authType": "WorkloadIdentity",
            "vaultUrl": self.config.vault.to_string(),
            "serviceAccountRef": self.reference,
        }})
    }

    fn identity(&self) -> Identity {
        Identity::ServiceAccount(vec![
            ("azure.workload.identity/client-id", self.client.clone()),
            ("azure.workload.identity/tenant-id", self.tenant.clone()),
        ])
    }

    fn url(&self) -> Result<StoreUrl> {
        let mut url = StoreUrl::parse(&format!("azure://{}", self.config.vault.host()))?;
        if !self.config.prefix.is_empty() {
            url = url.with_parameter("prefix", self.config.prefix.as_str());
        }
        Ok(url.with_parameter("identity", "workload"))
    }

    fn policy(&self, names: &[SecretName]) -> Result<String> {
        let vault = self.config.vault.host().split('.').next().unwrap_or_default();
        let mut text = format!(
            "#!/bin/sh\n# Lets External Secrets read these secrets and no others, in a vault with role-based access.\nset -eu\n\
             vault=$(az keyvault show --name {vault} --query id --output tsv)\n"
        );
        for name in names {
            let name = self.config.secret_name(name)?;
            text.push_str(&format!(
                "az role assignment create --role 'Key Vault Secrets User' --assignee {} \\\n  --scope \"$vault/secrets/{name}\"\n",
                self.client
            ));
        }
        Ok(text)
    }
}

/// Letters and digits in five groups.
fn is_id(text: &str) -> bool {
    let groups: Vec<&str> = text.split('-').collect();
    groups.iter().map(|group| group.len()).eq([8, 4, 4, 4, 12]) && groups.concat().bytes().all(|byte| byte.is_ascii_hexdigit())
}

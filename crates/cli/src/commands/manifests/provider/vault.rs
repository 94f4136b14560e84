//! HashiCorp Vault and OpenBao.

use keyfob::{Environment, Error, ErrorKind, Result, SecretName, SecretRef, StoreUrl, VersionSelector};
use keyfob_vault::{AuthConfig, KvVersion, VaultConfig, Verification};
use serde_json::{Map, Value, json};

use super::field::property;
use super::{Access, Auth, Identity, Provider, Remote, VaultDocuments, no_place};
use crate::exit::Failure;

pub(super) struct Vault {
    config: VaultConfig,
    version: KvVersion,
    documents: VaultDocuments,
    auth: Value,
    identity: Identity,
    authority: Option<Map<String, Value>>,
    role: String,
    method: &'static str,
    mount: String,
    bound: (String, String),
}

impl Vault {
    pub(super) fn new(url: &StoreUrl, environment: &Environment, access: &Access) -> Result<Self, Failure> {
        // How this machine logs in does not count in a cluster.
        let config = VaultConfig::from_url_with(url, environment, AuthConfig::token("none"))?;
        let address = config.address.to_string();
        if !address.starts_with("http") {
            return Err(no_place("a cluster can't reach a socket of this machine", url).into());
        }
        if config.tls.verification == Verification::Off || config.tls.identity.is_some() {
            return Err(no_place(
                "External Secrets always checks the server's certificate, and has no place here for one of the client",
                url,
            )
            .into());
        }
        if !config.tls.authorities.is_empty() && access.ca.is_none() {
            let error = no_place("the certificate authority is a file of this machine", url);
            return Err(error
                .with_hint("put it into a ConfigMap, and name that with `--ca NAME/KEY`")
                .into());
        }
        let mut authority = access.ca.as_ref().map(|item| access.item(item));
        if let Some(authority) = &mut authority {
            authority.insert("type".to_owned(), json!("ConfigMap"));
        }
        let of_url = url.parameters().take("role");
        let role = match access.identity.clone().or(of_url) {
            Some(role) => role,
            None => access.identity("the role to log in to", "shop")?,
        };
        if role.is_empty()
            || !role
                .bytes()
                .all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.'))
        {
            return Err(Failure::usage("`--identity` is no role of Vault", "it is like `shop`"));
        }
        let method = access.auth(&[Auth::Kubernetes, Auth::Approle])?;
        let name = match method {
            Auth::Approle => "approle",
            _ => "kubernetes",
        };
        let of_url = url.parameters().take("login-mount");
        let mount = access.auth_mount.clone().or(of_url).unwrap_or_else(|| name.to_owned());
        let mount = mount.trim_matches('/').to_owned();
        if mount.is_empty()
            || !mount
                .bytes()
                .all(|byte| byte.is_ascii_alphanumeric() || b"-_./".contains(&byte))
        {
            return Err(Failure::usage(
                "`--auth-mount` is no path of a log-in",
                "it is like `kubernetes`",
            ));
        }
        let (auth, identity) = match method {
            Auth::Approle => {
                let Some(secret_id) = &access.secret_id else {
                    return Err(Failure::usage(
                        "the AppRole's secret id is missing",
                        "put it into a Secret, and name that with `--secret-id NAME/KEY`",
                    ));
                };
                let auth = json!({"appRole": {"path": mount, "roleId": role, "secretRef": access.item(secret_id)}});
                (auth, Identity::Secret(secret_id.name.clone()))
            }
            _ => {
                let mut account = access.service_account_ref();
                if let Some(audience) = &access.audience {
                    account.insert("audiences".to_owned(), json!([audience]));
                }
                let auth = json!({"kubernetes": {"mountPath": mount, "role": role, "serviceAccountRef": account}});
                (auth, Identity::ServiceAccount(Vec::new()))
            }
        };
        Ok(Self {
            version: config.kv_version.unwrap_or(KvVersion::V2),
            documents: access.vault_documents,
            auth,
            identity,
            authority,
            role,
            method: name,
            mount,
            bound: (access.namespace.clone(), access.service_account.clone()),
            config,
        })
    }

    /// External Secrets takes a mount away that a path begins with; what really is called so is written with the mount.
    fn key(&self, name: &SecretName) -> Result<String, String> {
        let path = self.config.path(name).map_err(|error| error.to_string())?;
        let mount = &self.config.mount;
        Ok(match (path.starts_with(&format!("{mount}/")), self.version) {
            (false, _) => path,
            (true, KvVersion::V1) => format!("{mount}/{path}"),
            (true, KvVersion::V2) => format!("{mount}/data/{path}"),
        })
    }
}

impl Provider for Vault {
    fn remote(&self, secret: &SecretRef) -> Result<Remote, String> {
        let field = secret.field.as_ref().map(property).transpose()?;
        Ok(Remote {
            key: self.key(&secret.name)?,
            // keyfob writes text under one key.
            property: Some(match (field, self.documents) {
                (None, _) => "value".to_owned(),
                (Some(field), VaultDocuments::Map) => field,
                (Some(field), VaultDocuments::Text) => format!("value|@fromstr|{field}"),
            }),
            version: match (&secret.version, self.version) {
                (VersionSelector::Current, _) => None,
                (_, KvVersion::V1) => return Err("version 1 of the KV engine keeps no versions".to_owned()),
                (VersionSelector::Previous, KvVersion::V2) => {
                    return Err(
                        "`@previous` moves with every new version, and Vault has no name for it: write its number".to_owned(),
                    );
                }
                (VersionSelector::Exact(version), KvVersion::V2)
                    if version.as_str().parse::<u64>().is_ok_and(|number| number > 0) =>
                {
                    Some(version.to_string())
                }
                (VersionSelector::Exact(version), KvVersion::V2) => {
                    return Err(format!(
                        "a version of Vault is a number, and `{}` is none",
                        version.as_str().escape_debug()
                    ));
                }
            },
        })
    }

    fn whole(&self, name: &SecretName, has_fields: bool) -> Result<Remote, String> {
        let mut remote = self.remote(&SecretRef::new(name.clone()))?;
        if has_fields && self.documents == VaultDocuments::Map {
            remote.property = None;
        }
        Ok(remote)
    }

    fn spec(&self) -> Value {
        let mut vault = Map::new();
        vault.insert("server".to_owned(), json!(self.config.address.to_string()));
        if let Some(namespace) = &self.config.namespace {
            vault.insert("namespace".to_owned(), json!(namespace));
        }
        vault.insert("path".to_owned(), json!(self.config.mount));
        vault.insert("version".to_owned(), json!(format!("v{}", self.version)));
        if let Some(authority) = &self.authority {
            vault.insert("caProvider".to_owned(), json!(authority));
        }
        vault.insert("auth".to_owned(), self.auth.clone());
        json!({ "vault": vault })
    }

    fn identity(&self) -> Identity {
        match &self.identity {
            Identity::Secret(name) => Identity::Secret(name.clone()),
            _ => Identity::ServiceAccount(Vec::new()),
        }
    }

    fn url(&self) -> Result<StoreUrl> {
        let mut url = StoreUrl::parse(&format!("vault:{}", self.config.mount))?;
        url = url.with_parameter("address", self.config.address.to_string());
        if let Some(namespace) = &self.config.namespace {
            url = url.with_parameter("namespace", namespace.as_str());
        }
        if let Some(version) = self.config.kv_version {
            url = url.with_parameter("kv", version.to_string());
        }
        if !self.config.prefix.is_empty() {
            url = url.with_parameter("prefix", self.config.prefix.as_str());
        }
        let log_in = [("login", self.method), ("login-mount", &self.mount), ("role", &self.role)];
        Ok(log_in
            .into_iter()
            .fold(url, |url, (name, value)| url.with_parameter(name, value)))
    }

    fn policy(&self, names: &[SecretName]) -> Result<String> {
        let (namespace, account) = &self.bound;
        let (role, method, mount) = (&self.role, self.method, &self.mount);
        let mut text = match method {
            "kubernetes" => format!(
                "# Lets External Secrets read these secrets and no others. The role that has it:\n\
                 # vault write auth/{mount}/role/{role} token_policies={role} \\\n\
                 #   bound_service_account_names={account} bound_service_account_namespaces={namespace}\n"
            ),
            _ => "# Lets External Secrets read these secrets and no others. It belongs to the AppRole.\n".to_owned(),
        };
        let infix = match self.version {
            KvVersion::V1 => "",
            KvVersion::V2 => "data/",
        };
        for name in names {
            let path = self.config.path(name)?;
            if path.contains(['*', '+']) {
                let error = Error::new(ErrorKind::Unsupported, "a policy of Vault takes `*` and `+` for any name");
                return Err(error.with("name", name.as_str()));
            }
            let path = json!(format!("{}/{infix}{path}", self.config.mount));
            text.push_str(&format!("path {path} {{\n  capabilities = [\"read\"]\n}}\n"));
        }
        Ok(text)
    }
}

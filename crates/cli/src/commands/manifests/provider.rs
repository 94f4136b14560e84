//! What a cluster has to know of a store: a module for each that External Secrets and keyfob both read.

mod aws;
mod azure;
mod field;
mod gcp;
mod vault;

use clap::{Args, ValueEnum};
use keyfob::{Environment, Error, ErrorKind, Result, SecretName, SecretRef, StoreUrl};
use serde_json::{Map, Value, json};

use super::object::parse_name;
use crate::exit::Failure;

/// Where External Secrets finds a value.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Remote {
    pub(super) key: String,
    pub(super) property: Option<String>,
    pub(super) version: Option<String>,
}

impl Remote {
    pub(super) fn json(&self) -> Value {
        let mut map = Map::new();
        map.insert("key".to_owned(), json!(self.key));
        for (name, value) in [("property", &self.property), ("version", &self.version)] {
            if let Some(value) = value {
                map.insert(name.to_owned(), json!(value));
            }
        }
        Value::Object(map)
    }
}

/// A store that External Secrets can read.
pub(super) trait Provider {
    /// Where a reference's value is; an error says why External Secrets can't find it.
    fn remote(&self, secret: &SecretRef) -> Result<Remote, String>;

    /// Where the whole secret is, as keyfob would read it again from what External Secrets writes.
    fn whole(&self, name: &SecretName, has_fields: bool) -> Result<Remote, String>;

    /// `spec.provider` of the store.
    fn spec(&self) -> Value;

    /// Whose rights count.
    fn identity(&self) -> Identity;

    /// The store as keyfob in a pod opens it: with everything that the environment says here, and with the log-in.
    fn url(&self) -> Result<StoreUrl>;

    /// What allows exactly the reading of these secrets, in the store's own language.
    fn policy(&self, names: &[SecretName]) -> Result<String>;
}

/// Whose rights count when External Secrets asks.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Identity {
    /// Those of External Secrets' own pods.
    Controller,
    /// Those of a service account with these annotations, of which External Secrets gets a token.
    ServiceAccount(Vec<(&'static str, String)>),
    /// Those of a credential in a Secret of this name.
    Secret(String),
}

/// How External Secrets logs in.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(super) enum Auth {
    /// AWS: a role of IAM for the service account
    Irsa,
    /// AWS: the role that EKS gives the pods of External Secrets
    PodIdentity,
    /// Google Cloud, Azure: the workload identity of the service account
    WorkloadIdentity,
    /// Vault: the service account itself
    Kubernetes,
    /// Vault: a role id and a secret id
    Approle,
}

// What the command line says about logging in. No documentation: the parser would take it for that of the command.
#[derive(Debug, Clone, Args)]
#[command(next_help_heading = "Log-in")]
pub(super) struct LogIn {
    /// How it logs in to the store; the first way that the store has, if not given
    #[arg(long, value_name = "HOW")]
    auth: Option<Auth>,

    /// As whom: the ARN of a role of AWS, the address of a service account of Google Cloud, the client id of an identity of
    /// Azure, a role of Vault or the role id of an AppRole
    #[arg(long, value_name = "WHO")]
    identity: Option<String>,

    /// The service account that asks; made, and called after the application, if not given
    #[arg(long, value_name = "NAME", value_parser = parse_name)]
    service_account: Option<String>,

    /// Azure: the id of the tenant
    #[arg(long, value_name = "ID")]
    tenant: Option<String>,

    /// Vault: the path of the log-in method; `kubernetes` or `approle`, if not given
    #[arg(long, value_name = "PATH")]
    auth_mount: Option<String>,

    /// Vault: the audience that the role asks for
    #[arg(long, value_name = "TEXT")]
    audience: Option<String>,

    /// Vault: the item of a Secret that is the AppRole's secret id
    #[arg(long, value_name = "NAME/KEY", value_parser = Item::parse)]
    pub(super) secret_id: Option<Item>,

    /// Vault: the item of a ConfigMap that is the certificate authority
    #[arg(long, value_name = "NAME/KEY", value_parser = Item::parse)]
    pub(super) ca: Option<Item>,
}

impl LogIn {
    /// For the objects of a namespace.
    pub(super) fn access(&self, namespace: &str, service_account: impl FnOnce() -> String) -> Access {
        Access {
            auth: self.auth,
            identity: self.identity.clone(),
            namespace: namespace.to_owned(),
            service_account: self.service_account.clone().unwrap_or_else(service_account),
            is_cluster: false,
            tenant: self.tenant.clone(),
            gke: None,
            auth_mount: self.auth_mount.clone(),
            audience: self.audience.clone(),
            secret_id: self.secret_id.clone(),
            ca: self.ca.clone(),
            vault_documents: VaultDocuments::Map,
        }
    }
}

/// How the store is asked, and from where.
#[derive(Debug)]
pub(super) struct Access {
    pub(super) auth: Option<Auth>,
    pub(super) identity: Option<String>,
    pub(super) namespace: String,
    pub(super) service_account: String,
    /// Whether the store belongs to the whole cluster, so that references from it name their namespace.
    pub(super) is_cluster: bool,
    pub(super) tenant: Option<String>,
    pub(super) gke: Option<GkeCluster>,
    pub(super) auth_mount: Option<String>,
    pub(super) audience: Option<String>,
    pub(super) secret_id: Option<Item>,
    pub(super) ca: Option<Item>,
    pub(super) vault_documents: VaultDocuments,
}

/// How documents with fields stand in Vault.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(super) enum VaultDocuments {
    /// A field is a key of the secret's map, as `vault kv put` writes it
    Map,
    /// The document is text under the key `value`, as keyfob writes it
    Text,
}

/// An item of a ConfigMap or a Secret.
#[derive(Debug, Clone)]
pub(super) struct Item {
    pub(super) name: String,
    pub(super) key: String,
}

/// A cluster of Google's.
#[derive(Debug, Clone)]
pub(super) struct GkeCluster {
    project: String,
    location: String,
    name: String,
}

impl Item {
    /// Reads `NAME/KEY`.
    pub(super) fn parse(text: &str) -> Result<Self, String> {
        let (name, key) = text.split_once('/').ok_or("write `NAME/KEY`")?;
        if !super::object::is_data_key(key) {
            return Err("a key has letters, digits, `-`, `.` and `_`".to_owned());
        }
        Ok(Self {
            name: parse_name(name)?,
            key: key.to_owned(),
        })
    }
}

impl GkeCluster {
    /// Reads `PROJECT/LOCATION/NAME`.
    pub(super) fn parse(text: &str) -> Result<Self, String> {
        let parts: Vec<&str> = text.split('/').collect();
        match parts[..] {
            [project, location, name] if parts.iter().all(|part| !part.is_empty()) => Ok(Self {
                project: project.to_owned(),
                location: location.to_owned(),
                name: name.to_owned(),
            }),
            _ => Err("write `PROJECT/LOCATION/NAME`".to_owned()),
        }
    }
}

impl Access {
    fn service_account_ref(&self) -> Map<String, Value> {
        self.reference(&self.service_account)
    }

    /// A reference from the store to an object of the namespace.
    fn reference(&self, name: &str) -> Map<String, Value> {
        let mut reference = Map::new();
        reference.insert("name".to_owned(), json!(name));
        if self.is_cluster {
            reference.insert("namespace".to_owned(), json!(self.namespace));
        }
        reference
    }

    fn item(&self, item: &Item) -> Map<String, Value> {
        let mut reference = self.reference(&item.name);
        reference.insert("key".to_owned(), json!(item.key));
        reference
    }

    /// The way to log in, which must be one of the store's.
    fn auth(&self, possible: &[Auth]) -> Result<Auth, Failure> {
        let chosen = self.auth.or(possible.first().copied());
        let chosen = chosen.filter(|auth| possible.contains(auth));
        chosen.ok_or_else(|| {
            let names: Vec<String> = possible.iter().map(|auth| format!("`{}`", name_of(*auth))).collect();
            Failure::usage(
                "External Secrets can't log in to this store so",
                format!("`--auth` takes {} here", names.join(" or ")),
            )
        })
    }

    fn identity(&self, what: &str, example: &str) -> Result<String, Failure> {
        self.identity.clone().ok_or_else(|| {
            Failure::usage(
                format!("{what} is missing"),
                format!("name it, for example `--identity {example}`"),
            )
        })
    }
}

fn name_of(auth: Auth) -> String {
    auth.to_possible_value()
        .map_or_else(String::new, |value| value.get_name().to_owned())
}

/// The store of this URL.
///
/// # Errors
/// `Unsupported` for a store that External Secrets can't read; those of the store's configuration; a usage error for what
/// the command line lacks.
pub(super) fn of(url: &StoreUrl, environment: &Environment, access: &Access) -> Result<Box<dyn Provider>, Failure> {
    Ok(match keyfob::backends::find(url.scheme())?.scheme {
        "aws" => Box::new(aws::Aws::new(url, environment, access)?),
        "gcp" => Box::new(gcp::Gcp::new(url, environment, access)?),
        "azure" => Box::new(azure::Azure::new(url, environment, access)?),
        "vault" => Box::new(vault::Vault::new(url, environment, access)?),
        scheme => return Err(unreadable(scheme).with("store", url.to_string()).into()),
    })
}

fn unreadable(scheme: &str) -> Error {
    let why = match scheme {
        "env" => "the variables of this process are no store that a cluster could read",
        "dotenv" => "a `.env` file on this machine is no store that a cluster could read",
        "sqlite" => "an encrypted file on this machine is no store that a cluster could read",
        "postgres" => "External Secrets has no provider for keyfob's encrypted store in PostgreSQL",
        "k8s" => "the secrets are in the cluster already",
        _ => "External Secrets has no provider for this store",
    };
    let hint = match scheme {
        "k8s" => "mount the Secret, or let the application resolve its references with `SECRET_PROVIDER=k8s`",
        _ => "`keyfob copy` takes the secrets to AWS, Google Cloud, Azure or Vault",
    };
    Error::new(ErrorKind::Unsupported, why).with_hint(hint)
}

/// Something of the store's configuration that has no place in the store of External Secrets.
fn no_place(what: &'static str, url: &StoreUrl) -> Error {
    Error::new(ErrorKind::Unsupported, what).with("store", url.to_string())
}

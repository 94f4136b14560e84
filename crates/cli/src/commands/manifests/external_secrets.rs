//! `keyfob manifests external-secrets`

mod configuration;
mod keys;
mod template;

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::time::Duration;

use clap::Parser;
use keyfob::format::Format;
use keyfob::{Error, ErrorKind, SecretManager, SecretName};
use serde_json::{Map, Value, json};

use self::configuration::{Configuration, Problems};
use self::keys::{Data, Keys};
use super::object::{Application, Object, ServiceAccount, parse_label, parse_label_name, parse_name};
use super::output;
use super::provider::{self, Access, GkeCluster, Identity, LogIn, Provider, VaultDocuments};
use crate::context::Context;
use crate::exit::{Exit, Failure, Outcome};
use crate::references::{STANDARD_INPUT, parse_format};
use crate::time::parse_duration;

const API: &str = "external-secrets.io/v1";

/// Print the objects with which External Secrets brings into a cluster what configuration files refer to
///
/// A store (`SecretStore`, or `ClusterSecretStore` with `--cluster`), an `ExternalSecret` with an entry for every secret
/// that the files refer to, the service account that asks, and the roles that this takes. No secret is read, and nothing
/// but the files is needed: the objects hold names, never values.
///
/// What the Secret in the cluster looks like says `--keys`: a variable for each value with references, a whole file
/// with everything in place, or the secrets under the names that keyfob itself reads there.
#[derive(Debug, Parser)]
#[command(after_help = "\
Examples:
  keyfob manifests external-secrets --store aws://eu-west-1 --refs app.yaml --namespace shop --identity arn:aws:iam::123456789012:role/shop
  keyfob manifests external-secrets --store gcp://my-project --refs app.yaml --namespace shop --output deploy
  keyfob manifests external-secrets --store vault://vault.example/secret --refs app.yaml --namespace shop --identity shop --policy

JSON: none; the objects are YAML, one stream on standard output.")]
pub(crate) struct Args {
    /// A configuration file whose references count; can be given several times
    #[arg(long, value_name = "FILE", required = true)]
    refs: Vec<PathBuf>,

    /// `text`, `dotenv`, `json`, `yaml` or `toml`, whatever the names of the files say
    #[arg(long, value_name = "FORMAT", value_parser = parse_format)]
    format: Option<Format>,

    /// What the keys of the Secret are; `variables` for `.env` files and `file` for others, if not given
    #[arg(long, value_name = "KEYS")]
    keys: Option<Keys>,

    /// Write the defaults of references (`:-…`) into the objects, where everybody can read them
    #[arg(long)]
    write_defaults: bool,

    /// The application, after which the objects are called; the name of the first file, if not given
    #[arg(long, value_name = "NAME", value_parser = parse_label_name)]
    name: Option<String>,

    /// The namespace of the objects
    #[arg(long, value_name = "NAME", value_parser = parse_label_name)]
    namespace: String,

    /// A label of all objects; can be given several times
    #[arg(long = "label", value_name = "KEY=VALUE", value_parser = parse_label)]
    labels: Vec<(String, String)>,

    /// The Secret that External Secrets writes; called like the application, if not given
    #[arg(long, value_name = "NAME", value_parser = parse_name)]
    secret: Option<String>,

    /// How often External Secrets looks for changes; 0 for once
    #[arg(long, value_name = "TIME", default_value = "1h", value_parser = parse_refresh)]
    refresh: Duration,

    /// Make a `ClusterSecretStore`, which only this namespace may use
    #[arg(long)]
    cluster: bool,

    #[command(flatten)]
    log_in: LogIn,

    /// Google Cloud: the cluster, where External Secrets can't find out itself
    #[arg(long, value_name = "PROJECT/LOCATION/NAME", value_parser = GkeCluster::parse, help_heading = "Log-in")]
    gke: Option<GkeCluster>,

    /// Vault: how documents stand there of which a reference picks a field
    #[arg(long, value_name = "HOW", default_value = "map")]
    vault_documents: VaultDocuments,

    /// The service account of External Secrets' own pods
    #[arg(long, value_name = "NAMESPACE/NAME", default_value = "external-secrets/external-secrets", value_parser = ServiceAccount::parse)]
    controller: ServiceAccount,

    /// A service account of the namespace that may read the Secret, for applications that ask the cluster for it
    #[arg(long, value_name = "NAME", value_parser = parse_name)]
    reader: Option<String>,

    /// Print what must be allowed in the store instead: a policy of IAM, commands of `gcloud` or `az`, a policy of Vault
    #[arg(long, conflicts_with = "output")]
    policy: bool,

    /// Write a file for each object into this directory
    #[arg(long, short, value_name = "DIRECTORY")]
    output: Option<PathBuf>,
}

fn parse_refresh(text: &str) -> Result<Duration, String> {
    match text {
        "0" => Ok(Duration::ZERO),
        _ => parse_duration(text),
    }
}

impl Args {
    pub(crate) fn run(self, context: &Context) -> Outcome {
        let printer = context.printer();
        let manager = SecretManager::builder()
            .environment(context.environment().clone())
            .options(context.select_options())
            .build_lazily()?;
        let choice = manager.selection().store.clone()?;
        if !choice.fallbacks.is_empty() {
            printer.warning("the objects are made for the first of the stores only: External Secrets has no second one to ask");
        }
        let name = self.application()?;
        let application = Application {
            name,
            namespace: self.namespace.clone(),
            labels: self.labels.clone(),
        };
        let access = self.access(&application);
        let provider = provider::of(&choice.url, context.environment(), &access)?;

        let mut problems = Problems::default();
        let configuration = Configuration::read(&manager, &self.refs, self.format, &mut problems)?;
        if configuration.secrets.is_empty() {
            problems.check()?;
            return Err(Error::new(ErrorKind::NotFound, "the files refer to no secret")
                .with_hint("a reference is like `${secret:db/password}`")
                .into());
        }
        let data = Data::of(&configuration, &*provider, self.keys, self.write_defaults, &mut problems)?;
        problems.check()?;
        if self.policy {
            let names: BTreeSet<SecretName> = configuration.secrets.iter().map(|used| used.secret.name.clone()).collect();
            let names: Vec<SecretName> = names.into_iter().collect();
            printer.text(&provider.policy(&names)?)?;
            return Ok(Exit::Success);
        }
        let mut objects = self.identity(&application, &access, &provider.identity());
        objects.push(self.store(&application, &*provider));
        objects.push(self.external_secret(&application, &data));
        objects.extend(self.reader(&application));
        output::write(printer, "external-secrets", &application, &objects, self.output.as_deref())
    }

    /// The application's name: of the first file, without what is behind a dot.
    fn application(&self) -> Result<String, Failure> {
        if let Some(name) = &self.name {
            return Ok(name.clone());
        }
        let file = self.refs.first().filter(|file| file.as_path() != Path::new(STANDARD_INPUT));
        let name = file.and_then(|file| file.file_name()).map(|name| name.to_string_lossy());
        let name = name.as_deref().and_then(|name| name.split('.').next()).unwrap_or_default();
        parse_label_name(&name.to_ascii_lowercase()).map_err(|_| {
            Failure::usage(
                "the first file has no name that an application could have",
                "give one with `--name`",
            )
        })
    }

    fn access(&self, application: &Application) -> Access {
        Access {
            is_cluster: self.cluster,
            gke: self.gke.clone(),
            vault_documents: self.vault_documents,
            ..self
                .log_in
                .access(&self.namespace, || format!("{}-secrets", application.name))
        }
    }

    /// Who asks, and what External Secrets must be allowed for that: with it, it needs no right for all of a cluster.
    fn identity(&self, application: &Application, access: &Access, identity: &Identity) -> Vec<Object> {
        let role = format!("{}-external-secrets", application.name);
        match identity {
            Identity::Controller => Vec::new(),
            Identity::ServiceAccount(annotations) => {
                let account = &access.service_account;
                let object = application.object(
                    "v1",
                    "ServiceAccount",
                    account,
                    annotations,
                    // No pod runs as it.
                    json!({"automountServiceAccountToken": false}),
                );
                let rules = json!([
                    {"apiGroups": [""], "resources": ["serviceaccounts"], "resourceNames": [account], "verbs": ["get"]},
                    {"apiGroups": [""], "resources": ["serviceaccounts/token"], "resourceNames": [account], "verbs": ["create"]},
                ]);
                let role = application.role(&role, &rules, &self.controller);
                std::iter::once(object).chain(role).collect()
            }
            Identity::Secret(secret) => {
                let rules = json!([{"apiGroups": [""], "resources": ["secrets"], "resourceNames": [secret], "verbs": ["get"]}]);
                application.role(&role, &rules, &self.controller).into()
            }
        }
    }

    fn store(&self, application: &Application, provider: &dyn Provider) -> Object {
        let name = self.store_name(application);
        if self.cluster {
            let body = json!({"spec": {"conditions": [{"namespaces": [self.namespace]}], "provider": provider.spec()}});
            application.cluster_object(API, "ClusterSecretStore", &name, body)
        } else {
            let body = json!({"spec": {"provider": provider.spec()}});
            application.object(API, "SecretStore", &name, &[], body)
        }
    }

    /// Names of a cluster's own objects are everybody's.
    fn store_name(&self, application: &Application) -> String {
        match self.cluster {
            true => format!("{}-{}", self.namespace, application.name),
            false => application.name.clone(),
        }
    }

    fn external_secret(&self, application: &Application, data: &Data) -> Object {
        let kind = if self.cluster { "ClusterSecretStore" } else { "SecretStore" };
        let mut target = Map::new();
        target.insert("name".to_owned(), json!(self.secret(application)));
        target.insert("creationPolicy".to_owned(), json!("Owner"));
        // Only so may something be absent; what must not is still an error, by its template or by the application.
        let deletion = if data.may_be_absent { "Merge" } else { "Retain" };
        target.insert("deletionPolicy".to_owned(), json!(deletion));
        if let Some(template) = &data.template {
            target.insert(
                "template".to_owned(),
                json!({
                    "engineVersion": "v2",
                    "metadata": {"labels": application.labels()},
                    "data": template,
                }),
            );
        }
        let entries: Vec<Value> = data
            .entries
            .iter()
            .map(|(key, remote)| json!({"secretKey": key, "remoteRef": remote.json()}))
            .collect();
        let body = json!({"spec": {
            "refreshInterval": go_duration(self.refresh),
            "secretStoreRef": {"kind": kind, "name": self.store_name(application)},
            "target": target,
            "data": entries,
        }});
        application.object(API, "ExternalSecret", &application.name, &[], body)
    }

    fn secret<'a>(&'a self, application: &'a Application) -> &'a str {
        self.secret.as_deref().unwrap_or(&application.name)
    }

    fn reader(&self, application: &Application) -> Vec<Object> {
        let Some(reader) = &self.reader else {
            return Vec::new();
        };
        let secret = self.secret(application);
        let rules = json!([{"apiGroups": [""], "resources": ["secrets"], "resourceNames": [secret], "verbs": ["get"]}]);
        let subject = ServiceAccount {
            namespace: self.namespace.clone(),
            name: reader.clone(),
        };
        application
            .role(&format!("{}-reader", application.name), &rules, &subject)
            .into()
    }
}

/// As Go writes a length of time, to the second.
fn go_duration(length: Duration) -> String {
    let seconds = length.as_secs();
    match seconds {
        0 => "0s".to_owned(),
        _ => format!("{}h{}m{}s", seconds / 3600, seconds / 60 % 60, seconds % 60),
    }
}

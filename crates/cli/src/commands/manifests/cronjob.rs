//! `keyfob manifests cronjob`

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use clap::Parser;
use keyfob::rotation::{Cron, Policies};
use keyfob::{Environment, Error, ErrorKind, POLICIES_FILE_NAME, Result, StoreUrl, backends};
use keyfob_kubernetes::KubernetesConfig;
use serde_json::{Map, Value, json};

use super::object::{Application, Object, ServiceAccount, parse_label, parse_label_name, parse_name};
use super::output;
use super::provider::{self, Access, Identity, LogIn};
use crate::context::Context;
use crate::exit::{Failure, Outcome};

/// Print the objects with which a cluster rotates secrets: a `CronJob` that runs `keyfob rotate --due`
///
/// With it come a ConfigMap with the policies, the service account that it runs as, and, for secrets in the cluster
/// itself, a role for them. The pod has no right that it does not need: it runs as nobody, with nothing to write to but
/// an empty `/tmp`, and passes the Pod Security Standard `restricted`.
///
/// Two never run at once, and one that was interrupted is gone on with by the next.
#[derive(Debug, Parser)]
#[command(after_help = "\
Examples:
  keyfob manifests cronjob --store k8s://shop --namespace shop --image registry.example/keyfob:0.1.0
  keyfob manifests cronjob --store aws://eu-west-1 --namespace shop --image registry.example/keyfob:0.1.0 --identity arn:aws:iam::123456789012:role/rotation --schedule '*/15 * * * *' --output deploy

JSON: none; the objects are YAML, one stream on standard output.")]
pub(crate) struct Args {
    /// The policies; `rotation.yaml` in the current directory, if not given
    #[arg(long, value_name = "FILE")]
    policies: Option<PathBuf>,

    /// The image that has keyfob as a program on its path, best with its digest
    #[arg(long, value_name = "IMAGE", value_parser = parse_image)]
    image: String,

    /// When it looks for what is due, as a cron line
    #[arg(long, value_name = "LINE", default_value = "*/10 * * * *", value_parser = parse_schedule)]
    schedule: String,

    /// What the objects are called after
    #[arg(long, value_name = "NAME", default_value = "keyfob-rotation", value_parser = parse_short_name)]
    name: String,

    /// The namespace of the objects
    #[arg(long, value_name = "NAME", value_parser = parse_label_name)]
    namespace: String,

    /// A label of all objects; can be given several times
    #[arg(long = "label", value_name = "KEY=VALUE", value_parser = parse_label)]
    labels: Vec<(String, String)>,

    /// A Secret whose keys become variables: `KEYFOB_KEY`, `POSTGRES_URL` and their like
    #[arg(long, value_name = "NAME", value_parser = parse_name)]
    secret: Option<String>,

    /// Promise that nobody else rotates these secrets, for a store that can't compare and set
    #[arg(long)]
    sole_runner: bool,

    #[command(flatten)]
    log_in: LogIn,

    /// Write a file for each object into this directory
    #[arg(long, short, value_name = "DIRECTORY")]
    output: Option<PathBuf>,
}

/// Where the policies are in the pod.
const DIRECTORY: &str = "/etc/keyfob";
/// Where a certificate authority is.
const CA_DIRECTORY: &str = "/etc/keyfob-ca";
/// Where a token for Vault is.
const TOKEN_DIRECTORY: &str = "/var/run/secrets/vault";
/// More than a ConfigMap takes.
const MAX_POLICIES_BYTES: usize = 900 * 1024;

/// What a pod needs to open a store.
#[derive(Default)]
struct Opening {
    url: String,
    annotations: Vec<(&'static str, String)>,
    pod_labels: Vec<(&'static str, &'static str)>,
    variables: Vec<Value>,
    volumes: Vec<Value>,
    mounts: Vec<Value>,
    roles: Vec<Object>,
    /// Whether the token of the service account itself is what opens it.
    needs_token: bool,
}

impl Args {
    pub(crate) fn run(self, context: &Context) -> Outcome {
        let printer = context.printer();
        let application = Application {
            name: self.name.clone(),
            namespace: self.namespace.clone(),
            labels: self.labels.clone(),
        };
        let policies = self.policies(context)?;
        let choice = context.selection()?.store?;
        if !choice.fallbacks.is_empty() {
            printer.warning("the objects are made for the first of the stores only");
        }
        let access = self.log_in.access(&self.namespace, || self.name.clone());
        let mut opening = self.opening(&application, &choice.url, context.environment(), &access)?;
        let scheme = backends::find(choice.url.scheme())?.scheme;
        if matches!(scheme, "azure" | "gcp") && !self.sole_runner {
            printer.warning(
                "this store can't compare and set: a rotation in it refuses, unless `--sole-runner` promises that this job is the \
                 only one",
            );
        }

        let account = &access.service_account;
        let mut objects = vec![
            application.object(
                "v1",
                "ServiceAccount",
                account,
                &opening.annotations,
                json!({ "automountServiceAccountToken": opening.needs_token }),
            ),
            application.object(
                "v1",
                "ConfigMap",
                &self.name,
                &[],
                json!({"data": {POLICIES_FILE_NAME: policies}}),
            ),
        ];
        objects.append(&mut opening.roles);
        objects.push(application.object(
            "batch/v1",
            "CronJob",
            &self.name,
            &[],
            json!({"spec": {
                "schedule": self.schedule,
                "concurrencyPolicy": "Forbid",
                "startingDeadlineSeconds": 300,
                "successfulJobsHistoryLimit": 1,
                "failedJobsHistoryLimit": 3,
                "jobTemplate": {"spec": {
                    // What failed is tried again at the next time.
                    "backoffLimit": 0,
                    // One that hangs would keep all later ones from running.
                    "activeDeadlineSeconds": 3600,
                    "template": {
                        "metadata": {"labels": pod_labels(&application, &opening)},
                        "spec": self.pod(account, opening),
                    },
                }},
            }}),
        ));
        output::write(printer, "cronjob", &application, &objects, self.output.as_deref())
    }

    /// The text of the policies, which must be ones.
    fn policies(&self, context: &Context) -> Result<String, Failure> {
        let path = self.policies.as_deref().unwrap_or(Path::new(POLICIES_FILE_NAME));
        let environment = context.environment();
        let read = keyfob::policies(environment, &context.selection()?, Some(path));
        let read = read.map_err(|error| match error.kind() {
            ErrorKind::NotFound => error.with_hint("name the policies with `--policies`"),
            _ => error,
        })?;
        let mut programs = BTreeSet::new();
        for policy in read.iter().flat_map(Policies::iter) {
            for program in &policy.programs {
                // A bare name is looked for on the path.
                if program.contains('/') && !program.starts_with('/') {
                    return Err(Error::new(
                        ErrorKind::InvalidConfig,
                        "the policy runs a program beside the file, and in the pod there is nothing beside it",
                    )
                    .with("policy", policy.name.clone())
                    .with("program", program.clone())
                    .with_hint("give the program's full path in the image, or its name alone when it is on the path there")
                    .into());
                }
                programs.insert(format!("`{program}`"));
            }
        }
        if !programs.is_empty() {
            let programs: Vec<String> = programs.into_iter().collect();
            context.printer().warning(&format!(
                "the image must have the programs that the policies run: {}",
                programs.join(", ")
            ));
        }
        let bytes = environment
            .read(environment.absolute(path), MAX_POLICIES_BYTES)
            .map_err(|error| {
                Error::new(
                    ErrorKind::InvalidConfig,
                    "the policies can't be read, or are too long for a ConfigMap",
                )
                .with("file", path.display().to_string())
                .with_source(error)
            })?;
        let text = String::from_utf8(bytes).map_err(|_| Error::new(ErrorKind::NotText, "the policies are not UTF-8 text"))?;
        Ok(text)
    }

    fn opening(
        &self,
        application: &Application,
        url: &StoreUrl,
        environment: &Environment,
        access: &Access,
    ) -> Result<Opening, Failure> {
        let scheme = backends::find(url.scheme())?.scheme;
        match scheme {
            "k8s" => self.kubernetes(application, url, environment, access),
            "postgres" => self.postgres(url),
            "aws" | "gcp" | "azure" | "vault" => self.service(url, environment, access),
            _ => Err(Error::new(
                ErrorKind::Unsupported,
                "a pod can't rotate secrets of this machine: what is in the store must be reachable from the cluster",
            )
            .with("store", url.to_string())
            .with_hint("`keyfob copy` takes the secrets to a store that a cluster reaches")
            .into()),
        }
    }

    fn kubernetes(
        &self,
        application: &Application,
        url: &StoreUrl,
        environment: &Environment,
        access: &Access,
    ) -> Result<Opening, Failure> {
        let config = KubernetesConfig::from_url(url, environment)?;
        let namespace = config.namespace.unwrap_or_else(|| self.namespace.clone());
        let (place, rules) = match &config.secret {
            // The object is there, and what is written to it are keys of it, journals too.
            Some(object) => (
                format!("{namespace}/{object}"),
                json!([{"apiGroups": [""], "resources": ["secrets"], "resourceNames": [object], "verbs": ["get", "patch"]}]),
            ),
            // A rotation empties the places that it uses, and deletes nothing.
            None => (
                namespace.clone(),
                json!([{"apiGroups": [""], "resources": ["secrets"], "verbs": ["get", "list", "create", "patch"]}]),
            ),
        };
        let there = Application {
            namespace,
            ..application.clone()
        };
        let subject = ServiceAccount {
            namespace: self.namespace.clone(),
            name: access.service_account.clone(),
        };
        Ok(Opening {
            url: format!("k8s://{place}"),
            roles: there.role(&self.name, &rules, &subject).into(),
            needs_token: true,
            ..Opening::default()
        })
    }

    fn postgres(&self, url: &StoreUrl) -> Result<Opening, Failure> {
        let (Some(text), Some(_)) = (url.text(), &self.secret) else {
            return Err(Failure::usage(
                "the password of the database and the key of the store belong into a Secret",
                "put `POSTGRES_URL` and `KEYFOB_KEY` into one, name it with `--secret`, and the store with `--store postgres:`",
            ));
        };
        Ok(Opening {
            url: text,
            ..Opening::default()
        })
    }

    fn service(&self, url: &StoreUrl, environment: &Environment, access: &Access) -> Result<Opening, Failure> {
        let provider = provider::of(url, environment, access)?;
        let mut opened = provider.url()?;
        let mut opening = Opening::default();
        if let Some(item) = &self.log_in.ca {
            opened = opened.with_parameter("ca-file", format!("{CA_DIRECTORY}/{}", item.key));
            opening.volumes.push(json!({"name": "ca", "configMap": {"name": item.name}}));
            opening
                .mounts
                .push(json!({"name": "ca", "mountPath": CA_DIRECTORY, "readOnly": true}));
        }
        match (provider.identity(), backends::find(url.scheme())?.scheme) {
            (Identity::Secret(_), _) => {
                if let Some(item) = &self.log_in.secret_id {
                    let reference = json!({"secretKeyRef": {"name": item.name, "key": item.key}});
                    opening
                        .variables
                        .push(json!({"name": "VAULT_SECRET_ID", "valueFrom": reference}));
                }
            }
            (Identity::ServiceAccount(_), "vault") => match &access.audience {
                None => opening.needs_token = true,
                Some(audience) => {
                    opened = opened.with_parameter("jwt-file", format!("{TOKEN_DIRECTORY}/token"));
                    let token = json!({"path": "token", "audience": audience, "expirationSeconds": 3600});
                    opening
                        .volumes
                        .push(json!({"name": "vault-token", "projected": {"sources": [{"serviceAccountToken": token}]}}));
                    opening
                        .mounts
                        .push(json!({"name": "vault-token", "mountPath": TOKEN_DIRECTORY, "readOnly": true}));
                }
            },
            (Identity::ServiceAccount(annotations), scheme) => {
                opening.annotations = annotations;
                if scheme == "azure" {
                    opening.pod_labels.push(("azure.workload.identity/use", "true"));
                }
            }
            // What EKS gives a service account stands nowhere in the cluster.
            (Identity::Controller, _) => {}
        }
        opening.url = opened.text().ok_or_else(|| {
            Error::new(
                ErrorKind::InvalidConfig,
                "the store's URL holds a secret, and the objects would show it",
            )
        })?;
        Ok(opening)
    }

    /// What runs, with the least that it needs.
    fn pod(&self, account: &str, opening: Opening) -> Value {
        let mut variables = vec![
            json!({"name": "SECRET_PROVIDER", "value": opening.url}),
            // Nothing in the image decides which store is meant.
            json!({"name": "KEYFOB_CONFIG", "value": "none"}),
            json!({"name": "HOME", "value": "/tmp"}),
        ];
        if self.sole_runner {
            variables.push(json!({"name": "SECRET_ROTATION_SOLE_RUNNER", "value": "true"}));
        }
        variables.extend(opening.variables);
        let path = format!("{DIRECTORY}/{POLICIES_FILE_NAME}");
        // As a file of its own, not as a directory: that would be one which everybody may write, by its mode, and keyfob does not
        // believe what is in such.
        let mut mounts = vec![
            json!({"name": "policies", "mountPath": path, "subPath": POLICIES_FILE_NAME, "readOnly": true}),
            json!({"name": "tmp", "mountPath": "/tmp"}),
        ];
        mounts.extend(opening.mounts);
        let mut volumes = vec![
            json!({"name": "policies", "configMap": {"name": self.name, "defaultMode": 0o444}}),
            json!({"name": "tmp", "emptyDir": {"sizeLimit": "16Mi"}}),
        ];
        volumes.extend(opening.volumes);
        let mut container = Map::new();
        container.insert("name".to_owned(), json!("keyfob"));
        container.insert("image".to_owned(), json!(self.image));
        container.insert("command".to_owned(), json!(["keyfob"]));
        container.insert("args".to_owned(), json!(["rotate", "--due", "--policies", path]));
        container.insert("env".to_owned(), json!(variables));
        if let Some(secret) = &self.secret {
            container.insert("envFrom".to_owned(), json!([{"secretRef": {"name": secret}}]));
        }
        container.insert(
            "resources".to_owned(),
            json!({"requests": {"cpu": "50m", "memory": "64Mi"}, "limits": {"memory": "256Mi"}}),
        );
        container.insert(
            "securityContext".to_owned(),
            json!({
                "allowPrivilegeEscalation": false,
                "readOnlyRootFilesystem": true,
                "capabilities": {"drop": ["ALL"]},
            }),
        );
        container.insert("volumeMounts".to_owned(), json!(mounts));
        json!({
            "serviceAccountName": account,
            "automountServiceAccountToken": opening.needs_token,
            "restartPolicy": "Never",
            "securityContext": {
                "runAsNonRoot": true,
                "runAsUser": 65532,
                "runAsGroup": 65532,
                "seccompProfile": {"type": "RuntimeDefault"},
            },
            "containers": [container],
            "volumes": volumes,
        })
    }
}

fn pod_labels(application: &Application, opening: &Opening) -> Value {
    let mut labels = application.labels();
    if let Value::Object(labels) = &mut labels {
        labels.extend(
            opening
                .pod_labels
                .iter()
                .map(|(key, value)| ((*key).to_owned(), json!(value))),
        );
    }
    labels
}

/// What Kubernetes makes of it gets eleven more characters.
fn parse_short_name(text: &str) -> Result<String, String> {
    match text.len() <= 52 {
        true => parse_label_name(text),
        false => Err("the name of a `CronJob` has at most 52 characters".to_owned()),
    }
}

fn parse_image(text: &str) -> Result<String, String> {
    let is_one = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_graphic()) && !text.starts_with(['-', '/']);
    match is_one {
        true => Ok(text.to_owned()),
        false => Err("an image is like `registry.example/keyfob:0.1.0`".to_owned()),
    }
}

/// What Kubernetes' cron understands: five fields, or a word such as `@hourly`.
fn parse_schedule(text: &str) -> Result<String, String> {
    let text = text.trim();
    let wrong = |error: &dyn std::fmt::Display| format!("{error}; a line is like `*/10 * * * *`, a word like `@hourly`");
    let weekdays = text.split_whitespace().nth(4).unwrap_or_default();
    let mut numbers = weekdays
        .split(',')
        .flat_map(|part| part.split('/').next().unwrap_or_default().split('-'));
    if numbers.any(|number| number == "7") {
        return Err(wrong(&"`7` is no day of the week for Kubernetes: Sunday is 0"));
    }
    // Kubernetes takes `?` for `*`.
    match text.replace('?', "*").parse::<Cron>() {
        Ok(_) => Ok(text.to_owned()),
        Err(error) => Err(wrong(&error)),
    }
}

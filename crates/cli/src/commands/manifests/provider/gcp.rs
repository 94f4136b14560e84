//! Google Cloud Secret Manager.

use keyfob::{Environment, Error, ErrorKind, Result, SecretName, SecretRef, StoreUrl, VersionSelector};
use keyfob_gcp::GcpConfig;
use serde_json::{Map, Value, json};

use super::field::property;
use super::{Access, Auth, GkeCluster, Identity, Provider, Remote, no_place};
use crate::exit::Failure;

pub(super) struct Gcp {
    config: GcpConfig,
    project: String,
    /// The service account of Google's that the one of the cluster acts as; `None`: it has the rights itself.
    email: Option<String>,
    namespace: String,
    service_account: String,
    reference: Map<String, Value>,
    cluster: Option<GkeCluster>,
}

impl Gcp {
    pub(super) fn new(url: &StoreUrl, environment: &Environment, access: &Access) -> Result<Self, Failure> {
        let config = GcpConfig::from_url(url, environment)?;
        let Some(project) = config.project.clone() else {
            let error = Error::new(
                ErrorKind::InvalidConfig,
                "the project must be said: in a cluster this machine's does not count",
            );
            return Err(error.with_hint("write `gcp://PROJECT`").into());
        };
        if config.endpoint.is_some() {
            return Err(no_place(
                "a store of External Secrets has no place for another endpoint of Secret Manager",
                url,
            )
            .into());
        }
        access.auth(&[Auth::WorkloadIdentity])?;
        if access.identity.as_ref().is_some_and(|email| !is_email(email)) {
            return Err(Failure::usage(
                "`--identity` is not the address of a service account",
                "it is like `shop@my-project.iam.gserviceaccount.com`",
            ));
        }
        Ok(Self {
            config,
            project,
            email: access.identity.clone(),
            namespace: access.namespace.clone(),
            service_account: access.service_account.clone(),
            reference: access.service_account_ref(),
            cluster: access.gke.clone(),
        })
    }

    fn cluster_project(&self) -> &str {
        self.cluster
            .as_ref()
            .map_or(self.project.as_str(), |cluster| cluster.project.as_str())
    }
}

impl Provider for Gcp {
    fn remote(&self, secret: &SecretRef) -> Result<Remote, String> {
        Ok(Remote {
            key: self.config.secret_id(&secret.name).map_err(|error| error.to_string())?,
            property: secret.field.as_ref().map(property).transpose()?,
            version: match &secret.version {
                VersionSelector::Current => None,
                VersionSelector::Previous => {
                    return Err(
                        "`@previous` moves with every new version, and Google Cloud has no name for it: write its number"
                            .to_owned(),
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
        let mut gcp = Map::new();
        gcp.insert("projectID".to_owned(), json!(self.project));
        if let Some(location) = &self.config.location {
            gcp.insert("location".to_owned(), json!(location));
        }
        // As keyfob reads: the newest version that is enabled is the current one.
        gcp.insert("secretVersionSelectionPolicy".to_owned(), json!("LatestOrFetch"));
        let mut workload = Map::new();
        if let Some(cluster) = &self.cluster {
            workload.insert("clusterProjectID".to_owned(), json!(cluster.project));
            workload.insert("clusterLocation".to_owned(), json!(cluster.location));
            workload.insert("clusterName".to_owned(), json!(cluster.name));
        }
        workload.insert("serviceAccountRef".to_owned(), json!(self.reference));
        gcp.insert("auth".to_owned(), json!({ "workloadIdentity": workload }));
        json!({ "gcpsm": gcp })
    }

    fn identity(&self) -> Identity {
        let annotation = self
            .email
            .iter()
            .map(|email| ("iam.gke.io/gcp-service-account", email.clone()));
        Identity::ServiceAccount(annotation.collect())
    }

    fn url(&self) -> Result<StoreUrl> {
        let place = self
            .config
            .location
            .as_ref()
            .map_or(String::new(), |location| format!("/{location}"));
        let mut url = StoreUrl::parse(&format!("gcp://{}{place}", self.project))?;
        if !self.config.prefix.is_empty() {
            url = url.with_parameter("prefix", self.config.prefix.as_str());
        }
        Ok(url)
    }

    /// A binding at each secret is narrower than any condition in the policy of the project.
    fn policy(&self, names: &[SecretName]) -> Result<String> {
        let (cluster, namespace, account) = (self.cluster_project(), &self.namespace, &self.service_account);
        let mut text = "#!/bin/sh\n# Lets External Secrets read these secrets and no others.\nset -eu\n".to_owned();
        match &self.email {
            Some(email) => {
                text.push_str(&format!(
                    "member=serviceAccount:{email}\n\
                     gcloud iam service-accounts add-iam-policy-binding {email} \\\n  \
                     --role=roles/iam.workloadIdentityUser \\\n  \
                     --member='serviceAccount:{cluster}.svc.id.goog[{namespace}/{account}]'\n"
                ));
            }
            None => {
                text.push_str(&format!(
                    "number=$(gcloud projects describe {cluster} --format='value(projectNumber)')\n\
                     pool=\"projects/$number/locations/global/workloadIdentityPools/{cluster}.svc.id.goog\"\n\
                     member=\"principal://iam.googleapis.com/$pool/subject/ns/{namespace}/sa/{account}\"\n"
                ));
            }
        }
        let place = self
            .config
            .location
            .as_ref()
            .map_or(String::new(), |location| format!(" --location={location}"));
        for name in names {
            let id = self.config.secret_id(name)?;
            // The second one, which shows no value, is for secrets whose newest version is disabled.
            for role in ["secretAccessor", "viewer"] {
                text.push_str(&format!(
                    "gcloud secrets add-iam-policy-binding {id} --project={}{place} \\\n  \
                     --role=roles/secretmanager.{role} --member=\"$member\"\n",
                    self.project
                ));
            }
        }
        Ok(text)
    }
}

/// What can stand in a script and in an annotation as it is.
fn is_email(text: &str) -> bool {
    let inner = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || matches!(byte, b'-' | b'.' | b'@' | b':');
    text.bytes().all(inner) && text.split('@').count() == 2 && text.ends_with(".gserviceaccount.com")
}

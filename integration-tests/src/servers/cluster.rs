//! A cluster to which objects are applied: with the kinds of External Secrets, in a namespace of the test's own.

use std::path::PathBuf;
use std::time::Duration;

use kube::Client;
use kube::api::{Patch, PatchParams, ValidationDirective};
use kube::core::Request;
use serde_json::{Value, json};

use super::{Provider, kubernetes, remove, variables};

/// Where an object of a kind is kept: the kind, the beginning of its path, its plural, and whether a namespace has it.
const KINDS: [(&str, &str, &str, bool); 9] = [
    ("ServiceAccount", "/api/v1", "serviceaccounts", true),
    ("ConfigMap", "/api/v1", "configmaps", true),
    ("Role", "/apis/rbac.authorization.k8s.io/v1", "roles", true),
    ("RoleBinding", "/apis/rbac.authorization.k8s.io/v1", "rolebindings", true),
    ("CronJob", "/apis/batch/v1", "cronjobs", true),
    ("SecretStore", ESO, "secretstores", true),
    ("ExternalSecret", ESO, "externalsecrets", true),
    ("ClusterSecretStore", ESO, "clustersecretstores", false),
    ("CustomResourceDefinition", CRDS, "customresourcedefinitions", false),
];
const ESO: &str = "/apis/external-secrets.io/v1";
const CRDS: &str = "/apis/apiextensions.k8s.io/v1";

/// A namespace; removed when it goes.
#[derive(Debug)]
pub struct Cluster {
    variables: Vec<(&'static str, String)>,
    kubeconfig: String,
    namespace: String,
}

/// An object that was applied, to be removed.
#[derive(Debug)]
pub struct Applied {
    /// Its kind.
    pub kind: String,
    path: String,
    name: String,
}

impl Cluster {
    /// The cluster of the test bed; `None`, after [`keyfob_testkit::skip`], when there is none.
    ///
    /// # Panics
    /// When the kinds of External Secrets can't be applied; with `CI` set and no such server.
    #[must_use]
    pub fn new(test: &str) -> Option<Self> {
        let kinds = keyfob_testkit::server(test, "KEYFOB_TEST_EXTERNAL_SECRETS_CRDS")?;
        let variables = variables(test, Provider::Kubernetes)?;
        let value = |name: &str| {
            let found = variables.iter().find(|(known, _)| *known == name);
            found.map(|(_, value)| value.clone()).unwrap_or_default()
        };
        let cluster = Self {
            kubeconfig: value("KUBECONFIG"),
            namespace: value("K8S_SECRET_NAMESPACE"),
            variables,
        };
        for entry in std::fs::read_dir(kinds).expect("the kinds of External Secrets") {
            let text = std::fs::read_to_string(entry.expect("a file").path()).expect("text");
            // `kubectl` says so too: the annotations of a whole schema would be too long for anything but the server's side.
            drop(cluster.apply(&text).expect("a kind that the server takes"));
        }
        cluster.wait_for_kinds();
        Some(cluster)
    }

    /// The namespace.
    #[must_use]
    pub fn namespace(&self) -> &str {
        &self.namespace
    }

    /// Applies an object on the server's side, as it is written, with every unknown or repeated field an error.
    ///
    /// # Errors
    /// What the server says against it.
    ///
    /// # Panics
    /// When it is of a kind that no test applies.
    pub fn apply(&self, yaml: &str) -> Result<Applied, String> {
        let field = |begin: &str| yaml.lines().find_map(|line| line.strip_prefix(begin)).map(str::to_owned);
        let kind = field("kind: ").expect("a kind");
        let name = field("  name: ").expect("a name");
        let (_, base, plural, namespaced) = KINDS.iter().find(|(known, ..)| *known == kind).expect("a kind that is known");
        let path = match namespaced {
            true => format!("{base}/namespaces/{}/{plural}", self.namespace),
            false => format!("{base}/{plural}"),
        };
        let params = PatchParams {
            field_manager: Some("keyfob-tests".to_owned()),
            force: true,
            field_validation: Some(ValidationDirective::Strict),
            ..PatchParams::default()
        };
        let request = Request::new(&path)
            .patch(&name, &params, &Patch::Apply(json!({})))
            .expect("a request");
        let yaml = yaml.to_owned();
        self.call(async move |client| {
            let answer = client.request::<Value>(request.map(|_| yaml.into_bytes())).await;
            answer.map_err(|error| error.to_string())
        })?;
        Ok(Applied { kind, path, name })
    }

    /// Removes an object that no namespace has.
    ///
    /// # Panics
    /// When the server refuses.
    pub fn remove(&self, applied: &Applied) {
        let request = Request::new(&applied.path).delete(&applied.name, &kube::api::DeleteParams::default());
        let request = request.expect("a request");
        self.call(async move |client| client.request::<Value>(request).await.map_err(|error| error.to_string()))
            .expect("an object that goes");
    }

    /// Whether a service account may do something to an object of the namespace, as the server sees it.
    ///
    /// # Panics
    /// When the server does not answer.
    #[must_use]
    pub fn may(&self, account: &str, verb: &str, group: &str, resource: &str, name: &str) -> bool {
        let (resource, subresource) = resource.split_once('/').unwrap_or((resource, ""));
        let review = json!({
            "apiVersion": "authorization.k8s.io/v1",
            "kind": "SubjectAccessReview",
            "spec": {
                "user": format!("system:serviceaccount:{account}"),
                "resourceAttributes": {
                    "namespace": self.namespace, "verb": verb, "group": group,
                    "resource": resource, "subresource": subresource, "name": name,
                },
            },
        });
        let request = Request::new("/apis/authorization.k8s.io/v1/subjectaccessreviews");
        let body = review.to_string().into_bytes();
        let request = request.create(&kube::api::PostParams::default(), body).expect("a request");
        let answer = self.call(async move |client| client.request::<Value>(request).await.map_err(|error| error.to_string()));
        answer.expect("an answer")["status"]["allowed"] == json!(true)
    }

    /// The server serves a new kind a moment after it took it.
    fn wait_for_kinds(&self) {
        for (_, base, plural, _) in KINDS.iter().filter(|(_, base, ..)| *base == ESO) {
            let path = format!("{base}/{plural}");
            let is_served = (0..200).any(|_| {
                let request = Request::new(&path)
                    .list(&kube::api::ListParams::default())
                    .expect("a request");
                let answer =
                    self.call(async move |client| client.request::<Value>(request).await.map_err(|error| error.to_string()));
                answer.is_ok() || {
                    std::thread::sleep(Duration::from_millis(100));
                    false
                }
            });
            assert!(is_served, "`{plural}` are not served");
        }
    }

    fn call<F>(&self, work: impl FnOnce(Client) -> F + Send + 'static) -> Result<Value, String>
    where
        F: Future<Output = Result<Value, String>> + Send + 'static,
    {
        let kubeconfig = PathBuf::from(&self.kubeconfig);
        kubernetes::run(async move { work(kubernetes::client(kubeconfig).await).await })
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        // What is in it goes with the namespace where controllers run; elsewhere it is found by nobody.
        remove(&self.variables);
    }
}

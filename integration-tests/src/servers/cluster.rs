//! A cluster to which objects are applied: with the kinds of External Secrets, in a namespace of the test's own.

use std::path::PathBuf;
use std::time::Duration;

use kube::api::{DeleteParams, GetParams, ListParams, Patch, PatchParams, PostParams, ValidationDirective};
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

    /// The file with what an administrator has to know.
    #[must_use]
    pub fn kubeconfig(&self) -> &str {
        &self.kubeconfig
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
        self.ask(&path, Call::Apply(name.clone(), yaml.to_owned()))?;
        Ok(Applied { kind, path, name })
    }

    /// Removes an object that no namespace has.
    ///
    /// # Panics
    /// When the server refuses.
    pub fn remove(&self, applied: &Applied) {
        let answer = self.ask(&applied.path, Call::Delete(applied.name.clone()));
        drop(answer.expect("an object that goes"));
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
        let answer = self.ask("/apis/authorization.k8s.io/v1/subjectaccessreviews", Call::Create(review));
        answer.expect("an answer")["status"]["allowed"] == json!(true)
    }

    /// Lets only pods into the namespace that pass the Pod Security Standard `restricted`.
    ///
    /// # Panics
    /// When the server refuses.
    pub fn restrict(&self) {
        let labels = json!({"metadata": {"labels": {"pod-security.kubernetes.io/enforce": "restricted"}}});
        let answer = self.ask("/api/v1/namespaces", Call::Merge(self.namespace.clone(), labels));
        drop(answer.expect("a namespace with a label"));
    }

    /// Makes a pod as the job of this name would, after `change`. No node runs it.
    ///
    /// # Errors
    /// What the server says against it.
    ///
    /// # Panics
    /// When there is no such job.
    pub fn make_pod(&self, cronjob: &str, change: impl FnOnce(&mut Value)) -> Result<(), String> {
        let namespace = &self.namespace;
        let path = format!("/apis/batch/v1/namespaces/{namespace}/cronjobs");
        let job = self.ask(&path, Call::Get(cronjob.to_owned())).expect("a job");
        let mut pod = job["spec"]["jobTemplate"]["spec"]["template"].clone();
        pod["metadata"]["generateName"] = json!(format!("{cronjob}-"));
        change(&mut pod);
        let path = format!("/api/v1/namespaces/{namespace}/pods");
        self.ask(&path, Call::Create(pod)).map(drop)
    }

    /// A kubeconfig for a service account of the namespace, with a token such as its pods get.
    ///
    /// # Panics
    /// When there is no such account.
    #[must_use]
    pub fn kubeconfig_of(&self, account: &str) -> String {
        let path = format!("/api/v1/namespaces/{}/serviceaccounts", self.namespace);
        let wanted = json!({"apiVersion": "authentication.k8s.io/v1", "kind": "TokenRequest", "spec": {}});
        let answer = self.ask(&path, Call::Token(account.to_owned(), wanted)).expect("a token");
        let token = answer["status"]["token"].as_str().expect("a token");
        let config = std::fs::read_to_string(&self.kubeconfig).expect("a kubeconfig");
        let lines = config.lines().map(|line| match line.split_once("token: ") {
            Some((indent, _)) => format!("{indent}token: {token}\n"),
            None => format!("{line}\n"),
        });
        lines.collect()
    }

    /// The server serves a new kind a moment after it took it.
    fn wait_for_kinds(&self) {
        for (_, base, plural, _) in KINDS.iter().filter(|(_, base, ..)| *base == ESO) {
            let path = format!("{base}/{plural}");
            let is_served = (0..200).any(|_| {
                self.ask(&path, Call::List).is_ok() || {
                    std::thread::sleep(Duration::from_millis(100));
                    false
                }
            });
            assert!(is_served, "`{plural}` are not served");
        }
    }

    fn ask(&self, path: &str, call: Call) -> Result<Value, String> {
        let (kubeconfig, path) = (PathBuf::from(&self.kubeconfig), path.to_owned());
        kubernetes::run(async move {
            let to = Request::new(&path);
            let (post, patch) = (PostParams::default(), PatchParams::default());
            let request = match call {
                Call::List => to.list(&ListParams::default()),
                Call::Get(name) => to.get(&name, &GetParams::default()),
                Call::Create(object) => to.create(&post, object.to_string().into_bytes()),
                Call::Merge(name, change) => to.patch(&name, &patch, &Patch::Merge(change)),
                Call::Delete(name) => to.delete(&name, &DeleteParams::default()),
                Call::Token(name, wanted) => to.create_subresource("token", &name, &post, wanted.to_string().into_bytes()),
                Call::Apply(name, yaml) => {
                    let strict = PatchParams {
                        field_manager: Some("keyfob-tests".to_owned()),
                        force: true,
                        field_validation: Some(ValidationDirective::Strict),
                        ..patch
                    };
                    let request = to.patch(&name, &strict, &Patch::Apply(json!({})));
                    request.map(|request| request.map(|_| yaml.into_bytes()))
                }
            };
            let client = kubernetes::client(kubeconfig).await;
            let answer = client.request::<Value>(request.expect("a request")).await;
            answer.map_err(|error| error.to_string())
        })
    }
}

/// What is asked of the server at the path of a kind.
enum Call {
    List,
    Get(String),
    Create(Value),
    Merge(String, Value),
    Delete(String),
    Token(String, Value),
    /// As it is written.
    Apply(String, String),
}

impl Drop for Cluster {
    fn drop(&mut self) {
        // What is in it goes with the namespace where controllers run; elsewhere it is found by nobody.
        remove(&self.variables);
    }
}

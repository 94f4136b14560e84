//! Namespaces of the test bed's cluster, and accounts with few rights in them.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{SystemTime, UNIX_EPOCH};

use http::{Method, Request};
use keyfob_core::{Connected, Environment, Error, SecretStore, StoreUrl};
use keyfob_kubernetes::BACKEND;
use kube::config::{KubeConfigOptions, Kubeconfig};
use kube::{Client, Config};
use serde_json::{Value, json};

/// A namespace of its own.
pub(crate) struct Namespace {
    admin: Client,
    /// The kubeconfig of an administrator.
    pub(crate) kubeconfig: String,
    pub(crate) name: String,
}

impl Namespace {
    /// `None` when there is no cluster.
    pub(crate) async fn make(test: &str) -> Option<Self> {
        let file = keyfob_testkit::server(test, "KEYFOB_TEST_KUBECONFIG")?;
        let kubeconfig = std::fs::read_to_string(file).unwrap();
        let parsed = Kubeconfig::from_yaml(&kubeconfig).unwrap();
        let config = Config::from_custom_kubeconfig(parsed, &KubeConfigOptions::default()).await;
        static NUMBER: AtomicU32 = AtomicU32::new(0);
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_nanos();
        let number = NUMBER.fetch_add(1, Ordering::Relaxed);
        let namespace = Self {
            admin: Client::try_from(config.unwrap()).unwrap(),
            kubeconfig,
            name: format!("kf-{now:x}-{}-{number}", std::process::id()),
        };
        let made = json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": namespace.name}});
        namespace.ask(Method::POST, "/api/v1/namespaces", &made).await.unwrap();
        Some(namespace)
    }

    /// An administrator's store: `object` is empty, or `/NAME` for the keys of one object.
    pub(crate) async fn connect(&self, object: &str) -> Arc<dyn SecretStore> {
        self.connect_as(&self.kubeconfig, object).await.store
    }

    pub(crate) async fn connect_as(&self, kubeconfig: &str, object: &str) -> Connected {
        self.try_connect(kubeconfig, object).await.unwrap()
    }

    pub(crate) async fn try_connect(&self, kubeconfig: &str, object: &str) -> Result<Connected, Error> {
        let environment = environment(kubeconfig);
        let url = StoreUrl::parse(&format!("k8s://{}{object}?timeout=20", self.name)).unwrap();
        (BACKEND.connect)(url, &environment).await
    }

    /// The kubeconfig of a new account that may do this to the secrets of the namespace: verbs, and names or all.
    pub(crate) async fn account(&self, name: &str, rules: &[(&[&str], &[&str])]) -> String {
        let rules: Vec<Value> = rules
            .iter()
            .map(|(verbs, names)| json!({"apiGroups": [""], "resources": ["secrets"], "verbs": verbs, "resourceNames": names}))
            .collect();
        let role = json!({
            "apiVersion": "rbac.authorization.k8s.io/v1", "kind": "Role", "metadata": {"name": name}, "rules": rules,
        });
        let binding = json!({
            "apiVersion": "rbac.authorization.k8s.io/v1", "kind": "RoleBinding", "metadata": {"name": name},
            "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "Role", "name": name},
            "subjects": [{"kind": "ServiceAccount", "name": name, "namespace": self.name}],
        });
        // JSON is YAML.
        self.apply(&role.to_string()).await;
        self.apply(&binding.to_string()).await;
        self.new_account(name).await
    }

    /// Makes a Role or a RoleBinding from YAML.
    pub(crate) async fn apply(&self, yaml: &str) {
        let kind = if yaml.contains("roleRef") { "rolebindings" } else { "roles" };
        let path = format!("/apis/rbac.authorization.k8s.io/v1/namespaces/{}/{kind}", self.name);
        let request = Request::builder()
            .method(Method::POST)
            .uri(path)
            .header("content-type", "application/yaml");
        let made = self
            .admin
            .request::<Value>(request.body(yaml.as_bytes().to_vec()).unwrap())
            .await;
        assert!(made.is_ok(), "{made:?}: {yaml}");
    }

    /// The kubeconfig of a new account, which may do what is bound to its name.
    pub(crate) async fn new_account(&self, name: &str) -> String {
        let accounts = format!("/api/v1/namespaces/{}/serviceaccounts", self.name);
        let account = json!({"apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"name": name}});
        self.ask(Method::POST, &accounts, &account).await.unwrap();
        let wanted = json!({"apiVersion": "authentication.k8s.io/v1", "kind": "TokenRequest", "spec": {}});
        let made = self
            .ask(Method::POST, &format!("{accounts}/{name}/token"), &wanted)
            .await
            .unwrap();
        self.kubeconfig_with(made["status"]["token"].as_str().unwrap())
    }

    /// The kubeconfig of whoever has this token.
    pub(crate) fn kubeconfig_with(&self, token: &str) -> String {
        let line = self
            .kubeconfig
            .lines()
            .find(|line| line.trim().starts_with("token:"))
            .unwrap();
        let indent = &line[..line.len() - line.trim_start().len()];
        self.kubeconfig.replace(line, &format!("{indent}token: {token}"))
    }

    /// Makes a Secret as another tool would.
    pub(crate) async fn make_secret(&self, object: &Value) {
        self.ask(Method::POST, &self.path(""), object).await.unwrap();
    }

    /// Changes a Secret as another tool would.
    pub(crate) async fn patch_secret(&self, name: &str, patch: &Value) {
        self.ask(Method::PATCH, &self.path(name), patch).await.unwrap();
    }

    /// A Secret as the API server has it, if there is one.
    pub(crate) async fn secret(&self, name: &str) -> Option<Value> {
        self.ask(Method::GET, &self.path(name), &Value::Null).await
    }

    pub(crate) async fn delete_secret(&self, name: &str) {
        self.ask(Method::DELETE, &self.path(name), &Value::Null).await.unwrap();
    }

    fn path(&self, name: &str) -> String {
        format!("/api/v1/namespaces/{}/secrets/{name}", self.name)
            .trim_end_matches('/')
            .to_owned()
    }

    /// Removes the namespace with everything in it. No controller runs in the test bed that would.
    pub(crate) async fn remove(self) {
        let rbac = format!("/apis/rbac.authorization.k8s.io/v1/namespaces/{}", self.name);
        let core = format!("/api/v1/namespaces/{}", self.name);
        for collection in [
            format!("{core}/secrets"),
            format!("{core}/serviceaccounts"),
            format!("{rbac}/rolebindings"),
            format!("{rbac}/roles"),
        ] {
            self.ask(Method::DELETE, &collection, &Value::Null).await.unwrap();
        }
        self.ask(Method::DELETE, &core, &Value::Null).await.unwrap();
        // Where controllers run, they may have been faster.
        if let Some(mut namespace) = self.ask(Method::GET, &core, &Value::Null).await {
            namespace["spec"]["finalizers"] = json!([]);
            self.ask(Method::PUT, &format!("{core}/finalize"), &namespace).await;
        }
    }

    /// The API server's answer, if it is no refusal.
    async fn ask(&self, method: Method, path: &str, body: &Value) -> Option<Value> {
        let content_type = match method {
            Method::PATCH => "application/merge-patch+json",
            _ => "application/json",
        };
        let bytes = if body.is_null() {
            Vec::new()
        } else {
            body.to_string().into_bytes()
        };
        let request = Request::builder()
            .method(method)
            .uri(path)
            .header("content-type", content_type);
        self.admin.request(request.body(bytes).unwrap()).await.ok()
    }
}

/// An environment with nothing but this kubeconfig.
pub(crate) fn environment(kubeconfig: &str) -> Environment {
    Environment::fake().file("~/.kube/config", kubeconfig).build()
}

//! The double: what it said of itself when it started, and what it takes besides what Key Vault takes.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{SystemTime, UNIX_EPOCH};

use keyfob_azure::{AzureConfig, AzureStore, BACKEND};
use keyfob_core::{DeleteMode, DeleteOptions, Environment, FakeEnvironment, SecretName, SecretStore, StoreUrl};
use serde_json::{Value, json};
use tokio::sync::{Mutex, MutexGuard};

pub(crate) struct Double {
    said: Value,
    /// The double's faults and counts are for everybody, so tests come one after the other.
    _alone: MutexGuard<'static, ()>,
}

impl Double {
    /// `None` when it does not run: the test says so.
    pub(crate) async fn of(test: &str) -> Option<Self> {
        static ALONE: Mutex<()> = Mutex::const_new(());
        let file = keyfob_testkit::server(test, "KEYFOB_TEST_AZURE_DOUBLE")?;
        Some(Self {
            said: serde_json::from_slice(&std::fs::read(file).unwrap()).unwrap(),
            _alone: ALONE.lock().await,
        })
    }

    pub(crate) fn text(&self, pointer: &str) -> &str {
        self.said.pointer(pointer).and_then(Value::as_str).unwrap()
    }

    /// The environment of an application with this role.
    pub(crate) fn application(&self, role: &str) -> FakeEnvironment {
        self.tenant(role)
            .var("AZURE_CLIENT_SECRET", self.text(&format!("/principals/{role}/client_secret")))
    }

    /// The same without anything to log in with.
    pub(crate) fn tenant(&self, role: &str) -> FakeEnvironment {
        Environment::fake()
            .host_files()
            .var("AZURE_AUTHORITY_HOST", self.text("/authority"))
            .var("AZURE_TENANT_ID", self.text("/tenant_id"))
            .var("AZURE_CLIENT_ID", self.text(&format!("/principals/{role}/client_id")))
    }

    pub(crate) fn url(&self, parameters: &str) -> StoreUrl {
        let host = self.text("/vault_url").strip_prefix("https://").unwrap();
        let ca = self.text("/ca");
        StoreUrl::parse(&format!("azure://{host}?ca={ca}&challenge=unverified{parameters}")).unwrap()
    }

    pub(crate) async fn connect(&self, environment: FakeEnvironment, parameters: &str) -> Arc<dyn SecretStore> {
        let connected = (BACKEND.connect)(self.url(parameters), &environment.build()).await;
        connected.unwrap().store
    }

    pub(crate) fn config(&self, environment: FakeEnvironment) -> AzureConfig {
        AzureConfig::from_url(&self.url(""), &environment.build()).unwrap()
    }

    /// A store with all rights.
    pub(crate) fn store(&self) -> AzureStore {
        AzureStore::connect(&self.config(self.application("all"))).unwrap()
    }

    /// The next `count` requests to `route` are answered so.
    pub(crate) async fn fault(&self, route: &str, status: u16, retry_after: Option<u32>, count: u32) {
        let mut demand = json!({ "route": route, "status": status, "count": count });
        if let Some(seconds) = retry_after {
            demand["retry_after"] = json!(seconds);
        }
        let answer = self.control("faults", reqwest::Method::POST, demand.to_string()).await;
        assert_eq!(answer.status().as_u16(), 204);
    }

    /// The next request to `route` is carried out, and then answered so.
    pub(crate) async fn fault_afterwards(&self, route: &str, status: u16) {
        let demand = json!({ "route": route, "status": status, "afterwards": true });
        let answer = self.control("faults", reqwest::Method::POST, demand.to_string()).await;
        assert_eq!(answer.status().as_u16(), 204);
    }

    /// Forgets the faults that nobody got.
    pub(crate) async fn forget_faults(&self) {
        self.control("faults", reqwest::Method::DELETE, String::new()).await;
    }

    /// How often a route was asked for.
    pub(crate) async fn count(&self, route: &str) -> u64 {
        let counts = self.control("counts", reqwest::Method::GET, String::new()).await;
        let counts: Value = serde_json::from_slice(&counts.bytes().await.unwrap()).unwrap();
        counts[route].as_u64().unwrap_or(0)
    }

    async fn control(&self, what: &str, method: reqwest::Method, body: String) -> reqwest::Response {
        let client = reqwest::Client::builder().no_proxy().tls_certs_only([]).build().unwrap();
        let url = format!("{}/{what}", self.text("/control_url"));
        client.request(method, url).body(body).send().await.unwrap()
    }

    /// Asks the vault without keyfob, as another tool would.
    pub(crate) async fn raw(&self, method: reqwest::Method, path: &str, body: Option<Value>) -> (u16, Value) {
        let url = format!("{}{path}?api-version=2025-07-01", self.text("/vault_url"));
        let mut request = self.client().request(method, url).bearer_auth(self.token().await);
        if let Some(body) = body {
            request = request.header("content-type", "application/json").body(body.to_string());
        }
        let answer = request.send().await.unwrap();
        let status = answer.status().as_u16();
        (
            status,
            serde_json::from_slice(&answer.bytes().await.unwrap()).unwrap_or_default(),
        )
    }

    /// A token for the vault, with all rights.
    pub(crate) async fn token(&self) -> String {
        let form = format!(
            "grant_type=client_credentials&client_id={}&client_secret={}&scope=https%3A%2F%2Fvault.azure.net%2F.default",
            self.text("/principals/all/client_id"),
            self.text("/principals/all/client_secret"),
        );
        let login = format!("{}/{}/oauth2/v2.0/token", self.text("/authority"), self.text("/tenant_id"));
        let request = self
            .client()
            .post(login)
            .header("content-type", "application/x-www-form-urlencoded");
        let answer = request.body(form).send().await.unwrap().bytes().await.unwrap();
        let answer: Value = serde_json::from_slice(&answer).unwrap();
        answer["access_token"].as_str().unwrap().to_owned()
    }

    fn client(&self) -> reqwest::Client {
        let ca = reqwest::Certificate::from_pem(&std::fs::read(self.text("/ca")).unwrap()).unwrap();
        reqwest::Client::builder().no_proxy().tls_certs_only([ca]).build().unwrap()
    }
}

pub(crate) fn name(text: &str) -> SecretName {
    SecretName::new(text).unwrap()
}

/// A word that nobody else has in the vault.
pub(crate) fn unique() -> String {
    static NUMBER: AtomicU32 = AtomicU32::new(0);
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_micros();
    format!("t{now:x}n{}", NUMBER.fetch_add(1, Ordering::Relaxed))
}

pub(crate) fn permanent() -> DeleteOptions {
    DeleteOptions {
        mode: DeleteMode::Permanent,
    }
}

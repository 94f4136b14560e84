//! What the tests against the double share: a store, what another tool would do, and a machine's metadata service.

use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{SystemTime, UNIX_EPOCH};

use keyfob_core::{Environment, Error, GetOptions, GetRequest, PutRequest, Secret, SecretName, VersionSelector};
use keyfob_gcp::{GcpConfig, GcpStore};
use reqwest::{Client, Method};
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpListener;

/// The double, and one project in it that nobody else uses.
pub(crate) struct Double {
    pub(crate) url: String,
    pub(crate) project: String,
    client: Client,
}

impl Double {
    /// `None` where there is no double; the test is then told as skipped.
    pub(crate) fn of_test(test: &str) -> Option<Self> {
        static NUMBER: AtomicU32 = AtomicU32::new(0);
        let url = keyfob_testkit::server(test, "KEYFOB_TEST_GCP_DOUBLE_URL")?;
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_millis();
        let number = NUMBER.fetch_add(1, Ordering::Relaxed);
        Some(Self {
            url,
            project: format!("kf-{:x}-{now:x}-{number}", std::process::id()),
            client: Client::new(),
        })
    }

    /// A store without credentials.
    pub(crate) async fn store(&self) -> GcpStore {
        self.store_with("").await
    }

    /// The same with more parameters, each with `&` in front.
    pub(crate) async fn store_with(&self, parameters: &str) -> GcpStore {
        self.connect(parameters, &Environment::fake().build()).await.unwrap()
    }

    pub(crate) async fn connect(&self, parameters: &str, environment: &Environment) -> keyfob_core::Result<GcpStore> {
        let url = format!("gcp://{}?endpoint={}{parameters}", self.project, self.url);
        GcpStore::connect(&GcpConfig::from_url(&url.parse()?, environment)?).await
    }

    /// A store whose machine gives out this token, which the double knows.
    pub(crate) async fn store_as(&self, token: &str) -> GcpStore {
        let environment = Environment::fake().var("GCE_METADATA_HOST", machine(token).await).build();
        self.connect("&credentials=default", &environment).await.unwrap()
    }

    /// What another tool asks below the project, and the answer if it is a success.
    pub(crate) async fn ask(&self, method: Method, path: &str, body: Value) -> Value {
        let url = format!("{}/v1/projects/{}/secrets{path}", self.url, self.project);
        let mut request = self.client.request(method.clone(), url);
        if method != Method::GET {
            request = request.header("content-type", "application/json").body(body.to_string());
        }
        let answer = request.send().await.unwrap();
        let (status, text) = (answer.status(), answer.text().await.unwrap());
        assert!(status.is_success(), "{status}: {text}");
        serde_json::from_str(&text).unwrap()
    }

    /// Makes a secret as another tool does, without a value.
    pub(crate) async fn make(&self, id: &str) {
        self.ask(
            Method::POST,
            &format!("?secretId={id}"),
            json!({"replication": {"automatic": {}}}),
        )
        .await;
    }

    /// Adds a version as another tool does. The value is base64 of `kfcanary-double001`, then the number.
    pub(crate) async fn add(&self, id: &str) {
        let body = json!({"payload": {"data": "a2ZjYW5hcnktZG91YmxlMDAx"}});
        self.ask(Method::POST, &format!("/{id}:addVersion"), body).await;
    }

    pub(crate) async fn set_state(&self, id: &str, version: u64, verb: &str) {
        self.ask(Method::POST, &format!("/{id}/versions/{version}:{verb}"), json!({}))
            .await;
    }

    /// The states of all versions, oldest first.
    pub(crate) async fn states(&self, id: &str) -> Vec<String> {
        let listed = self.ask(Method::GET, &format!("/{id}/versions"), Value::Null).await;
        let versions = listed["versions"].as_array().cloned().unwrap_or_default();
        let mut states: Vec<(u64, String)> = versions
            .iter()
            .map(|version| {
                let number = version["name"].as_str().unwrap().rsplit('/').next().unwrap();
                (number.parse().unwrap(), version["state"].as_str().unwrap().to_owned())
            })
            .collect();
        states.sort();
        states.into_iter().map(|(_, state)| state).collect()
    }

    /// Plans a fault for one request of this project.
    pub(crate) async fn fault(&self, fault: &str, method: &str, count: u32) {
        self.plan(json!({ "fault": fault, "method": method, "count": count, "retryDelay": "7s" }))
            .await;
    }

    /// The next request is carried out, and then answered so.
    pub(crate) async fn fault_afterwards(&self, fault: &str, method: &str) {
        self.plan(json!({ "fault": fault, "method": method, "count": 1, "afterwards": true }))
            .await;
    }

    async fn plan(&self, mut body: Value) {
        body["resource"] = json!(self.project);
        let request = self
            .client
            .post(format!("{}/_double/faults", self.url))
            .body(body.to_string());
        let answer = request.send().await.unwrap();
        assert!(answer.status().is_success(), "{}", answer.text().await.unwrap());
    }

    /// A file with credentials that the double knows: `serviceAccount` or `authorizedUser`.
    pub(crate) async fn file(&self, kind: &str) -> Option<String> {
        let answer = self.client.get(format!("{}/_double", self.url)).send().await.unwrap();
        let line: Value = serde_json::from_str(&answer.text().await.unwrap()).unwrap();
        line["files"][kind].as_str().map(str::to_owned)
    }
}

pub(crate) const OTHERS: &[u8] = b"kfcanary-double001";

pub(crate) fn name(text: &str) -> SecretName {
    SecretName::new(text).unwrap()
}

pub(crate) fn version(token: &str) -> GetOptions {
    GetOptions::version(VersionSelector::parse(token).unwrap())
}

pub(crate) fn put(value: &str) -> PutRequest {
    PutRequest::new(value)
}

/// The value that `get` and `get_many` give, which must be the same.
pub(crate) async fn read(store: &GcpStore, text: &str, options: &GetOptions) -> Result<Vec<u8>, Error> {
    use keyfob_core::SecretStore as _;
    let request = || GetRequest {
        name: name(text),
        options: options.clone(),
    };
    // A batch of one asks in another way than one of two.
    let other = GetRequest::new(name("no-such-secret"));
    let alone = store.get_many(&[request()]).await.remove(0);
    let batch = store.get_many(&[request(), other]).await.remove(0);
    let single = store.get(&name(text), options).await;
    let bytes = |answer: Result<Secret, Error>| answer.map(|secret| secret.value.expose_secret().to_vec());
    let (alone, batch, single) = (bytes(alone), bytes(batch), bytes(single));
    let same = |one: &Result<Vec<u8>, Error>, other: &Result<Vec<u8>, Error>| match (one, other) {
        (Ok(one), Ok(other)) => one == other,
        (Err(one), Err(other)) => one.kind() == other.kind(),
        _ => false,
    };
    assert!(
        same(&alone, &single) && same(&batch, &single),
        "`get` and `get_many` differ for `{text}`"
    );
    single
}

/// A metadata service on 127.0.0.1 that gives out one token. Its address.
pub(crate) async fn machine(token: &str) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap().to_string();
    let body = json!({"access_token": token, "expires_in": 3599, "token_type": "Bearer"}).to_string();
    tokio::spawn(async move {
        while let Ok((mut connection, _)) = listener.accept().await {
            let mut request = [0; 4096];
            let read = connection.read(&mut request).await.unwrap_or_default();
            let head = String::from_utf8_lossy(&request[..read]).to_lowercase();
            let (status, body) = match head.contains("metadata-flavor: google") {
                true if head.contains("/token") => ("200 OK", body.as_str()),
                true if head.contains("/project/project-id") => ("200 OK", "of-the-machine"),
                _ => ("403 Forbidden", ""),
            };
            let answer = format!(
                "HTTP/1.1 {status}\r\nmetadata-flavor: Google\r\ncontent-type: application/json\r\ncontent-length: {}\r\nconnection: close\r\n\r\n{body}",
                body.len()
            );
            let _ = connection.write_all(answer.as_bytes()).await;
        }
    });
    address
}

//! The servers of the test bed, as variables for a program that is started.

pub mod cluster;
mod kubernetes;

use std::io::{self, Read as _, Write as _};
use std::net::TcpStream;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// What a program needs to use a server, in a place there that nobody else has; `None`, after
/// [`keyfob_testkit::skip`], when there is no such server. [`remove`] takes the place away, when it is empty.
///
/// # Panics
/// With `CI` set and no such server.
#[must_use]
pub fn variables(test: &str, provider: Provider) -> Option<Vec<(&'static str, String)>> {
    let server = |variable| keyfob_testkit::server(test, variable);
    let prefix = prefix();
    Some(match provider {
        Provider::Aws => vec![
            ("AWS_ENDPOINT_URL", server("KEYFOB_TEST_LOCALSTACK_URL")?),
            ("AWS_SECRET_MANAGER_REGION", "us-east-1".to_owned()),
            ("AWS_ACCESS_KEY_ID", "test".to_owned()),
            ("AWS_SECRET_ACCESS_KEY", "test".to_owned()),
            ("AWS_SECRET_PREFIX", format!("{prefix}/")),
        ],
        Provider::Vault | Provider::VaultKv1 => {
            let address = server("KEYFOB_TEST_OPENBAO_URL")?;
            let token = server("KEYFOB_TEST_OPENBAO_TOKEN")?;
            let mount = match provider {
                Provider::VaultKv1 => {
                    let (url, header) = (
                        format!("{address}/v1/sys/mounts/{prefix}"),
                        [("X-Vault-Token", token.as_str())],
                    );
                    let _ = send("POST", &url, &header, r#"{"type":"kv","options":{"version":"1"}}"#);
                    ("VAULT_PATH", prefix)
                }
                _ => ("VAULT_PREFIX", prefix),
            };
            let mut variables = vec![("VAULT_ADDR", address), ("VAULT_TOKEN", token), mount];
            if provider == Provider::VaultKv1 {
                variables.push(("VAULT_KV_VERSION", "1".to_owned()));
            }
            variables
        }
        Provider::Postgres => {
            let (server, schema) = (server("KEYFOB_TEST_POSTGRES_URL")?, prefix.replace('-', "_"));
            vec![("POSTGRES_URL", format!("{server}?schema={schema}"))]
        }
        Provider::Gcp => vec![
            (
                "SECRET_PROVIDER",
                format!("gcp://keyfob-test?endpoint={}", server("KEYFOB_TEST_GCP_DOUBLE_URL")?),
            ),
            ("GCP_SECRET_PREFIX", format!("{prefix}/")),
        ],
        Provider::Azure => vec![
            (
                "SECRET_PROVIDER",
                format!("azure:?challenge=unverified&ca={}", server("KEYFOB_TEST_AZURE_CA")?),
            ),
            ("AZURE_KEYVAULT_URL", server("KEYFOB_TEST_AZURE_URL")?),
            ("AZURE_AUTHORITY_HOST", server("KEYFOB_TEST_AZURE_AUTHORITY")?),
            ("AZURE_TENANT_ID", server("KEYFOB_TEST_AZURE_TENANT_ID")?),
            ("AZURE_CLIENT_ID", server("KEYFOB_TEST_AZURE_CLIENT_ID")?),
            ("AZURE_CLIENT_SECRET", server("KEYFOB_TEST_AZURE_CLIENT_SECRET")?),
            ("AZURE_SECRET_PREFIX", format!("{prefix}-")),
        ],
        Provider::Kubernetes | Provider::KubernetesObject => {
            let kubeconfig = server("KEYFOB_TEST_KUBECONFIG")?;
            kubernetes::make_namespace(&kubeconfig, &prefix);
            let mut variables = vec![("KUBECONFIG", kubeconfig), ("K8S_SECRET_NAMESPACE", prefix)];
            if provider == Provider::KubernetesObject {
                variables.push(("K8S_SECRET_NAME", "app".to_owned()));
            }
            variables
        }
    })
}

/// A store that has a server in the test bed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Provider {
    /// AWS Secrets Manager: LocalStack.
    Aws,
    /// Vault: OpenBao, its mount `secret`.
    Vault,
    /// Vault: OpenBao, a mount of version 1.
    VaultKv1,
    /// The encrypted store in PostgreSQL. `keyfob init` makes it.
    Postgres,
    /// Google Cloud Secret Manager: its double. The variables say the store's whole URL.
    Gcp,
    /// Azure Key Vault: its double. The variables say the store's whole URL.
    Azure,
    /// Kubernetes, an object for each secret.
    Kubernetes,
    /// Kubernetes, one object whose keys are the secrets.
    KubernetesObject,
}

impl Provider {
    /// Every one.
    pub const ALL: [Self; 8] = [
        Self::Aws,
        Self::Vault,
        Self::VaultKv1,
        Self::Postgres,
        Self::Gcp,
        Self::Azure,
        Self::Kubernetes,
        Self::KubernetesObject,
    ];

    /// The name in `SECRET_PROVIDER`.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Aws => "aws",
            Self::Vault | Self::VaultKv1 => "vault",
            Self::Postgres => "postgres",
            Self::Gcp => "gcp",
            Self::Azure => "azure",
            Self::Kubernetes | Self::KubernetesObject => "k8s",
        }
    }
}

/// What these variables of [`variables`] have in `SECRET_PROVIDER`: a URL, or the name of the provider.
#[must_use]
pub fn store(variables: &[(&'static str, String)], provider: Provider) -> String {
    let given = variables.iter().find(|(name, _)| *name == "SECRET_PROVIDER");
    given.map_or_else(|| provider.name().to_owned(), |(_, url)| url.clone())
}

/// Removes the place that these variables of [`variables`] name, where it is not only a prefix.
///
/// # Panics
/// When the server can't be reached or refuses.
pub fn remove(variables: &[(&'static str, String)]) {
    let value = |wanted: &str| {
        variables
            .iter()
            .find(|(name, _)| *name == wanted)
            .map(|(_, value)| value.as_str())
    };
    if let (Some(address), Some(token), Some(mount)) = (value("VAULT_ADDR"), value("VAULT_TOKEN"), value("VAULT_PATH")) {
        let _ = send(
            "DELETE",
            &format!("{address}/v1/sys/mounts/{mount}"),
            &[("X-Vault-Token", token)],
            "",
        );
    }
    if let Some((server, schema)) = value("POSTGRES_URL").and_then(|url| url.split_once("?schema=")) {
        remove_schema(server, schema);
    }
    if let (Some(kubeconfig), Some(namespace)) = (value("KUBECONFIG"), value("K8S_SECRET_NAMESPACE")) {
        kubernetes::remove_namespace(kubeconfig, namespace);
    }
}

fn remove_schema(server: &str, schema: &str) {
    on_postgres(server, async |client| {
        let sql = format!("DROP SCHEMA IF EXISTS {schema} CASCADE");
        client.batch_execute(&sql).await.expect("a schema that goes");
    });
}

/// Does some work in a session of PostgreSQL.
///
/// # Panics
/// When the server can't be reached.
pub fn on_postgres(server: &str, work: impl AsyncFnOnce(&tokio_postgres::Client)) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    runtime.expect("an event loop").block_on(async {
        let connected = tokio_postgres::connect(server, tokio_postgres::NoTls).await;
        let (client, connection) = connected.expect("a server");
        let listening = tokio::spawn(connection);
        work(&client).await;
        drop(client);
        let _ = listening.await;
    });
}

/// Made of the time and the process, so that two runs at once on one server do not meet.
fn prefix() -> String {
    static NUMBER: AtomicU32 = AtomicU32::new(0);
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_nanos();
    let number = NUMBER.fetch_add(1, Ordering::Relaxed);
    format!("kt-{now:x}-{}-{number}", std::process::id())
}

/// Sends a request to a server of the test bed, to set up what keyfob itself has no words for, and gives the
/// answer's body.
///
/// # Panics
/// When the server can't be reached or its answer is not a success.
#[must_use]
pub fn send(method: &str, url: &str, headers: &[(&str, &str)], body: &str) -> String {
    let (status, body) = try_send(method, url, headers, body).expect("an answer");
    assert!((200..300).contains(&status), "`{url}` was answered with {status}: {body}");
    body
}

/// As [`send`], and gives the status too, whatever it is.
///
/// # Errors
/// When the server can't be reached or says what is no answer.
pub fn try_send(method: &str, url: &str, headers: &[(&str, &str)], body: &str) -> io::Result<(u16, String)> {
    let address = url.strip_prefix("http://").ok_or(io::ErrorKind::InvalidInput)?;
    let (host, path) = address.split_once('/').unwrap_or((address, ""));
    let mut stream = TcpStream::connect(host)?;
    stream.set_read_timeout(Some(Duration::from_secs(20)))?;
    let mut request = format!(
        "{method} /{path} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\nContent-Length: {}\r\n",
        body.len()
    );
    for (name, value) in headers {
        request.push_str(&format!("{name}: {value}\r\n"));
    }
    stream.write_all(format!("{request}\r\n{body}").as_bytes())?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer)?;
    let (head, body) = answer.split_once("\r\n\r\n").ok_or(io::ErrorKind::UnexpectedEof)?;
    let status = head.split(' ').nth(1).and_then(|status| status.parse().ok());
    Ok((status.ok_or(io::ErrorKind::InvalidData)?, body.to_owned()))
}

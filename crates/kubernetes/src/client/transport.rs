//! The HTTP client below kube's: HTTP/2 where the server has it, one connection for all requests.

use std::time::Duration;

use hyper_rustls::{FixedServerNameResolver, HttpsConnectorBuilder};
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::{TokioExecutor, TokioTimer};
use keyfob_core::{Error, ErrorKind, Result};
use kube::client::{Body, ConfigExt as _};
use kube::{Client, Config};
use tower::{BoxError, ServiceBuilder};

use crate::config::{Access, KubernetesConfig, invalid};

/// The longest that the program which gives credentials may take. It may ask its user to log in.
const MOST_TIME_OF_PROGRAM: Duration = Duration::from_secs(120);
/// A connection on which nothing is heard is asked this often whether the server is still there.
const KEEP_ALIVE: Duration = Duration::from_secs(30);
const KEEP_ALIVE_TIMEOUT: Duration = Duration::from_secs(10);

/// Makes the client of one cluster. No connection is made.
pub(super) async fn client(config: &KubernetesConfig, access: &Access) -> Result<Client> {
    let mut kube = access.kube.clone();
    kube.connect_timeout = Some(config.connect_timeout.min(config.timeout));
    kube.root_cert_file = access.authority_file.clone();
    let failed = |error: &kube::Error| unusable(error).with("config", access.source.as_str());
    if !access.runs_program {
        return build(kube).map_err(|error| failed(&error));
    }
    // kube waits for the program, and the buffer of requests needs the runtime.
    let runtime = tokio::runtime::Handle::current();
    let building = tokio::task::spawn_blocking(move || {
        let _inside = runtime.enter();
        build(kube)
    });
    match tokio::time::timeout(MOST_TIME_OF_PROGRAM, building).await {
        Ok(Ok(built)) => built.map_err(|error| failed(&error)),
        Ok(Err(_)) => Err(program_failed().with("config", access.source.as_str())),
        Err(_) => Err(Error::new(
            ErrorKind::Timeout,
            "the program that gives the cluster's credentials does not end",
        )
        .with("config", access.source.as_str())),
    }
}

fn build(mut config: Config) -> Result<Client, kube::Error> {
    let auth = config.auth_layer()?;
    if auth.is_some() {
        // It gave a token, so it need not run again to be asked for a certificate.
        config.auth_info.exec = None;
    }
    let headers = config.extra_headers_layer()?;
    if config.cluster_url.scheme_str() == Some("http") {
        // Without TLS there is no need to load the system's authorities, which takes long.
        config.root_cert = Some(Vec::new());
    }
    let mut tls = config.rustls_client_config();
    if tls.is_err() && config.root_cert_file.take().is_some() {
        // Then it can't be read again, and what was read once has to do.
        tls = config.rustls_client_config();
    }
    let mut tcp = HttpConnector::new();
    tcp.enforce_http(false);
    tcp.set_nodelay(true);
    tcp.set_connect_timeout(config.connect_timeout);
    let mut https = HttpsConnectorBuilder::new().with_tls_config(tls?).https_or_http();
    if let Some(name) = &config.tls_server_name {
        let name = name
            .clone()
            .try_into()
            .map_err(kube::client::RustlsTlsError::InvalidServerName);
        https = https.with_server_name_resolver(FixedServerNameResolver::new(name.map_err(kube::Error::RustlsTls)?));
    }
    let https = https.enable_all_versions().wrap_connector(tcp);
    let hyper = hyper_util::client::legacy::Client::builder(TokioExecutor::new())
        .timer(TokioTimer::new())
        .pool_timer(TokioTimer::new())
        .http2_keep_alive_interval(KEEP_ALIVE)
        .http2_keep_alive_timeout(KEEP_ALIVE_TIMEOUT)
        // So that a connection that died meanwhile is not found out about by a request that waits in vain.
        .http2_keep_alive_while_idle(true)
        // A hundred answers at once should not wait for each other.
        .http2_initial_stream_window_size(1 << 20)
        .http2_initial_connection_window_size(16 << 20)
        .build::<_, Body>(https);
    // Without kube's layer that retries, and without the one that logs.
    let service = ServiceBuilder::new()
        .layer(config.base_uri_layer())
        .option_layer(auth)
        .layer(headers)
        .map_err(BoxError::from)
        .service(hyper);
    Ok(Client::new(service, config.default_namespace))
}

/// kube's own errors can quote the kubeconfig and what the program printed.
fn unusable(error: &kube::Error) -> Error {
    match error {
        kube::Error::Auth(auth) => of_program(auth),
        kube::Error::RustlsTls(_) => invalid("the certificates of the cluster's configuration can't be used")
            .with_hint("the authority and the client's certificate and key must be in PEM"),
        kube::Error::InferKubeconfig(_) => invalid("the client's certificate and key can't be used")
            .with_hint("a certificate needs its key, both in base64 of PEM"),
        _ => invalid("the cluster's configuration can't be used"),
    }
}

pub(crate) fn of_program(error: &kube::client::AuthError) -> Error {
    use kube::client::AuthError::{AuthExecRun, AuthExecStart};
    match error {
        AuthExecStart(below) => program_failed().with("reason", below.kind().to_string()),
        AuthExecRun { out, .. } => match out.status.code() {
            Some(code) => program_failed().with("exit_code", code.to_string()),
            None => program_failed(),
        },
        _ => program_failed(),
    }
}

fn program_failed() -> Error {
    Error::new(
        ErrorKind::Unauthenticated,
        "the program that gives the cluster's credentials failed",
    )
    .with_hint("run `kubectl get secrets` to see what it says, and log in again with the cloud's tool")
}

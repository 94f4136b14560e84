//! Where the API server is and who asks it: a kubeconfig, or the service account of a pod.

use std::fmt;
use std::path::{Path, PathBuf};

use data_encoding::BASE64;
use keyfob_core::{Environment, Error, ErrorKind, Result, SecretValue};
use kube::Config;
use kube::config::{AuthInfo, Cluster, Context, Kubeconfig, NamedAuthInfo, NamedCluster, NamedContext};

use super::{KubernetesConfig, check_namespace, invalid, kubeconfig, variable};

/// Where a pod finds its service account.
const ACCOUNT: &str = "/var/run/secrets/kubernetes.io/serviceaccount";
/// The largest kubeconfig, and the largest file of certificates, keys or a token, in bytes.
pub(super) const MAX_FILE_BYTES: usize = 4 << 20;

/// All that is needed to ask an API server.
pub(crate) struct Access {
    /// kube's own, without the credentials that [`token`](Self::token) has.
    pub(crate) kube: Config,
    pub(crate) token: Token,
    pub(crate) namespace: String,
    /// Where this comes from, in words.
    pub(crate) source: String,
    /// As whom the cluster is asked, and what made it so, in words.
    pub(crate) identity: String,
    /// A program gives the credentials.
    pub(crate) runs_program: bool,
    /// The server's authority, when it may change while the process runs.
    pub(crate) authority_file: Option<PathBuf>,
}

/// What is sent as the bearer token, as far as kube doesn't see to it.
pub(crate) enum Token {
    /// None, or kube's.
    None,
    Text(SecretValue),
    /// Read again and again: the kubelet renews it.
    File(PathBuf),
}

impl Access {
    /// Looks for the cluster and the credentials. Runs no program and asks nobody.
    ///
    /// # Errors
    /// `InvalidConfig` when there is none, or something is wrong with it; says where it was looked for.
    pub(crate) fn find(config: &KubernetesConfig) -> Result<Self> {
        let environment = &config.environment;
        if let Some(file) = &config.kubeconfig {
            return kubeconfig::access(config, &[environment.absolute(file)], "the URL names it");
        }
        if let Some(files) = variable(environment, "KUBECONFIG")? {
            let files: Vec<PathBuf> = files
                .split(':')
                .filter(|file| !file.is_empty())
                .map(|file| environment.absolute(file))
                .collect();
            return kubeconfig::access(config, &files, "the variable `KUBECONFIG`");
        }
        // Who names a context means a kubeconfig.
        if config.context.is_none()
            && let Some(access) = in_pod(environment)?
        {
            return Ok(access);
        }
        let usual = environment.absolute("~/.kube/config");
        if environment.is_file(&usual) {
            return kubeconfig::access(config, &[usual], "the usual file");
        }
        Err(invalid("there is no cluster").with_hint(
            "keyfob looked for `KUBECONFIG`, for the service account of a pod (`KUBERNETES_SERVICE_HOST`), and for \
             `~/.kube/config`; a file can be named as `k8s://NAMESPACE?kubeconfig=FILE`",
        ))
    }
}

impl fmt::Debug for Access {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Access").field("source", &self.source).finish_non_exhaustive()
    }
}

/// The service account of the pod that this process runs in, if it runs in one.
fn in_pod(environment: &Environment) -> Result<Option<Access>> {
    let Some(host) = variable(environment, "KUBERNETES_SERVICE_HOST")? else {
        return Ok(None);
    };
    let port = variable(environment, "KUBERNETES_SERVICE_PORT")?.unwrap_or_else(|| "443".to_owned());
    let account = Path::new(ACCOUNT);
    let (token, authority) = (account.join("token"), account.join("ca.crt"));
    // A pod can be told to have none (`automountServiceAccountToken: false`).
    if !environment.is_file(&token) {
        return Ok(None);
    }
    let certificates = read(environment, &authority)?;
    let host = match host.parse::<std::net::Ipv6Addr>() {
        Ok(address) => format!("[{address}]"),
        Err(_) => host,
    };
    let cluster = Cluster {
        server: Some(format!("https://{host}:{port}")),
        certificate_authority_data: Some(BASE64.encode(&certificates)),
        ..Cluster::default()
    };
    let namespace = environment.read(account.join("namespace"), 256).ok();
    let namespace = namespace.and_then(|bytes| String::from_utf8(bytes).ok());
    let namespace = namespace.map(|text| text.trim().to_owned()).filter(|text| !text.is_empty());
    let context = Context {
        namespace,
        ..Context::default()
    };
    let mut access = of_context("the pod's service account", cluster, AuthInfo::default(), context)?;
    access.token = Token::File(token);
    access.identity = "the pod's service account (the variable `KUBERNETES_SERVICE_HOST`)".to_owned();
    access.authority_file = Some(authority);
    Ok(Some(access))
}

/// What kube makes of one cluster and one user.
pub(super) fn of_context(source: &str, cluster: Cluster, user: AuthInfo, context: Context) -> Result<Access> {
    let wrong = |error: Error| error.with("config", source);
    check_server(cluster.server.as_deref().unwrap_or_default()).map_err(wrong)?;
    if cluster.proxy_url.as_deref().is_some_and(|proxy| !proxy.is_empty()) {
        let error = invalid("the cluster is behind a proxy (`proxy-url`), which is not supported");
        return Err(wrong(error.with_hint("keyfob asks the API server directly, over HTTPS")));
    }
    if let Some(namespace) = &context.namespace {
        check_namespace(namespace).map_err(wrong)?;
    }
    let kubeconfig = Kubeconfig {
        clusters: vec![NamedCluster {
            name: ONLY.to_owned(),
            cluster: Some(cluster),
            ..NamedCluster::default()
        }],
        auth_infos: vec![NamedAuthInfo {
            name: ONLY.to_owned(),
            auth_info: Some(user),
            ..NamedAuthInfo::default()
        }],
        contexts: vec![NamedContext {
            name: ONLY.to_owned(),
            context: Some(Context {
                cluster: ONLY.to_owned(),
                user: Some(ONLY.to_owned()),
                ..context
            }),
            ..NamedContext::default()
        }],
        current_context: Some(ONLY.to_owned()),
        ..Kubeconfig::default()
    };
    let kube = Config::try_from(kubeconfig);
    // kube's own errors can quote the file.
    let kube = kube.map_err(|error| wrong(invalid(words(&error))))?;
    Ok(Access {
        namespace: kube.default_namespace.clone(),
        runs_program: kube.auth_info.exec.is_some() || kube.auth_info.auth_provider.is_some(),
        kube,
        token: Token::None,
        source: source.to_owned(),
        identity: String::new(),
        authority_file: None,
    })
}

/// The file's bytes.
pub(super) fn read(environment: &Environment, file: &Path) -> Result<Vec<u8>> {
    environment.read(file, MAX_FILE_BYTES).map_err(|error| {
        let kind = match error.kind() {
            std::io::ErrorKind::PermissionDenied => ErrorKind::PermissionDenied,
            _ => ErrorKind::InvalidConfig,
        };
        Error::new(kind, "a file of the cluster's configuration can't be read")
            .with("file", file.display().to_string())
            .with_source(error)
    })
}

/// The name of what stands alone.
const ONLY: &str = "keyfob";

/// Never repeats the address: it could have a password in it.
fn check_server(server: &str) -> Result<()> {
    let wrong = |message: &'static str| Err(invalid(message).with_hint("it is like `https://kubernetes.example:6443`"));
    if server.is_empty() {
        return wrong("the cluster has no address (`server`)");
    }
    match server.parse::<http::Uri>() {
        Ok(uri)
            if matches!(uri.scheme_str(), Some("http" | "https"))
                && uri.authority().is_some_and(|authority| !authority.as_str().contains('@'))
                && uri.query().is_none() =>
        {
            Ok(())
        }
        _ => wrong("the address of the cluster (`server`) is not that of an API server"),
    }
}

fn words(error: &kube::config::KubeconfigError) -> &'static str {
    use kube::config::KubeconfigError::{
        LoadCertificateAuthority, LoadClientCertificate, LoadClientKey, ParseCertificates, ParseProxyUrl,
    };
    match error {
        ParseProxyUrl(_) => "`HTTPS_PROXY` is not the address of a proxy",
        LoadCertificateAuthority(_) => "the cluster's `certificate-authority-data` is not base64",
        ParseCertificates(_) => "the cluster's certificate authority is not in PEM",
        LoadClientCertificate(_) => "the user's `client-certificate-data` is not base64, or is not there",
        LoadClientKey(_) => "the user's `client-key-data` is not base64, or is not there",
        _ => "the kubeconfig can't be understood",
    }
}

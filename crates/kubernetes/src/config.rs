//! How a store is opened: typed, from a URL, from the environment.

mod access;
mod kubeconfig;

use std::fmt;
use std::path::PathBuf;
use std::time::Duration;

use keyfob_core::{Environment, Error, ErrorKind, Parameter, Result, StoreUrl};

pub(crate) use self::access::{Access, Token};
use crate::names::is_object_name;

/// Which secrets of which cluster, as whom, and how long to wait.
///
/// What stands in no field (the cluster's address, credentials) is looked for when the store is connected, in the
/// environment that this was made from.
#[derive(Clone)]
#[non_exhaustive]
pub struct KubernetesConfig {
    /// The namespace; `None`: that of the context, else of the pod, else `default`.
    pub namespace: Option<String>,
    /// The Secret object whose keys are the secrets; `None`: each secret is an object of its own.
    pub secret: Option<String>,
    /// The context of the kubeconfig; `None`: its current one.
    pub context: Option<String>,
    /// The kubeconfig file, and no other; `None`: `KUBECONFIG`, the pod, `~/.kube/config`, the first there is.
    pub kubeconfig: Option<PathBuf>,
    /// The longest that one request may take, answer included.
    pub timeout: Duration,
    /// The longest that connecting may take.
    pub connect_timeout: Duration,
    pub(crate) environment: Environment,
}

impl KubernetesConfig {
    /// The parameters that a store's URL takes.
    pub const PARAMETERS: &'static [Parameter] = &[
        Parameter {
            name: "context",
            help: "the context of the kubeconfig (default: its current one)",
        },
        Parameter {
            name: "kubeconfig",
            help: "the kubeconfig file, and no other (default: `KUBECONFIG`, inside of a pod its service account, else \
                   `~/.kube/config`)",
        },
        Parameter {
            name: "timeout",
            help: "how many seconds one request may take, 1 to 300 (default 10)",
        },
    ];

    /// What the environment says: `K8S_SECRET_NAMESPACE` and `K8S_SECRET_NAME`. A blank variable counts as unset.
    ///
    /// # Errors
    /// `InvalidConfig` when a variable is not text or can't be right.
    pub fn from_environment(environment: &Environment) -> Result<Self> {
        let mut config = Self::open(environment);
        config.namespace = variable(environment, "K8S_SECRET_NAMESPACE")?;
        config.secret = variable(environment, "K8S_SECRET_NAME")?;
        config.check()?;
        Ok(config)
    }

    /// Reads a URL: `k8s://NAMESPACE` or `k8s://NAMESPACE/NAME`, which say all; `k8s:` takes namespace and name from the
    /// environment, `k8s:///NAME` the namespace.
    ///
    /// # Errors
    /// `InvalidConfig` for an unknown parameter or a wrong value.
    pub fn from_url(url: &StoreUrl, environment: &Environment) -> Result<Self> {
        let path = url.path()?;
        let name = path.strip_prefix('/');
        let is_odd = name.is_none() && !path.is_empty() || name.is_some_and(|name| name.contains('/'));
        if is_odd || url.user().is_some() || url.password().is_some() || url.port().is_some() {
            return Err(invalid("only a namespace and the name of a Secret can follow `k8s:`")
                .with("url", url.to_string())
                .with_hint(
                    "write `k8s://NAMESPACE` or `k8s://NAMESPACE/NAME`; the cluster and the credentials come from the kubeconfig",
                ));
        }
        let name = name.filter(|name| !name.is_empty()).map(str::to_owned);
        let mut config = Self::open(environment);
        match (url.host(), name) {
            (Some(namespace), name) => {
                config.namespace = Some(namespace.to_owned());
                config.secret = name;
            }
            (None, Some(name)) => {
                config.namespace = variable(environment, "K8S_SECRET_NAMESPACE")?;
                config.secret = Some(name);
            }
            (None, None) => {
                config.namespace = variable(environment, "K8S_SECRET_NAMESPACE")?;
                config.secret = variable(environment, "K8S_SECRET_NAME")?;
            }
        }
        let mut parameters = url.parameters();
        config.context = parameters.take("context");
        config.kubeconfig = parameters.take("kubeconfig").map(|file| match url.base() {
            Some(base) if !file.starts_with('~') => base.join(file),
            _ => file.into(),
        });
        let seconds = parameters.take_parsed::<u64>("timeout", "a number of seconds from 1 to 300")?;
        parameters.finish()?;
        if let Some(seconds) = seconds {
            config.timeout = Duration::from_secs(seconds);
        }
        config.check().map_err(|error| error.with("url", url.to_string()))?;
        Ok(config)
    }

    fn open(environment: &Environment) -> Self {
        Self {
            namespace: None,
            secret: None,
            context: None,
            kubeconfig: None,
            timeout: Duration::from_secs(10),
            connect_timeout: Duration::from_secs(5),
            environment: environment.clone(),
        }
    }

    /// Refuses what would reach another path of the API server: namespace and name become parts of it.
    pub(crate) fn check(&self) -> Result<()> {
        if let Some(namespace) = &self.namespace {
            check_namespace(namespace)?;
        }
        if self.secret.as_ref().is_some_and(|name| !is_object_name(name)) {
            return Err(invalid("the name of the Secret can't be one")
                .with_hint("it has lower-case letters, digits, `-` and `.`, at most 253 of them, for example `app-secrets`"));
        }
        if self.context.as_ref().is_some_and(|context| context.trim().is_empty()) {
            return Err(invalid("the parameter `context` is empty"));
        }
        if self.kubeconfig.as_ref().is_some_and(|file| file.as_os_str().is_empty()) {
            return Err(invalid("the parameter `kubeconfig` is empty"));
        }
        if self.timeout < Duration::from_secs(1) || self.timeout > Duration::from_secs(300) {
            return Err(invalid("the time for one request must be 1 to 300 seconds"));
        }
        Ok(())
    }
}

impl fmt::Debug for KubernetesConfig {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("KubernetesConfig")
            .field("namespace", &self.namespace)
            .field("secret", &self.secret)
            .field("context", &self.context)
            .field("kubeconfig", &self.kubeconfig)
            .field("timeout", &self.timeout)
            .finish_non_exhaustive()
    }
}

/// A namespace is a DNS label.
pub(crate) fn check_namespace(namespace: &str) -> Result<()> {
    match namespace.len() <= 63 && !namespace.contains('.') && is_object_name(namespace) {
        true => Ok(()),
        false => Err(invalid("the namespace can't be one")
            .with_hint("it has lower-case letters, digits and `-`, at most 63 of them, for example `production`")),
    }
}

/// What the environment says of the place where the URL leaves it open.
pub(crate) fn place(url: &StoreUrl, environment: &Environment) -> Result<String> {
    let config = KubernetesConfig::from_url(url, environment)?;
    let mut parts = Vec::new();
    match (&config.namespace, url.host()) {
        (Some(_), Some(_)) => {}
        (Some(namespace), None) => parts.push(format!("namespace `{namespace}` (the variable `K8S_SECRET_NAMESPACE`)")),
        (None, _) => {
            let access = Access::find(&config)?;
            parts.push(format!("namespace `{}` ({})", access.namespace, access.source));
        }
    }
    if let (Some(secret), "" | "/") = (&config.secret, url.path()?.as_str()) {
        parts.push(format!("Secret `{secret}` (the variable `K8S_SECRET_NAME`)"));
    }
    Ok(parts.join(", "))
}

/// The text of a variable without white space around it; blank is unset.
pub(crate) fn variable(environment: &Environment, name: &str) -> Result<Option<String>> {
    let text = environment.var(name)?.map(str::trim).filter(|text| !text.is_empty());
    Ok(text.map(str::to_owned))
}

pub(crate) fn invalid(message: &'static str) -> Error {
    Error::new(ErrorKind::InvalidConfig, message)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(url: &str, environment: &Environment) -> Result<KubernetesConfig> {
        KubernetesConfig::from_url(&StoreUrl::parse(url)?, environment)
    }

    fn place(config: &KubernetesConfig) -> (Option<&str>, Option<&str>) {
        (config.namespace.as_deref(), config.secret.as_deref())
    }

    #[test]
    fn what_the_url_leaves_open_is_told_with_what_says_it() {
        let kubeconfig = "clusters: [{name: c, cluster: {server: 'https://k8s.example'}}]\nusers: [{name: u, user: {}}]\n\
            contexts: [{name: dev, context: {cluster: c, user: u, namespace: team}}]\ncurrent-context: dev\n";
        let files = Environment::fake().file("~/.kube/config", kubeconfig);
        let variables = files
            .clone()
            .var("K8S_SECRET_NAMESPACE", "prod")
            .var("K8S_SECRET_NAME", "app");
        let told = |url: &str, environment: &Environment| super::place(&StoreUrl::parse(url).unwrap(), environment).unwrap();
        let of_context = told("k8s:", &files.build());
        assert!(
            of_context.starts_with("namespace `team` (") && of_context.contains("dev"),
            "{of_context}"
        );
        let variables = variables.build();
        assert_eq!(
            told("k8s:", &variables),
            "namespace `prod` (the variable `K8S_SECRET_NAMESPACE`), Secret `app` (the variable `K8S_SECRET_NAME`)"
        );
        assert_eq!(
            told("k8s:///own", &variables),
            "namespace `prod` (the variable `K8S_SECRET_NAMESPACE`)"
        );
        assert_eq!(told("k8s://other", &variables), "");
        assert_eq!(told("k8s://other/own", &variables), "");
    }

    #[test]
    fn what_the_url_says_of_the_place_is_all_that_counts() {
        let environment = Environment::fake()
            .var("K8S_SECRET_NAMESPACE", " from-variable\n")
            .var("K8S_SECRET_NAME", "app")
            .build();
        for (url, expected) in [
            ("k8s:", (Some("from-variable"), Some("app"))),
            ("kubernetes:", (Some("from-variable"), Some("app"))),
            ("k8s:///other", (Some("from-variable"), Some("other"))),
            ("k8s://prod", (Some("prod"), None)),
            ("k8s://prod/", (Some("prod"), None)),
            ("k8s://prod/db.main", (Some("prod"), Some("db.main"))),
        ] {
            assert_eq!(place(&read(url, &environment).unwrap()), expected, "{url}");
        }
        assert_eq!(
            place(&KubernetesConfig::from_environment(&environment).unwrap()),
            (Some("from-variable"), Some("app"))
        );
        assert_eq!(place(&read("k8s:", &Environment::fake().build()).unwrap()), (None, None));
    }

    #[test]
    fn parameters_are_read_and_others_refused() {
        let environment = Environment::fake().build();
        let config = read("k8s://prod?context=dev&kubeconfig=~/x&timeout=3", &environment).unwrap();
        assert_eq!(config.context.as_deref(), Some("dev"));
        assert_eq!(config.kubeconfig.as_deref(), Some(std::path::Path::new("~/x")));
        assert_eq!(config.timeout, Duration::from_secs(3));
        let based = StoreUrl::parse("k8s://prod?kubeconfig=x").unwrap().with_base("/project");
        let config = KubernetesConfig::from_url(&based, &environment).unwrap();
        assert_eq!(config.kubeconfig.as_deref(), Some(std::path::Path::new("/project/x")));
        for url in [
            "k8s://Prod",
            "k8s://a.b",
            "k8s://-a",
            "k8s://a/B",
            "k8s://a/b/c",
            "k8s://a/..b",
            "k8s:a",
            "k8s://user@a",
            "k8s://a:80",
            "k8s://a?contxt=b",
            "k8s://a?context=",
            "k8s://a?kubeconfig=",
            "k8s://a?timeout=0",
            "k8s://a?timeout=301",
            "k8s://a?timeout=x",
        ] {
            let error = read(url, &environment).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::InvalidConfig, "{url}: {error:?}");
        }
    }

    #[test]
    fn a_variable_that_would_reach_another_path_is_refused() {
        for (name, value) in [("K8S_SECRET_NAMESPACE", "../x"), ("K8S_SECRET_NAME", "a/../../b")] {
            let environment = Environment::fake().var(name, value).build();
            let error = KubernetesConfig::from_environment(&environment).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::InvalidConfig, "{name}");
        }
    }
}

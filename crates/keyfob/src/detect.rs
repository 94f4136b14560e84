//! Finds out where keyfob runs, without the network.

use std::path::{Path, PathBuf};

use keyfob_core::{Environment, Error, ErrorKind, Result};

use crate::variables::{self as var, Variable};

/// Looks for evidence of every provider, built in or not. A function of `environment` alone.
#[must_use]
pub fn detect(environment: &Environment) -> Detection {
    let mut evidence = Vec::new();
    for signal in SIGNALS {
        if let Some(found) = signal.probe.look(environment) {
            evidence.push(Evidence {
                provider: signal.provider,
                strength: signal.strength,
                found,
                meaning: signal.meaning,
            });
        }
    }
    Detection { evidence }
}

/// All evidence of where keyfob runs.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Detection {
    /// In the order of providers.
    pub evidence: Vec<Evidence>,
}

/// One sign that a provider is meant.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Evidence {
    /// The provider that it speaks for.
    pub provider: &'static str,
    /// How much it says.
    pub strength: Strength,
    /// Where it was found: a variable or a file. Never a value.
    pub found: Found,
    /// What it means.
    pub meaning: &'static str,
}

/// How much a piece of [`Evidence`] says.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Strength {
    /// Worth knowing, decides nothing.
    Mention,
    /// Decides where nothing strong is found.
    Weak,
    /// Decides.
    Strong,
}

impl Strength {
    /// The stable token, for example `strong`.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Mention => "mention",
            Self::Weak => "weak",
            Self::Strong => "strong",
        }
    }
}

/// Where a piece of [`Evidence`] was found.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Found {
    /// This variable is set.
    Variable(&'static str),
    /// This file is there, or says so.
    File(PathBuf),
}

impl std::fmt::Display for Found {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Variable(name) => write!(f, "the variable `{name}`"),
            Self::File(path) => write!(f, "the file `{}`", path.display()),
        }
    }
}

impl Detection {
    /// The provider that the evidence speaks for, `None` when there is no evidence. Strong evidence beats weak.
    ///
    /// # Errors
    /// [`ErrorKind::InvalidConfig`] when the strongest evidence speaks for more than one provider; it lists all of
    /// it and says how to choose.
    pub fn provider(&self) -> Result<Option<&'static str>> {
        let Some(strongest) = self.strongest() else { return Ok(None) };
        let mut providers: Vec<&'static str> = self.of(strongest).map(|evidence| evidence.provider).collect();
        providers.dedup();
        match providers.as_slice() {
            [provider] => Ok(Some(provider)),
            _ => Err(ambiguous(&providers, self)),
        }
    }

    /// Why the detected provider was detected, as one line; empty when nothing was found.
    #[must_use]
    pub fn reason(&self) -> String {
        let Some(strongest) = self.strongest() else {
            return String::new();
        };
        let found: Vec<String> = self.of(strongest).map(ToString::to_string).collect();
        found.join("; ")
    }

    fn strongest(&self) -> Option<Strength> {
        let deciding = self.evidence.iter().map(|evidence| evidence.strength);
        deciding.filter(|strength| *strength > Strength::Mention).max()
    }

    fn of(&self, strength: Strength) -> impl Iterator<Item = &Evidence> {
        self.evidence.iter().filter(move |evidence| evidence.strength == strength)
    }
}

impl std::fmt::Display for Evidence {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} ({})", self.found, self.meaning)
    }
}

fn ambiguous(providers: &[&str], detection: &Detection) -> Error {
    let lists: Vec<String> = providers
        .iter()
        .map(|provider| {
            let of_it = detection.evidence.iter().filter(|evidence| evidence.provider == *provider);
            let found: Vec<String> = of_it.map(ToString::to_string).collect();
            format!("`{provider}`: {}", found.join(", "))
        })
        .collect();
    Error::new(
        ErrorKind::InvalidConfig,
        format!("there is evidence for {} providers: {}", providers.len(), lists.join("; ")),
    )
    .with_hint(format!(
        "choose with `SECRET_PROVIDER` (for example `SECRET_PROVIDER={}`), a store URL, or `default` in `keyfob.toml`",
        providers.first().copied().unwrap_or("env")
    ))
}

struct Signal {
    provider: &'static str,
    strength: Strength,
    probe: Probe,
    meaning: &'static str,
}

enum Probe {
    Variable(Variable),
    File(&'static str),
    /// The file that the variable names, else this one.
    FileOf(Variable, &'static str),
    /// This file in the directory that the variable names, else in this one.
    FileIn(Variable, &'static str, &'static str),
    /// The variable is set and the other one is not.
    VariableWithout(Variable, Variable),
    /// The variable is set and the file is there.
    VariableAndFile(Variable, &'static str),
    /// The file's first line begins with this text.
    Machine(&'static str, &'static str),
}

impl Probe {
    fn look(&self, env: &Environment) -> Option<Found> {
        let file = |path: &Path| env.is_file(path).then(|| Found::File(env.absolute(path)));
        // A value that is not text still says that somebody set the variable; reading it reports the problem.
        let named = |variable: &Variable| env.var(variable.name).ok().flatten().map(PathBuf::from);
        match self {
            Self::Variable(variable) => env.has_var(variable.name).then_some(Found::Variable(variable.name)),
            Self::File(path) => file(Path::new(path)),
            Self::FileOf(variable, path) => file(&named(variable).unwrap_or_else(|| PathBuf::from(path))),
            Self::FileIn(variable, directory, name) => {
                file(&named(variable).unwrap_or_else(|| PathBuf::from(directory)).join(name))
            }
            Self::VariableWithout(variable, other) => {
                (env.has_var(variable.name) && !env.has_var(other.name)).then_some(Found::Variable(variable.name))
            }
            Self::VariableAndFile(variable, path) => {
                (env.has_var(variable.name) && env.is_file(path)).then_some(Found::Variable(variable.name))
            }
            Self::Machine(path, begins) => {
                let contents = env.read(path, 256).ok()?;
                contents
                    .starts_with(begins.as_bytes())
                    .then(|| Found::File(PathBuf::from(path)))
            }
        }
    }
}

const fn strong(provider: &'static str, variable: Variable, meaning: &'static str) -> Signal {
    signal(provider, Strength::Strong, Probe::Variable(variable), meaning)
}

const fn weak(provider: &'static str, probe: Probe, meaning: &'static str) -> Signal {
    signal(provider, Strength::Weak, probe, meaning)
}

const fn signal(provider: &'static str, strength: Strength, probe: Probe, meaning: &'static str) -> Signal {
    Signal {
        provider,
        strength,
        probe,
        meaning,
    }
}

const SERVICE_ACCOUNT_TOKEN: &str = "/var/run/secrets/kubernetes.io/serviceaccount/token";

/// One provider's signals stand together.
///
/// What the person or the platform says to this process is strong; what merely lies around on a machine (a tool's
/// files, the fact of being in a pod) is weak. Without `AZURE_KEYVAULT_URL` there is no vault to ask, so Azure's
/// other signals are weak.
const SIGNALS: &[Signal] = &[
    strong("aws", var::AWS_SECRET_MANAGER_REGION, "keyfob's region is set"),
    strong("aws", var::AWS_LAMBDA_FUNCTION_NAME, "a Lambda function"),
    strong("aws", var::AWS_EXECUTION_ENV, "AWS compute"),
    strong("aws", var::AWS_CONTAINER_CREDENTIALS_RELATIVE_URI, "an ECS container"),
    strong(
        "aws",
        var::AWS_CONTAINER_CREDENTIALS_FULL_URI,
        "a container with an AWS identity",
    ),
    strong("aws", var::AWS_WEB_IDENTITY_TOKEN_FILE, "an AWS web identity"),
    strong("aws", var::AWS_ROLE_ARN, "an AWS role"),
    strong("aws", var::AWS_ACCESS_KEY_ID, "an AWS access key"),
    strong("aws", var::AWS_PROFILE, "an AWS profile is chosen"),
    signal(
        "aws",
        Strength::Strong,
        Probe::Machine("/sys/class/dmi/id/sys_vendor", "Amazon EC2"),
        "an EC2 machine",
    ),
    weak(
        "aws",
        Probe::FileOf(var::AWS_CONFIG_FILE, "~/.aws/config"),
        "the AWS CLI is configured",
    ),
    weak(
        "aws",
        Probe::FileOf(var::AWS_SHARED_CREDENTIALS_FILE, "~/.aws/credentials"),
        "the AWS CLI has credentials",
    ),
    strong("gcp", var::GCP_PROJECT_ID, "a Google Cloud project is chosen"),
    strong("gcp", var::GOOGLE_CLOUD_PROJECT, "a Google Cloud project is chosen"),
    strong("gcp", var::GOOGLE_APPLICATION_CREDENTIALS, "Google Cloud credentials"),
    // Knative sets it in any cluster; Cloud Run is none that a process in it could see.
    signal(
        "gcp",
        Strength::Strong,
        Probe::VariableWithout(var::K_SERVICE, var::KUBERNETES_SERVICE_HOST),
        "a Cloud Run service",
    ),
    strong("gcp", var::CLOUD_RUN_JOB, "a Cloud Run job"),
    strong("gcp", var::FUNCTION_TARGET, "a Cloud Function"),
    strong("gcp", var::GAE_ENV, "App Engine"),
    signal(
        "gcp",
        Strength::Strong,
        Probe::Machine("/sys/class/dmi/id/product_name", "Google Compute Engine"),
        "a Compute Engine machine",
    ),
    weak(
        "gcp",
        Probe::FileIn(
            var::CLOUDSDK_CONFIG,
            "~/.config/gcloud",
            "application_default_credentials.json",
        ),
        "the gcloud CLI is logged in",
    ),
    strong("azure", var::AZURE_KEYVAULT_URL, "a Key Vault is chosen"),
    weak("azure", Probe::Variable(var::AZURE_CLIENT_ID), "an Azure identity"),
    weak(
        "azure",
        Probe::Variable(var::AZURE_FEDERATED_TOKEN_FILE),
        "an Azure workload identity",
    ),
    weak("azure", Probe::Variable(var::IDENTITY_ENDPOINT), "an Azure managed identity"),
    // Hosted runners of GitHub and others stand there too.
    signal(
        "azure",
        Strength::Mention,
        Probe::Machine("/sys/class/dmi/id/chassis_asset_tag", "7783-7084-3265-9085-8269-3286-77"),
        "an Azure machine",
    ),
    strong("vault", var::VAULT_ADDR, "a Vault server is chosen"),
    strong("vault", var::BAO_ADDR, "an OpenBao server is chosen"),
    weak("vault", Probe::Variable(var::VAULT_TOKEN), "a Vault token"),
    weak("vault", Probe::Variable(var::BAO_TOKEN), "an OpenBao token"),
    weak("vault", Probe::File("~/.vault-token"), "the Vault CLI is logged in"),
    strong("k8s", var::K8S_SECRET_NAME, "a Kubernetes Secret is chosen"),
    strong("k8s", var::K8S_SECRET_NAMESPACE, "a Kubernetes namespace is chosen"),
    weak(
        "k8s",
        Probe::VariableAndFile(var::KUBERNETES_SERVICE_HOST, SERVICE_ACCOUNT_TOKEN),
        "a pod with a service account",
    ),
    // Whoever can write to a directory must not choose the store of who works in it.
    signal(
        "dotenv",
        Strength::Mention,
        Probe::File(".env"),
        "use it with `SECRET_PROVIDER=dotenv:.env`",
    ),
];

#[cfg(test)]
mod tests;

//! Who asks: chosen from the signals of the environment, without asking anybody.

use std::fmt;
use std::path::PathBuf;

use keyfob_core::{Environment, Result};

use super::{invalid, variable};

/// How keyfob logs in. Holds names and places, no secret.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum AzureCredential {
    /// An application with a secret, `AZURE_CLIENT_SECRET`.
    ClientSecret {
        /// The application and its tenant.
        application: Application,
    },
    /// An application with a certificate.
    ClientCertificate {
        /// The application and its tenant.
        application: Application,
        /// The PEM file with certificate and private key.
        file: PathBuf,
    },
    /// An application that trusts a token of somebody else's, such as the service account's of a pod.
    WorkloadIdentity {
        /// The application and its tenant.
        application: Application,
        /// The file with that token.
        file: PathBuf,
    },
    /// The managed identity of App Service, Functions or Container Apps, at an address of the environment.
    AppService {
        /// Which user-assigned identity; `None` is the one of the service itself.
        client_id: Option<String>,
    },
    /// The managed identity of a virtual machine, by its metadata service.
    Machine {
        /// Which user-assigned identity; `None` is the one of the machine itself.
        client_id: Option<String>,
    },
    /// Who is logged in with `az login`.
    AzureCli {
        /// The tenant, if the variable names one.
        tenant_id: Option<String>,
    },
    /// Nothing says who asks: the machine's identity if there is such a service, else who is logged in with `az login`.
    MachineOrAzureCli,
}

/// An application that is registered in a tenant.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Application {
    /// The tenant, `AZURE_TENANT_ID`.
    pub tenant_id: String,
    /// The application's id, `AZURE_CLIENT_ID`.
    pub client_id: String,
}

/// The credential that was chosen, and why. `Display` is one line.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct AzureIdentity {
    /// How keyfob logs in.
    pub credential: AzureCredential,
    /// What decided, for example "`AZURE_CLIENT_SECRET` is set".
    pub reason: String,
}

/// What the parameter `identity` takes.
pub(super) const IDENTITIES: &str = "`secret`, `certificate`, `workload`, `managed` or `cli`";

impl AzureIdentity {
    /// Chooses in a fixed order: a client secret, a certificate, a workload identity, App Service's managed identity, a
    /// virtual machine's, Azure CLI. `named` is what the URL says, and then nothing else is looked at.
    pub(super) fn choose(environment: &Environment, named: Option<&str>) -> Result<Self> {
        if let Some(named) = named {
            let credential = match named {
                "secret" => client_secret(environment)?,
                "certificate" => certificate(environment)?,
                "workload" => workload(environment)?,
                "managed" => managed(environment)?,
                "cli" => azure_cli(environment)?,
                _ => {
                    return Err(invalid("the parameter `identity` is no way to log in").with_hint(format!("it is {IDENTITIES}")));
                }
            };
            return Ok(Self {
                credential,
                reason: format!("the URL says `identity={named}`"),
            });
        }
        let set = |name: &str| format!("`{name}` is set");
        let (credential, reason) = if environment.has_var(SECRET) {
            (client_secret(environment)?, set(SECRET))
        } else if environment.has_var(CERTIFICATE) {
            (certificate(environment)?, set(CERTIFICATE))
        } else if environment.has_var(TOKEN_FILE) {
            (workload(environment)?, set(TOKEN_FILE))
        } else if environment.has_var(ENDPOINT) {
            (managed(environment)?, set(ENDPOINT))
        } else if is_azure_machine(environment) {
            let reason = "this is a virtual machine of Azure".to_owned();
            (machine(environment)?, reason)
        } else if is_logged_in(environment)? {
            (azure_cli(environment)?, "`az login` has been done".to_owned())
        } else if environment.has_var(CLIENT_ID) {
            let reason = format!("{} and no secret, certificate or token of that application", set(CLIENT_ID));
            (machine(environment)?, reason)
        } else {
            let reason = "nothing in the environment says who asks".to_owned();
            (AzureCredential::MachineOrAzureCli, reason)
        };
        Ok(Self { credential, reason })
    }
}

impl fmt::Display for AzureIdentity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}, because {}", self.credential, self.reason)
    }
}

impl fmt::Display for AzureCredential {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let user_assigned = |f: &mut fmt::Formatter<'_>, client_id: &Option<String>| match client_id {
            Some(client_id) => write!(f, " with the client id `{client_id}`"),
            None => Ok(()),
        };
        match self {
            Self::ClientSecret { application } => write!(f, "the client secret of {application}"),
            Self::ClientCertificate { application, file } => {
                write!(f, "the certificate `{}` of {application}", file.display())
            }
            Self::WorkloadIdentity { application, file } => {
                write!(f, "the workload identity of {application}, token `{}`", file.display())
            }
            Self::AppService { client_id } => {
                f.write_str("App Service's managed identity")?;
                user_assigned(f, client_id)
            }
            Self::Machine { client_id } => {
                f.write_str("the virtual machine's managed identity")?;
                user_assigned(f, client_id)
            }
            Self::AzureCli { tenant_id: None } => f.write_str("who is logged in with Azure CLI"),
            Self::AzureCli { tenant_id: Some(tenant) } => write!(f, "who is logged in with Azure CLI, in tenant `{tenant}`"),
            Self::MachineOrAzureCli => {
                f.write_str("the virtual machine's managed identity, else who is logged in with Azure CLI")
            }
        }
    }
}

impl fmt::Display for Application {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "application `{}` in tenant `{}`", self.client_id, self.tenant_id)
    }
}

pub(crate) const TENANT_ID: &str = "AZURE_TENANT_ID";
pub(crate) const CLIENT_ID: &str = "AZURE_CLIENT_ID";
pub(crate) const SECRET: &str = "AZURE_CLIENT_SECRET";
pub(crate) const CERTIFICATE: &str = "AZURE_CLIENT_CERTIFICATE_PATH";
const CERTIFICATE_PASSWORD: &str = "AZURE_CLIENT_CERTIFICATE_PASSWORD";
const TOKEN_FILE: &str = "AZURE_FEDERATED_TOKEN_FILE";
pub(crate) const ENDPOINT: &str = "IDENTITY_ENDPOINT";
pub(crate) const HEADER: &str = "IDENTITY_HEADER";

fn client_secret(environment: &Environment) -> Result<AzureCredential> {
    let application = application(environment, SECRET)?;
    if !environment.has_var(SECRET) {
        return Err(invalid("there is no client secret").with_hint(format!("set `{SECRET}`")));
    }
    Ok(AzureCredential::ClientSecret { application })
}

fn certificate(environment: &Environment) -> Result<AzureCredential> {
    let application = application(environment, CERTIFICATE)?;
    let file = file(environment, CERTIFICATE)?;
    if environment.has_var(CERTIFICATE_PASSWORD) {
        return Err(
            invalid("certificates with a password are not supported").with_hint(format!(
                "write certificate and key to a PEM file that only you may read (`openssl pkcs12 -in FILE -nodes`), and unset `{CERTIFICATE_PASSWORD}`"
            )),
        );
    }
    Ok(AzureCredential::ClientCertificate { application, file })
}

fn workload(environment: &Environment) -> Result<AzureCredential> {
    let application = application(environment, TOKEN_FILE)?;
    let file = file(environment, TOKEN_FILE)?;
    Ok(AzureCredential::WorkloadIdentity { application, file })
}

fn managed(environment: &Environment) -> Result<AzureCredential> {
    if !environment.has_var(ENDPOINT) {
        return machine(environment);
    }
    if !environment.has_var(HEADER) {
        // Azure Arc and Service Fabric set the same variable, and speak another way.
        return Err(invalid("this kind of managed identity is not supported").with_hint(format!(
            "`{ENDPOINT}` is set and `{HEADER}` is not, as on Azure Arc; use a client secret or a certificate"
        )));
    }
    Ok(AzureCredential::AppService {
        client_id: id(environment, CLIENT_ID)?,
    })
}

fn machine(environment: &Environment) -> Result<AzureCredential> {
    Ok(AzureCredential::Machine {
        client_id: id(environment, CLIENT_ID)?,
    })
}

fn azure_cli(environment: &Environment) -> Result<AzureCredential> {
    Ok(AzureCredential::AzureCli {
        tenant_id: id(environment, TENANT_ID)?,
    })
}

fn application(environment: &Environment, because: &str) -> Result<Application> {
    let needed = |name: &str| {
        id(environment, name)?.ok_or_else(|| {
            invalid("half of a log-in is set").with_hint(format!(
                "`{because}` needs `{TENANT_ID}` and `{CLIENT_ID}`, and `{name}` is not set"
            ))
        })
    };
    Ok(Application {
        tenant_id: needed(TENANT_ID)?,
        client_id: needed(CLIENT_ID)?,
    })
}

/// Both ids become a part of a URL or of a command line.
fn id(environment: &Environment, name: &str) -> Result<Option<String>> {
    let id = variable(environment, name)?;
    if let Some(id) = &id
        && !(id.len() <= 128 && id.bytes().all(|b| b.is_ascii_alphanumeric() || b"-.".contains(&b)) && !id.starts_with('-'))
    {
        return Err(
            invalid("an id of Azure is not one").with_hint(format!("`{name}` is like `72f988bf-86f1-41af-91ab-2d7cd011db47`"))
        );
    }
    Ok(id)
}

fn file(environment: &Environment, name: &str) -> Result<PathBuf> {
    let file = variable(environment, name)?
        .ok_or_else(|| invalid("there is no file to log in with").with_hint(format!("set `{name}`")))?;
    Ok(environment.absolute(file))
}

/// What the firmware of Azure's virtual machines says, and no other's. Microsoft: "Accessing chassis asset tag".
fn is_azure_machine(environment: &Environment) -> bool {
    let tag = environment
        .read("/sys/class/dmi/id/chassis_asset_tag", 128)
        .unwrap_or_default();
    tag.trim_ascii() == b"7783-7084-3265-9085-8269-3286-77"
}

fn is_logged_in(environment: &Environment) -> Result<bool> {
    let directory = variable(environment, "AZURE_CONFIG_DIR")?.unwrap_or_else(|| "~/.azure".to_owned());
    Ok(environment.is_file(format!("{directory}/msal_token_cache.json"))
        || environment.is_file(format!("{directory}/azureProfile.json")))
}

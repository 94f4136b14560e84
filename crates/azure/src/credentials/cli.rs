//! Who is logged in with `az login`.

use std::ffi::OsStr;
use std::fmt;
use std::io;
use std::process::{Output, Stdio};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use azure_core::credentials::{AccessToken, TokenCredential as _};
use azure_identity::{AzureCliCredential, AzureCliCredentialOptions, Executor};
use keyfob_core::{Environment, ErrorKind, Result};
use tokio::process::Command;

use super::TokenSource;
use crate::problem::Problem;

/// The command is a Python program, and asks the network when the token it has is old.
const TIMEOUT: Duration = Duration::from_secs(20);

pub(super) struct AzureCli {
    run: Arc<Run>,
    tenant_id: Option<String>,
}

impl AzureCli {
    pub(super) fn new(environment: &Environment, tenant_id: Option<String>) -> Self {
        Self {
            run: Arc::new(Run {
                environment: environment.clone(),
                failed: Mutex::default(),
            }),
            tenant_id,
        }
    }
}

#[async_trait]
impl TokenSource for AzureCli {
    async fn token(&self, scope: &str) -> Result<AccessToken, Problem> {
        let credential = AzureCliCredential::new(Some(AzureCliCredentialOptions {
            subscription: None,
            tenant_id: self.tenant_id.clone(),
            executor: Some(Arc::clone(&self.run) as Arc<dyn Executor>),
        }));
        let credential = credential.map_err(|_| Problem::new(ErrorKind::InvalidConfig, "the tenant's id is not one"))?;
        // What the SDK says repeats the command's words; why it failed was seen by `Run`.
        credential.get_token(&[scope], None).await.map_err(|_| {
            let failed = self.run.failed.lock().unwrap_or_else(PoisonError::into_inner).take();
            failed.unwrap_or_else(|| {
                Problem::new(ErrorKind::Unauthenticated, "the answer of `az` can't be understood")
                    .hint("Azure CLI must be 2.54 or newer")
            })
        })
    }
}

/// Runs the command with the search path of the environment that keyfob was given.
struct Run {
    environment: Environment,
    failed: Mutex<Option<Problem>>,
}

impl Run {
    fn failed(&self, problem: Problem) {
        *self.failed.lock().unwrap_or_else(PoisonError::into_inner) = Some(problem);
    }
}

impl fmt::Debug for Run {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Run")
    }
}

#[async_trait]
impl Executor for Run {
    async fn run(&self, program: &OsStr, arguments: &[&OsStr]) -> io::Result<Output> {
        *self.failed.lock().unwrap_or_else(PoisonError::into_inner) = None;
        let mut command = Command::new(program);
        command.args(arguments).stdin(Stdio::null()).kill_on_drop(true);
        for name in ["PATH", "HOME", "AZURE_CONFIG_DIR"] {
            match self.environment.secret_var(name) {
                Some(value) => {
                    use std::os::unix::ffi::OsStrExt as _;
                    command.env(name, OsStr::from_bytes(value.expose_secret()));
                }
                None => {
                    command.env_remove(name);
                }
            }
        }
        let late = || {
            self.failed(Problem::new(ErrorKind::Timeout, "`az` gave no token in time"));
            io::Error::from(io::ErrorKind::TimedOut)
        };
        let output = tokio::time::timeout(TIMEOUT, command.output()).await.map_err(|_| late())?;
        let output = output.inspect_err(|error| {
            self.failed(Problem::new(ErrorKind::Unauthenticated, "`az` can't be run").with("reason", error.to_string()));
        })?;
        if !output.status.success() {
            let said = String::from_utf8_lossy(&output.stderr);
            let problem = match output.status.code() {
                Some(127) => Problem::new(ErrorKind::Unauthenticated, "Azure CLI is not installed")
                    .hint("install it and log in with `az login`, or log in another way"),
                _ if said.contains("az login") => {
                    Problem::new(ErrorKind::Unauthenticated, "nobody is logged in with Azure CLI").hint("log in with `az login`")
                }
                _ => Problem::new(ErrorKind::Unauthenticated, "`az account get-access-token` failed")
                    .hint("see what it says when you run it yourself"),
            };
            self.failed(problem);
        }
        Ok(output)
    }
}

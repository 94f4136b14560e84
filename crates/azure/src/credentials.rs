//! Tokens: where they come from, and for how long one is good.

mod certificate;
mod cli;
mod entra;
mod managed;

use std::fmt;
use std::sync::{Arc, PoisonError};
use std::time::Instant;

use async_trait::async_trait;
use azure_core::credentials::{AccessToken, TokenCredential, TokenRequestOptions};
use azure_core::error::ErrorKind as SdkKind;
use azure_core::time::{Duration, OffsetDateTime};
use keyfob_core::{ErrorKind, Result};
use reqwest::Client;
use tokio::sync::Mutex;

use self::cli::AzureCli;
use self::entra::Entra;
use self::managed::ManagedIdentity;
use crate::config::{AzureConfig, AzureCredential};
use crate::http::Refused;
use crate::problem::Problem;

/// Gives out tokens, each for as long as it is good. One is asked for at a time, however many wait for it.
pub(crate) struct Tokens {
    source: Box<dyn TokenSource>,
    refused: Arc<Refused>,
    state: Mutex<State>,
}

/// Where a token comes from. Each call asks anew.
#[async_trait]
pub(crate) trait TokenSource: Send + Sync {
    async fn token(&self, scope: &str) -> Result<AccessToken, Problem>;

    /// Which of several gave the last token; `None` before the first one, and where there is no choice.
    fn chosen(&self) -> Option<&'static str> {
        None
    }
}

#[derive(Default)]
struct State {
    held: Option<Held>,
    failed: Option<(Instant, Problem)>,
}

struct Held {
    scope: String,
    token: AccessToken,
    renew_at: OffsetDateTime,
}

impl Tokens {
    /// Reads what is logged in with, and asks nobody.
    pub(crate) fn new(config: &AzureConfig, client: &Client, refused: Arc<Refused>) -> Result<Self> {
        let environment = &config.environment;
        let source: Box<dyn TokenSource> = match &config.identity.credential {
            AzureCredential::ClientSecret { application } => Box::new(Entra::secret(config, client, application)?),
            AzureCredential::ClientCertificate { application, file } => {
                Box::new(Entra::certificate(config, client, application, file)?)
            }
            AzureCredential::WorkloadIdentity { application, file } => {
                Box::new(Entra::workload(config, client, application, file)?)
            }
            AzureCredential::AppService { client_id } => Box::new(ManagedIdentity::app_service(config, client_id.clone())?),
            AzureCredential::Machine { client_id } => Box::new(ManagedIdentity::machine(config, client_id.clone())?),
            AzureCredential::AzureCli { tenant_id } => Box::new(AzureCli::new(environment, tenant_id.clone())),
            AzureCredential::MachineOrAzureCli => Box::new(MachineOrAzureCli {
                chosen: std::sync::Mutex::default(),
                machine: ManagedIdentity::machine(config, None)?,
                cli: AzureCli::new(environment, None),
            }),
        };
        Ok(Self::of(source, refused))
    }

    fn of(source: Box<dyn TokenSource>, refused: Arc<Refused>) -> Self {
        Self {
            source,
            refused,
            state: Mutex::default(),
        }
    }

    /// See [`TokenSource::chosen`].
    pub(crate) fn chosen(&self) -> Option<&'static str> {
        self.source.chosen()
    }

    /// A token for `scope`: the one at hand while it is good, else a new one.
    pub(crate) async fn token(&self, scope: &str) -> Result<AccessToken, Problem> {
        let asked = Instant::now();
        let mut state = self.state.lock().await;
        if let Some((when, problem)) = &state.failed
            && *when >= asked
        {
            // Somebody else asked while this call waited.
            return Err(problem.clone());
        }
        let now = OffsetDateTime::now_utc();
        let held = state
            .held
            .as_ref()
            .filter(|held| held.scope == scope && !self.refused.is(held.token.token.secret()));
        if let Some(held) = held
            && now < held.renew_at
        {
            return Ok(held.token.clone());
        }
        match self.source.token(scope).await {
            Ok(token) => {
                state.failed = None;
                state.held = Some(Held {
                    scope: scope.to_owned(),
                    renew_at: renew_at(now, token.expires_on),
                    token: token.clone(),
                });
                Ok(token)
            }
            // It is still good.
            Err(problem) => match held.filter(|held| now < held.token.expires_on) {
                Some(held) => {
                    tracing::debug!(target: "keyfob", "a token could not be renewed in time: {}", problem.error.kind());
                    Ok(held.token.clone())
                }
                None => {
                    state.failed = Some((Instant::now(), problem.clone()));
                    Err(problem)
                }
            },
        }
    }
}

impl fmt::Debug for Tokens {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Tokens")
    }
}

#[async_trait]
impl TokenCredential for Tokens {
    async fn get_token(&self, scopes: &[&str], _: Option<TokenRequestOptions<'_>>) -> azure_core::Result<AccessToken> {
        let token = self.token(scopes.first().copied().unwrap_or_default()).await;
        token.map_err(|problem| problem.into_sdk(SdkKind::Credential))
    }
}

/// Five minutes before a token ends, and later for one that is good for a short time only.
fn renew_at(now: OffsetDateTime, ends: OffsetDateTime) -> OffsetDateTime {
    let lifetime: Duration = ends - now;
    let fifth: Duration = lifetime / 5_i32;
    let margin = fifth.min(Duration::minutes(5));
    ends - margin
}

/// The machine's identity where there is such a service, else who is logged in with Azure CLI.
struct MachineOrAzureCli {
    machine: ManagedIdentity,
    cli: AzureCli,
    chosen: std::sync::Mutex<Option<&'static str>>,
}

impl MachineOrAzureCli {
    fn choose(&self, chosen: &'static str) {
        *self.chosen.lock().unwrap_or_else(PoisonError::into_inner) = Some(chosen);
    }
}

#[async_trait]
impl TokenSource for MachineOrAzureCli {
    async fn token(&self, scope: &str) -> Result<AccessToken, Problem> {
        let machine = match self.machine.token(scope).await {
            Ok(token) => {
                self.choose("the virtual machine's managed identity");
                return Ok(token);
            }
            Err(problem) => problem,
        };
        let from_cli = self.cli.token(scope).await.inspect(|_| self.choose("Azure CLI"));
        from_cli.map_err(|cli| {
            Problem::new(ErrorKind::Unauthenticated, "there are no Azure credentials")
                .with("machine", machine.error.message().to_owned())
                .with("azure_cli", cli.error.message().to_owned())
                .hint(LOOKED_FOR)
        })
    }

    fn chosen(&self) -> Option<&'static str> {
        *self.chosen.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The places in which credentials are looked for, for the user.
const LOOKED_FOR: &str = "looked for `AZURE_CLIENT_SECRET`, `AZURE_CLIENT_CERTIFICATE_PATH`, `AZURE_FEDERATED_TOKEN_FILE` (each \
    with `AZURE_TENANT_ID` and `AZURE_CLIENT_ID`), `IDENTITY_ENDPOINT`, a machine's managed identity and `az login`: set \
    one, or log in with `az login`";

#[cfg(test)]
mod tests;

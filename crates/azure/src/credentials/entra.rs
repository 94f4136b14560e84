//! Logging in to Microsoft Entra ID with the SDK's credentials.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use async_trait::async_trait;
use azure_core::cloud::CustomConfiguration;
use azure_core::credentials::{AccessToken, Secret, TokenCredential};
use azure_core::error::ErrorKind as SdkKind;
use azure_core::http::{ClientMethodOptions, ClientOptions, RetryOptions, Transport};
use azure_identity::{
    ClientAssertion, ClientAssertionCredential, ClientAssertionCredentialOptions, ClientSecretCredential,
    ClientSecretCredentialOptions,
};
use keyfob_core::{Environment, Error, ErrorKind, Result, SecretValue};
use reqwest::Client;
use url::Url;

use super::TokenSource;
use super::certificate::{Assertion, Certificate};
use crate::config::{Application, AzureConfig, SECRET, invalid};
use crate::http::{Http, Server};
use crate::problem::Problem;

/// The largest token of somebody else's that is read.
const MAX_TOKEN_BYTES: usize = 1 << 16;

/// An application logs in. The SDK's credentials keep a token until it ends, even if it is refused; so each log-in is
/// with a new one.
pub(super) struct Entra {
    make: Box<dyn Fn() -> azure_core::Result<Arc<dyn TokenCredential>> + Send + Sync>,
}

impl Entra {
    pub(super) fn secret(config: &AzureConfig, client: &Client, application: &Application) -> Result<Self> {
        let secret = secret(&config.environment)?;
        let (options, application) = (options(config, client)?, application.clone());
        Ok(Self {
            make: Box::new(move || {
                let client_options = options.clone();
                let secret = Secret::new(secret.expose_str().unwrap_or_default().trim().to_owned());
                let Application { tenant_id, client_id } = application.clone();
                let options = Some(ClientSecretCredentialOptions { client_options });
                Ok(ClientSecretCredential::new(&tenant_id, client_id, secret, options)?)
            }),
        })
    }

    pub(super) fn certificate(config: &AzureConfig, client: &Client, application: &Application, file: &Path) -> Result<Self> {
        let certificate = Arc::new(Certificate::read(&config.environment, file)?);
        let audience = format!("{}/{}/oauth2/v2.0/token", config.authority, application.tenant_id);
        let client_id = application.client_id.clone();
        Self::asserting(config, client, application, move || Assertion {
            certificate: Arc::clone(&certificate),
            audience: audience.clone(),
            client_id: client_id.clone(),
        })
    }

    pub(super) fn workload(config: &AzureConfig, client: &Client, application: &Application, file: &Path) -> Result<Self> {
        let (environment, file) = (config.environment.clone(), file.to_owned());
        read_token(&environment, &file).map_err(|problem| problem.error)?;
        Self::asserting(config, client, application, move || TokenFile {
            environment: environment.clone(),
            file: file.clone(),
        })
    }

    fn asserting<A: ClientAssertion + 'static>(
        config: &AzureConfig,
        client: &Client,
        application: &Application,
        assertion: impl Fn() -> A + Send + Sync + 'static,
    ) -> Result<Self> {
        let (options, application) = (options(config, client)?, application.clone());
        Ok(Self {
            make: Box::new(move || {
                let Application { tenant_id, client_id } = application.clone();
                let options = ClientAssertionCredentialOptions {
                    client_options: options.clone(),
                };
                Ok(ClientAssertionCredential::new(
                    tenant_id,
                    client_id,
                    assertion(),
                    Some(options),
                )?)
            }),
        })
    }
}

#[async_trait]
impl TokenSource for Entra {
    async fn token(&self, scope: &str) -> Result<AccessToken, Problem> {
        let credential = (self.make)().map_err(|_| Problem::new(ErrorKind::InvalidConfig, "the log-in can't be built"))?;
        let token = credential.get_token(&[scope], None).await.map_err(|error| refused(&error))?;
        match token.token.secret().is_empty() {
            true => Err(Problem::new(ErrorKind::Other, "the answer to the log-in can't be understood")),
            false => Ok(token),
        }
    }
}

/// A token of somebody else's in a file, which is written anew from time to time.
struct TokenFile {
    environment: Environment,
    file: PathBuf,
}

impl std::fmt::Debug for TokenFile {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("TokenFile").field("file", &self.file).finish_non_exhaustive()
    }
}

#[async_trait]
impl ClientAssertion for TokenFile {
    async fn secret(&self, _: Option<ClientMethodOptions<'_>>) -> azure_core::Result<String> {
        read_token(&self.environment, &self.file).map_err(|problem| problem.into_sdk(SdkKind::Credential))
    }
}

fn read_token(environment: &Environment, file: &Path) -> Result<String, Problem> {
    let about = |message, reason: String| {
        Problem::new(ErrorKind::Unauthenticated, message)
            .with("file", file.display().to_string())
            .with("reason", reason)
    };
    let bytes = environment
        .read(file, MAX_TOKEN_BYTES)
        .map_err(|error| about("the token to log in with can't be read", error.to_string()))?;
    let text = String::from_utf8(bytes).map_err(|_| about("the token to log in with is not one", "it is not text".to_owned()))?;
    match text.trim() {
        "" => Err(about("the token to log in with is not one", "the file is empty".to_owned())),
        token => Ok(token.to_owned()),
    }
}

fn secret(environment: &Environment) -> Result<SecretValue> {
    let secret = environment.secret_var(SECRET).unwrap_or_else(|| SecretValue::from(""));
    match secret.expose_str() {
        Ok(text) if !text.trim().is_empty() => Ok(secret),
        Ok(_) => Err(invalid("the client secret is blank").with("variable", SECRET)),
        Err(_) => Err(invalid("the client secret is not UTF-8 text").with("variable", SECRET)),
    }
}

fn options(config: &AzureConfig, client: &Client) -> Result<ClientOptions> {
    let authority = Url::parse(&config.authority).map_err(|_| invalid("the address to log in at is not one"))?;
    let mut cloud = CustomConfiguration::default();
    cloud.authority_host.clone_from(&config.authority);
    Ok(ClientOptions {
        retry: RetryOptions::none(),
        transport: Some(Transport::new(Arc::new(Http::new(
            client.clone(),
            authority.origin(),
            Server::Authority,
        )))),
        cloud: Some(Arc::new(cloud.into())),
        ..ClientOptions::default()
    })
}

/// Maps what the SDK says of a log-in: our own error from below, or the number that Entra gives its refusals.
fn refused(error: &azure_core::Error) -> Problem {
    if let Some(problem) = Problem::find(error) {
        return problem.clone();
    }
    let mut cause: Option<&(dyn std::error::Error + 'static)> = Some(error);
    while let Some(current) = cause {
        if let Some(SdkKind::HttpResponse { status, error_code, .. }) =
            current.downcast_ref::<azure_core::Error>().map(azure_core::Error::kind)
        {
            return Problem::from(by_code(u16::from(*status), error_code.as_deref()));
        }
        cause = current.source();
    }
    Problem::new(ErrorKind::Other, "the answer to the log-in can't be understood").hint("check `AZURE_AUTHORITY_HOST`")
}

/// <https://learn.microsoft.com/entra/identity-platform/reference-error-codes>
fn by_code(status: u16, codes: Option<&str>) -> Error {
    let code = codes.unwrap_or_default().split(',').next().unwrap_or_default();
    let code = if code.len() <= 12 && code.bytes().all(|byte| byte.is_ascii_digit()) {
        code
    } else {
        ""
    };
    let hint = match code {
        "7000215" => "`AZURE_CLIENT_SECRET` must be the secret's value, not its id",
        "7000222" => "the client secret has ended: make a new one",
        "700016" => "there is no application `AZURE_CLIENT_ID` in the tenant `AZURE_TENANT_ID`",
        "90002" | "900023" => "there is no tenant `AZURE_TENANT_ID` in this cloud",
        "700027" => "the certificate is not registered with the application",
        "700024" => "the assertion has ended: check this machine's clock",
        "70021" | "700211" | "700212" | "700213" => "the application has no federated credential for this token",
        _ => "check `AZURE_TENANT_ID`, `AZURE_CLIENT_ID` and what they log in with",
    };
    let error = Error::new(ErrorKind::Unauthenticated, "Microsoft Entra ID refuses the log-in")
        .with("status", status.to_string())
        .with_hint(hint);
    match code {
        "" => error,
        code => error.with("code", format!("AADSTS{code}")),
    }
}

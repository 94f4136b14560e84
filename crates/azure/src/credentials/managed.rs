//! Managed identities: a service of the machine gives out the tokens.
//!
//! Not the SDK's credential: that one reads the process's variables, and waits long where there is no such service.

use std::time::Duration;

use async_trait::async_trait;
use azure_core::credentials::AccessToken;
use azure_core::time::OffsetDateTime;
use keyfob_core::{Error, ErrorKind, Result, SecretValue};
use reqwest::Client;
use reqwest::header::{HeaderMap, HeaderName, HeaderValue};
use serde::Deserialize;
use url::Url;

use super::TokenSource;
use crate::config::{AzureConfig, ENDPOINT, HEADER, invalid, variable};
use crate::http::{machine_client, read, undelivered};
use crate::problem::Problem;

/// Away from Azure nobody answers there.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(1);
/// Where virtual machines find it. Another place can be named, as for other tools of Azure.
const METADATA: &str = "http://169.254.169.254";
const METADATA_VARIABLE: &str = "AZURE_POD_IDENTITY_AUTHORITY_HOST";

pub(super) struct ManagedIdentity {
    client: Client,
    /// With the version of the protocol, without what is asked for.
    url: Url,
    header: (HeaderName, HeaderValue),
    client_id: Option<String>,
    service: &'static str,
}

impl ManagedIdentity {
    /// <https://learn.microsoft.com/azure/app-service/overview-managed-identity#rest-endpoint-reference>
    pub(super) fn app_service(config: &AzureConfig, client_id: Option<String>) -> Result<Self> {
        let environment = &config.environment;
        let wrong = |variable: &'static str| invalid("App Service's managed identity can't be asked").with("variable", variable);
        let endpoint = variable(environment, ENDPOINT)?.ok_or_else(|| wrong(ENDPOINT))?;
        let url = service_url(&endpoint, "2019-08-01").ok_or_else(|| wrong(ENDPOINT))?;
        let secret = environment.secret_var(HEADER).unwrap_or_else(|| SecretValue::from(""));
        let mut secret = HeaderValue::from_bytes(secret.expose_secret().trim_ascii()).map_err(|_| wrong(HEADER))?;
        secret.set_sensitive(true);
        Ok(Self {
            client: machine_client(CONNECT_TIMEOUT)?,
            url,
            header: (HeaderName::from_static("x-identity-header"), secret),
            client_id,
            service: "App Service",
        })
    }

    /// <https://learn.microsoft.com/entra/identity/managed-identities-azure-resources/how-to-use-vm-token>
    pub(super) fn machine(config: &AzureConfig, client_id: Option<String>) -> Result<Self> {
        let host = variable(&config.environment, METADATA_VARIABLE)?.unwrap_or_else(|| METADATA.to_owned());
        let url = service_url(
            &format!("{}/metadata/identity/oauth2/token", host.trim_end_matches('/')),
            "2018-02-01",
        );
        Ok(Self {
            client: machine_client(CONNECT_TIMEOUT)?,
            url: url.ok_or_else(|| invalid("the metadata service's address is not one").with("variable", METADATA_VARIABLE))?,
            header: (HeaderName::from_static("metadata"), HeaderValue::from_static("true")),
            client_id,
            service: "the machine's metadata service",
        })
    }

    fn about(&self, problem: Problem) -> Problem {
        problem.with("service", self.service)
    }
}

fn service_url(text: &str, version: &str) -> Option<Url> {
    let mut url = Url::parse(text)
        .ok()
        .filter(|url| url.scheme() == "http" && url.username().is_empty())?;
    url.query_pairs_mut().append_pair("api-version", version);
    Some(url)
}

#[async_trait]
impl TokenSource for ManagedIdentity {
    async fn token(&self, scope: &str) -> Result<AccessToken, Problem> {
        let mut url = self.url.clone();
        // These services know resources, and no scopes.
        url.query_pairs_mut()
            .append_pair("resource", scope.strip_suffix("/.default").unwrap_or(scope));
        if let Some(client_id) = &self.client_id {
            url.query_pairs_mut().append_pair("client_id", client_id);
        }
        let mut headers = HeaderMap::new();
        headers.insert(self.header.0.clone(), self.header.1.clone());
        let answer = match self.client.get(url).headers(headers).send().await {
            Ok(answer) => answer,
            Err(error) if error.is_connect() => {
                return Err(self.about(
                    Problem::new(
                        ErrorKind::Unauthenticated,
                        "there is no managed identity here: its service does not answer",
                    )
                    .hint("run on a machine of Azure that has an identity, or log in another way"),
                ));
            }
            Err(error) => return Err(undelivered(&error, false, self.service)),
        };
        let status = answer.status().as_u16();
        let wait = answer
            .headers()
            .get("retry-after")
            .and_then(|wait| wait.to_str().ok()?.trim().parse().ok());
        let body = read(answer).await?;
        if status != 200 {
            return Err(self.about(refused(status, wait).into()));
        }
        let unclear = || self.about(Problem::new(ErrorKind::Other, "the answer to the log-in can't be understood"));
        let answer: Answer = serde_json::from_slice(&body).map_err(|_| unclear())?;
        let ends = OffsetDateTime::from_unix_timestamp(answer.expires_on.seconds().ok_or_else(unclear)?);
        if answer.access_token.is_empty() {
            return Err(unclear());
        }
        Ok(AccessToken::new(answer.access_token, ends.map_err(|_| unclear())?))
    }
}

#[derive(Deserialize)]
struct Answer {
    access_token: String,
    expires_on: Seconds,
}

/// Seconds since 1970: a string with digits as documented, a number from some who imitate it.
#[derive(Deserialize)]
#[serde(untagged)]
enum Seconds {
    Text(String),
    Number(i64),
}

impl Seconds {
    fn seconds(&self) -> Option<i64> {
        match self {
            Self::Text(text) => text.parse().ok(),
            Self::Number(number) => Some(*number),
        }
    }
}

/// The errors are documented by their status; 404 and 410 come while the service is being updated.
fn refused(status: u16, wait: Option<u64>) -> Error {
    let error = match status {
        400 => Error::new(ErrorKind::Unauthenticated, "there is no such managed identity")
            .with_hint("give one to the machine or the app; `AZURE_CLIENT_ID` chooses among several"),
        429 => Error::new(ErrorKind::RateLimited, "the service asks for fewer requests"),
        404 | 410 | 500..=599 => Error::new(ErrorKind::Unavailable, "the service can't give out a token now"),
        _ => Error::new(ErrorKind::Unauthenticated, "the service gives out no token"),
    };
    let error = error.with("status", status.to_string());
    match wait {
        Some(wait) => error.with_retry_after(Duration::from_secs(wait.min(3600))),
        None => error,
    }
}

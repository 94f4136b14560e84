//! The double of Azure Key Vault: a log-in, and a request for each secret.

use std::path::PathBuf;

use super::super::http::Endpoint;
use super::super::secrets::{SECRETS, Secrets, lower_case};
use super::super::tls::Identity;
use super::super::way::Way;
use super::{Change, Floor, WRITERS, confirm, confirm_values, each, member, variable, width};
use crate::Outcome;

const VERSION: &str = "api-version=7.5";

pub(in super::super) struct KeyVault {
    pub(in super::super) url: String,
    /// Where applications log in.
    pub(in super::super) authority: String,
    /// The authority of both addresses' certificates.
    pub(in super::super) ca: PathBuf,
    pub(in super::super) tenant: String,
    pub(in super::super) client: String,
    pub(in super::super) client_secret: String,
    pub(in super::super) identity: Identity,
}

impl KeyVault {
    /// The name under which tools know the vault that have Azure's domain built in.
    pub(in super::super) const NAME: &'static str = "keyfob-bench";

    pub(super) fn find() -> Outcome<Result<Self, &'static str>> {
        let identity = Identity::make()?;
        let found = || {
            Ok(Self {
                url: variable("KEYFOB_TEST_AZURE_URL")?,
                authority: variable("KEYFOB_TEST_AZURE_AUTHORITY")?,
                ca: variable("KEYFOB_TEST_AZURE_CA")?.into(),
                tenant: variable("KEYFOB_TEST_AZURE_TENANT_ID")?,
                client: variable("KEYFOB_TEST_AZURE_CLIENT_ID")?,
                client_secret: variable("KEYFOB_TEST_AZURE_CLIENT_SECRET")?,
                identity,
            })
        };
        Ok(found())
    }

    /// What stands in front of everyone's secrets.
    pub(in super::super) fn prefix(secrets: &Secrets) -> String {
        format!("{}-", secrets.project)
    }

    /// An application's token, as it asks for it itself.
    async fn token(&self, login: &Endpoint) -> Outcome<String> {
        let body = format!(
            "grant_type=client_credentials&client_id={}&client_secret={}&scope=https%3A%2F%2Fvault.azure.net%2F.default",
            self.client,
            self.client_secret.replace('%', "%25").replace('+', "%2B").replace('&', "%26")
        );
        let headers = "Content-Type: application/x-www-form-urlencoded\r\n";
        let path = format!("/{}/oauth2/v2.0/token", self.tenant);
        let (status, body) = login.connect().await?.send("POST", &path, headers, &body).await?;
        let token = member(&body, "access_token").map(str::to_owned);
        token.ok_or_else(|| format!("there is no token, but the status {status}").into())
    }

    pub(super) async fn write(&self, secrets: &Secrets) -> Outcome {
        self.change(secrets, Change::Create).await
    }

    /// What is deleted can be restored, and goes with the double.
    pub(super) async fn remove(&self, secrets: &Secrets) -> Outcome {
        self.change(secrets, Change::Remove).await
    }

    async fn change(&self, secrets: &Secrets, change: Change) -> Outcome {
        let token = self.token(&Endpoint::parse(&self.authority, Some(&self.ca))?).await?;
        let headers = format!("Authorization: Bearer {token}\r\nContent-Type: application/json\r\n");
        let vault = Endpoint::parse(&self.url, Some(&self.ca))?;
        each(&vault, WRITERS, SECRETS, async |connection, index| {
            let path = format!("/secrets/{}{}?{VERSION}", Self::prefix(secrets), lower_case(index));
            let (method, body) = match change {
                Change::Create => ("PUT", format!("{{\"value\":\"{}\"}}", secrets.value(index))),
                Change::Remove => ("DELETE", String::new()),
            };
            let (status, _) = connection.send(method, &path, &headers, &body).await?;
            confirm(status, change)
        })
        .await
    }

    /// It knows what the vault's challenge would say, so it logs in first.
    pub(super) async fn fetch(&self, secrets: &Secrets, way: &Way, floor: Floor) -> Outcome {
        let token = self.token(&way.login()?).await?;
        let headers = format!("Authorization: Bearer {token}\r\n");
        each(&way.endpoint()?, width(floor), SECRETS, async |connection, index| {
            let path = format!("/secrets/{}{}?{VERSION}", Self::prefix(secrets), lower_case(index));
            let (status, body) = connection.send("GET", &path, &headers, "").await?;
            confirm_values(status, secrets.are_in(&body, index..index + 1))
        })
        .await
    }
}

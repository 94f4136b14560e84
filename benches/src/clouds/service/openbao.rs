//! OpenBao, KV version 2: a request for each secret.

use super::super::http::Endpoint;
use super::super::secrets::{SECRETS, Secrets, variable as name_of};
use super::super::way::Way;
use super::{Change, Floor, WRITERS, confirm, confirm_values, each, member, variable, width};
use crate::Outcome;

pub(in super::super) struct OpenBao {
    pub(in super::super) url: String,
    pub(in super::super) token: String,
}

impl OpenBao {
    pub(super) fn find() -> Result<Self, &'static str> {
        Ok(Self {
            url: variable("KEYFOB_TEST_OPENBAO_URL")?,
            token: variable("KEYFOB_TEST_OPENBAO_TOKEN")?,
        })
    }

    pub(super) async fn name(&self) -> Outcome<String> {
        let mut connection = Endpoint::parse(&self.url, None)?.connect().await?;
        let (_, body) = connection.send("GET", "/v1/sys/health", "", "").await?;
        Ok(format!(
            "OpenBao {}",
            member(&body, "version").ok_or("OpenBao did not say its version")?
        ))
    }

    /// What everyone's secrets lie under. It is secretspec's own convention; all others take any place.
    pub(in super::super) fn prefix(secrets: &Secrets) -> String {
        format!("secretspec/{}/default", secrets.project)
    }

    pub(super) async fn write(&self, secrets: &Secrets) -> Outcome {
        self.change(secrets, Change::Create).await
    }

    pub(super) async fn remove(&self, secrets: &Secrets) -> Outcome {
        self.change(secrets, Change::Remove).await
    }

    async fn change(&self, secrets: &Secrets, change: Change) -> Outcome {
        let headers = format!("X-Vault-Token: {}\r\nContent-Type: application/json\r\n", self.token);
        each(
            &Endpoint::parse(&self.url, None)?,
            WRITERS,
            SECRETS,
            async |connection, index| {
                let (method, kind, body) = match change {
                    Change::Create => (
                        "POST",
                        "data",
                        format!("{{\"data\":{{\"value\":\"{}\"}}}}", secrets.value(index)),
                    ),
                    Change::Remove => ("DELETE", "metadata", String::new()),
                };
                let path = format!("/v1/secret/{kind}/{}/{}", Self::prefix(secrets), name_of(index));
                let (status, _) = connection.send(method, &path, &headers, &body).await?;
                confirm(status, change)
            },
        )
        .await
    }

    pub(super) async fn fetch(&self, secrets: &Secrets, way: &Way, floor: Floor) -> Outcome {
        let headers = format!("X-Vault-Token: {}\r\n", self.token);
        each(&way.endpoint()?, width(floor), SECRETS, async |connection, index| {
            let path = format!("/v1/secret/data/{}/{}", Self::prefix(secrets), name_of(index));
            let (status, body) = connection.send("GET", &path, &headers, "").await?;
            confirm_values(status, secrets.are_in(&body, index..index + 1))
        })
        .await
    }
}

//! LocalStack's Secrets Manager: a request for each batch of secrets.

use super::super::http::{Connection, Endpoint};
use super::super::secrets::{SECRETS, Secrets, variable as name_of};
use super::super::way::Way;
use super::{Change, Floor, OpenBao, WRITERS, confirm, confirm_values, each, member, variable, width};
use crate::Outcome;

/// The most that AWS gives for one request.
const BATCH: usize = 20;
/// The fewest requests that give all values.
pub(super) const REQUESTS: usize = SECRETS.div_ceil(BATCH);

pub(in super::super) struct LocalStack {
    pub(in super::super) url: String,
}

impl LocalStack {
    pub(super) fn find() -> Result<Self, &'static str> {
        let url = variable("KEYFOB_TEST_LOCALSTACK_URL")?;
        Ok(Self { url })
    }

    pub(super) async fn name(&self) -> Outcome<String> {
        let mut connection = Endpoint::parse(&self.url, None)?.connect().await?;
        let (_, body) = connection.send("GET", "/_localstack/health", "", "").await?;
        Ok(format!(
            "LocalStack {}",
            member(&body, "version").ok_or("LocalStack did not say its version")?
        ))
    }

    pub(super) async fn write(&self, secrets: &Secrets) -> Outcome {
        self.change(secrets, Change::Create).await
    }

    pub(super) async fn remove(&self, secrets: &Secrets) -> Outcome {
        self.change(secrets, Change::Remove).await
    }

    async fn change(&self, secrets: &Secrets, change: Change) -> Outcome {
        each(
            &Endpoint::parse(&self.url, None)?,
            WRITERS,
            SECRETS,
            async |connection, index| {
                let id = id_of(secrets, index);
                let (operation, body) = match change {
                    Change::Create => {
                        let (value, token) = (secrets.value(index), format!("{}-{index:020}", secrets.project));
                        let body =
                            format!("{{\"Name\":\"{id}\",\"SecretString\":\"{value}\",\"ClientRequestToken\":\"{token}\"}}");
                        ("CreateSecret", body)
                    }
                    Change::Remove => (
                        "DeleteSecret",
                        format!("{{\"SecretId\":\"{id}\",\"ForceDeleteWithoutRecovery\":true}}"),
                    ),
                };
                let (status, _) = send(connection, operation, &body).await?;
                confirm(status, change)
            },
        )
        .await
    }

    pub(super) async fn fetch(&self, secrets: &Secrets, way: &Way, floor: Floor) -> Outcome {
        each(&way.endpoint()?, width(floor), REQUESTS, async |connection, request| {
            let indices = request * BATCH..SECRETS.min((request + 1) * BATCH);
            let ids: Vec<_> = indices
                .clone()
                .map(|index| format!("\"{}\"", id_of(secrets, index)))
                .collect();
            let body = format!("{{\"SecretIdList\":[{}]}}", ids.join(","));
            let (status, body) = send(connection, "BatchGetSecretValue", &body).await?;
            confirm_values(status, secrets.are_in(&body, indices))
        })
        .await
    }
}

fn id_of(secrets: &Secrets, index: usize) -> String {
    format!("{}/{}", OpenBao::prefix(secrets), name_of(index))
}

/// LocalStack wants a signature of the right form, and checks none.
async fn send(connection: &mut Connection, operation: &str, body: &str) -> Outcome<(u16, String)> {
    let headers = format!(
        "Content-Type: application/x-amz-json-1.1\r\nX-Amz-Target: secretsmanager.{operation}\r\n\
         X-Amz-Date: 20260101T000000Z\r\nAuthorization: AWS4-HMAC-SHA256 \
         Credential=test/20260101/us-east-1/secretsmanager/aws4_request, SignedHeaders=host;x-amz-date, Signature={:064}\r\n",
        0
    );
    connection.send("POST", "/", &headers, body).await
}

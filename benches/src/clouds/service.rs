//! The two servers, and the secrets in them.

use std::env;
use std::hash::{BuildHasher as _, RandomState};

use futures_util::future::try_join_all;

use super::http::{Connection, Endpoint};
use crate::Outcome;

/// How many secrets a process is started with.
pub(super) const SECRETS: usize = 100;
/// The most that AWS gives for one request.
const BATCH: usize = 20;
/// Connections that write the data.
const WRITERS: usize = 4;

#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    OpenBao,
    LocalStack,
}

/// A server that runs, with the secrets of this run in it.
pub(super) struct Service {
    pub(super) kind: Kind,
    pub(super) url: String,
    pub(super) version: String,
    /// OpenBao's; empty for LocalStack.
    pub(super) token: String,
    /// What everyone's secrets lie under: `secretspec/{project}/{profile}`. It is secretspec's own convention; all others
    /// take any place.
    pub(super) prefix: String,
    /// Their project there, which nobody else has.
    pub(super) project: String,
    values: Vec<String>,
}

impl Service {
    /// Writes the secrets to the server that the environment names; or says which variable is missing.
    pub(super) async fn prepare(kind: Kind) -> Outcome<Result<Self, &'static str>> {
        let (url, token) = match kind {
            Kind::OpenBao => ("KEYFOB_TEST_OPENBAO_URL", Some("KEYFOB_TEST_OPENBAO_TOKEN")),
            Kind::LocalStack => ("KEYFOB_TEST_LOCALSTACK_URL", None),
        };
        let variable = |name: &'static str| env::var(name).ok().filter(|value| !value.is_empty()).ok_or(name);
        let (url, token) = match (variable(url), token.map_or(Ok(String::new()), variable)) {
            (Ok(url), Ok(token)) => (url, token),
            (Err(missing), _) | (_, Err(missing)) => return Ok(Err(missing)),
        };
        let number = RandomState::new().hash_one(std::process::id());
        let project = format!("keyfob-bench-{number:x}");
        let service = Self {
            kind,
            version: version(kind, Endpoint::parse(&url)?).await?,
            url,
            token,
            prefix: format!("secretspec/{project}/default"),
            project,
            values: (0..SECRETS)
                .map(|index| format!("kfcanary-{number:016x}{index:07}"))
                .collect(),
        };
        if let Err(error) = service.each(Change::Create).await {
            service.remove().await?;
            return Err(error);
        }
        Ok(Ok(service))
    }

    /// Removes what [`Self::prepare`] wrote.
    pub(super) async fn remove(&self) -> Outcome {
        self.each(Change::Remove).await
    }

    pub(super) fn name(&self) -> &'static str {
        match self.kind {
            Kind::OpenBao => "OpenBao",
            Kind::LocalStack => "LocalStack",
        }
    }

    /// How many of these lines, a child's environment, are right.
    pub(super) fn right(&self, environment: &str) -> usize {
        let right = |line: &&str| {
            line.split_once('=').is_some_and(|(name, value)| {
                let index: Option<usize> = name.strip_prefix("VALUE_").and_then(|index| index.parse().ok());
                index
                    .and_then(|index| self.values.get(index))
                    .is_some_and(|right| right == value)
            })
        };
        environment.lines().filter(right).count()
    }

    /// The fewest requests that give all values.
    pub(super) fn fewest_requests(&self) -> usize {
        match self.kind {
            Kind::OpenBao => SECRETS,
            Kind::LocalStack => SECRETS.div_ceil(BATCH),
        }
    }

    /// Sends those requests through `endpoint` over so many connections of their own, all at once, and compares the values.
    pub(super) async fn fetch(&self, endpoint: Endpoint, connections: usize) -> Outcome {
        let work = (0..connections).map(|first| async move {
            let mut connection = endpoint.connect().await?;
            for request in (first..self.fewest_requests()).step_by(connections) {
                let (indices, answer) = match self.kind {
                    Kind::OpenBao => {
                        let path = format!("/v1/secret/data/{}/{}", self.prefix, name_of(request));
                        let headers = format!("X-Vault-Token: {}\r\n", self.token);
                        (request..request + 1, connection.send("GET", &path, &headers, "").await?)
                    }
                    Kind::LocalStack => {
                        let indices = request * BATCH..SECRETS.min((request + 1) * BATCH);
                        let names: Vec<_> = indices
                            .clone()
                            .map(|index| format!("\"{}\"", self.secret_id(index)))
                            .collect();
                        let body = format!("{{\"SecretIdList\":[{}]}}", names.join(","));
                        (indices, aws(&mut connection, "BatchGetSecretValue", &body).await?)
                    }
                };
                let (status, body) = answer;
                if status != 200 || !self.values[indices].iter().all(|value| body.contains(value)) {
                    return Err(format!("the floor's own request was answered with status {status}").into());
                }
            }
            Ok(())
        });
        try_join_all(work).await.map(|_: Vec<()>| ())
    }

    async fn each(&self, change: Change) -> Outcome {
        let endpoint = Endpoint::parse(&self.url)?;
        let work = (0..WRITERS).map(|first| async move {
            let mut connection = endpoint.connect().await?;
            for index in (first..SECRETS).step_by(WRITERS) {
                self.change(&mut connection, index, change).await?;
            }
            Ok(())
        });
        try_join_all(work).await.map(|_: Vec<()>| ())
    }

    async fn change(&self, connection: &mut Connection, index: usize, change: Change) -> Outcome {
        let (id, value) = (self.secret_id(index), &self.values[index]);
        let (status, _) = match self.kind {
            Kind::OpenBao => {
                let (method, kind, body) = match change {
                    Change::Create => ("POST", "data", format!("{{\"data\":{{\"value\":\"{value}\"}}}}")),
                    Change::Remove => ("DELETE", "metadata", String::new()),
                };
                let headers = format!("X-Vault-Token: {}\r\nContent-Type: application/json\r\n", self.token);
                connection
                    .send(method, &format!("/v1/secret/{kind}/{id}"), &headers, &body)
                    .await?
            }
            Kind::LocalStack => {
                let (operation, body) = match change {
                    Change::Create => {
                        let token = format!("{}-{index:020}", self.project);
                        let token = format!("\"ClientRequestToken\":\"{token}\"");
                        (
                            "CreateSecret",
                            format!("{{\"Name\":\"{id}\",\"SecretString\":\"{value}\",{token}}}"),
                        )
                    }
                    Change::Remove => (
                        "DeleteSecret",
                        format!("{{\"SecretId\":\"{id}\",\"ForceDeleteWithoutRecovery\":true}}"),
                    ),
                };
                aws(connection, operation, &body).await?
            }
        };
        match (status, change) {
            (200 | 204, _) | (404 | 400, Change::Remove) => Ok(()),
            _ => Err(format!("{} answered with status {status} when the data was written", self.name()).into()),
        }
    }

    fn secret_id(&self, index: usize) -> String {
        format!("{}/{}", self.prefix, name_of(index))
    }
}

/// The name of a secret, and of the variable that a child sees.
pub(super) fn name_of(index: usize) -> String {
    format!("VALUE_{index}")
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Change {
    Create,
    Remove,
}

async fn version(kind: Kind, endpoint: Endpoint) -> Outcome<String> {
    let path = match kind {
        Kind::OpenBao => "/v1/sys/health",
        Kind::LocalStack => "/_localstack/health",
    };
    let (_, body) = endpoint.connect().await?.send("GET", path, "", "").await?;
    let version = body.split_once("\"version\":").and_then(|(_, rest)| rest.split('"').nth(1));
    Ok(version.ok_or("the server did not say its version")?.to_owned())
}

/// LocalStack wants a signature of the right form, and checks none.
async fn aws(connection: &mut Connection, operation: &str, body: &str) -> Outcome<(u16, String)> {
    let headers = format!(
        "Content-Type: application/x-amz-json-1.1\r\nX-Amz-Target: secretsmanager.{operation}\r\n\
         X-Amz-Date: 20260101T000000Z\r\nAuthorization: AWS4-HMAC-SHA256 \
         Credential=test/20260101/us-east-1/secretsmanager/aws4_request, SignedHeaders=host;x-amz-date, Signature={:064}\r\n",
        0
    );
    connection.send("POST", "/", &headers, body).await
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_right_value_under_the_right_name_counts() {
        let service = Service {
            kind: Kind::OpenBao,
            url: String::new(),
            version: String::new(),
            token: String::new(),
            prefix: String::new(),
            project: String::new(),
            values: vec!["kfcanary-a".to_owned(), "kfcanary-b".to_owned()],
        };
        assert_eq!(service.right("PATH=/bin\nVALUE_1=kfcanary-b\nVALUE_0=kfcanary-a\n"), 2);
        for wrong in [
            "VALUE_0=kfcanary-b",
            "VALUE_0=kfcanary-a ",
            "VALUE_0=",
            "VALUE_2=kfcanary-a",
            "VALUE_0=${secret:VALUE_0}",
            "0=kfcanary-a",
        ] {
            assert_eq!(service.right(wrong), 0, "{wrong}");
        }
    }
}

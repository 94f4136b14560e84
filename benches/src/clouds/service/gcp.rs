//! The double of Google Cloud's Secret Manager, behind TLS and HTTP/2 as Google has them: a request for each secret.

use std::path::PathBuf;

use futures_util::future::try_join_all;

use super::super::http::Endpoint;
use super::super::secrets::{SECRETS, Secrets, variable as name_of};
use super::super::tls::Identity;
use super::super::way::Way;
use super::{Change, Floor, WRITERS, confirm, confirm_values, each, member, variable, width};
use crate::Outcome;

pub(in super::super) struct SecretManager {
    pub(in super::super) url: String,
    pub(in super::super) project: String,
    /// The key of a service account, as Google gives it out.
    pub(in super::super) key: PathBuf,
    pub(in super::super) identity: Identity,
    /// A token of somebody who may do everything.
    token: String,
}

impl SecretManager {
    pub(super) async fn find() -> Outcome<Result<Self, &'static str>> {
        let url = match variable("KEYFOB_TEST_GCP_DOUBLE_URL") {
            Ok(url) => url,
            Err(missing) => return Ok(Err(missing)),
        };
        let mut connection = Endpoint::parse(&url, None)?.connect().await?;
        let (_, body) = connection.send("GET", "/_double", "", "").await?;
        let said = |name: &str| {
            let value = member(&body, name).map(str::to_owned);
            value.ok_or_else(|| format!("the double of Secret Manager did not say its `{name}`"))
        };
        Ok(Ok(Self {
            project: said("project")?,
            key: said("serviceAccount")?.into(),
            token: said("admin")?,
            identity: Identity::make()?,
            url,
        }))
    }

    /// What stands in front of everyone's secrets. It is secretspec's own convention; all others take any name.
    pub(in super::super) fn prefix(secrets: &Secrets) -> String {
        format!("secretspec2--{}--default--", secrets.project)
    }

    pub(super) async fn write(&self, secrets: &Secrets) -> Outcome {
        self.change(secrets, Change::Create).await
    }

    pub(super) async fn remove(&self, secrets: &Secrets) -> Outcome {
        self.change(secrets, Change::Remove).await
    }

    async fn change(&self, secrets: &Secrets, change: Change) -> Outcome {
        let headers = format!("Authorization: Bearer {}\r\nContent-Type: application/json\r\n", self.token);
        each(
            &Endpoint::parse(&self.url, None)?,
            WRITERS,
            SECRETS,
            async |connection, index| {
                let id = format!("{}{}", Self::prefix(secrets), name_of(index));
                let parent = format!("/v1/projects/{}/secrets", self.project);
                if change == Change::Remove {
                    let (status, _) = connection.send("DELETE", &format!("{parent}/{id}"), &headers, "").await?;
                    return confirm(status, change);
                }
                let replication = "{\"replication\":{\"automatic\":{}}}";
                let path = format!("{parent}?secretId={id}");
                let (status, _) = connection.send("POST", &path, &headers, replication).await?;
                confirm(status, change)?;
                let version = format!("{{\"payload\":{{\"data\":\"{}\"}}}}", secrets.base64(index));
                let path = format!("{parent}/{id}:addVersion");
                let (status, _) = connection.send("POST", &path, &headers, &version).await?;
                confirm(status, change)
            },
        )
        .await
    }

    /// With a token that it need not ask for, and that it need not sign.
    pub(super) async fn fetch(&self, secrets: &Secrets, way: &Way, floor: Floor) -> Outcome {
        let path = |index| {
            let id = format!("{}{}", Self::prefix(secrets), name_of(index));
            format!("/v1/projects/{}/secrets/{id}/versions/latest:access", self.project)
        };
        let authorization = format!("Bearer {}", self.token);
        let confirm = |index, status, body: &str| confirm_values(status, body.contains(&secrets.base64(index)));
        if floor == Floor::Multiplexed {
            let connection = way.endpoint()?.multiplex().await?;
            let requests = (0..SECRETS).map(|index| {
                let (mut connection, path, authorization) = (connection.clone(), path(index), &authorization);
                async move {
                    let (status, body) = connection.get(&path, authorization).await?;
                    confirm(index, status, &body)
                }
            });
            return try_join_all(requests).await.map(|_: Vec<()>| ());
        }
        let headers = format!("Authorization: {authorization}\r\n");
        each(&way.endpoint()?, width(floor), SECRETS, async |connection, index| {
            let (status, body) = connection.send("GET", &path(index), &headers, "").await?;
            confirm(index, status, &body)
        })
        .await
    }
}

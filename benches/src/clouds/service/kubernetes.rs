//! Kubernetes' API server: an object for each secret, or one object with all of them as keys.

use std::fs;
use std::path::PathBuf;

use data_encoding::BASE64;
use futures_util::future::try_join_all;
use tempfile::NamedTempFile;

use super::super::http::Endpoint;
use super::super::secrets::{SECRETS, Secrets, lower_case, variable as name_of};
use super::super::way::Way;
use super::{Change, Floor, WIDTHS, WRITERS, confirm, confirm_values, each, member, variable, width};
use crate::Outcome;

#[derive(Clone, Copy, PartialEq, Eq)]
pub(in super::super) enum Shape {
    Objects,
    Keys,
}

pub(in super::super) struct Kubernetes {
    pub(in super::super) shape: Shape,
    pub(in super::super) url: String,
    /// The text of the administrator's kubeconfig.
    pub(in super::super) kubeconfig: String,
    token: String,
    ca: NamedTempFile,
}

impl Kubernetes {
    /// The object whose keys are the secrets.
    pub(in super::super) const OBJECT: &'static str = "app";
    /// The key of an object that is one secret.
    pub(in super::super) const KEY: &'static str = "value";

    pub(super) fn find(shape: Shape) -> Outcome<Result<Self, &'static str>> {
        let (url, path) = match (variable("KEYFOB_TEST_KUBERNETES_URL"), variable("KEYFOB_TEST_KUBECONFIG")) {
            (Ok(url), Ok(path)) => (url, path),
            (Err(missing), _) | (_, Err(missing)) => return Ok(Err(missing)),
        };
        let kubeconfig = fs::read_to_string(path)?;
        let line = |name: &str| {
            let value = kubeconfig
                .lines()
                .find_map(|line| line.trim().strip_prefix(name)?.strip_prefix(':'));
            let value = value.map(|value| value.trim().trim_matches('"').to_owned());
            value.ok_or_else(|| format!("the kubeconfig of the tests has no `{name}`"))
        };
        let ca = NamedTempFile::new()?;
        fs::write(ca.path(), BASE64.decode(line("certificate-authority-data")?.as_bytes())?)?;
        let token = line("token")?;
        Ok(Ok(Self {
            shape,
            url,
            token,
            ca,
            kubeconfig,
        }))
    }

    pub(super) async fn name(&self) -> Outcome<String> {
        let mut connection = self.server()?.connect().await?;
        let (_, body) = connection.send("GET", "/version", "", "").await?;
        let compact: String = body.split_whitespace().collect();
        let version = member(&compact, "gitVersion").ok_or("the API server did not say its version")?;
        let shape = match self.shape {
            Shape::Objects => "an object for each",
            Shape::Keys => "keys of one object",
        };
        Ok(format!("Kubernetes {}, {shape}", version.trim_start_matches('v')))
    }

    pub(in super::super) fn ca(&self) -> PathBuf {
        self.ca.path().to_owned()
    }

    fn server(&self) -> Outcome<Endpoint> {
        Endpoint::parse(&self.url, Some(self.ca.path()))
    }

    fn headers(&self) -> String {
        format!("Authorization: Bearer {}\r\nContent-Type: application/json\r\n", self.token)
    }

    pub(super) async fn write(&self, secrets: &Secrets) -> Outcome {
        let namespace = format!("{{\"metadata\":{{\"name\":\"{}\"}}}}", secrets.project);
        let mut connection = self.server()?.connect().await?;
        let (status, _) = connection
            .send("POST", "/api/v1/namespaces", &self.headers(), &namespace)
            .await?;
        confirm(status, Change::Create)?;
        match self.shape {
            Shape::Objects => {
                each(&self.server()?, WRITERS, SECRETS, async |connection, index| {
                    let data = format!("\"{}\":\"{}\"", Self::KEY, secrets.base64(index));
                    self.create(connection, secrets, &lower_case(index), &data).await
                })
                .await
            }
            Shape::Keys => {
                let member = |index| format!("\"{}\":\"{}\"", name_of(index), secrets.base64(index));
                let data: Vec<_> = (0..SECRETS).map(member).collect();
                self.create(&mut connection, secrets, Self::OBJECT, &data.join(",")).await
            }
        }
    }

    async fn create(&self, connection: &mut super::Connection, secrets: &Secrets, name: &str, data: &str) -> Outcome {
        let body = format!("{{\"metadata\":{{\"name\":\"{name}\"}},\"data\":{{{data}}}}}");
        let path = format!("/api/v1/namespaces/{}/secrets", secrets.project);
        let (status, _) = connection.send("POST", &path, &self.headers(), &body).await?;
        confirm(status, Change::Create)
    }

    /// Nothing else empties a namespace where no controller runs, nor lets it go.
    pub(super) async fn remove(&self, secrets: &Secrets) -> Outcome {
        let path = format!("/api/v1/namespaces/{}", secrets.project);
        let mut connection = self.server()?.connect().await?;
        for (method, path, body) in [
            ("DELETE", format!("{path}/secrets"), String::new()),
            ("DELETE", path.clone(), String::new()),
            (
                "PUT",
                format!("{path}/finalize"),
                format!(
                    "{{\"kind\":\"Namespace\",\"apiVersion\":\"v1\",\"metadata\":{{\"name\":\"{}\"}},\"spec\":{{}}}}",
                    secrets.project
                ),
            ),
        ] {
            let (status, _) = connection.send(method, &path, &self.headers(), &body).await?;
            confirm(status, Change::Remove)?;
        }
        Ok(())
    }

    /// All objects at once could be had by listing them, which takes the right to read every secret of the namespace: not
    /// what is measured.
    pub(super) fn floors(&self) -> Vec<Floor> {
        match self.shape {
            Shape::Objects => [&[Floor::Multiplexed], &WIDTHS[..]].concat(),
            Shape::Keys => vec![Floor::Connections(1)],
        }
    }

    pub(super) async fn fetch(&self, secrets: &Secrets, way: &Way, floor: Floor) -> Outcome {
        let path = |name: &str| format!("/api/v1/namespaces/{}/secrets/{name}", secrets.project);
        let authorization = format!("Bearer {}", self.token);
        let headers = format!("Authorization: {authorization}\r\n");
        if self.shape == Shape::Keys {
            let mut connection = way.endpoint()?.connect().await?;
            let (status, body) = connection.send("GET", &path(Self::OBJECT), &headers, "").await?;
            return confirm_values(status, (0..SECRETS).all(|index| body.contains(&secrets.base64(index))));
        }
        let confirm = |index, status, body: &str| confirm_values(status, body.contains(&secrets.base64(index)));
        if floor == Floor::Multiplexed {
            let connection = way.endpoint()?.multiplex().await?;
            let requests = (0..SECRETS).map(|index| {
                let (mut connection, path, authorization) = (connection.clone(), path(&lower_case(index)), &authorization);
                async move {
                    let (status, body) = connection.get(&path, authorization).await?;
                    confirm(index, status, &body)
                }
            });
            return try_join_all(requests).await.map(|_: Vec<()>| ());
        }
        each(&way.endpoint()?, width(floor), SECRETS, async |connection, index| {
            let (status, body) = connection.send("GET", &path(&lower_case(index)), &headers, "").await?;
            confirm(index, status, &body)
        })
        .await
    }
}

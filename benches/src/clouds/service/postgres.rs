//! keyfob's own encrypted store in PostgreSQL. Only keyfob can write its rows; how they are read is what is measured.

use keyfob_core::{PutRequest, SecretName, SecretStore as _, StoreUrl};
use keyfob_envelope::RawKey;
use keyfob_sql::{KeyConfig, PostgresConfig, PostgresStore};
use tempfile::TempDir;
use tokio_postgres::types::Type;
use tokio_postgres::{Client, NoTls};

use super::super::secrets::{SECRETS, Secrets, variable as name_of};
use super::super::way::Way;
use super::variable;
use crate::Outcome;

pub(in super::super) struct Postgres {
    pub(in super::super) url: String,
    pub(in super::super) schema: String,
    directory: TempDir,
}

impl Postgres {
    pub(super) fn find(secrets: &Secrets) -> Outcome<Result<Self, &'static str>> {
        let directory = tempfile::tempdir()?;
        RawKey::create_file(directory.path().join("key"))?;
        Ok(variable("KEYFOB_TEST_POSTGRES_URL").map(|url| Self {
            url,
            schema: secrets.project.replace('-', "_"),
            directory,
        }))
    }

    pub(super) async fn name(&self) -> Outcome<String> {
        let row = connect(&self.url).await?.query_one("SHOW server_version", &[]).await?;
        let version: &str = row.try_get(0)?;
        Ok(format!("PostgreSQL {}", version.split(' ').next().unwrap_or_default()))
    }

    /// The store's URL at another address, with the place of its key.
    pub(in super::super) fn store(&self, address: &str) -> String {
        let key = self.directory.path().join("key");
        format!("{address}?schema={}&key-file={}", self.schema, key.display())
    }

    pub(super) async fn write(&self, secrets: &Secrets) -> Outcome {
        let url = StoreUrl::parse(&self.url)?;
        let (host, database) = (url.host().unwrap_or_default(), url.path()?);
        let key = KeyConfig::File(self.directory.path().join("key"));
        let mut config = PostgresConfig::new(host, database.trim_start_matches('/'), url.user().unwrap_or_default(), key)
            .with_state_dir(self.directory.path());
        config.port = url.port().unwrap_or(config.port);
        config.password = url.password().cloned();
        config.schema.clone_from(&self.schema);
        let store = PostgresStore::create(config).await?;
        for index in 0..SECRETS {
            let name = SecretName::new(name_of(index))?;
            store.put(&name, PutRequest::new(secrets.value(index))).await?;
        }
        Ok(())
    }

    pub(super) async fn remove(&self) -> Outcome {
        let statement = format!("DROP SCHEMA IF EXISTS \"{}\" CASCADE", self.schema);
        Ok(connect(&self.url).await?.batch_execute(&statement).await?)
    }

    /// The rows as they are: a bare client can't check or decrypt them.
    pub(super) async fn fetch(&self, way: &Way) -> Outcome {
        let names: Vec<String> = (0..SECRETS).map(name_of).collect();
        let statement = format!(
            "SELECT name, number, wrapped_key, ciphertext FROM \"{}\".version WHERE name = ANY($1)",
            self.schema
        );
        let client = connect(&way.url).await?;
        let rows = client.query_typed(&statement, &[(&names, Type::TEXT_ARRAY)]).await?;
        match rows.len() {
            SECRETS => Ok(()),
            number => Err(format!("the floor's own query gave {number} rows").into()),
        }
    }
}

async fn connect(url: &str) -> Outcome<Client> {
    let (client, connection) = tokio_postgres::connect(url, NoTls).await?;
    // Its errors come out of the client too.
    tokio::spawn(async move { connection.await.map_err(drop) });
    Ok(client)
}

//! Dynamic secrets: the server's database engine makes roles in a real PostgreSQL.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

mod mounts;
mod support;

use std::collections::BTreeSet;
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use keyfob_core::{
    AllowedSchemes, ErrorKind, GetOptions, GetRequest, Intent, Location, Occurrence, Reference, Resolved, Result, SecretStore,
    SecretValue, Stores, resolve,
};
use keyfob_testkit::{server, skip};
use keyfob_vault::{Lease, VaultStore};
use serde_json::json;

use mounts::{Mount, name};

/// A database engine whose role `app` makes roles in PostgreSQL.
struct Database {
    mount: Mount,
    /// `HOST:PORT/DATABASE`.
    place: String,
    host: String,
    port: String,
    database: String,
}

impl Database {
    async fn new(test: &str) -> Option<Self> {
        let url = server(test, "KEYFOB_TEST_POSTGRES_URL")?;
        if Command::new("psql").arg("--version").stdout(Stdio::null()).status().is_err() {
            skip(test, "there is no `psql` to log in with");
            return None;
        }
        let (credentials, place) = url.strip_prefix("postgres://").unwrap().rsplit_once('@').unwrap();
        let (user, password) = credentials.split_once(':').unwrap();
        let (address, database) = place.split_once('/').unwrap();
        let (host, port) = address.split_once(':').unwrap();
        let mount = Mount::of(test, &json!({"type": "database"})).await?;
        let connection = json!({
            "plugin_name": "postgresql-database-plugin",
            "connection_url": format!("postgresql://{{{{username}}}}:{{{{password}}}}@{place}?sslmode=disable"),
            "allowed_roles": "app",
            "username": user,
            "password": password,
        });
        mount.admin.call("POST", &mount.path("config/main"), connection).await;
        let role = json!({
            "db_name": "main",
            "creation_statements": "CREATE ROLE \"{{name}}\" WITH LOGIN PASSWORD '{{password}}' VALID UNTIL '{{expiration}}'",
            // The engine's own way revokes more, and roles that are revoked at the same time get into each other's way.
            "revocation_statements": "DROP ROLE IF EXISTS \"{{name}}\"",
            "default_ttl": "60s",
            "max_ttl": "10m",
        });
        mount.admin.call("POST", &mount.path("roles/app"), role).await;
        Some(Self {
            place: place.to_owned(),
            host: host.to_owned(),
            port: port.to_owned(),
            database: database.to_owned(),
            mount,
        })
    }

    fn path(&self) -> String {
        self.mount.path("creds/app")
    }

    async fn store(&self) -> VaultStore {
        self.mount.store(None).await
    }

    async fn lease(&self) -> Lease {
        self.store().await.vault().read_lease(&self.path()).await.unwrap()
    }

    async fn leases(&self) -> usize {
        let path = format!("sys/leases/lookup/{}", self.path());
        let (status, answer) = self.mount.admin.try_call("LIST", &path, false, json!({})).await;
        assert!(status == 200 || status == 404);
        answer["data"]["keys"].as_array().map_or(0, Vec::len)
    }

    /// Logs in to PostgreSQL itself and says as whom.
    fn log_in(&self, user: &SecretValue, password: &SecretValue) -> Option<String> {
        assert!(!self.place.is_empty());
        let output = Command::new("psql")
            .args([
                "--host",
                &self.host,
                "--port",
                &self.port,
                "--dbname",
                &self.database,
                "--no-psqlrc",
                "--no-password",
            ])
            .args(["--username", user.expose_str().unwrap(), "-At", "-c", "select current_user"])
            .env("PGPASSWORD", password.expose_str().unwrap())
            .stderr(Stdio::null())
            .output()
            .unwrap();
        output
            .status
            .success()
            .then(|| String::from_utf8(output.stdout).unwrap().trim().to_owned())
    }

    fn can_log_in(&self, user: &SecretValue, password: &SecretValue) -> bool {
        self.log_in(user, password)
            .is_some_and(|who| who.as_bytes() == user.expose_secret())
    }
}

/// One store for the scheme `vault`.
struct OneStore(Arc<dyn SecretStore>);

#[async_trait]
impl Stores for OneStore {
    fn has_scheme(&self, scheme: &str) -> bool {
        scheme == "vault"
    }

    async fn open(&self, _: &str, _: &Intent) -> Result<Arc<dyn SecretStore>> {
        Ok(Arc::clone(&self.0))
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn both_fields_of_a_reference_are_of_one_lease_and_log_in() {
    let Some(database) = Database::new("both_fields_of_a_reference").await else {
        return;
    };
    let stores = OneStore(Arc::new(database.store().await));
    let reference = |field: &str| format!("vault:/{}#{field}", database.path());
    let references: Vec<Reference> = ["username", "password"]
        .iter()
        .map(|field| Reference::parse(&reference(field)).unwrap())
        .collect();
    let occurrences: Vec<Occurrence> = references
        .iter()
        .map(|reference| Occurrence {
            written: "in the test".to_owned(),
            reference: Ok(reference.clone()),
            location: Location::new("a test", 1, 1),
            directory: None,
        })
        .collect();
    let allowed = AllowedSchemes::Only(BTreeSet::from(["vault".to_owned()]));
    let resolved: Resolved = resolve(&stores, &allowed, &occurrences).await.unwrap();
    let value = |index: usize| resolved.answer(&references[index], None).unwrap().value.clone();
    assert!(database.can_log_in(&value(0), &value(1)));
    assert!(!database.can_log_in(&value(0), &SecretValue::from("wrong")));
    assert_eq!(database.leases().await, 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn equal_requests_of_a_batch_are_one_lease_whose_end_is_the_expiry() {
    let Some(database) = Database::new("equal_requests_of_a_batch").await else {
        return;
    };
    let request = GetRequest::new(name(&format!("/{}", database.path())));
    let answers = database.store().await.get_many(&[request.clone(), request]).await;
    let secrets: Vec<_> = answers.into_iter().map(Result::unwrap).collect();
    assert!(secrets[0].value.expose_secret() == secrets[1].value.expose_secret());
    let left = secrets[0]
        .metadata
        .expires_at
        .unwrap()
        .duration_since(std::time::SystemTime::now())
        .unwrap();
    assert!(left > Duration::from_secs(30) && left <= Duration::from_secs(60), "{left:?}");
    assert_eq!(database.leases().await, 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_lease_is_renewed_and_revoked() {
    let Some(database) = Database::new("a_lease_is_renewed_and_revoked").await else {
        return;
    };
    let lease = database.lease().await;
    let (user, password) = (lease.field("username").unwrap(), lease.field("password").unwrap());
    assert!(database.can_log_in(&user, &password));
    assert!(lease.is_renewable().await && !lease.id().is_empty());
    let before = lease.remaining().await;
    assert!(
        before <= Duration::from_secs(60) && before > Duration::from_secs(30),
        "{before:?}"
    );
    let (wait, third) = (lease.renew_in().await, Duration::from_secs(40));
    assert!(wait <= third && wait > Duration::from_secs(20), "{wait:?}");

    let renewed = lease.renew(Some(Duration::from_secs(300))).await.unwrap();
    assert!(renewed > before && renewed <= Duration::from_secs(300), "{renewed:?}");
    assert!(lease.remaining().await > before);
    assert!(database.can_log_in(&user, &password));

    lease.revoke().await.unwrap();
    assert!(!database.can_log_in(&user, &password));
    assert_eq!(database.leases().await, 0);
    assert_eq!(lease.remaining().await, Duration::ZERO);
    lease.revoke().await.unwrap();
    assert_eq!(lease.renew(None).await.unwrap_err().kind(), ErrorKind::Unsupported);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_lease_shows_no_credential_and_names_the_fields_that_exist() {
    let Some(database) = Database::new("a_lease_shows_no_credential").await else {
        return;
    };
    let lease = database.lease().await;
    let shown = format!("{lease:?} {lease:#?}");
    let error = lease.field("user").unwrap_err();
    let password = lease.field("password").unwrap();
    assert!(!format!("{shown}{error:?}").contains(password.expose_str().unwrap()));
    assert_eq!(error.kind(), ErrorKind::NotFound);
    assert!(error.to_string().contains("password, username"), "{error}");
    lease.revoke().await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_lease_that_others_revoked_is_not_found() {
    let Some(database) = Database::new("a_lease_that_others_revoked").await else {
        return;
    };
    let lease = database.lease().await;
    let revoke = json!({"lease_id": lease.id(), "sync": true});
    database.mount.admin.call("PUT", "sys/leases/revoke", revoke).await;
    assert_eq!(lease.renew(None).await.unwrap_err().kind(), ErrorKind::NotFound);
    lease.revoke().await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_not_there_is_not_found_and_what_has_no_lease_is_read() {
    let Some(database) = Database::new("what_is_not_there").await else {
        return;
    };
    let store = database.store().await;
    for path in [database.mount.path("creds/none"), "kf-no-such-mount/x".to_owned()] {
        let error = store.vault().read_lease(&path).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::NotFound, "{path}: {error:?}");
        let error = store
            .get(&name(&format!("/{path}")), &GetOptions::default())
            .await
            .unwrap_err();
        assert_eq!(error.kind(), ErrorKind::NotFound, "{path}: {error:?}");
    }
    for path in ["a/../sys/health", "a//b", "", "/"] {
        let error = store.vault().read_lease(path).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::InvalidInput, "{path}");
    }
    let role = store.vault().read_lease(&database.mount.path("roles/app")).await.unwrap();
    assert!(role.field("db_name").unwrap().expose_str().unwrap() == "main");
    assert!(!role.is_renewable().await);
    assert_eq!(role.renew(None).await.unwrap_err().kind(), ErrorKind::Unsupported);
    role.revoke().await.unwrap();
}

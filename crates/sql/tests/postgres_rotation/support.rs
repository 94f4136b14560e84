//! Roles of their own for every test, removed at its end, and the time.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, SystemTime};

use futures_util::future::BoxFuture;
use keyfob_core::{Clock, Environment, GetOptions, MemoryStore, PutRequest, SecretName, SecretStore, StoreUrl, SystemClock};
use keyfob_rotation::{Rotation, RotationOptions};
use keyfob_sql::{PostgresRotator, PostgresServer};
use tokio_postgres::{Client, NoTls};

/// The variable that names the server.
pub(crate) const SERVER: &str = "KEYFOB_TEST_POSTGRES_URL";
pub(crate) const FIRST: &str = "kfcanary-first00001";
pub(crate) const GRACE: Duration = Duration::from_secs(3600);
/// Longer than any lease with its skew.
pub(crate) const LEASE_IS_OVER: Duration = Duration::from_secs(66);

/// How a role's password is rotated.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Way {
    /// The role changes its own, and the secret is the bare password.
    Own,
    /// An administrator changes it.
    Administered,
    /// Two roles in turn.
    Alternating,
}

impl Way {
    pub(crate) const ALL: [Self; 3] = [Self::Own, Self::Administered, Self::Alternating];
}

/// Two roles, a secret for the first of them, and a clock.
pub(crate) struct Bed {
    pub(crate) url: StoreUrl,
    pub(crate) store: Arc<MemoryStore>,
    pub(crate) clock: Shifted,
    pub(crate) roles: [String; 2],
    way: Way,
}

/// The machine's clock, and what a test adds to it.
#[derive(Debug, Clone, Default)]
pub(crate) struct Shifted {
    machine: SystemClock,
    by: Arc<AtomicU64>,
}

impl Shifted {
    pub(crate) fn pass(&self, time: Duration) {
        self.by.fetch_add(time.as_secs(), Ordering::SeqCst);
    }

    fn by(&self) -> Duration {
        Duration::from_secs(self.by.load(Ordering::SeqCst))
    }
}

impl Clock for Shifted {
    fn now(&self) -> Duration {
        self.machine.now() + self.by()
    }

    fn system_now(&self) -> SystemTime {
        self.machine.system_now() + self.by()
    }

    fn sleep(&self, time: Duration) -> BoxFuture<'static, ()> {
        self.machine.sleep(time)
    }
}

pub(crate) fn name() -> SecretName {
    SecretName::new("db/app").unwrap()
}

/// With a grace period that ends when the test says so.
pub(crate) fn options() -> RotationOptions {
    RotationOptions {
        grace: GRACE,
        ..RotationOptions::default()
    }
}

impl Bed {
    /// `None`, said once, when there is no server.
    pub(crate) async fn new(test: &str, way: Way) -> Option<Self> {
        Self::at(test, SERVER, "", way).await
    }

    pub(crate) async fn at(test: &str, variable: &str, parameters: &str, way: Way) -> Option<Self> {
        let server = keyfob_testkit::server(test, variable)?;
        let random = format!("{:016x}", keyfob_core::Random::new().next());
        // Names that need their quotes.
        let roles = [format!("kf {random} \"A\""), format!("kf {random} b;")];
        let bed = Self {
            url: StoreUrl::parse(&format!("{server}{parameters}")).unwrap(),
            store: Arc::new(MemoryStore::new()),
            clock: Shifted::default(),
            roles,
            way,
        };
        let [first, second] = bed.quoted();
        bed.administrator()
            .await
            .batch_execute(&format!(
                "CREATE ROLE {first} LOGIN PASSWORD '{FIRST}'; CREATE ROLE {second} LOGIN"
            ))
            .await
            .unwrap();
        let value = match way {
            Way::Own => FIRST.to_owned(),
            _ => bed.document(0, FIRST),
        };
        bed.store.put(&name(), PutRequest::new(value)).await.unwrap();
        Some(bed)
    }

    pub(crate) fn quoted(&self) -> [String; 2] {
        self.roles.clone().map(|role| format!("\"{}\"", role.replace('"', "\"\"")))
    }

    /// A value for one of the roles.
    pub(crate) fn document(&self, role: usize, password: &str) -> String {
        let (role, password) = (serde_json::json!(self.roles[role]), serde_json::json!(password));
        format!(r#"{{"engine":"postgres","host":"elsewhere","username":{role},"password":{password},"port":1,"extra":[1,2]}}"#)
    }

    /// As the test bed's own administrator, or without one.
    pub(crate) fn server(&self) -> PostgresServer {
        let mut server = PostgresServer::from_url(&self.url, &Environment::fake().host_files().build()).unwrap();
        if self.way == Way::Own {
            (server.administrator, server.password) = (None, None);
        }
        server
    }

    pub(crate) fn rotator(&self) -> PostgresRotator {
        self.rotator_at(self.server())
    }

    pub(crate) fn rotator_at(&self, server: PostgresServer) -> PostgresRotator {
        match self.way {
            Way::Alternating => PostgresRotator::alternating(server, &self.roles[0], &self.roles[1]),
            _ => PostgresRotator::single(server, &self.roles[0]),
        }
        .unwrap()
    }

    pub(crate) fn rotation(&self) -> Rotation {
        Rotation::new(Arc::clone(&self.store) as Arc<dyn SecretStore>)
            .clock(Arc::new(self.clock.clone()))
            .options(options())
    }

    /// The current value.
    pub(crate) async fn value(&self) -> String {
        value_of(&self.store).await
    }

    /// Whether the server lets a client with this value in.
    pub(crate) async fn accepts(&self, value: &str) -> bool {
        logs_in(&self.url, &self.roles[0], value).await.is_ok()
    }

    pub(crate) async fn administrator(&self) -> Client {
        let settings = settings(
            &self.url,
            self.url.user().unwrap(),
            self.url.password().unwrap().expose_str().unwrap(),
        );
        let (client, connection) = settings.connect(NoTls).await.unwrap();
        tokio::spawn(connection);
        client
    }

    /// How many of the two roles have a password.
    pub(crate) async fn passwords(&self) -> usize {
        let client = self.administrator().await;
        let sql = "SELECT 1 FROM pg_authid WHERE rolname = ANY($1) AND rolpassword IS NOT NULL";
        client.query(sql, &[&&self.roles[..]]).await.unwrap().len()
    }

    /// Whether nothing that a rotation keeps is where it must not be once it is over.
    pub(crate) async fn is_quiet(&self) -> bool {
        let status = self.rotation().status(&name()).await.unwrap();
        let pending = SecretName::new("db/app.keyfob-pending").unwrap();
        let pending = self.store.get(&pending, &GetOptions::default()).await;
        let is_empty = pending.is_ok_and(|secret| secret.value.expose_str().unwrap().starts_with("keyfob-rotation: empty"));
        status.under_way.is_none() && status.lease.is_none() && is_empty
    }

    pub(crate) async fn remove(self) {
        let [first, second] = self.quoted();
        let client = self.administrator().await;
        client
            .batch_execute(&format!("DROP ROLE {first}; DROP ROLE {second}"))
            .await
            .unwrap();
    }
}

pub(crate) async fn value_of(store: &MemoryStore) -> String {
    let secret = store.get(&name(), &GetOptions::default()).await.unwrap();
    secret.value.expose_str().unwrap().to_owned()
}

fn settings(url: &StoreUrl, user: &str, password: &str) -> tokio_postgres::Config {
    let mut settings = tokio_postgres::Config::new();
    settings
        .host(url.host().unwrap())
        .port(url.port().unwrap())
        .dbname("postgres")
        .user(user)
        .password(password);
    settings
}

/// As an application would: what is no object is the password of `role`.
pub(crate) async fn logs_in(url: &StoreUrl, role: &str, value: &str) -> Result<(), tokio_postgres::Error> {
    let (user, password) = match serde_json::from_str::<serde_json::Value>(value) {
        Ok(fields) if fields.is_object() => {
            let field = |name: &str| fields[name].as_str().unwrap().to_owned();
            (field("username"), field("password"))
        }
        _ => (role.to_owned(), value.to_owned()),
    };
    let client = session(url, &user, &password).await?;
    client.simple_query("SELECT 1").await.map(|_| ())
}

/// Lasts as long as the client.
pub(crate) async fn session(url: &StoreUrl, user: &str, password: &str) -> Result<Client, tokio_postgres::Error> {
    let (client, connection) = settings(url, user, password).connect(NoTls).await?;
    tokio::spawn(connection);
    Ok(client)
}

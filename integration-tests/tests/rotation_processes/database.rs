//! Two roles of a real PostgreSQL that get new passwords in turn.

use keyfob_integration_tests::servers;
use serde_json::{Value, json};
use tokio_postgres::NoTls;

/// The server of the test bed, and its administrator.
#[derive(Debug, Clone)]
pub(crate) struct Database {
    url: String,
    host: String,
    administrator: String,
    pub(crate) password: String,
}

pub(crate) struct Roles([String; 2]);

impl Database {
    /// `None`, said once, where there is no server.
    pub(crate) fn of(test: &str) -> Option<Self> {
        let url = keyfob_testkit::server(test, "KEYFOB_TEST_POSTGRES_URL")?;
        let (user, host) = url.strip_prefix("postgres://").unwrap().split_once('@').unwrap();
        let (administrator, password) = user.split_once(':').unwrap();
        Some(Self {
            host: host.to_owned(),
            administrator: administrator.to_owned(),
            password: password.to_owned(),
            url: url.clone(),
        })
    }

    /// Makes two roles, and the secret of the first one.
    pub(crate) fn make_roles(&self, prefix: &str) -> (Roles, String) {
        let roles = [format!("{prefix}_a"), format!("{prefix}_b")];
        let password = "kfcanary-firstpassword";
        let [first, second] = &roles;
        let sql = format!("CREATE ROLE {first} LOGIN PASSWORD '{password}'; CREATE ROLE {second} LOGIN");
        servers::on_postgres(&self.url, async |client| client.batch_execute(&sql).await.unwrap());
        let secret = json!({"engine": "postgres", "username": first, "password": password}).to_string();
        (Roles(roles), secret)
    }

    /// A policy for a secret, as a line of `policies`.
    pub(crate) fn policy(&self, secret: &str, Roles(roles): &Roles) -> String {
        let server = json!(format!("postgres://{}@{}", self.administrator, self.host));
        format!(
            "  - {{ name: {secret}, secrets: [{secret}], grace: 0s, make: {{ postgres: {{ server: {server}, password: \
             \"${{secret:admin}}\", roles: {} }} }} }}\n",
            json!(roles)
        )
    }

    /// Lets a client with this value in, or panics.
    #[track_caller]
    pub(crate) fn accepts(&self, secret: &str) {
        let value: Value = serde_json::from_str(secret).unwrap();
        let text = |field: &str| value[field].as_str().unwrap();
        let mut client: tokio_postgres::Config = self.url.parse().unwrap();
        client.user(text("username")).password(text("password"));
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let answer = runtime.block_on(async { client.connect(NoTls).await.map(drop) });
        assert!(answer.is_ok(), "the server refuses the current value: {:?}", answer.err());
    }

    /// How many of the two have a password: only that of the current value.
    pub(crate) fn passwords(&self, Roles(roles): &Roles) -> usize {
        let mut count = 0;
        let sql = "SELECT 1 FROM pg_authid WHERE rolname = ANY($1) AND rolpassword IS NOT NULL";
        servers::on_postgres(&self.url, async |client| {
            count = client.query(sql, &[&&roles[..]]).await.unwrap().len();
        });
        count
    }

    pub(crate) fn remove(&self, Roles([first, second]): &Roles) {
        let sql = format!("DROP ROLE {first}; DROP ROLE {second}");
        servers::on_postgres(&self.url, async |client| client.batch_execute(&sql).await.unwrap());
    }
}

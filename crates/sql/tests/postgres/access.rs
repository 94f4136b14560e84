//! Roles with fewer rights, and the connection's protection. The grants are those of the store's documentation.

use keyfob_core::{ErrorKind, GetOptions, ListOptions, PageRequest, PutRequest, SecretName, SecretStore, StoreUrl};
use keyfob_sql::{PostgresConfig, PostgresStore, PostgresTls};

use crate::support::{Place, SERVER};

const PAGE: &str = include_str!("../../../../docs/src/stores/postgres.md");

/// The SQL blocks of the documentation, by the heading that they stand under.
fn documented(heading: &str) -> &'static str {
    let section = PAGE.split("\n## ").find(|section| section.starts_with(heading)).unwrap();
    section.split("```sql\n").nth(1).unwrap().split("```").next().unwrap()
}

/// A role of its own, made by the documented statements.
struct Role {
    name: String,
    config: PostgresConfig,
}

impl Role {
    async fn new(place: &Place, kind: &str) -> Self {
        let name = format!("{}_{kind}", place.schema);
        let sql = format!("CREATE ROLE {name} LOGIN PASSWORD 'kfcanary-role0001'");
        place.tamper(&sql).await;
        let mut config = place.config_on(&name);
        config.user.clone_from(&name);
        config.password = Some("kfcanary-role0001".into());
        Self { name, config }
    }

    /// Grants what the page says of `role_in_page`, to this role in this schema.
    async fn grant(&self, place: &Place, sql: &str, role_in_page: &str) {
        let lines: Vec<&str> = sql.lines().filter(|line| line.contains(role_in_page)).collect();
        assert!(lines.len() > 1, "the page grants `{role_in_page}` nothing");
        let sql = lines.join("\n").replace("keyfob.", &format!("{}.", place.schema));
        let sql = sql.replace("SCHEMA keyfob", &format!("SCHEMA {}", place.schema));
        place.tamper(&sql.replace(role_in_page, &self.name)).await;
    }

    async fn open(&self) -> keyfob_core::Result<PostgresStore> {
        PostgresStore::open(self.config.clone()).await
    }

    async fn remove(self, place: &Place) {
        place.tamper(&format!("DROP OWNED BY {0}; DROP ROLE {0}", self.name)).await;
    }
}

fn name(text: &str) -> SecretName {
    SecretName::new(text).unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_reader_reads_and_does_not_write_and_a_stranger_does_neither() {
    let Some(place) = Place::new("a_reader_reads_and_does_not_write_and_a_stranger_does_neither") else {
        return;
    };
    let owner = place.create().await;
    owner.put(&name("a"), PutRequest::new("kfcanary-access01")).await.unwrap();

    let stranger = Role::new(&place, "stranger").await;
    let error = stranger.open().await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::PermissionDenied, "{error}");

    let reader = Role::new(&place, "reader").await;
    reader.grant(&place, documented("Roles"), "app_reader").await;
    let store = reader.open().await.unwrap();
    store.get(&name("a"), &GetOptions::default()).await.unwrap();
    assert_eq!(store.list(&ListOptions::default()).await.unwrap().items.len(), 1);
    assert!(
        store
            .health()
            .await
            .unwrap()
            .warnings
            .iter()
            .any(|warning| warning.contains("not write"))
    );
    assert!(store.verify().await.unwrap().problems.is_empty());
    for written in ["a", "new"] {
        let error = store
            .put(&name(written), PutRequest::new("kfcanary-access02"))
            .await
            .unwrap_err();
        assert_eq!(error.kind(), ErrorKind::PermissionDenied, "{error}");
    }
    place
        .remove_with(async |place| {
            reader.remove(place).await;
            stranger.remove(place).await;
        })
        .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_writer_writes_and_does_not_change_keys_or_tables() {
    let Some(place) = Place::new("a_writer_writes_and_does_not_change_keys_or_tables") else {
        return;
    };
    place.create().await;
    let writer = Role::new(&place, "writer").await;
    writer.grant(&place, documented("Roles"), "app_writer").await;
    let store = writer.open().await.unwrap();
    store.put(&name("a"), PutRequest::new("kfcanary-access03")).await.unwrap();
    store.put(&name("a"), PutRequest::new("kfcanary-access04")).await.unwrap();
    store
        .delete(&name("a"), &keyfob_core::DeleteOptions::default())
        .await
        .unwrap();
    store.restore(&name("a")).await.unwrap();
    let new = place.path("new-key");
    keyfob_envelope::RawKey::create_file(&new).unwrap();
    let error = store
        .rotate_key(keyfob_sql::KeyConfig::File(new), 10, &mut |_| Ok(()))
        .await
        .unwrap_err();
    assert_eq!(error.kind(), ErrorKind::PermissionDenied, "{error}");
    assert!(place.open().await.verify().await.unwrap().problems.is_empty());
    place.remove_with(async |place| writer.remove(place).await).await;
}

/// Row-level security holds even where somebody grants too much by mistake.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn with_row_level_security_a_reader_does_not_write_whatever_was_granted() {
    let Some(place) = Place::new("with_row_level_security_a_reader_does_not_write_whatever_was_granted") else {
        return;
    };
    let owner = place.create().await;
    owner.put(&name("a"), PutRequest::new("kfcanary-access05")).await.unwrap();
    let reader = Role::new(&place, "reader").await;
    let writer = Role::new(&place, "writer").await;
    for (role, named) in [(&reader, "app_reader"), (&writer, "app_writer")] {
        role.grant(&place, documented("Roles"), named).await;
    }
    let policies = documented("Row-level security")
        .replace("app_reader", &reader.name)
        .replace("app_writer", &writer.name)
        .replace("keyfob.", &format!("{}.", place.schema));
    place.tamper(&policies).await;
    place
        .tamper(&format!(
            "GRANT SELECT, INSERT, UPDATE, DELETE ON ALL TABLES IN SCHEMA {} TO {}",
            place.schema, reader.name
        ))
        .await;
    for table in ["store", "key_slot", "bucket", "secret", "version"] {
        let mut client = place.administrator().await;
        let transaction = client.transaction().await.unwrap();
        transaction
            .batch_execute(&format!("SET LOCAL ROLE {}", reader.name))
            .await
            .unwrap();
        let table = format!("{}.{table}", place.schema);
        let removed = transaction.execute(&format!("DELETE FROM {table}"), &[]).await.unwrap();
        assert_eq!(removed, 0, "`{table}` is open to everybody with a grant");
        let seen = transaction.query(&format!("SELECT FROM {table}"), &[]).await.unwrap();
        assert!(!seen.is_empty(), "a reader sees `{table}`");
    }

    let store = reader.open().await.unwrap();
    store.get(&name("a"), &GetOptions::default()).await.unwrap();
    for written in ["a", "new"] {
        let error = store
            .put(&name(written), PutRequest::new("kfcanary-access06"))
            .await
            .unwrap_err();
        assert_eq!(error.kind(), ErrorKind::PermissionDenied, "{error}");
    }
    let writing = writer.open().await.unwrap();
    writing.put(&name("b"), PutRequest::new("kfcanary-access07")).await.unwrap();
    assert!(store.verify().await.unwrap().problems.is_empty());
    place
        .remove_with(async |place| {
            reader.remove(place).await;
            writer.remove(place).await;
        })
        .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_reader_of_some_secrets_reads_these_and_no_other() {
    let Some(place) = Place::new("a_reader_of_some_secrets_reads_these_and_no_other") else {
        return;
    };
    let owner = place.create().await;
    for (secret, value) in [
        ("web/a", "kfcanary-access08"),
        ("web/a", "kfcanary-access09"),
        ("pay/b", "kfcanary-access10"),
    ] {
        owner.put(&name(secret), PutRequest::new(value)).await.unwrap();
    }
    let reader = Role::new(&place, "web").await;
    let sql = documented("Readers of some secrets")
        .replace("app_web", &reader.name)
        .replace("keyfob.", &format!("{}.", place.schema))
        .replace("SCHEMA keyfob", &format!("SCHEMA {}", place.schema));
    place.tamper(&sql).await;

    let store = reader.open().await.unwrap();
    let permitted = store.get(&name("web/a"), &GetOptions::default()).await.unwrap();
    assert!(permitted.value.expose_secret() == b"kfcanary-access09");
    assert_eq!(
        store
            .versions(&name("web/a"), &PageRequest::default())
            .await
            .unwrap()
            .items
            .len(),
        2
    );
    let mut options = ListOptions::default();
    "web/".clone_into(&mut options.prefix);
    assert_eq!(store.list(&options).await.unwrap().items.len(), 1);

    let denied = |what: &str, kind: Option<ErrorKind>| assert_eq!(kind, Some(ErrorKind::PermissionDenied), "{what}");
    let kind = |error: keyfob_core::Error| error.kind();
    let other = name("pay/b");
    denied("get", store.get(&other, &GetOptions::default()).await.err().map(kind));
    denied(
        "versions",
        store.versions(&other, &PageRequest::default()).await.err().map(kind),
    );
    denied("list", store.list(&ListOptions::default()).await.err().map(kind));
    denied("check of everything", store.verify().await.err().map(kind));
    denied(
        "put",
        store
            .put(&name("web/a"), PutRequest::new("kfcanary-access11"))
            .await
            .err()
            .map(kind),
    );
    let missing = store.get(&name("web/none"), &GetOptions::default()).await.unwrap_err();
    assert_eq!(missing.kind(), ErrorKind::NotFound, "{missing}");
    // Nor by any other program.
    let mut client = place.administrator().await;
    let transaction = client.transaction().await.unwrap();
    transaction
        .batch_execute(&format!("SET LOCAL ROLE {}", reader.name))
        .await
        .unwrap();
    let sql = format!("SELECT DISTINCT name FROM {}.version", place.schema);
    let seen: Vec<String> = transaction
        .query(&sql, &[])
        .await
        .unwrap()
        .iter()
        .map(|row| row.get(0))
        .collect();
    assert_eq!(seen, ["web/a"]);
    drop(transaction);

    // What is gone for the owner too is damage.
    place.tamper("DELETE FROM S.version WHERE name = 'web/a'").await;
    denied("get", store.get(&name("web/a"), &GetOptions::default()).await.err().map(kind));
    let damaged = owner.get(&name("web/a"), &GetOptions::default()).await.unwrap_err();
    assert_eq!(damaged.kind(), ErrorKind::Corrupt, "{damaged}");
    place.remove_with(async |place| reader.remove(place).await).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn tls_is_checked_against_the_authority_and_the_name() {
    let test = "tls_is_checked_against_the_authority_and_the_name";
    let Some(place) = Place::at(test, "KEYFOB_TEST_POSTGRES_TLS_URL") else {
        return;
    };
    let Some(authority) = keyfob_testkit::server(test, "KEYFOB_TEST_POSTGRES_TLS_CA") else {
        return;
    };
    place.create().await;
    let with = |tls: PostgresTls| {
        let mut config = place.config();
        config.tls = tls;
        PostgresStore::open(config)
    };
    let verified = with(PostgresTls::Verified {
        authorities: Some(authority.clone().into()),
    });
    let health = verified.await.unwrap().health().await.unwrap();
    assert!(health.details.iter().any(|(key, value)| *key == "tls" && value == "verified"));
    // The authorities of the machine do not know it.
    let error = with(PostgresTls::Verified { authorities: None }).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::InvalidConfig, "{error}");

    // This machine too, by an address that the certificate does not name.
    let mut config = place.config();
    config.host = "0.0.0.0".to_owned();
    config.tls = PostgresTls::Verified {
        authorities: Some(authority.into()),
    };
    let error = PostgresStore::open(config).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::InvalidConfig, "{error}");
    assert!(error.to_string().contains("for another name"), "{error}");
    place.remove().await;
}

#[tokio::test]
async fn a_server_without_tls_gets_no_password_when_tls_is_wanted() {
    let Some(place) = Place::new("a_server_without_tls_gets_no_password_when_tls_is_wanted") else {
        return;
    };
    let mut config = place.config();
    config.tls = PostgresTls::Verified { authorities: None };
    let error = PostgresStore::open(config).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::InvalidConfig, "{error}");
    assert!(error.to_string().contains("TLS"), "{error}");
}

#[tokio::test]
async fn what_is_wrong_with_the_log_in_is_said_and_shows_no_password() {
    let test = "what_is_wrong_with_the_log_in_is_said_and_shows_no_password";
    let Some(place) = Place::new(test) else { return };
    let error = PostgresStore::open(place.config()).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::NotFound, "{error}");
    let mut config = place.config();
    config.password = Some("kfcanary-wrong001".into());
    let error = PostgresStore::open(config).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unauthenticated, "{error}");
    assert!(!format!("{error:?}").contains("kfcanary"), "the password is shown");
    let mut config = place.config();
    config.database = "no_such_database".to_owned();
    let error = PostgresStore::open(config).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::InvalidConfig, "{error}");
    let url = StoreUrl::parse(&keyfob_testkit::server(test, SERVER).unwrap()).unwrap();
    let password = url.password().unwrap().expose_str().unwrap().to_owned();
    let config = format!("{:?}", place.config());
    assert!(!config.contains(&password), "the password is shown");
}

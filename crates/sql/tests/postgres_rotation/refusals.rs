//! What can't be rotated, and what the error says.

use std::time::Duration;

use keyfob_core::{Environment, ErrorKind, PutRequest, SecretStore, SecretValue, StoreUrl};
use keyfob_rotation::{Phase, RotationOptions, Rotator as _, StepContext};
use keyfob_sql::{PostgresRotator, PostgresServer, PostgresTls};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

use crate::support::{Bed, FIRST, LEASE_IS_OVER, Way, name, options};

fn url(text: &str) -> StoreUrl {
    StoreUrl::parse(text).unwrap()
}

#[test]
fn a_url_names_server_database_and_administrator() {
    let environment = Environment::fake()
        .var("PGPASSWORD", "kfcanary-admin00001")
        .var("PGPORT", "5555");
    let environment = environment.build();
    let server = PostgresServer::from_url(&url("postgres://root@db.example/app?timeout=3"), &environment).unwrap();
    assert_eq!(
        (server.host.as_str(), server.port, server.database.as_str()),
        ("db.example", 5555, "app")
    );
    assert_eq!(server.administrator.as_deref(), Some("root"));
    assert!(server.password.as_ref().unwrap().expose_secret() == b"kfcanary-admin00001");
    assert_eq!(server.tls, PostgresTls::Verified { authorities: None });
    assert_eq!(server.timeout, Duration::from_secs(3));
    assert!(!format!("{server:?}").contains("kfcanary"));
    let server = PostgresServer::from_url(&url("postgres://[::1]:99/app"), &environment).unwrap();
    assert_eq!(
        (server.host.as_str(), server.port, &server.tls),
        ("::1", 99, &PostgresTls::Off)
    );
    assert!(server.administrator.is_none() && server.password.is_none());
    for wrong in [
        "postgres:",
        "postgres://db.example",
        "postgres://db.example/a/b",
        "mysql://db.example/app",
        "postgres://db.example/app?schema=x",
        "postgres://db.example/app?sslmode=prefer",
        "postgres://db.example/app?timeout=0",
        "postgres://db.example/app?timeout=soon",
    ] {
        let error = PostgresServer::from_url(&url(wrong), &environment).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::InvalidConfig, "{wrong}");
    }
}

#[test]
fn roles_that_can_not_be_rotated_are_refused_before_anything_is_done() {
    let alone = PostgresServer::new("localhost", "app");
    let administered = alone.clone().with_administrator("root", None);
    let long = "x".repeat(64);
    for refused in [
        PostgresRotator::single(alone.clone(), ""),
        PostgresRotator::single(alone.clone(), &long),
        PostgresRotator::single(administered.clone(), "root"),
        PostgresRotator::alternating(alone, "a", "b"),
        PostgresRotator::alternating(administered.clone(), "a", "a"),
        PostgresRotator::alternating(administered.clone(), "a", "root"),
        PostgresRotator::alternating(administered, "a", "b\0"),
        PostgresRotator::single(PostgresServer::new("a,b", "app"), "a"),
    ] {
        assert_eq!(refused.unwrap_err().kind(), ErrorKind::InvalidConfig);
    }
}

#[tokio::test]
async fn a_secret_can_not_choose_another_role_or_server() {
    // Nobody listens there: it must be refused before anybody is asked.
    let server = PostgresServer::new("127.0.0.1", "app").with_administrator("root", None);
    let rotator = PostgresRotator::alternating(server.clone(), "a", "b").unwrap();
    let create = async |rotator: &PostgresRotator, value: &str| {
        let step = StepContext::detached(name(), "id", Some(SecretValue::from(value)), None);
        rotator.create(&step).await.unwrap_err()
    };
    for value in [
        "kfcanary-password01",
        r#"{"username":"root","password":"kfcanary-password01"}"#,
        r#"{"username":"A","password":"kfcanary-password01"}"#,
        r#"{"username":"a","password":"kfcanary-password01","engine":"mysql"}"#,
    ] {
        let error = create(&rotator, value).await;
        assert_eq!(error.kind(), ErrorKind::InvalidInput);
        assert!(!format!("{error:?}").contains("kfcanary"));
    }
    let rotator = PostgresRotator::single(server, "a").unwrap();
    let error = create(&rotator, r#"{"username":"b","password":"kfcanary-password01"}"#).await;
    assert_eq!(error.kind(), ErrorKind::InvalidInput);
}

#[tokio::test]
async fn the_role_that_is_in_use_never_gets_another_password_by_turns() {
    let server = PostgresServer::new("127.0.0.1", "app").with_administrator("root", None);
    let rotator = PostgresRotator::alternating(server, "a", "b").unwrap();
    let value = |password: &str| Some(SecretValue::from(format!(r#"{{"username":"a","password":"{password}"}}"#)));
    let step = StepContext::detached(name(), "id", value("kfcanary-current001"), value("kfcanary-earlier001"));
    assert_eq!(rotator.set(&step).await.unwrap_err().kind(), ErrorKind::InvalidInput);
}

#[tokio::test]
async fn a_role_that_is_not_there_and_one_that_may_not_be_changed_take_the_rotation_back() {
    let test = "a_role_that_is_not_there_and_one_that_may_not_be_changed_take_the_rotation_back";
    let Some(bed) = Bed::new(test, Way::Alternating).await else {
        return;
    };
    let missing = PostgresRotator::alternating(bed.server(), &bed.roles[0], "no such role").unwrap();
    let error = bed.rotation().rotate(&name(), &missing).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::InvalidConfig, "{error:?}");
    assert!(error.context().any(|pair| pair == ("rolled_back", "yes")), "{error:?}");
    assert!(bed.is_quiet().await);
    // Somebody without rights.
    let mut weak = bed.server();
    weak.administrator = Some(bed.roles[1].clone());
    weak.password = Some(SecretValue::from(FIRST));
    let ([first, second], administrator) = (bed.quoted(), bed.administrator().await);
    administrator
        .batch_execute(&format!("ALTER ROLE {second} PASSWORD '{FIRST}'"))
        .await
        .unwrap();
    let weak = PostgresRotator::single(weak, &bed.roles[0]).unwrap();
    let error = bed.rotation().rotate(&name(), &weak).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::PermissionDenied, "{error:?}");
    // One who may make roles and is no superuser.
    administrator
        .batch_execute(&format!("ALTER ROLE {second} CREATEROLE"))
        .await
        .unwrap();
    let version = administrator
        .query_one("SELECT current_setting('server_version_num')::int", &[])
        .await
        .unwrap();
    if version.get::<_, i32>(0) >= 160_000 {
        administrator
            .batch_execute(&format!("GRANT {first} TO {second} WITH ADMIN OPTION"))
            .await
            .unwrap();
    }
    bed.clock.pass(LEASE_IS_OVER);
    let _ = bed.rotation().resume(&name(), &weak).await.unwrap();
    bed.rotation().rotate(&name(), &weak).await.unwrap();
    assert!(bed.accepts(&bed.value().await).await);
    bed.remove().await;
}

#[tokio::test]
async fn a_log_in_that_is_refused_takes_the_rotation_back() {
    let test = "a_log_in_that_is_refused_takes_the_rotation_back";
    let Some(bed) = Bed::new(test, Way::Alternating).await else {
        return;
    };
    let [_, second] = bed.quoted();
    let before = bed.value().await;
    bed.administrator()
        .await
        .batch_execute(&format!("ALTER ROLE {second} NOLOGIN"))
        .await
        .unwrap();
    let error = bed.rotation().rotate(&name(), &bed.rotator()).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unauthenticated, "{error:?}");
    assert!(error.context().any(|pair| pair == ("rolled_back", "yes")), "{error:?}");
    assert!(bed.value().await == before && bed.accepts(&before).await && bed.is_quiet().await);
    // A password that the secret does not know: nobody can change it but an administrator.
    bed.remove().await;
    let Some(bed) = Bed::new(test, Way::Own).await else {
        return;
    };
    bed.store.put(&name(), PutRequest::new("kfcanary-wrong00001")).await.unwrap();
    let error = bed.rotation().rotate(&name(), &bed.rotator()).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unauthenticated, "{error:?}");
    assert!(!format!("{error:?}").contains("kfcanary"));
    bed.remove().await;
}

#[tokio::test]
async fn the_server_changes_nothing_once_the_lease_is_over() {
    let test = "the_server_changes_nothing_once_the_lease_is_over";
    let Some(bed) = Bed::new(test, Way::Administered).await else {
        return;
    };
    let [first, _] = bed.quoted();
    // Somebody else has the role for longer than the lease lasts.
    let administrator = bed.administrator().await;
    administrator
        .batch_execute(&format!("BEGIN; ALTER ROLE {first} CONNECTION LIMIT 50"))
        .await
        .unwrap();
    let holding = administrator.batch_execute("SELECT pg_sleep(4); ROLLBACK");
    let short = RotationOptions {
        lease: Duration::from_secs(2),
        ..options()
    };
    let (before, rotator, secret) = (bed.value().await, bed.rotator(), name());
    let rotation = bed.rotation().options(short);
    let (held, answer) = tokio::join!(holding, rotation.rotate(&secret, &rotator));
    held.unwrap();
    let error = answer.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unavailable, "{error:?}");
    assert!(error.message().contains("lease"), "{error:?}");
    assert!(bed.accepts(&before).await);
    let status = bed.rotation().status(&name()).await.unwrap();
    assert_eq!(status.under_way.unwrap().phase, Phase::Setting);
    bed.clock.pass(LEASE_IS_OVER);
    bed.rotation().resume(&name(), &rotator).await.unwrap();
    assert!(bed.accepts(&bed.value().await).await && !bed.accepts(&before).await);
    bed.remove().await;
}

#[tokio::test]
async fn a_server_that_asks_for_no_password_proves_nothing() {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    tokio::spawn(async move {
        while let Ok((mut client, _)) = listener.accept().await {
            tokio::spawn(async move {
                let mut bytes = [0; 1024];
                let _ = client.read(&mut bytes).await;
                // You are welcome; ready.
                let _ = client.write_all(b"R\0\0\0\x08\0\0\0\0Z\0\0\0\x05I").await;
                while let Ok(1..) = client.read(&mut bytes).await {
                    let _ = client.write_all(b"C\0\0\0\x0dSELECT 1\0Z\0\0\0\x05I").await;
                }
            });
        }
    });
    let mut server = PostgresServer::new("127.0.0.1", "app");
    server.port = port;
    let rotator = PostgresRotator::single(server, "a").unwrap();
    let value = |password: &str| Some(SecretValue::from(password));
    let step = StepContext::detached(name(), "id", value(FIRST), value("kfcanary-second0001"));
    let error = rotator.test(&step).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::InvalidConfig, "{error:?}");
    assert!(error.message().contains("without a password"), "{error:?}");
}

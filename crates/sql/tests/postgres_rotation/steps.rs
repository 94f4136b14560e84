//! What a rotation does to the roles.

use std::sync::Arc;
use std::time::Duration;

use keyfob_core::ErrorKind;
use keyfob_rotation::Outcome;
use tokio_postgres::Client;

use crate::proxy::Proxy;
use crate::support::{Bed, FIRST, GRACE, Way, name, session};

/// What the server keeps of a role's password.
async fn verifier(client: &Client, role: &str) -> Option<String> {
    let row = client
        .query_one("SELECT rolpassword FROM pg_authid WHERE rolname = $1", &[&role])
        .await;
    row.unwrap().get(0)
}

async fn one_role(test: &str, way: Way) {
    let Some(bed) = Bed::new(test, way).await else {
        return;
    };
    let (rotation, rotator, first) = (bed.rotation(), bed.rotator(), bed.value().await);
    let outcome = rotation.rotate(&name(), &rotator).await.unwrap();
    assert!(matches!(outcome, Outcome::Grace { .. }));
    let second = bed.value().await;
    assert!(bed.accepts(&second).await && !bed.accepts(&first).await);
    // Back, to a password that the server does not know any more.
    let outcome = rotation.rollback(&name(), &rotator).await.unwrap();
    assert!(matches!(outcome, Outcome::Grace { .. }));
    assert!(bed.value().await == first);
    assert!(bed.accepts(&first).await && !bed.accepts(&second).await);
    bed.clock.pass(GRACE);
    let outcome = rotation.resume(&name(), &rotator).await.unwrap();
    assert!(matches!(outcome, Outcome::Completed { .. }));
    assert!(bed.accepts(&first).await && bed.is_quiet().await);
    bed.remove().await;
}

#[tokio::test]
async fn a_role_changes_its_own_bare_password_and_back() {
    one_role("a_role_changes_its_own_bare_password_and_back", Way::Own).await;
}

#[tokio::test]
async fn an_administrator_changes_the_password_of_a_role_and_back() {
    one_role("an_administrator_changes_the_password_of_a_role_and_back", Way::Administered).await;
}

#[tokio::test]
async fn the_grace_period_ends_when_nobody_is_logged_in_as_the_old_role() {
    let test = "the_grace_period_ends_when_nobody_is_logged_in_as_the_old_role";
    let Some(bed) = Bed::new(test, Way::Alternating).await else {
        return;
    };
    let rotator = bed.rotator();
    let rotation = bed.rotation().drain(Arc::new(bed.rotator()));
    let before = bed.value().await;
    let using = session(&bed.url, &bed.roles[0], FIRST).await.unwrap();
    rotation.rotate(&name(), &rotator).await.unwrap();
    for _ in 0..2 {
        let outcome = rotation.resume(&name(), &rotator).await.unwrap();
        assert!(matches!(outcome, Outcome::Grace { .. }), "{outcome:?}");
    }
    assert!(bed.accepts(&before).await);
    drop(using);
    let administrator = bed.administrator().await;
    let mut sessions = 1;
    for _ in 0..500 {
        let question = "SELECT count(*) FROM pg_stat_activity WHERE usename = $1";
        sessions = administrator
            .query_one(question, &[&bed.roles[0]])
            .await
            .unwrap()
            .get::<_, i64>(0);
        if sessions == 0 {
            break;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    assert_eq!(sessions, 0, "the server keeps the session of a client that is gone");
    let outcome = rotation.resume(&name(), &rotator).await.unwrap();
    assert!(matches!(outcome, Outcome::Completed { .. }), "{outcome:?}");
    assert!(!bed.accepts(&before).await && bed.is_quiet().await);
    bed.remove().await;
}

#[tokio::test]
async fn sessions_of_one_role_say_nothing_so_its_grace_period_lasts_its_time() {
    let test = "sessions_of_one_role_say_nothing_so_its_grace_period_lasts_its_time";
    let Some(bed) = Bed::new(test, Way::Administered).await else {
        return;
    };
    let rotator = bed.rotator();
    let rotation = bed.rotation().drain(Arc::new(bed.rotator()));
    rotation.rotate(&name(), &rotator).await.unwrap();
    let outcome = rotation.resume(&name(), &rotator).await.unwrap();
    assert!(matches!(outcome, Outcome::Grace { .. }), "{outcome:?}");
    bed.clock.pass(GRACE);
    rotation.resume(&name(), &rotator).await.unwrap();
    bed.remove().await;
}

#[tokio::test]
async fn two_roles_take_turns_and_only_one_has_a_password_in_between() {
    let test = "two_roles_take_turns_and_only_one_has_a_password_in_between";
    let Some(bed) = Bed::new(test, Way::Alternating).await else {
        return;
    };
    let (rotation, rotator, administrator) = (bed.rotation(), bed.rotator(), bed.administrator().await);
    for round in 0..4 {
        let (in_use, other) = (round % 2, 1 - round % 2);
        let before = bed.value().await;
        rotation.rotate(&name(), &rotator).await.unwrap();
        let after = bed.value().await;
        let password = serde_json::from_str::<serde_json::Value>(&after).unwrap()["password"].clone();
        assert!(bed.document(other, password.as_str().unwrap()) == after);
        assert!(bed.accepts(&before).await && bed.accepts(&after).await);
        // A new rotation would change the password of the role that may still be in use.
        let error = rotation.rotate(&name(), &rotator).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Conflict);
        bed.clock.pass(GRACE);
        rotation.resume(&name(), &rotator).await.unwrap();
        assert!(!bed.accepts(&before).await && bed.accepts(&after).await);
        assert_eq!(verifier(&administrator, &bed.roles[in_use]).await, None);
        assert!(bed.is_quiet().await);
    }
    // Back in the grace period, and back after it.
    for waits in [false, true] {
        let before = bed.value().await;
        rotation.rotate(&name(), &rotator).await.unwrap();
        let after = bed.value().await;
        if waits {
            bed.clock.pass(GRACE);
            rotation.resume(&name(), &rotator).await.unwrap();
        }
        rotation.rollback(&name(), &rotator).await.unwrap();
        assert!(bed.value().await == before);
        assert!(bed.accepts(&before).await);
        bed.clock.pass(GRACE);
        rotation.resume(&name(), &rotator).await.unwrap();
        assert!(bed.accepts(&before).await && !bed.accepts(&after).await);
    }
    bed.remove().await;
}

#[tokio::test]
async fn the_wire_never_has_a_password_and_the_server_keeps_a_verifier() {
    let test = "the_wire_never_has_a_password_and_the_server_keeps_a_verifier";
    for way in Way::ALL {
        let Some(bed) = Bed::new(test, way).await else {
            return;
        };
        let mut server = bed.server();
        let proxy = Proxy::to(server.port, 0).await;
        server.port = proxy.port;
        let rotator = bed.rotator_at(server);
        bed.rotation().rotate(&name(), &rotator).await.unwrap();
        bed.clock.pass(GRACE);
        bed.rotation().resume(&name(), &rotator).await.unwrap();
        let after = bed.value().await;
        let new = match serde_json::from_str::<serde_json::Value>(&after) {
            Ok(fields) => fields["password"].as_str().unwrap().to_owned(),
            Err(_) => after,
        };
        assert!(proxy.has_heard(b"SCRAM-SHA-256$4096:"));
        assert!(!proxy.has_heard(FIRST.as_bytes()) && !proxy.has_heard(new.as_bytes()));
        let in_use = usize::from(way == Way::Alternating);
        let kept = verifier(&bed.administrator().await, &bed.roles[in_use]).await.unwrap();
        assert!(kept.starts_with("SCRAM-SHA-256$4096:"));
        bed.remove().await;
    }
}

#[tokio::test]
async fn over_tls_the_server_is_verified() {
    let test = "over_tls_the_server_is_verified";
    let (server, ca) = ("KEYFOB_TEST_POSTGRES_TLS_URL", "KEYFOB_TEST_POSTGRES_TLS_CA");
    let Some(authority) = keyfob_testkit::server(test, ca) else {
        return;
    };
    let parameters = format!("?sslmode=verify-full&sslrootcert={authority}");
    let Some(bed) = Bed::at(test, server, &parameters, Way::Alternating).await else {
        return;
    };
    let rotator = bed.rotator();
    bed.rotation().rotate(&name(), &rotator).await.unwrap();
    let mut unverified = bed.server();
    unverified.tls = keyfob_sql::PostgresTls::Verified { authorities: None };
    bed.clock.pass(GRACE);
    let error = bed.rotation().resume(&name(), &bed.rotator_at(unverified)).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::InvalidConfig);
    bed.rotation().resume(&name(), &rotator).await.unwrap();
    bed.remove().await;
}

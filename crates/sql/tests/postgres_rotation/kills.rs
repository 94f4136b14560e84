//! The rotator's process is killed at every message between it and the server.

use keyfob_core::Result;
use keyfob_rotation::{Outcome, Rotation, Rotator};

use crate::proxy::Proxy;
use crate::support::{Bed, GRACE, LEASE_IS_OVER, Way, name};

/// What the run is asked that is killed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Order {
    Rotate,
    Revoke,
    Back,
}

async fn run(rotation: &Rotation, rotator: &dyn Rotator, order: Order) -> Result<Outcome> {
    match order {
        Order::Rotate => rotation.rotate(&name(), rotator).await,
        Order::Revoke => rotation.resume(&name(), rotator).await,
        Order::Back => rotation.rollback(&name(), rotator).await,
    }
}

/// How many messages there were in a run that was not killed.
async fn killed_everywhere(bed: &Bed, way: Way, order: Order) -> usize {
    let rotator = bed.rotator();
    for message in 1..200 {
        if order != Order::Rotate {
            bed.rotation().rotate(&name(), &rotator).await.unwrap();
        }
        if order == Order::Revoke {
            bed.clock.pass(GRACE);
        }
        let mut server = bed.server();
        let proxy = Proxy::to(server.port, message).await;
        server.port = proxy.port;
        let (rotation, through) = (bed.rotation(), bed.rotator_at(server));
        let was_killed = tokio::select! {
            biased;
            () = proxy.stopped() => true,
            answer = run(&rotation, &through, order) => {
                answer.unwrap();
                false
            }
        };
        let at = format!("{way:?}, {order:?}, killed at message {message}");
        if way == Way::Alternating {
            assert!(bed.accepts(&bed.value().await).await, "{at}");
        }
        // The next run goes on, or takes it back.
        bed.clock.pass(LEASE_IS_OVER);
        let next = if order == Order::Rotate && message % 2 == 0 {
            Order::Back
        } else {
            Order::Revoke
        };
        let mut outcome = run(&bed.rotation(), &rotator, next).await;
        while matches!(outcome, Ok(Outcome::Grace { .. })) {
            assert!(bed.accepts(&bed.value().await).await, "{at}");
            bed.clock.pass(GRACE);
            outcome = bed.rotation().resume(&name(), &rotator).await;
        }
        outcome.unwrap_or_else(|error| panic!("{at}: {error:?}"));
        assert!(bed.accepts(&bed.value().await).await, "{at}");
        assert!(bed.is_quiet().await, "{at}");
        if way == Way::Alternating {
            assert_eq!(bed.passwords().await, 1, "{at}");
        }
        if !was_killed {
            return message - 1;
        }
    }
    panic!("{way:?}, {order:?}: it never comes to its end");
}

async fn survives(test: &str, way: Way) {
    let Some(bed) = Bed::new(test, way).await else {
        return;
    };
    for order in [Order::Rotate, Order::Revoke, Order::Back] {
        let messages = killed_everywhere(&bed, way, order).await;
        let has_traffic = order != Order::Revoke || way == Way::Alternating;
        assert_eq!(messages >= 8, has_traffic, "{way:?}, {order:?}: {messages}");
    }
    bed.remove().await;
}

#[tokio::test]
async fn one_more_run_mends_what_a_kill_left_of_a_role_s_own_rotation() {
    survives("one_more_run_mends_what_a_kill_left_of_a_role_s_own_rotation", Way::Own).await;
}

#[tokio::test]
async fn one_more_run_mends_what_a_kill_left_of_an_administrator_s_rotation() {
    let test = "one_more_run_mends_what_a_kill_left_of_an_administrator_s_rotation";
    survives(test, Way::Administered).await;
}

#[tokio::test]
async fn a_kill_never_leaves_two_roles_without_a_password_that_works() {
    survives(
        "a_kill_never_leaves_two_roles_without_a_password_that_works",
        Way::Alternating,
    )
    .await;
}

//! What a rotation does when nothing goes wrong, and when a step fails.

use keyfob_core::ErrorKind;
use keyfob_rotation::{Ended, Generator, Outcome, Phase, Recipe};

use crate::runner::Runner;
use crate::stores::Kind;
use crate::systems::SystemKind;
use crate::world::{World, grace, name};

#[tokio::test(start_paused = true)]
async fn a_rotation_goes_through_grace_to_its_end_on_every_kind_of_store() {
    for kind in Kind::ALL {
        for system in SystemKind::ALL {
            let world = World::new(kind, system);
            let runner = Runner::new([]);
            let rotation = world.rotation(&runner, "me", grace(600));
            let rotator = world.rotator(&runner);
            let first = world.value();

            let outcome = rotation.rotate(&name(), &rotator).await.unwrap();
            let Outcome::Grace { until, .. } = outcome else {
                panic!("{outcome:?}");
            };
            assert_ne!(world.value(), first);
            let previous = rotation.previous(&name()).await.unwrap();
            assert!(previous.value.expose_str().unwrap() == first, "{kind:?}");
            assert_eq!(world.system.accepts(&first), system.has_no_gap());
            let status = rotation.status(&name()).await.unwrap();
            let under_way = status.under_way.unwrap();
            assert_eq!((under_way.phase, under_way.grace_until), (Phase::Grace, Some(until)));
            assert!(status.lease.is_none());

            let early = rotation.resume(&name(), &rotator).await.unwrap();
            assert!(matches!(early, Outcome::Grace { .. }));
            let refused = rotation.rotate(&name(), &rotator).await.unwrap_err();
            assert_eq!(refused.kind(), ErrorKind::Conflict);

            world.pass(601).await;
            let outcome = rotation.resume(&name(), &rotator).await.unwrap();
            assert!(matches!(outcome, Outcome::Completed { .. }), "{outcome:?}");
            world.at_rest().unwrap();
            assert_eq!(rotation.previous(&name()).await.unwrap_err().kind(), ErrorKind::NotFound);
            assert_eq!(rotation.resume(&name(), &rotator).await.unwrap(), Outcome::Nothing);
            let versions = if system == SystemKind::KeySet { 3 } else { 2 };
            assert_eq!(world.versions(&name()), versions, "{kind:?} {system:?}");
        }
    }
}

#[tokio::test(start_paused = true)]
async fn without_grace_one_call_goes_to_the_end() {
    for kind in Kind::ALL {
        let world = World::new(kind, SystemKind::Keys);
        let runner = Runner::new([]);
        let rotation = world.rotation(&runner, "me", grace(0));
        for _ in 0..3 {
            let outcome = rotation.rotate(&name(), &world.rotator(&runner)).await.unwrap();
            assert!(matches!(outcome, Outcome::Completed { .. }), "{outcome:?}");
            world.at_rest().unwrap();
        }
        assert_eq!(world.versions(&name()), 4);
    }
}

#[tokio::test(start_paused = true)]
async fn a_step_that_fails_for_good_rolls_back() {
    for kind in Kind::ALL {
        for system in SystemKind::ALL {
            for step in ["create", "set", "test"] {
                let world = World::new(kind, system);
                let runner = Runner::new([]);
                let rotation = world.rotation(&runner, "me", grace(0));
                let mut rotator = world.rotator(&runner);
                rotator.fails = Some((step, ErrorKind::PermissionDenied));
                let first = world.value();
                let error = rotation.rotate(&name(), &rotator).await.unwrap_err();
                assert_eq!(error.kind(), ErrorKind::PermissionDenied);
                assert!(error.context().any(|fact| fact == ("rolled_back", "yes")), "{error}");
                assert!(world.value() == first);
                world.at_rest().unwrap();
                let last = rotation.status(&name()).await.unwrap().last.unwrap();
                assert_eq!(
                    (last.ended, last.failed),
                    (Ended::RolledBack, Some(ErrorKind::PermissionDenied))
                );
            }
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_step_that_may_work_later_waits_for_the_next_run_and_rolls_back_in_the_end() {
    let world = World::new(Kind::Full, SystemKind::Alternating);
    let runner = Runner::new([]);
    let rotation = world.rotation(&runner, "me", grace(0));
    let mut rotator = world.rotator(&runner);
    rotator.fails = Some(("test", ErrorKind::Unavailable));
    for attempt in 1..=2 {
        let error = rotation.rotate(&name(), &rotator).await.unwrap_err();
        assert!(!error.context().any(|(key, _)| key == "rolled_back"), "{error}");
        let under_way = rotation.status(&name()).await.unwrap().under_way.unwrap();
        assert_eq!(
            (under_way.phase, under_way.attempts, under_way.failed),
            (Phase::Testing, attempt, Some(ErrorKind::Unavailable))
        );
    }
    let error = rotation.rotate(&name(), &rotator).await.unwrap_err();
    assert!(error.context().any(|fact| fact == ("rolled_back", "yes")), "{error}");
    world.at_rest().unwrap();
    assert_eq!(world.versions(&name()), 1);
}

#[tokio::test(start_paused = true)]
async fn rollback_during_grace_brings_the_old_value_back_and_revokes_the_new_one() {
    for kind in Kind::ALL {
        for system in SystemKind::ALL {
            let world = World::new(kind, system);
            let runner = Runner::new([]);
            let first = world.value();
            let long = world.rotation(&runner, "me", grace(600));
            long.rotate(&name(), &world.rotator(&runner)).await.unwrap();
            let newer = world.value();
            let rotation = world.rotation(&runner, "me", grace(0));
            let outcome = rotation.rollback(&name(), &world.rotator(&runner)).await.unwrap();
            assert!(matches!(outcome, Outcome::Completed { .. }), "{outcome:?}");
            assert!(world.value() == first, "{kind:?} {system:?}");
            assert!(system == SystemKind::KeySet || !world.system.accepts(&newer));
            world.at_rest().unwrap();
        }
    }
}

/// The README says these numbers.
#[tokio::test(start_paused = true)]
async fn a_rotation_costs_so_many_requests() {
    for (kind, rotate, resume, idle, at_once) in [(Kind::Full, 13, 6, 1, 15), (Kind::Unversioned, 18, 8, 1, 22)] {
        let world = World::new(kind, SystemKind::KeySet);
        let [first, second, third, fourth] = std::array::from_fn(|_| Runner::new([]));
        let rotator = Generator::new(Recipe::uuid());
        world
            .rotation(&first, "me", grace(600))
            .rotate(&name(), &rotator)
            .await
            .unwrap();
        world.pass(601).await;
        world
            .rotation(&second, "me", grace(600))
            .resume(&name(), &rotator)
            .await
            .unwrap();
        world
            .rotation(&third, "me", grace(600))
            .resume(&name(), &rotator)
            .await
            .unwrap();
        let world = World::new(kind, SystemKind::KeySet);
        world
            .rotation(&fourth, "me", grace(0))
            .rotate(&name(), &rotator)
            .await
            .unwrap();
        for (runner, expected) in [(first, rotate), (second, resume), (third, idle), (fourth, at_once)] {
            assert_eq!(runner.calls(), expected, "{kind:?}: {:?}", runner.trail.lock().unwrap());
        }
    }
}

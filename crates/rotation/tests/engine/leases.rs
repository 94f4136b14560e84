//! Who may rotate, and who has to wait.

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use futures_util::future::join_all;
use keyfob_core::ErrorKind;
use keyfob_rotation::{Outcome, Rotation};

use crate::runner::{Fault, Runner};
use crate::stores::Kind;
use crate::systems::SystemKind;
use crate::world::{World, grace, name};

#[tokio::test(start_paused = true)]
async fn of_many_who_begin_at_once_one_wins_and_the_others_learn_who_has_it_and_until_when() {
    for kind in Kind::ALL {
        for count in [2, 8] {
            let world = World::new(kind, SystemKind::Alternating);
            let runners: Vec<Arc<Runner>> = (0..count).map(|_| Runner::new([])).collect();
            let runs = runners.iter().enumerate().map(|(number, runner)| {
                let (rotation, rotator) = (
                    world.rotation(runner, &format!("runner {number}"), grace(600)),
                    world.rotator(runner),
                );
                async move { rotation.rotate(&name(), &rotator).await }
            });
            let answers = join_all(runs).await;
            let winners: Vec<usize> = (0..count).filter(|number| answers[*number].is_ok()).collect();
            assert_eq!(winners.len(), 1, "{kind:?}: {answers:?}");
            for error in answers.iter().filter_map(|answer| answer.as_ref().err()) {
                assert_eq!(error.kind(), ErrorKind::Conflict);
                let fact = |wanted: &str| {
                    error
                        .context()
                        .find(|(key, _)| *key == wanted)
                        .map(|(_, value)| value.to_owned())
                };
                assert_eq!(fact("holder"), Some(format!("runner {}", winners[0])), "{error}");
                let until: SystemTime = fact("until").unwrap().parse::<jiff::Timestamp>().unwrap().try_into().unwrap();
                assert!(
                    until > SystemTime::UNIX_EPOCH + Duration::from_secs(1_800_000_000 + 50),
                    "{error}"
                );
            }
            assert_eq!(world.versions(&name()), 2);
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_crash_is_taken_over_when_the_lease_is_over_and_not_before() {
    let world = World::new(Kind::Full, SystemKind::Alternating);
    let crashed = Runner::new([(9, Fault::DieAfter)]);
    let (rotation, rotator) = (world.rotation(&crashed, "crashed", grace(0)), world.rotator(&crashed));
    assert!(crashed.live(rotation.rotate(&name(), &rotator)).await.is_none());

    let next = Runner::new([]);
    let (rotation, rotator) = (world.rotation(&next, "next", grace(0)), world.rotator(&next));
    world.pass(58).await;
    let error = rotation.resume(&name(), &rotator).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Conflict);
    assert!(error.to_string().contains("crashed"), "{error}");
    world.pass(10).await;
    let outcome = rotation.resume(&name(), &rotator).await.unwrap();
    assert!(matches!(outcome, Outcome::Completed { .. }), "{outcome:?}");
    assert_eq!(rotation.status(&name()).await.unwrap().fence, 2);
    world.at_rest().unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_long_step_keeps_its_lease() {
    let world = World::new(Kind::Full, SystemKind::Keys);
    let (slow, other) = (Runner::new([]), Runner::new([]));
    let rotation = world.rotation(&slow, "slow", grace(0));
    let mut rotator = world.rotator(&slow);
    rotator.set_takes = 280;
    let task = tokio::spawn(async move { rotation.rotate(&name(), &rotator).await });
    let (rotation, rotator) = (world.rotation(&other, "other", grace(0)), world.rotator(&other));
    for _ in 0..9 {
        world.pass(30).await;
        let error = rotation.rotate(&name(), &rotator).await.unwrap_err();
        assert!(error.to_string().contains("slow"), "{error}");
    }
    assert!(matches!(task.await.unwrap().unwrap(), Outcome::Completed { .. }));
    world.at_rest().unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_step_without_end_is_given_up_and_tried_again() {
    let world = World::new(Kind::Full, SystemKind::Keys);
    let runner = Runner::new([]);
    let rotation = world.rotation(&runner, "me", grace(0));
    let mut rotator = world.rotator(&runner);
    rotator.set_takes = 100_000;
    let error = rotation.rotate(&name(), &rotator).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Timeout);
    rotator.set_takes = 0;
    rotation.rotate(&name(), &rotator).await.unwrap();
    world.at_rest().unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_store_that_cant_compare_needs_another_one_for_the_lease_or_a_promise() {
    for kind in [Kind::CreateOnly, Kind::Uncompared, Kind::Bare] {
        let world = World::new(kind, SystemKind::Keys);
        let runner = Runner::new([]);
        let rotator = world.rotator(&runner);
        let store = world.store(&runner);
        let rotation = Rotation::new(store).clock(Arc::new(world.clock)).options(grace(0));
        let error = rotation.rotate(&name(), &rotator).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Unsupported);
        assert!(error.hint().is_some());
        assert_eq!(runner.calls(), 0);
        let rotation = rotation.sole_runner();
        for _ in 0..2 {
            let outcome = rotation.rotate(&name(), &rotator).await.unwrap();
            assert!(matches!(outcome, Outcome::Completed { .. }));
            world.at_rest().unwrap();
        }
    }
}

//! A run that was asleep while another took over changes nothing when it wakes.

use std::sync::Arc;
use std::time::Duration;

use futures_util::future::join;
use keyfob_core::{ErrorKind, Result};
use keyfob_rotation::Outcome;

use crate::runner::{Fault, Runner};
use crate::stores::Kind;
use crate::systems::SystemKind;
use crate::world::{World, grace, name};

/// What happens while the first one sleeps.
#[derive(Debug, Clone, Copy)]
enum Meanwhile {
    /// Another run brings the rotation to its end.
    Resume,
    /// Another run takes it back.
    Rollback,
    /// Another run takes it back, and a new rotation follows.
    RollbackAndRotate,
    /// Two more rotations follow.
    RotateTwice,
}

/// What the one was doing who falls asleep.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Doing {
    Rotate,
    Rollback,
}

/// How a trial went.
#[derive(Debug, PartialEq, Eq)]
enum Trial {
    /// There are not so many calls.
    TooFew,
    /// There was nothing to take over yet or any more.
    NotReplaced,
    Replaced,
}

/// A run that is asleep with its call of this number on its way.
struct Sleeper {
    world: World,
    runner: Arc<Runner>,
    task: tokio::task::JoinHandle<Option<Result<Outcome>>>,
}

/// `None` when there are not so many calls.
async fn fall_asleep(kind: Kind, system: SystemKind, doing: Doing, number: u64) -> Option<Sleeper> {
    let world = World::new(kind, system);
    if doing == Doing::Rollback {
        let before = Runner::new([]);
        let rotation = world.rotation(&before, "before", grace(3600));
        rotation.rotate(&name(), &world.rotator(&before)).await.unwrap();
    }
    let runner = Runner::new([(number, Fault::Pause)]);
    let (rotation, rotator) = (world.rotation(&runner, "sleeper", grace(0)), world.rotator(&runner));
    let task = {
        let runner = Arc::clone(&runner);
        tokio::spawn(async move {
            let work = async {
                match doing {
                    Doing::Rotate => rotation.rotate(&name(), &rotator).await,
                    Doing::Rollback => rotation.rollback(&name(), &rotator).await,
                }
            };
            runner.live(work).await
        })
    };
    world.pass(10).await;
    if !runner.is_paused() {
        task.await.unwrap().unwrap().unwrap();
        return None;
    }
    world.pass(120).await;
    Some(Sleeper { world, runner, task })
}

async fn meet(world: &World, runner: &Arc<Runner>, meanwhile: Meanwhile) -> Result<Outcome> {
    let (rotation, rotator) = (world.rotation(runner, "other", grace(0)), world.rotator(runner));
    match meanwhile {
        Meanwhile::Resume => rotation.resume(&name(), &rotator).await,
        Meanwhile::Rollback => rotation.rollback(&name(), &rotator).await,
        Meanwhile::RollbackAndRotate => {
            let _ = rotation.rollback(&name(), &rotator).await;
            rotation.rotate(&name(), &rotator).await
        }
        Meanwhile::RotateTwice => {
            rotation.rotate(&name(), &rotator).await?;
            rotation.rotate(&name(), &rotator).await
        }
    }
}

async fn sleep_and_wake(kind: Kind, system: SystemKind, doing: Doing, number: u64, meanwhile: Meanwhile) -> Trial {
    let what = format!("{kind:?} {system:?} {doing:?} asleep at {number}, meanwhile {meanwhile:?}");
    let Some(Sleeper { world, runner, task }) = fall_asleep(kind, system, doing, number).await else {
        return Trial::TooFew;
    };
    let other = Runner::new([]);
    let said = meet(&world, &other, meanwhile).await;
    // The third call takes the lease. Who sleeps before it has nothing that could be taken over.
    let is_replaced = number >= 3
        && said
            .as_ref()
            .is_ok_and(|outcome| !matches!(outcome, Outcome::Nothing | Outcome::Grace { .. }));
    if !is_replaced {
        runner.wake();
        task.await.unwrap();
        return Trial::NotReplaced;
    }
    world.at_rest().unwrap_or_else(|problem| panic!("{what}: {problem}"));
    let before = world.snapshot();
    runner.wake();
    let answer = task.await.unwrap().expect("it does not die");
    let error = answer.expect_err(&what);
    let trail = runner.trail.lock().unwrap().join("; ");
    assert_eq!(error.kind(), ErrorKind::Conflict, "{what}: {error} {trail}");
    assert!(world.snapshot() == before, "{what}: something changed: {error} {trail}");
    world.at_rest().unwrap_or_else(|problem| panic!("{what}: {problem}"));
    Trial::Replaced
}

const MEANWHILE: [Meanwhile; 4] = [
    Meanwhile::Resume,
    Meanwhile::Rollback,
    Meanwhile::RollbackAndRotate,
    Meanwhile::RotateTwice,
];

#[tokio::test(start_paused = true)]
async fn a_run_that_wakes_up_after_it_was_replaced_changes_nothing() {
    for kind in Kind::ALL.into_iter().filter(|kind| kind.compares()) {
        for system in SystemKind::ALL {
            for (doing, meanwhile) in MEANWHILE
                .into_iter()
                .flat_map(|meanwhile| [(Doing::Rotate, meanwhile), (Doing::Rollback, meanwhile)])
            {
                let mut replaced = 0;
                for number in 1.. {
                    match sleep_and_wake(kind, system, doing, number, meanwhile).await {
                        Trial::TooFew => break,
                        Trial::NotReplaced => {}
                        Trial::Replaced => replaced += 1,
                    }
                }
                assert!(replaced > 12, "{kind:?} {system:?} {doing:?} {meanwhile:?}: {replaced}");
            }
        }
    }
}

/// The sleeper's call arrives while the other one is at work, and the sleeper is awake from then on.
#[tokio::test(start_paused = true)]
async fn a_run_that_wakes_up_while_it_is_being_replaced_does_no_harm() {
    for kind in Kind::ALL.into_iter().filter(|kind| kind.compares()) {
        for system in SystemKind::ALL {
            for doing in [Doing::Rotate, Doing::Rollback] {
                for meanwhile in [Meanwhile::Resume, Meanwhile::Rollback] {
                    for number in 3.. {
                        let mut is_over = false;
                        // Every call takes five milliseconds. Each moment is met by one of three calls in a row.
                        for calls in (number % 3..30).step_by(3) {
                            let Some(Sleeper { world, runner, task }) = fall_asleep(kind, system, doing, number).await else {
                                is_over = true;
                                break;
                            };
                            let what = format!("{kind:?} {system:?} {doing:?} at {number}, {meanwhile:?}, awake after {calls}");
                            let other = Runner::new([]);
                            let waking = async {
                                tokio::time::sleep(Duration::from_millis(5 * calls + 1)).await;
                                runner.wake();
                            };
                            let (_, ()) = join(meet(&world, &other, meanwhile), waking).await;
                            task.await.unwrap();
                            world.moments().unwrap_or_else(|problem| panic!("{what}: {problem}"));
                            // Whoever of the two ended it: one more run, and all is well.
                            world.pass(120).await;
                            let last = Runner::new([]);
                            let mut outcome = meet(&world, &last, Meanwhile::Resume).await.unwrap();
                            if matches!(outcome, Outcome::Grace { .. }) {
                                world.pass(3600).await;
                                outcome = meet(&world, &last, Meanwhile::Resume).await.unwrap();
                            }
                            world.at_rest().unwrap_or_else(|problem| {
                                let trails = [&runner, &other, &last].map(|runner| runner.trail.lock().unwrap().join("; "));
                                panic!("{what}: {problem} {outcome:?}\n{}", trails.join("\n"))
                            });
                        }
                        if is_over {
                            break;
                        }
                    }
                }
            }
        }
    }
}

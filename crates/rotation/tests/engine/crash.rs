//! A rotation is killed, loses answers and is refused at every call it makes, and everything is well after one more run.

use std::future::Future;
use std::sync::Arc;

use keyfob_core::{Random, Result};
use keyfob_rotation::{Outcome, RotationOptions};

use crate::runner::{Fault, Runner};
use crate::stores::Kind;
use crate::systems::SystemKind;
use crate::world::{World, grace, name};

/// What a run is asked.
#[derive(Debug, Clone, Copy)]
enum Order {
    Rotate,
    Resume,
    Rollback,
}

/// Longer than any lease with its skew, and shorter than the grace periods here.
const LEASE: u64 = 66;
const GRACE: u64 = 3600;

async fn run(
    world: &World,
    runner: &Arc<Runner>,
    holder: &str,
    options: RotationOptions,
    order: Order,
) -> Option<Result<Outcome>> {
    let rotation = world.rotation(runner, holder, options);
    let rotator = world.rotator(runner);
    let work = async {
        match order {
            Order::Rotate => rotation.rotate(&name(), &rotator).await,
            Order::Resume => rotation.resume(&name(), &rotator).await,
            Order::Rollback => rotation.rollback(&name(), &rotator).await,
        }
    };
    runner.live(work).await
}

/// One more run, and another one after the grace period if that is where the first one comes to.
async fn settle(world: &World) -> Result<(), String> {
    let runner = Runner::new([]);
    world.pass(LEASE).await;
    let outcome = run(world, &runner, "last", grace(GRACE), Order::Resume).await;
    let said = |what: &str| format!("{what}, {outcome:?}, {:?}", runner.trail.lock().unwrap());
    world.moments().map_err(|problem| said(&problem))?;
    match &outcome {
        Some(Ok(Outcome::Grace { .. })) => {
            if !world.system.accepts(&world.value()) {
                return Err(said("the current value is not accepted in the grace period"));
            }
            world.pass(GRACE).await;
            let end = run(world, &runner, "last", grace(GRACE), Order::Resume).await;
            if !matches!(end, Some(Ok(Outcome::Completed { .. }))) {
                return Err(said(&format!("after the grace period {end:?}")));
            }
        }
        Some(Ok(_)) => {}
        _ => return Err(said("one more run failed")),
    }
    world.at_rest().map_err(|problem| said(&problem))
}

/// Under a runtime whose time moves when everybody waits.
fn simulate<T>(work: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_current_thread()
        .enable_time()
        .start_paused(true)
        .build()
        .unwrap()
        .block_on(work)
}

/// How many calls it takes without a fault.
async fn length(kind: Kind, system: SystemKind, seconds: u64, order: Order) -> u64 {
    let world = World::new(kind, system);
    prepare(&world, order).await;
    let runner = Runner::new([]);
    run(&world, &runner, "first", grace(seconds), order).await;
    runner.calls()
}

/// Before a rollback or the end of a grace period there is a rotation.
async fn prepare(world: &World, order: Order) {
    if !matches!(order, Order::Rotate) {
        let runner = Runner::new([]);
        run(world, &runner, "before", grace(GRACE), Order::Rotate).await;
    }
    if matches!(order, Order::Resume) {
        world.pass(GRACE).await;
    }
}

#[test]
fn after_any_fault_at_any_call_one_more_run_makes_everything_well() {
    let mut points = 0;
    for kind in Kind::ALL {
        for system in SystemKind::ALL {
            for (order, seconds) in [
                (Order::Rotate, 0),
                (Order::Rotate, GRACE),
                (Order::Resume, 0),
                (Order::Rollback, 0),
                (Order::Rollback, GRACE),
            ] {
                let calls = simulate(length(kind, system, seconds, order));
                assert!(calls > 5, "{calls}");
                for fault in Fault::ALL {
                    for number in 1..=calls {
                        let what = format!("{kind:?} {system:?} {order:?} {seconds} {fault:?} at {number} of {calls}");
                        let checked = simulate(async {
                            let world = World::new(kind, system);
                            prepare(&world, order).await;
                            let before = world.versions(&name());
                            let runner = Runner::new([(number, fault)]);
                            let outcome = run(&world, &runner, "first", grace(seconds), order).await;
                            let trail = runner.trail.lock().unwrap().clone();
                            world
                                .moments()
                                .map_err(|problem| format!("{problem}, {outcome:?}, {trail:?}"))?;
                            settle(&world)
                                .await
                                .map_err(|problem| format!("{problem}\nafter {outcome:?}, {trail:?}"))?;
                            // One value for a rotation, one more where what was revoked is cut out of it: never the same twice.
                            let most = before + 1 + usize::from(system == SystemKind::KeySet);
                            match world.versions(&name()) {
                                versions if versions <= most => Ok(()),
                                versions => Err(format!("{versions} versions instead of {most}, {trail:?}")),
                            }
                        });
                        if let Err(problem) = checked {
                            panic!("{what}: {problem}");
                        }
                        points += 1;
                    }
                }
            }
        }
    }
    assert!(points > 5000, "{points}");
}

/// Up to four runs of any order, each with up to two faults, with pauses in between that may be shorter than a lease.
fn random_life(seed: u64) -> (String, Result<(), String>) {
    let random = Random::seeded(seed);
    let pick = |count: usize| (random.next() % count as u64) as usize;
    let kind = Kind::ALL[pick(Kind::ALL.len())];
    let system = SystemKind::ALL[pick(SystemKind::ALL.len())];
    let mut what = format!("seed {seed}: {kind:?} {system:?}");
    let checked = simulate(async {
        let world = World::new(kind, system);
        for turn in 0..=pick(4) {
            let faults: Vec<(u64, Fault)> = (0..=pick(2))
                .map(|_| (1 + pick(40) as u64, Fault::ALL[pick(Fault::ALL.len())]))
                .collect();
            let order = [Order::Rotate, Order::Rotate, Order::Resume, Order::Rollback][pick(4)];
            let mut options = grace([0, GRACE][pick(2)]);
            options.end_grace = pick(4) == 0;
            what.push_str(&format!(
                "\n{order:?} {faults:?} grace {:?} end {}",
                options.grace, options.end_grace
            ));
            let runner = Runner::new(faults);
            let outcome = run(&world, &runner, &format!("run {turn}"), options, order).await;
            what.push_str(&format!(" -> {outcome:?}: {:?}", runner.trail.lock().unwrap()));
            world.moments()?;
            let pause = [0, 1, 40, LEASE, GRACE, 2 * GRACE][pick(6)];
            what.push_str(&format!(", {pause} s"));
            world.pass(pause).await;
        }
        settle(&world).await
    });
    (what, checked)
}

fn random_lives(seeds: std::ops::Range<u64>) {
    for seed in seeds {
        let (what, checked) = random_life(seed);
        if let Err(problem) = checked {
            panic!("{problem}\n{what}");
        }
    }
}

#[test]
fn after_random_faults_in_several_runs_one_more_makes_everything_well() {
    random_lives(0..3000);
}

#[test]
#[ignore = "10,000 random lives take a minute; run them on request"]
fn after_ten_thousand_random_lives_one_more_run_makes_everything_well() {
    random_lives(3000..13_000);
}

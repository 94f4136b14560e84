//! The grace period: waiting for its end, and for everybody to let go of the old value.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use keyfob_core::{Clock, Error, ErrorKind, Result, async_trait};
use keyfob_rotation::{Drain, Outcome, StepContext};

use crate::runner::Runner;
use crate::stores::Kind;
use crate::systems::{FIRST, SystemKind};
use crate::world::{World, grace, name};

/// Says yes when it was asked often enough.
#[derive(Debug)]
struct Connections {
    asked: AtomicU64,
    drained_at: u64,
    fails: bool,
}

#[async_trait]
impl Drain for Connections {
    async fn is_drained(&self, step: &StepContext<'_>) -> Result<bool> {
        assert!(step.old_value()?.expose_str()? == FIRST);
        assert!(step.new_value()?.expose_str()? != FIRST);
        let asked = self.asked.fetch_add(1, Ordering::Relaxed) + 1;
        match self.fails {
            true => Err(Error::new(ErrorKind::Unavailable, "the application does not answer")),
            false => Ok(asked >= self.drained_at),
        }
    }
}

fn connections(drained_at: u64, fails: bool) -> Arc<Connections> {
    Arc::new(Connections {
        asked: AtomicU64::new(0),
        drained_at,
        fails,
    })
}

#[tokio::test(start_paused = true)]
async fn a_call_that_waits_ends_when_the_old_value_is_no_longer_in_use() {
    for kind in Kind::ALL {
        let world = World::new(kind, SystemKind::Keys);
        let runner = Runner::new([]);
        let drain = connections(4, false);
        let mut options = grace(600);
        options.wait = true;
        let rotation = world
            .rotation(&runner, "me", options)
            .drain(Arc::clone(&drain) as Arc<dyn Drain>);
        let start = world.clock.now();
        let outcome = rotation.rotate(&name(), &world.rotator(&runner)).await.unwrap();
        assert!(matches!(outcome, Outcome::Completed { .. }), "{outcome:?}");
        let took = (world.clock.now() - start).as_secs();
        assert!((20..30).contains(&took), "{took}");
        world.at_rest().unwrap();
    }
}

#[tokio::test(start_paused = true)]
async fn a_hook_that_fails_or_never_says_yes_only_costs_the_full_grace_period() {
    for drain in [connections(u64::MAX, false), connections(0, true)] {
        let world = World::new(Kind::Full, SystemKind::Keys);
        let runner = Runner::new([]);
        let mut options = grace(600);
        options.wait = true;
        let rotation = world
            .rotation(&runner, "me", options)
            .drain(Arc::clone(&drain) as Arc<dyn Drain>);
        let start = world.clock.now();
        let outcome = rotation.rotate(&name(), &world.rotator(&runner)).await.unwrap();
        assert!(matches!(outcome, Outcome::Completed { .. }), "{outcome:?}");
        let took = (world.clock.now() - start).as_secs();
        assert!((600..610).contains(&took), "{took}");
        assert!(drain.asked.load(Ordering::Relaxed) > 100);
        world.at_rest().unwrap();
    }
}

#[tokio::test(start_paused = true)]
async fn without_waiting_each_resume_asks_once_and_writes_nothing_before_the_end() {
    let world = World::new(Kind::Full, SystemKind::Keys);
    let runner = Runner::new([]);
    let drain = connections(3, false);
    let rotation = world
        .rotation(&runner, "me", grace(600))
        .drain(Arc::clone(&drain) as Arc<dyn Drain>);
    let rotator = world.rotator(&runner);
    rotation.rotate(&name(), &rotator).await.unwrap();
    let before = world.snapshot();
    for _ in 0..2 {
        let outcome = rotation.resume(&name(), &rotator).await.unwrap();
        assert!(matches!(outcome, Outcome::Grace { .. }));
        assert!(world.snapshot() == before);
    }
    let outcome = rotation.resume(&name(), &rotator).await.unwrap();
    assert!(matches!(outcome, Outcome::Completed { .. }));
    world.at_rest().unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_grace_period_can_be_cut_short() {
    for kind in Kind::ALL {
        let world = World::new(kind, SystemKind::Alternating);
        let runner = Runner::new([]);
        let rotator = world.rotator(&runner);
        let first = world.value();
        world
            .rotation(&runner, "me", grace(600))
            .rotate(&name(), &rotator)
            .await
            .unwrap();
        let second = world.value();
        let mut options = grace(600);
        options.end_grace = true;
        let outcome = world
            .rotation(&runner, "me", options)
            .rotate(&name(), &rotator)
            .await
            .unwrap();
        assert!(matches!(outcome, Outcome::Grace { .. }), "{outcome:?}");
        assert!(!world.system.accepts(&first) && world.system.accepts(&second));
        assert!(world.value() != second);
        world.moments().unwrap();
    }
}

//! Ten thousand who want the same at the same moment.

use std::sync::Arc;
use std::time::Duration;

use keyfob_core::{Clock as _, GetRequest, VirtualClock};

use crate::dice::Dice;
use crate::ledger::Meters;
use crate::setup::{Setup, Stack};
use crate::traffic::Traffic;
use crate::world::World;
use crate::{in_virtual_time, morning};

const HERD: usize = 10_000;

/// Nothing can be had from any store between these.
const OUTAGE: (Duration, Duration) = (Duration::from_secs(1_000), Duration::from_secs(2_000));

#[test]
fn ten_thousand_misses_at_once_are_one_call_also_when_an_outage_has_ended() {
    for seed in [1, 2, 3] {
        let meters = Arc::new(Meters::default());
        in_virtual_time(&Arc::clone(&meters), async move {
            let dice = Dice::new(seed);
            let mut setup = Setup::draw(&dice);
            setup.outage = Some(OUTAGE);
            setup.retry.hedge = false;
            setup.times.ttl = Duration::from_secs(300);
            setup.times.max_age = setup.times.ttl;
            let world = Arc::new(World::new(setup, VirtualClock::starting_at(morning()), false));
            let stack = Arc::new(Stack::new(&world, &dice, meters).unwrap());
            let traffic = Traffic::new(Arc::clone(&stack), dice.fork());
            traffic.fill().await;
            let herd = || traffic.crowd(GetRequest::new(world.setup.names[0].clone()), HERD, false);
            let requests = || stack.stores.iter().map(|store| store.requests()).sum::<u64>();

            assert_eq!((herd().await, requests()), (HERD, 1), "seed {seed}: cold");
            assert_eq!((herd().await, requests()), (HERD, 1), "seed {seed}: warm");

            world.clock.sleep(OUTAGE.0).await;
            assert_eq!(herd().await, 0, "seed {seed}: in the outage");
            let most = u64::from(world.setup.retry.attempts) * stack.stores.len() as u64;
            assert!(requests() - 1 <= most, "seed {seed}: {} in the outage", requests());

            world.clock.sleep(OUTAGE.1 - world.now()).await;
            let before = requests();
            // A breaker that is still open lets nobody through, and then one.
            while herd().await == 0 {
                assert_eq!(
                    requests(),
                    before,
                    "seed {seed}: a store that is well again was asked in vain"
                );
                world.clock.sleep(Duration::from_millis(100)).await;
            }
            assert_eq!(requests(), before + 1, "seed {seed}: after the outage");

            stack.check_evening();
            let outcome = world.outcome();
            assert!(outcome.violations.is_empty(), "seed {seed}: {:?}", outcome.violations);
        });
    }
}

//! Many requests at once.

use std::pin::pin;
use std::time::Duration;

use futures_util::future::{Either, join, select};
use keyfob_core::adapter::Ramp;
use tokio::time::{Instant, sleep, timeout};

/// Over one connection. API servers take 100 streams and more.
const MULTIPLEXED: Ramp = Ramp {
    first: 100,
    most: 100,
    soon: Duration::from_millis(6),
};

/// The longest that the others wait for the one that goes first.
const AHEAD: Duration = Duration::from_secs(1);

/// Runs all, each within this time, and gives their answers in the same order; `late` is the answer that did not come.
///
/// While nobody knows whether one connection carries them all, one goes first: otherwise each would open its own, to find
/// out that it is not needed. That one's time is the others' too, so that a server that hangs is not waited for twice.
pub(super) async fn all<F: Future>(
    reads: Vec<F>,
    within: Duration,
    late: impl Fn() -> F::Output,
    is_multiplexed: impl Fn() -> Option<bool>,
) -> Vec<F::Output> {
    let begin = Instant::now();
    let mut reads = reads.into_iter();
    let first = match is_multiplexed() {
        None => reads.next(),
        Some(_) => None,
    };
    let others = async || {
        let ramp = match is_multiplexed() {
            Some(true) => MULTIPLEXED,
            _ => Ramp::HTTP1,
        };
        let left = within.saturating_sub(begin.elapsed());
        let in_time = reads.map(async |read| timeout(left, read).await.unwrap_or_else(|_| late()));
        ramp.all(in_time.collect()).await
    };
    let Some(first) = first else { return others().await };
    let (first, others) = match select(pin!(first), pin!(sleep(AHEAD))).await {
        Either::Left((first, _)) => (first, others().await),
        Either::Right((_, first)) => join(first, others()).await,
    };
    std::iter::once(first).chain(others).collect()
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;

    use super::*;

    const WITHIN: Duration = Duration::from_secs(10);

    /// How many of 300 ran at once at most, and how many before the first was answered.
    async fn run(known: Option<bool>, found: bool) -> (usize, usize) {
        let (now, most, before_first, protocol) = (Cell::new(0), Cell::new(0), Cell::new(0), Cell::new(known));
        let reads = (0..300).map(|index| {
            let (now, most, before_first, protocol) = (&now, &most, &before_first, &protocol);
            async move {
                now.set(now.get() + 1);
                most.set(most.get().max(now.get()));
                sleep(Duration::from_millis(2)).await;
                if before_first.get() == 0 {
                    before_first.set(now.get());
                }
                protocol.set(Some(found));
                now.set(now.get() - 1);
                index
            }
        });
        let answers = all(reads.collect(), WITHIN, || unreachable!("none is late"), || protocol.get()).await;
        assert_eq!(answers, (0..300).collect::<Vec<_>>());
        (most.get(), before_first.get())
    }

    #[tokio::test(start_paused = true)]
    async fn the_first_finds_out_whether_one_connection_does() {
        assert_eq!(run(None, true).await, (MULTIPLEXED.most, 1));
        assert_eq!(run(None, false).await, (Ramp::HTTP1.first, 1));
        assert_eq!(run(Some(true), true).await, (MULTIPLEXED.most, MULTIPLEXED.most));
    }

    #[tokio::test(start_paused = true)]
    async fn a_server_that_hangs_is_waited_for_once() {
        let begin = Instant::now();
        let reads = (0..20).map(|_| std::future::pending::<&str>());
        // The first has its own limit, as every request.
        let mut reads: Vec<_> = reads
            .map(|read| async { timeout(WITHIN, read).await.unwrap_or("late") })
            .collect();
        let answers = all(std::mem::take(&mut reads), WITHIN, || "late", || None).await;
        assert_eq!(answers, ["late"; 20]);
        assert_eq!(begin.elapsed(), WITHIN);
    }

    #[tokio::test(start_paused = true)]
    async fn one_that_hangs_does_not_hold_the_others() {
        let reads = (0..20).map(|index| async move {
            sleep(if index == 0 { WITHIN } else { Duration::from_millis(5) }).await;
            Some(index)
        });
        let answers = all(reads.collect(), WITHIN, || None, || None).await;
        assert_eq!(answers, (0..20).map(Some).collect::<Vec<_>>());
    }
}

//! Many requests at once.

use std::time::Duration;

use keyfob_core::adapter::Ramp;

/// Over one connection. API servers take 100 streams and more.
const MULTIPLEXED: Ramp = Ramp {
    first: 100,
    most: 100,
    soon: Duration::from_millis(6),
};

/// Runs all and gives their answers in the same order.
///
/// While nobody knows whether one connection carries them all, one goes first: otherwise each would open its own, to find
/// out that it is not needed.
pub(super) async fn all<F: Future>(reads: Vec<F>, is_multiplexed: impl Fn() -> Option<bool>) -> Vec<F::Output> {
    let mut answers = Vec::with_capacity(reads.len());
    let mut reads = reads.into_iter();
    if is_multiplexed().is_none()
        && let Some(first) = reads.next()
    {
        answers.push(first.await);
    }
    let ramp = match is_multiplexed() {
        Some(true) => MULTIPLEXED,
        _ => Ramp::HTTP1,
    };
    answers.extend(ramp.all(reads.collect()).await);
    answers
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;

    use super::*;

    /// How many of 300 ran at once at most, and how many before the first was answered.
    async fn run(known: Option<bool>, found: bool) -> (usize, usize) {
        let (now, most, before_first, protocol) = (Cell::new(0), Cell::new(0), Cell::new(0), Cell::new(known));
        let reads = (0..300).map(|index| {
            let (now, most, before_first, protocol) = (&now, &most, &before_first, &protocol);
            async move {
                now.set(now.get() + 1);
                most.set(most.get().max(now.get()));
                tokio::time::sleep(Duration::from_millis(2)).await;
                if before_first.get() == 0 {
                    before_first.set(now.get());
                }
                protocol.set(Some(found));
                now.set(now.get() - 1);
                index
            }
        });
        let answers = all(reads.collect(), || protocol.get()).await;
        assert_eq!(answers, (0..300).collect::<Vec<_>>());
        (most.get(), before_first.get())
    }

    #[tokio::test(start_paused = true)]
    async fn the_first_finds_out_whether_one_connection_does() {
        assert_eq!(run(None, true).await, (MULTIPLEXED.most, 1));
        assert_eq!(run(None, false).await, (Ramp::HTTP1.first, 1));
        assert_eq!(run(Some(true), true).await, (MULTIPLEXED.most, MULTIPLEXED.most));
    }
}

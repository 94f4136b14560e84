//! Many requests at once.

use futures_util::stream::{self, StreamExt as _};

/// So many are on their way at once over one connection. API servers take 100 streams and more.
const MULTIPLEXED: usize = 100;
/// So many where each needs a connection of its own.
const CONNECTIONS: usize = 24;

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
    let at_once = match is_multiplexed() {
        Some(true) => MULTIPLEXED,
        _ => CONNECTIONS,
    };
    let mut rest = stream::iter(reads).buffered(at_once);
    while let Some(answer) = rest.next().await {
        answers.push(answer);
    }
    answers
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;
    use std::time::Duration;

    use super::*;

    /// How many of 300 ran at once at most, and how many before the first was answered.
    async fn run(known: Option<bool>, found: bool) -> (usize, usize) {
        let (now, most, before_first, protocol) = (Cell::new(0), Cell::new(0), Cell::new(0), Cell::new(known));
        let reads = (0..300).map(|index| {
            let (now, most, before_first, protocol) = (&now, &most, &before_first, &protocol);
            async move {
                now.set(now.get() + 1);
                most.set(most.get().max(now.get()));
                tokio::time::sleep(Duration::from_millis(20)).await;
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
        assert_eq!(run(None, true).await, (MULTIPLEXED, 1));
        assert_eq!(run(None, false).await, (CONNECTIONS, 1));
        assert_eq!(run(Some(true), true).await, (MULTIPLEXED, MULTIPLEXED));
    }
}

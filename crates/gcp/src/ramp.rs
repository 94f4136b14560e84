//! How many requests are on their way at once.

use std::time::Duration;

use futures_util::stream::{FuturesUnordered, StreamExt as _};
use tokio::time::{Instant, timeout_at};

/// So many are sent at first. Over HTTP/1.1 each needs a connection, and a server that is near answers the same number
/// of requests sooner on few connections than on many.
const FIRST: usize = 24;
/// So many are sent at once when nothing is answered soon: then it is the way that takes time, not the server.
const MOST: usize = 128;
/// How soon is soon. Less than two round trips to another city, more than a server nearby needs for the first answer.
const SOON: Duration = Duration::from_millis(6);

/// Runs all reads and gives their answers in the order of the reads.
pub(crate) async fn all<F: Future>(reads: Vec<F>) -> Vec<F::Output> {
    let mut answers: Vec<Option<F::Output>> = reads.iter().map(|_| None).collect();
    let mut waiting = reads.into_iter().enumerate();
    let mut running = FuturesUnordered::new();
    let mut limit = FIRST;
    let mut judgement = Some(Instant::now() + SOON);
    loop {
        while running.len() < limit
            && let Some((index, read)) = waiting.next()
        {
            running.push(async move { (index, read.await) });
        }
        let next = match judgement {
            None => running.next().await,
            Some(at) => match timeout_at(at, running.next()).await {
                Ok(next) => next,
                Err(_) => {
                    judgement = None;
                    limit = MOST;
                    continue;
                }
            },
        };
        match next {
            None => return answers.into_iter().flatten().collect(),
            Some((index, answer)) => {
                answers[index] = Some(answer);
                judgement = None;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use super::*;

    /// The answers to 300 reads that take `time` each, and how many ran at once at most.
    async fn run(time: Duration) -> (Vec<usize>, usize) {
        let (now, most) = (AtomicUsize::new(0), AtomicUsize::new(0));
        let reads = (0..300).map(|index| {
            let (now, most) = (&now, &most);
            async move {
                most.fetch_max(now.fetch_add(1, Ordering::SeqCst) + 1, Ordering::SeqCst);
                tokio::time::sleep(time).await;
                now.fetch_sub(1, Ordering::SeqCst);
                index
            }
        });
        let answers = all(reads.collect()).await;
        (answers, most.into_inner())
    }

    #[tokio::test(start_paused = true)]
    async fn a_server_that_is_near_gets_few_at_once_and_one_that_is_far_many() {
        let in_order: Vec<usize> = (0..300).collect();
        assert_eq!(run(Duration::from_millis(1)).await, (in_order.clone(), FIRST));
        assert_eq!(run(Duration::from_millis(20)).await, (in_order, MOST));
    }

    #[tokio::test(start_paused = true)]
    async fn nothing_to_read_is_no_answer() {
        assert!(all(Vec::<std::future::Ready<()>>::new()).await.is_empty());
    }
}

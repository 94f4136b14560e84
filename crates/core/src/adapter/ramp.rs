//! How many requests are on their way at once.

use std::pin::pin;
use std::time::Duration;

use futures_util::future::{Either, select};
use futures_util::stream::{FuturesUnordered, StreamExt as _};
use tokio::time::{Instant, timeout_at};

/// How many reads of a service without a batch call are sent at once: few to a server that is near, many to one that is
/// far.
#[derive(Debug, Clone, Copy)]
pub struct Ramp {
    /// So many are sent at first.
    pub first: usize,
    /// So many are sent at once when nothing is answered [`soon`](Self::soon): then it is the way that takes time, not the
    /// server.
    pub most: usize,
    /// How soon is soon. More than a server nearby needs for its first answer.
    pub soon: Duration,
}

impl Ramp {
    /// For HTTP/1.1 without TLS or with it, where each request on its way needs a connection: a server that is near answers
    /// the same number of requests sooner on few connections than on many. `soon` is less than two round trips to another
    /// city. Measured, see the benchmarks.
    pub const HTTP1: Self = Self {
        first: 24,
        most: 128,
        soon: Duration::from_millis(6),
    };

    /// Runs all reads and gives their answers in the order of the reads. Needs a Tokio runtime with time.
    pub async fn all<F: Future>(&self, reads: Vec<F>) -> Vec<F::Output> {
        self.all_with_sign(reads, std::future::pending()).await
    }

    /// The same, where something may tell sooner than the first answer that the server is near. Nobody waits for the sign: it
    /// need never come.
    pub async fn all_with_sign<F: Future>(&self, reads: Vec<F>, sign: impl Future<Output = ()>) -> Vec<F::Output> {
        let mut sign = pin!(sign);
        let mut answers: Vec<Option<F::Output>> = reads.iter().map(|_| None).collect();
        let mut waiting = reads.into_iter().enumerate();
        let mut running = FuturesUnordered::new();
        let mut limit = self.first;
        let mut judgement = Some(Instant::now() + self.soon);
        loop {
            while running.len() < limit
                && let Some((index, read)) = waiting.next()
            {
                running.push(async move { (index, read.await) });
            }
            let next = match judgement {
                None => running.next().await,
                Some(at) => match timeout_at(at, select(running.next(), sign.as_mut())).await {
                    Ok(Either::Left((next, _))) => next,
                    Ok(Either::Right(_)) => {
                        judgement = None;
                        continue;
                    }
                    Err(_) => {
                        judgement = None;
                        limit = self.most;
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
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use super::*;

    /// The answers to 300 reads that take `time` each, and how many ran at once at most.
    async fn run(time: Duration) -> (Vec<usize>, usize) {
        run_with_sign(time, std::future::pending()).await
    }

    async fn run_with_sign(time: Duration, sign: impl Future<Output = ()>) -> (Vec<usize>, usize) {
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
        let answers = Ramp::HTTP1.all_with_sign(reads.collect(), sign).await;
        (answers, most.into_inner())
    }

    #[tokio::test(start_paused = true)]
    async fn a_server_that_is_near_gets_few_at_once_and_one_that_is_far_many() {
        let in_order: Vec<usize> = (0..300).collect();
        assert_eq!(run(Duration::from_millis(1)).await, (in_order.clone(), Ramp::HTTP1.first));
        assert_eq!(run(Duration::from_millis(20)).await, (in_order, Ramp::HTTP1.most));
    }

    #[tokio::test(start_paused = true)]
    async fn a_sign_in_time_means_that_the_server_is_near_and_one_that_never_comes_is_not_waited_for() {
        let slow = Duration::from_millis(20);
        let in_time = tokio::time::sleep(Ramp::HTTP1.soon / 2);
        assert_eq!(run_with_sign(slow, in_time).await.1, Ramp::HTTP1.first);
        let late = tokio::time::sleep(Ramp::HTTP1.soon * 2);
        assert_eq!(run_with_sign(slow, late).await.1, Ramp::HTTP1.most);
        assert_eq!(run_with_sign(slow, std::future::pending()).await.0.len(), 300);
    }

    #[tokio::test(start_paused = true)]
    async fn nothing_to_read_is_no_answer() {
        let nothing = Vec::<std::future::Ready<()>>::new();
        assert!(Ramp::HTTP1.all(nothing).await.is_empty());
    }
}

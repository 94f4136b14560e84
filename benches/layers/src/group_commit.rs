//! A group commit that does nothing else: nobody who has one sync for many can be faster.

use std::fs::OpenOptions;
use std::io::Write as _;
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use tokio::sync::oneshot;

use crate::Outcome;

#[derive(Default)]
struct Queue {
    state: Mutex<State>,
    wake: Condvar,
}

#[derive(Default)]
struct State {
    waiting: Vec<oneshot::Sender<()>>,
    /// The thread sleeps until so many wait.
    wanted: usize,
    is_closing: bool,
}

impl Queue {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    async fn wait(&self) {
        let (done, kept) = oneshot::channel();
        let is_wanted = {
            let mut state = self.state();
            state.waiting.push(done);
            state.waiting.len() == state.wanted
        };
        if is_wanted {
            self.wake.notify_one();
        }
        let _ = kept.await;
    }

    /// Waits for so many, or for a time, or until all is to end, which it returns.
    fn gather(&self, wanted: usize, time: Duration) -> bool {
        let mut state = self.state();
        state.wanted = wanted;
        let waits = |state: &mut State| state.waiting.len() < wanted && !state.is_closing;
        let wait = self.wake.wait_timeout_while(state, time, waits);
        state = wait.unwrap_or_else(PoisonError::into_inner).0;
        state.wanted = usize::MAX;
        state.is_closing
    }

    /// Appends a line for each who waits, syncs, and wakes them; the next ones when as many have come, or half the time is
    /// over that this took.
    fn run(&self, path: &Path, line: usize) -> std::io::Result<()> {
        let mut file = OpenOptions::new().append(true).create(true).open(path)?;
        let (mut size, mut took) = (0, Duration::ZERO);
        let mut text = Vec::new();
        while !self.gather(1, Duration::from_secs(1)) {
            self.gather(size, took / 2);
            let waiting = std::mem::take(&mut self.state().waiting);
            size = waiting.len();
            text.resize(line * size, b'x');
            let start = Instant::now();
            file.write_all(&text)?;
            file.sync_data()?;
            took = start.elapsed();
            for reader in waiting {
                // Who has gone needs no answer.
                let _ = reader.send(());
            }
        }
        Ok(())
    }
}

/// How many times in a second so many tasks together get through it, each with lines of so many bytes.
pub(crate) fn rate(place: &Path, tasks: usize, line: usize, time: Duration) -> Outcome<f64> {
    let queue = Arc::new(Queue::default());
    let (for_thread, path) = (Arc::clone(&queue), place.join("bare"));
    let thread = thread::spawn(move || for_thread.run(&path, line));
    let runtime = tokio::runtime::Builder::new_multi_thread().build()?;
    let (count, elapsed) = runtime.block_on(async {
        let count = Arc::new(AtomicU64::new(0));
        let start = Instant::now();
        let tasks: Vec<_> = (0..tasks)
            .map(|_| {
                let (queue, count) = (Arc::clone(&queue), Arc::clone(&count));
                tokio::spawn(async move {
                    while start.elapsed() < time {
                        queue.wait().await;
                        count.fetch_add(1, Ordering::Relaxed);
                    }
                })
            })
            .collect();
        for task in tasks {
            task.await?;
        }
        Ok::<_, tokio::task::JoinError>((count.load(Ordering::Relaxed), start.elapsed()))
    })?;
    queue.state().is_closing = true;
    queue.wake.notify_one();
    thread.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))?;
    Ok(count as f64 / elapsed.as_secs_f64())
}

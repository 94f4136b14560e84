//! How slow the line between the proxy and the client is.

use std::io;
use std::time::Duration;

use tokio::sync::mpsc;
use tokio::task::{AbortHandle, JoinHandle};
use tokio::time::Instant;

use super::stream::Quiet;

/// How many pieces may be under way at once, so that a reader that doesn't read stops the writer.
const MOST_UNDER_WAY: usize = 256;

/// A line's delay and width. The default is as fast as the machine.
///
/// Half of the round-trip time is added to each direction, so a request and its answer cost one. A connection costs one more, as
/// a handshake over a real network would: connecting itself can't be delayed from user space, so what a client sends
/// before it got its first byte is held back instead. With TLS it costs two more, one of them for the handshake. Timers are a millisecond coarse, and never early.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Line {
    round_trip: Duration,
    bytes_per_second: Option<u32>,
}

impl Line {
    /// A line with this round-trip time.
    #[must_use]
    pub fn round_trip(round_trip: Duration) -> Self {
        Self {
            round_trip,
            bytes_per_second: None,
        }
    }

    /// The same, carrying at most so many bytes per second in each direction of each connection.
    #[must_use]
    pub fn bytes_per_second(mut self, limit: u32) -> Self {
        self.bytes_per_second = Some(limit.max(1));
        self
    }

    pub(super) fn is_fast(self) -> bool {
        self == Self::default()
    }

    /// How long it takes until both sides have shaken hands over TLS, and the connection that it needs.
    pub(super) fn handshake(self) -> Duration {
        self.round_trip * 2
    }

    /// How long bytes are under way from the server to the client.
    pub(super) fn down(self) -> Duration {
        self.round_trip / 2
    }

    /// How long bytes are under way from the client to the server; `opening` until the client got its first byte.
    pub(super) fn up(self, opening: bool) -> Duration {
        let half = self.round_trip / 2;
        if opening { half + self.round_trip } else { half }
    }
}

/// Where bytes leave the proxy, in order, each when its time has come.
#[derive(Debug)]
pub(super) enum Outlet {
    Direct(Quiet),
    Delayed(mpsc::Sender<Parcel>, Delivery),
}

impl Outlet {
    pub(super) fn new(half: Quiet, line: Line) -> Self {
        if line.is_fast() {
            return Self::Direct(half);
        }
        let (sender, parcels) = mpsc::channel(MOST_UNDER_WAY);
        let task = tokio::spawn(deliver(half, parcels, line.bytes_per_second));
        Self::Delayed(sender, Delivery(task.abort_handle(), Some(task)))
    }

    /// Sends bytes that are under way for `delay`.
    pub(super) async fn send(&mut self, bytes: &[u8], delay: Duration) -> io::Result<()> {
        match self {
            Self::Direct(half) => half.write(bytes).await,
            Self::Delayed(parcels, _) => {
                let parcel = Parcel {
                    due: Instant::now() + delay,
                    bytes: bytes.to_vec(),
                };
                parcels.send(parcel).await.map_err(|_| io::ErrorKind::BrokenPipe.into())
            }
        }
    }

    /// Says, after everything that was sent, that nothing more comes.
    pub(super) async fn end(&mut self) {
        match self {
            Self::Direct(half) => half.end().await,
            // Dropping the sender would end the task without a word.
            Self::Delayed(parcels, _) => {
                let end = Parcel {
                    due: Instant::now(),
                    bytes: Vec::new(),
                };
                // A task that has ended has nothing to say it to.
                let _ = parcels.send(end).await;
            }
        }
    }

    /// Waits until everything is sent; says then that nothing more comes, if `end`.
    pub(super) async fn finish(self, end: bool) -> Option<Quiet> {
        let mut half = match self {
            Self::Direct(half) => half,
            Self::Delayed(parcels, mut delivery) => {
                drop(parcels);
                let task = delivery.1.take()?;
                task.await.ok()?
            }
        };
        if end {
            half.end().await;
        }
        Some(half)
    }
}

/// Bytes and when they arrive; no bytes are the end.
#[derive(Debug)]
pub(super) struct Parcel {
    due: Instant,
    bytes: Vec<u8>,
}

/// The task that delivers parcels; stops with its owner.
#[derive(Debug)]
pub(super) struct Delivery(AbortHandle, Option<JoinHandle<Quiet>>);

impl Drop for Delivery {
    fn drop(&mut self) {
        // One that was waited for has ended.
        self.0.abort();
    }
}

async fn deliver(mut half: Quiet, mut parcels: mpsc::Receiver<Parcel>, bytes_per_second: Option<u32>) -> Quiet {
    // When the line is free again.
    let mut free = Instant::now();
    while let Some(parcel) = parcels.recv().await {
        let mut due = parcel.due;
        if let Some(limit) = bytes_per_second {
            let seconds = parcel.bytes.len() as f64 / f64::from(limit);
            due = due.max(free) + Duration::from_secs_f64(seconds);
            free = due;
        }
        tokio::time::sleep_until(due).await;
        if parcel.bytes.is_empty() {
            half.end().await;
        } else if half.write(&parcel.bytes).await.is_err() {
            break;
        }
    }
    half
}

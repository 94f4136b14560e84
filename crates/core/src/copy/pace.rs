//! A bound on how many writes begin in a second.

use std::num::NonZeroU32;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

/// Gives turns, evenly spread: no burst follows a pause.
pub(super) struct Pace(Option<(Duration, Mutex<Option<Instant>>)>);

impl Pace {
    pub(super) fn new(rate: Option<NonZeroU32>) -> Self {
        Self(rate.map(|rate| (Duration::from_secs(1) / rate.get(), Mutex::default())))
    }

    /// Waits for the next turn.
    pub(super) async fn turn(&self) {
        let Some((distance, next)) = &self.0 else { return };
        let at = {
            let mut next = next.lock().unwrap_or_else(PoisonError::into_inner);
            let at = next.map_or_else(Instant::now, |next| next.max(Instant::now()));
            *next = Some(at + *distance);
            at
        };
        tokio::time::sleep_until(at).await;
    }
}

//! Waiting for what the vault finishes by itself.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

use crate::names::AzureName;

/// The first pause, and the longest.
const FIRST: Duration = Duration::from_millis(100);
const LONGEST: Duration = Duration::from_secs(2);

/// Pauses that grow, until the time is up.
pub(super) struct Pauses {
    end: Instant,
    next: Duration,
}

impl Pauses {
    pub(super) fn until(time: Duration) -> Self {
        Self {
            end: Instant::now() + time,
            next: FIRST,
        }
    }

    /// The vault asks for a longer one.
    pub(super) fn at_least(&mut self, pause: Duration) {
        self.next = self.next.max(pause);
    }

    /// Waits a little; `false` at once when there is no time for it.
    pub(super) async fn pause(&mut self) -> bool {
        if Instant::now() + self.next > self.end {
            return false;
        }
        tokio::time::sleep(self.next).await;
        self.next = (self.next * 3 / 2).min(LONGEST);
        true
    }
}

/// What this store has purged and what may not be gone yet.
#[derive(Default)]
pub(super) struct Purged(Mutex<HashMap<String, Instant>>);

impl Purged {
    pub(super) fn note(&self, place: &AzureName) {
        let mut purged = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if purged.len() >= MANY {
            let recently = Instant::now() - LONG;
            purged.retain(|_, when| *when > recently);
        }
        purged.insert(key(place), Instant::now());
    }

    pub(super) fn forget(&self, place: &AzureName) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).remove(&key(place));
    }

    /// Pauses within `time` of the purge; `None` for what was not purged.
    pub(super) fn until_free(&self, place: &AzureName, time: Duration) -> Option<Pauses> {
        let purged = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        purged.get(&key(place)).map(|when| Pauses {
            end: *when + time,
            next: FIRST,
        })
    }
}

/// Names that are the same to a vault are the same here.
fn key(place: &AzureName) -> String {
    place.as_str().to_ascii_lowercase()
}

/// From so many on, what was purged long ago is forgotten.
const MANY: usize = 1024;
const LONG: Duration = Duration::from_secs(600);

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn pauses_grow_and_end_in_time() {
        let begin = Instant::now();
        let mut pauses = Pauses::until(Duration::from_secs(10));
        let mut count = 0;
        while pauses.pause().await {
            count += 1;
        }
        assert!(
            begin.elapsed() <= Duration::from_secs(10) && (8..16).contains(&count),
            "{count}"
        );
        let mut pauses = Pauses::until(Duration::from_secs(10));
        pauses.at_least(Duration::from_secs(60));
        assert!(!pauses.pause().await, "it waits longer than it may");
    }

    #[tokio::test(start_paused = true)]
    async fn only_what_was_purged_lately_is_waited_for() {
        let (purged, time) = (Purged::default(), Duration::from_secs(5));
        let place = |text| AzureName::parse(text).unwrap();
        purged.note(&place("Db"));
        assert!(purged.until_free(&place("db"), time).is_some());
        assert!(purged.until_free(&place("db2"), time).is_none());
        tokio::time::sleep(time).await;
        assert!(!purged.until_free(&place("db"), time).unwrap().pause().await);
        purged.forget(&place("DB"));
        assert!(purged.until_free(&place("db"), time).is_none());
    }
}

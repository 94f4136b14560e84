//! Counters by kind of error.

use std::sync::OnceLock;

use ::metrics::Counter;

use crate::error::ErrorKind;

/// A counter for each kind, made when the kind is first met: most never are.
#[derive(Debug)]
pub(crate) struct ByKind([OnceLock<Counter>; ErrorKind::ALL.len()]);

impl Default for ByKind {
    fn default() -> Self {
        Self(std::array::from_fn(|_| OnceLock::new()))
    }
}

impl ByKind {
    /// Counts one; `make` gives the counter of this kind.
    pub(crate) fn count(&self, kind: ErrorKind, make: impl FnOnce(ErrorKind) -> Counter) {
        if let Some(place) = ErrorKind::ALL.iter().position(|known| *known == kind) {
            self.0[place].get_or_init(|| make(kind)).increment(1);
        }
    }
}

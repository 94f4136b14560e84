//! A share of a gauge.

use ::metrics::Gauge;

/// What one owner adds to a gauge, taken back when it goes: two stores that share labels make a sum, where setting the gauge
/// would let the last one win.
pub(crate) struct Share {
    gauge: Gauge,
    now: usize,
}

impl Share {
    /// Nothing so far.
    pub(crate) fn new(gauge: Gauge) -> Self {
        Self { gauge, now: 0 }
    }

    /// It is this much now.
    pub(crate) fn set(&mut self, now: usize) {
        if now != self.now {
            self.gauge.increment(float(now) - float(self.now));
            self.now = now;
        }
    }
}

impl Drop for Share {
    fn drop(&mut self) {
        self.set(0);
    }
}

impl std::fmt::Debug for Share {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.now.fmt(f)
    }
}

#[expect(clippy::cast_precision_loss, reason = "exact up to 2^53, and a gauge is a float")]
fn float(number: usize) -> f64 {
    number as f64
}

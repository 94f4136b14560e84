//! How many retries a store gets, so that an outage is not multiplied.

use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use super::RetryOptions;

/// So many retries and hedges may come at once after a quiet time.
pub(super) const BURST: f64 = 10.0;

/// Sums of tenths are a little off.
const ALMOST: f64 = 1e-9;

/// A token bucket that calls and time fill, and retries and hedges empty.
#[derive(Debug, Default)]
pub(super) struct Budget(Mutex<Bucket>);

#[derive(Debug, Default)]
struct Bucket {
    /// `None` before the first call: full.
    tokens: Option<f64>,
    filled: Duration,
}

impl Budget {
    /// Pays in for a call.
    pub(super) fn pay_in(&self, options: &RetryOptions, now: Duration) {
        self.change(options, now, |tokens| *tokens += options.budget);
    }

    /// Takes what a retry or a hedge costs, if it is there.
    pub(super) fn take(&self, options: &RetryOptions, now: Duration) -> bool {
        self.change(options, now, |tokens| {
            let enough = *tokens >= 1.0 - ALMOST;
            if enough {
                *tokens -= 1.0;
            }
            enough
        })
    }

    fn change<T>(&self, options: &RetryOptions, now: Duration, change: impl FnOnce(&mut f64) -> T) -> T {
        let most = match options.budget + options.budget_per_second > 0.0 {
            true => BURST,
            false => 0.0,
        };
        let mut bucket = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let since = now.saturating_sub(bucket.filled).as_secs_f64();
        bucket.filled = bucket.filled.max(now);
        let mut tokens = (bucket.tokens.unwrap_or(most) + since * options.budget_per_second).min(most);
        let changed = change(&mut tokens);
        bucket.tokens = Some(tokens.min(most));
        changed
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn options(budget: f64, budget_per_second: f64) -> RetryOptions {
        RetryOptions {
            budget,
            budget_per_second,
            ..RetryOptions::default()
        }
    }

    fn take_all(budget: &Budget, options: &RetryOptions, now: Duration) -> usize {
        (0..1000).take_while(|_| budget.take(options, now)).count()
    }

    #[test]
    fn ten_calls_pay_for_one_retry_and_no_more_than_a_burst_is_saved() {
        let (budget, options) = (Budget::default(), options(0.1, 0.0));
        assert_eq!(take_all(&budget, &options, Duration::ZERO), 10);
        for _ in 0..9 {
            budget.pay_in(&options, Duration::ZERO);
        }
        assert!(!budget.take(&options, Duration::ZERO));
        budget.pay_in(&options, Duration::ZERO);
        assert_eq!(take_all(&budget, &options, Duration::ZERO), 1);
        for _ in 0..10_000 {
            budget.pay_in(&options, Duration::ZERO);
        }
        assert_eq!(take_all(&budget, &options, Duration::from_secs(1000)), 10);
    }

    #[test]
    fn time_pays_too_and_never_backwards() {
        let (budget, options) = (Budget::default(), options(0.0, 2.0));
        assert_eq!(take_all(&budget, &options, Duration::from_secs(5)), 10);
        assert_eq!(take_all(&budget, &options, Duration::from_secs(6)), 2);
        assert_eq!(take_all(&budget, &options, Duration::from_secs(1)), 0);
        assert_eq!(take_all(&budget, &options, Duration::from_millis(6400)), 0);
        assert_eq!(take_all(&budget, &options, Duration::from_millis(6500)), 1);
    }

    #[test]
    fn without_a_budget_there_are_no_retries() {
        let (budget, options) = (Budget::default(), options(0.0, 0.0));
        budget.pay_in(&options, Duration::from_secs(100));
        assert!(!budget.take(&options, Duration::from_secs(100)));
    }
}

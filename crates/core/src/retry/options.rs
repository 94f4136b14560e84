//! How often, how long, how much.

use std::time::Duration;

use crate::error::{Error, ErrorKind, Result};

/// How a [`RetryLayer`](super::RetryLayer) retries.
#[derive(Debug, Clone, PartialEq)]
pub struct RetryOptions {
    /// How often a call is sent at most, the first time included. At least 1, which means no retries. Default 4.
    pub attempts: u32,
    /// The longest pause before the second attempt; it doubles with each further one. Default 100 ms.
    pub base: Duration,
    /// The longest pause before any attempt, unless the store itself asks for more. Default 5 s.
    pub cap: Duration,
    /// How long a call takes at most, its pauses included. Default 30 s.
    pub deadline: Duration,
    /// How many retries and hedges each call pays for, 0 to 1: 0.1 allows one to ten calls. Default 0.1.
    pub budget: f64,
    /// How many retries and hedges each second pays for, so that who calls seldom can retry too. Default 1.
    pub budget_per_second: f64,
    /// Whether a read that takes longer than 95 % of those before it is sent a second time. Default no.
    pub hedge: bool,
}

impl Default for RetryOptions {
    fn default() -> Self {
        Self {
            attempts: 4,
            base: Duration::from_millis(100),
            cap: Duration::from_secs(5),
            deadline: Duration::from_secs(30),
            budget: 0.1,
            budget_per_second: 1.0,
            hedge: false,
        }
    }
}

impl RetryOptions {
    /// Whether a layer can be set up like that.
    ///
    /// # Errors
    /// `InvalidConfig`, saying which option can't be.
    pub fn check(&self) -> Result<()> {
        let problem = if self.attempts == 0 {
            "`attempts` must be at least 1"
        } else if self.base > self.cap {
            "`base` must not be longer than `cap`"
        } else if self.deadline.is_zero() {
            "`deadline` must be longer than nothing"
        } else if !(0.0..=1.0).contains(&self.budget) {
            "`budget` must be from 0 to 1"
        } else if !(0.0..=1000.0).contains(&self.budget_per_second) {
            "`budget_per_second` must be from 0 to 1000"
        } else {
            return Ok(());
        };
        Err(Error::new(
            ErrorKind::InvalidConfig,
            format!("retries can't be set up like that: {problem}"),
        ))
    }
}

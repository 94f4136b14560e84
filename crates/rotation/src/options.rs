//! How a rotation goes.

use std::time::Duration;

use keyfob_core::Reason;

/// How a rotation goes.
#[derive(Debug, Clone)]
pub struct RotationOptions {
    /// How long the old value stays valid after the new one has become current. One hour by default; zero revokes at once.
    pub grace: Duration,
    /// Whether a call waits for the end of the grace period. Without it, it returns at the beginning of it, and a
    /// [`resume`](crate::Rotation::resume) after its end revokes the old value. False by default.
    pub wait: bool,
    /// Whether the grace period of an *earlier* rotation is cut short. Without it, a new rotation during it is refused as
    /// `Conflict`. False by default.
    pub end_grace: bool,
    /// How often the [`Drain`](crate::Drain) is asked, where a call waits. Five seconds by default.
    pub drain_poll: Duration,
    /// How long a new value may be used, where the store keeps an expiry. `None`, the default, leaves the expiry of the secret as
    /// it is.
    pub expires_after: Option<Duration>,
    /// How many runs may fail before the switch, with errors that could pass, until the rotation is rolled back. Three by default.
    pub attempts: u32,
    /// How long one call of a rotator or a [`Drain`](crate::Drain) may take. Five minutes by default.
    pub step_limit: Duration,
    /// How long a lease lasts after each renewal; it is renewed every third of that. After a crash nobody can go on before it is
    /// over. One minute by default.
    pub lease: Duration,
    /// By how much the clocks of those who rotate may differ: a lease is taken over only so long after its end. Five seconds by
    /// default.
    pub clock_skew: Duration,
    /// What stands in front of the reason of every access of the store, for its audit records.
    pub reason: Option<Reason>,
}

impl Default for RotationOptions {
    fn default() -> Self {
        Self {
            grace: Duration::from_secs(3600),
            wait: false,
            end_grace: false,
            drain_poll: Duration::from_secs(5),
            expires_after: None,
            attempts: 3,
            step_limit: Duration::from_secs(300),
            lease: Duration::from_secs(60),
            clock_skew: Duration::from_secs(5),
            reason: None,
        }
    }
}

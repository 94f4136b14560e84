//! What is left of the time of a call that did something else before.
//!
//! The deadline of a call is the retry layer's, and counts from where that begins. A layer over it that has waited for
//! something else already runs the rest of the call [`within`] what is left, so that there is one deadline for all of it.

use std::time::Duration;

tokio::task_local! {
    static LEFT: Duration;
}

/// Runs the rest of a call of which this much time is left.
pub(crate) async fn within<F: Future>(left: Duration, rest: F) -> F::Output {
    LEFT.scope(left, rest).await
}

/// How long a call that begins here takes at most, if it is allowed `deadline` on its own.
pub(crate) fn left_of(deadline: Duration) -> Duration {
    LEFT.try_with(|left| deadline.min(*left)).unwrap_or(deadline)
}

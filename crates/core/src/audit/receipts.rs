//! The wait for what sinks promise to keep.

use std::pin::pin;
use std::time::Duration;

use futures_util::FutureExt as _;
use futures_util::future::{Either, select};

use super::AuditLayer;
use crate::backend::BoxFuture;
use crate::error::{Error, ErrorKind, Result};

/// What the sinks that have to be waited for said of one record.
pub(super) type Receipts = Vec<BoxFuture<'static, Result<()>>>;

/// Waits for every receipt, and gives the first error.
async fn all(receipts: Receipts) -> Result<()> {
    let mut kept = Ok(());
    for receipt in receipts {
        kept = kept.and(receipt.await);
    }
    kept
}

/// The same, but not beyond the deadline of an access that waits `since` then, or from now on: `None` when that passes.
async fn in_time(layer: &AuditLayer, since: Option<Duration>, receipts: Receipts) -> Option<Result<()>> {
    let Some(deadline) = layer.deadline else {
        return Some(all(receipts).await);
    };
    let gone = since.map_or(Duration::ZERO, |since| layer.clock.now().saturating_sub(since));
    let left = deadline.saturating_sub(gone);
    if left.is_zero() {
        return all(receipts).now_or_never();
    }
    // The receipts are polled first: what is kept already needs no timer.
    let end = async { layer.clock.sleep(left).await };
    match select(pin!(all(receipts)), pin!(end)).await {
        Either::Left((kept, _)) => Some(kept),
        Either::Right(_) => None,
    }
}

/// Hands the answer out once every receipt is there, or withholds it.
pub(super) async fn settle<T>(
    layer: &AuditLayer,
    since: Option<Duration>,
    receipts: Receipts,
    answer: Result<T>,
    is_write: bool,
) -> Result<T> {
    let Some(kept) = in_time(layer, since, receipts).await else {
        return withheld_for_now(layer, answer, is_write);
    };
    let lost = kept.err();
    let Some(lost) = lost else {
        return answer;
    };
    if answer.is_ok() {
        layer.withheld.increment(1);
    }
    let (kind, message) = match &answer {
        Ok(_) if is_write => (
            ErrorKind::Timeout,
            "the write was done, but its audit record could not be kept",
        ),
        Err(error) if is_write && error.kind() == ErrorKind::Timeout => (
            ErrorKind::Timeout,
            "the outcome of the write is unknown, and its audit record could not be kept",
        ),
        _ => (
            ErrorKind::Unavailable,
            "the answer is withheld, because the audit record of this access could not be kept",
        ),
    };
    let hint = lost.hint().unwrap_or("see to the audit log, then try again").to_owned();
    Err(Error::new(kind, message).with_hint(hint).with_source(lost))
}

/// The record is not kept when the deadline passes, and may still be later.
fn withheld_for_now<T>(layer: &AuditLayer, answer: Result<T>, is_write: bool) -> Result<T> {
    let message = match &answer {
        // It tells nothing of what was asked.
        Err(error) if error.kind() == ErrorKind::Timeout => return answer,
        Ok(_) if is_write => "the write was done, but its audit record is not kept within the deadline",
        Err(_) if is_write => "what became of the write is withheld, because its audit record is not kept within the deadline",
        _ => "the answer is withheld, because the audit record of this access is not kept within the deadline",
    };
    if answer.is_ok() {
        layer.withheld.increment(1);
    }
    let error = Error::new(ErrorKind::Timeout, message);
    Err(match layer.sinks.iter().find_map(|sink| sink.delay()) {
        Some(delay) => {
            let hint = delay.hint().unwrap_or(SEE_TO_IT).to_owned();
            error.with_hint(hint).with_source(delay)
        }
        None => error.with_hint(SEE_TO_IT),
    })
}

const SEE_TO_IT: &str = "the audit log is slow, or another process holds it: see to it, then try again";

//! A place for a value for the time of a rotation.
//!
//! It is never deleted, only emptied: a name that is free again could be created by a run that was paused before it was
//! free, and only what stays can be compared with.

use keyfob_core::{Change, Error, ErrorKind, Result, SecretValue};

use crate::hold::Hold;
use crate::place::{Place, Seen, Written};

/// What an empty slot begins with; a number follows that makes every emptying another value.
const EMPTY: &str = "keyfob-rotation: empty since ";

/// The value in a slot, if there is one.
pub(crate) fn filled(seen: Option<&Seen>) -> Option<&SecretValue> {
    seen.map(|seen| &seen.value).filter(|value| !is_empty(value))
}

/// Whether these are the bytes of an empty slot.
pub(crate) fn is_empty(value: &SecretValue) -> bool {
    value.expose_secret().starts_with(EMPTY.as_bytes())
}

/// Takes out what is in the slot, so that no write that was begun before can fill it any more. `known` is what this run has put there.
pub(crate) async fn empty(slot: &Place, hold: &Hold, known: Option<Seen>) -> Result<()> {
    let mut seen = match known {
        Some(known) => Some(known),
        None => slot.read().await?,
    };
    let value = SecretValue::from(format!("{EMPTY}{}", hold.fence()));
    // A run that was paused may get in between once for each of its writes.
    for _ in 0..4 {
        if seen.as_ref().is_some_and(|seen| seen.holds(&value)) {
            return Ok(());
        }
        // Asked between reading and writing: what was read while the lease was ours is no longer there once another has it.
        match slot.write(seen.as_ref(), &value, Change::Keep, &|| hold.check()).await? {
            Written::Done(_) => return Ok(()),
            Written::Lost(now) => seen = now,
        }
    }
    Err(Error::new(ErrorKind::Conflict, "somebody else keeps writing to a reserved name").with("name", slot.name.as_str()))
}

/// Puts a value into the slot, unless one is in it. Returns what is in it.
pub(crate) async fn fill(slot: &Place, seen: Option<&Seen>, value: &SecretValue, hold: &Hold) -> Result<Seen> {
    match slot.write(seen, value, Change::Keep, &|| hold.check()).await? {
        Written::Done(now) => Ok(now),
        Written::Lost(now) => match now {
            Some(now) if !is_empty(&now.value) => Ok(now),
            _ => Err(Error::new(ErrorKind::Conflict, "somebody else emptied a reserved name").with("name", slot.name.as_str())),
        },
    }
}

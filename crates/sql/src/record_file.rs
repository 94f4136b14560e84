//! The file in the user's state directory in which the newest state of a store is remembered.

use keyfob_core::adapter::Remembering;

/// What it remembers.
pub(crate) const RECORD: Remembering = Remembering {
    record: "the record of the store's newest generation",
    unnoticed: "an older copy of the store file would not be noticed",
    trusted: "the store file",
};

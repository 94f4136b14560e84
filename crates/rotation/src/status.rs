//! What is known of rotations.

use std::time::SystemTime;

use keyfob_core::{ErrorKind, Version};

use crate::journal::{Ended, Journal};
use crate::phase::Phase;
use crate::progress::Progress;

/// How far a call brought a rotation.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Outcome {
    /// There was nothing to do.
    Nothing,
    /// The new value is current, and the old one stays valid.
    Grace {
        /// The version of the new value; `None` on a store without versions' tokens.
        version: Option<Version>,
        /// Until when. A [`resume`](crate::Rotation::resume) after it revokes the old value.
        until: SystemTime,
    },
    /// The new value is current and the old one revoked.
    Completed {
        /// The version of the current value; `None` on a store without versions' tokens.
        version: Option<Version>,
    },
    /// The new value is withdrawn. It was never current.
    RolledBack,
    /// Somebody made the value current again that was to be revoked, so nothing was revoked.
    Superseded,
}

impl Outcome {
    /// The stable token of this outcome, for example `grace`.
    #[must_use]
    pub const fn as_str(&self) -> &'static str {
        match self {
            Self::Nothing => "nothing",
            Self::Grace { .. } => "grace",
            Self::Completed { .. } => "completed",
            Self::RolledBack => "rolled_back",
            Self::Superseded => "superseded",
        }
    }
}

/// What is known of the rotations of a secret.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct Status {
    /// The rotation that is under way.
    pub under_way: Option<UnderWayStatus>,
    /// The last one that is over.
    pub last: Option<LastStatus>,
    /// Who may go on alone, and until when. Past that time it means nothing.
    pub lease: Option<(String, SystemTime)>,
    /// The fencing number: how many leases there were.
    pub fence: u64,
}

/// A rotation that is under way.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct UnderWayStatus {
    /// Its id.
    pub id: String,
    /// The kind of its rotator.
    pub rotator: String,
    /// Where it is.
    pub phase: Phase,
    /// Whether it brings back the value from before.
    pub is_reversal: bool,
    /// When it began.
    pub started: SystemTime,
    /// Until when the old value stays valid, once that is known.
    pub grace_until: Option<SystemTime>,
    /// How many runs failed in this phase.
    pub attempts: u32,
    /// The kind of the last failure.
    pub failed: Option<ErrorKind>,
    /// The rotator's notes, sorted by key.
    pub data: Vec<(String, String)>,
}

/// A rotation that is over.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct LastStatus {
    /// Its id.
    pub id: String,
    /// The kind of its rotator.
    pub rotator: String,
    /// How it ended.
    pub ended: Ended,
    /// When.
    pub at: SystemTime,
    /// Why it was rolled back, where an error was the reason.
    pub failed: Option<ErrorKind>,
}

impl UnderWayStatus {
    /// How far the work is that this rotation does in portions, if it does any.
    #[must_use]
    pub fn progress(&self) -> Option<Progress> {
        Progress::noted(self.data.iter().map(|(key, note)| (key.as_str(), note.as_str())))
    }
}

impl From<Journal> for Status {
    fn from(journal: Journal) -> Self {
        Self {
            under_way: journal.under_way.map(|under_way| UnderWayStatus {
                id: under_way.id,
                rotator: under_way.rotator,
                phase: under_way.phase,
                is_reversal: under_way.reverse,
                started: under_way.started,
                grace_until: under_way.grace_until,
                attempts: under_way.attempts,
                failed: under_way.failed,
                data: under_way.data.into_iter().collect(),
            }),
            last: journal.last.map(|last| LastStatus {
                id: last.id,
                rotator: last.rotator,
                ended: last.ended,
                at: last.at,
                failed: last.failed,
            }),
            lease: journal.lease.map(|lease| (lease.holder, lease.until)),
            fence: journal.fence,
        }
    }
}

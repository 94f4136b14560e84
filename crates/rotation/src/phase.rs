//! Where a rotation is.

use std::fmt;

use serde::{Deserialize, Serialize};

/// Where a rotation is. What the phase names may have been done in whole, in part or not at all.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Phase {
    /// The new value is being made and put aside.
    Creating,
    /// The system that the secret is for is told of the new value.
    Setting,
    /// The new value is being tried.
    Testing,
    /// The new value is being made current. From here on a rotation only goes forward.
    Switching,
    /// The new value is current, and what has to follow is being done.
    Finishing,
    /// Both values are valid.
    Grace,
    /// The old value is being revoked.
    Revoking,
    /// The new value, which has not become current, is being withdrawn.
    RollingBack,
}

impl Phase {
    /// Every phase, in the order in which they come.
    pub const ALL: [Self; 8] = [
        Self::Creating,
        Self::Setting,
        Self::Testing,
        Self::Switching,
        Self::Finishing,
        Self::Grace,
        Self::Revoking,
        Self::RollingBack,
    ];

    /// The stable token of this phase, for example `rolling_back`.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Creating => "creating",
            Self::Setting => "setting",
            Self::Testing => "testing",
            Self::Switching => "switching",
            Self::Finishing => "finishing",
            Self::Grace => "grace",
            Self::Revoking => "revoking",
            Self::RollingBack => "rolling_back",
        }
    }
}

impl fmt::Display for Phase {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_journal_says_what_everybody_else_says() {
        for phase in Phase::ALL {
            assert_eq!(serde_json::to_string(&phase).unwrap(), format!("\"{phase}\""));
        }
    }
}

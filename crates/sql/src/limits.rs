//! How much of the past a store keeps.

use std::time::Duration;

use keyfob_core::{Error, ErrorKind, Parameter, Result};

pub(crate) const DAY: Duration = Duration::from_secs(86_400);

/// The most versions of a secret that can be kept.
pub(crate) const MAX_VERSIONS: usize = 1000;

/// The parameter of a store's URL that says how many versions.
pub(crate) const VERSIONS: Parameter = Parameter {
    name: "versions",
    help: "how many versions of a secret are kept, 1 to 1000 (default 10)",
};

/// The parameter of a store's URL that says how long what is deleted.
pub(crate) const RECOVERY_DAYS: Parameter = Parameter {
    name: "recovery-days",
    help: "for how many days a deleted secret can be restored, 1 to 3650 (default 30)",
};

/// Checks what a configuration says of both.
pub(crate) fn check(keep_versions: usize, recovery_window: Duration) -> Result<()> {
    let invalid = |message| Err(Error::new(ErrorKind::InvalidConfig, message));
    if !(1..=MAX_VERSIONS).contains(&keep_versions) {
        return invalid("the number of versions to keep must be 1 to 1000");
    }
    if recovery_window < DAY || recovery_window > 3650 * DAY {
        return invalid("deleted secrets can be kept for 1 to 3650 days");
    }
    Ok(())
}

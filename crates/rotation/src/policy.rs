//! What is rotated when, and how: the file that a team writes.

mod around;
mod cron;
mod file;
mod made;
mod pass;
mod plan;
mod program;
mod schedule;
mod selector;
mod time;
mod window;

use std::path::Path;
use std::sync::Arc;

use keyfob_core::{Metadata, Result};

pub use cron::Cron;
pub use made::{ApiKeyPlan, Asked, DrainPlan, EndpointPlan, KeyringPlan, Made, PostgresRoles, RequestPlan, Rotators};
pub use pass::{Pass, Passed};
pub use plan::{Plan, Planned};
pub use schedule::{Frequency, History, Schedule};
pub use selector::Selector;
pub use window::Window;

use self::around::StagePlan;
use crate::external::RotationCommand;
use crate::options::RotationOptions;

/// The policies of a `rotation.yaml`.
///
/// ```
/// use keyfob_rotation::Policies;
///
/// let policies = Policies::parse(
///     r#"
/// zone: Europe/Berlin              # of windows and cron lines; UTC if left out
/// policies:
///   - name: sessions
///     secrets: [web/session, "web/csrf/*"]
///     every: 30d
///     jitter: 2h
///     window: { days: [sat, sun], from: "02:00", to: "05:00" }
///     grace: 12h
///     make: { base64_url: { bytes: 32 } }
/// "#,
/// )?;
/// assert_eq!(policies.iter().next().unwrap().name, "sessions");
/// # Ok::<(), keyfob_core::Error>(())
/// ```
///
/// | key | meaning |
/// |---|---|
/// | `name` | what plans and reports call the policy |
/// | `secrets` | names; with `/*` or `*` at the end, all that begin so |
/// | `tags` | tags that a secret must have, all of them, with these values |
/// | `every` | time from one rotation to the next: a number and `s`, `m`, `h`, `d` or `w` |
/// | `cron` | or: times, as [`Cron`] reads them |
/// | `max_age` | or: the most that a value may have lived, whoever wrote it |
/// | `jitter` | by how much at the most a rotation is put off, by the name of the secret |
/// | `window` | `days`, `from` and `to` of the times at which rotations may begin |
/// | `grace`, `expires_after`, `step_limit`, `attempts` | as in [`RotationOptions`] |
/// | `retry_after` | how long after a rotation was rolled back the next one begins; an hour if left out |
/// | `make` | how the new value is made, see [`Made`] |
/// | `validate` | a program whose `test` has to succeed too, before the new value is current: `run`, `allow`, `limit`, as of `command` |
/// | `stages` | shares of the consumers that get the new value first: `copies` (names that no policy is about; made where there is none), `wait`, `every`, `check` (a program), see [`Staged`](crate::Staged) |
/// | `drain` | who ends a grace period early: a `command` or an `endpoint`, which is asked whether the old value is still in use, or `sessions` for two roles of PostgreSQL; see [`Drain`](crate::Drain) |
/// | `notify` | a program that is told what became of each rotation, as JSON on its standard input: `protocol` (`keyfob-notice/1`), `policy`, `name`, `outcome`, `version`, `until`, `error` |
///
/// A policy without `every`, `cron` or `max_age` is never due: it says how its secrets are rotated when somebody asks.
/// Where several fit a secret, the first one counts.
#[derive(Debug, Clone)]
pub struct Policies(Vec<Arc<Policy>>);

/// How some secrets are rotated.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct Policy {
    /// What plans and reports call it.
    pub name: String,
    /// Which secrets.
    pub selector: Selector,
    /// When; `None` for only when somebody asks.
    pub schedule: Option<Schedule>,
    /// How a rotation goes.
    pub options: RotationOptions,
    /// How the new value is made.
    pub made: Made,
    /// Who knows whether the old value is still in use, so that the grace period can end early.
    pub drain: Option<DrainPlan>,
    /// The programs that it runs, as they stand in the file: a path is one from where the file is.
    pub programs: Vec<String>,
    validate: Option<RotationCommand>,
    stages: Vec<StagePlan>,
    notify: Option<RotationCommand>,
}

impl Policies {
    /// Reads a file's text.
    ///
    /// # Errors
    /// `InvalidConfig`, with the line, for what can't be understood: unknown keys, wrong times, two policies of one name.
    pub fn parse(yaml: &str) -> Result<Self> {
        file::parse(yaml, None).map(Self::of_all)
    }

    /// The same of a file in `directory`, from which the programs in it are started.
    ///
    /// # Errors
    /// As [`parse`](Self::parse).
    pub fn parse_in(directory: &Path, yaml: &str) -> Result<Self> {
        file::parse(yaml, Some(directory)).map(Self::of_all)
    }

    fn of_all(policies: Vec<Policy>) -> Self {
        Self(policies.into_iter().map(Arc::new).collect())
    }

    /// All of them, as they stand in the file.
    pub fn iter(&self) -> impl Iterator<Item = &Arc<Policy>> {
        self.0.iter()
    }

    /// The policy that counts for a secret: the first that fits it.
    #[must_use]
    pub fn of(&self, secret: &Metadata) -> Option<&Arc<Policy>> {
        self.0.iter().find(|policy| policy.selector.fits(secret))
    }
}

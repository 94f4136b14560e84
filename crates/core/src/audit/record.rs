//! What is known of one access.

use std::fmt;
use std::future::Future;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use crate::environment::Environment;
use crate::error::{Error, ErrorKind, Result};
use crate::scanner::floor_char_boundary;
use crate::secret::Freshness;
use crate::store::StoreInfo;
use crate::verb::Verb;

/// One access: who, what, when, and what came of it. Never a value.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct AuditRecord {
    /// When the access began.
    pub time: SystemTime,
    /// Who accessed.
    pub actor: Arc<Actor>,
    /// What was asked.
    pub verb: Verb,
    /// The secret's name, or for a listing the prefix; what a mask made of it where names are masked. `None` for a listing of
    /// everything.
    pub name: Option<Arc<str>>,
    /// The version that was handed out or written; where there is none, the one that was asked for (`previous` or the store's
    /// token). `None` where nothing but the current one was asked for.
    pub version: Option<Arc<str>>,
    /// The store that answered, or the one that was asked.
    pub store: Arc<AuditedStore>,
    /// What came of it.
    pub outcome: AuditOutcome,
    /// The kind of the error, if there was one.
    pub error: Option<ErrorKind>,
    /// How long the store or the layers below took. For an access that had to wait for the store to be opened, that too. Not how
    /// long the record took.
    pub latency: Duration,
    /// Of a value that was handed out, whether a cache had it.
    pub freshness: Option<Freshness>,
    /// What the access was for, in the words of whoever asked.
    pub reason: Option<Reason>,
}

impl AuditRecord {
    /// A successful access by `actor` with nothing else known: for sinks that read back what they kept.
    #[must_use]
    pub fn new(time: SystemTime, actor: Arc<Actor>, verb: Verb, store: Arc<AuditedStore>) -> Self {
        Self {
            time,
            actor,
            verb,
            name: None,
            version: None,
            store,
            outcome: AuditOutcome::Ok,
            error: None,
            latency: Duration::ZERO,
            freshness: None,
            reason: None,
        }
    }
}

/// Which store was accessed.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct AuditedStore {
    /// What [metrics call it](StoreInfo::label): its name in `keyfob.toml`, else its scheme. Of a failover list this is the store that
    /// answered, or the first one, which a write goes to; where none answered or the answer does not say which (a list of versions), and
    /// where all of them were written to, all of them with commas.
    pub name: String,
    /// The scheme of its URL, for example `sqlite`; of a list, of its first store.
    pub scheme: String,
    /// Where it is, safe to show. It tells stores apart that have no name.
    pub location: String,
}

impl AuditedStore {
    /// The longest name and the longest location, in bytes, so that a record's length has a bound. What is longer is cut off.
    pub const MAX_BYTES: usize = 2048;

    /// A store with this name and scheme, in this place.
    #[must_use]
    pub fn new(name: impl Into<String>, scheme: impl Into<String>, location: impl Into<String>) -> Self {
        let short = |mut text: String| {
            text.truncate(floor_char_boundary(&text, Self::MAX_BYTES));
            text
        };
        Self {
            name: short(name.into()),
            scheme: scheme.into(),
            location: short(location.into()),
        }
    }

    /// A store as it describes itself.
    #[must_use]
    pub fn of(info: &StoreInfo) -> Self {
        Self::new(&*info.label, &*info.scheme, &*info.location)
    }
}

/// Who accesses secrets.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
#[non_exhaustive]
pub struct Actor {
    /// The name of the process's user, or its number where it has no name.
    pub user: String,
    /// The file name of the program. Not its arguments, which may be secret.
    pub process: String,
    /// The process's number.
    pub pid: u32,
    /// The machine's own name.
    pub host: String,
    /// As whom the process acts for the stores, for example a Kubernetes service account or a cloud's role.
    pub workload: Option<String>,
}

impl Actor {
    /// This process, as the system knows it. The user's name is that of `/etc/passwd`, which variables can't change.
    #[must_use]
    pub fn of_process(env: &Environment) -> Self {
        let uid = rustix::process::geteuid().as_raw();
        let program = std::env::current_exe().unwrap_or_default();
        Self {
            user: user_name(env, uid).unwrap_or_else(|| uid.to_string()),
            process: program.file_name().unwrap_or_default().to_string_lossy().into_owned(),
            pid: std::process::id(),
            host: rustix::system::uname().nodename().to_string_lossy().into_owned(),
            workload: None,
        }
    }

    /// The same with a workload identity.
    #[must_use]
    pub fn workload(mut self, identity: impl Into<String>) -> Self {
        self.workload = Some(identity.into());
        self
    }
}

fn user_name(env: &Environment, uid: u32) -> Option<String> {
    let text = env.read(Path::new("/etc/passwd"), 1 << 20).ok()?;
    let text = String::from_utf8_lossy(&text);
    text.lines().find_map(|line| {
        let mut fields = line.split(':');
        let name = fields.next()?;
        (fields.nth(1)?.parse() == Ok(uid)).then(|| name.to_owned())
    })
}

/// What came of an access.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[non_exhaustive]
pub enum AuditOutcome {
    /// It succeeded.
    Ok,
    /// It failed, or was refused; the error's kind says why.
    Failed,
    /// Its caller went away before the answer came, and nothing was written: a read, or a write whose store was still being
    /// opened.
    Cancelled,
    /// A write that may have happened or not: its answer never came (the kind is *timeout*), or its caller went away before
    /// (there is no kind).
    Unknown,
}

impl AuditOutcome {
    /// Every outcome.
    pub const ALL: [Self; 4] = [Self::Ok, Self::Failed, Self::Cancelled, Self::Unknown];

    /// The stable token of this outcome, for example `failed`.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Ok => "ok",
            Self::Failed => "failed",
            Self::Cancelled => "cancelled",
            Self::Unknown => "unknown",
        }
    }

    /// The outcome with this token.
    #[must_use]
    pub fn from_token(token: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|outcome| outcome.as_str() == token)
    }
}

/// What an access is for: one line of 1 to 512 bytes that is not all white space.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Reason(Arc<str>);

impl Reason {
    /// The longest reason, in bytes.
    pub const MAX_BYTES: usize = 512;

    /// Parses `text`. White space at its ends is cut off.
    ///
    /// # Errors
    /// [`ErrorKind::InvalidInput`] when nothing is left, or it is too long, or it contains a control character.
    pub fn new(text: &str) -> Result<Self> {
        let text = text.trim();
        let problem = if text.is_empty() {
            "it is empty"
        } else if text.len() > Self::MAX_BYTES {
            "it is longer than 512 bytes"
        } else if text.chars().any(char::is_control) {
            "it contains a control character"
        } else {
            return Ok(Self(text.into()));
        };
        Err(Error::new(ErrorKind::InvalidInput, format!("invalid reason: {problem}")))
    }

    /// The text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

tokio::task_local! {
    static REASON: Reason;
}

/// Runs `accesses` with this reason for all that they ask of an audited store, before that of the layer.
///
/// It holds for the future itself, not for tasks that it spawns.
pub async fn with_reason<F: Future>(reason: Reason, accesses: F) -> F::Output {
    REASON.scope(reason, accesses).await
}

/// The reason that [`with_reason`] gave to what runs now.
pub(super) fn reason_here() -> Option<Reason> {
    REASON.try_with(Clone::clone).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_user_is_the_one_of_the_passwd_file() {
        let uid = rustix::process::geteuid().as_raw();
        let passwd = format!("other:x:{}:0::/:/bin/sh\nbroken\njo:x:{uid}:0::/:/bin/sh\n", uid + 1);
        let env = Environment::fake().file("/etc/passwd", &*passwd).build();
        let actor = Actor::of_process(&env);
        assert_eq!((actor.user.as_str(), actor.pid), ("jo", std::process::id()));
        assert!(!actor.process.is_empty() && !actor.host.is_empty());
        let nobody = Actor::of_process(&Environment::fake().build());
        assert_eq!(nobody.user, uid.to_string());
    }

    #[test]
    fn a_reason_is_one_short_line() {
        assert_eq!(Reason::new("  ticket 42 ").unwrap().as_str(), "ticket 42");
        for text in ["", " \t ", "a\nb", &"x".repeat(513)] {
            assert_eq!(Reason::new(text).unwrap_err().kind(), ErrorKind::InvalidInput, "{text:?}");
        }
    }

    #[test]
    fn what_is_said_of_a_store_has_a_bound() {
        let place = "ä".repeat(1500);
        let store = AuditedStore::new("a,b", "dotenv", &*place);
        assert_eq!((&*store.name, store.location.len()), ("a,b", AuditedStore::MAX_BYTES));
        assert!(place.starts_with(&store.location));
    }

    #[test]
    fn tokens_are_read_back() {
        for outcome in AuditOutcome::ALL {
            assert_eq!(AuditOutcome::from_token(outcome.as_str()), Some(outcome));
        }
        assert_eq!(AuditOutcome::from_token("OK"), None);
    }
}

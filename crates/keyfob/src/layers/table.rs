//! Every setting of a layer that one value says: the only list of them.

use keyfob_core::{Error, ErrorKind, FailoverWrites, Result};

use super::value::{Unit, Value};
use super::{Given, LayerSettings};
use crate::select::Source;
use crate::variables::{self, Variable};

/// A setting, its place in `keyfob.toml`, and its variable.
#[derive(Debug)]
pub(crate) struct Row {
    pub(crate) table: &'static str,
    pub(crate) key: &'static str,
    pub(crate) variable: &'static Variable,
    pub(crate) unit: Unit,
    pub(super) set: fn(&mut LayerSettings, &Value),
}

impl PartialEq for Row {
    fn eq(&self, other: &Self) -> bool {
        (self.table, self.key) == (other.table, other.key)
    }
}

impl Row {
    /// `table.key`.
    pub(crate) fn path(&self) -> String {
        format!("{}.{}", self.table, self.key)
    }

    pub(super) fn of_variable(&self, text: &str) -> Result<Value> {
        self.unit.parse(text).ok_or_else(|| {
            let expected = self.unit.expected_of_variable();
            let problem = format!("the variable `{}` is not {expected}", self.variable.name);
            let error = Error::new(ErrorKind::InvalidConfig, problem);
            match self.unit {
                Unit::Time => error.with_hint("for example `300000` for 5 minutes, or `0` for none"),
                _ => error,
            }
        })
    }

    /// Whether it can have records deleted.
    fn deletes(&self) -> bool {
        self.table == "audit" && matches!(self.key, "keep_years" | "max_age")
    }

    /// What a project records is not for a variable to change: that would go unseen.
    pub(super) fn check_unchanged(&self, value: &Value, given: &[Given], project: &Source) -> Result<()> {
        match given.iter().rfind(|given| given.row == self) {
            Some(given) if given.value != *value => Err(Error::new(
                ErrorKind::InvalidConfig,
                format!(
                    "the variable `{}` says something else than `{}` of {project}, which only the file can change",
                    self.variable.name,
                    self.path()
                ),
            )
            .with_hint("unset the variable, or change the file")),
            // What it leaves out of these keeps the log for longer.
            None if self.deletes() && given.iter().any(|given| given.row.table == self.table) => Err(Error::new(
                ErrorKind::InvalidConfig,
                format!(
                    "the variable `{}` sets how long the audit log of {project} is kept, which only the file can say",
                    self.variable.name
                ),
            )
            .with_hint(format!(
                "unset the variable, or write `{}` below `[{}]` of the file",
                self.key, self.table
            ))),
            _ => Ok(()),
        }
    }
}

/// A row whose value is of one kind; the parser gives no other.
macro_rules! rows {
    ($($table:ident.$key:ident: $unit:ident, $variable:ident, $set:expr;)*) => {
        pub(crate) static ROWS: [Row; [$(stringify!($key)),*].len()] = [$(Row {
            table: stringify!($table),
            key: stringify!($key),
            variable: &variables::$variable,
            unit: Unit::$unit,
            set: |settings, value| {
                if let Value::$unit(value) = value {
                    let set: fn(&mut LayerSettings, _) = $set;
                    set(settings, value.clone());
                }
            },
        }),*];
    };
}

rows! {
    cache.ttl: Time, SECRET_CACHE_TTL, |settings, value| settings.cache.ttl = value;
    cache.max_age: Time, SECRET_CACHE_MAX_AGE, |settings, value| settings.cache.max_age = value;
    cache.stale_while_revalidate: Time, SECRET_CACHE_STALE_WHILE_REVALIDATE, |settings, value| settings.cache.stale_while_revalidate = value;
    cache.negative_ttl: Time, SECRET_CACHE_NEGATIVE_TTL, |settings, value| settings.cache.negative_ttl = value;
    cache.jitter: Share, SECRET_CACHE_JITTER, |settings, value| settings.cache.jitter = value;
    cache.refresh_ahead: Share, SECRET_CACHE_REFRESH_AHEAD, |settings, value| settings.cache.refresh_ahead = value;
    cache.max_entries: Count, SECRET_CACHE_MAX_ENTRIES, |settings, value| settings.cache.max_entries = size(value);
    cache.max_bytes: Count, SECRET_CACHE_MAX_BYTES, |settings, value| settings.cache.max_bytes = size(value);
    cache.warm: References, SECRET_CACHE_WARM, |settings, value| settings.cache.warm = value;
    cache.redis: Url, SECRET_CACHE_REDIS, |settings, value| settings.cache.redis.url = Some(value);
    cache.redis_key_file: Path, SECRET_CACHE_REDIS_KEY_FILE, |settings, value| settings.cache.redis.key_file = Some(value);
    cache.redis_ca_file: Path, SECRET_CACHE_REDIS_CA_FILE, |settings, value| settings.cache.redis.authority_file = Some(value);
    cache.redis_prefix: Word, SECRET_CACHE_REDIS_PREFIX, |settings, value| settings.cache.redis.prefix = value;
    cache.redis_timeout: Time, SECRET_CACHE_REDIS_TIMEOUT, |settings, value| settings.cache.redis.timeout = value;
    retry.attempts: Count, SECRET_RETRY_ATTEMPTS, |settings, value| settings.retry.attempts = number(value);
    retry.base: Time, SECRET_RETRY_BASE, |settings, value| settings.retry.base = value;
    retry.cap: Time, SECRET_RETRY_CAP, |settings, value| settings.retry.cap = value;
    retry.deadline: Time, SECRET_RETRY_DEADLINE, |settings, value| settings.retry.deadline = value;
    retry.budget: Share, SECRET_RETRY_BUDGET, |settings, value| settings.retry.budget = value;
    retry.budget_per_second: Number, SECRET_RETRY_BUDGET_PER_SECOND, |settings, value| settings.retry.budget_per_second = value;
    retry.hedge: Switch, SECRET_RETRY_HEDGE, |settings, value| settings.retry.hedge = value;
    limit.first: Count, SECRET_LIMIT_FIRST, |settings, value| settings.limit.first = size(value);
    limit.least: Count, SECRET_LIMIT_LEAST, |settings, value| settings.limit.least = size(value);
    limit.most: Count, SECRET_LIMIT_MOST, |settings, value| settings.limit.most = size(value);
    failover.read_timeout: Time, SECRET_FAILOVER_READ_TIMEOUT, |settings, value| settings.failover.read_timeout = value;
    failover.write_timeout: Time, SECRET_FAILOVER_WRITE_TIMEOUT, |settings, value| settings.failover.write_timeout = value;
    failover.not_found_falls_through: Switch, SECRET_FAILOVER_NOT_FOUND_FALLS_THROUGH, |settings, value| settings.failover.not_found_falls_through = value;
    failover.believe_not_found: Switch, SECRET_FAILOVER_BELIEVE_NOT_FOUND, |settings, value| settings.failover.believe_not_found = value;
    failover.replicate: Switch, SECRET_FAILOVER_REPLICATE, |settings, value| settings.failover.writes = writes(value);
    failover.failures: Count, SECRET_FAILOVER_FAILURES, |settings, value| settings.failover.breaker.failures = number(value);
    failover.share: Share, SECRET_FAILOVER_SHARE, |settings, value| settings.failover.breaker.share = value;
    failover.window: Count, SECRET_FAILOVER_WINDOW, |settings, value| settings.failover.breaker.window = number(value);
    failover.first_open: Time, SECRET_FAILOVER_FIRST_OPEN, |settings, value| settings.failover.breaker.first_open = value;
    failover.longest_open: Time, SECRET_FAILOVER_LONGEST_OPEN, |settings, value| settings.failover.breaker.longest_open = value;
    audit.directory: Path, SECRET_AUDIT_DIRECTORY, |settings, value| settings.audit.directory = Some(value);
    audit.store: Store, SECRET_AUDIT_STORE, |settings, value| settings.audit.store = Some(value);
    audit.key_file: Path, SECRET_AUDIT_KEY_FILE, |settings, value| settings.audit.key_file = Some(value);
    audit.durable: Switch, SECRET_AUDIT_DURABLE, |settings, value| settings.audit.durable = value;
    audit.max_bytes: Count, SECRET_AUDIT_MAX_BYTES, |settings, value| settings.audit.max_bytes = value;
    audit.max_age: Time, SECRET_AUDIT_MAX_AGE, |settings, value| settings.audit.max_age = value;
    audit.keep_years: Count, SECRET_AUDIT_KEEP_YEARS, |settings, value| settings.audit.keep_years = Some(number(value));
    audit.standard_error: Switch, SECRET_AUDIT_STANDARD_ERROR, |settings, value| settings.audit.standard_error = value;
    audit.memory: Count, SECRET_AUDIT_MEMORY, |settings, value| settings.audit.memory = size(value);
    audit.reason_required: Switch, SECRET_AUDIT_REASON_REQUIRED, |settings, value| settings.audit.reason_required = value;
    audit.name_key_file: Path, SECRET_AUDIT_NAME_KEY_FILE, |settings, value| settings.audit.name_key_file = Some(value);
    rotation.journals: Word, SECRET_ROTATION_JOURNALS, |settings, value| settings.rotation.journals = Some(value);
    rotation.journals_prefix: Word, SECRET_ROTATION_JOURNALS_PREFIX, |settings, value| settings.rotation.journals_prefix = Some(value);
    rotation.sole_runner: Switch, SECRET_ROTATION_SOLE_RUNNER, |settings, value| settings.rotation.sole_runner = value;
    rotation.lease: Time, SECRET_ROTATION_LEASE, |settings, value| settings.rotation.lease = value;
    rotation.clock_skew: Time, SECRET_ROTATION_CLOCK_SKEW, |settings, value| settings.rotation.clock_skew = value;
    snapshots.directory: Path, SECRET_SNAPSHOTS_DIRECTORY, |settings, value| settings.snapshots.directory = Some(value);
    snapshots.key_file: Path, SECRET_SNAPSHOTS_KEY_FILE, |settings, value| settings.snapshots.key_file = Some(value);
    snapshots.key_source: Line, SECRET_SNAPSHOTS_KEY_SOURCE, |settings, value| settings.snapshots.key_source = Some(value);
    snapshots.store: Word, SECRET_SNAPSHOTS_STORE, |settings, value| settings.snapshots.store = Some(value);
    snapshots.store_prefix: Line, SECRET_SNAPSHOTS_STORE_PREFIX, |settings, value| settings.snapshots.store_prefix = Some(value);
    watch.interval: Time, SECRET_WATCH_INTERVAL, |settings, value| settings.watch_interval = value;
}

fn number(count: u64) -> u32 {
    u32::try_from(count).unwrap_or(u32::MAX)
}

fn writes(replicate: bool) -> FailoverWrites {
    if replicate {
        FailoverWrites::Replicate
    } else {
        FailoverWrites::First
    }
}

fn size(count: u64) -> usize {
    usize::try_from(count).unwrap_or(usize::MAX)
}

/// The tables of `keyfob.toml`, each once.
pub(crate) fn tables() -> impl Iterator<Item = &'static str> {
    let starts = |index: usize| index == 0 || ROWS[index - 1].table != ROWS[index].table;
    (0..ROWS.len())
        .filter(move |index| starts(*index))
        .map(|index| ROWS[index].table)
}

//! What the layers over every store are set to: by code, by variables, by `keyfob.toml`.

mod table;
mod value;

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use keyfob_core::{
    CacheLayer, CacheNames, CacheTimes, CachedStore, Connected, Environment, Error, ErrorKind, FailoverOptions, Layer,
    LimitLayer, LimitOptions, MetricsLayer, Result, RetryLayer, RetryOptions, SecretStore, SharedCache, TraceLayer, stack,
};

pub(crate) use self::table::{ROWS, Row, tables};
pub(crate) use self::value::{Unit, Value, duration};
use crate::audit::AuditSettings;
use crate::select::Source;
use crate::shared::RedisSettings;

/// The settings of the layers over every store. Times, shares and counts are those of the layers' own documentation.
///
/// Each field is a key of `keyfob.toml` (`ttl` below `[cache]`) and a variable (`SECRET_CACHE_TTL`), but for the rules of
/// the cache, which only the file and code can have.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub struct LayerSettings {
    /// What is kept in memory, and for how long.
    pub cache: CacheSettings,
    /// What is asked again.
    pub retry: RetryOptions,
    /// How many calls a store gets at once.
    pub limit: LimitOptions,
    /// How the stores of a failover list stand in for each other.
    pub failover: FailoverOptions,
    /// Where accesses are recorded.
    pub audit: AuditSettings,
    /// How secrets are rotated.
    pub rotation: RotationSettings,
    /// Where snapshots are kept, and under which key.
    pub snapshots: SnapshotSettings,
    /// How often [`SecretManager::watch`](crate::SecretManager::watch) asks a store whether a secret has changed. Default 1
    /// minute.
    pub watch_interval: Duration,
}

impl Default for LayerSettings {
    fn default() -> Self {
        Self {
            cache: CacheSettings::default(),
            retry: RetryOptions::default(),
            limit: LimitOptions::default(),
            failover: FailoverOptions::default(),
            audit: AuditSettings::default(),
            rotation: RotationSettings::default(),
            snapshots: SnapshotSettings::default(),
            watch_interval: Duration::from_secs(60),
        }
    }
}

/// How secrets are rotated.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct RotationSettings {
    /// The store that keeps journals and leases, as [`store_of`](crate::SecretManager::store_of) knows it. Default: the store whose
    /// secrets are rotated, which must be able to compare and set.
    pub journals: Option<String>,
    /// What the names of journals in that store begin with, so that stores that share it don't meet. Needed with `journals`, and the same for all
    /// who rotate secrets of one store.
    pub journals_prefix: Option<String>,
    /// Whether it is promised that nobody else ever rotates the same secrets at the same time, so that a store that can't
    /// compare and set may keep the journals all the same. Default false.
    pub sole_runner: bool,
    /// How long the lease of a run lasts after each renewal. After a crash nobody can go on before it is over; a run that stands
    /// still for longer has to be run again. At least 1 second. Default 1 minute.
    pub lease: Duration,
    /// By how much the clocks of those who rotate may differ: a lease is taken over only so long after its end. Default 5 seconds.
    pub clock_skew: Duration,
}

impl Default for RotationSettings {
    fn default() -> Self {
        Self {
            journals: None,
            journals_prefix: None,
            sole_runner: false,
            lease: Duration::from_secs(60),
            clock_skew: Duration::from_secs(5),
        }
    }
}

/// Where snapshots are kept, and under which key.
///
/// In paths a leading `~/` is the home directory. Relative ones stand below the current directory, those of `keyfob.toml` below the
/// file's own.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct SnapshotSettings {
    /// The directory. Default `$XDG_DATA_HOME/keyfob/snapshots`, by default below `~/.local/share`.
    pub directory: Option<PathBuf>,
    /// The file of the key that opens them. Default: the key of the encrypted store, as the variables `KEYFOB_KEY` and its like
    /// name it, else `~/.config/keyfob/key`.
    pub key_file: Option<PathBuf>,
    /// The key in a service that opens them, instead of a key file: `vault-transit:KEY@MOUNT` or `aws-kms:KEY`.
    pub key_source: Option<String>,
    /// A store that keeps a copy of every snapshot: one of `keyfob.toml`, or a provider. Default none.
    pub store: Option<String>,
    /// What the names of those copies begin with. Default `keyfob-snapshots`.
    pub store_prefix: Option<String>,
}

/// The settings of [`CacheLayer`].
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub struct CacheSettings {
    /// How long a value is served from memory; zero turns the cache off. Default 5 minutes.
    pub ttl: Duration,
    /// The hard maximum age of an answer while the store can't give a newer one. The default, 1 hour, gives way to a `ttl` that is longer; a
    /// file or variable that says less than `ttl` is an error, and code that does means `ttl`: no stale answers.
    pub max_age: Duration,
    /// For how long after `ttl` a read is answered from memory while the store is asked behind it. Default zero: never.
    pub stale_while_revalidate: Duration,
    /// For how long it is remembered that there is no such secret. Default 1 second.
    pub negative_ttl: Duration,
    /// How much of `ttl` is shortened at random, 0 to 1. Default 0.1.
    pub jitter: f64,
    /// After which share of `ttl` what is used is read again behind the reader's back, 0 to 1, where 1 means never.
    /// Default 0.8.
    pub refresh_ahead: f64,
    /// The most values. Default 10,000.
    pub max_entries: usize,
    /// The most bytes. Default 64 MiB.
    pub max_bytes: usize,
    /// Other times for some names.
    pub rules: Vec<(CacheNames, CacheTimes)>,
    /// What is read when a manager is built, so that it is at hand: references as [`Caches`](crate::Caches) has them, for
    /// example `db/password` or `vault:db/password`. [`build`](crate::SecretManagerBuilder::build) waits for it, with all stores
    /// asked at once and each once. What can't be read is an event (a warning), and no error: it is read when it is needed.
    /// A reference that is wrong is an error. Default none.
    pub warm: Vec<String>,
    /// A second level that the machines of a fleet share.
    pub redis: RedisSettings,
}

impl Default for CacheSettings {
    fn default() -> Self {
        Self {
            ttl: Duration::from_secs(300),
            max_age: Duration::from_secs(3600),
            stale_while_revalidate: Duration::ZERO,
            negative_ttl: Duration::from_secs(1),
            jitter: 0.1,
            refresh_ahead: 0.8,
            max_entries: 10_000,
            max_bytes: 64 << 20,
            rules: Vec::new(),
            warm: Vec::new(),
            redis: RedisSettings::default(),
        }
    }
}

impl LayerSettings {
    /// Lays over a store what each store of a list has for itself. `label` is what metrics and spans call it.
    pub(crate) fn directly_over(&self, mut connected: Connected, label: &str, trace: TraceLayer) -> Result<Connected> {
        let limit = LimitLayer::new(self.limit.clone())?;
        let layers: [&dyn Layer; 3] = [&MetricsLayer::of_store(label), &trace.of_store(), &limit];
        connected.store = stack(connected.store, layers);
        Ok(connected)
    }

    /// Lays the other layers over a store, or over a list of stores. Outermost are the events, so that they tell what was asked and not what a cache let
    /// through; then metrics, cache, retries. `keep` gets the cache, if there is one.
    pub(crate) fn over(
        &self,
        connected: &Connected,
        shared: Option<Arc<dyn SharedCache>>,
        trace: TraceLayer,
        keep: impl FnOnce(Arc<CachedStore>),
    ) -> Result<Arc<dyn SecretStore>> {
        let mut store = RetryLayer::new(self.retry.clone())?.layer(connected.store.clone());
        if let Some(mut cache) = self.cache.layer(shared) {
            if let Some(changes) = &connected.changes {
                cache = cache.follow(changes.clone());
            }
            let cached = cache.build(store);
            keep(cached.clone());
            store = cached;
        }
        store = MetricsLayer::default().layer(store);
        Ok(trace.layer(store))
    }
}

impl LayerSettings {
    /// The settings that code gives, as far as no layer looks at them when it is made.
    pub(crate) fn check(&self) -> Result<()> {
        self.audit.check()?;
        self.pointless().map_or(Ok(()), |(_, error)| Err(error))
    }

    /// What would do nothing, or never rest, if it were so little; and which setting it is.
    fn pointless(&self) -> Option<(&'static str, Error)> {
        let cache = &self.cache;
        let wrong = |path, problem: &'static str| (path, Error::new(ErrorKind::InvalidConfig, problem));
        if cache.max_entries == 0 || cache.max_bytes == 0 {
            let (path, problem) = match cache.max_entries {
                0 => ("cache.max_entries", "`max_entries` of the cache must be at least 1"),
                _ => ("cache.max_bytes", "`max_bytes` of the cache must be at least 1"),
            };
            let (path, error) = wrong(path, problem);
            return Some((path, error.with_hint("a `ttl` of zero turns the cache off")));
        }
        if cache.redis.timeout.is_zero() {
            return Some(wrong(
                "cache.redis_timeout",
                "`redis_timeout` of the cache must be longer than nothing",
            ));
        }
        if self.rotation.lease < Duration::from_secs(1) {
            return Some(wrong("rotation.lease", "`lease` of `[rotation]` must be at least 1 second"));
        }
        (self.watch_interval.is_zero()).then(|| wrong("watch.interval", "`interval` of `[watch]` must be longer than nothing"))
    }
}

impl CacheSettings {
    /// The layer, if there is one. A second level has to hear of writes even where nothing is cached.
    pub(crate) fn layer(&self, shared: Option<Arc<dyn SharedCache>>) -> Option<CacheLayer> {
        if !self.keeps_values() && shared.is_none() {
            return None;
        }
        let mut layer = CacheLayer::new(self.times())
            .jitter(self.jitter)
            .refresh_ahead(self.refresh_ahead)
            .max_entries(self.max_entries)
            .max_bytes(self.max_bytes);
        if let Some(shared) = shared {
            layer = layer.shared(shared);
        }
        let with_rules = |layer: CacheLayer, (names, times): &(CacheNames, CacheTimes)| layer.rule(names.clone(), *times);
        Some(self.rules.iter().fold(layer, with_rules))
    }

    /// Whether there are names whose values are kept at all.
    pub(crate) fn keeps_values(&self) -> bool {
        !self.ttl.is_zero() || !self.rules.is_empty()
    }

    fn times(&self) -> CacheTimes {
        if self.ttl.is_zero() {
            return CacheTimes::NEVER;
        }
        CacheTimes::new(self.ttl)
            .hard_max_age(self.max_age.max(self.ttl))
            .stale_while_revalidate(self.stale_while_revalidate)
            .negative_ttl(self.negative_ttl)
    }
}

/// A setting that `keyfob.toml` has, and where it stands in [`ROWS`].
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Given {
    pub(crate) row: &'static Row,
    pub(crate) value: Value,
}

/// The settings, and what decided each that is not the default, as `cache.ttl`.
pub(crate) fn settings(
    env: &Environment,
    given: &[Given],
    rules: &[(CacheNames, CacheTimes)],
    project: &Source,
) -> Result<(LayerSettings, Vec<(String, Source)>)> {
    let mut settings = LayerSettings::default();
    settings.cache.rules = rules.to_vec();
    let mut sources: Vec<(String, Source)> = Vec::new();
    let mut set = |row: &Row, value: &Value, source: Source| {
        (row.set)(&mut settings, value);
        sources.retain(|(known, _)| *known != row.path());
        sources.push((row.path(), source));
    };
    for Given { row, value } in given {
        set(row, value, project.clone());
    }
    for row in &ROWS {
        // A variable comes before the file.
        if let Some(text) = env.var(row.variable.name)? {
            let value = row.of_variable(text)?;
            if row.table == "audit" {
                row.check_unchanged(&value, given, project)?;
            }
            set(row, &value, Source::Variable(row.variable.name));
        }
    }
    sources.sort_by(|(one, _), (other, _)| one.cmp(other));
    check(&settings, &sources)?;
    Ok((settings, sources))
}

/// Says at once what can't be, not only when the first store is opened; and what decided it.
fn check(settings: &LayerSettings, sources: &[(String, Source)]) -> Result<()> {
    let because = |table: &str, error: Error| {
        let of_table = sources.iter().filter(|(path, _)| path.split('.').next() == Some(table));
        let all: Vec<String> = of_table
            .map(|(path, source)| match source {
                Source::Variable(name) => (*name).to_owned(),
                _ => format!("{path} of {}", crate::project::FILE_NAME),
            })
            .collect();
        error.with("set by", all.join(", "))
    };
    let of = |path: &str| sources.iter().find(|(known, _)| known == path);
    if let Some((path, error)) = settings.pointless() {
        return Err(match of(path) {
            Some((path, Source::Variable(name))) => error.with("set by", *name).with("setting", path),
            _ => error.with("set by", format!("{path} of {}", crate::project::FILE_NAME)),
        });
    }
    settings.retry.check().map_err(|error| because("retry", error))?;
    settings.limit.check().map_err(|error| because("limit", error))?;
    settings.failover.check().map_err(|error| because("failover", error))?;
    let CacheSettings { ttl, max_age, .. } = settings.cache;
    if max_age < ttl && sources.iter().any(|(path, _)| path == "cache.max_age") {
        let message = format!("`max_age` of the cache ({max_age:?}) is shorter than its `ttl` ({ttl:?})");
        return Err(because("cache", Error::new(ErrorKind::InvalidConfig, message)));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What has no variable, as the debug text of its field begins: `[cache.names]` is a table, and a failover list has the deadline of
    /// `[retry]`.
    const WITHOUT_VARIABLE: &[&str] = &["rules: ", "deadline: None"];

    /// A value of each kind that is no default.
    fn other(unit: Unit) -> Value {
        let text = match unit {
            Unit::Time => "123456789",
            Unit::Count => "63",
            Unit::Share => "0.375",
            Unit::Number => "7.5",
            Unit::Switch => return Value::Switch(true),
            Unit::Path | Unit::Word | Unit::Line => "other",
            Unit::Url => "redis://other",
            Unit::Store => "sqlite:other",
            Unit::References => "other",
        };
        unit.parse(text).unwrap()
    }

    /// A setting that somebody adds to one of the structs has to have a row, and with it a variable and a place in the file.
    #[test]
    fn each_setting_has_a_variable_but_for_those_that_one_value_can_not_say() {
        let (usual, mut changed) = (LayerSettings::default(), LayerSettings::default());
        for row in &ROWS {
            (row.set)(&mut changed, &other(row.unit));
        }
        let (usual, changed) = (format!("{usual:#?}"), format!("{changed:#?}"));
        let fields = |text: &str| -> Vec<String> {
            let lines = text.lines().map(str::trim);
            lines.filter(|line| line.contains(": ")).map(str::to_owned).collect()
        };
        let changed = fields(&changed);
        let is_leaf = |line: &String| !line.ends_with('{') && !line.ends_with('(');
        let unchanged: Vec<String> = fields(&usual)
            .into_iter()
            .filter(is_leaf)
            .filter(|line| changed.contains(line) && !WITHOUT_VARIABLE.iter().any(|known| line.starts_with(known)))
            .collect();
        assert!(unchanged.is_empty(), "no variable sets {unchanged:?}");
    }

    #[test]
    fn a_row_stands_in_the_list_of_variables() {
        for row in &ROWS {
            let listed = crate::variables::ALL
                .iter()
                .any(|variable| variable.name == row.variable.name);
            assert!(listed, "{}", row.path());
            let key = format!("`{}` under `[{}]`", row.key, row.table);
            assert!(
                row.variable.default.starts_with(&key),
                "{} does not say {key}",
                row.variable.name
            );
        }
    }
}

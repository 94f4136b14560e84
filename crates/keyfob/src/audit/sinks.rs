//! The sinks of a manager, open.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use keyfob_core::{
    Actor, AuditFilter, AuditLayer, AuditRecord, AuditSink, BoxFuture, Environment, Error, ErrorKind, MemoryAudit, Reason, Result,
};

use super::AuditSettings;
#[cfg(feature = "audit")]
use super::AuditStore;

/// The audit layer of a manager, and what it records to.
pub(crate) struct Audit {
    layer: AuditLayer,
    memory: Option<Arc<MemoryAudit>>,
    threads: Vec<Thread>,
}

/// A sink that has a thread.
struct Thread {
    sink: Arc<dyn AuditSink>,
    /// Whether nothing may be accessed before it is open.
    is_durable: bool,
    /// Waits until it is.
    opened: Box<dyn Fn() -> BoxFuture<'static, Result<()>> + Send + Sync>,
    /// Ends it after a time at the latest, and says how many records it lost.
    close: Box<dyn Fn(Duration) -> (Result<()>, u64) + Send + Sync>,
}

impl Audit {
    /// Begins to open what `settings` say; `None` when nothing is recorded and nothing refused. Blocks, but waits for no other process and no
    /// database.
    ///
    /// # Errors
    /// `InvalidConfig` with the setting that can't be followed, and what can't be mended by waiting of where the log is.
    pub(crate) fn open(
        settings: &AuditSettings,
        environment: &Environment,
        own: &[Arc<dyn AuditSink>],
        reason: Option<Reason>,
    ) -> Result<Option<Self>> {
        let has_log = settings.directory.is_some() || settings.store.is_some();
        let has_sink = has_log || settings.standard_error || settings.memory > 0 || !own.is_empty();
        if !has_sink && !settings.reason_required {
            return Ok(None);
        }
        let mut layer = AuditLayer::new(Actor::of_process(environment));
        if let Some(reason) = reason {
            layer = layer.reason(reason);
        }
        if settings.reason_required {
            layer = layer.require_reason();
        }
        let memory = (settings.memory > 0).then(|| Arc::new(MemoryAudit::new(settings.memory)));
        if let Some(memory) = &memory {
            layer = layer.sink(memory.clone());
        }
        for sink in own {
            layer = layer.sink(sink.clone());
        }
        let mut threads = Vec::new();
        let layer = with_log(layer, &mut threads, settings, environment)?;
        Ok(Some(Self { layer, memory, threads }))
    }

    /// Waits until all logs are open, or those without which nothing may be accessed.
    ///
    /// # Errors
    /// What opening the first that can't be opened fails with.
    pub(crate) async fn opened(&self, only_durable: bool) -> Result<()> {
        for thread in self.threads.iter().filter(|thread| thread.is_durable || !only_durable) {
            (thread.opened)().await?;
        }
        Ok(())
    }

    /// What keeps a log without which nothing may be accessed from being opened, after the time that there was for that.
    pub(crate) fn not_opened(&self) -> Error {
        let error = Error::new(ErrorKind::Timeout, "the audit log could not be opened within the deadline");
        match self.threads.iter().find_map(|thread| thread.sink.delay()) {
            Some(delay) => {
                let hint = delay.hint().unwrap_or_default().to_owned();
                error.with_hint(hint).with_source(delay)
            }
            None => error,
        }
    }

    /// The layer for a store at which the process acts as `identity`.
    pub(crate) fn layer_as(&self, identity: Option<String>) -> AuditLayer {
        match identity {
            Some(identity) => self.layer.clone().workload(identity),
            None => self.layer.clone(),
        }
    }

    /// What is kept in memory, oldest first.
    pub(crate) fn records(&self, filter: &AuditFilter) -> Vec<Arc<AuditRecord>> {
        self.memory.as_ref().map(|memory| memory.records(filter)).unwrap_or_default()
    }

    /// Writes, signs and syncs what there is, and ends the threads. Blocks.
    ///
    /// # Errors
    /// `Unavailable` when records were lost, and what the file system says.
    pub(crate) fn close(&self, patience: Duration) -> Result<()> {
        let (mut failure, mut lost) = (None, 0);
        for thread in &self.threads {
            let (closed, lost_there) = (thread.close)(patience);
            if thread.is_durable && lost_there > 0 {
                // Each of these accesses has failed with it, and told why.
                continue;
            }
            failure = failure.or(closed.err());
            lost += lost_there;
        }
        let told = match lost {
            0 => return failure.map_or(Ok(()), Err),
            1 => "1 audit record was lost".to_owned(),
            _ => format!("{lost} audit records were lost"),
        };
        let error = Error::new(ErrorKind::Unavailable, told);
        Err(match failure {
            Some(failure) => {
                let hint = failure.hint().unwrap_or(NONE_IS_LOST).to_owned();
                error.with_hint(hint).with_source(failure)
            }
            None => error.with_hint(NONE_IS_LOST),
        })
    }
}

const NONE_IS_LOST: &str = "in durable mode (`audit.durable`) none is lost";

/// Adds what the crate of the log has: the log, records on standard error, masks of names.
#[cfg(feature = "audit")]
fn with_log(
    mut layer: AuditLayer,
    threads: &mut Vec<Thread>,
    settings: &AuditSettings,
    environment: &Environment,
) -> Result<AuditLayer> {
    use keyfob_audit::{
        Durability, FileAudit, FileAuditOptions, NameKey, SigningKey, StreamAudit, TableAudit, TableAuditOptions,
    };

    let durability = match settings.durable {
        true => Durability::Durable,
        false => Durability::BestEffort,
    };
    let signing_key = || {
        let path = settings.signing_key_file().unwrap_or_default();
        let key = SigningKey::from_file(environment.absolute(&path));
        key.map_err(|error| unusable("audit.key_file", "keyfob audit init", &path, error))
    };

    let state = environment.state_directory()?;
    if let Some(path) = &settings.name_key_file {
        let key = NameKey::from_file(environment.absolute(path));
        let key = key.map_err(|error| unusable("audit.name_key_file", "keyfob audit init --mask-names", path, error))?;
        layer = layer.mask_names(move |name| key.mask(name));
    }
    if let Some(directory) = &settings.directory {
        let mut options = FileAuditOptions::new(environment.absolute(directory), signing_key()?)
            .durability(durability)
            .max_bytes(settings.max_bytes)
            .max_age(settings.max_age);
        if let Some(years) = settings.keep_years {
            options = options.keep_years(years);
        }
        if let Some(state) = &state {
            options = options.remember_in(state);
        }
        let log = Arc::new(FileAudit::start(options).map_err(|error| error.with("setting", "audit.directory"))?);
        layer = layer.sink(log.clone());
        threads.push(Thread {
            sink: log.clone(),
            is_durable: settings.durable,
            opened: opening("audit.directory", log.clone(), FileAudit::opened),
            close: Box::new(move |patience| (log.close_within(patience), log.lost())),
        });
    }
    if let Some(store) = &settings.store {
        let key = signing_key()?;
        let start = || {
            let mut options = TableAuditOptions::new(table(store, environment)?, key).durability(durability);
            if let Some(state) = &state {
                options = options.remember_in(state);
            }
            TableAudit::start(options)
        };
        let log = Arc::new(start().map_err(|error| error.with("setting", "audit.store"))?);
        layer = layer.sink(log.clone());
        threads.push(Thread {
            sink: log.clone(),
            is_durable: settings.durable,
            opened: opening("audit.store", log.clone(), TableAudit::opened),
            close: Box::new(move |patience| (log.close_within(patience), log.lost())),
        });
    }
    if settings.standard_error {
        let stream = Arc::new(StreamAudit::stderr()?);
        layer = layer.sink(stream.clone());
        threads.push(Thread {
            sink: stream.clone(),
            is_durable: false,
            opened: Box::new(|| Box::pin(std::future::ready(Ok(())))),
            close: Box::new(move |patience| (stream.close_within(patience), stream.lost())),
        });
    }
    Ok(layer)
}

/// Waits until a log is open; an error names the setting.
#[cfg(feature = "audit")]
fn opening<L: Send + Sync + 'static>(
    setting: &'static str,
    log: Arc<L>,
    opened: fn(&L) -> BoxFuture<'static, Result<()>>,
) -> Box<dyn Fn() -> BoxFuture<'static, Result<()>> + Send + Sync> {
    Box::new(move || {
        let opened = opened(&log);
        Box::pin(async move { opened.await.map_err(|error| error.with("setting", setting)) })
    })
}

#[cfg(all(feature = "audit", any(feature = "sqlite", feature = "postgres")))]
fn table(store: &AuditStore, environment: &Environment) -> Result<Box<dyn keyfob_audit::LineTable>> {
    keyfob_sql::audit_table(store.url(), environment)
}

#[cfg(all(feature = "audit", not(any(feature = "sqlite", feature = "postgres"))))]
fn table(_: &AuditStore, _: &Environment) -> Result<Box<dyn keyfob_audit::LineTable>> {
    Err(Error::new(
        ErrorKind::Unsupported,
        "this build has no database that could keep an audit log",
    )
    .with_hint("the features `sqlite` and `postgres` of the crate `keyfob` add one"))
}

/// What this build can't do is an error, never left out.
#[cfg(not(feature = "audit"))]
fn with_log(layer: AuditLayer, _: &mut Vec<Thread>, settings: &AuditSettings, _: &Environment) -> Result<AuditLayer> {
    let wanted = [
        ("audit.directory", settings.directory.is_some()),
        ("audit.store", settings.store.is_some()),
        ("audit.standard_error", settings.standard_error),
        ("audit.name_key_file", settings.name_key_file.is_some()),
    ];
    match wanted.into_iter().find(|(_, is_set)| *is_set) {
        Some((setting, _)) => {
            let problem = format!("this build does not have what `{setting}` asks for");
            Err(Error::new(ErrorKind::Unsupported, problem).with_hint("the feature `audit` of the crate `keyfob` adds it"))
        }
        None => Ok(layer),
    }
}

/// A key that a setting names and that can't be used.
#[cfg(feature = "audit")]
fn unusable(setting: &str, maker: &str, path: &std::path::Path, error: Error) -> Error {
    let hint = match (error.kind(), error.hint()) {
        (ErrorKind::NotFound, _) => format!("`{maker}` makes it"),
        // It is there: to make one would fail in the same way.
        (ErrorKind::PermissionDenied, None) => {
            "it is its owner's alone: run as that user, or let this one have a log and a key of its own".to_owned()
        }
        (_, Some(hint)) => hint.to_owned(),
        (_, None) => format!("`{maker}` makes one"),
    };
    Error::new(
        ErrorKind::InvalidConfig,
        format!("the key that `{setting}` names can't be used"),
    )
    .with("file", path.display().to_string())
    .with_hint(hint)
    .with_source(error)
}

impl fmt::Debug for Audit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Audit").field("layer", &self.layer).finish_non_exhaustive()
    }
}

//! The sinks of a manager, open.

use std::fmt;
use std::sync::Arc;

use keyfob_core::{
    Actor, AuditFilter, AuditLayer, AuditRecord, AuditSink, Environment, Error, ErrorKind, MemoryAudit, Reason, Result,
};

use super::AuditSettings;
#[cfg(feature = "audit")]
use super::AuditStore;

/// The audit layer of a manager, and what it records to.
pub(crate) struct Audit {
    layer: AuditLayer,
    memory: Option<Arc<MemoryAudit>>,
    closers: Vec<Closer>,
}

/// Ends a sink that has a thread, and says how many records it lost.
type Closer = Box<dyn Fn() -> (Result<()>, u64) + Send + Sync>;

impl Audit {
    /// Opens what `settings` say; `None` when nothing is recorded and nothing refused. Blocks for as long as the disk takes.
    ///
    /// # Errors
    /// `InvalidConfig` with the setting that can't be followed, and what opening the log fails with.
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
        let mut closers = Vec::new();
        let layer = with_log(layer, &mut closers, settings, environment)?;
        Ok(Some(Self { layer, memory, closers }))
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
    pub(crate) fn close(&self) -> Result<()> {
        let (mut failure, mut lost) = (None, 0);
        for close in &self.closers {
            let (closed, lost_there) = close();
            failure = failure.or(closed.err());
            lost += lost_there;
        }
        match failure {
            Some(error) => Err(error),
            None if lost > 0 => Err(Error::new(ErrorKind::Unavailable, format!("{lost} audit records were lost"))
                .with_hint("in durable mode (`audit.durable`) none is lost")),
            None => Ok(()),
        }
    }
}

/// Adds what the crate of the log has: the log, records on standard error, masks of names.
#[cfg(feature = "audit")]
fn with_log(
    mut layer: AuditLayer,
    closers: &mut Vec<Closer>,
    settings: &AuditSettings,
    environment: &Environment,
) -> Result<AuditLayer> {
    use keyfob_audit::{Durability, FileAudit, FileAuditOptions, NameKey, SigningKey, StreamAudit};

    let durability = match settings.durable {
        true => Durability::Durable,
        false => Durability::BestEffort,
    };
    let signing_key = || {
        let path = settings.signing_key_file().unwrap_or_default();
        let key = SigningKey::from_file(environment.absolute(&path));
        key.map_err(|error| unusable("audit.key_file", "keyfob audit init", &path, error))
    };

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
        let opened = FileAudit::open(options).map_err(|error| error.with("setting", "audit.directory"))?;
        let log = Arc::new(opened);
        layer = layer.sink(log.clone());
        closers.push(Box::new(move || (log.close(), log.lost())));
    }
    if let Some(store) = &settings.store {
        let key = signing_key()?;
        let log = Arc::new(table_log(store, environment, key, durability).map_err(|error| error.with("setting", "audit.store"))?);
        layer = layer.sink(log.clone());
        closers.push(Box::new(move || (log.close(), log.lost())));
    }
    if settings.standard_error {
        let stream = Arc::new(StreamAudit::stderr()?);
        layer = layer.sink(stream.clone());
        closers.push(Box::new(move || (stream.close(), stream.lost())));
    }
    Ok(layer)
}

#[cfg(all(feature = "audit", any(feature = "sqlite", feature = "postgres")))]
fn table_log(
    store: &AuditStore,
    environment: &Environment,
    key: keyfob_audit::SigningKey,
    durability: keyfob_audit::Durability,
) -> Result<keyfob_audit::TableAudit> {
    let table = keyfob_sql::audit_table(store.url(), environment)?;
    keyfob_audit::TableAudit::open(table, key, durability)
}

#[cfg(all(feature = "audit", not(any(feature = "sqlite", feature = "postgres"))))]
fn table_log(
    _: &AuditStore,
    _: &Environment,
    _: keyfob_audit::SigningKey,
    _: keyfob_audit::Durability,
) -> Result<keyfob_audit::TableAudit> {
    Err(Error::new(
        ErrorKind::Unsupported,
        "this build has no database that could keep an audit log",
    )
    .with_hint("the features `sqlite` and `postgres` of the crate `keyfob` add one"))
}

/// What this build can't do is an error, never left out.
#[cfg(not(feature = "audit"))]
fn with_log(layer: AuditLayer, _: &mut Vec<Closer>, settings: &AuditSettings, _: &Environment) -> Result<AuditLayer> {
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

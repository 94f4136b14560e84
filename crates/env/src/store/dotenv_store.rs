//! The store's verbs.

use std::path::Path;
use std::sync::Arc;

use keyfob_core::{
    Capabilities, DeleteOptions, Error, ErrorKind, GetOptions, GetRequest, Health, ListOptions, Metadata, NameRule, Page,
    PageRequest, PutMode, PutRequest, Result, Secret, SecretName, SecretStore, SecretValue, StoreInfo, VersionInfo, async_trait,
};

use super::file::{self, Locked, Missing, Snapshot};
use super::index::{Index, Lookup, Slot};
use super::mark::{self, Mark};
use super::paging;
use crate::config::DotenvConfig;
use crate::dotenv::quote;
use crate::names::variable_for;

/// The variables of one `.env` file as secrets.
///
/// Every verb reads the file anew. Writes of any number of processes that use keyfob come one after the other, and a
/// reader sees each as a whole or not at all. See the [crate's documentation](crate) for names, marks and versions.
///
/// Work on the file runs on Tokio's threads for blocking work, so that a slow disk or a lock held by another process
/// doesn't stop the caller's other tasks; without a Tokio runtime it runs in place.
#[derive(Debug)]
pub struct DotenvStore {
    info: StoreInfo,
    path: Arc<Path>,
}

impl DotenvStore {
    /// The scheme of this store in URLs and references.
    pub const SCHEME: &'static str = "dotenv";

    /// The store over `config.path`. Does not look at the file.
    ///
    /// # Errors
    /// [`ErrorKind::InvalidConfig`] when the path is empty, or is relative and there is no working directory.
    pub fn new(config: &DotenvConfig) -> Result<Self> {
        let path = std::path::absolute(&config.path).map_err(|error| {
            Error::new(ErrorKind::InvalidConfig, "not the path of a `.env` file")
                .with("path", config.path.display().to_string())
                .with_source(error)
        })?;
        let mut capabilities = Capabilities::NONE;
        capabilities.put = true;
        capabilities.put_create = true;
        capabilities.put_match = true;
        capabilities.empty_value = true;
        capabilities.delete_permanent = true;
        capabilities.list = true;
        capabilities.value_rule = Some(|value| match value.contains(&0) {
            true => Err("the value contains a NUL character, a `.env` file can't hold it"),
            false => Ok(()),
        });
        capabilities.names = NameRule::Custom(check_name);
        capabilities.name_key = Some(|name| variable_for(name).unwrap_or_default());
        capabilities.max_value_bytes = 1 << 20;
        Ok(Self {
            info: StoreInfo::new(Self::SCHEME, path.display().to_string(), capabilities),
            path: path.into(),
        })
    }

    /// Where the file is.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Runs work on the file where it may block.
    async fn blocking<T: Send + 'static>(&self, work: impl FnOnce(&Path) -> Result<T> + Send + 'static) -> Result<T> {
        let path = Arc::clone(&self.path);
        let Ok(runtime) = tokio::runtime::Handle::try_current() else {
            return work(&path);
        };
        let task = runtime.spawn_blocking(move || work(&path));
        task.await
            .unwrap_or_else(|_| Err(Error::new(ErrorKind::Other, "the work on the `.env` file was broken off")))
    }
}

#[async_trait]
impl SecretStore for DotenvStore {
    fn info(&self) -> &StoreInfo {
        &self.info
    }

    async fn get(&self, name: &SecretName, options: &GetOptions) -> Result<Secret> {
        self.info.capabilities.check_get(name, options)?;
        let name = name.clone();
        self.blocking(move |path| find(&name, file::read(path)?.as_ref().map(Index::new).as_ref(), path))
            .await
    }

    async fn get_many(&self, requests: &[GetRequest]) -> Vec<Result<Secret>> {
        let capabilities = self.info.capabilities;
        let names: Vec<Result<SecretName>> = requests
            .iter()
            .map(|request| {
                let checked = capabilities.check_get(&request.name, &request.options);
                checked.map(|()| request.name.clone())
            })
            .collect();
        if names.iter().all(Result::is_err) {
            return names.into_iter().filter_map(Result::err).map(Err).collect();
        }
        let answers = self.blocking(move |path| {
            let snapshot = file::read(path);
            let index = snapshot
                .as_ref()
                .map(|snapshot| snapshot.as_ref().map(Index::new))
                .map_err(Error::clone);
            Ok(names
                .into_iter()
                .map(|name| match &index {
                    Ok(index) => find(&name?, index.as_ref(), path),
                    Err(error) => Err(name.err().unwrap_or_else(|| error.clone())),
                })
                .collect())
        });
        answers
            .await
            .unwrap_or_else(|error| requests.iter().map(|_| Err(error.clone())).collect())
    }

    async fn put(&self, name: &SecretName, request: PutRequest) -> Result<Metadata> {
        self.info.capabilities.check_put(name, &request)?;
        let name = name.clone();
        self.blocking(move |path| put(&name, &request, path)).await
    }

    async fn delete(&self, name: &SecretName, options: &DeleteOptions) -> Result<()> {
        self.info.capabilities.check_delete(name, options)?;
        let name = name.clone();
        self.blocking(move |path| delete(&name, path)).await
    }

    async fn restore(&self, name: &SecretName) -> Result<Metadata> {
        self.info.capabilities.check_restore(name)?;
        Err(Error::new(ErrorKind::Unsupported, "nothing can be restored").with("name", name.as_str()))
    }

    async fn list(&self, options: &ListOptions) -> Result<Page<Metadata>> {
        self.info.capabilities.check_list(options)?;
        let options = options.clone();
        let after = paging::after(&options.page)?;
        self.blocking(move |path| {
            let snapshot = file::read(path)?;
            let index = snapshot.as_ref().map(Index::new);
            let names = index.as_ref().map(Index::names).unwrap_or_default();
            let names = names
                .into_keys()
                .filter(|name| name.as_str().starts_with(&options.prefix) && after.as_ref().is_none_or(|after| name > after));
            paging::page(names.map(|name| Metadata::new(name, Self::SCHEME)), &options.page)
        })
        .await
    }

    async fn versions(&self, name: &SecretName, _page: &PageRequest) -> Result<Page<VersionInfo>> {
        self.info.capabilities.check_versions(name)?;
        Err(Error::new(ErrorKind::Unsupported, "this store keeps no versions").with("name", name.as_str()))
    }

    async fn health(&self) -> Result<Health> {
        self.blocking(|path| Ok(examine(file::read(path)?.as_ref(), path))).await
    }
}

fn check_name(name: &SecretName) -> Result<(), &'static str> {
    let portable = name.is_portable() && variable_for(name).is_some();
    portable
        .then_some(())
        .ok_or("only letters, digits, `.`, `_`, `-` and `/` are possible in names here")
}

fn find(name: &SecretName, index: Option<&Index<'_>>, path: &Path) -> Result<Secret> {
    let Some(index) = index else {
        return Err(not_found(name, path).with_hint("there is no such file"));
    };
    match index.look_up(name) {
        Lookup::Own(slot) | Lookup::Alias(slot) => {
            let value = SecretValue::from(slot.entry.value());
            Ok(Secret::new(value, metadata(name, index, slot)?))
        }
        Lookup::Taken { variable, by } => Err(not_found(name, path).with_hint(format!("the variable `{variable}` is `{by}`"))),
        Lookup::Missing => Err(not_found(name, path)),
    }
}

fn put(name: &SecretName, request: &PutRequest, path: &Path) -> Result<Metadata> {
    let text = match &request.value {
        Some(value) => value.expose_str()?,
        // `check_put` refuses this; the store can't change metadata alone.
        None => return Err(Error::new(ErrorKind::Unsupported, "no value to write").with("name", name.as_str())),
    };
    // Before there is a file: a value that can't be written makes none.
    quote(text).map_err(|error| error.with("name", name.as_str()))?;
    let missing = match request.mode {
        PutMode::Match(_) => Missing::Leave,
        PutMode::Upsert | PutMode::Create => Missing::Create,
    };
    let mut locked = Locked::acquire(path, missing)?.ok_or_else(|| not_found(name, path))?;
    let mut snapshot = locked.read()?;
    let index = Index::new(&snapshot);
    let (variable, mark) = match index.look_up(name) {
        Lookup::Own(_) | Lookup::Alias(_) if request.mode == PutMode::Create => {
            return Err(Error::new(ErrorKind::AlreadyExists, "the secret exists already")
                .with("name", name.as_str())
                .with("path", path.display().to_string()));
        }
        Lookup::Alias(slot) => return Err(only_an_alias(name, slot, path)),
        Lookup::Own(slot) => {
            let current = index.version(slot)?;
            if matches!(&request.mode, PutMode::Match(expected) if *expected != current) {
                return Err(Error::new(ErrorKind::Conflict, "another version is current")
                    .with("name", name.as_str())
                    .with("version", current.as_str()));
            }
            // What was written by hand stays as it was written by hand: without a mark.
            let mark = slot.mark.as_ref().map(|_| Mark::new(name.clone())).transpose()?;
            (Some(slot.entry.name().to_owned()), mark)
        }
        Lookup::Taken { .. } | Lookup::Missing if matches!(request.mode, PutMode::Match(_)) => return Err(not_found(name, path)),
        Lookup::Taken { variable, by } => {
            return Err(
                Error::new(ErrorKind::Conflict, "the name's variable belongs to another secret")
                    .with("name", name.as_str())
                    .with("variable", variable)
                    .with("owner", by.as_str())
                    .with("path", path.display().to_string())
                    .with_hint("choose a name that differs in more than case and `/`, `-`, `.`, `_`"),
            );
        }
        Lookup::Missing => (None, Some(Mark::new(name.clone())?)),
    };
    let variable = match (variable, &mark) {
        (Some(variable), mark) => {
            snapshot.document.set(&variable, text)?;
            if let Some(mark) = mark {
                snapshot.document.set_comment(&variable, &mark.comment())?;
            }
            variable
        }
        (None, mark) => {
            let variable = variable_for(name).unwrap_or_default();
            let comment = mark.as_ref().map(Mark::comment);
            snapshot.document.append(comment.as_deref(), &variable, text)?;
            variable
        }
    };
    snapshot.identity = locked.replace(snapshot.document.text())?;
    let mut metadata = Metadata::new(name.clone(), DotenvStore::SCHEME);
    if let Some(entry) = snapshot.document.get(&variable) {
        metadata.version = Some(mark::version(&entry, mark.as_ref(), &snapshot.identity)?);
    }
    Ok(metadata)
}

fn delete(name: &SecretName, path: &Path) -> Result<()> {
    let mut locked = Locked::acquire(path, Missing::Leave)?.ok_or_else(|| not_found(name, path))?;
    let mut snapshot = locked.read()?;
    let index = Index::new(&snapshot);
    let variable = match index.look_up(name) {
        Lookup::Own(slot) => slot.entry.name().to_owned(),
        Lookup::Alias(slot) => return Err(only_an_alias(name, slot, path)),
        Lookup::Taken { .. } | Lookup::Missing => return Err(not_found(name, path)),
    };
    snapshot.document.remove_with_comment(&variable, Mark::is_mark)?;
    locked.replace(snapshot.document.text()).map(|_| ())
}

fn metadata(name: &SecretName, index: &Index<'_>, slot: &Slot<'_>) -> Result<Metadata> {
    let mut metadata = Metadata::new(name.clone(), DotenvStore::SCHEME);
    metadata.version = Some(index.version(slot)?);
    Ok(metadata)
}

fn examine(snapshot: Option<&Snapshot>, path: &Path) -> Health {
    let mut health = Health::default();
    health.details.push(("path", path.display().to_string()));
    let Some(snapshot) = snapshot else {
        health
            .warnings
            .push(format!("there is no file `{}` yet; the first put makes it", path.display()));
        return health;
    };
    let variables = Index::new(snapshot).len();
    health.details.push(("variables", variables.to_string()));
    health.details.push(("mode", format!("{:04o}", snapshot.mode)));
    if snapshot.mode & 0o077 != 0 {
        health.warnings.push(format!(
            "`{0}` can be read or changed by other users (mode {1:04o}); `chmod 600 {0}` ends that",
            path.display(),
            snapshot.mode
        ));
    }
    if snapshot.document.entries().len() > variables {
        health.warnings.push(format!(
            "`{}` sets a variable more than once; the last one counts",
            path.display()
        ));
    }
    health
}

fn not_found(name: &SecretName, path: &Path) -> Error {
    Error::new(ErrorKind::NotFound, "no such secret")
        .with("name", name.as_str())
        .with("store", DotenvStore::SCHEME)
        .with("path", path.display().to_string())
}

fn only_an_alias(name: &SecretName, slot: &Slot<'_>, path: &Path) -> Error {
    let variable = slot.entry.name();
    Error::new(
        ErrorKind::Conflict,
        format!("the secret is the variable `{variable}`, which was written by hand and can only be read under this name"),
    )
    .with("name", name.as_str())
    .with("path", path.display().to_string())
    .with_hint(format!("use the name `{variable}`"))
}

//! Making a snapshot.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use futures_util::stream::{self, StreamExt as _};
use keyfob_core::{Error, ErrorKind, Expired, GetOptions, ListOptions, Result, SecretName, SecretStore};
use keyfob_envelope::KeySource;

use crate::blocking::blocking;
use crate::directory::SnapshotDirectory;
use crate::draft::{About, Draft};
use crate::manifest::{Keeps, Manifest};
use crate::options::{CreateOptions, MAX_BASES, Parent};
use crate::snapshot::Snapshot;

impl SnapshotDirectory {
    /// Writes a snapshot of `store`, which only who has the key of `key` can read. `progress` is told how many secrets were
    /// read.
    ///
    /// The store may have layers; a cache is gone past. Secrets that have expired are part of it, with their expiry; deleted
    /// ones are not. A secret that is deleted while the snapshot is made may be missing.
    ///
    /// The file appears complete, synced, with mode 0600, or not at all.
    ///
    /// # Errors
    /// Those of [`SecretStore::list`] and of the first [`SecretStore::get`] that fails; those of the key source;
    /// `NotFound`, `Unauthenticated` and `Corrupt` of [`Parent::Of`]; `InvalidConfig` when others may write to the directory;
    /// `PermissionDenied` and `Unavailable` of the file system.
    pub async fn create(
        &self,
        store: &dyn SecretStore,
        key: &dyn KeySource,
        options: &CreateOptions,
        mut progress: impl FnMut(usize),
    ) -> Result<Manifest> {
        self.prepare()?;
        let begun = self.clock.system_now();
        let names = names(store, options).await?;
        let parent = self.parent(store, key, options).await?;
        let draft = Draft::begin(self.unfinished()?, key, parent, options.compress).await?;
        let draft = fill(draft, store, names, options.concurrency.max(1), &mut progress).await?;
        let info = store.info();
        let about = About {
            store: info.scheme.to_string(),
            location: info.location.clone(),
            prefix: options.prefix.clone(),
            keeps: Keeps::of(&info.capabilities),
            whole: options.names.is_none(),
            note: options.note.clone(),
            begun,
            finished: self.clock.system_now(),
        };
        let directory = self.clone();
        blocking(move || {
            let (file, manifest) = draft.finish(about)?;
            directory.publish(file, &manifest.summary)?;
            Ok(manifest)
        })
        .await
    }

    async fn parent(&self, store: &dyn SecretStore, key: &dyn KeySource, options: &CreateOptions) -> Result<Option<Snapshot>> {
        let (id, is_required) = match options.parent {
            Parent::None => return Ok(None),
            Parent::Of(id) => (Some(id), true),
            Parent::Newest => {
                let info = store.info();
                let fits = self
                    .list()
                    .await?
                    .into_iter()
                    .filter_map(|listed| listed.summary.ok())
                    .filter(|summary| {
                        summary.whole
                            && *summary.store == *info.scheme
                            && summary.location == info.location
                            && summary.prefix == options.prefix
                    });
                (fits.max_by_key(|summary| summary.begun).map(|summary| summary.id), false)
            }
        };
        let Some(id) = id else { return Ok(None) };
        let parent = async {
            let parent = self.open_snapshot(id, key).await?;
            // What is built on is vouched for: it must be what was written.
            let inner = Arc::clone(&parent.0);
            blocking(move || {
                [&inner.own]
                    .into_iter()
                    .chain(&inner.bases)
                    .try_for_each(|file| file.check_digest())
            })
            .await?;
            Ok::<_, Error>(parent)
        };
        match parent.await {
            Ok(parent) => Ok((parent.0.bases.len() < MAX_BASES).then_some(parent)),
            Err(error)
                if !is_required
                    && matches!(
                        error.kind(),
                        ErrorKind::Unauthenticated | ErrorKind::Corrupt | ErrorKind::NotFound
                    ) =>
            {
                Ok(None)
            }
            Err(error) => Err(error),
        }
    }
}

/// The names that a snapshot is to have.
pub(crate) async fn names(store: &dyn SecretStore, options: &CreateOptions) -> Result<BTreeSet<SecretName>> {
    let is_meant = |name: &SecretName| {
        let is_excluded = options.exclude.iter().any(|prefix| name.as_str().starts_with(prefix));
        name.as_str().starts_with(&options.prefix) && !is_excluded && !name.is_reserved()
    };
    if let Some(names) = &options.names {
        return Ok(names.iter().filter(|name| is_meant(name)).cloned().collect());
    }
    let mut names = BTreeSet::new();
    let mut list = ListOptions {
        prefix: options.prefix.clone(),
        ..ListOptions::default()
    };
    loop {
        let page = store.list(&list).await?;
        names.extend(page.items.into_iter().map(|metadata| metadata.name).filter(is_meant));
        list.page.token = page.next;
        if list.page.token.is_none() {
            return Ok(names);
        }
    }
}

/// Reads secrets, many at a time, and writes them in the order of names.
///
/// No thread is held between two writes: a store may need the only one that the runtime has for work that blocks.
async fn fill(
    mut draft: Draft,
    store: &dyn SecretStore,
    names: BTreeSet<SecretName>,
    concurrency: usize,
    progress: &mut impl FnMut(usize),
) -> Result<Draft> {
    let mut reads = stream::iter(names)
        .map(|name| async move {
            // By `get`: a batch leaves out description and tags where the service's own does.
            let read = store.get(&name, &fresh()).await;
            read.map_err(|error| error.with("name", name.as_str()))
        })
        .buffered(concurrency)
        .ready_chunks(concurrency);
    let mut count = 0;
    while let Some(read) = reads.next().await {
        let mut secrets = Vec::with_capacity(read.len());
        for read in read {
            match read {
                Ok(secret) => secrets.push(secret),
                // Deleted since it was listed.
                Err(error) if error.kind() == ErrorKind::NotFound => {}
                Err(error) => return Err(error),
            }
        }
        let portion = secrets.len();
        draft = blocking(move || {
            for secret in &secrets {
                draft.add(secret)?;
            }
            Ok(draft)
        })
        .await?;
        for _ in 0..portion {
            count += 1;
            progress(count);
        }
    }
    Ok(draft)
}

/// Past every cache, and also what has expired.
pub(crate) fn fresh() -> GetOptions {
    GetOptions {
        max_age: Some(Duration::ZERO),
        expired: Expired::Allow,
        ..GetOptions::default()
    }
}

//! Files of snapshots, kept in a store.

use std::collections::BTreeSet;
use std::fmt;
use std::io::Write as _;
use std::sync::Arc;

use data_encoding::BASE64;
use futures_util::stream::{self, StreamExt as _, TryStreamExt as _};
use keyfob_core::{
    BoxFuture, DeleteOptions, Error, ErrorKind, GetOptions, ListOptions, PutMode, PutRequest, Result, SecretName, SecretStore,
    SecretValue,
};
use serde::{Deserialize, Serialize};
use tempfile::NamedTempFile;

use crate::archive::{Archive, Bytes};
use crate::blocking::blocking;
use crate::directory::SnapshotDirectory;
use crate::error::{corrupt, failed};
use crate::id::{Digest, SnapshotId};
use crate::manifest::Summary;

/// A place in a store for the files of snapshots, in pieces that the store can hold, as text.
///
/// A snapshot is made in a [directory](SnapshotDirectory) and [sent](Self::send), and [fetched](Self::fetch) to be read. What the
/// store holds is the encrypted file: it learns what everybody learns who has the file and no key.
///
/// Under the prefix `P`, a snapshot is `P/ID/000000`, `P/ID/000001`, and so on, and `P/ID/head`, which is written last.
#[derive(Clone)]
pub struct SnapshotDepot {
    store: Arc<dyn SecretStore>,
    prefix: SecretName,
}

/// The most bytes of a file in one piece: in base64 64 KiB, which most services take.
const MOST: usize = 48 << 10;
/// How many pieces are on their way at the same time.
const CONCURRENCY: usize = 8;
const FORMAT: u32 = 1;
const HEAD: &str = "head";

/// What stands in `head`.
#[derive(Serialize, Deserialize, PartialEq)]
#[serde(deny_unknown_fields)]
struct Head {
    format: u32,
    /// The length of the file.
    bytes: u64,
    /// The digest at the end of the file.
    digest: Digest,
    /// The length of each piece but the last.
    piece: u64,
    bases: Vec<SnapshotId>,
}

impl SnapshotDepot {
    /// A place in `store` under `prefix`.
    #[must_use]
    pub fn new(store: Arc<dyn SecretStore>, prefix: SecretName) -> Self {
        Self { store, prefix }
    }

    /// The store.
    #[must_use]
    pub fn store(&self) -> &dyn SecretStore {
        &*self.store
    }

    /// The snapshots here, in the order of their ids.
    ///
    /// # Errors
    /// Those of [`SecretStore::list`].
    pub async fn list(&self) -> Result<Vec<SnapshotId>> {
        let names = self.names(format!("{}/", self.prefix)).await?;
        let ids = names.iter().filter_map(|name| {
            let rest = name.as_str().strip_prefix(self.prefix.as_str())?.strip_prefix('/')?;
            rest.strip_suffix(HEAD)?.strip_suffix('/')?.parse().ok()
        });
        Ok(ids.collect())
    }

    /// Copies a snapshot of `directory` here, and what it builds on. What is here already is left alone, and what was
    /// interrupted goes on.
    ///
    /// # Errors
    /// `NotFound` and `Corrupt` of the file, whose bytes are compared with its digest first; `Conflict` when there is another
    /// snapshot of the same id; those of [`SecretStore::put`].
    pub fn send<'a>(&'a self, directory: &'a SnapshotDirectory, id: SnapshotId) -> BoxFuture<'a, Result<()>> {
        // What a snapshot builds on may build on others.
        Box::pin(async move {
            let opened = directory.clone();
            let (summary, digest, bytes) = blocking(move || {
                let archive = opened.archive(id)?;
                archive.check_digest()?;
                Ok((archive.manifest.summary.clone(), archive.digest, archive.into_bytes()))
            })
            .await?;
            let present = self.head(id).await?;
            if present.as_ref().is_some_and(|head| head.digest == digest) {
                return Ok(());
            }
            if present.is_some() {
                return Err(self.of(corrupt("another snapshot has the same id"), id));
            }
            for base in &summary.bases {
                self.send(directory, base.id).await?;
            }
            self.send_file(&summary, digest, bytes).await
        })
    }

    /// Copies a snapshot from here into `directory`, and what it builds on. Nothing happens to what is there already.
    ///
    /// # Errors
    /// `NotFound` when it, or what it builds on, is not here; `Corrupt` when what is here is not the file that was sent; those of
    /// [`SecretStore::get`] and of the file system.
    pub fn fetch<'a>(&'a self, directory: &'a SnapshotDirectory, id: SnapshotId) -> BoxFuture<'a, Result<()>> {
        Box::pin(async move {
            directory.prepare()?;
            if directory.path_of(id).exists() {
                return Ok(());
            }
            let head = self
                .head(id)
                .await?
                .ok_or_else(|| self.of(Error::new(ErrorKind::NotFound, "there is no such snapshot"), id))?;
            let file = self.fetch_file(directory, id, &head).await?;
            let (file, summary) = blocking(move || {
                let archive = Archive::open(file.path())?;
                archive.check_digest()?;
                let summary = archive.manifest.summary.clone();
                if summary.id != id || archive.digest != head.digest {
                    return Err(corrupt("the file is another snapshot"));
                }
                Ok((file, summary))
            })
            .await
            .map_err(|error| self.of(error, id))?;
            for base in &summary.bases {
                self.fetch(directory, base.id).await?;
            }
            let directory = directory.clone();
            blocking(move || directory.publish(file, &summary)).await
        })
    }

    /// Deletes a snapshot here, as the store deletes when nothing else is said. What an interrupted sending left is deleted
    /// too.
    ///
    /// # Errors
    /// `NotFound`; `Conflict` when another snapshot here builds on it; those of [`SecretStore::delete`].
    pub async fn delete(&self, id: SnapshotId) -> Result<()> {
        for other in self.list().await?.into_iter().filter(|other| *other != id) {
            let head = self.head(other).await?;
            if head.is_some_and(|head| head.bases.contains(&id)) {
                let error = Error::new(
                    ErrorKind::Conflict,
                    "another snapshot builds on the one that is to be deleted",
                );
                return Err(self.of(error.with("needed_by", other.to_string()), id));
            }
        }
        let mut names = self.names(format!("{}/{id}/", self.prefix)).await?;
        if names.is_empty() {
            return Err(self.of(Error::new(ErrorKind::NotFound, "there is no such snapshot"), id));
        }
        let head = self.name(id, HEAD)?;
        // First: what has no head is no snapshot.
        let first = names.take(&head);
        for name in first.into_iter().chain(names) {
            match self.store.delete(&name, &DeleteOptions::default()).await {
                Err(error) if error.kind() != ErrorKind::NotFound => return Err(error),
                _ => {}
            }
        }
        Ok(())
    }

    async fn send_file(&self, summary: &Summary, digest: Digest, bytes: Bytes) -> Result<()> {
        let most = self.store.info().capabilities.max_value_bytes / 4 * 3;
        let head = Head {
            format: FORMAT,
            bytes: summary.bytes,
            digest,
            piece: MOST.min(most).max(3) as u64,
            bases: summary.bases.iter().map(|base| base.id).collect(),
        };
        let bytes = Arc::new(bytes);
        stream::iter(0..head.pieces())
            .map(Ok)
            .try_for_each_concurrent(CONCURRENCY, |number| {
                let (bytes, (begin, length)) = (Arc::clone(&bytes), head.place(number));
                async move {
                    let piece = blocking(move || bytes.read(begin, length)).await?;
                    self.put(summary.id, &format!("{number:06}"), BASE64.encode(&piece)).await
                }
            })
            .await?;
        let head = serde_json::to_string(&head)
            .map_err(|source| Error::new(ErrorKind::Other, "can't write the head of the snapshot").with_source(source))?;
        self.put(summary.id, HEAD, head).await
    }

    async fn fetch_file(&self, directory: &SnapshotDirectory, id: SnapshotId, head: &Head) -> Result<NamedTempFile> {
        let mut file = directory.unfinished()?;
        let mut pieces = stream::iter(0..head.pieces())
            .map(|number| async move {
                let name = self.name(id, &format!("{number:06}"))?;
                let secret = self.store.get(&name, &GetOptions::default()).await?;
                let piece = BASE64.decode(secret.value.expose_secret());
                piece.ok().filter(|piece| piece.len() == head.place(number).1).ok_or_else(|| {
                    self.of(corrupt("a piece of the snapshot is not what was sent"), id)
                        .with("piece", number.to_string())
                })
            })
            .buffered(CONCURRENCY);
        while let Some(piece) = pieces.try_next().await? {
            file = blocking(move || {
                let written = file.as_file_mut().write_all(&piece);
                written.map_err(|source| failed("write the snapshot", file.path(), source))?;
                Ok(file)
            })
            .await?;
        }
        drop(pieces);
        blocking(move || {
            let synced = file.as_file().sync_all();
            synced.map_err(|source| failed("write the snapshot", file.path(), source))?;
            Ok(file)
        })
        .await
    }

    async fn head(&self, id: SnapshotId) -> Result<Option<Head>> {
        let read = match self.store.get(&self.name(id, HEAD)?, &GetOptions::default()).await {
            Ok(secret) => secret,
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(error),
        };
        let head = serde_json::from_slice::<Head>(read.value.expose_secret());
        let head = head
            .ok()
            .filter(|head| head.format == FORMAT && head.piece > 0 && head.piece <= MOST as u64);
        match head {
            Some(head) => Ok(Some(head)),
            None => Err(self.of(corrupt("the head of the snapshot can't be read"), id)),
        }
    }

    /// Writes what is not there yet, or is there already as it should be.
    async fn put(&self, id: SnapshotId, what: &str, text: String) -> Result<()> {
        let name = self.name(id, what)?;
        let value = SecretValue::from(text);
        if let Ok(present) = self.store.get(&name, &GetOptions::default()).await {
            if present.value.expose_secret() == value.expose_secret() {
                return Ok(());
            }
            return Err(self.of(
                Error::new(ErrorKind::Conflict, "something else has the name of a piece of the snapshot"),
                id,
            ));
        }
        let mode = if self.store.info().capabilities.put_create {
            PutMode::Create
        } else {
            PutMode::Upsert
        };
        self.store.put(&name, PutRequest::new(value).mode(mode)).await.map(|_| ())
    }

    fn name(&self, id: SnapshotId, what: &str) -> Result<SecretName> {
        SecretName::new(format!("{}/{id}/{what}", self.prefix))
    }

    async fn names(&self, prefix: String) -> Result<BTreeSet<SecretName>> {
        let mut names = BTreeSet::new();
        let mut list = ListOptions {
            prefix,
            ..ListOptions::default()
        };
        loop {
            let page = self.store.list(&list).await?;
            names.extend(page.items.into_iter().map(|metadata| metadata.name));
            list.page.token = page.next;
            if list.page.token.is_none() {
                return Ok(names);
            }
        }
    }

    fn of(&self, error: Error, id: SnapshotId) -> Error {
        error
            .with("snapshot", id.to_string())
            .with("store", self.store.info().location.clone())
    }
}

impl fmt::Debug for SnapshotDepot {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SnapshotDepot")
            .field("store", &self.store.info().location)
            .field("prefix", &self.prefix)
            .finish()
    }
}

impl Head {
    fn pieces(&self) -> u64 {
        self.bytes.div_ceil(self.piece)
    }

    /// Where a piece begins, and its length.
    fn place(&self, number: u64) -> (u64, usize) {
        let begin = number * self.piece;
        let length = self.piece.min(self.bytes.saturating_sub(begin));
        (begin, usize::try_from(length).unwrap_or(MOST))
    }
}

//! `delete` and `restore`.
//!
//! Secret Manager deletes at once and for good. To delete so that it can be undone, a note says when and which versions are
//! enabled, then they are disabled: from then on no tool reads them. Restoring enables exactly these and takes the note away.

use std::time::SystemTime;

use futures_util::future::join;
use keyfob_core::adapter::Ramp;
use keyfob_core::{DeleteMode, DeleteOptions, Error, ErrorKind, Metadata, Result, SecretName, Version};

use super::requests::Described;
use super::writing::ROUNDS;
use super::{Inner, SCHEME};
use crate::error::{Failed, deleted, failed, not_found, overtaken};
use crate::notes::Deletion;

impl Inner {
    pub(super) async fn delete(&self, name: &SecretName, options: DeleteOptions) -> Result<()> {
        match options.mode {
            DeleteMode::Permanent => {
                let request = self.client.delete_secret().set_name(self.path(name));
                request.send().await.map_err(|error| failed(error).about(name))
            }
            DeleteMode::Recoverable { .. } | DeleteMode::StoreDefault => self.delete_recoverably(name).await,
        }
    }

    async fn delete_recoverably(&self, name: &SecretName) -> Result<()> {
        for _ in 0..ROUNDS {
            let (described, enabled) = join(self.describe(name), self.all_versions(name, true)).await;
            let described = described.map_err(|failed| failed.about(name))?;
            let enabled = enabled.map_err(|failed| failed.about(name))?;
            let numbers: Vec<u64> = enabled.iter().map(|version| version.number).collect();
            if let Some(deletion) = &described.notes.deletion {
                // Was it broken off?
                let left: Vec<u64> = deletion
                    .enabled
                    .iter()
                    .rev()
                    .filter(|number| numbers.contains(number))
                    .collect();
                return match left.is_empty() {
                    true => Err(deleted(name)),
                    false => self.disable_all(name, &left).await.map_err(|failed| failed.about(name)),
                };
            }
            let mut notes = described.notes.clone();
            notes.deletion = Some(Deletion {
                at: SystemTime::now(),
                enabled: numbers.iter().copied().collect(),
            });
            let marked = match self.write_notes(name, &notes, &described.etag).await {
                Err(failed) if failed.is_overtaken() => continue,
                marked => marked.map_err(|failed| failed.about(name))?,
            };
            return match self.disable_all(name, &numbers).await {
                Ok(()) => Ok(()),
                // Nobody knows what was done or still will be: it is not undone behind the caller's back.
                Err(failed) if failed.kind() == ErrorKind::Timeout && failed.is_unanswered() => Err(failed.about(name)),
                Err(failed) => Err(self.undo_deletion(name, &numbers, marked, failed).await),
            };
        }
        Err(overtaken(name))
    }

    /// The newest first, alone: what is read as current must be the first to go.
    async fn disable_all(&self, name: &SecretName, newest_first: &[u64]) -> Result<(), Failed> {
        let Some((newest, others)) = newest_first.split_first() else {
            return Ok(());
        };
        self.set_enabled(name, *newest, false).await.or_else(unless_destroyed)?;
        let others = others.iter().map(|number| self.set_enabled(name, *number, false));
        let answers = Ramp::HTTP1.all(others.collect()).await;
        answers.into_iter().try_for_each(|answer| answer.or_else(unless_destroyed))
    }

    /// Enables these, the newest last: what is read as current must be the last to come back.
    async fn enable_all(&self, name: &SecretName, newest_first: &[u64]) -> Result<(), Failed> {
        let Some((newest, others)) = newest_first.split_first() else {
            return Ok(());
        };
        let others = others.iter().map(|number| self.set_enabled(name, *number, true));
        let answers = Ramp::HTTP1.all(others.collect()).await;
        answers.into_iter().try_for_each(|answer| answer.or_else(unless_destroyed))?;
        self.set_enabled(name, *newest, true).await.or_else(unless_destroyed)
    }

    /// A deletion that failed leaves the secret as it was.
    async fn undo_deletion(&self, name: &SecretName, numbers: &[u64], marked: Described, why: Failed) -> Error {
        let mut notes = marked.notes.clone();
        notes.deletion = None;
        let undone = match self.enable_all(name, numbers).await {
            Ok(()) => self.write_notes(name, &notes, &marked.etag).await.map(drop),
            Err(failed) => Err(failed),
        };
        let error = why.about(name);
        match undone {
            Ok(()) => error,
            Err(_) => {
                let half = Error::new(error.kind(), "the deletion is not complete: some versions are still enabled");
                half.with("name", name.as_str())
                    .with("store", SCHEME)
                    .with_source(error)
                    .with_hint("delete it again, or restore it")
            }
        }
    }

    pub(super) async fn restore(&self, name: &SecretName) -> Result<Metadata> {
        for _ in 0..ROUNDS {
            let described = self.describe(name).await.map_err(|failed| failed.about(name))?;
            let mut notes = described.notes.clone();
            if let Some(deletion) = notes.deletion.take() {
                let numbers: Vec<u64> = deletion.enabled.iter().rev().collect();
                self.enable_all(name, &numbers).await.map_err(|failed| failed.about(name))?;
                match self.write_notes(name, &notes, &described.etag).await {
                    Err(failed) if failed.is_overtaken() => continue,
                    written => written.map_err(|failed| failed.about(name))?,
                };
            }
            let newest = self.newest(name).await.map_err(|failed| failed.about(name))?;
            let current = self.current_number(name, newest).await?;
            let mut metadata = Metadata::new(name.clone(), SCHEME);
            metadata.version = current.map(Version::from);
            notes.add_to(&mut metadata, current.unwrap_or_default());
            return match newest {
                // There never was a value.
                None => Err(not_found(name).with_hint("there is a secret of that name, and it has no value yet")),
                Some(_) => Ok(metadata),
            };
        }
        Err(overtaken(name))
    }
}

/// Somebody destroyed the version in the meantime: there is nothing left to enable or disable.
fn unless_destroyed(failed: Failed) -> Result<(), Failed> {
    match failed.is_precondition() || failed.is_not_found() {
        true => Ok(()),
        false => Err(failed),
    }
}

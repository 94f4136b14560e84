//! `delete` and `restore`.
//!
//! The vault answers when it has begun, and finishes by itself. What has not finished yet is neither there nor deleted, so
//! each step waits for its end.

use keyfob_core::{DeleteMode, Error, ErrorKind, Metadata, Result, SecretName};

use super::finding::{Found, Place};
use super::pauses::Pauses;
use super::reading::hidden;
use super::{Inner, SCHEME};
use crate::client::Told;
use crate::error::{Failed, deleted, managed, not_found, with_facts_of};
use crate::names::AzureName;
use crate::permissions::Permission;

/// So many looks in a row may fail in a way that does not pass by itself.
const MOST_FAILURES: u32 = 3;

impl Inner {
    pub(super) async fn delete(&self, name: &SecretName, mode: DeleteMode) -> Result<()> {
        let about = |failed: Failed| failed.about(name);
        let is_permanent = mode == DeleteMode::Permanent;
        let Place { name: place, found } = self.look(name).await.map_err(about)?;
        match found {
            Found::It(told) => {
                if told.is_managed {
                    return Err(managed(name));
                }
                if is_permanent {
                    check_purgeable(name, &told)?;
                }
                let is_recoverable = match self.vault.delete(&place).await {
                    Ok(is_recoverable) => is_recoverable,
                    // Gone since it was looked at.
                    Err(failed) if failed.is_not_found() => return Err(not_found(name)),
                    Err(failed) => return Err(failed.about(name)),
                };
                // A vault without soft delete has no second state.
                if is_recoverable {
                    let what = "the vault has not finished deleting";
                    self.until(name, what, || self.is_deleted(&place)).await?;
                    if is_permanent {
                        self.purge(name, &place).await?;
                    }
                }
                Ok(())
            }
            Found::Another(told) => Err(hidden(name, &told)),
            Found::Nothing => {
                let Place { name: place, found } = self.look_deleted(name).await.map_err(|failed| {
                    // Who may not look there can't know of anything that is deleted.
                    if failed.is_denied() {
                        not_found(name)
                    } else {
                        failed.about(name)
                    }
                })?;
                match found {
                    Found::It(told) if is_permanent => {
                        check_purgeable(name, &told)?;
                        self.purge(name, &place).await
                    }
                    Found::It(_) => Err(deleted(name)),
                    Found::Another(_) | Found::Nothing => Err(not_found(name)),
                }
            }
        }
    }

    pub(super) async fn restore(&self, name: &SecretName) -> Result<Metadata> {
        let (there, gone) = self.look_everywhere(name).await;
        match there.map_err(|failed| failed.about(name))?.found {
            Found::It(told) => return Ok(told.metadata(name)),
            Found::Another(told) => return Err(hidden(name, &told)),
            Found::Nothing => {}
        }
        let Place { name: place, found } = gone.map_err(|failed| failed.about(name))?;
        if !matches!(found, Found::It(_)) {
            return Err(not_found(name));
        }
        match self.vault.recover(&place).await {
            Ok(()) => {}
            Err(failed) if failed.is_not_found() => return Err(not_found(name)),
            Err(failed) => return Err(failed.about(name)),
        }
        self.until(name, "the vault has not finished restoring", || self.is_there(&place))
            .await?;
        let told = self.current(&place).await.map_err(|failed| failed.about(name))?;
        Ok(told.metadata(name))
    }

    /// Takes away for good what is deleted.
    async fn purge(&self, name: &SecretName, place: &AzureName) -> Result<()> {
        let mut pauses = Pauses::until(self.recovery_timeout);
        loop {
            match self.vault.purge(place).await {
                Ok(()) => self.purged.note(place),
                Err(failed) if failed.is_not_found() => return Ok(()),
                // Who may not look whether the delete has finished is told so here.
                Err(failed) if failed.is_being_deleted() && pauses.pause().await => continue,
                Err(failed) => {
                    let hint = match failed.is_denied() {
                        true => format!(
                            "the secret is deleted and can be restored; purging needs the permission `{}`, and a vault without \
                             purge protection",
                            Permission::Purge.action()
                        ),
                        false => "the secret is deleted and can be restored; delete it for good again".to_owned(),
                    };
                    return Err(failed.about(name).with_hint(hint));
                }
            }
            break;
        }
        self.until(name, "the vault has not finished purging", || async {
            self.is_deleted(place).await.map(|is_deleted| !is_deleted)
        })
        .await
    }

    async fn is_deleted(&self, place: &AzureName) -> Result<bool, Failed> {
        match self.vault.deleted(place).await {
            Ok(_) => Ok(true),
            Err(failed) if failed.is_not_found() || failed.is_conflict() => Ok(false),
            Err(failed) => Err(failed),
        }
    }

    /// Looks again and again until it is so, or the time is up.
    async fn until<F>(&self, name: &SecretName, what: &'static str, is_so: impl Fn() -> F) -> Result<()>
    where
        F: Future<Output = Result<bool, Failed>>,
    {
        let mut pauses = Pauses::until(self.recovery_timeout);
        let mut failures = 0;
        loop {
            let mut unseen = None;
            match is_so().await {
                Ok(true) => return Ok(()),
                Ok(false) => failures = 0,
                // Who may not look can't wait; the vault has said that it does what was asked.
                Err(failed) if failed.is_denied() => return Ok(()),
                // Whatever is wrong with a look, what was asked for is being done.
                Err(failed) => {
                    let error = failed.about(name);
                    failures += if error.kind().is_retryable() { 0 } else { 1 };
                    pauses.at_least(error.retry_after().unwrap_or_default());
                    unseen = Some(error);
                }
            }
            if failures >= MOST_FAILURES || !pauses.pause().await {
                let mut error = Error::new(ErrorKind::Timeout, what)
                    .with("name", name.as_str())
                    .with("store", SCHEME)
                    .with_hint("it goes on by itself; look again later, or give it more time with `recovery-timeout`");
                if let Some(unseen) = unseen {
                    error = with_facts_of(error, &unseen).with_source(unseen);
                }
                return Err(error);
            }
        }
    }
}

/// Nothing is deleted when what was asked for can't be done to its end.
fn check_purgeable(name: &SecretName, told: &Told) -> Result<()> {
    match told.is_purgeable {
        Some(false) => Err(Error::new(
            ErrorKind::PermissionDenied,
            "the vault has purge protection: nothing can be deleted for good before its time",
        )
        .with("name", name.as_str())
        .with("store", SCHEME)
        .with_hint("delete it without `--permanent`; the vault takes it away when its retention ends")),
        _ => Ok(()),
    }
}

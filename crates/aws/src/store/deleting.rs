//! `delete` and `restore`.

use keyfob_core::{DeleteMode, DeleteOptions, Metadata, Result, SecretName};

use super::{DAY, Inner};
use crate::error::{confirm, deleted, failed_write};

impl Inner {
    pub(super) async fn delete(&self, name: &SecretName, options: DeleteOptions) -> Result<()> {
        // A forced delete says nothing of a secret that isn't there, and not every service says it of a deleted one.
        let described = self.describe(name).await.map_err(|failed| failed.about(name))?;
        let request = self.client.delete_secret().secret_id(self.names.id(name));
        let request = match options.mode {
            DeleteMode::Permanent => request.force_delete_without_recovery(true),
            DeleteMode::Recoverable { .. } | DeleteMode::StoreDefault if described.deleted_at.is_some() => {
                return Err(deleted(name));
            }
            DeleteMode::Recoverable { window: Some(window) } => {
                // Never shorter than asked for.
                let days = window.as_secs().div_ceil(DAY);
                request.recovery_window_in_days(i64::try_from(days).unwrap_or(self.recovery_days))
            }
            DeleteMode::Recoverable { window: None } | DeleteMode::StoreDefault => {
                request.recovery_window_in_days(self.recovery_days)
            }
        };
        let answer = request.send().await.map_err(|error| failed_write(error).about(name))?;
        confirm(&self.names.id(name), answer.name(), answer.arn()).map_err(|failed| failed.about(name))
    }

    pub(super) async fn restore(&self, name: &SecretName) -> Result<Metadata> {
        let request = self.client.restore_secret().secret_id(self.names.id(name));
        let answer = request.send().await.map_err(|error| failed_write(error).about(name))?;
        confirm(&self.names.id(name), answer.name(), answer.arn()).map_err(|failed| failed.about(name))?;
        let described = self.describe(name).await.map_err(|failed| failed.about(name))?;
        Ok(described.metadata(name))
    }
}

//! Staging labels: moved, added, taken away.

use std::time::SystemTime;

use aws_sdk_secretsmanager::operation::update_secret_version_stage::builders::UpdateSecretVersionStageFluentBuilder;
use keyfob_core::{Result, SecretName};

use super::Inner;
use super::metadata::Described;
use super::writing::{another_is_current, written_on_deleted};
use crate::error::{Failed, confirm, failed_write, with_facts_of};
use crate::stages;

impl Inner {
    /// Moves AWSCURRENT, if it is still where it is expected. AWS checks that, so of many writers one wins.
    pub(super) async fn make_current(&self, name: &SecretName, version: &str, expected: &str, labels: &[String]) -> Result<()> {
        let request = self.client.update_secret_version_stage().secret_id(self.names.id(name));
        let request = request.version_stage(stages::CURRENT).move_to_version_id(version);
        let moved = self.sent(name, request.remove_from_version_id(expected)).await;
        let has_lost = moved.as_ref().is_err_and(is_conflict);
        // A lost write gives all its labels back; AWS removes versions without labels by itself. Where nobody knows
        // whether it has lost, it keeps its expiry, because it may be current.
        let surplus = if has_lost { labels } else { &labels[..1] };
        for label in surplus {
            self.give_back(name, label, version).await;
        }
        match moved {
            Ok(()) => Ok(()),
            Err(failed) if has_lost => Err(with_facts_of(another_is_current(name), &failed.about(name))),
            Err(failed) => Err(written_on_deleted(failed, name)),
        }
    }

    /// Takes away the labels under which values waited before a write that is done. Whoever wrote them expected AWSCURRENT where it
    /// no longer is: they have lost and are about to take their labels away, or were killed, before they made their value
    /// current or after it.
    pub(super) async fn end_waiting(&self, name: &SecretName, before: &Described) {
        for (version, labels) in &before.stages {
            for label in labels.iter().filter(|label| stages::is_pending(label)) {
                self.give_back(name, label, version).await;
            }
        }
    }

    /// Takes a label away that means nothing any more, if it is still there.
    async fn give_back(&self, name: &SecretName, label: &str, version: &str) {
        if let Err(failed) = self.remove_label(name, label, version).await
            && failed.code() != "InvalidParameterException"
        {
            tracing::warn!(target: "keyfob", name = name.as_str(), label, code = failed.code(), "a staging label is left behind");
        }
    }

    pub(super) async fn add_label(&self, name: &SecretName, label: &str, version: &str) -> Result<(), Failed> {
        let request = self.client.update_secret_version_stage().secret_id(self.names.id(name));
        let request = request.version_stage(label).move_to_version_id(version);
        self.sent(name, request).await
    }

    pub(super) async fn remove_label(&self, name: &SecretName, label: &str, version: &str) -> Result<(), Failed> {
        let request = self.client.update_secret_version_stage().secret_id(self.names.id(name));
        let request = request.version_stage(label).remove_from_version_id(version);
        self.sent(name, request).await
    }

    async fn sent(&self, name: &SecretName, request: UpdateSecretVersionStageFluentBuilder) -> Result<(), Failed> {
        let answer = request.send().await.map_err(failed_write)?;
        confirm(&self.names.id(name), answer.name(), answer.arn())
    }

    /// Takes what killed writes left behind, then the oldest expiry, away from versions that are neither current nor previous when a secret has nearly as many
    /// labels as it can have. Their values are history that AWS itself may remove at any time.
    pub(super) async fn make_room(&self, name: &SecretName, before: &Described) {
        let labels: usize = before.stages.values().map(Vec::len).sum();
        // The write itself adds two: the expiry, and the pending label or one that moves.
        let surplus = (labels + 2).saturating_sub(stages::MAX_LABELS);
        if surplus == 0 {
            return;
        }
        let now = SystemTime::now();
        let is_past = |labels: &[String]| {
            !labels
                .iter()
                .any(|label| label == stages::CURRENT || label == stages::PREVIOUS)
        };
        let mut old: Vec<(u64, &str, &str)> = before
            .stages
            .iter()
            .filter(|(_, labels)| is_past(labels))
            .flat_map(|(version, labels)| labels.iter().map(move |label| (version.as_str(), label.as_str())))
            .filter_map(|(version, label)| match stages::is_abandoned(label, now) {
                true => Some((0, version, label)),
                false => Some((stages::written(label)?, version, label)),
            })
            .collect();
        old.sort_unstable();
        for (_, version, label) in old.into_iter().take(surplus) {
            // Where this fails, the write will say that there are too many labels.
            if let Err(failed) = self.remove_label(name, label, version).await {
                tracing::warn!(target: "keyfob", name = name.as_str(), label, code = failed.code(), "a staging label can't be removed");
            }
        }
    }
}

/// What AWS says when AWSCURRENT is not on the version that it must come from.
fn is_conflict(failed: &Failed) -> bool {
    matches!(failed.code(), "InvalidParameterException" | "ResourceNotFoundException")
}

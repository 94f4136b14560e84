//! Writing what the plan says, and proving that it was written.

use std::time::Duration;

use futures_util::stream::{self, StreamExt as _};

use super::pace::Pace;
use super::plan::Step;
use super::{Content, CopyEntry, CopyJournal, CopyOutcome, CopyPlan, CopyProgress, CopyReport, Ends, NoJournal};
use crate::error::{Error, ErrorKind, Result};
use crate::name::SecretName;
use crate::options::{PutMode, VersionSelector};
use crate::secret::Version;

/// How long a service may take to show what it has just acknowledged.
const PATIENCE: [Duration; 3] = [
    Duration::from_millis(100),
    Duration::from_millis(400),
    Duration::from_millis(1500),
];

impl CopyPlan {
    /// Does it, and says what became of every secret.
    ///
    /// One secret's failure does not touch the others. Dropped in the middle, every secret of the target is as it was or as
    /// the source has it; copying again goes on.
    pub async fn carry_out(self, progress: impl FnMut(CopyProgress)) -> CopyReport {
        self.carry_out_with(&NoJournal, progress).await
    }

    /// The same, and tells `journal` of every write before it is sent and after it.
    pub async fn carry_out_with(self, journal: &dyn CopyJournal, mut progress: impl FnMut(CopyProgress)) -> CopyReport {
        let mut report = self.report();
        let (ends, steps) = (&self.ends, &self.steps);
        let planned: Vec<(usize, CopyEntry)> = report
            .entries
            .iter()
            .enumerate()
            .filter(|(_, entry)| matches!(entry.outcome, CopyOutcome::Created | CopyOutcome::Changed(_)))
            .map(|(index, entry)| (index, entry.clone()))
            .collect();
        let total = planned.len();
        let pace = &Pace::new(ends.options.rate);
        let mut writes = Box::pin(
            stream::iter(planned)
                .map(|(index, mut entry)| async move {
                    if let Some(step) = steps.get(&entry.name) {
                        pace.turn().await;
                        ends.write_journalled(&mut entry, step, journal).await;
                    }
                    (index, entry)
                })
                .buffer_unordered(ends.concurrency()),
        );
        let mut done = 0;
        while let Some((index, entry)) = writes.next().await {
            report.entries[index] = entry;
            done += 1;
            progress(CopyProgress::Written { done, total });
        }
        drop(writes);
        report
    }
}

impl Ends {
    async fn write_journalled(&self, entry: &mut CopyEntry, step: &Step, journal: &dyn CopyJournal) {
        if let Err(error) = journal.begins(entry) {
            entry.outcome = CopyOutcome::Failed(error);
            return;
        }
        let outcome = self.write(&entry.name, step, &mut entry.written).await;
        entry.outcome = outcome.unwrap_or_else(CopyOutcome::Failed);
        journal.ended(entry);
    }

    /// `written` becomes the version that was made, also when what comes after fails.
    async fn write(&self, name: &SecretName, step: &Step, written: &mut Option<Version>) -> Result<CopyOutcome> {
        // Once more: the plan keeps no values.
        let content = self.read(name).await?;
        if matches!(step, Step::BringBack) {
            return self.bring_back(name, &content, written).await;
        }
        self.write_content(name, step, &content, written).await
    }

    async fn bring_back(&self, name: &SecretName, content: &Content, written: &mut Option<Version>) -> Result<CopyOutcome> {
        let restored = self.to.restore(name).await;
        *written = restored.map_err(|error| error.with("name", name.as_str()))?.version;
        let present = self.look(name).await;
        let (difference, seen) = match present.map(|present| (content.difference(&present), present.metadata.version.clone())) {
            Ok((Some(difference), seen)) => (difference, seen),
            Ok((None, seen)) => {
                *written = seen;
                return Ok(CopyOutcome::Created);
            }
            // It may take a while until a service shows what it restored.
            Err(error) => return Err(error.with_hint("it was brought back, and can't be read yet; copy again")),
        };
        let change = Step::Change { difference, seen };
        match self.write_content(name, &change, content, written).await? {
            CopyOutcome::Changed(_) | CopyOutcome::Unchanged => Ok(CopyOutcome::Created),
            other => Ok(other),
        }
    }

    pub(super) async fn write_content(
        &self,
        name: &SecretName,
        step: &Step,
        content: &Content,
        written: &mut Option<Version>,
    ) -> Result<CopyOutcome> {
        let can = &self.to.info().capabilities;
        let mode = match step {
            Step::Create if can.put_create => PutMode::Create,
            Step::Change { seen: Some(seen), .. } if can.put_match => PutMode::Match(seen.clone()),
            _ => {
                if let Some(outcome) = self.overtaken(name, step, content, None).await? {
                    return Ok(outcome);
                }
                PutMode::Upsert
            }
        };
        match self.to.put(name, content.request().mode(mode)).await {
            Ok(metadata) => {
                written.clone_from(&metadata.version);
                self.verify(name, content, metadata.version).await?;
                Ok(step.outcome())
            }
            Err(error) if error.kind() == ErrorKind::Timeout => self.settle(name, step, content, error, written).await,
            Err(error)
                if matches!(
                    error.kind(),
                    ErrorKind::AlreadyExists | ErrorKind::Conflict | ErrorKind::NotFound
                ) =>
            {
                let overtaken = self.overtaken(name, step, content, Some(error.clone())).await?;
                overtaken.ok_or(error)
            }
            Err(error) => Err(error.with("name", name.as_str())),
        }
    }

    /// What became of a secret that is not in the target as it was seen: somebody else writes at the same time. `None` when
    /// it is as it was seen. What they wrote is not ours to replace.
    ///
    /// # Errors
    /// Those of the look; `refused`, or `Conflict`, when there is something else that was not seen before.
    async fn overtaken(
        &self,
        name: &SecretName,
        step: &Step,
        content: &Content,
        refused: Option<Error>,
    ) -> Result<Option<CopyOutcome>> {
        let present = self.look(name).await;
        match (step, self.step(content, present)) {
            (Step::Create, Step::Create) => Ok(None),
            (Step::Change { seen, .. }, Step::Change { seen: now, .. }) if *seen == now => Ok(None),
            (_, Step::Nothing(_)) => Ok(Some(CopyOutcome::Unchanged)),
            (_, Step::Leave(difference)) => Ok(Some(CopyOutcome::Left(difference))),
            (_, Step::Fail(error)) => Err(refused.unwrap_or(error).with("name", name.as_str())),
            (_, Step::Create | Step::BringBack | Step::Change { .. }) => {
                let error =
                    refused.unwrap_or_else(|| Error::new(ErrorKind::Conflict, "somebody else changed the secret meanwhile"));
                Err(error
                    .with("name", name.as_str())
                    .with_hint("somebody else changed it during the copy, and was not overwritten; copy again"))
            }
        }
    }

    /// Whether a write whose answer never came has happened.
    async fn settle(
        &self,
        name: &SecretName,
        step: &Step,
        content: &Content,
        timeout: Error,
        written: &mut Option<Version>,
    ) -> Result<CopyOutcome> {
        let mut waits = PATIENCE.iter();
        loop {
            let present = self.look(name).await;
            if let Some(present) = present.ok().filter(|present| content.difference(present).is_none()) {
                written.clone_from(&present.metadata.version);
                return Ok(step.outcome());
            }
            match waits.next() {
                Some(wait) => tokio::time::sleep(*wait).await,
                None => {
                    let error = timeout.with("name", name.as_str());
                    return Err(error.with_hint("it was not seen to be written; copy again"));
                }
            }
        }
    }

    /// Reads back what was written.
    async fn verify(&self, name: &SecretName, content: &Content, written: Option<Version>) -> Result<()> {
        let (version, is_exact) = match &written {
            Some(version) if self.to.info().capabilities.versions => (VersionSelector::Exact(version.clone()), true),
            _ => (VersionSelector::Current, false),
        };
        let mut waits = PATIENCE.iter();
        loop {
            let error = match self.look_at(name, version.clone()).await {
                Ok(read) if content.difference(&read).is_none() => return Ok(()),
                Ok(read) if !is_exact && written.is_some() && read.metadata.version != written => {
                    Error::new(ErrorKind::Conflict, "somebody else changed the secret after it was written")
                        .with("name", name.as_str())
                }
                Ok(_) => Error::new(ErrorKind::Corrupt, "what was read back is not what was written")
                    .with("name", name.as_str())
                    .with("store", self.to.info().scheme.to_string()),
                Err(error) => error.with_hint("it was written, and could not be read back to prove it; copy again"),
            };
            match waits.next() {
                // A read may be answered by a part of the service that does not know the write yet.
                Some(wait) if matches!(error.kind(), ErrorKind::NotFound | ErrorKind::Conflict) => {
                    tokio::time::sleep(*wait).await;
                }
                _ => return Err(error),
            }
        }
    }
}

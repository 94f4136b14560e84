//! Writing what the plan says, and proving that it was written.

use std::time::Duration;

use futures_util::future::join_all;
use futures_util::stream::{self, StreamExt as _};

use super::content::{Proof, fresh};
use super::pace::Pace;
use super::plan::{Step, in_portions};
use super::{Content, CopyEntry, CopyJournal, CopyOutcome, CopyPlan, CopyProgress, CopyReport, Difference, Ends, NoJournal};
use crate::error::{Error, ErrorKind, Result};
use crate::name::SecretName;
use crate::options::{Expired, PutMode, VersionSelector};
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
        let ends = &self.ends;
        let mut planned = Vec::new();
        for (index, entry) in report.entries.iter().enumerate() {
            if let Some(step @ (Step::Create | Step::BringBack | Step::Change { .. })) = self.steps.get(&entry.name) {
                planned.push(Write {
                    index,
                    entry: entry.clone(),
                    step: step.clone(),
                    unproven: None,
                });
            }
        }
        let total = planned.len();
        let pace = &Pace::new(ends.options.rate);
        let (size, at_once) = ends.portions();
        let mut portions = Box::pin(
            stream::iter(in_portions(planned, size))
                .map(|portion| ends.write_portion(portion, journal, pace))
                .buffer_unordered(at_once),
        );
        let (mut done, mut unproven) = (0, Vec::new());
        while let Some(portion) = portions.next().await {
            for write in portion {
                if let Some(content) = write.unproven {
                    unproven.push((write.index, content));
                }
                report.entries[write.index] = write.entry;
                done += 1;
                progress(CopyProgress::Written { done, total });
            }
        }
        drop(portions);
        for (index, error) in ends.prove_metadata(unproven, &report).await {
            report.entries[index].outcome = CopyOutcome::Failed(error);
            journal.ended(&report.entries[index]);
        }
        report
    }
}

/// What came of a put.
enum Put {
    /// It was acknowledged, and is to be read back.
    Done(CopyOutcome),
    /// The target was looked at already.
    Settled(CopyOutcome),
}

impl Put {
    fn outcome(self) -> CopyOutcome {
        match self {
            Self::Done(outcome) | Self::Settled(outcome) => outcome,
        }
    }
}

/// A secret that is being written.
struct Write {
    /// Its place in the report.
    index: usize,
    entry: CopyEntry,
    step: Step,
    /// What was written and not read back yet; of what a cheap answer has proven, the rest.
    unproven: Option<Content>,
}

impl Ends {
    async fn write_portion(&self, portion: Vec<Write>, journal: &dyn CopyJournal, pace: &Pace) -> Vec<Write> {
        let writes = portion.into_iter().map(|mut write| async move {
            pace.turn().await;
            match journal.begins(&write.entry) {
                Ok(()) => {
                    let outcome = self.write(&mut write).await;
                    write.entry.outcome = outcome.unwrap_or_else(CopyOutcome::Failed);
                }
                Err(error) => write.entry.outcome = CopyOutcome::Failed(error),
            }
            write
        });
        let mut portion = join_all(writes).await;
        self.read_back(&mut portion).await;
        portion.iter().for_each(|write| journal.ended(&write.entry));
        portion
    }

    /// Proves what was created, by as few requests as the target allows. A batch may leave out descriptions and tags; those are left
    /// unproven here.
    async fn read_back(&self, portion: &mut [Write]) {
        let waiting: Vec<&mut Write> = portion.iter_mut().filter(|write| write.unproven.is_some()).collect();
        let names = waiting.iter().map(|write| &write.entry.name);
        let answers = self.get_many(&*self.to, names, fresh(Expired::Allow)).await;
        for (write, answer) in waiting.into_iter().zip(answers) {
            let Some(content) = write.unproven.take() else { continue };
            let (name, written) = (&write.entry.name, &write.entry.written);
            let read = answer.ok().filter(|read| read.metadata.version == *written);
            match read.map(|read| content.proof(&read)) {
                Some(Proof::Whole) => {}
                Some(Proof::ButMetadata) => write.unproven = Some(content.without_value()),
                Some(Proof::None) | None => {
                    if let Err(error) = self.verify(name, &content, written.clone()).await {
                        write.entry.outcome = CopyOutcome::Failed(error);
                    }
                }
            }
        }
    }

    /// Proves descriptions and tags that were written: by a listing, and what that does not show by a read of each. A listing may be
    /// older than the write, but does not show what was never written.
    async fn prove_metadata(&self, unproven: Vec<(usize, Content)>, report: &CopyReport) -> Vec<(usize, Error)> {
        if unproven.is_empty() {
            return Vec::new();
        }
        let listed = self.listed_there(unproven.len()).await.ok().flatten().unwrap_or_default();
        let left = unproven.into_iter().filter(|(index, content)| {
            let there = listed.get(&report.entries[*index].name);
            !there.is_some_and(|metadata| content.has_metadata(metadata))
        });
        let reads = stream::iter(left).map(|(index, content)| async move {
            let entry = &report.entries[index];
            let verified = self.verify(&entry.name, &content, entry.written.clone()).await;
            verified.err().map(|error| (index, error))
        });
        let failed = reads
            .buffer_unordered(self.concurrency())
            .filter_map(|failed| async { failed });
        failed.collect().await
    }

    /// The version that was made is known also when what comes after fails.
    async fn write(&self, write: &mut Write) -> Result<CopyOutcome> {
        let (name, written) = (&write.entry.name, &mut write.entry.written);
        // Once more: the plan keeps no values.
        let content = self.read(name).await?;
        if content.is_reference(&self.options) {
            return Ok(CopyOutcome::Left(Difference::Reference));
        }
        match &write.step {
            Step::BringBack => self.bring_back(name, &content, written).await,
            Step::Create => {
                let put = self.put_content(name, &write.step, &content, written).await?;
                write.unproven = matches!(put, Put::Done(_)).then_some(content);
                Ok(put.outcome())
            }
            step => self.write_content(name, step, &content, written).await,
        }
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
        let put = self.put_content(name, step, content, written).await?;
        if matches!(put, Put::Done(_)) {
            self.verify(name, content, written.clone()).await?;
        }
        Ok(put.outcome())
    }

    async fn put_content(&self, name: &SecretName, step: &Step, content: &Content, written: &mut Option<Version>) -> Result<Put> {
        let can = &self.to.info().capabilities;
        let mode = match step {
            Step::Create if can.put_create => PutMode::Create,
            Step::Change { seen: Some(seen), .. } if can.put_match => PutMode::Match(seen.clone()),
            _ => {
                if let Some(outcome) = self.overtaken(name, step, content, None).await? {
                    return Ok(Put::Settled(outcome));
                }
                PutMode::Upsert
            }
        };
        match self.to.put(name, content.request().mode(mode)).await {
            Ok(metadata) => {
                *written = metadata.version;
                Ok(Put::Done(step.outcome()))
            }
            Err(error) if error.kind() == ErrorKind::Timeout => {
                let settled = self.settle(name, step, content, error, written).await;
                settled.map(Put::Settled)
            }
            Err(error)
                if matches!(
                    error.kind(),
                    ErrorKind::AlreadyExists | ErrorKind::Conflict | ErrorKind::NotFound
                ) =>
            {
                let overtaken = self.overtaken(name, step, content, Some(error.clone())).await?;
                overtaken.map(Put::Settled).ok_or(error)
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

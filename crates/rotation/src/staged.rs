//! A new value for a share of those who use it first.

use std::sync::Arc;
use std::time::{Duration, UNIX_EPOCH};

use keyfob_core::{
    Clock, Error, ErrorKind, GetOptions, PutMode, PutRequest, Result, Secret, SecretName, SecretStore, SecretValue, SystemClock,
    async_trait,
};

use crate::rotator::{Rotator, StepContext};

/// One step of a roll-out.
#[derive(Debug, Clone)]
pub struct Stage {
    /// The secrets from which this share of the consumers reads: copies of the one that is rotated, for example
    /// `web/session-canary`. They are made where they don't exist.
    pub copies: Vec<SecretName>,
    /// How long this share uses the new value before the next stage, or everybody, gets it.
    pub wait: Duration,
    /// What says whether all is well: its `test` is called at the end of `wait`, and meanwhile after each [`every`](Self::every). `None` only
    /// waits.
    pub check: Option<Arc<dyn Rotator>>,
    /// How often `check` is asked while this stage lasts.
    pub every: Duration,
}

/// A rotator whose new value a share of those who use it gets first, in stages, before it becomes current for the rest.
///
/// A share is who reads a *copy*: another secret of the same store. The stages belong to `test`: when one of their checks says that
/// something is wrong, the rotation is taken back, and the copies get the old value again. They hold the new value while both are
/// accepted, so it needs a rotator whose `set` leaves the old value valid. How far the stages are is a note in the journal; a run that was
/// killed goes on where it stopped, and waits only for what is left. [`step_limit`](crate::RotationOptions::step_limit) must
/// be longer than [`time`](Self::time).
///
/// A value that comes back in a rotation the other way round goes to all copies at once.
#[derive(Debug, Clone)]
pub struct Staged {
    rotator: Arc<dyn Rotator>,
    store: Arc<dyn SecretStore>,
    stages: Vec<Stage>,
    clock: Arc<dyn Clock>,
}

impl Staged {
    /// Rotates as `rotator`, with copies in `store`.
    #[must_use]
    pub fn new(rotator: Arc<dyn Rotator>, store: Arc<dyn SecretStore>, stages: Vec<Stage>) -> Self {
        Self {
            rotator,
            store,
            stages,
            clock: Arc::new(SystemClock::new()),
        }
    }

    /// Takes time from `clock` instead of the machine.
    #[must_use]
    pub fn clock(mut self, clock: Arc<dyn Clock>) -> Self {
        self.clock = clock;
        self
    }

    /// How long all stages take, without their checks.
    #[must_use]
    pub fn time(&self) -> Duration {
        self.stages.iter().map(|stage| stage.wait).sum()
    }

    async fn stage(&self, step: &StepContext<'_>, index: usize, stage: &Stage) -> Result<()> {
        let key = format!("stage-{}", index + 1);
        let known = step.data(&key).and_then(|text| text.parse().ok()).map(Duration::from_secs);
        let until = match known {
            Some(until) => UNIX_EPOCH + until,
            None => {
                self.spread(stage, step.new_value()?).await?;
                let until = self.clock.system_now() + stage.wait;
                let seconds = until.duration_since(UNIX_EPOCH).unwrap_or_default().as_secs();
                step.save(&key, &seconds.to_string()).await?;
                until
            }
        };
        loop {
            let left = until.duration_since(self.clock.system_now()).unwrap_or_default();
            // In short pieces, so that a clock that was set is noticed.
            self.clock.sleep(left.min(stage.every.max(SHORTEST))).await;
            if let Some(check) = &stage.check {
                check
                    .test(step)
                    .await
                    .map_err(|error| error.with("stage", (index + 1).to_string()))?;
            }
            if self.clock.system_now() >= until {
                return Ok(());
            }
        }
    }

    /// Gives the copies of a stage this value.
    async fn spread(&self, stage: &Stage, value: &SecretValue) -> Result<()> {
        for copy in &stage.copies {
            let present = self.read(copy).await?;
            if present.as_ref().is_some_and(|present| is_same(&present.value, value)) {
                continue;
            }
            self.write(copy, present.as_ref(), value).await?;
        }
        Ok(())
    }

    /// Gives the copies that have `from` the value `to`. What somebody else wrote there stays.
    async fn replace(&self, from: &SecretValue, to: &SecretValue) -> Result<()> {
        for copy in self.stages.iter().flat_map(|stage| &stage.copies) {
            if let Some(present) = self.read(copy).await?
                && is_same(&present.value, from)
            {
                self.write(copy, Some(&present), to).await?;
            }
        }
        Ok(())
    }

    async fn read(&self, copy: &SecretName) -> Result<Option<Secret>> {
        let options = GetOptions {
            max_age: Some(Duration::ZERO),
            ..GetOptions::default()
        };
        match self.store.get(copy, &options).await {
            Ok(secret) => Ok(Some(secret)),
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error.with("copy", copy.as_str())),
        }
    }

    async fn write(&self, copy: &SecretName, present: Option<&Secret>, value: &SecretValue) -> Result<()> {
        let can = &self.store.info().capabilities;
        // So that a run which was taken over does not overwrite what came since.
        let mode = match present.and_then(|present| present.metadata.version.clone()) {
            Some(version) if can.put_match => PutMode::Match(version),
            None if present.is_none() && can.put_create => PutMode::Create,
            _ => PutMode::Upsert,
        };
        let written = self.store.put(copy, PutRequest::new(value.clone()).mode(mode)).await;
        match written {
            Ok(_) => Ok(()),
            // Somebody was faster: another run of this rotation, or whoever uses the copy. The next run looks again.
            Err(error) if matches!(error.kind(), ErrorKind::Conflict | ErrorKind::AlreadyExists) => Err(Error::new(
                ErrorKind::Unavailable,
                "a copy was changed by somebody else at the same time",
            )
            .with("copy", copy.as_str())
            .with_source(error)),
            Err(error) => Err(error.with("copy", copy.as_str())),
        }
    }
}

const SHORTEST: Duration = Duration::from_secs(1);

fn is_same(one: &SecretValue, other: &SecretValue) -> bool {
    one.expose_secret() == other.expose_secret()
}

#[async_trait]
impl Rotator for Staged {
    fn kind(&self) -> &str {
        self.rotator.kind()
    }

    async fn create(&self, step: &StepContext<'_>) -> Result<SecretValue> {
        self.rotator.create(step).await
    }

    async fn set(&self, step: &StepContext<'_>) -> Result<()> {
        self.rotator.set(step).await
    }

    async fn test(&self, step: &StepContext<'_>) -> Result<()> {
        self.rotator.test(step).await?;
        for (index, stage) in self.stages.iter().enumerate() {
            match step.is_reversal() {
                true => self.spread(stage, step.new_value()?).await?,
                false => self.stage(step, index, stage).await?,
            }
        }
        Ok(())
    }

    async fn finish(&self, step: &StepContext<'_>) -> Result<()> {
        self.rotator.finish(step).await
    }

    async fn revoke(&self, step: &StepContext<'_>) -> Result<Option<SecretValue>> {
        let value = self.rotator.revoke(step).await?;
        if let (Some(value), Ok(new)) = (&value, step.new_value()) {
            self.replace(new, value).await?;
        }
        Ok(value)
    }

    async fn rollback(&self, step: &StepContext<'_>) -> Result<()> {
        // First, while the new value is still accepted.
        if let (Ok(old), Ok(new)) = (step.old_value(), step.new_value()) {
            self.replace(new, old).await?;
        }
        self.rotator.rollback(step).await
    }

    fn come_back(&self, old: &SecretValue, current: &SecretValue) -> Result<SecretValue> {
        self.rotator.come_back(old, current)
    }
}

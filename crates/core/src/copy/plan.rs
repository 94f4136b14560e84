//! What is to be done, before anything is.

use std::collections::{BTreeMap, BTreeSet};

use futures_util::stream::{self, Stream, StreamExt as _, TryStreamExt as _};

use super::{Content, CopyEntry, CopyOutcome, CopyProgress, CopyReport, Difference, Ends};
use crate::error::{Error, ErrorKind, Result};
use crate::name::SecretName;
use crate::options::{Deleted, ListOptions};
use crate::secret::{Secret, Version};
use crate::store::SecretStore;

/// What a copy will do with every secret of the source. It holds names, no values.
#[derive(Debug)]
pub struct CopyPlan {
    pub(super) ends: Ends,
    pub(super) steps: BTreeMap<SecretName, Step>,
}

/// What is to be done with one secret.
#[derive(Debug, Clone)]
pub(super) enum Step {
    Create,
    /// It is there, deleted, and keeps its name from being used.
    BringBack,
    Change {
        difference: Difference,
        /// What the target had when it was looked at.
        seen: Option<Version>,
    },
    Leave(Difference),
    /// It is there as it should be, in this version.
    Nothing(Option<Version>),
    Fail(Error),
}

impl CopyPlan {
    pub(super) async fn make(ends: Ends, mut progress: impl FnMut(CopyProgress)) -> Result<Self> {
        let reserved = ends.reserved_names().await?;
        let mut steps = BTreeMap::new();
        {
            let mut compared = Box::pin(
                ends.names()
                    .map_ok(|name| async { Ok::<_, Error>(ends.compare(name, &reserved).await) })
                    .try_buffer_unordered(ends.concurrency()),
            );
            while let Some((name, step)) = compared.try_next().await? {
                steps.insert(name, step);
                progress(CopyProgress::Compared(steps.len()));
            }
        }
        ends.refuse_crowded(&mut steps).await?;
        Ok(Self { ends, steps })
    }

    /// What would become of every secret.
    #[must_use]
    pub fn report(&self) -> CopyReport {
        let entries = self.steps.iter().map(|(name, step)| CopyEntry {
            name: name.clone(),
            outcome: step.outcome(),
            seen: step.seen(),
            written: None,
        });
        CopyReport {
            entries: entries.collect(),
        }
    }
}

impl Step {
    /// What becomes of the secret when the step succeeds.
    pub(super) fn outcome(&self) -> CopyOutcome {
        match self {
            Self::Create | Self::BringBack => CopyOutcome::Created,
            Self::Change { difference, .. } => CopyOutcome::Changed(*difference),
            Self::Leave(difference) => CopyOutcome::Left(*difference),
            Self::Nothing(_) => CopyOutcome::Unchanged,
            Self::Fail(error) => CopyOutcome::Failed(error.clone()),
        }
    }

    fn seen(&self) -> Option<Version> {
        match self {
            Self::Change { seen, .. } | Self::Nothing(seen) => seen.clone(),
            _ => None,
        }
    }
}

impl Ends {
    /// What to do with a secret, seen what the target has.
    pub(super) fn step(&self, content: &Content, present: Result<Secret>) -> Step {
        let present = match present {
            Ok(present) => present,
            Err(error) if error.kind() == ErrorKind::NotFound => return Step::Create,
            Err(error) => return Step::Fail(error),
        };
        match content.difference(&present) {
            None => Step::Nothing(present.metadata.version.clone()),
            Some(difference) if self.options.overwrite => Step::Change {
                difference,
                seen: present.metadata.version.clone(),
            },
            Some(difference) => Step::Leave(difference),
        }
    }

    async fn compare(&self, name: SecretName, reserved: &BTreeSet<SecretName>) -> (SecretName, Step) {
        let content = match self.read(&name).await {
            Ok(content) => content,
            Err(error) => return (name, Step::Fail(error)),
        };
        let step = match self.step(&content, self.look(&name).await) {
            Step::Create if reserved.contains(&name) && self.options.bring_back => Step::BringBack,
            Step::Create if reserved.contains(&name) => Step::Fail(
                Error::new(ErrorKind::Conflict, "the name belongs to a deleted secret of the target")
                    .with("name", name.as_str())
                    .with("store", self.to.info().scheme.to_string())
                    .with_hint("restore it there, or delete it for good"),
            ),
            step => step,
        };
        (name, step)
    }

    /// Where the target can't keep two names beside each other (variables), none of those that would meet is made: which
    /// of them is meant is not for a copy to say.
    async fn refuse_crowded(&self, steps: &mut BTreeMap<SecretName, Step>) -> Result<()> {
        let Some(key) = self.to.info().capabilities.name_key else {
            return Ok(());
        };
        let mut names: BTreeMap<String, BTreeSet<SecretName>> = BTreeMap::new();
        if self.to.info().capabilities.list {
            let present: Vec<SecretName> = names_in(&*self.to, ListOptions::default()).try_collect().await?;
            for name in present {
                names.entry(key(&name)).or_default().insert(name);
            }
        }
        let created = |step: &Step| matches!(step, Step::Create | Step::BringBack);
        for (name, _) in steps.iter().filter(|(_, step)| created(step)) {
            names.entry(key(name)).or_default().insert(name.clone());
        }
        for (name, step) in steps.iter_mut().filter(|(_, step)| created(step)) {
            let others = names.get(&key(name)).into_iter().flatten();
            if let Some(other) = others.clone().find(|other| *other != name) {
                *step = Step::Fail(
                    Error::new(ErrorKind::Unsupported, "the target can't keep the secret beside another one")
                        .with("name", name.as_str())
                        .with("other", other.as_str())
                        .with("kept as", key(name))
                        .with("store", self.to.info().scheme.to_string())
                        .with_hint("copy them one by one into different targets, or rename one in the source"),
                );
            }
        }
        Ok(())
    }

    /// The names to copy, as they are listed.
    fn names(&self) -> impl Stream<Item = Result<SecretName>> {
        let prefix = &self.options.prefix;
        let listed = match &self.options.names {
            Some(names) => {
                let wanted = names.iter().filter(move |name| name.as_str().starts_with(prefix));
                stream::iter(wanted.cloned().map(Ok)).left_stream()
            }
            None => names_in(&*self.from, self.list_options()).right_stream(),
        };
        // A journal of another store's rotations would be wrong about the values there.
        listed.try_filter(|name| std::future::ready(!name.is_reserved()))
    }

    /// The names that deleted secrets of the target keep from being used.
    async fn reserved_names(&self) -> Result<BTreeSet<SecretName>> {
        let can = &self.to.info().capabilities;
        let mut names = BTreeSet::new();
        if !(can.deleted_reserves_name && can.delete_recoverable && can.list) {
            return Ok(names);
        }
        let mut options = self.list_options();
        options.deleted = Deleted::Only;
        loop {
            let page = match self.to.list(&options).await {
                Ok(page) => page,
                // Who may write need not be allowed to list; the write tells it then.
                Err(error) if error.kind() == ErrorKind::PermissionDenied => return Ok(names),
                Err(error) => return Err(error),
            };
            names.extend(page.items.into_iter().map(|metadata| metadata.name));
            options.page.token = page.next;
            if options.page.token.is_none() {
                return Ok(names);
            }
        }
    }
}

/// The names that a store lists.
fn names_in(store: &dyn SecretStore, options: ListOptions) -> impl Stream<Item = Result<SecretName>> {
    let pages = stream::try_unfold(Some(options), move |options| async move {
        let Some(mut options) = options else {
            return Ok::<_, Error>(None);
        };
        let page = store.list(&options).await?;
        let next = page.next.map(|token| {
            options.page.token = Some(token);
            options
        });
        let names = page.items.into_iter().map(|metadata| Ok::<_, Error>(metadata.name));
        Ok(Some((stream::iter(names), next)))
    });
    pages.try_flatten()
}

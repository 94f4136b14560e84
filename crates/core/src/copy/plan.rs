//! What is to be done, before anything is.

use std::collections::{BTreeMap, BTreeSet};

use futures_util::stream::{self, Stream, StreamExt as _, TryStreamExt as _};

use super::{Content, CopyEntry, CopyOutcome, CopyProgress, CopyReport, Difference, Ends};
use crate::error::{Error, ErrorKind, Result};
use crate::name::SecretName;
use crate::options::{Deleted, ListOptions};
use crate::secret::{Metadata, Secret, Version};
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
        let reserved = &ends.reserved_names().await?;
        let mut steps = BTreeMap::new();
        let source: Vec<Metadata> = ends.source().try_collect().await?;
        // Where a listing lacks what is there already, the write finds it: then nothing is written.
        let there = ends.listed_there(source.len()).await?;
        let is_absent = |secret: &Metadata| match &there {
            Some(there) => !there.contains_key(&secret.name),
            None => false,
        };
        let (absent, others): (Vec<Metadata>, Vec<Metadata>) = source.into_iter().partition(is_absent);
        drop(there);
        {
            let (size, at_once) = ends.portions();
            let mut seen = Box::pin(
                stream::iter(in_portions(absent, size))
                    .map(|portion| ends.create_portion(portion, reserved))
                    .buffer_unordered(at_once),
            );
            while let Some(portion) = seen.next().await {
                steps.extend(portion);
                progress(CopyProgress::Compared(steps.len()));
            }
            let mut compared = Box::pin(
                stream::iter(others)
                    .map(|secret| ends.compare(secret.name, reserved))
                    .buffer_unordered(ends.concurrency()),
            );
            while let Some((name, step)) = compared.next().await {
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

    /// What to do with secrets that the target does not list.
    async fn create_portion(&self, portion: Vec<Metadata>, reserved: &BTreeSet<SecretName>) -> Vec<(SecretName, Step)> {
        let contents = self.read_many(&portion).await;
        let steps = portion.into_iter().zip(contents).map(|(secret, content)| match content {
            Ok(content) if content.is_reference(&self.options) => (secret.name, Step::Leave(Difference::Reference)),
            Ok(_) => self.unless_reserved(secret.name, Step::Create, reserved),
            Err(error) => (secret.name, Step::Fail(error)),
        });
        steps.collect()
    }

    async fn compare(&self, name: SecretName, reserved: &BTreeSet<SecretName>) -> (SecretName, Step) {
        match self.read(&name).await {
            Ok(content) if content.is_reference(&self.options) => (name, Step::Leave(Difference::Reference)),
            Ok(content) => {
                let step = self.step(&content, self.look(&name).await);
                self.unless_reserved(name, step, reserved)
            }
            Err(error) => (name, Step::Fail(error)),
        }
    }

    fn unless_reserved(&self, name: SecretName, step: Step, reserved: &BTreeSet<SecretName>) -> (SecretName, Step) {
        let step = match step {
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
            let present: Vec<Metadata> = list(&*self.to, ListOptions::default()).try_collect().await?;
            for secret in present {
                names.entry(key(&secret.name)).or_default().insert(secret.name);
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

    /// What to copy, as it is listed.
    fn source(&self) -> impl Stream<Item = Result<Metadata>> {
        let prefix = &self.options.prefix;
        let listed = match &self.options.names {
            Some(names) => {
                let wanted = names.iter().filter(move |name| name.as_str().starts_with(prefix));
                let scheme = &self.from.info().scheme;
                stream::iter(wanted.map(|name| Ok(Metadata::new(name.clone(), scheme.clone())))).left_stream()
            }
            None => list(&*self.from, self.list_options()).right_stream(),
        };
        // A journal of another store's rotations would be wrong about the values there.
        listed.try_filter(|secret| std::future::ready(!secret.name.is_reserved()))
    }

    /// What the target lists; `None` where it can't, the caller may not, or there is so much that looking at each of `wanted` secrets costs
    /// less.
    pub(super) async fn listed_there(&self, wanted: usize) -> Result<Option<BTreeMap<SecretName, Metadata>>> {
        // With names that are given, each is looked at, as nobody knows what the source has of it.
        if self.options.names.is_some() || !self.to.info().capabilities.list {
            return Ok(None);
        }
        let most = wanted.saturating_mul(4).saturating_add(1000);
        let mut listed = Box::pin(list(&*self.to, self.list_options()));
        let mut there = BTreeMap::new();
        loop {
            match listed.next().await {
                None => return Ok(Some(there)),
                Some(Ok(_)) if there.len() >= most => return Ok(None),
                Some(Ok(metadata)) => _ = there.insert(metadata.name.clone(), metadata),
                Some(Err(error)) if error.kind() == ErrorKind::PermissionDenied => return Ok(None),
                Some(Err(error)) => return Err(error),
            }
        }
    }

    /// How many secrets are asked for at once where a batch is cheaper, and how many such portions at the same time.
    pub(super) fn portions(&self) -> (usize, usize) {
        let concurrency = self.concurrency();
        // Each write that waits for its turn would keep those before it from being read back.
        let fits = |size: &usize| concurrency.is_multiple_of(*size) && self.options.rate.is_none();
        let size = (1..=(concurrency / 2).min(MAX_PORTION)).rev().find(fits).unwrap_or(1);
        (size, concurrency / size)
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

/// The most that is asked for at once: the smallest that a service with batches takes.
const MAX_PORTION: usize = 20;

pub(super) fn in_portions<T>(all: Vec<T>, size: usize) -> impl Iterator<Item = Vec<T>> {
    let mut all = all.into_iter();
    std::iter::from_fn(move || Some(all.by_ref().take(size).collect::<Vec<T>>()).filter(|portion| !portion.is_empty()))
}

/// What a store lists.
fn list(store: &dyn SecretStore, options: ListOptions) -> impl Stream<Item = Result<Metadata>> {
    let pages = stream::try_unfold(Some(options), move |options| async move {
        let Some(mut options) = options else {
            return Ok::<_, Error>(None);
        };
        let page = store.list(&options).await?;
        let next = page.next.map(|token| {
            options.page.token = Some(token);
            options
        });
        let items = page.items.into_iter().map(Ok::<_, Error>);
        Ok(Some((stream::iter(items), next)))
    });
    pages.try_flatten()
}

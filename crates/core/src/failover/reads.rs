//! Reads: from the first store that can answer.

use std::sync::Arc;

use crate::backend::BoxFuture;
use crate::capabilities::Capabilities;
use crate::error::{Error, ErrorKind, Result};
use crate::failover::Inner;
use crate::failover::member::Member;
use crate::failover::trail::Trail;
use crate::name::SecretName;
use crate::options::{GetOptions, ListOptions, Page, PageRequest, VersionSelector};
use crate::secret::{Metadata, PassedOver, Secret, VersionInfo};
use crate::store::SecretStore;

/// Who answered, and who did not.
struct Answer<T> {
    value: T,
    rank: usize,
    passed: Vec<PassedOver>,
}

impl Inner {
    pub(super) async fn get(&self, name: &SecretName, options: &GetOptions) -> Result<Secret> {
        self.info.capabilities.check_get(name, options)?;
        let (only, options) = match self.pinned(name, options)? {
            Some((rank, options)) => (Some(rank), &options.clone()),
            None => (None, options),
        };
        let check = |can: &Capabilities| can.check_get(name, options);
        let answer = self.first_answer(only, check, |store| store.get(name, options)).await;
        let mut answer = answer.map_err(|error| error.with("name", name.as_str()))?;
        self.mark(answer.value.metadata_mut(), answer.rank, answer.passed);
        Ok(answer.value)
    }

    pub(super) async fn list(&self, options: &ListOptions) -> Result<Page<Metadata>> {
        self.info.capabilities.check_list(options)?;
        let mut options = options.clone();
        let only = self.page_in(&mut options.page)?;
        let check = |can: &Capabilities| can.check_list(&options);
        let Answer { mut value, rank, passed } = self.first_answer(only, check, |store| store.list(&options)).await?;
        for metadata in &mut value.items {
            self.mark(metadata, rank, passed.clone());
        }
        value.next = value.next.map(|next| self.labels.page_out(rank, &next));
        Ok(value)
    }

    pub(super) async fn versions(&self, name: &SecretName, page: &PageRequest) -> Result<Page<VersionInfo>> {
        self.info.capabilities.check_versions(name)?;
        page.limit_up_to(usize::MAX)?;
        let mut page = page.clone();
        let only = self.page_in(&mut page)?;
        let check = |can: &Capabilities| can.check_versions(name);
        let answer = self.first_answer(only, check, |store| store.versions(name, &page)).await;
        let Answer { mut value, rank, .. } = answer.map_err(|error| error.with("name", name.as_str()))?;
        for info in &mut value.items {
            info.version = self.labels.version_out(rank, &info.version).ok_or_else(|| {
                Error::new(
                    ErrorKind::Other,
                    "the store's versions are too long to be told apart from another store's",
                )
                .with("name", name.as_str())
                .with("member", &**self.labels.get(rank))
            })?;
        }
        value.next = value.next.map(|next| self.labels.page_out(rank, &next));
        Ok(value)
    }

    /// For an exact version: whose it is, and how that store is asked for it.
    pub(super) fn pinned(&self, name: &SecretName, options: &GetOptions) -> Result<Option<(usize, GetOptions)>> {
        let VersionSelector::Exact(version) = &options.version else {
            return Ok(None);
        };
        let (rank, version) = self.labels.version_in(version).ok_or_else(|| {
            Error::new(ErrorKind::NotFound, "no such version")
                .with("name", name.as_str())
                .with("version", version.as_str())
        })?;
        let version = VersionSelector::Exact(version);
        Ok(Some((
            rank,
            GetOptions {
                version,
                ..options.clone()
            },
        )))
    }

    /// Takes the label off a page's token.
    fn page_in(&self, page: &mut PageRequest) -> Result<Option<usize>> {
        let Some(token) = &page.token else { return Ok(None) };
        let (rank, token) = self.labels.page_in(token)?;
        page.token = Some(token);
        Ok(Some(rank))
    }

    /// Asks one store after the other until one answers; or `only` this one.
    async fn first_answer<'a, T>(
        &'a self,
        only: Option<usize>,
        check: impl Fn(&Capabilities) -> Result<()> + Send + Sync,
        call: impl Fn(&'a dyn SecretStore) -> BoxFuture<'a, Result<T>> + Send + Sync,
    ) -> Result<Answer<T>> {
        let mut trail = Trail::default();
        for (rank, member) in self.candidates(only) {
            if let Err(error) = check(&member.can()) {
                trail.pass_over(member, member.missed(error, false));
                continue;
            }
            match self
                .ask(member, self.options.read_limit(self.members.len(), 1), call(&*member.store))
                .await
            {
                Ok(value) => {
                    member.meters.answered();
                    let passed = trail.passed;
                    return Ok(Answer { value, rank, passed });
                }
                Err(missed) if self.passes_over(rank, missed.passed.kind) => trail.pass_over(member, missed),
                Err(missed) => return Err(trail.end(missed, &self.options)),
            }
        }
        Err(trail.nobody(&self.options))
    }

    fn candidates(&self, only: Option<usize>) -> impl Iterator<Item = (usize, &Member)> {
        let members = self.members.iter().enumerate();
        members.filter(move |(rank, _)| only.is_none_or(|only| only == *rank))
    }

    /// Whether the next store is asked after an error of this kind.
    pub(super) fn goes_on(&self, kind: ErrorKind) -> bool {
        kind.is_retryable() || (kind == ErrorKind::NotFound && self.options.not_found_falls_through)
    }

    /// The same of a store of this rank. What a later one can't do may show only when it is asked: it was not open before.
    pub(super) fn passes_over(&self, rank: usize, kind: ErrorKind) -> bool {
        self.goes_on(kind) || (rank > 0 && kind == ErrorKind::Unsupported)
    }

    /// Writes into metadata which store it is from.
    pub(super) fn mark(&self, metadata: &mut Metadata, rank: usize, passed: Vec<PassedOver>) {
        metadata.version = metadata.version.take().and_then(|own| self.labels.version_out(rank, &own));
        metadata.origin.member = Some(Arc::clone(self.labels.get(rank)));
        metadata.origin.passed_over = passed;
    }
}

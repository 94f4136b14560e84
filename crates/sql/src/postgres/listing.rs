//! Listing: every secret in the order of names, page by page.

use std::collections::BTreeMap;
use std::sync::{Arc, PoisonError};

use keyfob_core::{Deleted, ErrorKind, ListOptions, Metadata, Page, Result, SecretName};

use super::connection::{COMMIT, Connection, Query, READ};
use super::engine::{Fetched, within};
use super::error::{is_collision, is_lost, of_reading};
use super::fetch;
use super::store::PostgresStore;
use super::wanted::{Places, Which};
use crate::error::{corrupt, not_found};
use crate::integrity::{BUCKETS, Buckets, bucket_of};
use crate::keyring::{Keyring, MAX_UNLOCKS};
use crate::pages::{MAX_PAGE, from, name_after, token_after};
use crate::rows::{SecretRow, Time};

impl PostgresStore {
    /// A page, read once more when an idle connection turns out to be dead.
    pub(super) async fn list_page(&self, options: &ListOptions) -> Result<Page<Metadata>> {
        let limit = options.page.limit_up_to(MAX_PAGE)?;
        let after = options.page.token.as_ref().map(name_after).transpose()?;
        let mut tries = 0;
        loop {
            let ring = self.engine.keys.ring();
            let page = within(
                self.engine.config.timeout,
                self.list_with(&ring, options, limit, after.as_deref()),
            )
            .await
            .map_err(of_reading);
            match page {
                Err(error) if error.kind() == ErrorKind::Unauthenticated && tries < MAX_UNLOCKS => {
                    if !self.engine.unlock_again(&ring).await? {
                        return Err(error);
                    }
                }
                Err(error) if (is_lost(&error) || is_collision(&error)) && tries == 0 => {}
                page => return page.map_err(|error| self.engine.locate(error)),
            }
            tries += 1;
        }
    }

    /// Every secret in the byte order of names, and the open transaction in which that is so. What is known of a bucket at the
    /// same digest is not read again.
    async fn catalog(&self, ring: &Keyring) -> Result<(Vec<SecretRow>, Fetched, Connection)> {
        let engine = &self.engine;
        let s = &engine.statements;
        let known = engine.known(0..BUCKETS, ring)?;
        let mut connection = Connection::take(&engine.pool).await?;
        let queries: [Query<'_>; 3] = [(&s.head, Vec::new()), (&s.slots, Vec::new()), (&s.all_buckets, Vec::new())];
        let rows = connection.read(Some(READ), &queries, None).await?;
        let [head, slots, buckets] = rows.as_slice() else {
            return Err(corrupt("a read went unanswered"));
        };
        let (circumstances, slots) = (fetch::circumstances(head), fetch::slots(slots)?);
        let head = engine.check_head(fetch::head(head)?, &slots, &known, ring)?;
        let mut fetched = Fetched::new(head, slots, circumstances?);
        engine.add_records(&mut fetched, fetch::buckets(buckets)?, 0..BUCKETS, &known, ring)?;
        let kept = engine.catalog.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let is_kept = |bucket: u16| {
            let digest = fetched.verified.buckets.digest(bucket);
            *digest == Buckets::EMPTY || kept.get(&bucket).is_some_and(|(at, _)| at == digest)
        };
        let unknown: Vec<u16> = (0..BUCKETS).filter(|bucket| !is_kept(*bucket)).collect();
        let ids: Vec<i16> = unknown.iter().map(|bucket| bucket.cast_signed()).collect();
        let mut rows = connection.read(None, &[(&s.secrets, vec![&ids])], None).await?;
        fetch::add_secrets(&mut fetched.snapshot, &rows.pop().unwrap_or_default())?;
        fetched.snapshot = fetched.snapshot.sorted();
        let mut found = BTreeMap::new();
        for bucket in unknown {
            let rows = engine.reading(&fetched, ring).bucket(bucket, |_| true)?;
            found.insert(bucket, (*fetched.verified.buckets.digest(bucket), Arc::new(rows)));
        }
        let mut all: Vec<SecretRow> = Vec::new();
        for bucket in 0..BUCKETS {
            let digest = fetched.verified.buckets.digest(bucket);
            let rows = found
                .get(&bucket)
                .or_else(|| kept.get(&bucket))
                .filter(|(at, _)| at == digest);
            all.extend(rows.iter().flat_map(|(_, rows)| rows.iter().cloned()));
        }
        all.sort_unstable_by(|a, b| a.name.cmp(&b.name));
        engine.catalog.lock().unwrap_or_else(PoisonError::into_inner).extend(found);
        let records: Vec<_> = fetched.records.values().copied().collect();
        engine.remember(ring, &records);
        Ok((all, fetched, connection))
    }

    async fn list_with(
        &self,
        ring: &Keyring,
        options: &ListOptions,
        limit: usize,
        after: Option<&str>,
    ) -> Result<Page<Metadata>> {
        let (catalog, mut fetched, mut connection) = self.catalog(ring).await?;
        let now = Time::now();
        let is_listed = |row: &&SecretRow| (row.deleted_at.is_some() == (options.deleted == Deleted::Only)) && !row.is_due(now);
        let mut rows = from(&catalog, &options.prefix, after)
            .iter()
            .take_while(|row| row.name.starts_with(&options.prefix))
            .filter(is_listed);
        let chosen: Vec<&SecretRow> = rows.by_ref().take(limit).collect();
        let is_more = rows.next().is_some();
        let mut places = Places::default();
        for row in &chosen {
            places.add(bucket_of(&row.name), &row.name, Which::Newest);
        }
        let query: Query<'_> = (&self.engine.statements.facts, places.parameters());
        let versions = connection.read(None, &[query], Some(COMMIT)).await?;
        fetch::add_versions(&mut fetched.snapshot, versions.first().map(Vec::as_slice).unwrap_or_default())?;
        let reading = self.engine.reading(&fetched, ring);
        let mut items = Vec::with_capacity(chosen.len());
        for row in chosen {
            let name = SecretName::new(&row.name)?;
            let current = row.history.current().ok_or_else(|| not_found(&name))?;
            let mut metadata = reading.metadata(&name, current)?;
            metadata.deleted_at = row.deleted_at.map(Time::to_system);
            items.push(metadata);
        }
        let next = items.last().filter(|_| is_more).map(|last| token_after(&last.name));
        Ok(Page { items, next })
    }
}

//! Each secret is an object with one value.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use keyfob_core::{
    Capabilities, Error, GetOptions, GetRequest, Metadata, PutMode, PutRequest, Result, Secret, SecretName, SecretValue, Version,
};
use serde::Serialize;
use serde_json::json;

use super::listing::{Range, check_namespace};
use super::value::{Encoded, KEY, value_of};
use super::{batch, guard};
use crate::client::{Accept, Call, Cluster, Path, Query};
use crate::error::{Failed, already_exists, another_is_current, contended, not_found};
use crate::metadata::{Changes, Kept, MANAGED_BY, check_size, object_changes};
use crate::names;
use crate::object::{Deleted, Meta, Object, Partial, PartialList, Summary, Table};

/// After so many rounds somebody else makes and deletes the secret all the time.
const ROUNDS: u32 = 8;
/// As kubectl: so many at once, so that no answer is too large.
const PAGE: &str = "500";
/// A namespace with more than ten million Secrets is none.
const MAX_PAGES: usize = 20_000;

/// The objects of one namespace.
pub(super) struct Objects {
    pub(super) cluster: Arc<Cluster>,
    pub(super) namespace: String,
}

/// A new object.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct NewObject<'a> {
    api_version: &'static str,
    kind: &'static str,
    metadata: serde_json::Value,
    #[serde(rename = "type")]
    secret_type: &'static str,
    data: BTreeMap<&'a str, Encoded>,
}

impl<'a> NewObject<'a> {
    pub(super) fn new(name: &str, annotations: &Changes, key: &'a str, value: &SecretValue) -> Self {
        let annotations: BTreeMap<&String, &String> = annotations
            .iter()
            .filter_map(|(name, value)| Some((name, value.as_ref()?)))
            .collect();
        Self {
            api_version: "v1",
            kind: "Secret",
            metadata: json!({"name": name, "labels": {MANAGED_BY.0: MANAGED_BY.1}, "annotations": annotations}),
            secret_type: "Opaque",
            data: BTreeMap::from([(key, Encoded::new(value))]),
        }
    }
}

/// A change of an object, as a JSON merge patch.
#[derive(Serialize)]
struct MergePatch<'a> {
    metadata: MetadataPatch<'a>,
    #[serde(skip_serializing_if = "Option::is_none")]
    data: Option<BTreeMap<&'a str, Encoded>>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct MetadataPatch<'a> {
    /// The object that was looked at, and no other that has its name since.
    uid: &'a str,
    /// Nothing may have changed since.
    #[serde(skip_serializing_if = "Option::is_none")]
    resource_version: Option<&'a str>,
    annotations: &'a Changes,
}

impl Objects {
    pub(super) async fn get(&self, name: &SecretName, options: &GetOptions) -> Result<Secret> {
        let object = self.object(name).await.map_err(|failed| self.about(failed, name))?;
        self.secret(name, &object, options)
    }

    pub(super) async fn get_many(&self, capabilities: &Capabilities, requests: &[GetRequest]) -> Vec<Result<Secret>> {
        let mut wanted: BTreeMap<&SecretName, usize> = BTreeMap::new();
        let mut names = Vec::new();
        for request in requests {
            if capabilities.check_get(&request.name, &request.options).is_ok() {
                wanted.entry(&request.name).or_insert_with(|| {
                    names.push(&request.name);
                    names.len() - 1
                });
            }
        }
        let reads = names.iter().map(|name| self.object(name)).collect();
        let cluster = &self.cluster;
        let late = || Err(cluster.too_late());
        let answers = batch::all(reads, cluster.timeout(), late, || cluster.is_multiplexed()).await;
        let answer = |request: &GetRequest| {
            capabilities.check_get(&request.name, &request.options)?;
            match wanted.get(&request.name).and_then(|index| answers.get(*index)) {
                Some(Ok(object)) => self.secret(&request.name, object, &request.options),
                Some(Err(failed)) => Err(self.about(failed.clone(), &request.name)),
                None => Err(not_found(&request.name)),
            }
        };
        requests.iter().map(answer).collect()
    }

    pub(super) async fn put(&self, name: &SecretName, request: &PutRequest) -> Result<Metadata> {
        let changes = object_changes(name, request)?;
        for round in 0..ROUNDS {
            let object = match self.object(name).await {
                Ok(object) => object,
                Err(failed) if failed.is_not_found() => match (&request.value, &request.mode) {
                    (Some(value), PutMode::Upsert | PutMode::Create) => match self.create(name, value, &changes).await {
                        Err(failed) if failed.already_exists() && request.mode == PutMode::Upsert => {
                            pause(round).await;
                            continue;
                        }
                        made => return made.map_err(|failed| self.about(failed, name)),
                    },
                    _ => return Err(self.missing(name)),
                },
                Err(failed) => return Err(self.about(failed, name)),
            };
            let expected = self.check_writable(name, &object, request)?;
            check_size(name, Some(&object.metadata), &changes)?;
            match self.change(name, &object, request.value.as_ref(), expected, &changes).await {
                Ok(metadata) => return Ok(metadata),
                Err(failed) if failed.is_conflict() && matches!(request.mode, PutMode::Match(_)) => {
                    return Err(another_is_current(name));
                }
                // Another object has the name since, or none: what is there now decides.
                Err(failed) if failed.is_conflict() || failed.is_not_found() => pause(round).await,
                Err(failed) => return Err(self.about(failed, name)),
            }
        }
        Err(contended(name))
    }

    pub(super) async fn delete(&self, name: &SecretName) -> Result<()> {
        let object = object_name(name)?;
        for round in 0..ROUNDS {
            let summary = self.summary(&object).await.map_err(|failed| self.about(failed, name))?;
            if summary.metadata.is_being_deleted() {
                return Err(self
                    .missing(name)
                    .with_hint("it is being deleted, and a finalizer still holds it"));
            }
            guard::check_name(name, &summary.metadata)?;
            guard::check_type(name, &summary.secret_type)?;
            let options = json!({
                "apiVersion": "v1",
                "kind": "DeleteOptions",
                "preconditions": {"uid": summary.metadata.uid},
                "propagationPolicy": "Background",
            });
            let call = Call::delete(Path::secret(&self.namespace, &object), &options);
            match self.cluster.ask::<Deleted>(&call).await {
                Ok(deleted) => return deleted.confirm().map_err(|failed| self.about(failed, name)),
                Err(failed) if failed.is_conflict() => pause(round).await,
                Err(failed) => return Err(self.about(failed, name)),
            }
        }
        Err(contended(name))
    }

    /// All that are in the range, in the order of objects.
    pub(super) async fn list(&self, range: &Range) -> Result<Vec<Metadata>> {
        let selector = guard::KEPT_BY_OTHERS
            .map(|secret_type| format!("type!={secret_type}"))
            .join(",");
        let (mut found, mut is_empty) = (Vec::new(), true);
        let mut next: Option<String> = None;
        for _ in 0..MAX_PAGES {
            let mut query = Query::default().with("limit", PAGE).with("fieldSelector", &selector);
            if let Some(next) = &next {
                query = query.with("continue", next);
            }
            let call = Call::get(Path::secrets(&self.namespace), Accept::MetadataList).query(query);
            let page: PartialList = self.cluster.ask(&call).await.map_err(|failed| self.of_listing(failed))?;
            page.confirm(&self.namespace).map_err(Failed::into_error)?;
            is_empty &= page.items.is_empty();
            found.extend(page.items.iter().filter_map(|item| self.listed(range, &item.metadata)));
            next = page.metadata.next.filter(|next| !next.is_empty());
            if next.is_none() {
                break;
            }
        }
        if is_empty {
            check_namespace(&self.cluster, &self.namespace).await?;
        }
        Ok(found)
    }

    /// What a listing shows of an object, if it shows it.
    fn listed(&self, range: &Range, meta: &Meta) -> Option<Metadata> {
        if meta.is_being_deleted() {
            return None;
        }
        let name = names::name_of_object(&meta.name)?;
        if !range.contains(&name) {
            return None;
        }
        if guard::check_name(&name, meta).is_err() {
            tracing::warn!(
                target: "keyfob",
                object = meta.name.as_str(),
                namespace = self.namespace.as_str(),
                "a Secret that says that it is the one of another name is not listed"
            );
            return None;
        }
        Some(metadata(&name, meta))
    }

    fn secret(&self, name: &SecretName, object: &Object, options: &GetOptions) -> Result<Secret> {
        let meta = &object.metadata;
        if meta.is_being_deleted() {
            return Err(self
                .missing(name)
                .with_hint("it is being deleted, and a finalizer still holds it"));
        }
        guard::check_name(name, meta)?;
        Kept::of_object(meta).check(name, options.expired)?;
        let mut described = metadata(name, meta);
        described.version = Some(Version::new(&meta.resource_version)?);
        Ok(Secret::new(value_of(&object.data)?, described))
    }

    /// Refuses what can't be written to; returns the version that must be there still.
    fn check_writable<'a>(&self, name: &SecretName, object: &'a Object, request: &PutRequest) -> Result<Option<&'a str>> {
        let meta = &object.metadata;
        if meta.is_being_deleted() {
            return Err(guard::being_deleted(name));
        }
        guard::check_name(name, meta)?;
        match &request.mode {
            PutMode::Create => return Err(already_exists(name)),
            PutMode::Match(expected) if expected.as_str() != meta.resource_version => return Err(another_is_current(name)),
            PutMode::Match(_) | PutMode::Upsert => {}
        }
        guard::check_type(name, &object.secret_type)?;
        if request.value.is_some() {
            guard::check_mutable(name, object, "delete it and write it anew")?;
            guard::check_single(name, object)?;
        }
        // What keyfob made is keyfob's, and the patch alone says all. Of another tool's object it has to be what was looked
        // at: it may be a map by now.
        let is_own = meta.annotations.contains_key(crate::metadata::NAME);
        let is_exact = matches!(request.mode, PutMode::Match(_)) || !is_own;
        Ok(is_exact.then_some(meta.resource_version.as_str()))
    }

    async fn create(&self, name: &SecretName, value: &SecretValue, changes: &Changes) -> Result<Metadata, Failed> {
        let object = object_name(name).map_err(Failed::of)?;
        check_size(name, None, changes).map_err(Failed::of)?;
        let new = NewObject::new(&object, changes, KEY, value);
        let made: Partial = self.cluster.ask(&Call::post(Path::secrets(&self.namespace), &new)).await?;
        self.written(name, &object, &made)
    }

    async fn change(
        &self,
        name: &SecretName,
        object: &Object,
        value: Option<&SecretValue>,
        expected: Option<&str>,
        changes: &Changes,
    ) -> Result<Metadata, Failed> {
        let patch = MergePatch {
            metadata: MetadataPatch {
                uid: &object.metadata.uid,
                resource_version: expected,
                annotations: changes,
            },
            data: value.map(|value| BTreeMap::from([(KEY, Encoded::new(value))])),
        };
        let object = &object.metadata.name;
        let changed: Partial = self
            .cluster
            .ask(&Call::merge(Path::secret(&self.namespace, object), &patch))
            .await?;
        self.written(name, object, &changed)
    }

    fn written(&self, name: &SecretName, object: &str, partial: &Partial) -> Result<Metadata, Failed> {
        partial.confirm(&self.namespace, object)?;
        let mut written = metadata(name, &partial.metadata);
        written.version = Some(Version::new(&partial.metadata.resource_version).map_err(Failed::of)?);
        Ok(written)
    }

    async fn object(&self, name: &SecretName) -> Result<Object, Failed> {
        let name = object_name(name).map_err(Failed::of)?;
        let call = Call::get(Path::secret(&self.namespace, &name), Accept::Whole);
        let object: Object = self.cluster.ask(&call).await?;
        object.confirm(&self.namespace, &name)?;
        Ok(object)
    }

    /// What is known of an object without its values.
    async fn summary(&self, object: &str) -> Result<Summary, Failed> {
        let call = Call::get(Path::secret(&self.namespace, object), Accept::Table);
        let table: Table = self.cluster.ask(&call).await?;
        table.summary(&self.namespace, object)
    }

    fn about(&self, failed: Failed, name: &SecretName) -> Error {
        match failed.is_not_found() {
            true => self.missing(name),
            false => failed.about(name),
        }
    }

    fn of_listing(&self, failed: Failed) -> Error {
        match failed.is_denied() {
            true => failed.into_error().with("namespace", self.namespace.as_str()).with_hint(
                "to list names, the Role needs the verb `list` on `secrets`, which lets it read every value too; reading by name \
                 works without",
            ),
            false => failed.into_error(),
        }
    }

    /// The API server says the same of a namespace that is not there.
    fn missing(&self, name: &SecretName) -> Error {
        not_found(name).with("namespace", self.namespace.as_str())
    }
}

/// The name of the object; the capabilities have refused names without one before.
fn object_name(name: &SecretName) -> Result<String> {
    names::object_name(name).ok_or_else(|| not_found(name))
}

fn metadata(name: &SecretName, meta: &Meta) -> Metadata {
    let mut metadata = Kept::of_object(meta).metadata(name);
    metadata.updated = meta.updated();
    metadata
}

/// Lets the others end, a little longer each time.
pub(super) async fn pause(round: u32) {
    let mut byte = [0];
    let _ = getrandom::fill(&mut byte);
    tokio::time::sleep(Duration::from_millis(u64::from(byte[0]) * u64::from(round) / 32)).await;
}

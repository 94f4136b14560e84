//! Each secret is a key of one object.
//!
//! A write is a JSON patch that tests what the decision was made by (this key and its annotation) and changes only that, so
//! that writers of different keys never stand in each other's way, as they would with the object's `resourceVersion`.

mod patch;

use std::collections::BTreeSet;
use std::sync::Arc;

use keyfob_core::{
    Capabilities, Error, GetOptions, GetRequest, Metadata, PutMode, PutRequest, Result, Secret, SecretName, SecretValue,
};
use serde_json::json;

use self::patch::{Patch, Present};
use super::guard;
use super::listing::{Range, check_namespace};
use super::objects::{NewObject, pause};
use crate::client::{Accept, Call, Cluster, Path};
use crate::error::{Failed, already_exists, another_is_current, contended, not_found};
use crate::metadata::{Changes, Kept, OfKeyNames, check_size, key_version, new_revision};
use crate::names;
use crate::object::{Meta, Object, Partial, Summary, Table};

/// After so many rounds somebody else changes the secret all the time.
const ROUNDS: u32 = 8;

const IMMUTABLE: &str = "no key of it can be written or taken away; the whole Secret, with all its keys, can be deleted and made \
    anew: `kubectl delete secret NAME`";

/// The keys of one object.
pub(super) struct Keys {
    pub(super) cluster: Arc<Cluster>,
    pub(super) namespace: String,
    pub(super) object: String,
}

impl Keys {
    pub(super) async fn get(&self, name: &SecretName, options: &GetOptions) -> Result<Secret> {
        let object = self.object().await.map_err(|failed| self.about(failed, name))?;
        self.secret(name, &object, options)
    }

    /// One request answers all.
    pub(super) async fn get_many(&self, capabilities: &Capabilities, requests: &[GetRequest]) -> Vec<Result<Secret>> {
        let check = |request: &GetRequest| capabilities.check_get(&request.name, &request.options);
        let object = match requests.iter().any(|request| check(request).is_ok()) {
            true => Some(self.object().await),
            false => None,
        };
        let answer = |request: &GetRequest| {
            check(request)?;
            match &object {
                Some(Ok(object)) => self.secret(&request.name, object, &request.options),
                Some(Err(failed)) => Err(self.about(failed.clone(), &request.name)),
                None => Err(self.missing(&request.name)),
            }
        };
        requests.iter().map(answer).collect()
    }

    pub(super) async fn put(&self, name: &SecretName, request: &PutRequest) -> Result<Metadata> {
        let key = data_key(name)?;
        let revision = new_revision()?;
        for round in 0..ROUNDS {
            let written = match self.object().await {
                Ok(object) => self.change(name, &key, &object, request, &revision).await?,
                Err(failed) if failed.is_not_found() => match (&request.value, &request.mode) {
                    (Some(value), PutMode::Upsert | PutMode::Create) => {
                        self.create(name, &key, value, request, &revision).await?
                    }
                    _ => return Err(self.missing(name)),
                },
                Err(failed) => return Err(self.about(failed, name)),
            };
            match written {
                Some(metadata) => return Ok(metadata),
                // What is there now decides.
                None => pause(round).await,
            }
        }
        Err(contended(name))
    }

    pub(super) async fn delete(&self, name: &SecretName) -> Result<()> {
        let key = data_key(name)?;
        for round in 0..ROUNDS {
            let object = match self.object().await {
                Ok(object) if !object.metadata.is_being_deleted() && object.data.contains_key(&key) => object,
                // The object that had it is gone since, and the key with it.
                Ok(_) if round > 0 => return Ok(()),
                Err(failed) if failed.is_not_found() && round > 0 => return Ok(()),
                Ok(_) => return Err(self.missing(name)),
                Err(failed) => return Err(self.about(failed, name)),
            };
            guard::check_type(name, &object.secret_type)?;
            guard::check_mutable(name, &object, IMMUTABLE)?;
            let annotations = OfKeyNames::new(&key);
            let patch = json!({
                "metadata": {
                    "uid": object.metadata.uid,
                    "annotations": {annotations.metadata: null, annotations.revision: null},
                },
                "data": {key.as_str(): null},
            });
            match self.cluster.ask::<Partial>(&Call::merge(self.path(), &patch)).await {
                Ok(partial) => {
                    return partial
                        .confirm(&self.namespace, &self.object)
                        .map_err(|failed| self.about(failed, name));
                }
                Err(failed) if failed.is_conflict() || failed.is_not_found() => pause(round).await,
                Err(failed) => return Err(self.about(failed, name)),
            }
        }
        Err(contended(name))
    }

    /// All that are in the range.
    ///
    /// The names are the keys of the data, which metadata alone do not have. But they have, for each writer, the fields that it
    /// wrote, and a table as `kubectl get` prints it has those and the number of keys. Where the numbers agree, these are
    /// the names and no value was sent. Where they don't (a tool took the record of its fields away, or wrote before
    /// there was one), the object is read, and its values are dropped.
    pub(super) async fn list(&self, range: &Range) -> Result<Vec<Metadata>> {
        let summary = match self.summary().await {
            Ok(summary) => summary,
            Err(failed) if failed.is_not_found() => {
                check_namespace(&self.cluster, &self.namespace).await?;
                return Ok(Vec::new());
            }
            Err(failed) => return Err(failed.into_error()),
        };
        if summary.metadata.is_being_deleted() {
            return Ok(Vec::new());
        }
        let known = summary.metadata.managed_keys();
        if summary.keys == Some(known.len() as u64) {
            return Ok(listed(range, &summary.metadata, &known));
        }
        tracing::debug!(
            target: "keyfob",
            object = self.object.as_str(),
            "the metadata do not account for every key of the Secret: it is read to list their names"
        );
        match self.object().await {
            Ok(object) => {
                let keys = object.data.keys().map(String::as_str).collect();
                Ok(listed(range, &object.metadata, &keys))
            }
            Err(failed) if failed.is_not_found() => Ok(Vec::new()),
            Err(failed) => Err(failed.into_error()),
        }
    }

    fn secret(&self, name: &SecretName, object: &Object, options: &GetOptions) -> Result<Secret> {
        let key = data_key(name)?;
        let value = match object.data.get(&key) {
            Some(value) if !object.metadata.is_being_deleted() => &value.0,
            _ => return Err(self.missing(name)),
        };
        let annotations = OfKeyNames::new(&key);
        let kept = Kept::of_key(annotation(&object.metadata, &annotations.metadata));
        kept.check(name, options.expired)?;
        let mut metadata = kept.metadata(name);
        metadata.version = Some(key_version(&object.metadata, &key, value.expose_secret(), &annotations)?);
        Ok(Secret::new(value.clone(), metadata))
    }

    /// Changes one key; `None` when something changed since the object was read.
    async fn change(
        &self,
        name: &SecretName,
        key: &str,
        object: &Object,
        request: &PutRequest,
        revision: &str,
    ) -> Result<Option<Metadata>> {
        let meta = &object.metadata;
        if meta.is_being_deleted() {
            return Err(guard::being_deleted(name));
        }
        let annotations = OfKeyNames::new(key);
        let present = Present {
            meta,
            has_data: !object.data.is_empty(),
            value: object.data.get(key).map(|value| &value.0),
        };
        match (&request.mode, present.value) {
            (PutMode::Create, Some(_)) => return Err(already_exists(name)),
            (PutMode::Match(_), None) => return Err(self.missing(name)),
            (PutMode::Upsert, None) if request.value.is_none() => return Err(self.missing(name)),
            (PutMode::Match(expected), Some(value))
                if *expected != key_version(meta, key, value.expose_secret(), &annotations)? =>
            {
                return Err(another_is_current(name));
            }
            _ => {}
        }
        guard::check_type(name, &object.secret_type)?;
        if let Some(value) = &request.value {
            guard::check_mutable(name, object, IMMUTABLE)?;
            let before = present.value.map_or(0, SecretValue::len);
            guard::check_data_bytes(name, object.data_bytes() - before + value.len())?;
        }
        let patch = Patch::new(key, &annotations, &present, request, revision);
        check_size(name, Some(meta), patch.annotations())?;
        let call = Call::patch(self.path(), &patch.operations());
        let partial = match self.cluster.ask::<Partial>(&call).await {
            Ok(partial) => partial,
            Err(failed) if failed.is_conflict() || failed.is_not_found() || failed.does_not_apply() => return Ok(None),
            Err(failed) => return Err(self.about(failed, name)),
        };
        let value = request.value.as_ref().or(present.value);
        self.written(name, key, &partial, value.map_or(&[], SecretValue::expose_secret))
            .map(Some)
    }

    /// Makes the object with its first key; `None` when somebody was faster.
    async fn create(
        &self,
        name: &SecretName,
        key: &str,
        value: &SecretValue,
        request: &PutRequest,
        revision: &str,
    ) -> Result<Option<Metadata>> {
        let annotations = OfKeyNames::new(key);
        let changes = Changes::from([
            (annotations.metadata, Kept::default().after(request).to_key()),
            (annotations.revision, Some(revision.to_owned())),
        ]);
        check_size(name, None, &changes)?;
        let new = NewObject::new(&self.object, &changes, key, value);
        let call = Call::post(Path::secrets(&self.namespace), &new);
        match self.cluster.ask::<Partial>(&call).await {
            Ok(partial) => self.written(name, key, &partial, value.expose_secret()).map(Some),
            Err(failed) if failed.already_exists() => Ok(None),
            Err(failed) => Err(self.about(failed, name)),
        }
    }

    /// The metadata of a key that was written.
    fn written(&self, name: &SecretName, key: &str, partial: &Partial, value: &[u8]) -> Result<Metadata> {
        partial
            .confirm(&self.namespace, &self.object)
            .map_err(|failed| self.about(failed, name))?;
        let annotations = OfKeyNames::new(key);
        let mut metadata = Kept::of_key(annotation(&partial.metadata, &annotations.metadata)).metadata(name);
        metadata.version = Some(key_version(&partial.metadata, key, value, &annotations)?);
        Ok(metadata)
    }

    async fn object(&self) -> Result<Object, Failed> {
        let object: Object = self.cluster.ask(&Call::get(self.path(), Accept::Whole)).await?;
        object.confirm(&self.namespace, &self.object)?;
        Ok(object)
    }

    async fn summary(&self) -> Result<Summary, Failed> {
        let table: Table = self.cluster.ask(&Call::get(self.path(), Accept::Table)).await?;
        table.summary(&self.namespace, &self.object)
    }

    fn path(&self) -> Path {
        Path::secret(&self.namespace, &self.object)
    }

    fn about(&self, failed: Failed, name: &SecretName) -> Error {
        match failed.is_not_found() {
            true => self
                .missing(name)
                .with_hint("the Secret itself does not exist: the first write makes it"),
            false => failed.about(name).with("object", self.object.as_str()),
        }
    }

    fn missing(&self, name: &SecretName) -> Error {
        not_found(name)
            .with("namespace", self.namespace.as_str())
            .with("object", self.object.as_str())
    }
}

/// The key; the capabilities have refused names without one before.
fn data_key(name: &SecretName) -> Result<String> {
    names::data_key(name).ok_or_else(|| not_found(name))
}

fn annotation<'a>(meta: &'a Meta, name: &str) -> Option<&'a str> {
    meta.annotations.get(name).map(String::as_str)
}

fn listed(range: &Range, meta: &Meta, keys: &BTreeSet<&str>) -> Vec<Metadata> {
    let names = keys.iter().filter_map(|key| Some((key, names::name_of_key(key)?)));
    names
        .filter(|(_, name)| range.contains(name))
        .map(|(key, name)| Kept::of_key(annotation(meta, &OfKeyNames::new(key).metadata)).metadata(&name))
        .collect()
}

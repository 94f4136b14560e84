//! What keyfob does not touch.

use keyfob_core::{Error, ErrorKind, Result, SecretName};

use super::SCHEME;
use super::value::KEY;
use crate::metadata::NAME;
use crate::object::{MAX_DATA_BYTES, Meta, Object};

/// Types whose objects belong to a controller or to a tool that keeps its state there: not listed, not written, not deleted.
pub(super) const KEPT_BY_OTHERS: [&str; 3] = [
    "kubernetes.io/service-account-token",
    "bootstrap.kubernetes.io/token",
    "helm.sh/release.v1",
];

/// Refuses an object that says that it is another secret's: one that was copied under another name.
pub(crate) fn check_name(name: &SecretName, meta: &Meta) -> Result<()> {
    match meta.annotations.get(NAME) {
        Some(written) if written != name.as_str() => Err(Error::new(
            ErrorKind::Corrupt,
            "the Secret says that it is the one of another name",
        )
        .with("name", name.as_str())
        .with("object", meta.name.as_str())
        .with("store", SCHEME)
        .with_hint("was it copied under another name? Take the annotation `keyfob.dev/name` away if it is meant to be so")),
        _ => Ok(()),
    }
}

pub(super) fn check_type(name: &SecretName, secret_type: &str) -> Result<()> {
    match KEPT_BY_OTHERS.contains(&secret_type) {
        true => Err(Error::new(
            ErrorKind::Conflict,
            "the Secret is of a type that belongs to another program, and keyfob only reads it",
        )
        .with("name", name.as_str())
        .with("type", secret_type)
        .with("store", SCHEME)
        .with_hint("change it with the tool that made it")),
        false => Ok(()),
    }
}

pub(super) fn check_mutable(name: &SecretName, object: &Object, hint: &'static str) -> Result<()> {
    match object.immutable {
        true => Err(
            Error::new(ErrorKind::Conflict, "the Secret is immutable: its values can't change")
                .with("name", name.as_str())
                .with("object", object.metadata.name.as_str())
                .with("store", SCHEME)
                .with_hint(hint),
        ),
        false => Ok(()),
    }
}

/// Refuses to write a value into a map that another tool made: the others would be lost, or the value not be read back.
pub(super) fn check_single(name: &SecretName, object: &Object) -> Result<()> {
    match object.data.keys().find(|key| *key != KEY) {
        Some(key) => Err(Error::new(
            ErrorKind::Conflict,
            "the Secret holds what another tool wrote, and keyfob does not replace that",
        )
        .with("name", name.as_str())
        .with("key", key.as_str())
        .with("store", SCHEME)
        .with_hint("a single key of it is written as a secret of its own in `k8s://NAMESPACE/NAME`; or delete it first")),
        None => Ok(()),
    }
}

pub(super) fn being_deleted(name: &SecretName) -> Error {
    Error::new(
        ErrorKind::Conflict,
        "the Secret is being deleted, and a finalizer still holds it",
    )
    .with("name", name.as_str())
    .with("store", SCHEME)
    .with_hint("`kubectl get secret NAME -o yaml` shows the finalizers")
}

/// Refuses what would be too much for all keys of an object together.
pub(super) fn check_data_bytes(name: &SecretName, bytes: usize) -> Result<()> {
    match bytes > MAX_DATA_BYTES {
        true => Err(Error::new(
            ErrorKind::InvalidInput,
            format!("the values of the Secret would have {bytes} bytes together, Kubernetes takes {MAX_DATA_BYTES}"),
        )
        .with("name", name.as_str())
        .with("store", SCHEME)
        .with_hint("take what is not needed out of it, or keep each secret in an object of its own (`k8s://NAMESPACE`)")),
        false => Ok(()),
    }
}

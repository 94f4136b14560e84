//! What cases expect, with failures that never show a value.

use keyfob_core::{Error, ErrorKind, GetOptions, Result, Secret, SecretName, SecretValue, Version};

use crate::case::{CaseResult, Stop};
use crate::context::Context;

/// Fails the case with a message unless the condition holds.
macro_rules! ensure {
    ($condition:expr, $($message:tt)+) => {
        if !$condition {
            return Err($crate::Stop::Failed(format!($($message)+)));
        }
    };
}
pub(crate) use ensure;

/// Expects an error of `kind`; `what` says which call this was.
pub(crate) fn refused<T>(result: Result<T>, kind: ErrorKind, what: &str) -> CaseResult<Error> {
    match result {
        Ok(_) => Err(Stop::Failed(format!("{what}: succeeded, expected `{kind}`"))),
        Err(error) if error.kind() == kind => Ok(error),
        Err(error) => Err(Stop::Failed(format!("{what}: expected `{kind}`, got {error:?}"))),
    }
}

/// Expects success; `what` says which call this was.
pub(crate) fn done<T>(result: Result<T>, what: &str) -> CaseResult<T> {
    result.map_err(|error| Stop::Failed(format!("{what}: {error:?}")))
}

/// Expects exactly these bytes.
pub(crate) fn same_value(found: &SecretValue, expected: &SecretValue, what: &str) -> CaseResult {
    if found.expose_secret() == expected.expose_secret() {
        return Ok(());
    }
    Err(Stop::Failed(format!(
        "{what}: another value ({} bytes, expected {})",
        found.len(),
        expected.len()
    )))
}

/// Expects that the name's current value is this one.
pub(crate) async fn current_is(context: &Context, name: &SecretName, expected: &SecretValue, what: &str) -> CaseResult<Secret> {
    let secret = done(context.store().get(name, &GetOptions::default()).await, what)?;
    same_value(&secret.value, expected, what)?;
    Ok(secret)
}

/// Expects that nothing can be read under this name.
pub(crate) async fn is_missing(context: &Context, name: &SecretName, what: &str) -> CaseResult {
    refused(
        context.store().get(name, &GetOptions::default()).await,
        ErrorKind::NotFound,
        what,
    )?;
    Ok(())
}

/// Expects that the store said which version this is.
pub(crate) fn version_of(metadata: &keyfob_core::Metadata, what: &str) -> CaseResult<Version> {
    metadata
        .version
        .clone()
        .ok_or_else(|| Stop::Failed(format!("{what}: no version in the metadata")))
}

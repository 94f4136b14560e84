//! `restore`: brings back what was deleted.

use std::collections::BTreeMap;

use keyfob_core::{Change, DeleteMode, DeleteOptions, ErrorKind, ListOptions, PutRequest, SecretName};

use crate::case::{CaseResult, cases};
use crate::context::Context;
use crate::expect::{current_is, done, ensure, refused};

cases! { "restore":
    brings_the_value_back [Put, DeleteRecoverable],
    brings_the_metadata_back [Put, DeleteRecoverable, Metadata],
    brings_the_versions_back [Put, DeleteRecoverable, Versions],
    is_listed_again [Put, DeleteRecoverable, List],
    of_what_is_there_changes_nothing [Put, DeleteRecoverable],
    missing_is_not_found [DeleteRecoverable],
    gone_for_good_is_not_found [Put, DeleteRecoverable, DeletePermanent],
    restored_secret_can_be_written_and_deleted [Put, DeleteRecoverable],
}

/// The value is as it was, and the answer describes the secret as it is now: not deleted.
pub async fn brings_the_value_back(context: &Context) -> CaseResult {
    let name = context.name("a")?;
    context.put(&name, "a").await?;
    delete(context, &name).await?;
    let metadata = done(context.store().restore(&name).await, "restore")?;
    ensure!(
        metadata.name == name,
        "`restore` returned the metadata of `{}`",
        metadata.name
    );
    ensure!(metadata.deleted_at.is_none(), "`restore` returned a `deleted_at`");
    current_is(context, &name, &context.value("a"), "get after restore").await?;
    Ok(())
}

/// Metadata is as it was.
pub async fn brings_the_metadata_back(context: &Context) -> CaseResult {
    let can = context.capabilities();
    let name = context.name("a")?;
    let mut request = PutRequest::new(context.value("a"));
    if can.description {
        request.description = Change::Set("mine".to_owned());
    }
    if can.tags {
        request.tags = Change::Set(BTreeMap::from([("team".to_owned(), "db".to_owned())]));
    }
    if can.expiry {
        request.expires_at = Change::Set(std::time::SystemTime::UNIX_EPOCH + std::time::Duration::from_secs(4_102_444_800));
    }
    let before = done(context.store().put(&name, request).await, "put with metadata")?;
    delete(context, &name).await?;
    let returned = done(context.store().restore(&name).await, "restore")?;
    let read = current_is(context, &name, &context.value("a"), "get after restore")
        .await?
        .metadata;
    for (what, after) in [("returned by `restore`", &returned), ("after `restore`", &*read)] {
        ensure!(
            after.description == before.description,
            "the description {what} is {:?}",
            after.description
        );
        ensure!(after.tags == before.tags, "the tags {what} are {:?}", after.tags);
        ensure!(
            after.expires_at == before.expires_at,
            "the expiry {what} is {:?}",
            after.expires_at
        );
    }
    Ok(())
}

/// All versions are as they were, and the same one is current.
pub async fn brings_the_versions_back(context: &Context) -> CaseResult {
    let name = context.name("a")?;
    for label in ["one", "two", "three"] {
        context.put(&name, label).await?;
    }
    let before = super::versions::all(context, &name, None).await?;
    delete(context, &name).await?;
    done(context.store().restore(&name).await, "restore")?;
    let after = super::versions::all(context, &name, None).await?;
    let tokens = |infos: &[keyfob_core::VersionInfo]| -> Vec<_> {
        infos.iter().map(|info| (info.version.clone(), info.current)).collect()
    };
    ensure!(
        tokens(&before) == tokens(&after),
        "{} versions before, {} after, or others",
        before.len(),
        after.len()
    );
    Ok(())
}

/// A normal listing knows it again.
pub async fn is_listed_again(context: &Context) -> CaseResult {
    let name = context.name("a")?;
    context.put(&name, "a").await?;
    delete(context, &name).await?;
    done(context.store().restore(&name).await, "restore")?;
    let options = ListOptions {
        prefix: context.prefix(),
        ..ListOptions::default()
    };
    let listed = super::list::all(context, options).await?;
    ensure!(listed.len() == 1, "after restore it is listed {} times", listed.len());
    ensure!(listed[0].deleted_at.is_none(), "after restore it is listed with `deleted_at`");
    Ok(())
}

/// Idempotent: restoring what is not deleted changes nothing and succeeds.
pub async fn of_what_is_there_changes_nothing(context: &Context) -> CaseResult {
    let name = context.name("a")?;
    let before = context.put(&name, "a").await?;
    for _ in 0..2 {
        let metadata = done(context.store().restore(&name).await, "restore of what is there")?;
        ensure!(
            metadata.version == before.version,
            "restoring what is there made another version"
        );
    }
    let after = current_is(context, &name, &context.value("a"), "get after restore").await?;
    ensure!(
        after.metadata.version == before.version,
        "restoring what is there made another version"
    );
    Ok(())
}

/// No secret of that name: `NotFound`.
pub async fn missing_is_not_found(context: &Context) -> CaseResult {
    refused(
        context.store().restore(&context.name("missing")?).await,
        ErrorKind::NotFound,
        "restore of a missing name",
    )?;
    Ok(())
}

/// What is gone for good can't be restored: `NotFound`.
pub async fn gone_for_good_is_not_found(context: &Context) -> CaseResult {
    let name = context.name("a")?;
    context.put(&name, "a").await?;
    let options = DeleteOptions {
        mode: DeleteMode::Permanent,
    };
    done(context.store().delete(&name, &options).await, "delete for good")?;
    refused(
        context.store().restore(&name).await,
        ErrorKind::NotFound,
        "restore of what was deleted for good",
    )?;
    Ok(())
}

/// A restored secret is a secret like any other.
pub async fn restored_secret_can_be_written_and_deleted(context: &Context) -> CaseResult {
    let name = context.name("a")?;
    context.put(&name, "one").await?;
    delete(context, &name).await?;
    done(context.store().restore(&name).await, "restore")?;
    context.put(&name, "two").await?;
    current_is(context, &name, &context.value("two"), "get of a new value after restore").await?;
    delete(context, &name).await?;
    done(context.store().restore(&name).await, "second restore")?;
    current_is(context, &name, &context.value("two"), "get after the second restore").await?;
    Ok(())
}

async fn delete(context: &Context, name: &SecretName) -> CaseResult {
    let options = DeleteOptions {
        mode: DeleteMode::Recoverable { window: None },
    };
    done(
        context.store().delete(name, &options).await,
        "delete so that it can be restored",
    )
}

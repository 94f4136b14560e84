//! `delete`: so that it can be restored, or for good.

use std::collections::BTreeMap;

use keyfob_core::{
    Change, DeleteMode, DeleteOptions, ErrorKind, GetOptions, GetRequest, PageRequest, PutRequest, SecretName, VersionSelector,
};

use crate::case::{CaseResult, cases};
use crate::context::Context;
use crate::expect::{current_is, done, ensure, is_missing, refused};

cases! { "delete":
    for_good_takes_the_secret_away [Put, DeletePermanent],
    recoverable_takes_the_secret_away [Put, DeleteRecoverable],
    store_default_takes_the_secret_away [Put, Delete],
    missing_is_not_found [Delete],
    does_not_touch_other_secrets [Put, Delete],
    twice_is_not_found [Put, Delete],
    for_good_takes_what_is_deleted [Put, DeletePermanent, DeleteRecoverable],
    for_good_takes_all_versions [Put, DeletePermanent, Versions],
    for_good_takes_the_metadata [Tags, DeletePermanent],
}

/// Afterwards `get`, `get_many` and `versions` don't know what was deleted for good.
pub async fn for_good_takes_the_secret_away(context: &Context) -> CaseResult {
    takes_away(context, DeleteMode::Permanent).await
}

/// Afterwards `get`, `get_many` and `versions` don't know what was deleted, even if it can be restored.
pub async fn recoverable_takes_the_secret_away(context: &Context) -> CaseResult {
    takes_away(context, DeleteMode::Recoverable { window: None }).await
}

/// The same for the way that the store prefers.
pub async fn store_default_takes_the_secret_away(context: &Context) -> CaseResult {
    takes_away(context, DeleteMode::StoreDefault).await
}

/// No secret of that name: `NotFound`, in every way that the store can delete.
pub async fn missing_is_not_found(context: &Context) -> CaseResult {
    let can = context.capabilities();
    let mut modes = vec![DeleteMode::StoreDefault];
    modes.extend(can.delete_permanent.then_some(DeleteMode::Permanent));
    modes.extend(can.delete_recoverable.then_some(DeleteMode::Recoverable { window: None }));
    for mode in modes {
        refused(
            delete(context, &context.name("missing")?, mode).await,
            ErrorKind::NotFound,
            &format!("delete of a missing name, {mode:?}"),
        )?;
    }
    Ok(())
}

/// A delete reaches the secret of its name and no other.
pub async fn does_not_touch_other_secrets(context: &Context) -> CaseResult {
    for label in ["a", "ab", "a/b", "b"] {
        context.put(&context.name(label)?, label).await?;
    }
    done(delete(context, &context.name("a")?, DeleteMode::StoreDefault).await, "delete")?;
    for label in ["ab", "a/b", "b"] {
        current_is(
            context,
            &context.name(label)?,
            &context.value(label),
            "get after another's delete",
        )
        .await?;
    }
    Ok(())
}

/// Deleting in the same way what is already deleted is `NotFound`.
pub async fn twice_is_not_found(context: &Context) -> CaseResult {
    let can = context.capabilities();
    let mut modes = vec![DeleteMode::StoreDefault];
    modes.extend(can.delete_permanent.then_some(DeleteMode::Permanent));
    modes.extend(can.delete_recoverable.then_some(DeleteMode::Recoverable { window: None }));
    for (index, mode) in modes.into_iter().enumerate() {
        let name = context.name(&format!("twice-{index}"))?;
        context.put(&name, "a").await?;
        done(delete(context, &name, mode).await, "delete")?;
        refused(
            delete(context, &name, mode).await,
            ErrorKind::NotFound,
            &format!("second delete, {mode:?}"),
        )?;
    }
    Ok(())
}

/// What is deleted but recoverable can be deleted for good: then it can't be restored, and its name is free.
pub async fn for_good_takes_what_is_deleted(context: &Context) -> CaseResult {
    let name = context.name("a")?;
    context.put(&name, "old").await?;
    done(
        delete(context, &name, DeleteMode::Recoverable { window: None }).await,
        "delete",
    )?;
    done(
        delete(context, &name, DeleteMode::Permanent).await,
        "delete for good of what is deleted",
    )?;
    refused(
        context.store().restore(&name).await,
        ErrorKind::NotFound,
        "restore of what was deleted for good",
    )?;
    context.put(&name, "new").await?;
    current_is(context, &name, &context.value("new"), "get after a new start").await?;
    Ok(())
}

/// All versions go: a new secret of the name has no past.
pub async fn for_good_takes_all_versions(context: &Context) -> CaseResult {
    let name = context.name("a")?;
    context.put(&name, "one").await?;
    context.put(&name, "two").await?;
    done(delete(context, &name, DeleteMode::Permanent).await, "delete for good")?;
    context.put(&name, "new").await?;
    let count = super::versions::all(context, &name, None).await?.len();
    ensure!(
        count == 1,
        "a new secret of a name that was deleted for good has {count} versions"
    );
    refused(
        context
            .store()
            .get(&name, &GetOptions::version(VersionSelector::Previous))
            .await,
        ErrorKind::NotFound,
        "`@previous` of a new secret",
    )?;
    Ok(())
}

/// Metadata goes with the secret: a new one of the name begins without.
pub async fn for_good_takes_the_metadata(context: &Context) -> CaseResult {
    let name = context.name("a")?;
    let request = PutRequest {
        tags: Change::Set(BTreeMap::from([("old".to_owned(), "tag".to_owned())])),
        ..PutRequest::new(context.value("old"))
    };
    done(context.store().put(&name, request).await, "put with a tag")?;
    done(delete(context, &name, DeleteMode::Permanent).await, "delete for good")?;
    context.put(&name, "new").await?;
    let secret = current_is(context, &name, &context.value("new"), "get").await?;
    ensure!(
        secret.metadata.tags.is_empty(),
        "a new secret has the tags of one that was deleted for good"
    );
    Ok(())
}

async fn takes_away(context: &Context, mode: DeleteMode) -> CaseResult {
    let name = context.name("a")?;
    context.put(&name, "one").await?;
    context.put(&name, "two").await?;
    done(delete(context, &name, mode).await, "delete")?;
    is_missing(context, &name, "get after delete").await?;
    let mut answers = context.store().get_many(&[GetRequest::new(name.clone())]).await;
    let answer = answers
        .pop()
        .ok_or_else(|| crate::Stop::Failed("get_many: no answer".to_owned()))?;
    refused(answer, ErrorKind::NotFound, "get_many after delete")?;
    if context.capabilities().versions {
        refused(
            context.store().versions(&name, &PageRequest::default()).await,
            ErrorKind::NotFound,
            "versions after delete",
        )?;
        for version in [VersionSelector::Previous] {
            refused(
                context.store().get(&name, &GetOptions::version(version)).await,
                ErrorKind::NotFound,
                "get of `@previous` after delete",
            )?;
        }
    }
    Ok(())
}

async fn delete(context: &Context, name: &SecretName, mode: DeleteMode) -> keyfob_core::Result<()> {
    context.store().delete(name, &DeleteOptions { mode }).await
}

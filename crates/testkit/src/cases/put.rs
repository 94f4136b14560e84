//! `put`: writes under preconditions, and what must be refused. Metadata has a module of its own.

use std::collections::BTreeMap;
use std::time::{Duration, SystemTime};

use keyfob_core::{Change, DeleteMode, DeleteOptions, ErrorKind, GetOptions, PutMode, PutRequest, Version, VersionSelector};

use crate::case::{CaseResult, cases};
use crate::context::Context;
use crate::expect::{current_is, done, ensure, is_missing, refused, same_value, version_of};

cases! { "put":
    returns_the_metadata_afterwards [Put],
    says_plausible_times [Put],
    same_bytes_make_a_new_version [Put, Versions],
    does_not_touch_other_secrets [Put],
    create_takes_a_free_name [Create],
    create_on_a_taken_name_already_exists [Create],
    create_takes_a_name_that_was_deleted_for_good [Create, DeletePermanent],
    match_of_the_current_version_writes [Match],
    match_after_anothers_write_is_conflict [Match],
    match_of_an_unknown_version_is_conflict [Match],
    match_of_a_missing_secret_is_not_found [Match],
    match_guards_metadata_too [Match, PutMetadata, Metadata],
    create_without_a_value_is_invalid [Create],
    nothing_to_write_is_invalid [Put],
    too_large_a_value_is_invalid [ValueLimit],
    deleted_name_is_reserved_or_free [Put, DeleteRecoverable],
}

/// The answer is the metadata as a `get` sees it afterwards.
pub async fn returns_the_metadata_afterwards(context: &Context) -> CaseResult {
    let name = context.name("a")?;
    for label in ["one", "two"] {
        let written = context.put(&name, label).await?;
        let read = current_is(context, &name, &context.value(label), "get after put")
            .await?
            .metadata;
        ensure!(
            written.name == name,
            "`put` of `{name}` returned the metadata of `{}`",
            written.name
        );
        ensure!(
            written.version == read.version,
            "`put` returned version {:?}, `get` says {:?}",
            written.version,
            read.version
        );
        ensure!(
            (&written.description, &written.tags, written.expires_at) == (&read.description, &read.tags, read.expires_at),
            "`put` returned other metadata than `get`"
        );
    }
    Ok(())
}

/// Times that a store keeps are about now (a day for clocks that differ): seconds are not taken for milliseconds.
pub async fn says_plausible_times(context: &Context) -> CaseResult {
    let name = context.name("a")?;
    let metadata = context.put(&name, "a").await?;
    let (now, day) = (SystemTime::now(), Duration::from_secs(86_400));
    for (what, time) in [("created", metadata.created), ("updated", metadata.updated)] {
        if let Some(time) = time {
            ensure!(
                time > now - day && time < now + day,
                "`{what}` of what was written now is {time:?}"
            );
        }
    }
    if let (Some(created), Some(updated)) = (metadata.created, metadata.updated) {
        ensure!(created <= updated, "`updated` lies before `created`");
    }
    Ok(())
}

/// A value makes a new version even if the bytes are the same.
pub async fn same_bytes_make_a_new_version(context: &Context) -> CaseResult {
    let name = context.name("a")?;
    let first = version_of(&context.put(&name, "same").await?, "put")?;
    let second = version_of(&context.put(&name, "same").await?, "put of the same bytes")?;
    ensure!(first != second, "the same bytes made no new version");
    let options = GetOptions::version(VersionSelector::Previous);
    let secret = done(context.store().get(&name, &options).await, "`@previous` after the same bytes")?;
    ensure!(
        secret.metadata.version == Some(first),
        "`@previous` is not the first of two equal values"
    );
    Ok(())
}

/// A write reaches the secret of its name and no other.
pub async fn does_not_touch_other_secrets(context: &Context) -> CaseResult {
    let labels = ["a", "ab", "a/b", "b"];
    for label in labels {
        context.put(&context.name(label)?, label).await?;
    }
    context.put(&context.name("a")?, "changed").await?;
    for label in &labels[1..] {
        current_is(
            context,
            &context.name(label)?,
            &context.value(label),
            "get after another's put",
        )
        .await?;
    }
    Ok(())
}

/// `Create` writes where there is nothing.
pub async fn create_takes_a_free_name(context: &Context) -> CaseResult {
    let name = context.name("a")?;
    done(
        context.store().put(&name, create(context, "a")).await,
        "create on a free name",
    )?;
    current_is(context, &name, &context.value("a"), "get after create").await?;
    Ok(())
}

/// `Create` on a taken name is `AlreadyExists`, and changes nothing.
pub async fn create_on_a_taken_name_already_exists(context: &Context) -> CaseResult {
    let name = context.name("a")?;
    let first = context.put(&name, "first").await?;
    refused(
        context.store().put(&name, create(context, "second")).await,
        ErrorKind::AlreadyExists,
        "create on a taken name",
    )?;
    let secret = current_is(context, &name, &context.value("first"), "get after a refused create").await?;
    ensure!(secret.metadata.version == first.version, "a refused create made a version");
    Ok(())
}

/// What was deleted for good leaves its name free.
pub async fn create_takes_a_name_that_was_deleted_for_good(context: &Context) -> CaseResult {
    let name = context.name("a")?;
    context.put(&name, "first").await?;
    let options = DeleteOptions {
        mode: DeleteMode::Permanent,
    };
    done(context.store().delete(&name, &options).await, "delete for good")?;
    done(
        context.store().put(&name, create(context, "second")).await,
        "create after a delete for good",
    )?;
    current_is(context, &name, &context.value("second"), "get after create").await?;
    Ok(())
}

/// `Match` writes when the version is current, with the token of `put` and with that of `get`.
pub async fn match_of_the_current_version_writes(context: &Context) -> CaseResult {
    let name = context.name("a")?;
    let first = version_of(&context.put(&name, "one").await?, "put")?;
    let written = done(
        context.store().put(&name, matching(context, "two", first.clone())).await,
        "match of the version from `put`",
    )?;
    ensure!(version_of(&written, "put")? != first, "another value has the same version");
    let read = current_is(context, &name, &context.value("two"), "get after match").await?;
    let version = version_of(&read.metadata, "get")?;
    done(
        context.store().put(&name, matching(context, "three", version)).await,
        "match of the version from `get`",
    )?;
    current_is(context, &name, &context.value("three"), "get after match").await?;
    Ok(())
}

/// `Match` of a version that somebody has replaced is `Conflict`, and changes nothing.
pub async fn match_after_anothers_write_is_conflict(context: &Context) -> CaseResult {
    let name = context.name("a")?;
    let mine = version_of(&context.put(&name, "mine").await?, "put")?;
    context.put(&name, "theirs").await?;
    refused(
        context.store().put(&name, matching(context, "lost", mine)).await,
        ErrorKind::Conflict,
        "match of a version that was replaced",
    )?;
    current_is(context, &name, &context.value("theirs"), "get after a refused match").await?;
    Ok(())
}

/// `Match` of a version that never was is `Conflict`, and changes nothing.
pub async fn match_of_an_unknown_version_is_conflict(context: &Context) -> CaseResult {
    let name = context.name("a")?;
    context.put(&name, "mine").await?;
    for token in ["999999999", "nonsense"] {
        refused(
            context
                .store()
                .put(&name, matching(context, "lost", Version::new(token)?))
                .await,
            ErrorKind::Conflict,
            "match of an unknown version",
        )?;
    }
    current_is(context, &name, &context.value("mine"), "get after a refused match").await?;
    Ok(())
}

/// `Match` where there is nothing is `NotFound`, and makes nothing.
pub async fn match_of_a_missing_secret_is_not_found(context: &Context) -> CaseResult {
    let name = context.name("missing")?;
    refused(
        context.store().put(&name, matching(context, "a", Version::from(1))).await,
        ErrorKind::NotFound,
        "match of a missing secret",
    )?;
    is_missing(context, &name, "get after a refused match").await
}

/// The precondition holds for changes of metadata too.
pub async fn match_guards_metadata_too(context: &Context) -> CaseResult {
    let name = context.name("a")?;
    let mine = version_of(&context.put(&name, "mine").await?, "put")?;
    let theirs = version_of(&context.put(&name, "theirs").await?, "put")?;
    let change = |version| PutRequest {
        value: None,
        ..with_some_metadata(context, matching(context, "a", version))
    };
    refused(
        context.store().put(&name, change(mine)).await,
        ErrorKind::Conflict,
        "change of metadata under a version that was replaced",
    )?;
    done(
        context.store().put(&name, change(theirs)).await,
        "change of metadata under the current version",
    )?;
    Ok(())
}

/// `Create` without a value is `InvalidInput`.
pub async fn create_without_a_value_is_invalid(context: &Context) -> CaseResult {
    let name = context.name("a")?;
    let request = PutRequest {
        mode: PutMode::Create,
        description: Change::Set("no value".to_owned()),
        ..PutRequest::default()
    };
    refused(
        context.store().put(&name, request).await,
        ErrorKind::InvalidInput,
        "create without a value",
    )?;
    is_missing(context, &name, "get after a refused create").await
}

/// A request that changes nothing is `InvalidInput`.
pub async fn nothing_to_write_is_invalid(context: &Context) -> CaseResult {
    let name = context.name("a")?;
    context.put(&name, "a").await?;
    refused(
        context.store().put(&name, PutRequest::default()).await,
        ErrorKind::InvalidInput,
        "put of nothing",
    )?;
    Ok(())
}

/// A value over the limit is `InvalidInput`, and changes nothing.
pub async fn too_large_a_value_is_invalid(context: &Context) -> CaseResult {
    let name = context.name("a")?;
    context.put(&name, "small").await?;
    let size = context.capabilities().max_value_bytes + 1;
    let value = context.bytes(&vec![b'x'; size.saturating_sub(context.canary().len())]);
    refused(
        context.store().put(&name, PutRequest::new(value)).await,
        ErrorKind::InvalidInput,
        &format!("put of {size} bytes"),
    )?;
    current_is(context, &name, &context.value("small"), "get after a refused put").await?;
    Ok(())
}

/// On a secret that is deleted but recoverable a put is `Conflict` with a hint where the name is reserved, and leaves
/// what can be restored; elsewhere it is as if there were none.
pub async fn deleted_name_is_reserved_or_free(context: &Context) -> CaseResult {
    let name = context.name("a")?;
    context.put(&name, "old").await?;
    let options = DeleteOptions {
        mode: DeleteMode::Recoverable { window: None },
    };
    done(context.store().delete(&name, &options).await, "delete")?;
    let written = context.store().put(&name, PutRequest::new(context.value("new"))).await;
    if context.capabilities().deleted_reserves_name {
        let error = refused(written, ErrorKind::Conflict, "put on a deleted name")?;
        ensure!(
            error.hint().is_some(),
            "the error has no hint to restore or to delete for good"
        );
        is_missing(context, &name, "get after a refused put on a deleted name").await?;
        done(context.store().restore(&name).await, "restore")?;
        current_is(context, &name, &context.value("old"), "get after restore").await?;
    } else {
        done(written, "put on a deleted name")?;
        let secret = done(context.store().get(&name, &GetOptions::default()).await, "get")?;
        same_value(&secret.value, &context.value("new"), "get after put on a deleted name")?;
    }
    Ok(())
}

fn create(context: &Context, label: &str) -> PutRequest {
    PutRequest::new(context.value(label)).mode(PutMode::Create)
}

fn matching(context: &Context, label: &str, version: Version) -> PutRequest {
    PutRequest::new(context.value(label)).mode(PutMode::Match(version))
}

/// Sets one piece of metadata that the store keeps.
fn with_some_metadata(context: &Context, mut request: PutRequest) -> PutRequest {
    let can = context.capabilities();
    if can.description {
        request.description = Change::Set("some".to_owned());
    } else if can.tags {
        request.tags = Change::Set(BTreeMap::from([("some".to_owned(), "tag".to_owned())]));
    } else {
        request.expires_at = Change::Set(SystemTime::now() + Duration::from_secs(86_400));
    }
    request
}

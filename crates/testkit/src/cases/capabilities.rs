//! Capabilities: what the store says it can do works, and what it says it can't is refused, never ignored.
//!
//! These cases are never ignored: each has something to check on either side.

use std::collections::BTreeMap;
use std::time::{Duration, SystemTime};

use keyfob_core::{
    Change, DeleteMode, DeleteOptions, Deleted, ErrorKind, GetOptions, ListOptions, PageRequest, PutMode, PutRequest, Result,
    SecretValue, Version, VersionSelector,
};

use crate::case::{CaseResult, cases};
use crate::context::Context;
use crate::expect::{current_is, done, is_missing, refused};

cases! { "capabilities":
    put_works_or_is_refused [],
    create_works_or_is_refused [],
    match_works_or_is_refused [],
    metadata_alone_works_or_is_refused [],
    description_works_or_is_refused [],
    tags_work_or_are_refused [],
    expiry_works_or_is_refused [],
    bytes_work_or_are_not_text [Put],
    empty_value_works_or_is_refused [],
    versions_work_or_are_refused [],
    list_works_or_is_refused [],
    list_of_deleted_works_or_is_refused [],
    delete_works_or_is_refused [],
    restore_works_or_is_refused [],
    recovery_window_is_checked [],
}

/// `put`: without it, every write is `Unsupported`.
pub async fn put_works_or_is_refused(context: &Context) -> CaseResult {
    write(
        context,
        context.capabilities().put,
        PutRequest::new(context.value("a")),
        "put",
    )
    .await
}

/// `put_create`: without it, `Create` is `Unsupported` and nothing is written.
pub async fn create_works_or_is_refused(context: &Context) -> CaseResult {
    let can = context.capabilities();
    let request = PutRequest::new(context.value("a")).mode(PutMode::Create);
    write(context, can.put && can.put_create, request, "create").await
}

/// `put_match`: without it, `Match` is `Unsupported` and nothing is written, even if the version is right.
pub async fn match_works_or_is_refused(context: &Context) -> CaseResult {
    let can = context.capabilities();
    let name = context.name("a")?;
    let mut version = Version::from(1);
    if can.put {
        version = context.put(&name, "old").await?.version.unwrap_or(version);
    }
    let request = PutRequest::new(context.value("new")).mode(PutMode::Match(version));
    let works = can.put && can.put_match;
    works_or_is_refused(context.store().put(&name, request).await, works, "match")?;
    if can.put && !can.put_match {
        current_is(context, &name, &context.value("old"), "get after a refused match").await?;
    }
    Ok(())
}

/// `put_metadata`: without it, a write without a value is `Unsupported`.
pub async fn metadata_alone_works_or_is_refused(context: &Context) -> CaseResult {
    let can = context.capabilities();
    let name = context.name("a")?;
    if can.put {
        context.put(&name, "a").await?;
    }
    let request = PutRequest {
        description: Change::Clear,
        tags: Change::Clear,
        expires_at: Change::Clear,
        ..PutRequest::default()
    };
    let written = context.store().put(&name, request).await;
    works_or_is_refused(written, can.put && can.put_metadata, "put without a value")
}

/// `description`: without it, setting one is `Unsupported` and nothing is written.
pub async fn description_works_or_is_refused(context: &Context) -> CaseResult {
    let can = context.capabilities();
    let request = PutRequest {
        description: Change::Set("mine".to_owned()),
        ..PutRequest::new(context.value("a"))
    };
    write(context, can.put && can.description, request, "put with a description").await
}

/// `tags`: without them, setting one is `Unsupported` and nothing is written.
pub async fn tags_work_or_are_refused(context: &Context) -> CaseResult {
    let can = context.capabilities();
    let request = PutRequest {
        tags: Change::Set(BTreeMap::from([("team".to_owned(), "db".to_owned())])),
        ..PutRequest::new(context.value("a"))
    };
    write(context, can.put && can.tags, request, "put with a tag").await
}

/// `expiry`: without it, setting one is `Unsupported` and nothing is written.
pub async fn expiry_works_or_is_refused(context: &Context) -> CaseResult {
    let can = context.capabilities();
    let request = PutRequest {
        expires_at: Change::Set(SystemTime::UNIX_EPOCH + Duration::from_secs(4_102_444_800)),
        ..PutRequest::new(context.value("a"))
    };
    write(context, can.put && can.expiry, request, "put with an expiry").await
}

/// `binary`: without it, bytes that are not UTF-8 are `NotText` and nothing is written.
pub async fn bytes_work_or_are_not_text(context: &Context) -> CaseResult {
    let name = context.name("a")?;
    let written = context.store().put(&name, PutRequest::new(context.bytes(b"\xff\xfe"))).await;
    if context.capabilities().binary {
        done(written, "put of bytes")?;
    } else {
        refused(written, ErrorKind::NotText, "put of bytes that are not UTF-8")?;
        is_missing(context, &name, "get after a refused put").await?;
    }
    Ok(())
}

/// `empty_value`: without it, an empty value is `Unsupported` and nothing is written.
pub async fn empty_value_works_or_is_refused(context: &Context) -> CaseResult {
    let can = context.capabilities();
    let request = PutRequest::new(SecretValue::from(""));
    write(context, can.put && can.empty_value, request, "put of an empty value").await
}

/// `versions`: without them, `@previous`, exact versions and the listing are `Unsupported`, never the current one.
pub async fn versions_work_or_are_refused(context: &Context) -> CaseResult {
    let can = context.capabilities();
    let name = context.name("a")?;
    let mut version = Version::from(1);
    if can.put {
        context.put(&name, "one").await?;
        version = context.put(&name, "two").await?.version.unwrap_or(version);
    }
    for selector in [VersionSelector::Previous, VersionSelector::Exact(version)] {
        let what = format!("get of version `{selector}`");
        let read = context.store().get(&name, &GetOptions::version(selector)).await;
        there_or_refused(read, can.versions, can.put, &what)?;
    }
    let listed = context.store().versions(&name, &PageRequest::default()).await;
    there_or_refused(listed, can.versions, can.put, "versions")
}

/// `list`: without it, a listing is `Unsupported`, never empty.
pub async fn list_works_or_is_refused(context: &Context) -> CaseResult {
    let options = ListOptions {
        prefix: context.prefix(),
        ..ListOptions::default()
    };
    works_or_is_refused(context.store().list(&options).await, context.capabilities().list, "list")
}

/// Without `delete_recoverable`, a listing of what is deleted is `Unsupported`, never empty.
pub async fn list_of_deleted_works_or_is_refused(context: &Context) -> CaseResult {
    let can = context.capabilities();
    let options = ListOptions {
        prefix: context.prefix(),
        deleted: Deleted::Only,
        ..ListOptions::default()
    };
    works_or_is_refused(
        context.store().list(&options).await,
        can.list && can.delete_recoverable,
        "list of what is deleted",
    )
}

/// `delete_permanent` and `delete_recoverable`: a way that the store lacks is `Unsupported`, never another way.
pub async fn delete_works_or_is_refused(context: &Context) -> CaseResult {
    let can = context.capabilities();
    for (label, mode, works) in [
        ("permanent", DeleteMode::Permanent, can.delete_permanent),
        (
            "recoverable",
            DeleteMode::Recoverable { window: None },
            can.delete_recoverable,
        ),
        (
            "default",
            DeleteMode::StoreDefault,
            can.delete_permanent || can.delete_recoverable,
        ),
    ] {
        let name = context.name(label)?;
        if can.put {
            context.put(&name, label).await?;
        }
        let what = format!("delete, {mode:?}");
        there_or_refused(
            context.store().delete(&name, &DeleteOptions { mode }).await,
            works,
            can.put,
            &what,
        )?;
        if can.put && !works {
            current_is(context, &name, &context.value(label), "get after a refused delete").await?;
        }
    }
    Ok(())
}

/// Without `delete_recoverable`, `restore` is `Unsupported`.
pub async fn restore_works_or_is_refused(context: &Context) -> CaseResult {
    let can = context.capabilities();
    let name = context.name("a")?;
    if can.put {
        context.put(&name, "a").await?;
    }
    there_or_refused(
        context.store().restore(&name).await,
        can.delete_recoverable,
        can.put,
        "restore",
    )
}

/// `recovery_window`: one outside of the limits is `InvalidInput`; where the store decides itself, any is `Unsupported`.
pub async fn recovery_window_is_checked(context: &Context) -> CaseResult {
    let can = context.capabilities();
    let day = Duration::from_secs(86_400);
    let name = context.name("a")?;
    if can.put {
        context.put(&name, "a").await?;
    }
    let delete = async |window| {
        let mode = DeleteMode::Recoverable { window: Some(window) };
        context.store().delete(&name, &DeleteOptions { mode }).await
    };
    match can.recovery_window.filter(|_| can.delete_recoverable) {
        None => {
            refused(delete(day * 7).await, ErrorKind::Unsupported, "delete with a recovery window")?;
        }
        Some((shortest, longest)) => {
            if let Some(shorter) = shortest.checked_sub(Duration::from_secs(1)) {
                refused(
                    delete(shorter).await,
                    ErrorKind::InvalidInput,
                    "delete with too short a window",
                )?;
            }
            refused(
                delete(longest + day).await,
                ErrorKind::InvalidInput,
                "delete with too long a window",
            )?;
            there_or_refused(delete(shortest).await, true, can.put, "delete with the shortest window")?;
            return Ok(());
        }
    }
    if can.put {
        current_is(context, &name, &context.value("a"), "get after a refused delete").await?;
    }
    Ok(())
}

/// A write to a free name works, or is refused and leaves the name free.
async fn write(context: &Context, works: bool, request: PutRequest, what: &str) -> CaseResult {
    let name = context.name("a")?;
    works_or_is_refused(context.store().put(&name, request).await, works, what)?;
    if !works {
        is_missing(context, &name, &format!("get after a refused {what}")).await?;
    }
    Ok(())
}

fn works_or_is_refused<T>(result: Result<T>, works: bool, what: &str) -> CaseResult {
    if works {
        done(result, what).map(|_| ())
    } else {
        refused(result, ErrorKind::Unsupported, what).map(|_| ())
    }
}

/// The same for a secret that could be written before or not: without one, what works says `NotFound`.
fn there_or_refused<T>(result: Result<T>, works: bool, there: bool, what: &str) -> CaseResult {
    match (works, there) {
        (true, true) => done(result, what).map(|_| ()),
        (true, false) => refused(result, ErrorKind::NotFound, what).map(|_| ()),
        (false, _) => refused(result, ErrorKind::Unsupported, what).map(|_| ()),
    }
}

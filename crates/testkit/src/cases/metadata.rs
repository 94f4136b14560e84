//! `put` and metadata: description and tags, kept, replaced and cleared. The expiry has a module of its own.

use std::collections::BTreeMap;

use keyfob_core::{Change, ErrorKind, Metadata, PutRequest, SecretName};

use crate::case::{CaseResult, cases};
use crate::context::Context;
use crate::expect::{current_is, done, ensure, is_missing, refused};

cases! { "metadata":
    description_is_kept_as_written [Description],
    description_is_carried_over [Description],
    description_is_replaced [Description],
    description_is_cleared [Description],
    tags_are_kept_as_written [Tags],
    tags_are_carried_over [Tags],
    tags_are_replaced_as_a_whole [Tags],
    tags_are_cleared [Tags],
    as_many_tags_as_promised [Tags],
    too_many_tags_are_invalid [Tags],
    change_without_a_value_keeps_the_value [PutMetadata, Metadata],
    change_without_a_value_keeps_other_metadata [PutMetadata, Description, Tags],
    change_without_a_value_needs_a_secret [PutMetadata, Metadata],
    clearing_what_is_not_kept_is_no_loss [Put],
}

/// A description comes back, whatever text it is.
pub async fn description_is_kept_as_written(context: &Context) -> CaseResult {
    for (index, text) in ["plain", "two\nlines", "é 🔑 \"quoted\" 'too' # = $x", " spaces "]
        .into_iter()
        .enumerate()
    {
        let name = context.name(&format!("description-{index}"))?;
        let written = put(context, &name, |request| request.description = Change::Set(text.to_owned())).await?;
        ensure!(
            written.description.as_deref() == Some(text),
            "`put` of the description {text:?} returned another"
        );
        let read = metadata(context, &name).await?;
        ensure!(
            read.description.as_deref() == Some(text),
            "the description {text:?} came back as {:?}",
            read.description
        );
    }
    Ok(())
}

/// `Keep` carries a description over to a new version.
pub async fn description_is_carried_over(context: &Context) -> CaseResult {
    let name = context.name("a")?;
    put(context, &name, |request| request.description = Change::Set("mine".to_owned())).await?;
    put(context, &name, |_| {}).await?;
    let read = metadata(context, &name).await?;
    ensure!(
        read.description.as_deref() == Some("mine"),
        "a new version lost the description"
    );
    Ok(())
}

/// `Set` replaces a description.
pub async fn description_is_replaced(context: &Context) -> CaseResult {
    let name = context.name("a")?;
    for text in ["one", "two"] {
        put(context, &name, |request| request.description = Change::Set(text.to_owned())).await?;
        let read = metadata(context, &name).await?;
        ensure!(
            read.description.as_deref() == Some(text),
            "the description is {:?}, not {text:?}",
            read.description
        );
    }
    Ok(())
}

/// `Clear` takes a description away.
pub async fn description_is_cleared(context: &Context) -> CaseResult {
    let name = context.name("a")?;
    put(context, &name, |request| request.description = Change::Set("mine".to_owned())).await?;
    put(context, &name, |request| request.description = Change::Clear).await?;
    let read = metadata(context, &name).await?;
    ensure!(
        read.description.is_none(),
        "the description {:?} was cleared",
        read.description
    );
    Ok(())
}

/// Tags come back, all of them and no other.
pub async fn tags_are_kept_as_written(context: &Context) -> CaseResult {
    for (index, wanted) in [
        tags([("team", "db"), ("env", "production")]),
        tags([("owner", "jo@example.org")]),
        tags([("a-b_c.d", "1 2:3/4=5+6-7@8"), ("x", "y")]),
    ]
    .into_iter()
    .enumerate()
    {
        let name = context.name(&format!("tags-{index}"))?;
        let written = put(context, &name, |request| request.tags = Change::Set(wanted.clone())).await?;
        ensure!(
            written.tags == wanted,
            "`put` of the tags {wanted:?} returned {:?}",
            written.tags
        );
        let read = metadata(context, &name).await?;
        ensure!(read.tags == wanted, "the tags {wanted:?} came back as {:?}", read.tags);
    }
    Ok(())
}

/// `Keep` carries tags over to a new version.
pub async fn tags_are_carried_over(context: &Context) -> CaseResult {
    let name = context.name("a")?;
    let wanted = tags([("team", "db"), ("env", "production")]);
    put(context, &name, |request| request.tags = Change::Set(wanted.clone())).await?;
    put(context, &name, |_| {}).await?;
    let read = metadata(context, &name).await?;
    ensure!(
        read.tags == wanted,
        "a new version has the tags {:?}, not {wanted:?}",
        read.tags
    );
    Ok(())
}

/// `Set` replaces all tags: one that isn't named again is gone.
pub async fn tags_are_replaced_as_a_whole(context: &Context) -> CaseResult {
    let name = context.name("a")?;
    put(context, &name, |request| {
        request.tags = Change::Set(tags([("old", "1"), ("both", "1")]));
    })
    .await?;
    let wanted = tags([("new", "2"), ("both", "2")]);
    put(context, &name, |request| request.tags = Change::Set(wanted.clone())).await?;
    let read = metadata(context, &name).await?;
    ensure!(read.tags == wanted, "the tags are {:?}, not {wanted:?}", read.tags);
    Ok(())
}

/// `Clear` takes all tags away.
pub async fn tags_are_cleared(context: &Context) -> CaseResult {
    let name = context.name("a")?;
    put(context, &name, |request| {
        request.tags = Change::Set(tags([("a", "1"), ("b", "2")]));
    })
    .await?;
    put(context, &name, |request| request.tags = Change::Clear).await?;
    let read = metadata(context, &name).await?;
    ensure!(read.tags.is_empty(), "the tags {:?} were cleared", read.tags);
    Ok(())
}

/// As many tags as [`Capabilities`](keyfob_core::Capabilities) says (up to 100) are kept.
pub async fn as_many_tags_as_promised(context: &Context) -> CaseResult {
    let name = context.name("a")?;
    let wanted = numbered_tags(context.capabilities().max_tags.min(100));
    put(context, &name, |request| request.tags = Change::Set(wanted.clone())).await?;
    let read = metadata(context, &name).await?;
    ensure!(read.tags == wanted, "{} tags came back of {}", read.tags.len(), wanted.len());
    Ok(())
}

/// More tags than that are `InvalidInput`, and change nothing.
pub async fn too_many_tags_are_invalid(context: &Context) -> CaseResult {
    let Some(too_many) = context.capabilities().max_tags.checked_add(1).filter(|most| *most <= 10_000) else {
        return Err(crate::Stop::Ignored("max_tags below 10000".to_owned()));
    };
    let name = context.name("a")?;
    put(context, &name, |_| {}).await?;
    let request = PutRequest {
        tags: Change::Set(numbered_tags(too_many)),
        ..PutRequest::new(context.value("refused"))
    };
    refused(
        context.store().put(&name, request).await,
        ErrorKind::InvalidInput,
        &format!("put of {too_many} tags"),
    )?;
    current_is(context, &name, &context.value("a"), "get after a refused put").await?;
    Ok(())
}

/// Without a value the metadata changes, and the value stays.
pub async fn change_without_a_value_keeps_the_value(context: &Context) -> CaseResult {
    let can = context.capabilities();
    let name = context.name("a")?;
    put(context, &name, |_| {}).await?;
    let expiry = std::time::SystemTime::UNIX_EPOCH + std::time::Duration::from_secs(4_102_444_800);
    let mut request = PutRequest::default();
    if can.description {
        request.description = Change::Set("new".to_owned());
    }
    if can.tags {
        request.tags = Change::Set(tags([("new", "tag")]));
    }
    if can.expiry {
        request.expires_at = Change::Set(expiry);
    }
    done(context.store().put(&name, request).await, "put without a value")?;
    let read = current_is(context, &name, &context.value("a"), "get after put without a value")
        .await?
        .metadata;
    ensure!(
        !can.description || read.description.as_deref() == Some("new"),
        "the description did not change"
    );
    ensure!(!can.tags || read.tags == tags([("new", "tag")]), "the tags did not change");
    ensure!(!can.expiry || read.expires_at == Some(expiry), "the expiry did not change");
    Ok(())
}

/// What a change without a value doesn't name stays.
pub async fn change_without_a_value_keeps_other_metadata(context: &Context) -> CaseResult {
    let name = context.name("a")?;
    put(context, &name, |request| {
        request.description = Change::Set("old".to_owned());
        request.tags = Change::Set(tags([("old", "tag")]));
    })
    .await?;
    let request = PutRequest {
        description: Change::Set("new".to_owned()),
        ..PutRequest::default()
    };
    done(context.store().put(&name, request).await, "put of a description alone")?;
    let read = metadata(context, &name).await?;
    ensure!(
        read.tags == tags([("old", "tag")]),
        "a new description changed the tags to {:?}",
        read.tags
    );
    let request = PutRequest {
        tags: Change::Clear,
        ..PutRequest::default()
    };
    done(context.store().put(&name, request).await, "clearing tags alone")?;
    let read = metadata(context, &name).await?;
    ensure!(read.tags.is_empty(), "the tags {:?} were cleared", read.tags);
    ensure!(
        read.description.as_deref() == Some("new"),
        "clearing the tags changed the description"
    );
    Ok(())
}

/// Without a value and without a secret: `NotFound`, and nothing is made.
pub async fn change_without_a_value_needs_a_secret(context: &Context) -> CaseResult {
    let name = context.name("missing")?;
    let request = PutRequest {
        description: if context.capabilities().description {
            Change::Set("x".to_owned())
        } else {
            Change::Clear
        },
        tags: Change::Clear,
        expires_at: Change::Clear,
        ..PutRequest::default()
    };
    refused(
        context.store().put(&name, request).await,
        ErrorKind::NotFound,
        "change of the metadata of a missing secret",
    )?;
    is_missing(context, &name, "get after it").await
}

/// Clearing metadata that a store doesn't keep succeeds: nothing is lost.
pub async fn clearing_what_is_not_kept_is_no_loss(context: &Context) -> CaseResult {
    let name = context.name("a")?;
    put(context, &name, |request| {
        request.description = Change::Clear;
        request.tags = Change::Clear;
        request.expires_at = Change::Clear;
    })
    .await?;
    current_is(context, &name, &context.value("a"), "get after clearing everything").await?;
    Ok(())
}

async fn put(context: &Context, name: &SecretName, change: impl FnOnce(&mut PutRequest)) -> CaseResult<Metadata> {
    let mut request = PutRequest::new(context.value("a"));
    change(&mut request);
    done(context.store().put(name, request).await, "put with metadata")
}

async fn metadata(context: &Context, name: &SecretName) -> CaseResult<Metadata> {
    Ok(current_is(context, name, &context.value("a"), "get")
        .await?
        .metadata
        .as_ref()
        .clone())
}

fn tags<const N: usize>(pairs: [(&str, &str); N]) -> BTreeMap<String, String> {
    pairs
        .into_iter()
        .map(|(key, value)| (key.to_owned(), value.to_owned()))
        .collect()
}

fn numbered_tags(count: usize) -> BTreeMap<String, String> {
    (0..count).map(|index| (format!("tag-{index}"), index.to_string())).collect()
}

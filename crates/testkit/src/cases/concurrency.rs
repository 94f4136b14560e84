//! Many calls at once, each on a thread of its own.

use futures_util::FutureExt;
use keyfob_core::{ErrorKind, GetOptions, PutMode, PutRequest, VersionSelector};

use crate::case::{CaseResult, Stop, cases};
use crate::context::Context;
use crate::expect::{current_is, done, ensure, same_value, version_of};

/// So many writers at once.
const WRITERS: usize = 8;

cases! { "concurrency":
    exactly_one_create_wins [Create],
    exactly_one_match_wins [Match],
    upserts_lose_no_version [Put, Versions],
    writes_to_different_names_are_all_kept [Put],
    reads_see_whole_writes [Put],
}

/// Of many creates of one name exactly one succeeds, its value stays, and the others are `AlreadyExists`.
pub async fn exactly_one_create_wins(context: &Context) -> CaseResult {
    for round in 0..4 {
        let name = context.name(&format!("round-{round}"))?;
        one_wins(context, &name, &PutMode::Create, ErrorKind::AlreadyExists).await?;
    }
    Ok(())
}

/// Of many writes that match the same version exactly one succeeds, its value stays, and the others are `Conflict`.
pub async fn exactly_one_match_wins(context: &Context) -> CaseResult {
    for round in 0..4 {
        let name = context.name(&format!("round-{round}"))?;
        let version = version_of(&context.put(&name, "before").await?, "put")?;
        one_wins(context, &name, &PutMode::Match(version), ErrorKind::Conflict).await?;
    }
    Ok(())
}

/// Every upsert that succeeded has a version of its own with its own value.
pub async fn upserts_lose_no_version(context: &Context) -> CaseResult {
    let name = context.name("a")?;
    let mut values = Vec::new();
    for index in 0..WRITERS {
        values.push(context.value(&index.to_string()));
    }
    let job = |index: usize, store: std::sync::Arc<dyn keyfob_core::SecretStore>| {
        let (name, value) = (name.clone(), values[index].clone());
        async move { store.put(&name, PutRequest::new(value)).await }.boxed()
    };
    for (index, written) in context.at_once(WRITERS, job).await?.into_iter().enumerate() {
        let version = version_of(&done(written, "one of many puts at once")?, "put")?;
        let options = GetOptions::version(VersionSelector::Exact(version));
        let what = "the version that one of many puts at once returned";
        let secret = done(context.store().get(&name, &options).await, what)?;
        same_value(&secret.value, &values[index], what)?;
    }
    let count = super::versions::all(context, &name, None).await?.len();
    ensure!(count == WRITERS, "{WRITERS} puts at once left {count} versions");
    Ok(())
}

/// Writers of different secrets don't overwrite each other, even where all of them stand in one file or object.
pub async fn writes_to_different_names_are_all_kept(context: &Context) -> CaseResult {
    let mut writes = Vec::new();
    for index in 0..WRITERS {
        let label = format!("name-{index}");
        writes.push((context.name(&label)?, context.value(&label)));
    }
    let job = |index: usize, store: std::sync::Arc<dyn keyfob_core::SecretStore>| {
        let (name, value) = writes[index].clone();
        async move { store.put(&name, PutRequest::new(value)).await }.boxed()
    };
    for written in context.at_once(WRITERS, job).await? {
        done(written, "one of many puts at once")?;
    }
    for (name, value) in &writes {
        current_is(context, name, value, "get after many puts at once").await?;
    }
    Ok(())
}

/// A write that runs at the same time is seen as a whole or not at all: the value always fits its description.
pub async fn reads_see_whole_writes(context: &Context) -> CaseResult {
    let name = context.name("a")?;
    let described = context.capabilities().description;
    let request = |index: usize| {
        let label = format!("{index}");
        let mut request = PutRequest::new(context.value(&label));
        if described {
            request.description = keyfob_core::Change::Set(label);
        }
        request
    };
    done(context.store().put(&name, request(0)).await, "put")?;
    let requests: Vec<PutRequest> = (0..WRITERS).map(request).collect();
    let values: Vec<_> = requests.iter().filter_map(|request| request.value.clone()).collect();
    let job = |index: usize, store: std::sync::Arc<dyn keyfob_core::SecretStore>| {
        let (name, request, values) = (name.clone(), requests[index].clone(), values.clone());
        async move {
            if index.is_multiple_of(2) {
                return store.put(&name, request).await.map(|_| true);
            }
            for _ in 0..10 {
                let secret = store.get(&name, &GetOptions::default()).await?;
                let whole = values.iter().enumerate().any(|(index, value)| {
                    value.expose_secret() == secret.value.expose_secret()
                        && (!described || secret.metadata.description == Some(index.to_string()))
                });
                if !whole {
                    return Ok(false);
                }
            }
            Ok(true)
        }
        .boxed()
    };
    for whole in context.at_once(WRITERS, job).await? {
        ensure!(done(whole, "reads and writes at once")?, "a read saw a part of a write");
    }
    Ok(())
}

/// Many puts at once under the same precondition.
async fn one_wins(context: &Context, name: &keyfob_core::SecretName, mode: &PutMode, others: ErrorKind) -> CaseResult {
    let requests: Vec<PutRequest> = (0..WRITERS)
        .map(|index| PutRequest::new(context.value(&index.to_string())).mode(mode.clone()))
        .collect();
    let job = |index: usize, store: std::sync::Arc<dyn keyfob_core::SecretStore>| {
        let (name, request) = (name.clone(), requests[index].clone());
        async move { store.put(&name, request).await }.boxed()
    };
    let mut winner = None;
    for (index, written) in context.at_once(WRITERS, job).await?.into_iter().enumerate() {
        match written {
            Ok(_) if winner.is_none() => winner = Some(index),
            Ok(_) => {
                return Err(Stop::Failed(format!(
                    "two of {WRITERS} writes with the same precondition succeeded"
                )));
            }
            Err(error) if error.kind() == others => {}
            Err(error) => return Err(Stop::Failed(format!("a write that lost: expected `{others}`, got {error:?}"))),
        }
    }
    let Some(winner) = winner else {
        return Err(Stop::Failed(format!(
            "none of {WRITERS} writes with the same precondition succeeded"
        )));
    };
    current_is(
        context,
        name,
        &context.value(&winner.to_string()),
        "get after many writes at once",
    )
    .await?;
    Ok(())
}

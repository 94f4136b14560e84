//! Secrecy: cases that make a store talk as much as it can. The search for the canary is done after *every* case, by
//! the harness; these bring about the answers and errors in which a value could stand.

use std::collections::BTreeMap;

use keyfob_core::{
    Change, DeleteOptions, GetOptions, GetRequest, ListOptions, PageRequest, PutMode, PutRequest, SecretName, Version,
    VersionSelector,
};

use crate::case::{CaseResult, cases};
use crate::context::Context;

cases! { "secrecy":
    answers_do_not_show_the_value [Put],
    failed_reads_do_not_show_the_value [Put],
    refused_writes_do_not_show_the_value [],
    errors_name_the_secret [],
}

/// Neither logs nor `Debug` of any answer, of the store or of its `info` show a value.
pub async fn answers_do_not_show_the_value(context: &Context) -> CaseResult {
    let name = context.name("a")?;
    context.put(&name, "one").await?;
    context.put(&name, "two").await?;
    // What the store can't do fails here, and that is searched as well.
    let store = context.store();
    let _ = store.get(&name, &GetOptions::default()).await;
    let _ = store.get(&name, &GetOptions::version(VersionSelector::Previous)).await;
    let _ = store.get_many(&[GetRequest::new(name.clone())]).await;
    let _ = store.list(&ListOptions::default()).await;
    let _ = store.versions(&name, &PageRequest::default()).await;
    let _ = store.health().await;
    let _ = store.delete(&name, &DeleteOptions::default()).await;
    let _ = store.restore(&name).await;
    Ok(())
}

/// Errors of reads of what is there in another version, expired or deleted don't show a value.
pub async fn failed_reads_do_not_show_the_value(context: &Context) -> CaseResult {
    let name = context.name("a")?;
    let mut request = PutRequest::new(context.value("a"));
    if context.capabilities().expiry {
        request.expires_at = Change::Set(std::time::SystemTime::UNIX_EPOCH);
    }
    context.store().put(&name, request).await?;
    read_in_every_way(context, &name).await?;
    let _ = context.store().delete(&name, &DeleteOptions::default()).await;
    read_in_every_way(context, &name).await?;
    read_in_every_way(context, &context.name("missing")?).await
}

/// Errors of writes that are refused don't show the value that was not written, nor the one that is there.
pub async fn refused_writes_do_not_show_the_value(context: &Context) -> CaseResult {
    let can = context.capabilities();
    let store = context.store();
    let name = context.name("a")?;
    let _ = store.put(&name, PutRequest::new(context.value("there"))).await;
    let new = || PutRequest::new(context.value("new"));
    let _ = store.put(&name, new().mode(PutMode::Create)).await;
    let _ = store.put(&name, new().mode(PutMode::Match(Version::from(987_654)))).await;
    let _ = store
        .put(&context.name("missing")?, new().mode(PutMode::Match(Version::from(1))))
        .await;
    let _ = store
        .put(&context.name("bytes")?, PutRequest::new(context.bytes(b"\xff")))
        .await;
    if can.max_value_bytes < crate::Need::MAX_TRIED_VALUE {
        let large = context.bytes(&vec![b'x'; can.max_value_bytes]);
        let _ = store.put(&name, PutRequest::new(large)).await;
    }
    if can.max_tags < 10_000 {
        let many = (0..=can.max_tags).map(|index| (index.to_string(), "x".to_owned()));
        let tags = Change::Set(many.collect::<BTreeMap<_, _>>());
        let _ = store.put(&name, PutRequest { tags, ..new() }).await;
    }
    let _ = store.put(&context.name("a b!ключ")?, new()).await;
    let _ = store.delete(&name, &DeleteOptions::default()).await;
    let _ = store.put(&name, new()).await;
    Ok(())
}

/// An error names the secret that it is about, so that it can be found without the value.
pub async fn errors_name_the_secret(context: &Context) -> CaseResult {
    let name = context.name("missing")?;
    if let Err(error) = context.store().get(&name, &GetOptions::default()).await {
        crate::expect::ensure!(
            error.to_string().contains(name.as_str()),
            "the error of `get` does not name the secret: {error:?}"
        );
    }
    Ok(())
}

async fn read_in_every_way(context: &Context, name: &SecretName) -> CaseResult {
    for version in [
        VersionSelector::Current,
        VersionSelector::Previous,
        VersionSelector::Exact(Version::new("no-such-version")?),
    ] {
        let options = GetOptions::version(version);
        let _ = context.store().get(name, &options).await;
        let request = GetRequest {
            name: name.clone(),
            options,
        };
        let _ = context.store().get_many(&[request]).await;
    }
    Ok(())
}

//! Dropped futures: a read has no effect, a write has happened completely or not at all.

use std::collections::BTreeMap;
use std::pin::pin;
use std::task::Poll;
use std::time::Duration;

use keyfob_core::{Change, DeleteOptions, ErrorKind, GetOptions, GetRequest, ListOptions, PageRequest, PutRequest, SecretName};

use crate::case::{CaseResult, Stop, cases};
use crate::context::Context;
use crate::expect::{current_is, done, ensure};

/// After so many polls each a future is dropped.
const POLLS: [usize; 4] = [0, 1, 2, 4];

cases! { "cancellation":
    dropped_reads_have_no_effect [Put],
    dropped_put_is_whole_or_nothing [Put],
    dropped_first_put_is_whole_or_nothing [Put],
    dropped_delete_is_whole_or_nothing [Put, Delete],
}

/// A dropped future of a read has no effect: afterwards everything works and is as it was.
pub async fn dropped_reads_have_no_effect(context: &Context) -> CaseResult {
    let name = context.name("a")?;
    let before = context.put(&name, "a").await?;
    let store = context.store();
    let requests = [GetRequest::new(name.clone()), GetRequest::new(name.clone())];
    for polls in POLLS {
        drop_after(polls, store.get(&name, &GetOptions::default())).await;
        drop_after(polls, store.get_many(&requests)).await;
        drop_after(polls, store.list(&ListOptions::default())).await;
        drop_after(polls, store.versions(&name, &PageRequest::default())).await;
        drop_after(polls, store.health()).await;
        let after = current_is(context, &name, &context.value("a"), "get after dropped reads").await?;
        ensure!(after.metadata.version == before.version, "dropped reads changed the version");
        let other = context.name(&format!("polled-{polls}"))?;
        done(
            store.put(&other, PutRequest::new(context.value("b"))).await,
            "put after dropped reads",
        )?;
        current_is(context, &other, &context.value("b"), "get after dropped reads and a put").await?;
    }
    Ok(())
}

/// A dropped put over a secret leaves the old value with the old metadata or the new with the new.
pub async fn dropped_put_is_whole_or_nothing(context: &Context) -> CaseResult {
    for polls in POLLS {
        let name = context.name(&format!("polled-{polls}"))?;
        context.store().put(&name, request(context, "old")).await?;
        drop_after(polls, context.store().put(&name, request(context, "new"))).await;
        if polls == 0 {
            expect_whole(context, &name, &["old"]).await?;
        }
        expect_whole(context, &name, &["old", "new"]).await?;
    }
    Ok(())
}

/// A dropped put on a free name leaves it free or the secret whole.
pub async fn dropped_first_put_is_whole_or_nothing(context: &Context) -> CaseResult {
    for polls in POLLS {
        let name = context.name(&format!("polled-{polls}"))?;
        drop_after(polls, context.store().put(&name, request(context, "new"))).await;
        expect_whole_or_missing(context, &name, "new").await?;
    }
    Ok(())
}

/// A dropped delete leaves the secret whole or gone.
pub async fn dropped_delete_is_whole_or_nothing(context: &Context) -> CaseResult {
    for polls in POLLS {
        let name = context.name(&format!("polled-{polls}"))?;
        context.store().put(&name, request(context, "old")).await?;
        drop_after(polls, context.store().delete(&name, &DeleteOptions::default())).await;
        expect_whole_or_missing(context, &name, "old").await?;
    }
    Ok(())
}

/// Polls so many times, with a moment for the store's own threads after each, then drops.
async fn drop_after<T>(polls: usize, work: impl Future<Output = T>) {
    let mut work = pin!(work);
    for _ in 0..polls {
        if std::future::poll_fn(|task| Poll::Ready(work.as_mut().poll(task)))
            .await
            .is_ready()
        {
            return;
        }
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
}

fn request(context: &Context, label: &str) -> PutRequest {
    let mut request = PutRequest::new(context.value(label));
    if context.capabilities().tags {
        request.tags = Change::Set(BTreeMap::from([("is".to_owned(), label.to_owned())]));
    }
    request
}

/// Reads several times, since a dropped write may still be on its way.
async fn expect_whole(context: &Context, name: &SecretName, labels: &[&str]) -> CaseResult {
    for _ in 0..3 {
        let secret = context.store().get(name, &GetOptions::default()).await?;
        let whole = labels.iter().any(|label| {
            secret.value.expose_secret() == context.value(label).expose_secret()
                && (!context.capabilities().tags || secret.metadata.tags.get("is").is_some_and(|is| is == label))
        });
        ensure!(whole, "after a dropped put neither the old nor the new secret is there");
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
    Ok(())
}

async fn expect_whole_or_missing(context: &Context, name: &SecretName, label: &str) -> CaseResult {
    for _ in 0..3 {
        match context.store().get(name, &GetOptions::default()).await {
            Err(error) if error.kind() == ErrorKind::NotFound => {}
            Err(error) => return Err(error.into()),
            Ok(secret) if secret.value.expose_secret() == context.value(label).expose_secret() => {}
            Ok(_) => return Err(Stop::Failed("after a dropped write a part of the secret is there".to_owned())),
        }
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
    Ok(())
}

//! `versions`: the history of a secret, newest first, in pages.

use std::collections::BTreeSet;

use keyfob_core::{DeleteMode, DeleteOptions, ErrorKind, PageRequest, PageToken, SecretName, Version, VersionInfo};

use crate::case::{CaseResult, cases};
use crate::context::Context;
use crate::expect::{current_is, ensure, refused, version_of};

cases! { "versions":
    come_newest_first [Put, Versions],
    exactly_one_is_current [Put, Versions],
    come_in_pages_each_once [Put, Versions],
    limit_of_zero_is_invalid [Put, Versions],
    foreign_page_token_is_invalid [Put, Versions],
    of_a_missing_secret_are_not_found [Versions],
    of_a_deleted_secret_are_not_found [Put, Versions, Delete],
    belong_to_one_secret [Put, Versions],
}

/// Every version that was written, newest first.
pub async fn come_newest_first(context: &Context) -> CaseResult {
    let name = context.name("a")?;
    let mut written = put_times(context, &name, 4).await?;
    written.reverse();
    let listed: Vec<Version> = all(context, &name, None)
        .await?
        .into_iter()
        .map(|info| info.version)
        .collect();
    ensure!(
        listed == written,
        "the versions are {}, written were (newest first) {}",
        shown(&listed),
        shown(&written)
    );
    Ok(())
}

/// Exactly one version is current: the one that `get` gives.
pub async fn exactly_one_is_current(context: &Context) -> CaseResult {
    let name = context.name("a")?;
    put_times(context, &name, 3).await?;
    let secret = current_is(context, &name, &context.value("2"), "get").await?;
    let version = version_of(&secret.metadata, "get")?;
    let current: Vec<Version> = all(context, &name, None)
        .await?
        .into_iter()
        .filter(|info| info.current)
        .map(|info| info.version)
        .collect();
    ensure!(
        current == [version.clone()],
        "current are [{}], `get` says `{version}`",
        shown(&current)
    );
    Ok(())
}

/// Over all pages each version comes exactly once, in pages that keep the limit, and one is current.
pub async fn come_in_pages_each_once(context: &Context) -> CaseResult {
    let name = context.name("a")?;
    let mut written = put_times(context, &name, 5).await?;
    written.reverse();
    for limit in [1, 2, 5, 100] {
        let infos = all(context, &name, Some(limit)).await?;
        let current = infos.iter().filter(|info| info.current).count();
        let listed: Vec<Version> = infos.into_iter().map(|info| info.version).collect();
        ensure!(
            listed == written,
            "in pages of {limit}: {}, written were (newest first) {}",
            shown(&listed),
            shown(&written)
        );
        ensure!(current == 1, "in pages of {limit}: {current} versions are current");
    }
    Ok(())
}

/// A limit of zero is `InvalidInput`.
pub async fn limit_of_zero_is_invalid(context: &Context) -> CaseResult {
    let name = context.name("a")?;
    context.put(&name, "a").await?;
    let page = PageRequest {
        limit: Some(0),
        token: None,
    };
    refused(
        context.store().versions(&name, &page).await,
        ErrorKind::InvalidInput,
        "versions with a limit of zero",
    )?;
    Ok(())
}

/// A page token that the store did not give out is `InvalidInput`, never the first page.
pub async fn foreign_page_token_is_invalid(context: &Context) -> CaseResult {
    let name = context.name("a")?;
    context.put(&name, "a").await?;
    let page = PageRequest {
        limit: None,
        token: Some(PageToken::new("\u{1}no store gives this out\u{1}")),
    };
    refused(
        context.store().versions(&name, &page).await,
        ErrorKind::InvalidInput,
        "versions with a foreign page token",
    )?;
    Ok(())
}

/// No secret of that name: `NotFound`, not an empty page.
pub async fn of_a_missing_secret_are_not_found(context: &Context) -> CaseResult {
    refused(
        context
            .store()
            .versions(&context.name("missing")?, &PageRequest::default())
            .await,
        ErrorKind::NotFound,
        "versions of a missing secret",
    )?;
    Ok(())
}

/// A deleted secret: `NotFound`.
pub async fn of_a_deleted_secret_are_not_found(context: &Context) -> CaseResult {
    let name = context.name("a")?;
    context.put(&name, "a").await?;
    let options = DeleteOptions {
        mode: DeleteMode::StoreDefault,
    };
    context.store().delete(&name, &options).await?;
    refused(
        context.store().versions(&name, &PageRequest::default()).await,
        ErrorKind::NotFound,
        "versions of a deleted secret",
    )?;
    Ok(())
}

/// The versions of one secret are not those of its neighbours.
pub async fn belong_to_one_secret(context: &Context) -> CaseResult {
    let counts = [("a", 1), ("ab", 3), ("a/b", 2)];
    for (label, count) in counts {
        put_times(context, &context.name(label)?, count).await?;
    }
    for (label, count) in counts {
        let found = all(context, &context.name(label)?, None).await?.len();
        ensure!(found == count, "`{label}` has {found} versions, {count} were written");
    }
    Ok(())
}

/// Writes the values `0`, `1`, ... and returns their versions, oldest first.
async fn put_times(context: &Context, name: &SecretName, times: usize) -> CaseResult<Vec<Version>> {
    let mut versions = Vec::new();
    for index in 0..times {
        versions.push(version_of(&context.put(name, &index.to_string()).await?, "put")?);
    }
    let different: BTreeSet<&Version> = versions.iter().collect();
    ensure!(
        different.len() == times,
        "{times} puts made the versions {}",
        shown(&versions)
    );
    Ok(versions)
}

/// Reads all pages.
pub(crate) async fn all(context: &Context, name: &SecretName, limit: Option<usize>) -> CaseResult<Vec<VersionInfo>> {
    let mut items = Vec::new();
    let mut request = PageRequest { limit, token: None };
    for _ in 0..1000 {
        let page = context.store().versions(name, &request).await?;
        ensure!(
            limit.is_none_or(|limit| page.items.len() <= limit),
            "a page of {} versions, the limit is {limit:?}",
            page.items.len()
        );
        items.extend(page.items);
        match page.next {
            Some(next) => request.token = Some(next),
            None => return Ok(items),
        }
    }
    Err(crate::Stop::Failed("no last page of versions after 1000".to_owned()))
}

fn shown(versions: &[Version]) -> String {
    let tokens: Vec<String> = versions.iter().map(|version| format!("`{version}`")).collect();
    tokens.join(", ")
}

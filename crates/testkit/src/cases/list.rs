//! `list`: every name exactly once, in pages, without values.

use keyfob_core::{
    Change, DeleteMode, DeleteOptions, Deleted, ErrorKind, ListOptions, Metadata, PageRequest, PageToken, PutRequest,
};

use crate::case::{CaseResult, cases};
use crate::context::Context;
use crate::expect::{done, ensure, refused};

cases! { "list":
    nothing_matches_is_an_empty_page [List],
    seeded_secrets_are_listed [List, Seeds],
    every_name_comes_once [Put, List],
    whole_store_is_listed_without_a_prefix [Put, List],
    names_come_in_byte_order [Put, List],
    prefix_is_text_not_a_path [Put, List],
    prefix_has_no_wildcards [Put, List],
    prefix_minds_letter_case [Put, List],
    secret_with_many_versions_comes_once [Put, List],
    comes_in_pages_each_once [Put, List],
    limit_of_zero_is_invalid [List],
    foreign_page_token_is_invalid [List],
    says_where_it_comes_from [Put, List],
    expired_are_listed [Put, List, Expiry],
    deleted_are_left_out [Put, List, Delete],
    deleted_are_listed_when_asked [Put, List, DeleteRecoverable],
    deleted_come_in_pages [Put, List, DeleteRecoverable],
}

/// A prefix that no name has is an empty listing.
pub async fn nothing_matches_is_an_empty_page(context: &Context) -> CaseResult {
    expect(context, "", &[], "a prefix that no name has").await
}

/// What somebody else put there is listed.
pub async fn seeded_secrets_are_listed(context: &Context) -> CaseResult {
    let listed = all(context, ListOptions::default()).await?;
    for (name, _) in context.seeds() {
        let times = listed.iter().filter(|metadata| metadata.name == *name).count();
        ensure!(times == 1, "the seeded `{name}` is listed {times} times");
    }
    Ok(())
}

/// Every secret whose name begins with the prefix, exactly once.
pub async fn every_name_comes_once(context: &Context) -> CaseResult {
    put(context, &["b", "a", "c/d", "c/e", "f"]).await?;
    let mut names = labels(context, &all(context, in_namespace(context, "")).await?);
    names.sort();
    ensure!(names == ["a", "b", "c/d", "c/e", "f"], "listed {names:?}");
    Ok(())
}

/// An empty prefix is the whole store.
pub async fn whole_store_is_listed_without_a_prefix(context: &Context) -> CaseResult {
    put(context, &["a", "b"]).await?;
    let listed = all(context, ListOptions::default()).await?;
    for label in ["a", "b"] {
        let name = context.name(label)?;
        let times = listed.iter().filter(|metadata| metadata.name == name).count();
        ensure!(times == 1, "`{name}` is listed {times} times without a prefix");
    }
    Ok(())
}

/// In the byte order of names, unless the adapter's page says otherwise (then a known deviation).
pub async fn names_come_in_byte_order(context: &Context) -> CaseResult {
    put(context, &["b", "a/b", "a-c", "B2", "a.d", "a10", "a9", "a", "a_e", "ab"]).await?;
    let names = labels(context, &all(context, in_namespace(context, "")).await?);
    let mut sorted = names.clone();
    sorted.sort();
    ensure!(names == sorted, "listed {names:?}, in byte order that is {sorted:?}");
    Ok(())
}

/// The prefix is text: `db` also finds `dbx/y`, and a prefix may end anywhere.
pub async fn prefix_is_text_not_a_path(context: &Context) -> CaseResult {
    put(context, &["db", "db/a", "dbx/y", "d", "e/db"]).await?;
    expect(context, "db", &["db", "db/a", "dbx/y"], "the prefix `db`").await?;
    expect(context, "db/", &["db/a"], "the prefix `db/`").await?;
    expect(context, "dbx/y", &["dbx/y"], "a whole name as the prefix").await?;
    expect(context, "dbx/yz", &[], "more than a whole name as the prefix").await
}

/// What is a wildcard in the store's own language is a plain character.
pub async fn prefix_has_no_wildcards(context: &Context) -> CaseResult {
    put(context, &["a_1", "ab1", "c.1", "cd1"]).await?;
    expect(context, "a_", &["a_1"], "the prefix `a_`").await?;
    expect(context, "c.", &["c.1"], "the prefix `c.`").await?;
    for prefix in ["a%", "a*", "a?", "[a]", "a\\", "'", "a\" OR 1=1 --"] {
        expect(context, prefix, &[], &format!("the prefix `{prefix}`")).await?;
    }
    Ok(())
}

/// `A` is not a prefix of `a1`.
pub async fn prefix_minds_letter_case(context: &Context) -> CaseResult {
    put(context, &["a1"]).await?;
    expect(context, "A", &[], "the prefix `A`").await
}

/// A listing is of secrets, not of versions.
pub async fn secret_with_many_versions_comes_once(context: &Context) -> CaseResult {
    put(context, &["a", "a", "a", "b"]).await?;
    expect(context, "", &["a", "b"], "a secret that was written three times").await
}

/// Over all pages each name comes exactly once, in pages that keep the limit.
pub async fn comes_in_pages_each_once(context: &Context) -> CaseResult {
    let names: Vec<String> = (0..7).map(|index| format!("page/{index}")).collect();
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    put(context, &names).await?;
    put(context, &["other"]).await?;
    for limit in [1, 2, 3, 7, 100] {
        let mut options = in_namespace(context, "page/");
        options.page.limit = Some(limit);
        let mut listed = labels(context, &all(context, options).await?);
        listed.sort();
        ensure!(listed == names, "in pages of {limit}: listed {listed:?}");
    }
    Ok(())
}

/// A limit of zero is `InvalidInput`.
pub async fn limit_of_zero_is_invalid(context: &Context) -> CaseResult {
    let options = ListOptions {
        page: PageRequest {
            limit: Some(0),
            token: None,
        },
        ..in_namespace(context, "")
    };
    refused(
        context.store().list(&options).await,
        ErrorKind::InvalidInput,
        "list with a limit of zero",
    )?;
    Ok(())
}

/// A page token that the store did not give out is `InvalidInput`, never the first page.
pub async fn foreign_page_token_is_invalid(context: &Context) -> CaseResult {
    let options = ListOptions {
        page: PageRequest {
            limit: None,
            token: Some(PageToken::new("\u{1}no store gives this out\u{1}")),
        },
        ..in_namespace(context, "")
    };
    refused(
        context.store().list(&options).await,
        ErrorKind::InvalidInput,
        "list with a foreign page token",
    )?;
    Ok(())
}

/// What is listed says which store it is from and, if it says a version, the current one.
pub async fn says_where_it_comes_from(context: &Context) -> CaseResult {
    let name = context.name("a")?;
    context.put(&name, "one").await?;
    let current = context.put(&name, "two").await?.version;
    let scheme = &context.store().info().scheme;
    for metadata in all(context, in_namespace(context, "")).await? {
        ensure!(
            metadata.origin.store == *scheme,
            "`origin.store` is `{}`, not `{scheme}`",
            metadata.origin.store
        );
        ensure!(
            metadata.deleted_at.is_none(),
            "`deleted_at` is set for a secret that is there"
        );
        ensure!(
            metadata.version.is_none() || metadata.version == current,
            "listed with version {:?}, current is {current:?}",
            metadata.version
        );
    }
    Ok(())
}

/// Expired secrets are listed.
pub async fn expired_are_listed(context: &Context) -> CaseResult {
    let request = PutRequest {
        expires_at: Change::Set(std::time::SystemTime::UNIX_EPOCH + std::time::Duration::from_secs(1_577_836_800)),
        ..PutRequest::new(context.value("a"))
    };
    done(
        context.store().put(&context.name("a")?, request).await,
        "put of an expired secret",
    )?;
    expect(context, "", &["a"], "an expired secret").await
}

/// A normal listing doesn't know what is deleted.
pub async fn deleted_are_left_out(context: &Context) -> CaseResult {
    put(context, &["a", "b", "c"]).await?;
    done(
        context.store().delete(&context.name("b")?, &DeleteOptions::default()).await,
        "delete",
    )?;
    expect(context, "", &["a", "c"], "after `b` was deleted").await
}

/// `Deleted::Only` lists what can be restored, nothing else, and says when it was deleted.
pub async fn deleted_are_listed_when_asked(context: &Context) -> CaseResult {
    put(context, &["a", "b", "c"]).await?;
    delete(context, "b").await?;
    let deleted = all(
        context,
        ListOptions {
            deleted: Deleted::Only,
            ..in_namespace(context, "")
        },
    )
    .await?;
    ensure!(
        labels(context, &deleted) == ["b"],
        "deleted was `b`, listed {:?}",
        labels(context, &deleted)
    );
    ensure!(
        deleted.iter().all(|metadata| metadata.deleted_at.is_some()),
        "a deleted secret is listed without `deleted_at`"
    );
    Ok(())
}

/// Pages and prefix hold for what is deleted too.
pub async fn deleted_come_in_pages(context: &Context) -> CaseResult {
    put(context, &["p/1", "p/2", "p/3", "p/4", "q/1"]).await?;
    for label in ["p/1", "p/3", "p/4", "q/1"] {
        delete(context, label).await?;
    }
    for limit in [1, 2, 100] {
        let mut options = ListOptions {
            deleted: Deleted::Only,
            ..in_namespace(context, "p/")
        };
        options.page.limit = Some(limit);
        let mut listed = labels(context, &all(context, options).await?);
        listed.sort();
        ensure!(listed == ["p/1", "p/3", "p/4"], "deleted in pages of {limit}: {listed:?}");
        let mut options = in_namespace(context, "p/");
        options.page.limit = Some(limit);
        let listed = labels(context, &all(context, options).await?);
        ensure!(listed == ["p/2"], "not deleted in pages of {limit}: {listed:?}");
    }
    Ok(())
}

async fn put(context: &Context, labels: &[&str]) -> CaseResult {
    for label in labels {
        context.put(&context.name(label)?, label).await?;
    }
    Ok(())
}

async fn delete(context: &Context, label: &str) -> CaseResult {
    let options = DeleteOptions {
        mode: DeleteMode::Recoverable { window: None },
    };
    done(context.store().delete(&context.name(label)?, &options).await, "delete")
}

/// Lists what begins with `prefix` inside of the case's namespace.
fn in_namespace(context: &Context, prefix: &str) -> ListOptions {
    ListOptions {
        prefix: context.prefix() + prefix,
        ..ListOptions::default()
    }
}

/// The names without the namespace.
fn labels(context: &Context, listed: &[Metadata]) -> Vec<String> {
    let prefix = context.prefix();
    listed
        .iter()
        .map(|metadata| metadata.name.as_str())
        .map(|name| name.strip_prefix(&prefix).unwrap_or(name).to_owned())
        .collect()
}

/// The listing has exactly these names, in any order.
async fn expect(context: &Context, prefix: &str, expected: &[&str], what: &str) -> CaseResult {
    let mut names = labels(context, &all(context, in_namespace(context, prefix)).await?);
    names.sort();
    ensure!(names == expected, "{what}: listed {names:?}, expected {expected:?}");
    Ok(())
}

/// Reads all pages.
pub(crate) async fn all(context: &Context, mut options: ListOptions) -> CaseResult<Vec<Metadata>> {
    let limit = options.page.limit;
    let mut items = Vec::new();
    for _ in 0..1000 {
        let page = done(context.store().list(&options).await, "list")?;
        ensure!(
            limit.is_none_or(|limit| page.items.len() <= limit),
            "a page of {} names, the limit is {limit:?}",
            page.items.len()
        );
        items.extend(page.items);
        match page.next {
            Some(next) => options.page.token = Some(next),
            None => return Ok(items),
        }
    }
    Err(crate::Stop::Failed("no last page after 1000".to_owned()))
}

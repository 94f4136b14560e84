//! Names: two different names never reach the same secret, and what a store can't have it refuses.

use keyfob_core::{
    DeleteMode, DeleteOptions, ErrorKind, GetOptions, GetRequest, ListOptions, PageRequest, PutRequest, SecretName,
};

use crate::case::{CaseResult, Stop, cases};
use crate::context::Context;
use crate::expect::{current_is, done, ensure, is_missing, refused};

cases! { "names":
    portable_names_work [],
    unusual_names_work_or_are_refused [Put],
    every_verb_takes_the_same_names [],
    look_alikes_do_not_reach_each_other [Put],
    a_slash_in_front_makes_another_name [Put],
    letter_case_tells_names_apart [Put],
    escapes_do_not_reach_what_they_escape [Put],
    longest_name_works [Put],
    too_long_a_name_is_refused [],
}

/// A portable name works on every store: it can be asked for, and is there or not. (No two of these meet in an alphabet
/// of capital letters and `_`.)
pub async fn portable_names_work(context: &Context) -> CaseResult {
    let labels = [
        "a", "a/b/c", "B", "c.d", "e-f", "g_h", "0", "1i", "-j", "_k", ".l", "m.", "n-", "...", "o/-/_",
    ];
    for label in labels {
        let name = context.name(label)?;
        is_missing(context, &name, &format!("get of the portable name `{name}`")).await?;
        if context.capabilities().put {
            done(
                context.store().put(&name, PutRequest::new(context.value(label))).await,
                &format!("put of the portable name `{name}`"),
            )?;
        }
    }
    if context.capabilities().put {
        for label in labels {
            let name = context.name(label)?;
            current_is(
                context,
                &name,
                &context.value(label),
                &format!("get of the portable name `{name}`"),
            )
            .await?;
        }
    }
    Ok(())
}

/// A name outside of the portable alphabet works as any other where the store takes it, and is `Unsupported` elsewhere.
pub async fn unusual_names_work_or_are_refused(context: &Context) -> CaseResult {
    let labels = [
        "rds!cluster-1",
        "users/jo@x.org",
        "a b",
        "ключ",
        "e\u{301}",
        "é",
        "🔑",
        "a%b",
        "a%2Fb",
        "a#b",
        "${a}",
        "a'b",
        "a\"b",
        "a\\b",
        "a=b",
        "a:b:c",
        "a*b?",
        "a;b",
        "~a",
        "日本/語",
    ];
    let mut kept = Vec::new();
    for label in labels {
        let name = context.name(label)?;
        let written = context.store().put(&name, PutRequest::new(context.value(label))).await;
        if context.capabilities().check_name(&name).is_ok() {
            done(written, &format!("put of the unusual name `{name}`"))?;
            kept.push(label);
        } else {
            refused(
                written,
                ErrorKind::Unsupported,
                &format!("put of `{name}`, which the store can't have"),
            )?;
        }
    }
    for label in &kept {
        let name = context.name(label)?;
        let secret = current_is(
            context,
            &name,
            &context.value(label),
            &format!("get of the unusual name `{name}`"),
        )
        .await?;
        ensure!(
            secret.metadata.name == name,
            "`{name}` came back as `{}`",
            secret.metadata.name
        );
    }
    listed_are(context, &kept).await
}

/// All verbs agree about a name: one that the store can have is missing, one that it can't have is `Unsupported`.
pub async fn every_verb_takes_the_same_names(context: &Context) -> CaseResult {
    for label in ["a b", "ключ", "rds!cluster-1", "a%b", "a\\b", "a:b"] {
        let name = context.name(label)?;
        if context.capabilities().check_name(&name).is_err() {
            refused_by_every_verb(context, &name).await?;
            continue;
        }
        let what = format!("`{name}`, which the store can have");
        is_missing(context, &name, &format!("get of {what}")).await?;
        for answer in context.store().get_many(&[GetRequest::new(name.clone())]).await {
            refused(answer, ErrorKind::NotFound, &format!("get_many of {what}"))?;
        }
        if context.capabilities().versions {
            let versions = context.store().versions(&name, &PageRequest::default()).await;
            refused(versions, ErrorKind::NotFound, &format!("versions of {what}"))?;
        }
    }
    Ok(())
}

/// Names that a lossy map would make equal are different secrets, or are refused.
pub async fn look_alikes_do_not_reach_each_other(context: &Context) -> CaseResult {
    stay_apart(context, &["x/y", "x-y", "x.y", "x_y", "xy", "x--y", "x__y", "x-/y", "x/-y"]).await
}

/// A name with a `/` in front is another secret than the one without, or is refused.
pub async fn a_slash_in_front_makes_another_name(context: &Context) -> CaseResult {
    let name = context.name("front")?;
    let absolute = done(SecretName::new(format!("/{}", name.as_str())), "a name with a `/` in front")?;
    done(
        context.store().put(&name, PutRequest::new(context.value("relative"))).await,
        "put of the name without the `/`",
    )?;
    if context.capabilities().check_name(&absolute).is_err() {
        return refused_by_every_verb(context, &absolute).await;
    }
    is_missing(context, &absolute, "get of the name with a `/` in front").await
}

/// Names that differ in letter case only are different secrets, or are refused.
pub async fn letter_case_tells_names_apart(context: &Context) -> CaseResult {
    stay_apart(context, &["case/ab", "case/AB", "case/Ab", "CASE/ab"]).await
}

/// Names that look like an escaped form of another are different secrets, or are refused.
pub async fn escapes_do_not_reach_what_they_escape(context: &Context) -> CaseResult {
    stay_apart(
        context,
        &[
            "e/f",
            "e%2Ff",
            "e%2ff",
            "e_2Ff",
            "e-2f-f",
            "e-2Ff",
            "e_2f",
            "e__2F__f",
            "e.2Ff",
            "e_SLASH_f",
            "e\\f",
            "e_x2F_f",
        ],
    )
    .await
}

/// A name as long as [`Capabilities`](keyfob_core::Capabilities) says works, and its neighbour is another secret.
pub async fn longest_name_works(context: &Context) -> CaseResult {
    let most = context.capabilities().max_name_bytes;
    let (name, neighbour) = (long_name(context, most, 'x')?, long_name(context, most, 'y')?);
    let what = format!("a name of {most} bytes");
    if context.capabilities().check_name(&name).is_err() {
        return refused_by_every_verb(context, &name).await;
    }
    done(
        context.store().put(&name, PutRequest::new(context.value("long"))).await,
        &format!("put of {what}"),
    )?;
    is_missing(context, &neighbour, &format!("get of a neighbour of {what}")).await?;
    let secret = current_is(context, &name, &context.value("long"), &format!("get of {what}")).await?;
    ensure!(secret.metadata.name == name, "{what} came back as another");
    Ok(())
}

/// A longer name is `Unsupported`; where the limit is that of [`SecretName`], there is no longer one.
pub async fn too_long_a_name_is_refused(context: &Context) -> CaseResult {
    let most = context.capabilities().max_name_bytes;
    if most >= SecretName::MAX_BYTES {
        let longer = SecretName::new("x".repeat(SecretName::MAX_BYTES + 1));
        return refused(longer, ErrorKind::InvalidInput, "a name of 513 bytes").map(|_| ());
    }
    refused_by_every_verb(context, &long_name(context, most + 1, 'x')?).await
}

/// A portable name of exactly so many bytes in segments of at most 50, which ends with `last`.
fn long_name(context: &Context, bytes: usize, last: char) -> CaseResult<SecretName> {
    let Some(length) = bytes.checked_sub(context.prefix().len()).filter(|length| *length > 0) else {
        return Err(Stop::Failed(format!(
            "the suite needs names of at least {} bytes",
            context.prefix().len() + 1
        )));
    };
    // Never a `/` at the end: the last two are `n` and `last`.
    let mut label: String = (0..length)
        .map(|index| if index % 50 == 49 && index + 2 < length { '/' } else { 'n' })
        .collect();
    label.pop();
    label.push(last);
    context.name(&label)
}

/// Puts a value under each name that the store takes; then each has its own, and none that of another.
async fn stay_apart(context: &Context, labels: &[&str]) -> CaseResult {
    let mut kept = Vec::new();
    for label in labels {
        let name = context.name(label)?;
        if context.capabilities().check_name(&name).is_ok() {
            is_missing(context, &name, &format!("get of `{label}` before it was written")).await?;
        }
        match context.store().put(&name, PutRequest::new(context.value(label))).await {
            Ok(_) => kept.push(*label),
            // A store in which two names would meet refuses the second.
            Err(error)
                if matches!(
                    error.kind(),
                    ErrorKind::Unsupported | ErrorKind::Conflict | ErrorKind::InvalidInput
                ) => {}
            Err(error) => return Err(error.into()),
        }
    }
    for label in labels {
        let name = context.name(label)?;
        if kept.contains(label) {
            current_is(
                context,
                &name,
                &context.value(label),
                &format!("get of `{label}` beside its look-alikes"),
            )
            .await?;
        } else {
            let read = context.store().get(&name, &GetOptions::default()).await;
            ensure!(
                read.is_err(),
                "`{label}` was refused by `put`, but `get` gives another's value"
            );
        }
    }
    listed_are(context, &kept).await?;
    if let (Some(first), true) = (kept.first(), context.capabilities().delete_permanent) {
        let options = DeleteOptions {
            mode: DeleteMode::Permanent,
        };
        done(context.store().delete(&context.name(first)?, &options).await, "delete")?;
        for label in &kept[1..] {
            let what = format!("get of `{label}` after `{first}` was deleted");
            current_is(context, &context.name(label)?, &context.value(label), &what).await?;
        }
    }
    Ok(())
}

/// Where the store lists: exactly these names are there.
async fn listed_are(context: &Context, labels: &[&str]) -> CaseResult {
    if !context.capabilities().list {
        return Ok(());
    }
    let options = ListOptions {
        prefix: context.prefix(),
        ..ListOptions::default()
    };
    let mut listed: Vec<SecretName> = super::list::all(context, options)
        .await?
        .into_iter()
        .map(|item| item.name)
        .collect();
    listed.sort();
    let mut expected = labels
        .iter()
        .map(|label| context.name(label))
        .collect::<CaseResult<Vec<_>>>()?;
    expected.sort();
    ensure!(listed == expected, "listed are {listed:?}, written were {expected:?}");
    Ok(())
}

async fn refused_by_every_verb(context: &Context, name: &SecretName) -> CaseResult {
    let store = context.store();
    let what = |verb: &str| format!("`{verb}` of `{name}`, which the store can't have");
    let kind = ErrorKind::Unsupported;
    refused(store.get(name, &GetOptions::default()).await, kind, &what("get"))?;
    for answer in store.get_many(&[GetRequest::new(name.clone())]).await {
        refused(answer, kind, &what("get_many"))?;
    }
    refused(store.put(name, PutRequest::new(context.value("a"))).await, kind, &what("put"))?;
    refused(store.delete(name, &DeleteOptions::default()).await, kind, &what("delete"))?;
    refused(store.restore(name).await, kind, &what("restore"))?;
    refused(store.versions(name, &PageRequest::default()).await, kind, &what("versions"))?;
    Ok(())
}

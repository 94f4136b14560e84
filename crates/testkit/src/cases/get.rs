//! `get`: reads one secret.

use std::time::Duration;

use keyfob_core::{ErrorKind, GetOptions, PutRequest, SecretValue, Version, VersionSelector};

use crate::case::{CaseResult, Need, cases};
use crate::context::Context;
use crate::expect::{current_is, done, ensure, is_missing, refused, same_value, version_of};

cases! { "get":
    missing_is_not_found [],
    seeded_secrets_are_read [Seeds],
    returns_what_was_put [Put],
    says_which_secret_it_is [Put],
    latest_put_is_current [Put],
    text_is_kept_byte_for_byte [Put],
    documents_are_kept_byte_for_byte [Put],
    bytes_are_kept [Binary],
    empty_value_is_a_value [EmptyValue],
    largest_value_is_kept [Put],
    path_is_not_its_children [Put],
    max_age_zero_is_fresh [Put],
    previous_is_the_one_before [Put, Versions],
    previous_of_a_single_version_is_not_found [Put, Versions],
    exact_version_has_its_own_value [Put, Versions],
    unknown_version_is_not_found [Put, Versions],
}

/// No secret of that name: `NotFound`.
pub async fn missing_is_not_found(context: &Context) -> CaseResult {
    is_missing(context, &context.name("missing")?, "get of a missing name").await
}

/// What somebody else put there can be read.
pub async fn seeded_secrets_are_read(context: &Context) -> CaseResult {
    for (name, value) in context.seeds() {
        let secret = current_is(context, name, value, "get of a seeded secret").await?;
        ensure!(
            secret.metadata.name == *name,
            "the answer for `{name}` is called `{}`",
            secret.metadata.name
        );
    }
    Ok(())
}

/// The value comes back.
pub async fn returns_what_was_put(context: &Context) -> CaseResult {
    let name = context.name("a")?;
    context.put(&name, "a").await?;
    current_is(context, &name, &context.value("a"), "get after put").await?;
    Ok(())
}

/// `metadata.name` is the name that was asked for, `origin.store` the scheme of a store, and the version the one that
/// the value belongs to, never the selector.
pub async fn says_which_secret_it_is(context: &Context) -> CaseResult {
    let name = context.name("team/a")?;
    let written = context.put(&name, "a").await?;
    let metadata = current_is(context, &name, &context.value("a"), "get").await?.metadata;
    ensure!(
        metadata.name == name,
        "`metadata.name` is `{}`, asked for `{name}`",
        metadata.name
    );
    let scheme = &context.store().info().scheme;
    ensure!(
        metadata.origin.store == *scheme,
        "`origin.store` is `{}`, not `{scheme}`",
        metadata.origin.store
    );
    ensure!(
        metadata.deleted_at.is_none(),
        "`deleted_at` is set for a secret that is there"
    );
    if context.capabilities().versions || context.capabilities().put_match {
        let version = version_of(&metadata, "get")?;
        ensure!(
            version.as_str() != "current",
            "the version is the selector that was asked for"
        );
        let written = version_of(&written, "put")?;
        ensure!(version == written, "`put` said version `{written}`, `get` says `{version}`");
    }
    Ok(())
}

/// A later put replaces what is current.
pub async fn latest_put_is_current(context: &Context) -> CaseResult {
    let name = context.name("a")?;
    for label in ["one", "two", "three"] {
        context.put(&name, label).await?;
        current_is(context, &name, &context.value(label), "get after a later put").await?;
    }
    Ok(())
}

/// Text comes back byte for byte: line ends, white space at the ends, quotes, escapes, what looks like a reference.
pub async fn text_is_kept_byte_for_byte(context: &Context) -> CaseResult {
    let tails = [
        "\n",
        "\r\n",
        "\n\n",
        " ",
        "\t",
        "a\nb\n",
        "a\r\nb",
        "'",
        "\"",
        "`",
        "\\",
        "\\n",
        "$HOME",
        "${x}",
        "${secret:x}",
        "#x",
        " # x",
        "=x",
        "%41",
        "&amp;",
        "é",
        "ключ",
        "🔑",
        "e\u{301}",
        "\u{7f}",
        "\u{1}",
        "\u{feff}",
    ];
    for (index, tail) in tails.into_iter().enumerate() {
        let name = context.name(&format!("text-{index}"))?;
        let value = context.bytes(tail.as_bytes());
        keeps(context, &name, value, &format!("text that ends with {tail:?}")).await?;
    }
    let value = SecretValue::from(format!("  {}", context.canary()));
    keeps(context, &context.name("leading")?, value, "text that begins with white space").await
}

/// Values that look like what a store keeps inside itself come back byte for byte: no parsing, no unwrapping.
pub async fn documents_are_kept_byte_for_byte(context: &Context) -> CaseResult {
    let canary = context.canary();
    let documents = [
        format!(r#"{{"value":"{canary}"}}"#),
        format!(r#"{{ "b": 1,  "a": "{canary}", "b": 2 }}"#),
        format!(r#""{canary}""#),
        format!(r#"["{canary}"]"#),
        format!("-----BEGIN KEY-----\n{canary}\n-----END KEY-----\n"),
        format!("A={canary}\nB=2\n"),
        format!("a: {canary}\nb: |\n  x\n"),
    ];
    for (index, document) in documents.into_iter().enumerate() {
        let name = context.name(&format!("document-{index}"))?;
        keeps(context, &name, document.into(), &format!("document {index}")).await?;
    }
    Ok(())
}

/// Every byte comes back, NUL and what is not UTF-8 among them.
pub async fn bytes_are_kept(context: &Context) -> CaseResult {
    let every: Vec<u8> = (0..=u8::MAX).collect();
    let mut tails: Vec<&[u8]> = vec![b"\0", b"\xff\xfe", b"\xc3", b"\0\0\0x", b"\x80"];
    if context.capabilities().max_value_bytes >= 512 {
        tails.push(&every);
    }
    for (index, tail) in tails.into_iter().enumerate() {
        let name = context.name(&format!("bytes-{index}"))?;
        keeps(context, &name, context.bytes(tail), &format!("bytes of row {index}")).await?;
    }
    Ok(())
}

/// An empty value is a value: it is found, and it is empty.
pub async fn empty_value_is_a_value(context: &Context) -> CaseResult {
    keeps(context, &context.name("empty")?, SecretValue::from(""), "an empty value").await
}

/// A value as large as [`Capabilities`](keyfob_core::Capabilities) says (up to 4 MiB) comes back whole.
pub async fn largest_value_is_kept(context: &Context) -> CaseResult {
    let size = context.capabilities().max_value_bytes.min(Need::MAX_TRIED_VALUE);
    let tail = vec![b'x'; size.saturating_sub(context.canary().len())];
    keeps(
        context,
        &context.name("large")?,
        context.bytes(&tail),
        &format!("a value of {size} bytes"),
    )
    .await
}

/// A name is the name of one secret, not of a directory: neither what stands above nor below it is found.
pub async fn path_is_not_its_children(context: &Context) -> CaseResult {
    context.put(&context.name("a/b")?, "b").await?;
    is_missing(context, &context.name("a")?, "get of `a` when there is `a/b`").await?;
    is_missing(context, &context.name("a/b/c")?, "get of `a/b/c` when there is `a/b`").await?;
    is_missing(context, &context.name("b")?, "get of `b` when there is `a/b`").await
}

/// `max_age` of zero goes past every cache: a write is seen at once.
pub async fn max_age_zero_is_fresh(context: &Context) -> CaseResult {
    let name = context.name("a")?;
    let options = GetOptions {
        max_age: Some(Duration::ZERO),
        ..GetOptions::default()
    };
    for label in ["one", "two"] {
        context.put(&name, label).await?;
        let secret = done(context.store().get(&name, &options).await, "get with `max_age` zero")?;
        same_value(&secret.value, &context.value(label), "get with `max_age` zero")?;
    }
    Ok(())
}

/// `@previous` is the version that was current before, and says its own version.
pub async fn previous_is_the_one_before(context: &Context) -> CaseResult {
    let name = context.name("a")?;
    let mut before = None;
    for label in ["one", "two", "three"] {
        let version = version_of(&context.put(&name, label).await?, "put")?;
        if let Some((label, version)) = before.replace((label, version)) {
            let options = GetOptions::version(VersionSelector::Previous);
            let secret = done(context.store().get(&name, &options).await, "get of `@previous`")?;
            same_value(&secret.value, &context.value(label), "get of `@previous`")?;
            let said = version_of(&secret.metadata, "get of `@previous`")?;
            ensure!(said == version, "`@previous` says version `{said}`, it is `{version}`");
            ensure!(
                secret.metadata.name == name,
                "`@previous` says the name `{}`",
                secret.metadata.name
            );
        }
    }
    Ok(())
}

/// No previous version: `NotFound`.
pub async fn previous_of_a_single_version_is_not_found(context: &Context) -> CaseResult {
    let name = context.name("a")?;
    context.put(&name, "one").await?;
    let options = GetOptions::version(VersionSelector::Previous);
    refused(
        context.store().get(&name, &options).await,
        ErrorKind::NotFound,
        "`@previous` of one version",
    )?;
    Ok(())
}

/// Every version can be read by its token, whatever is current.
pub async fn exact_version_has_its_own_value(context: &Context) -> CaseResult {
    let name = context.name("a")?;
    let mut written = Vec::new();
    for label in ["one", "two", "three"] {
        written.push((label, version_of(&context.put(&name, label).await?, "put")?));
    }
    for (label, version) in written {
        let options = GetOptions::version(VersionSelector::Exact(version.clone()));
        let secret = done(context.store().get(&name, &options).await, "get of an exact version")?;
        same_value(&secret.value, &context.value(label), "get of an exact version")?;
        let said = version_of(&secret.metadata, "get of an exact version")?;
        ensure!(said == version, "asked for version `{version}`, the answer says `{said}`");
    }
    Ok(())
}

/// No such version: `NotFound`, never another version.
pub async fn unknown_version_is_not_found(context: &Context) -> CaseResult {
    let name = context.name("a")?;
    context.put(&name, "one").await?;
    for token in ["999999999", "0", "ffffffffffffffffffffffffffffffff", "nonsense"] {
        let options = GetOptions::version(VersionSelector::Exact(Version::new(token)?));
        let what = format!("get of the unknown version `{token}`");
        refused(context.store().get(&name, &options).await, ErrorKind::NotFound, &what)?;
    }
    Ok(())
}

/// Puts and gets `value`.
async fn keeps(context: &Context, name: &keyfob_core::SecretName, value: SecretValue, what: &str) -> CaseResult {
    done(
        context.store().put(name, PutRequest::new(value.clone())).await,
        &format!("put of {what}"),
    )?;
    current_is(context, name, &value, &format!("get of {what}")).await?;
    Ok(())
}

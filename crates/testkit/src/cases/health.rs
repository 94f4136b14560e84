//! `health` and `info`: who the store is and whether it can serve.

use crate::case::{CaseResult, cases};
use crate::context::Context;
use crate::expect::{done, ensure};

cases! { "health":
    is_ok [],
    info_names_the_store [],
    info_is_constant [],
}

/// A store that serves says so.
pub async fn is_ok(context: &Context) -> CaseResult {
    done(context.store().health().await, "health")?;
    Ok(())
}

/// The scheme is one that can stand in a reference: lower-case letters, digits, `+`, `-`, `.`, a letter first.
pub async fn info_names_the_store(context: &Context) -> CaseResult {
    let scheme = &context.store().info().scheme;
    ensure!(
        scheme.starts_with(|first: char| first.is_ascii_lowercase())
            && scheme
                .bytes()
                .all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || b"+-.".contains(&byte)),
        "`{scheme}` is no scheme"
    );
    Ok(())
}

/// `info` says the same after the store was used.
pub async fn info_is_constant(context: &Context) -> CaseResult {
    let before = format!("{:?}", context.store().info());
    // Whatever comes of it: only that something was asked counts.
    let _ = context.store().health().await;
    let _ = context.store().list(&keyfob_core::ListOptions::default()).await;
    ensure!(format!("{:?}", context.store().info()) == before, "`info` has changed");
    Ok(())
}

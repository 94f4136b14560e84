//! Pages of a listing.
//!
//! The order of keyfob is that of names, and that of the API server that of objects, so all are read and put in order. A page
//! begins behind a name and not where the API server's own list goes on: that knowledge gets lost within minutes.

use crate::client::{Accept, Call, Cluster, Path};
use keyfob_core::{Error, ErrorKind, ListOptions, Metadata, Page, PageToken, Result, SecretName};

const TOKEN: &str = "after:";

/// Which names a page has.
pub(super) struct Range {
    prefix: String,
    after: Option<String>,
    limit: usize,
}

/// Refuses a namespace that is not there: to listings, it looks like an empty one. Few are allowed to look at it, and for
/// the others it stays unknown.
pub(super) async fn check_namespace(cluster: &Cluster, namespace: &str) -> Result<()> {
    match cluster.answer(&Call::get(Path::namespace(namespace), Accept::Metadata)).await {
        Err(failed) if failed.lacks_namespace() => Err(failed.into_error().with("namespace", namespace)),
        Err(failed) => {
            tracing::warn!(
                target: "keyfob",
                namespace,
                error = %failed.into_error(),
                "nothing is there, and whether there is such a namespace can't be known"
            );
            Ok(())
        }
        Ok(_) => Ok(()),
    }
}

impl Range {
    /// # Errors
    /// `InvalidInput` for a limit of zero, or for a token of another listing.
    pub(super) fn new(options: &ListOptions) -> Result<Self> {
        let after = match &options.page.token {
            None => None,
            Some(token) => {
                let name = token.as_str().strip_prefix(TOKEN).and_then(|name| SecretName::new(name).ok());
                let name = name.ok_or_else(|| Error::new(ErrorKind::InvalidInput, "not a page token of this listing"))?;
                Some(name.as_str().to_owned())
            }
        };
        Ok(Self {
            prefix: options.prefix.clone(),
            after,
            limit: options.page.limit_up_to(usize::MAX)?,
        })
    }

    pub(super) fn contains(&self, name: &SecretName) -> bool {
        let name = name.as_str();
        name.starts_with(&self.prefix) && self.after.as_deref().is_none_or(|after| name > after)
    }

    /// The first of these, in order.
    pub(super) fn page(&self, mut all: Vec<Metadata>) -> Page<Metadata> {
        all.sort_by(|one, other| one.name.cmp(&other.name));
        let is_last = all.len() <= self.limit;
        all.truncate(self.limit);
        let next = all.last().filter(|_| !is_last);
        let next = next.map(|last| PageToken::new(format!("{TOKEN}{}", last.name)));
        Page { items: all, next }
    }
}

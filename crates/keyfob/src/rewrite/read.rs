//! The values of a store, a page at a time.

use keyfob_core::{Error, ErrorKind, GetRequest, ListOptions, Result, SecretName, SecretStore};

use super::RewriteOptions;
use super::search::Search;

/// How many values are in memory at once.
const AT_ONCE: usize = 256;

/// Looks for the value of every secret, and says which could not be read. What has expired is not handed out, so a
/// reference to it would be of no use.
pub(super) async fn every_secret(
    store: &dyn SecretStore,
    options: &RewriteOptions,
    search: &mut Search<'_>,
    mut progress: impl FnMut(usize),
) -> Result<Vec<(SecretName, Error)>> {
    if !store.info().capabilities.list {
        return Err(Error::new(
            ErrorKind::Unsupported,
            "the store can't list its secrets, so their values can't be looked for",
        )
        .with("store", store.info().label.to_string()));
    }
    let mut listing = ListOptions {
        prefix: options.prefix.clone(),
        ..ListOptions::default()
    };
    let mut unread = Vec::new();
    loop {
        let page = store.list(&listing).await?;
        let names = page.items.into_iter().map(|metadata| metadata.name);
        let requests: Vec<GetRequest> = names.filter(|name| !name.is_reserved()).map(GetRequest::new).collect();
        for some in requests.chunks(AT_ONCE) {
            for (request, answer) in some.iter().zip(store.get_many(some).await) {
                match answer {
                    Ok(secret) => search.look_for(&request.name, &secret.value)?,
                    // Somebody has deleted it since it was listed.
                    Err(error) if error.kind() == ErrorKind::NotFound => {}
                    Err(error) => unread.push((request.name.clone(), error)),
                }
            }
            progress(search.searched());
        }
        listing.page.token = page.next;
        if listing.page.token.is_none() {
            return Ok(unread);
        }
    }
}

//! The server's address from its name.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use reqwest::dns::{Addrs, Name, Resolve, Resolving};
use tokio::sync::Mutex;
use tokio::time::Instant;

/// How long an answer is used again. A burst of requests must not ask once for each connection: the system's resolver
/// answers one after the other.
const FRESH: Duration = Duration::from_secs(5);

/// Asks the system, once for all connections that are opened at the same time.
#[derive(Clone, Default)]
pub(super) struct SharedLookup(Arc<Mutex<Option<Known>>>);

struct Known {
    name: String,
    asked: Instant,
    addresses: Vec<SocketAddr>,
}

impl Resolve for SharedLookup {
    fn resolve(&self, name: Name) -> Resolving {
        let known = Arc::clone(&self.0);
        Box::pin(async move {
            // Who waits for the lock finds the answer of who held it.
            let mut known = known.lock().await;
            let again = known
                .as_ref()
                .filter(|known| known.name == name.as_str() && known.asked.elapsed() < FRESH);
            let addresses = match again {
                Some(known) => known.addresses.clone(),
                None => {
                    let addresses: Vec<SocketAddr> = tokio::net::lookup_host((name.as_str(), 0)).await?.collect();
                    *known = Some(Known {
                        name: name.as_str().to_owned(),
                        asked: Instant::now(),
                        addresses: addresses.clone(),
                    });
                    addresses
                }
            };
            Ok(Box::new(addresses.into_iter()) as Addrs)
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn addresses(lookup: &SharedLookup, name: &str) -> Option<usize> {
        let found = lookup.resolve(name.parse().unwrap()).await;
        found.ok().map(Iterator::count)
    }

    #[tokio::test]
    async fn an_answer_is_used_again_for_the_same_name_only() {
        let lookup = SharedLookup::default();
        assert!(addresses(&lookup, "localhost").await.is_some_and(|count| count > 0));
        // Planted, to see where an answer comes from.
        lookup.0.lock().await.as_mut().unwrap().addresses.clear();
        assert_eq!(addresses(&lookup, "localhost").await, Some(0));
        assert_eq!(addresses(&lookup, "no-such-host.invalid").await, None);
        lookup.0.lock().await.as_mut().unwrap().asked -= FRESH;
        assert!(addresses(&lookup, "localhost").await.is_some_and(|count| count > 0));
    }
}

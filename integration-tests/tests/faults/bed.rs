//! A server of the test bed and how a store reaches it.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use keyfob_core::{Backend, Environment, Result, SecretName, SecretStore, StoreUrl};
use keyfob_integration_tests::fault_proxy::{FaultProxy, Request};

use crate::verb::Verb;

pub(crate) struct Bed {
    pub(crate) backend: Backend,
    /// The server itself.
    pub(crate) upstream: String,
    /// Has the credentials.
    pub(crate) environment: Environment,
    /// What may stand in no error: credentials, as they are.
    pub(crate) credentials: Vec<String>,
    /// The URL of a store at an address, with what stands before its names and the most seconds for a request.
    pub(crate) url: fn(address: &str, prefix: &str, seconds: u64) -> String,
    /// Whether a request changes something.
    pub(crate) writes: fn(&Request) -> bool,
    /// Whether a verb may succeed although this fault (its name) happened to this request.
    pub(crate) survives: fn(Verb, &str, &Request) -> bool,
}

impl Bed {
    /// A proxy in front of the server. Where the server speaks TLS the proxy does on both sides, and the server is the one
    /// whose authority the test bed names: `KEYFOB_TEST_NAME_CA` beside `KEYFOB_TEST_NAME_URL`.
    pub(crate) fn proxy(&self) -> FaultProxy {
        let builder = FaultProxy::to(&self.upstream).unwrap();
        if !self.upstream.starts_with("https://") {
            return builder.start().unwrap();
        }
        let (variable, _) = std::env::vars()
            .find(|(name, value)| name.starts_with("KEYFOB_TEST_") && name.ends_with("_URL") && *value == self.upstream)
            .unwrap();
        let authority = std::env::var(variable.replace("_URL", "_CA")).unwrap();
        builder.trust(authority).unwrap().tls().start().unwrap()
    }

    /// Whether the verb looks again and again until the service has finished: how often depends on time.
    pub(crate) fn waits(&self, verb: Verb) -> bool {
        self.backend.scheme == "azure" && matches!(verb, Verb::Delete | Verb::DeletePermanent | Verb::Restore)
    }

    /// A store that waits for one second.
    pub(crate) async fn connect(&self, address: &str, prefix: &str) -> Result<Arc<dyn SecretStore>> {
        self.open(address, prefix, 1).await
    }

    /// A store that waits long.
    pub(crate) async fn patient(&self, address: &str, prefix: &str) -> Arc<dyn SecretStore> {
        self.open(address, prefix, 60).await.unwrap()
    }

    /// A store without a proxy.
    pub(crate) async fn direct(&self, prefix: &str) -> Arc<dyn SecretStore> {
        self.patient(&self.upstream, prefix).await
    }

    async fn open(&self, address: &str, prefix: &str, seconds: u64) -> Result<Arc<dyn SecretStore>> {
        let url = StoreUrl::parse(&(self.url)(address, prefix, seconds))?;
        Ok((self.backend.connect)(url, &self.environment).await?.store)
    }
}

/// How long a store waits for an answer.
pub(crate) const DEADLINE: Duration = Duration::from_secs(1);

/// What stands before the names of one case, which nobody else has.
pub(crate) fn prefix() -> String {
    static NUMBER: AtomicU32 = AtomicU32::new(0);
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_nanos();
    let number = NUMBER.fetch_add(1, Ordering::Relaxed);
    format!("keyfob-faults-{now:x}-{}-{number}/", std::process::id())
}

pub(crate) fn name(text: &str) -> SecretName {
    SecretName::new(text).unwrap()
}

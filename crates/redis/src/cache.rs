//! The second level of a cache.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, SystemTime};

use async_trait::async_trait;
use data_encoding::HEXLOWER;
use hmac::{Hmac, KeyInit as _, Mac as _};
use keyfob_core::{Clock, Result, SecretName, SharedAnswer, SharedCache, SharedEntry, SharedPermit, SharedRead, VersionSelector};
use keyfob_envelope::{KeyEncryptionKey, StoreId};
use redis::Value;
use sha2::{Digest as _, Sha256};
use zeroize::Zeroizing;

use crate::config::RedisConfig;
use crate::entry::{self, Asked, Place};
use crate::link::{Link, Server, Tag};
use crate::scripts;

/// One Redis, for the caches of all stores: hand out [`of_store`](Self::of_store) to each.
///
/// Cheap to clone. It connects when it is first asked, on a task of the runtime of whoever asks.
#[derive(Debug, Clone)]
pub struct RedisCache(Arc<Shared>);

struct Shared {
    link: Arc<Link>,
    config: RedisConfig,
    counters: Counters,
}

#[derive(Debug, Default)]
struct Counters {
    found: AtomicU64,
    missing: AtomicU64,
    skipped: AtomicU64,
    refused: AtomicU64,
}

/// What became of the reads that came to Redis.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct RedisCounts {
    /// There was an entry.
    pub found: u64,
    /// There was none, or it was too old.
    pub missing: u64,
    /// Redis was ill.
    pub skipped: u64,
    /// There was an entry that was damaged or tampered with, which counts as none.
    pub refused: u64,
}

impl RedisCache {
    /// Makes no connection yet.
    ///
    /// # Errors
    /// `InvalidConfig` when there can be none with these settings.
    pub fn new(config: RedisConfig) -> Result<Self> {
        let link = Link::new(&config)?;
        Ok(Self(Arc::new(Shared {
            link,
            config,
            counters: Counters::default(),
        })))
    }

    /// The second level of one store's cache, for [`CacheLayer::shared`](keyfob_core::CacheLayer::shared). `identity` tells
    /// the store from all others, and must be the same on all machines that are to share: the URL, without credentials.
    #[must_use]
    pub fn of_store(&self, identity: &str) -> Arc<dyn SharedCache> {
        let mut digest = Sha256::new();
        for part in [&*self.0.config.prefix, identity] {
            digest.update((part.len() as u64).to_be_bytes());
            digest.update(part);
        }
        let digest = digest.finalize();
        let mut store = StoreId([0; 16]);
        store.0.copy_from_slice(&digest[..16]);
        Arc::new(StoreLevel {
            shared: Arc::clone(&self.0),
            store,
            names: self.0.config.key.derive("cache 1 names", store),
        })
    }

    /// What became of the reads so far.
    #[must_use]
    pub fn counts(&self) -> RedisCounts {
        let Counters {
            found,
            missing,
            skipped,
            refused,
        } = &self.0.counters;
        let [found, missing, skipped, refused] = [found, missing, skipped, refused].map(|count| count.load(Ordering::Relaxed));
        RedisCounts {
            found,
            missing,
            skipped,
            refused,
        }
    }
}

impl Shared {
    fn key(&self) -> &KeyEncryptionKey {
        &self.config.key
    }

    fn machine_ms(&self) -> u64 {
        since_1970(&*self.config.clock)
    }

    /// Says so at the first, the second, the fourth ...: damage can be wide.
    fn refuse(&self) {
        let refused = self.counters.refused.fetch_add(1, Ordering::Relaxed) + 1;
        if refused.is_power_of_two() {
            tracing::warn!(
                target: "keyfob",
                redis = &*self.config.address,
                refused,
                "an entry of the shared cache in Redis is damaged or was tampered with; the store is asked instead"
            );
        }
    }
}

/// What one store's cache keeps in Redis.
struct StoreLevel {
    shared: Arc<Shared>,
    store: StoreId,
    /// The key of what stands for names.
    names: Zeroizing<[u8; 32]>,
}

/// A year.
const LONGEST_LIFETIME: Duration = Duration::from_secs(365 * 24 * 60 * 60);

impl StoreLevel {
    fn tag(&self, name: &SecretName) -> Tag {
        self.mac(b"name", name.as_str().as_bytes())
    }

    fn field(&self, version: &VersionSelector) -> String {
        HEXLOWER.encode(&self.mac(b"version", &entry::selector(version))[..16])
    }

    fn mac(&self, what: &[u8], bytes: &[u8]) -> Tag {
        let mut mac =
            Hmac::<Sha256>::new_from_slice(&*self.names).unwrap_or_else(|_| unreachable!("a key of HMAC has any length"));
        mac.update(what);
        mac.update(b"\0");
        mac.update(bytes);
        mac.finalize().into_bytes().into()
    }

    fn place<'a>(&self, read: SharedRead<'a>) -> Place<'a> {
        Place { store: self.store, read }
    }

    /// What Redis says of one read.
    fn answer(&self, read: SharedRead<'_>, value: &Value, asked_ms: u64) -> Option<SharedAnswer> {
        let Value::Array(parts) = value else {
            self.shared.refuse();
            return None;
        };
        let [entry, generation, Value::Int(redis_ms)] = parts.as_slice() else {
            return None;
        };
        let redis_ms = u64::try_from(*redis_ms).ok()?;
        let counters = &self.shared.counters;
        let mut found = None;
        if let Value::BulkString(entry) = entry {
            // Its age now, not when Redis was asked.
            let now = Asked {
                redis_ms,
                machine_ms: self.shared.machine_ms(),
            };
            match entry::open(
                self.shared.key(),
                self.place(read),
                entry,
                now,
                self.shared.config.max_value_bytes,
            ) {
                Ok(secret) => found = secret,
                Err(entry::Refused) => self.shared.refuse(),
            }
        }
        let count = if found.is_some() { &counters.found } else { &counters.missing };
        count.fetch_add(1, Ordering::Relaxed);
        let asked = Asked {
            redis_ms,
            machine_ms: asked_ms,
        };
        let permit = match generation {
            Value::BulkString(generation) if generation.as_slice() != b"-" => Some(Permit::encode(generation, asked)),
            _ => None,
        };
        Some(SharedAnswer { found, permit })
    }
}

#[async_trait]
impl SharedCache for StoreLevel {
    async fn find(&self, reads: &[SharedRead<'_>]) -> Vec<SharedAnswer> {
        let mut generation = [0; 16];
        let asked_ms = self.shared.machine_ms();
        let mut values = None;
        if getrandom::fill(&mut generation).is_ok() {
            let generation = HEXLOWER.encode(&generation);
            let commands = |server: &Server| {
                let command = |read: &SharedRead<'_>| {
                    scripts::find(&server.keys(&self.tag(read.name)), &self.field(read.version), &generation)
                };
                reads.iter().map(command).collect()
            };
            values = self.shared.link.ask(commands).await;
        }
        let Some(values) = values else {
            self.shared.counters.skipped.fetch_add(reads.len() as u64, Ordering::Relaxed);
            return Vec::new();
        };
        let answers = reads.iter().zip(values);
        answers
            .map(|(read, value)| self.answer(*read, &value, asked_ms).unwrap_or_default())
            .collect()
    }

    async fn keep(&self, entries: Vec<SharedEntry<'_>>) {
        let commands = |server: &Server| {
            let command = |entry: &SharedEntry<'_>| {
                let Permit { generation, asked } = Permit::decode(&entry.permit)?;
                let lifetime = entry.lifetime.min(LONGEST_LIFETIME);
                let lifetime_ms = u64::try_from(lifetime.as_millis()).ok()?;
                let most = self.shared.config.max_value_bytes;
                let place = self.place(entry.read);
                let sealed = entry::seal(self.shared.key(), place, entry.secret, asked, lifetime_ms, most)?;
                let keys = server.keys(&self.tag(entry.read.name));
                let field = self.field(entry.read.version);
                Some(scripts::keep(&keys, &field, generation, asked.redis_ms, &sealed, lifetime_ms))
            };
            entries.iter().filter_map(command).collect()
        };
        self.shared.link.ask(commands).await;
    }

    async fn close(&self, name: &SecretName) {
        self.shared.link.forget(self.tag(name), scripts::close).await;
    }

    async fn forget(&self, name: &SecretName) {
        self.shared.link.forget(self.tag(name), scripts::forget).await;
    }
}

/// The generation that a read saw, and when.
struct Permit<'a> {
    generation: &'a str,
    asked: Asked,
}

impl<'a> Permit<'a> {
    fn encode(generation: &[u8], asked: Asked) -> SharedPermit {
        let bytes = [&asked.redis_ms.to_be_bytes(), &asked.machine_ms.to_be_bytes(), generation].concat();
        SharedPermit::new(bytes)
    }

    fn decode(permit: &'a SharedPermit) -> Option<Self> {
        let (redis_ms, rest) = permit.as_bytes().split_first_chunk()?;
        let (machine_ms, generation) = rest.split_first_chunk()?;
        Some(Self {
            generation: std::str::from_utf8(generation).ok()?,
            asked: Asked {
                redis_ms: u64::from_be_bytes(*redis_ms),
                machine_ms: u64::from_be_bytes(*machine_ms),
            },
        })
    }
}

fn since_1970(clock: &dyn Clock) -> u64 {
    let since = clock.system_now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
}

impl fmt::Debug for Shared {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RedisCache")
            .field("config", &self.config)
            .finish_non_exhaustive()
    }
}

impl fmt::Debug for StoreLevel {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RedisStoreCache")
            .field("config", &self.shared.config)
            .field("store", &self.store)
            .finish_non_exhaustive()
    }
}

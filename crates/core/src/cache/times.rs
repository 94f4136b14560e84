//! How long answers are kept, and for which names.

use std::time::Duration;

use crate::name::SecretName;

/// How long the answers for a name are kept. Every age is counted from the moment at which the store was asked.
///
/// ```text
/// asked      refresh ahead      ttl        + stale while revalidate          max age
///   |------- fresh ----|----------|-------------------|--------------------------|
///   from memory        + refresh   stale at once,      the store is waited for;   gone
///                      behind it   refresh behind it   stale if it can't
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CacheTimes {
    pub(super) ttl: Duration,
    pub(super) stale_while_revalidate: Duration,
    pub(super) hard_max_age: Duration,
    pub(super) negative_ttl: Duration,
}

impl CacheTimes {
    /// Nothing is kept: every read is a call of its own.
    pub const NEVER: Self = Self {
        ttl: Duration::ZERO,
        stale_while_revalidate: Duration::ZERO,
        hard_max_age: Duration::ZERO,
        negative_ttl: Duration::ZERO,
    };

    /// Answers for `ttl` and not a moment longer; that there is no such secret for a second, or `ttl` when that is
    /// shorter. Zero is [`NEVER`](Self::NEVER).
    #[must_use]
    pub fn new(ttl: Duration) -> Self {
        Self {
            ttl,
            stale_while_revalidate: Duration::ZERO,
            hard_max_age: ttl,
            negative_ttl: ttl.min(Duration::from_secs(1)),
        }
    }

    /// For how long after the time to live a read is answered at once, as [`Freshness::Stale`](crate::Freshness::Stale),
    /// while the store is asked behind it. Zero (the default): never. Ends at the hard maximum age in any case, so it
    /// needs a [`hard_max_age`](Self::hard_max_age) above the time to live.
    #[must_use]
    pub fn stale_while_revalidate(mut self, window: Duration) -> Self {
        self.stale_while_revalidate = window;
        self
    }

    /// The hard maximum age. Nothing older is handed out, whatever happens. Up to it, an answer whose time to live has
    /// passed covers a store that is unavailable, too slow or asks for fewer requests, as
    /// [`Freshness::Stale`](crate::Freshness::Stale); no other error. The default is the time to live: no stale answers.
    /// Below the time to live it shortens that. It holds when the cache answers; who has to wait for an audit record after that
    /// gets the answer later, by what is left of the call's deadline at most.
    #[must_use]
    pub fn hard_max_age(mut self, max_age: Duration) -> Self {
        self.hard_max_age = max_age;
        self
    }

    /// For how long it is remembered that there is no such secret or version. Zero: not at all. Whoever makes the
    /// secret elsewhere is not seen for this long, so keep it short.
    #[must_use]
    pub fn negative_ttl(mut self, ttl: Duration) -> Self {
        self.negative_ttl = ttl;
        self
    }

    pub(super) fn keeps(&self) -> bool {
        !self.ttl.is_zero() && !self.hard_max_age.is_zero()
    }
}

impl From<Duration> for CacheTimes {
    fn from(ttl: Duration) -> Self {
        Self::new(ttl)
    }
}

/// Which names a rule of a cache is about.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum CacheNames {
    /// This name alone.
    Exact(SecretName),
    /// Every name that begins with this text. It is text, not a path: `db` is also about `dbx/y`.
    Prefix(String),
}

/// The rules, so that the first that fits is the one that says most: exact names, then longer prefixes.
#[derive(Debug, Clone)]
pub(super) struct Rules {
    default: CacheTimes,
    rules: Vec<(CacheNames, CacheTimes)>,
}

impl Rules {
    pub(super) fn new(default: CacheTimes) -> Self {
        Self {
            default,
            rules: Vec::new(),
        }
    }

    pub(super) fn add(&mut self, names: CacheNames, times: CacheTimes) {
        self.rules.retain(|(known, _)| *known != names);
        self.rules.push((names, times));
        self.rules.sort_by_key(|(names, _)| match names {
            CacheNames::Exact(_) => 0,
            CacheNames::Prefix(prefix) => usize::MAX - prefix.len(),
        });
    }

    pub(super) fn times(&self, name: &SecretName) -> CacheTimes {
        let fits = |names: &CacheNames| match names {
            CacheNames::Exact(exact) => exact == name,
            CacheNames::Prefix(prefix) => name.as_str().starts_with(prefix),
        };
        self.rules
            .iter()
            .find(|(names, _)| fits(names))
            .map_or(self.default, |(_, times)| *times)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_rule_that_says_most_wins_in_whatever_order_they_came() {
        let name = |text: &str| SecretName::new(text).unwrap();
        let seconds = |seconds| CacheTimes::new(Duration::from_secs(seconds));
        let mut given = vec![
            (CacheNames::Prefix("db".into()), seconds(2)),
            (CacheNames::Exact(name("db/root")), seconds(4)),
            (CacheNames::Prefix("db/".into()), seconds(3)),
        ];
        for _ in 0..2 {
            let mut rules = Rules::new(seconds(1));
            for (names, times) in given.clone() {
                rules.add(names, times);
            }
            let ttl = |text| rules.times(&name(text)).ttl.as_secs();
            assert_eq!([ttl("a"), ttl("dbx"), ttl("db/a"), ttl("db/root")], [1, 2, 3, 4]);
            given.reverse();
        }
        let mut rules = Rules::new(seconds(1));
        rules.add(CacheNames::Prefix("db".into()), seconds(2));
        rules.add(CacheNames::Prefix("db".into()), CacheTimes::NEVER);
        assert!(!rules.times(&name("db")).keeps());
    }
}

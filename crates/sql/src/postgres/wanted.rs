//! Which rows a piece of work looks at, so that all of them are fetched at once.

use super::connection::Query;
use super::schema::Parameter;
use super::statements::Statements;

/// Which rows a piece of work looks at.
#[derive(Clone, Default)]
pub(super) struct Wanted {
    pub(super) buckets: Vec<i16>,
    pub(super) places: Places,
    /// Whether the values of the versions are needed.
    with_values: bool,
    pub(super) all_facts_of: Option<(i16, String)>,
}

#[derive(Clone, Default)]
pub(super) struct Places {
    pub(super) buckets: Vec<i16>,
    names: Vec<String>,
    numbers: Vec<i64>,
    skips: Vec<i64>,
}

/// Which version of a secret.
#[derive(Clone, Copy)]
pub(super) enum Which {
    Newest,
    SecondNewest,
    Number(u64),
}

impl Places {
    pub(super) fn add(&mut self, bucket: u16, name: &str, which: Which) {
        let (number, skip) = match which {
            Which::Newest => (0, 0),
            Which::SecondNewest => (0, 1),
            // A number that no column can hold is no version's: nothing has the greatest one.
            Which::Number(number) => (i64::try_from(number).unwrap_or(i64::MAX).max(1), 0),
        };
        self.buckets.push(bucket.cast_signed());
        self.names.push(name.to_owned());
        self.numbers.push(number);
        self.skips.push(skip);
    }

    pub(super) fn parameters(&self) -> Vec<Parameter<'_>> {
        vec![&self.buckets, &self.names, &self.numbers, &self.skips]
    }
}

impl Wanted {
    /// The secrets of these buckets.
    pub(super) fn buckets(buckets: impl IntoIterator<Item = u16>) -> Self {
        let mut buckets: Vec<i16> = buckets.into_iter().map(u16::cast_signed).collect();
        buckets.sort_unstable();
        buckets.dedup();
        Self {
            buckets,
            ..Self::default()
        }
    }

    /// And these versions, with their values or without.
    pub(super) fn with_versions(mut self, places: Places, with_values: bool) -> Self {
        self.places = places;
        self.with_values = with_values;
        self
    }

    /// And what is known of all versions of one secret.
    pub(super) fn with_all_facts_of(mut self, bucket: u16, name: &str) -> Self {
        self.all_facts_of = Some((bucket.cast_signed(), name.to_owned()));
        self
    }

    pub(super) fn ids(&self) -> impl Iterator<Item = u16> {
        self.buckets.iter().map(|bucket| bucket.cast_unsigned())
    }

    /// The statements that fetch it, behind the head and the key slots; `buckets` is the one that reads records, or locks them.
    pub(super) fn queries<'a>(&'a self, s: &'a Statements, buckets: &'a str) -> Vec<Query<'a>> {
        let mut queries: Vec<Query<'a>> = vec![(&s.head, Vec::new()), (&s.slots, Vec::new())];
        if !self.buckets.is_empty() {
            queries.push((buckets, vec![&self.buckets]));
            queries.push((&s.secrets, vec![&self.buckets]));
        }
        if let Some((bucket, name)) = &self.all_facts_of {
            queries.push((&s.all_facts_of, vec![bucket, name]));
        } else if !self.places.buckets.is_empty() {
            let sql = if self.with_values { &s.versions } else { &s.facts };
            queries.push((sql, self.places.parameters()));
        }
        queries
    }
}

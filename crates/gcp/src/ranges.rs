//! Version numbers, written short: `1-3,5`.

use std::collections::BTreeSet;
use std::fmt;

/// A set of version numbers.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Ranges(BTreeSet<u64>);

/// A set that says it has more is not believed.
const MOST: u64 = 100_000;

impl Ranges {
    /// Reads what `Display` writes, and leaves out what it can't understand.
    pub(crate) fn read(text: &str) -> Self {
        let numbers = text.split(',').filter_map(|range| {
            let (first, last) = range.split_once('-').unwrap_or((range, range));
            let (first, last): (u64, u64) = (first.parse().ok()?, last.parse().ok()?);
            (first <= last && last - first < MOST).then_some(first..=last)
        });
        Self(numbers.flatten().collect())
    }

    /// The numbers, rising.
    pub(crate) fn iter(&self) -> impl DoubleEndedIterator<Item = u64> {
        self.0.iter().copied()
    }
}

impl FromIterator<u64> for Ranges {
    fn from_iter<I: IntoIterator<Item = u64>>(numbers: I) -> Self {
        Self(numbers.into_iter().collect())
    }
}

impl fmt::Display for Ranges {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut numbers = self.0.iter().copied().peekable();
        let mut separator = "";
        while let Some(first) = numbers.next() {
            let mut last = first;
            while let Some(next) = numbers.next_if(|next| *next == last + 1) {
                last = next;
            }
            match first == last {
                true => write!(f, "{separator}{first}")?,
                false => write!(f, "{separator}{first}-{last}")?,
            }
            separator = ",";
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_are_written_short_and_read_back() {
        let ranges: Ranges = [5, 1, 2, 3, 9, 10].into_iter().collect();
        assert_eq!(ranges.to_string(), "1-3,5,9-10");
        assert_eq!(Ranges::read("1-3,5,9-10"), ranges);
        assert_eq!(Ranges::read(""), Ranges::default());
        assert_eq!(Ranges::default().to_string(), "");
    }

    #[test]
    fn nonsense_is_left_out() {
        let read = |text: &str| Ranges::read(text).iter().collect::<Vec<_>>();
        assert_eq!(read("x,3-1,-,1-,4,0-18446744073709551615"), [4]);
    }
}

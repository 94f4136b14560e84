//! What goes when there is too much.

use std::collections::VecDeque;

use crate::cache::meters::Fill;
use crate::name::SecretName;
use crate::options::VersionSelector;

/// The order in which entries go and how much there is of them: oldest first, but what was used since it stood in front
/// the last time goes to the back once more (CLOCK). One hit costs a flag, not a place in a list, and a run over many
/// names that nobody asks for again drives out nothing that is in use.
#[derive(Debug)]
pub(super) struct Ring {
    /// May name entries that are gone.
    order: VecDeque<Place>,
    entries: usize,
    bytes: usize,
    max_entries: usize,
    max_bytes: usize,
    fill: Fill,
}

#[derive(Debug)]
pub(super) struct Place {
    /// That of the entry, so that the place is not taken for that of another entry of the same name: neither a later one nor
    /// one of another ring. A flight can bring two: what the second level has, and what the store says then.
    pub(super) number: u64,
    pub(super) name: SecretName,
    pub(super) version: VersionSelector,
}

/// What the table says of a place in front.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Turn {
    /// Its entry is gone already.
    Gone,
    /// It was used and stays.
    Used,
    /// It was taken out and held this many bytes.
    Evicted(usize),
}

impl Ring {
    pub(super) fn new(max_entries: usize, max_bytes: usize, fill: Fill) -> Self {
        Self {
            order: VecDeque::new(),
            entries: 0,
            bytes: 0,
            max_entries,
            max_bytes,
            fill,
        }
    }

    pub(super) fn entries(&self) -> usize {
        self.entries
    }

    pub(super) fn bytes(&self) -> usize {
        self.bytes
    }

    /// Whether an entry of this size can be kept at all.
    pub(super) fn fits(&self, bytes: usize) -> bool {
        self.max_entries > 0 && bytes <= self.max_bytes
    }

    /// Makes room for one more entry of this size. `turn(place, spare)` looks at an entry and evicts it unless it was
    /// used and may be spared.
    pub(super) fn make_room(&mut self, bytes: usize, mut turn: impl FnMut(&Place, bool) -> Turn) {
        // Whoever is used all the time is spared once a run, so that a run ends.
        let mut spared = self.order.len();
        while self.entries >= self.max_entries || self.bytes.saturating_add(bytes) > self.max_bytes {
            let Some(place) = self.order.pop_front() else {
                break;
            };
            match turn(&place, spared > 0) {
                Turn::Gone => {}
                Turn::Used => {
                    spared -= 1;
                    self.order.push_back(place);
                }
                Turn::Evicted(bytes) => {
                    self.removed(bytes);
                    self.fill.evictions.increment(1);
                }
            }
        }
    }

    /// Takes an entry in, at the back.
    pub(super) fn add(&mut self, place: Place, bytes: usize) {
        self.entries += 1;
        self.bytes += bytes;
        self.fill.set(self.entries, self.bytes);
        self.order.push_back(place);
    }

    /// An entry of this size has gone.
    pub(super) fn removed(&mut self, bytes: usize) {
        self.entries -= 1;
        self.bytes -= bytes;
        self.fill.set(self.entries, self.bytes);
    }

    /// Drops the places of entries that are gone when they are the most.
    pub(super) fn tidy(&mut self, is_there: impl FnMut(&Place) -> bool) {
        if self.order.len() > 2 * self.entries + 64 {
            self.order.retain(is_there);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn place(number: u64) -> Place {
        Place {
            number,
            name: SecretName::new("a").unwrap(),
            version: VersionSelector::Current,
        }
    }

    #[test]
    fn places_of_what_is_gone_do_not_pile_up() {
        let mut ring = Ring::new(10, usize::MAX, Fill::of_values(&"test".into()));
        for number in 0..10_000 {
            ring.add(place(number), 1);
            ring.tidy(|place| place.number == number);
            assert!(ring.order.len() <= 2 * 10 + 65, "{}", ring.order.len());
            ring.removed(1);
        }
        assert_eq!((ring.entries(), ring.bytes()), (0, 0));
    }

    #[test]
    fn a_run_ends_although_everything_is_used_all_the_time() {
        let mut ring = Ring::new(3, usize::MAX, Fill::of_values(&"test".into()));
        for number in 0..3 {
            ring.add(place(number), 1);
        }
        ring.make_room(1, |_, spare| if spare { Turn::Used } else { Turn::Evicted(1) });
        assert_eq!((ring.entries(), ring.order.front().map(|place| place.number)), (2, Some(1)));
    }
}

//! What is under way, and in which order entries go: what only one may change at a time.

use std::collections::HashMap;
use std::sync::Arc;

use crate::cache::CacheLayer;
use crate::cache::entry::Entry;
use crate::cache::eviction::Ring;
use crate::cache::flight::{Flight, Ticket};
use crate::cache::meters::Fill;
use crate::cache::shards::Named;
use crate::name::SecretName;
use crate::options::VersionSelector;

/// The flights, and the places of the entries.
#[derive(Debug)]
pub(super) struct Ledger {
    values: Ring,
    absences: Ring,
    flights: HashMap<SecretName, HashMap<VersionSelector, Flight>>,
    /// Numbers flights and entries.
    last_number: u64,
}

/// How much a cache holds.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct CacheUsage {
    /// Secrets.
    pub entries: usize,
    /// Their bytes as they count for the bound.
    pub bytes: usize,
    /// Names and versions that are known not to exist.
    pub absences: usize,
}

impl Ledger {
    pub(super) fn new(settings: &CacheLayer, store: &Arc<str>) -> Self {
        Self {
            values: Ring::new(settings.max_entries, settings.max_bytes, Fill::of_values(store)),
            absences: Ring::new(settings.max_absences, usize::MAX, Fill::of_absences(store)),
            flights: HashMap::new(),
            last_number: 0,
        }
    }

    pub(super) fn usage(&self) -> CacheUsage {
        CacheUsage {
            entries: self.values.entries(),
            bytes: self.values.bytes(),
            absences: self.absences.entries(),
        }
    }

    /// The flight under way for these.
    pub(super) fn flight(&self, name: &SecretName, version: &VersionSelector) -> Option<&Flight> {
        self.flights.get(name)?.get(version)
    }

    pub(super) fn register(&mut self, ticket: Ticket, flight: Flight) {
        self.flights.entry(ticket.name).or_default().insert(ticket.version, flight);
    }

    /// No flight of these names is registered any more.
    pub(super) fn deregister_all(&mut self, which: impl Fn(&SecretName) -> bool) {
        self.flights.retain(|name, _| !which(name));
    }

    pub(super) fn next_number(&mut self) -> u64 {
        self.last_number += 1;
        self.last_number
    }

    /// Where an entry has its place.
    pub(super) fn ring(&mut self, entry: &Entry) -> &mut Ring {
        if entry.answer.is_ok() {
            &mut self.values
        } else {
            &mut self.absences
        }
    }

    /// All of a name is gone.
    pub(super) fn forgot(&mut self, named: &Named) {
        for entry in named.entries() {
            self.ring(entry).removed(entry.bytes());
        }
    }

    pub(super) fn is_registered(&self, ticket: &Ticket) -> bool {
        let flight = self.flight(&ticket.name, &ticket.version);
        flight.is_some_and(|flight| flight.number == ticket.number)
    }

    /// Whether the flight was registered; it no longer is.
    pub(super) fn deregister(&mut self, ticket: &Ticket) -> bool {
        let registered = self.is_registered(ticket);
        if registered && let Some(flights) = self.flights.get_mut(&ticket.name) {
            flights.remove(&ticket.version);
            if flights.is_empty() {
                self.flights.remove(&ticket.name);
            }
        }
        registered
    }
}

//! The tables of what starting a process cost everyone, and how keyfob stands in them.

use std::fmt::Write as _;
use std::time::Duration;

use super::secrets::SECRETS;
use crate::report::{shown, shown_seconds};
use crate::sample::Samples;

/// At most so much longer than the floor, everywhere.
const MOST_ABOVE_FLOOR: Duration = Duration::from_millis(15);

/// One server at one distance.
pub(super) struct Cell {
    pub(super) server: String,
    pub(super) round_trip: Duration,
    /// How often keyfob must be faster than the fastest peer.
    pub(super) goal: Option<f64>,
    pub(super) results: Vec<Result>,
}

#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Side {
    Floor,
    Keyfob,
    Peer,
}

/// What one contestant did in a cell.
pub(super) struct Result {
    pub(super) name: String,
    pub(super) side: Side,
    pub(super) times: Samples,
    /// `None`: nobody could count them.
    pub(super) connections: Option<usize>,
    pub(super) requests: Option<usize>,
    /// Runs that ended with an error and were done again.
    pub(super) failures: usize,
}

impl Cell {
    pub(super) fn title(&self) -> String {
        format!("{}, {} ms more", self.server, self.round_trip.as_millis())
    }

    pub(super) fn has_keyfob(&self) -> bool {
        self.best(Side::Keyfob).is_some()
    }

    fn distance(&self) -> String {
        format!("{} ms more", self.round_trip.as_millis())
    }

    fn best(&self, side: Side) -> Option<&Result> {
        let of_side = self.results.iter().filter(|result| result.side == side);
        of_side.min_by_key(|result| result.times.median())
    }

    fn standing(&self) -> String {
        let (Some(floor), Some(keyfob)) = (self.best(Side::Floor), self.best(Side::Keyfob)) else {
            return format!("| {} | not measured | |\n", self.title());
        };
        let (floor, keyfob) = (floor.times.median(), keyfob.times.median());
        let above = keyfob.saturating_sub(floor);
        let verdict = |met| if met { "met" } else { "missed" };
        let mut rows = format!(
            "| {}: above the floor | {} | {} (goal {}) |\n",
            self.title(),
            shown(above),
            verdict(above <= MOST_ABOVE_FLOOR),
            shown(MOST_ABOVE_FLOOR)
        );
        if let Some(peer) = self.best(Side::Peer) {
            let times = peer.times.median().as_secs_f64() / keyfob.as_secs_f64();
            let goal = self.goal.map_or(String::new(), |goal| {
                format!("{} (goal {goal} times)", verdict(times >= goal))
            });
            let title = self.title();
            let _ = writeln!(rows, "| {title}: faster than {} | {times:.1} times | {goal} |", peer.name);
        }
        rows
    }
}

/// The section of the page; `notes` are lines of a list.
pub(super) fn section(cells: &[Cell], notes: &[String]) -> String {
    let mut text = format!(
        "## Starting a process with {SECRETS} secrets from a server\n\n\
         Each contestant starts `/bin/true` with the same {SECRETS} values of 32 bytes, cold, in the way its own documentation \
         says; all go through the same proxy, which counts, and which adds the round-trip time (and once more for each new \
         connection). Rounds in which everyone runs once, in rotated order. Medians, 10th to 90th percentile; \
         connections / requests (`-` where TLS hides them); number of runs.\n"
    );
    for cells in cells.chunk_by(|one, other| one.server == other.server) {
        text.push('\n');
        text.push_str(&table(cells));
    }
    text.push_str("\n| keyfob | figure | |\n|---|---|---|\n");
    text.extend(cells.iter().map(Cell::standing));
    text.push('\n');
    for note in notes {
        let _ = writeln!(text, "- {note}");
    }
    text
}

/// Of one server at all distances.
fn table(cells: &[Cell]) -> String {
    let server = cells.first().map_or("", |cell| &cell.server);
    let mut text = format!("| {server}");
    for cell in cells {
        let _ = write!(text, " | {}", cell.distance());
    }
    text.push_str(" |\n|---");
    text.push_str(&"|---".repeat(cells.len()));
    text.push_str("|\n");
    let mut names: Vec<&str> = Vec::new();
    for result in cells.iter().flat_map(|cell| &cell.results) {
        if !names.contains(&result.name.as_str()) {
            names.push(&result.name);
        }
    }
    for name in names {
        let _ = write!(text, "| {name}");
        for cell in cells {
            let result = cell.results.iter().find(|result| result.name == name);
            let _ = write!(text, " | {}", result.map_or("-".to_owned(), figures));
        }
        text.push_str(" |\n");
    }
    text
}

fn figures(result: &Result) -> String {
    let (low, high) = result.times.spread();
    let failures = match result.failures {
        0 => String::new(),
        failures => format!(", {failures} more failed"),
    };
    let count = |number: Option<usize>| number.map_or("-".to_owned(), |number| number.to_string());
    format!(
        "{} ({} to {}); {} / {}; {}{failures}",
        shown(result.times.median()),
        shown_seconds(low),
        shown_seconds(high),
        count(result.connections),
        count(result.requests),
        result.times.count()
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn result(name: &str, side: Side, millis: u64) -> Result {
        Result {
            name: name.to_owned(),
            side,
            times: vec![Duration::from_millis(millis)].into(),
            connections: Some(1),
            requests: None,
            failures: 0,
        }
    }

    fn cell(keyfob: u64) -> Cell {
        Cell {
            server: "LocalStack".to_owned(),
            round_trip: Duration::from_millis(20),
            goal: Some(2.0),
            results: vec![
                result("floor, wide", Side::Floor, 60),
                result("floor, narrow", Side::Floor, 50),
                result("keyfob", Side::Keyfob, keyfob),
                result("slow", Side::Peer, 900),
                result("quick", Side::Peer, 120),
            ],
        }
    }

    #[test]
    fn the_lowest_floor_and_the_fastest_peer_decide() {
        let standing = cell(60).standing();
        assert!(
            standing.contains("above the floor | 10.00 ms | met (goal 15.00 ms)"),
            "{standing}"
        );
        assert!(
            standing.contains("faster than quick | 2.0 times | met (goal 2 times)"),
            "{standing}"
        );
        let standing = cell(66).standing();
        assert!(standing.contains("| missed (goal 15.00 ms)"), "{standing}");
        assert!(standing.contains("| missed (goal 2 times)"), "{standing}");
    }

    #[test]
    fn everyone_has_a_row_and_every_server_a_table() {
        let near = Cell {
            round_trip: Duration::ZERO,
            ..cell(60)
        };
        let mut far = cell(60);
        far.results.pop();
        let other = Cell {
            server: "OpenBao".to_owned(),
            ..cell(60)
        };
        let section = section(&[near, far, other], &["vals: no Go".to_owned()]);
        assert!(
            section.contains("\n\n| LocalStack | 0 ms more | 20 ms more |\n|---|---|---|\n"),
            "{section}"
        );
        assert!(section.contains("\n\n| OpenBao | 20 ms more |\n|---|---|\n"), "{section}");
        assert!(
            section.contains("| quick | 120 ms (120 ms to 120 ms); 1 / -; 1 | - |\n"),
            "{section}"
        );
        assert!(section.ends_with("\n- vals: no Go\n"), "{section}");
    }
}

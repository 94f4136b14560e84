//! What a run proved, as cells of the page *store × verb × capability*: see [`RunOptions::title`](crate::RunOptions::title).

use keyfob_core::{Capabilities, NameRule};

use crate::case::Need;
use crate::report::{CaseReport, Outcome};

/// What begins a line that [`tell`](crate::tell) keeps for the table. Behind it stand the store, the table, the row
/// and the cell, with tabs between them.
pub const TABLE_LINE: &str = "table: ";

/// The lines of one store, in the order of the rows.
pub(crate) fn lines(title: &str, cases: &[CaseReport], can: &Capabilities) -> Vec<String> {
    let mut rows: Vec<(String, Cell)> = Vec::new();
    for case in cases {
        let row = format!("{}\t{}", case.verb, capability(case.needs));
        let at = rows.iter().position(|(name, _)| *name == row).unwrap_or_else(|| {
            rows.push((row, Cell::default()));
            rows.len() - 1
        });
        if let Some((_, cell)) = rows.get_mut(at) {
            cell.add(&case.outcome);
        }
    }
    let proven = rows.into_iter().map(|(row, cell)| (row, cell.to_string()));
    let limits = limits(can).map(|(what, limit)| (format!("limits\t{what}"), limit));
    proven
        .chain(limits)
        .map(|(row, cell)| format!("{TABLE_LINE}{title}\t{row}\t{cell}"))
        .collect()
}

/// What the cases of a row are about. That something can be written, deleted or is there already is how most cases
/// begin, so it is said only where nothing else is.
fn capability(needs: &[Need]) -> String {
    let is_setup = |need: &Need| matches!(need, Need::Put | Need::Delete | Need::Seeds);
    let special: Vec<String> = needs.iter().filter(|need| !is_setup(need)).map(Need::to_string).collect();
    match (special.is_empty(), needs.first()) {
        (false, _) => special.join(", "),
        (true, Some(Need::Seeds)) => "what is there already".to_owned(),
        (true, Some(need)) => need.to_string(),
        (true, None) => "always".to_owned(),
    }
}

fn limits(can: &Capabilities) -> impl Iterator<Item = (&'static str, String)> {
    let number = |limit: usize| {
        if limit == usize::MAX {
            "none".to_owned()
        } else {
            limit.to_string()
        }
    };
    let names = match can.names {
        NameRule::Any => "any",
        NameRule::Portable => "portable",
        _ => "by rule",
    };
    [
        ("names", names.to_owned()),
        ("largest value, bytes", number(can.max_value_bytes)),
        ("tags", number(can.max_tags)),
    ]
    .into_iter()
}

#[derive(Default)]
struct Cell {
    passed: usize,
    ignored: usize,
    failed: usize,
}

impl Cell {
    fn add(&mut self, outcome: &Outcome) {
        match outcome {
            Outcome::Passed => self.passed += 1,
            Outcome::Ignored(_) => self.ignored += 1,
            Outcome::Failed(_) | Outcome::Deviates { .. } => self.failed += 1,
        }
    }
}

impl std::fmt::Display for Cell {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { passed, ignored, failed } = self;
        match (passed, ignored, failed) {
            (0, _, 0) => f.write_str("–"),
            (_, 0, 0) => f.write_str("yes"),
            _ => write!(f, "{passed} of {}", passed + ignored + failed),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::report::Failure;

    fn case(verb: &str, needs: &'static [Need], outcome: Outcome) -> CaseReport {
        CaseReport {
            name: format!("{verb}::case"),
            verb: verb.to_owned(),
            needs,
            outcome,
            duration: Duration::ZERO,
        }
    }

    #[test]
    fn cases_of_one_capability_are_one_row() {
        let no = || Outcome::Ignored("versions".to_owned());
        let cases = [
            case("get", &[], Outcome::Passed),
            case("get", &[Need::Put], Outcome::Passed),
            case("get", &[Need::Put, Need::Versions], no()),
            case("get", &[Need::Versions], no()),
            case("put", &[Need::Match], Outcome::Passed),
            case("put", &[Need::Match], Outcome::Failed(Failure::default())),
        ];
        let lines = lines("a store", &cases, &Capabilities::FULL);
        assert_eq!(
            &lines[..5],
            [
                "table: a store\tget\talways\tyes",
                "table: a store\tget\tput\tyes",
                "table: a store\tget\tversions\t–",
                "table: a store\tput\tput_match\t1 of 2",
                "table: a store\tlimits\tnames\tany",
            ]
        );
    }
}

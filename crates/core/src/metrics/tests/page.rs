//! The page about metrics has every metric, and no other.

use super::table::{ROWS, Row};
use ::metrics::Unit;

fn page() -> String {
    std::fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/src/metrics.md")).unwrap()
}

fn line(row: &Row) -> String {
    let unit = match row.unit {
        Unit::Count => "",
        unit => unit.as_str(),
    };
    let labels: Vec<String> = row.labels.iter().map(|label| format!("`{label}`")).collect();
    let kind = row.kind.to_lowercase();
    let cells = [&format!("`{}`", row.name), &kind, unit, &labels.join(", "), row.help];
    format!("| {} |", cells.join(" | "))
}

#[test]
fn the_page_has_every_metric_and_no_other() {
    let page = page();
    let kinds = ["| counter |", "| gauge |", "| histogram |"];
    let is_told = |line: &&str| line.starts_with('|') && kinds.iter().any(|kind| line.contains(kind));
    let told: Vec<&str> = page.lines().filter(is_told).collect();
    let rows: Vec<String> = ROWS.iter().map(line).collect();
    assert_eq!(told, rows);
}

#[test]
fn names_follow_the_rules_of_prometheus() {
    for Row { name, kind, unit, .. } in ROWS {
        assert_eq!(name.ends_with("_total"), *kind == "Counter", "{name}");
        assert_eq!(name.ends_with("_seconds"), *unit == Unit::Seconds, "{name}");
        assert_eq!(name.ends_with("_bytes"), *unit == Unit::Bytes, "{name}");
        let is_snake = name.chars().all(|c| c.is_ascii_lowercase() || c == '_');
        assert!(name.starts_with("keyfob_") && is_snake, "{name}");
    }
}

/// An alert that asks for a metric which does not exist never fires.
#[test]
fn every_metric_that_the_page_asks_for_exists() {
    let page = page();
    let mut asked = 0;
    for word in page.split(|c: char| !c.is_ascii_alphanumeric() && c != '_') {
        let name = ["_bucket", "_count", "_sum"]
            .iter()
            .find_map(|end| word.strip_suffix(end))
            .unwrap_or(word);
        if name.starts_with("keyfob_") && name != "keyfob_store" {
            asked += 1;
            assert!(ROWS.iter().any(|row| row.name == name), "`{word}`");
        }
    }
    assert!(asked > ROWS.len());
}

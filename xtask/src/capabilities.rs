//! The page of what stores can do: what the conformance suite proved of each in a run of all tests.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::fs;

use crate::process::{Failure, Result, root};

pub(crate) const PAGE: &str = "docs/src/stores/capabilities.md";

const HEAD: &str = "\
# What each store can do

`cargo xtask test` writes this page from what the conformance suite proved on the real servers of the test bed, the doubles of
Azure Key Vault and Google Cloud among them. A row is a verb and the capabilities that its cases need. *yes*: every
case that applies passed. *–*: the store lacks the capability and says so, and what needs it is refused before any request; or the
suite had nothing of this kind to look at. *2 of 3*: the other case needs something that the store lacks, or the store's test names it as
a known deviation of the server that it ran on. How long a name may be says each store's page: a prefix takes a part of it.
";

/// What came of comparing the page with the run.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Kept {
    Same,
    Written,
    /// Says where the page differs; it was not written.
    Stale(String),
}

/// Writes the page when it is not what the run proved; with `check`, only says so.
pub(crate) fn keep<'a>(cells: impl Iterator<Item = &'a str>, check: bool) -> Result<Kept> {
    let page = page(cells)?;
    let path = root().join(PAGE);
    let present = fs::read_to_string(&path).unwrap_or_default();
    if present == page {
        return Ok(Kept::Same);
    }
    if check {
        let same = present
            .lines()
            .zip(page.lines())
            .take_while(|(is, should)| is == should)
            .count();
        return Ok(Kept::Stale(format!(
            "`{PAGE}` is not what this run proved, from line {} on: `{}`; run `cargo xtask test` without `CI` and commit the page",
            same + 1,
            page.lines().nth(same).unwrap_or("the page ends")
        )));
    }
    fs::write(&path, page).map_err(Failure::io(format_args!("write `{PAGE}`")))?;
    Ok(Kept::Written)
}

/// The page. A cell is `STORE<tab>SECTION<tab>ROW<tab>TEXT`.
fn page<'a>(cells: impl Iterator<Item = &'a str>) -> Result<String> {
    let mut stores = BTreeSet::new();
    let mut sections: BTreeMap<&str, BTreeMap<&str, BTreeMap<&str, &str>>> = BTreeMap::new();
    for cell in cells {
        let parts: Vec<&str> = cell.split('\t').collect();
        let [store, section, row, text] = parts[..] else {
            return Err(Failure::failed(format!("a test told `{cell}`, which is no cell of `{PAGE}`")));
        };
        stores.insert(store);
        let row = sections.entry(section).or_default().entry(row).or_default();
        if let Some(other) = row.insert(store, text).filter(|other| *other != text) {
            return Err(Failure::failed(format!(
                "two runs of the conformance suite on `{store}` proved `{other}` and `{text}` for one cell of `{PAGE}`"
            )));
        }
    }
    if stores.is_empty() {
        return Err(Failure::failed("no conformance run told what it proved"));
    }
    let mut page = HEAD.to_owned();
    for (section, rows) in sections {
        let _ = write!(page, "\n## {section}\n\n| |");
        for store in &stores {
            let _ = write!(page, " {store} |");
        }
        page.push_str("\n|---|");
        page.push_str(&"---|".repeat(stores.len()));
        page.push('\n');
        for (row, texts) in rows {
            let _ = write!(page, "| {} |", row.replace('_', " "));
            for store in &stores {
                let _ = write!(page, " {} |", texts.get(store).unwrap_or(&""));
            }
            page.push('\n');
        }
    }
    Ok(page)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_store_is_a_column_and_a_verb_a_table() {
        let cells = [
            "a\tget\talways\tyes",
            "b\tget\talways\t1 of 2",
            "b\tput\tput_match\t–",
            "a\tget\talways\tyes",
        ];
        let page = page(cells.into_iter()).unwrap();
        let tables = page.strip_prefix(HEAD).unwrap();
        assert_eq!(
            tables,
            "\n## get\n\n| | a | b |\n|---|---|---|\n| always | yes | 1 of 2 |\n\
             \n## put\n\n| | a | b |\n|---|---|---|\n| put match |  | – |\n"
        );
    }

    #[test]
    fn what_contradicts_itself_or_is_nothing_is_a_failure() {
        for cells in [&["a\tget\talways\tyes", "a\tget\talways\t–"][..], &[], &["a"]] {
            assert!(page(cells.iter().copied()).is_err(), "{cells:?}");
        }
    }
}

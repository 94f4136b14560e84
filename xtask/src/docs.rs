//! `cargo xtask docs`: pages of docs/ that the command line writes itself, so that they can't be wrong.

use std::fs;
use std::path::Path;
use std::process::Command;

use crate::process::{Failure, Result, build_keyfob, output, root};

/// A page, and the arguments with which `keyfob` prints it.
const PAGES: [(&str, &[&str]); 2] = [
    ("docs/src/commands.md", &["generate-docs", "cli"]),
    ("docs/src/variables.md", &["generate-docs", "variables"]),
];

pub(crate) fn main(arguments: &[String]) -> Result {
    let check = match arguments {
        [] => false,
        [option] if option == "--check" => true,
        _ => return Err(Failure::Usage("`docs` takes only `--check`".to_owned())),
    };
    let binary = build_keyfob()?;
    let mut stale = Vec::new();
    for (page, arguments) in PAGES {
        let text = output(Command::new(&binary).args(arguments).env("NO_COLOR", "1"))?;
        if text.trim().is_empty() {
            return Err(Failure::failed(format!("`keyfob {}` printed nothing", arguments.join(" "))));
        }
        let path = root().join(page);
        if check {
            stale.extend(first_difference(&path, &text)?.map(|difference| format!("{page}: {difference}")));
        } else {
            let dir = path.parent().unwrap_or(root());
            fs::create_dir_all(dir).map_err(Failure::io(format_args!("make `{}`", dir.display())))?;
            fs::write(&path, text).map_err(Failure::io(format_args!("write `{page}`")))?;
            println!("docs: wrote {page}");
        }
    }
    if stale.is_empty() {
        println!("docs: {} generated pages", PAGES.len());
        Ok(())
    } else {
        Err(Failure::failed(format!(
            "{}\nhint: run `cargo xtask docs` and commit the result",
            stale.join("\n")
        )))
    }
}

fn first_difference(path: &Path, expected: &str) -> Result<Option<String>> {
    let found = match fs::read_to_string(path) {
        Ok(found) => found,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(Some("it does not exist".to_owned())),
        Err(error) => return Err(Failure::io(format_args!("read `{}`", path.display()))(error)),
    };
    if found == expected {
        return Ok(None);
    }
    let same = found
        .lines()
        .zip(expected.lines())
        .take_while(|(found, expected)| found == expected)
        .count();
    Ok(Some(format!("line {} is not what `keyfob` prints", same + 1)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_different_line_is_named() {
        let path = std::env::temp_dir().join(format!("keyfob-xtask-docs-{}.md", std::process::id()));
        assert!(first_difference(&path, "a\n").unwrap().unwrap().contains("does not exist"));
        fs::write(&path, "a\nb\n").unwrap();
        assert_eq!(first_difference(&path, "a\nb\n").unwrap(), None);
        assert!(first_difference(&path, "a\nc\n").unwrap().unwrap().starts_with("line 2 "));
        assert!(first_difference(&path, "a\nb\nc\n").unwrap().unwrap().starts_with("line 3 "));
        fs::remove_file(&path).unwrap();
    }
}

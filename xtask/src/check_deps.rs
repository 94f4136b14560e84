//! `cargo xtask check-deps`: what must not be built.
//!
//! Asked of `cargo tree` and not of Cargo.lock, which also has what only features that nobody turns on would bring.
//!
//! `deny.toml` says the same to cargo-deny, which also knows licences and advisories. This check needs nothing
//! installed, and so it can't be forgotten.

use std::collections::{BTreeMap, BTreeSet};

use crate::process::{Failure, Result, cargo, output};

/// A TLS stack beside rustls with aws-lc.
const BANNED: [&str; 6] = ["boring", "boring-sys", "native-tls", "openssl", "openssl-sys", "ring"];

/// Two versions of these are two stacks in one binary.
const ONE_VERSION: [&str; 12] = [
    "aws-lc-rs",
    "h2",
    "http",
    "http-body",
    "hyper",
    "hyper-rustls",
    "hyper-util",
    "quinn",
    "reqwest",
    "rustls",
    "tokio",
    "tokio-rustls",
];

/// What a user builds: the command and the facade with every feature.
const MOST_SHIPPED: usize = 420;
/// With what tests, examples and measurements bring besides. Of these, 14 are criterion's, for measurements beside peers, and 13
/// those of the exporters in the examples: whoever has a Prometheus endpoint or OpenTelemetry builds them without us.
const MOST_PACKAGES: usize = 465;

pub(crate) fn main() -> Result {
    let shipped = tree(
        &["--package", "keyfob-cli", "--package", "keyfob", "--all-features"],
        "normal,build",
    )?;
    let shipped = packages(&shipped);
    let all = tree(&["--workspace"], "normal,build,dev")?;
    let all = packages(&all);
    let mut problems = problems(&all);
    problems.extend(too_many(&shipped, MOST_SHIPPED, "that users build"));
    if problems.is_empty() {
        println!(
            "check-deps: {} packages that users build, {} with tests and examples, one TLS stack, one HTTP stack",
            shipped.len(),
            all.len()
        );
        return Ok(());
    }
    for problem in &problems {
        println!("check-deps: {problem}");
    }
    Err(Failure::failed(
        "the build has what must not be there; `cargo tree --target all -i PACKAGE` shows who brings it",
    ))
}

/// For every target, so that the count does not depend on where it is made.
fn tree(what: &[&str], edges: &str) -> Result<String> {
    let line = ["tree", "--locked", "--target", "all", "--prefix", "none", "--edges", edges];
    output(cargo(line).args(what))
}

fn too_many(packages: &BTreeSet<(&str, &str)>, most: usize, which: &str) -> Option<String> {
    (packages.len() > most).then(|| format!("{} packages {which}, the limit is {most}", packages.len()))
}

fn problems(packages: &BTreeSet<(&str, &str)>) -> Vec<String> {
    let mut versions: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
    for (name, version) in packages {
        versions.entry(name).or_default().push(version);
    }
    let mut problems = Vec::new();
    if packages.is_empty() {
        problems.push("there are no packages: did `cargo tree` change its words?".to_owned());
    }
    problems.extend(too_many(packages, MOST_PACKAGES, "in the workspace"));
    for name in BANNED {
        if let Some(found) = versions.get(name) {
            problems.push(format!("`{name}` {} is a second TLS stack", found.join(", ")));
        }
    }
    for name in ONE_VERSION {
        if let Some(found) = versions.get(name).filter(|found| found.len() > 1) {
            problems.push(format!("`{name}` is there in {} versions: {}", found.len(), found.join(", ")));
        }
    }
    problems
}

/// The names and versions in the lines of a tree, such as `syn v2.0.0 (proc-macro)`, each once.
fn packages(tree: &str) -> BTreeSet<(&str, &str)> {
    tree.lines()
        .filter_map(|line| {
            let (name, rest) = line.split_once(" v")?;
            Some((name, rest.split(' ').next()?))
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tree(packages: &[(&str, &str)]) -> String {
        packages
            .iter()
            .map(|(name, version)| format!("{name} v{version} (*)\n"))
            .collect()
    }

    fn problems_of(in_the_tree: &[(&str, &str)]) -> Vec<String> {
        problems(&packages(&tree(in_the_tree)))
    }

    #[test]
    fn one_stack_of_each_kind_is_fine() {
        let tree = tree(&[("hyper", "1.6.0"), ("rustls", "0.23.0"), ("syn", "1.0.0"), ("syn", "2.0.0")]);
        assert_eq!(packages(&tree).len(), 4);
        assert_eq!(problems(&packages(&tree)), Vec::<String>::new());
    }

    #[test]
    fn a_second_tls_stack_is_found() {
        assert_eq!(problems_of(&[("ring", "0.17.14")]), ["`ring` 0.17.14 is a second TLS stack"]);
        for name in BANNED {
            assert_eq!(problems_of(&[("rustls", "0.23.0"), (name, "1.0.0")]).len(), 1, "{name}");
        }
        assert!(problems_of(&[("ring-compat", "1.0.0"), ("openssl-probe", "0.1.0")]).is_empty());
    }

    #[test]
    fn two_versions_of_an_http_stack_are_found() {
        assert_eq!(
            problems_of(&[("hyper", "0.14.30"), ("hyper", "1.6.0")]),
            ["`hyper` is there in 2 versions: 0.14.30, 1.6.0"]
        );
    }

    #[test]
    fn too_many_packages_are_found() {
        let names: Vec<String> = (0..=MOST_PACKAGES).map(|index| format!("package-{index}")).collect();
        let packages: BTreeSet<(&str, &str)> = names.iter().map(|name| (name.as_str(), "1.0.0")).collect();
        assert_eq!(problems(&packages), ["466 packages in the workspace, the limit is 465"]);
    }

    #[test]
    fn no_packages_are_a_problem() {
        assert_eq!(problems(&BTreeSet::new()).len(), 1);
    }
}

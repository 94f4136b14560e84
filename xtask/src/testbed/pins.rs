//! `xtask/testbed/versions.txt`: which version of what the test bed consists of.

use crate::process::{Failure, Result};
use crate::python::Version;

const VERSIONS: &str = include_str!("../../testbed/versions.txt");

/// What the file says about one server.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Pins {
    pub(super) python: Version,
    /// Requirements as pip reads them, the server itself first.
    pub(super) requirements: Vec<&'static str>,
    /// The Go module that the server is built of, or that has the files, and its version.
    module: Option<(&'static str, &'static str)>,
    /// The sum of the module's content.
    sum: Option<&'static str>,
    pub(super) images: Vec<&'static str>,
}

impl Pins {
    /// The section `name`.
    pub(super) fn of(name: &str) -> Result<Self> {
        Self::parse(VERSIONS, name)
    }

    /// The version of the server itself.
    pub(super) fn version(&self) -> Result<&'static str> {
        let first = self.requirements.first().and_then(|first| first.split_once("=="));
        let module = self.module.map(|(_, version)| version);
        module.or(first.map(|(_, version)| version)).ok_or_else(without_server)
    }

    /// The module as Go's commands take it, and the sum of its content.
    pub(super) fn module(&self) -> Result<(String, &'static str)> {
        let module = self.module.map(|(path, version)| format!("{path}@v{version}"));
        module.zip(self.sum).ok_or_else(without_server)
    }

    /// The first requirement.
    pub(super) fn requirement(&self) -> Result<&'static str> {
        self.requirements.first().copied().ok_or_else(without_server)
    }

    /// The requirements as the text of a file.
    pub(super) fn requirements_file(&self) -> String {
        self.requirements.iter().map(|line| format!("{line}\n")).collect()
    }

    fn parse(text: &'static str, name: &str) -> Result<Self> {
        let mut pins = Self::default();
        let mut inside = false;
        let mut found = false;
        for line in text.lines().map(str::trim) {
            if line.is_empty() || line.starts_with('#') {
                continue;
            }
            if let Some(section) = line.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')) {
                inside = section == name;
                found |= inside;
            } else if inside {
                pins.line(line)
                    .ok_or_else(|| Failure::failed(format!("`xtask/testbed/versions.txt` can't be read at `{line}`")))?;
            }
        }
        if found {
            Ok(pins)
        } else {
            Err(Failure::failed(format!(
                "`xtask/testbed/versions.txt` has no section `{name}`"
            )))
        }
    }

    fn line(&mut self, line: &'static str) -> Option<()> {
        match line.split_once(' ')? {
            ("python", version) => {
                let (major, minor) = version.split_once('.')?;
                self.python = (major.parse().ok()?, minor.parse().ok()?);
            }
            ("pip", requirement) => {
                let (_, version) = requirement.split_once("==")?;
                is_exact(version).then(|| self.requirements.push(requirement))?;
            }
            ("module", module) => {
                let (path, version) = module.rsplit_once("@v")?;
                is_exact(version).then(|| self.module = Some((path, version)))?;
            }
            ("sum", sum) => {
                sum.strip_prefix("h1:").filter(|sum| sum.ends_with('='))?;
                self.sum = Some(sum);
            }
            ("image", image) => {
                let (_, tag) = image.rsplit_once(':')?;
                let version = tag.strip_prefix('v').unwrap_or(tag);
                let version = version.split_once('-').map_or(version, |(version, _)| version);
                is_exact(version).then(|| self.images.push(image))?;
            }
            _ => return None,
        }
        Some(())
    }
}

fn without_server() -> Failure {
    Failure::failed("`xtask/testbed/versions.txt` has a section without a server")
}

fn is_exact(version: &str) -> bool {
    version.contains('.') && version.bytes().all(|byte| byte.is_ascii_digit() || byte == b'.')
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;
    use std::fs;

    use super::*;
    use crate::process::root;
    use crate::testbed::table::SERVERS;

    #[test]
    fn a_section_is_read() {
        let pins = Pins::parse(
            "# x\n[a]\npython 3.12\n\npip a[b]==1.2\npip c==3.0\n[b]\nimage d/e:5.6\n",
            "a",
        )
        .unwrap();
        assert_eq!(pins.python, (3, 12));
        assert_eq!(pins.version().unwrap(), "1.2");
        assert_eq!(pins.requirements_file(), "a[b]==1.2\nc==3.0\n");
        assert!(pins.images.is_empty());
    }

    #[test]
    fn a_server_that_is_built_of_a_module_has_the_version_of_the_module() {
        let pins = Pins::parse("[a]\nmodule a.b/c@v1.2.3\npip go==4.5\n", "a").unwrap();
        assert_eq!(pins.version().unwrap(), "1.2.3");
        assert_eq!(pins.requirement().unwrap(), "go==4.5");
        assert!(pins.module().is_err());
        let pins = Pins::parse("[a]\nmodule a.b/c@v1.2.3\nsum h1:abc=\n", "a").unwrap();
        assert_eq!(pins.module().unwrap(), ("a.b/c@v1.2.3".to_owned(), "h1:abc="));
    }

    #[test]
    fn what_is_not_exact_is_refused() {
        for line in [
            "pip a>=1.2",
            "pip a",
            "pip a==1.*",
            "image a",
            "image a:latest",
            "image a:v1",
            "image a:latest-1.2",
            "module a.b/c",
            "module a.b/c@1.2",
            "module a.b/c@latest",
            "sum h1:",
            "sum sha256:abc=",
            "python 3",
            "npm a==1.2",
        ] {
            let text = format!("[a]\n{line}").leak();
            assert!(Pins::parse(text, "a").is_err(), "{line}");
        }
        assert!(Pins::parse("[a]", "b").is_err());
    }

    #[test]
    fn docker_compose_uses_exactly_these_images_each_with_a_health_check_and_only_this_machine_can_reach_them() {
        let compose = fs::read_to_string(root().join("docker-compose.yml")).unwrap();
        let mut services: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
        let mut service = "";
        for line in compose.lines().skip_while(|line| *line != "services:").skip(1) {
            let named = line.strip_prefix("  ").and_then(|rest| rest.strip_suffix(':'));
            match named.filter(|name| !name.starts_with([' ', '#'])) {
                Some(name) => service = name,
                None => services.entry(service).or_default().push(line.trim()),
            }
        }
        let mut images = Vec::new();
        for (name, lines) in &services {
            images.extend(lines.iter().filter_map(|line| line.strip_prefix("image: ")));
            assert!(lines.contains(&"healthcheck:"), "`{name}` has no health check");
            for port in lines.iter().filter_map(|line| line.strip_prefix("- \"")) {
                assert!(port.starts_with("127.0.0.1:"), "`{name}` opens `{port}` to everybody");
            }
        }
        assert_eq!(images.len(), services.len());
        let mut pinned = Pins::of("docker-compose").unwrap().images;
        pinned.sort_unstable();
        images.sort_unstable();
        assert_eq!(images, pinned);
    }

    #[test]
    fn docker_compose_has_the_kubernetes_that_is_built_without_it() {
        let version = Pins::of("kubernetes").unwrap().version().unwrap();
        let images = Pins::of("docker-compose").unwrap().images;
        let tag = images.iter().find_map(|image| image.strip_prefix("rancher/k3s:v")).unwrap();
        assert_eq!(tag.split_once('-').unwrap().0, version);
    }

    #[test]
    fn docker_compose_says_only_variables_that_the_tests_read() {
        let compose = fs::read_to_string(root().join("docker-compose.yml")).unwrap();
        let said = compose.lines().filter_map(|line| line.strip_prefix("#   export "));
        let said: Vec<_> = said.filter_map(|line| Some(line.split_once('=')?.0)).collect();
        let known: Vec<_> = SERVERS.iter().flat_map(|server| server.variables()).copied().collect();
        assert!(said.len() >= 4, "{said:?}");
        for variable in said {
            assert!(known.contains(&variable), "`{variable}`");
        }
    }
}

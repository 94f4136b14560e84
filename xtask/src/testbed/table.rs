//! The table of servers, and who needs which.

use std::path::{Path, PathBuf};
use std::process::Command;

use super::doubles::Double;
use super::drongo::Drongo;
use super::identity::Signal;
use super::kubernetes::Kubernetes;
use super::localstack::LocalStack;
use super::moto::Moto;
use super::openbao::OpenBao;
use super::postgres::PostgreSql;
use super::redis::Redis;
use super::state::Record;
use crate::process::Result;

/// Every server, in the order in which they are shown. To add one: a file beside this one, and a row here.
pub(super) const SERVERS: &[&dyn Server] = &[
    &LocalStack,
    &Moto,
    &OpenBao::Plain,
    &OpenBao::Tls,
    &PostgreSql::Plain,
    &PostgreSql::Tls,
    &Redis,
    &Kubernetes,
    &Drongo,
    &Double::Gcp,
    &Double::Azure,
];

/// Which servers the tests of a package speak to. A package that is not in the list needs none.
const NEEDS: &[(&str, Needs)] = &[
    ("keyfob-aws", Needs::These(&["localstack", "moto"])),
    ("keyfob-azure", Needs::These(&["azure-double"])),
    ("keyfob-gcp", Needs::These(&["drongo", "gcp-double"])),
    ("keyfob-kubernetes", Needs::These(&["kubernetes"])),
    ("keyfob-redis", Needs::These(&["redis"])),
    ("keyfob-sql", Needs::These(&["postgres", "postgres-tls"])),
    ("keyfob-vault", Needs::These(&["openbao", "openbao-tls", "postgres"])),
    ("keyfob-cli", Needs::All),
    ("keyfob-integration-tests", Needs::All),
    ("keyfob-examples", Needs::All),
];

enum Needs {
    All,
    These(&'static [&'static str]),
}

/// The servers that the tests of `packages` need; without packages, all.
pub(super) fn needed(packages: &[String]) -> Vec<&'static dyn Server> {
    let needs = |server: &dyn Server| {
        NEEDS.iter().any(|(package, needs)| {
            packages.iter().any(|wanted| wanted == package)
                && match needs {
                    Needs::All => true,
                    Needs::These(names) => names.contains(&server.name()),
                }
        })
    };
    let servers = SERVERS.iter().copied();
    servers.filter(|server| packages.is_empty() || needs(*server)).collect()
}

/// A server that can be started here.
pub(super) trait Server: Sync {
    fn name(&self) -> &'static str;

    /// What the tests read. The first is the address; who has set it has a server of their own.
    fn variables(&self) -> &'static [&'static str];

    /// The version that must run, when this repository decides it.
    fn pinned(&self) -> Result<Option<&'static str>>;

    /// Finds the program, or installs it in the cache.
    fn install(&self) -> Result<Program>;

    /// How to start it so that it listens at `port` of 127.0.0.1 and keeps its files in `scratch`, an empty directory.
    fn launch(&self, program: &Program, scratch: &Path, port: u16) -> Result<Launch>;

    /// Whether it is still the one that `install` gives now. One that is installed by its version is.
    fn is_current(&self, _record: &Record) -> Result<bool> {
        Ok(true)
    }

    /// Asks it something that only a server that is ready knows.
    fn answers(&self, record: &Record) -> Result;
}

pub(super) struct Program {
    pub(super) path: PathBuf,
    pub(super) version: String,
}

pub(super) struct Launch {
    /// Its environment is what [`clean_environment`] gives, and more.
    pub(super) command: Command,
    /// The signal that ends it.
    pub(super) stop: Signal,
    /// A value for each of the server's variables.
    pub(super) variables: Vec<(&'static str, String)>,
    /// What must not be shown, not even out of its log.
    pub(super) secrets: Vec<String>,
    /// A directory outside the scratch directory, to remove with it.
    pub(super) outside: Option<PathBuf>,
}

/// Nothing of the caller's settings reaches the server `command`: its home is `home`.
pub(super) fn clean_environment(command: &mut Command, home: &Path) {
    command.env_clear();
    if let Some(path) = std::env::var_os("PATH") {
        command.env("PATH", path);
    }
    command.env("HOME", home).env("TMPDIR", home).env("LANG", "C.UTF-8");
    command.current_dir(home);
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    fn names(packages: &[&str]) -> Vec<&'static str> {
        let packages: Vec<_> = packages.iter().map(|package| (*package).to_owned()).collect();
        needed(&packages).iter().map(|server| server.name()).collect()
    }

    #[test]
    fn only_packages_that_need_servers_get_them() {
        assert_eq!(names(&["keyfob-core", "keyfob-env"]), [""; 0]);
        assert_eq!(names(&["keyfob-aws"]), ["localstack", "moto"]);
        assert_eq!(
            names(&["keyfob-gcp", "keyfob-azure"]),
            ["drongo", "gcp-double", "azure-double"]
        );
        assert_eq!(
            names(&["keyfob-vault", "keyfob-core"]),
            ["openbao", "openbao-tls", "postgres"]
        );
        assert_eq!(names(&["keyfob-aws", "keyfob-cli"]).len(), SERVERS.len());
        assert_eq!(names(&[]).len(), SERVERS.len());
    }

    #[test]
    fn names_and_variables_are_unique_and_the_needs_name_real_servers() {
        let known: BTreeSet<_> = SERVERS.iter().map(|server| server.name()).collect();
        assert_eq!(known.len(), SERVERS.len());
        let variables: Vec<_> = SERVERS.iter().flat_map(|server| server.variables()).collect();
        assert_eq!(variables.iter().collect::<BTreeSet<_>>().len(), variables.len());
        assert!(variables.iter().all(|variable| variable.starts_with("KEYFOB_TEST_")));
        for (package, needs) in NEEDS {
            if let Needs::These(names) = needs {
                assert!(names.iter().all(|name| known.contains(name)), "{package}");
            }
        }
    }
}

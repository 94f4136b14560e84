//! The project's own strict doubles of services that can't run here, built from `doubles`.

use std::fs;
use std::net::{Ipv4Addr, TcpListener};
use std::path::{Path, PathBuf};
use std::process::Command;

use super::http;
use super::identity::Signal;
use super::random;
use super::state::Record;
use super::table::{Launch, Program, Server, clean_environment};
use crate::cache;
use crate::process::{Failure, Result, build, root};

const GCP_URL: &str = "KEYFOB_TEST_GCP_DOUBLE_URL";
/// The file that says all the rest: tokens, and credentials in files.
const GCP_FILE: &str = "KEYFOB_TEST_GCP_DOUBLE";

const AZURE_URL: &str = "KEYFOB_TEST_AZURE_URL";
const AZURE_CA: &str = "KEYFOB_TEST_AZURE_CA";
const AZURE_AUTHORITY: &str = "KEYFOB_TEST_AZURE_AUTHORITY";
const AZURE_TENANT_ID: &str = "KEYFOB_TEST_AZURE_TENANT_ID";
const AZURE_CLIENT_ID: &str = "KEYFOB_TEST_AZURE_CLIENT_ID";
const AZURE_CLIENT_SECRET: &str = "KEYFOB_TEST_AZURE_CLIENT_SECRET";
/// The file that says all the rest: principals, managed identities, the address for faults.
const AZURE_FILE: &str = "KEYFOB_TEST_AZURE_DOUBLE";

pub(super) enum Double {
    Gcp,
    Azure,
}

impl Server for Double {
    fn name(&self) -> &'static str {
        match self {
            Self::Gcp => "gcp-double",
            Self::Azure => "azure-double",
        }
    }

    fn variables(&self) -> &'static [&'static str] {
        match self {
            Self::Gcp => &[GCP_URL, GCP_FILE],
            Self::Azure => &[
                AZURE_URL,
                AZURE_CA,
                AZURE_AUTHORITY,
                AZURE_TENANT_ID,
                AZURE_CLIENT_ID,
                AZURE_CLIENT_SECRET,
                AZURE_FILE,
            ],
        }
    }

    /// It is of this checkout, see `is_current`.
    fn pinned(&self) -> Result<Option<&'static str>> {
        Ok(None)
    }

    fn install(&self) -> Result<Program> {
        // Before it is built: what is changed meanwhile is not in it.
        let version = version()?;
        Ok(Program {
            path: build("keyfob-double")?,
            version,
        })
    }

    fn launch(&self, program: &Program, scratch: &Path, port: u16) -> Result<Launch> {
        let directory = scratch.join("double");
        super::state::make_private(&directory)?;
        let file = |name: &str| directory.join(name).display().to_string();
        let mut command = Command::new(&program.path);
        clean_environment(&mut command, scratch);
        let (variables, secrets) = match self {
            Self::Gcp => {
                // Clients without credentials are what a local server is for.
                command.args(["gcp", "--anonymous"]);
                let variables = vec![(GCP_URL, format!("http://127.0.0.1:{port}")), (GCP_FILE, file("double.json"))];
                (variables, Vec::new())
            }
            Self::Azure => {
                let login = free_port()?;
                let (tenant, client, secret) = (uuid()?, uuid()?, random()?);
                command.args(["azure", "--login-port", &login.to_string()]);
                command.args(["--tenant-id", &tenant, "--client-id", &client]);
                // Others on this machine can see it, and reach nothing with it but this server.
                command.args(["--client-secret", &secret]);
                // Later than a request that follows at once, and not so late that a thousand deletions take minutes.
                command.args(["--settle-ms", "50"]);
                let variables = vec![
                    (AZURE_URL, format!("https://127.0.0.1:{port}")),
                    (AZURE_CA, file("ca.pem")),
                    (AZURE_AUTHORITY, format!("https://127.0.0.1:{login}")),
                    (AZURE_TENANT_ID, tenant),
                    (AZURE_CLIENT_ID, client),
                    (AZURE_CLIENT_SECRET, secret.clone()),
                    (AZURE_FILE, file("double.json")),
                ];
                (variables, vec![secret])
            }
        };
        command.args(["--port", &port.to_string(), "--directory"]).arg(&directory);
        Ok(Launch {
            command,
            stop: Signal::Terminate,
            variables,
            secrets,
            outside: None,
        })
    }

    fn is_current(&self, record: &Record) -> Result<bool> {
        Ok(record.version == version()?)
    }

    fn answers(&self, record: &Record) -> Result {
        match self {
            Self::Gcp => http::get(record.variable(GCP_URL)?, "/_double").map(drop),
            Self::Azure => {
                let ca = Path::new(record.variable(AZURE_CA)?);
                // Anybody may ask it that, so the token does not matter.
                let path = "/common/discovery/instance";
                http::get_tls(record.variable(AZURE_AUTHORITY)?, path, ca, "none").map(drop)
            }
        }
    }
}

/// A name for the sources, another one with each change of them.
fn version() -> Result<String> {
    let mut files = Vec::new();
    let mut directories = vec![root().join("doubles/src")];
    while let Some(directory) = directories.pop() {
        let listing = format!("list `{}`", directory.display());
        for entry in fs::read_dir(&directory).map_err(Failure::io(&listing))? {
            let path = entry.map_err(Failure::io(&listing))?.path();
            if path.is_dir() {
                directories.push(path);
            } else {
                files.push(path);
            }
        }
    }
    files.sort();
    files.push(root().join("doubles/Cargo.toml"));
    let content: Result<Vec<(PathBuf, Vec<u8>)>> = files
        .into_iter()
        .map(|path| {
            let content = fs::read(&path).map_err(Failure::io(format_args!("read `{}`", path.display())))?;
            Ok((path, content))
        })
        .collect();
    Ok(cache::key(&content?))
}

/// A port that is free now. Should a stranger take it before the double does, other ports are tried.
fn free_port() -> Result<u16> {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).map_err(Failure::io("find a free port"))?;
    let address = listener.local_addr().map_err(Failure::io("find a free port"))?;
    Ok(address.port())
}

/// 128 random bits in the form that Azure's identifiers have.
fn uuid() -> Result<String> {
    let digits = random()?;
    let parts = [0..8, 8..12, 12..16, 16..20, 20..32].map(|range| &digits[range]);
    Ok(parts.join("-"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testbed::identity::Process;

    #[test]
    fn identifiers_have_the_form_of_azures() {
        let lengths: Vec<usize> = uuid().unwrap().split('-').map(str::len).collect();
        assert_eq!(lengths, [8, 4, 4, 4, 12]);
    }

    #[test]
    fn a_double_of_other_sources_is_not_current() {
        let record = |version: String| Record {
            server: "gcp-double".to_owned(),
            process: Process {
                pid: 1,
                started: String::new(),
            },
            stop: Signal::Terminate,
            version,
            program: PathBuf::new(),
            outside: None,
            variables: Vec::new(),
        };
        assert!(Double::Gcp.is_current(&record(version().unwrap())).unwrap());
        assert!(!Double::Gcp.is_current(&record("0".repeat(16))).unwrap());
    }
}

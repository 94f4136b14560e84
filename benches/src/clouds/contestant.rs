//! Who is measured, and how each is told where the secrets are: the way its own documentation says.

mod fnox;
mod keyfob;
mod secretspec;
mod vals;
mod varlock;

use std::env;
use std::ffi::OsString;
use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use super::secrets::{SECRETS, lower_case, variable};
use super::service::{Place, Service};
use super::way::Way;
use crate::{Outcome, start};

/// What `cargo xtask bench` found: a line `NAME VERSION = PATH` or `NAME VERSION ! REASON` for each peer.
const PEERS: &str = "KEYFOB_BENCH_PEERS";

/// Why no peer takes part.
const OWN_FORMAT: &str = "the rows are encrypted by keyfob, and nobody else reads them";

#[derive(Clone, Copy, PartialEq, Eq)]
enum Program {
    Keyfob,
    SecretSpec,
    Vals,
    Fnox,
    Varlock,
}

pub(super) struct Contestant {
    program: Program,
    pub(super) name: String,
    /// Its binary; varlock's is the directory with its `node_modules`.
    path: PathBuf,
}

pub(super) struct Contestants {
    pub(super) present: Vec<Contestant>,
    /// Name and reason.
    pub(super) absent: Vec<(String, String)>,
}

/// keyfob and the peers that are there, and the others with the reason why they are not.
pub(super) fn all() -> Outcome<Contestants> {
    let mut contestants = vec![Contestant {
        program: Program::Keyfob,
        name: format!("keyfob {}", env!("CARGO_PKG_VERSION")),
        path: start::keyfob()?,
    }];
    let mut missing = Vec::new();
    for line in env::var(PEERS).unwrap_or_default().lines() {
        let malformed = || format!("`{PEERS}` can't be understood at `{line}`");
        let mut words = line.splitn(4, ' ');
        let (Some(name), Some(version), Some(mark), Some(rest)) = (words.next(), words.next(), words.next(), words.next()) else {
            return Err(malformed().into());
        };
        let program = match name {
            "secretspec" => Program::SecretSpec,
            "vals" => Program::Vals,
            "fnox" => Program::Fnox,
            "varlock" => Program::Varlock,
            _ => return Err(malformed().into()),
        };
        let name = format!("{name} {version}");
        match mark {
            "=" => contestants.push(Contestant {
                program,
                name,
                path: rest.into(),
            }),
            "!" => missing.push((name, rest.to_owned())),
            _ => return Err(malformed().into()),
        }
    }
    Ok(Contestants {
        present: contestants,
        absent: missing,
    })
}

/// A contestant with its configuration in place.
pub(super) struct Ready<'a> {
    contestant: &'a Contestant,
    /// Its home and working directory.
    home: PathBuf,
    arguments: Vec<OsString>,
    variables: Vec<(&'static str, String)>,
}

impl Contestant {
    pub(super) fn is_keyfob(&self) -> bool {
        self.program == Program::Keyfob
    }

    /// Writes in `home`, which is made, what it needs to start a process with the secrets of `service`. The error of one that
    /// can't get them from there says why not.
    pub(super) fn prepare(&self, service: &Service, way: &Way, home: &Path) -> Outcome<Ready<'_>> {
        fs::create_dir_all(home)?;
        let mut ready = Ready {
            contestant: self,
            home: home.to_owned(),
            arguments: Vec::new(),
            variables: Vec::new(),
        };
        ready.common(service, way)?;
        match self.program {
            Program::Keyfob => ready.keyfob(service, way)?,
            Program::SecretSpec => ready.secretspec(service, way)?,
            Program::Vals => ready.vals(service)?,
            Program::Fnox => ready.fnox(service)?,
            Program::Varlock => ready.varlock(service, way)?,
        }
        Ok(ready)
    }
}

impl Ready<'_> {
    /// Starts `child` with the secrets, in a process of its own that inherits nothing.
    pub(super) fn command(&self, child: &[&str]) -> Command {
        let mut command = match self.contestant.program {
            Program::Varlock => {
                let modules = self.contestant.path.join("node_modules");
                let mut command = Command::new(modules.join("node/bin/node"));
                command.arg(modules.join("varlock/bin/cli.js"));
                command
            }
            _ => Command::new(&self.contestant.path),
        };
        command
            .args(&self.arguments)
            .args(child)
            .current_dir(&self.home)
            .env_clear()
            .env("HOME", &self.home)
            .envs(self.variables.iter().map(|(name, value)| (name, value)));
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped());
        command
    }

    /// The clients' own variables, the same for everyone.
    fn common(&mut self, service: &Service, way: &Way) -> Outcome {
        let shown = |path: &Path| path.to_string_lossy().into_owned();
        match &service.place {
            Place::OpenBao(place) => {
                self.set("BAO_ADDR", &way.url);
                self.set("BAO_TOKEN", &place.token);
                self.set("VAULT_ADDR", &way.url);
                self.set("VAULT_TOKEN", &place.token);
            }
            Place::LocalStack(_) => {
                self.set("AWS_ACCESS_KEY_ID", "test");
                self.set("AWS_EC2_METADATA_DISABLED", "true");
                self.set("AWS_ENDPOINT_URL", &way.url);
                self.set("AWS_REGION", "us-east-1");
                self.set("AWS_SECRET_ACCESS_KEY", "test");
            }
            Place::SecretManager(place) => self.set("GOOGLE_APPLICATION_CREDENTIALS", shown(&place.key)),
            Place::KeyVault(place) => {
                self.set("AZURE_TENANT_ID", &place.tenant);
                self.set("AZURE_CLIENT_ID", &place.client);
                self.set("AZURE_CLIENT_SECRET", &place.client_secret);
            }
            Place::Kubernetes(place) => {
                let file = self.home.join("kubeconfig");
                way.kubeconfig(&place.kubeconfig, &place.url, &file)?;
                self.set("KUBECONFIG", shown(&file));
            }
            Place::Postgres(_) => {}
        }
        if let (Some(ca), Some(tunnel)) = (&way.ca, &way.tunnel) {
            self.set("SSL_CERT_FILE", shown(ca));
            self.set("HTTPS_PROXY", tunnel);
        }
        Ok(())
    }

    fn set(&mut self, name: &'static str, value: impl Into<String>) {
        self.variables.push((name, value.into()));
    }

    fn write(&self, file: &str, text: &str) -> Outcome {
        Ok(fs::write(self.home.join(file), text)?)
    }

    fn arguments(&mut self, arguments: &[&str]) {
        self.arguments = arguments.iter().map(OsString::from).collect();
    }
}

/// What the service calls a secret, behind what stands in front of all.
fn name_of(service: &Service, index: usize) -> String {
    match &service.place {
        Place::KeyVault(_) => lower_case(index),
        Place::Kubernetes(place) if place.shape == super::service::Shape::Objects => lower_case(index),
        _ => variable(index),
    }
}

/// A line for each secret, from its variable and what the service calls it.
fn lines(service: &Service, line: impl Fn(&str, &str) -> String) -> String {
    (0..SECRETS).fold(String::new(), |mut text, index| {
        let _ = writeln!(text, "{}", line(&variable(index), &name_of(service, index)));
        text
    })
}

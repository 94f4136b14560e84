//! LocalStack: AWS Secrets Manager, STS and KMS.

use std::path::Path;
use std::process::Command;

use super::http;
use super::identity::Signal;
use super::pins::Pins;
use super::state::Record;
use super::table::{Launch, Program, Server, clean_environment};
use crate::process::{Failure, Result};
use crate::python;

const URL: &str = "KEYFOB_TEST_LOCALSTACK_URL";
const SERVICES: [&str; 3] = ["secretsmanager", "sts", "kms"];

/// What `python -m localstack.runtime.main` does, but that it listens on 127.0.0.1 only: of `GATEWAY_LISTEN` its server
/// heeds no more than the port.
const MAIN: &str = "
import functools, runpy
from twisted.internet import endpoints
endpoints.TCP4ServerEndpoint = functools.partial(endpoints.TCP4ServerEndpoint, interface='127.0.0.1')
runpy.run_module('localstack.runtime.main', run_name='__main__')
";

pub(super) struct LocalStack;

impl Server for LocalStack {
    fn name(&self) -> &'static str {
        "localstack"
    }

    fn variables(&self) -> &'static [&'static str] {
        &[URL]
    }

    fn pinned(&self) -> Result<Option<&'static str>> {
        Pins::of("localstack")?.version().map(Some)
    }

    fn install(&self) -> Result<Program> {
        let pins = Pins::of("localstack")?;
        Ok(Program {
            path: python::environment(
                "localstack",
                pins.python,
                &pins.requirements_file(),
                "import importlib.util as u; assert u.find_spec('localstack.runtime.main') and u.find_spec('rolo')",
            )?,
            version: pins.version()?.to_owned(),
        })
    }

    fn launch(&self, program: &Program, scratch: &Path, port: u16) -> Result<Launch> {
        let mut command = Command::new(&program.path);
        clean_environment(&mut command, scratch);
        command
            .args(["-c", MAIN])
            .env("GATEWAY_LISTEN", format!("127.0.0.1:{port}"))
            .env("SERVICES", SERVICES.join(","))
            .env("FILESYSTEM_ROOT", scratch.join("files"))
            // Where it believes to be in a container it keeps its files in directories of the whole machine.
            .env("OVERRIDE_IN_DOCKER", "false")
            // It is to speak to nobody.
            .env("SKIP_SSL_CERT_DOWNLOAD", "1")
            .env("DISABLE_EVENTS", "1");
        Ok(Launch {
            command,
            stop: Signal::Terminate,
            variables: vec![(URL, format!("http://127.0.0.1:{port}"))],
            secrets: Vec::new(),
            outside: None,
        })
    }

    fn answers(&self, record: &Record) -> Result {
        let health = http::get(record.variable(URL)?, "/_localstack/health")?;
        let ready = |service: &str| {
            ["available", "running"]
                .iter()
                .any(|state| health.contains(&format!("\"{service}\": \"{state}\"")))
        };
        match SERVICES.iter().find(|service| !ready(service)) {
            None => Ok(()),
            Some(service) => Err(Failure::failed(format!("its service `{service}` is not ready"))),
        }
    }
}

//! drongo: Google Cloud Secret Manager as far as its happy path goes.

use std::path::Path;
use std::process::Command;

use super::http;
use super::identity::Signal;
use super::pins::Pins;
use super::state::Record;
use super::table::{Launch, Program, Server, clean_environment};
use crate::process::Result;
use crate::python;

const URL: &str = "KEYFOB_TEST_DRONGO_URL";

pub(super) struct Drongo;

impl Server for Drongo {
    fn name(&self) -> &'static str {
        "drongo"
    }

    fn variables(&self) -> &'static [&'static str] {
        &[URL]
    }

    fn pinned(&self) -> Result<Option<&'static str>> {
        Pins::of("drongo")?.version().map(Some)
    }

    fn install(&self) -> Result<Program> {
        let pins = Pins::of("drongo")?;
        let python = python::environment("drongo", pins.python, &pins.requirements_file(), "import drongo")?;
        Ok(Program {
            path: python.with_file_name("drongo"),
            version: pins.version()?.to_owned(),
        })
    }

    fn launch(&self, program: &Program, scratch: &Path, port: u16) -> Result<Launch> {
        let mut command = Command::new(&program.path);
        clean_environment(&mut command, scratch);
        command.args(["server", "--host", "127.0.0.1", "--port", &port.to_string()]);
        Ok(Launch {
            command,
            stop: Signal::Terminate,
            variables: vec![(URL, format!("http://127.0.0.1:{port}"))],
            secrets: Vec::new(),
            outside: None,
        })
    }

    fn answers(&self, record: &Record) -> Result {
        http::get(record.variable(URL)?, "/v1/projects/keyfob-testbed/secrets").map(drop)
    }
}

//! moto: a second opinion on AWS Secrets Manager.

use std::path::Path;
use std::process::Command;

use super::http;
use super::identity::Signal;
use super::pins::Pins;
use super::state::Record;
use super::table::{Launch, Program, Server, clean_environment};
use crate::process::Result;
use crate::python;

const URL: &str = "KEYFOB_TEST_MOTO_URL";

pub(super) struct Moto;

impl Server for Moto {
    fn name(&self) -> &'static str {
        "moto"
    }

    fn variables(&self) -> &'static [&'static str] {
        &[URL]
    }

    fn pinned(&self) -> Result<Option<&'static str>> {
        Pins::of("moto")?.version().map(Some)
    }

    fn install(&self) -> Result<Program> {
        let pins = Pins::of("moto")?;
        Ok(Program {
            path: python::environment(
                "moto",
                pins.python,
                &pins.requirements_file(),
                "import importlib.util as u; assert u.find_spec('moto.server') and u.find_spec('flask_cors')",
            )?,
            version: pins.version()?.to_owned(),
        })
    }

    fn launch(&self, program: &Program, scratch: &Path, port: u16) -> Result<Launch> {
        let mut command = Command::new(&program.path);
        clean_environment(&mut command, scratch);
        command.args(["-m", "moto.server", "-H", "127.0.0.1", "-p", &port.to_string()]);
        Ok(Launch {
            command,
            stop: Signal::Terminate,
            variables: vec![(URL, format!("http://127.0.0.1:{port}"))],
            secrets: Vec::new(),
            outside: None,
        })
    }

    fn answers(&self, record: &Record) -> Result {
        http::get(record.variable(URL)?, "/moto-api/data.json").map(drop)
    }
}

//! A program, as a policy says it.

use std::path::Path;
use std::time::Duration;

use keyfob_core::{Error, ErrorKind, Result};
use serde::Deserialize;

use super::time;
use crate::external::RotationCommand;

/// `{ run: [PROGRAM, ARGUMENT...], allow: [VARIABLE...], limit: TIME }`
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Program {
    run: Vec<String>,
    #[serde(default)]
    allow: Vec<String>,
    #[serde(default, with = "time::option")]
    limit: Option<Duration>,
}

impl Program {
    /// As it stands in the file.
    pub(super) fn name(&self) -> Option<&str> {
        self.run.first().map(String::as_str)
    }

    /// How it is started, in `directory` where that is known.
    pub(super) fn command(&self, directory: Option<&Path>) -> Result<RotationCommand> {
        let wrong = |message: &'static str| Error::new(ErrorKind::InvalidConfig, message);
        let (program, arguments) = match self.run.split_first() {
            Some((program, arguments)) if !program.is_empty() => (program, arguments),
            _ => return Err(wrong("`run` names no program").with_hint("a list: the program, and its arguments")),
        };
        // A path is meant from where the policies stand, as it would be in a shell there.
        let path = match directory {
            Some(directory) if program.contains('/') => directory.join(program),
            _ => program.into(),
        };
        let mut command = RotationCommand::new(path).arguments(arguments);
        for variable in &self.allow {
            command = command.allow(variable);
        }
        if let Some(directory) = directory {
            command = command.directory(directory);
        }
        match self.limit {
            Some(limit) if limit.is_zero() => Err(wrong("`limit` can't be nothing")),
            Some(limit) => Ok(command.limit(limit)),
            None => Ok(command),
        }
    }
}

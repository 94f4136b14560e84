//! `keyfob man`

use std::fs;
use std::path::{Path, PathBuf};

use clap::{CommandFactory as _, Parser};
use clap_mangen::Man;
use keyfob::{Error, ErrorKind};

use crate::args::Cli;
use crate::context::Context;
use crate::exit::{Exit, Outcome};

#[derive(Debug, Parser)]
#[command(after_help = "\
Examples:
  keyfob man | man -l -
  keyfob man ~/.local/share/man/man1")]
pub(crate) struct Args {
    /// Where to write `keyfob.1`, `keyfob-get.1` and so on; it must exist
    directory: Option<PathBuf>,
}

impl Args {
    pub(crate) fn run(self, context: &Context) -> Outcome {
        let mut command = Cli::command();
        command.build();
        match &self.directory {
            None => context.printer().bytes(&page(command)?)?,
            Some(directory) => {
                let written = write_all(command, directory)?;
                context
                    .printer()
                    .note(format_args!("wrote {written} pages to `{}`", directory.display()));
            }
        }
        Ok(Exit::Success)
    }
}

fn write_all(command: clap::Command, directory: &Path) -> Result<usize, Error> {
    let mut written = 0;
    let children: Vec<clap::Command> = command
        .get_subcommands()
        .filter(|child| !child.is_hide_set())
        .cloned()
        .collect();
    for child in children.into_iter().filter(|child| child.get_name() != "help") {
        written += write_all(child, directory)?;
    }
    let name = command.get_display_name().unwrap_or_else(|| command.get_name());
    let path = directory.join(format!("{name}.1"));
    let page = page(command)?;
    fs::write(&path, page).map_err(|error| failed(error).with("file", path.display().to_string()))?;
    Ok(written + 1)
}

fn page(command: clap::Command) -> Result<Vec<u8>, Error> {
    let mut page = Vec::new();
    Man::new(command).render(&mut page).map_err(failed)?;
    Ok(page)
}

fn failed(error: std::io::Error) -> Error {
    let kind = match error.kind() {
        std::io::ErrorKind::NotFound => ErrorKind::NotFound,
        std::io::ErrorKind::PermissionDenied => ErrorKind::PermissionDenied,
        _ => ErrorKind::Other,
    };
    Error::new(kind, "can't write the manual page").with_source(error)
}

//! `keyfob backup create`

use std::path::PathBuf;

use clap::Parser;
use keyfob::key_sources;
use serde_json::json;

use crate::context::Context;
use crate::embedded;
use crate::exit::{Exit, Outcome};

/// Write a checked copy of the store to a new file
///
/// Every row is checked and every value decrypted before there is a copy. It is protected by the same key, which is not
/// part of it: keep the key too. Other processes go on reading and writing.
#[derive(Debug, Parser)]
#[command(after_help = "\
Examples:
  keyfob backup create secrets-monday.db

JSON: {file, generation, secrets, versions}.")]
pub(crate) struct Args {
    /// The new file
    file: PathBuf,

    /// Print what it holds, as JSON
    #[arg(long)]
    json: bool,
}

impl Args {
    pub(crate) fn run(self, context: &Context) -> Outcome {
        let printer = context.printer();
        let file = context.environment().absolute(&self.file);
        let report = context.block_on(async {
            let store = key_sources::open(embedded::file_config(context)?, context.environment()).await;
            store.map_err(embedded::hint_at_init)?.backup(file).await
        })?;
        printer.note(format_args!(
            "copied {} secrets with {} versions to `{}`",
            report.secrets,
            report.versions,
            self.file.display()
        ));
        if self.json {
            printer.json(&json!({
                "file": self.file.display().to_string(),
                "generation": report.generation,
                "secrets": report.secrets,
                "versions": report.versions,
            }))?;
        }
        Ok(Exit::Success)
    }
}

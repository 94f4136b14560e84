//! `keyfob key status`

use clap::Parser;
use serde::Serialize;

use crate::context::Context;
use crate::embedded;
use crate::exit::{Exit, Outcome};
use crate::text::escape_untrusted;

/// Show which keys open the store
#[derive(Debug, Parser)]
#[command(after_help = "\
Examples:
  keyfob key status
  keyfob key status --json | jq .changing

JSON: {current, retiring, sources, changing}; `current` and `retiring` are ids of the keys that
protect the values, `sources` of the key files, passphrases and services that open the store, `changing` says
whether a change of the key was begun and not finished.")]
pub(crate) struct Args {
    /// Print JSON
    #[arg(long)]
    json: bool,
}

#[derive(Serialize)]
struct StatusJson<'a> {
    current: String,
    retiring: Vec<String>,
    sources: &'a [String],
    changing: bool,
}

impl Args {
    pub(crate) fn run(self, context: &Context) -> Outcome {
        let printer = context.printer();
        let keys = context.block_on(async { embedded::open(context).await?.keys().await })?;
        let status = StatusJson {
            current: keys.current.to_string(),
            retiring: keys.retiring.iter().map(ToString::to_string).collect(),
            sources: &keys.sources,
            changing: !keys.retiring.is_empty(),
        };
        if self.json {
            printer.json(&status)?;
            return Ok(Exit::Success);
        }
        printer.line(format_args!("key: {}", status.current))?;
        for source in status.sources {
            printer.line(format_args!("opened by: {}", escape_untrusted(source)))?;
        }
        for key in &status.retiring {
            printer.line(format_args!("retiring: {key}"))?;
        }
        if status.changing {
            printer.hint("a change of the key was begun and not finished: give the same `keyfob key rotate` again");
        }
        Ok(Exit::Success)
    }
}

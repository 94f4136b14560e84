//! `keyfob audit export`

use std::io::{self, Write};

use clap::Parser;
use keyfob::Result;
use keyfob_audit::{ExportFormat, export};

use super::filter::FilterArgs;
use super::log::LogArgs;
use crate::context::Context;
use crate::exit::{Exit, Failure, Outcome, OutputError};
use crate::printer::Printer;
use crate::text::{escape_json, escape_untrusted};

/// Print accesses for another program
///
/// `jsonl` gives the lines of the log as they are, `csv` a table with a heading (RFC 4180), `cef` ArcSight's Common Event Format. In the
/// table a `'` stands before text that a spreadsheet would take for a formula.
/// Nothing is proven: that is up to `keyfob audit verify`.
#[derive(Debug, Parser)]
#[command(after_help = "\
Examples:
  keyfob audit export --since 2030-01-01 --format csv > january.csv
  keyfob audit export --where user=jo --where outcome=failed | jq -r .name

Exit status: 3 when there is no log.")]
pub(crate) struct Args {
    #[command(flatten)]
    log: LogArgs,

    #[command(flatten)]
    filter: FilterArgs,

    /// `jsonl`, `csv` or `cef`
    #[arg(long, value_name = "FORMAT", default_value = "jsonl", value_parser = parse_format)]
    format: ExportFormat,
}

impl Args {
    pub(crate) fn run(self, context: &Context) -> Outcome {
        let filter = self.filter.filter(context)?;
        let mut reader = self.log.log(context)?.reader(filter, context)?;
        let mut out = Out::new(context.printer(), self.format);
        match export(&mut reader, self.format, &mut out) {
            Ok(_) => Ok(Exit::Success),
            Err(error) => Err(out.failure.take().map_or(Failure::Error(error), Failure::Output)),
        }
    }
}

fn parse_format(text: &str) -> Result<ExportFormat, String> {
    let formats = ExportFormat::ALL;
    let found = formats.into_iter().find(|format| format.as_str() == text);
    found.ok_or_else(|| format!("there are {}", formats.map(ExportFormat::as_str).join(", ")))
}

/// Standard output: lines together, and harmless where it is a terminal.
struct Out<'p> {
    printer: &'p Printer,
    format: ExportFormat,
    is_terminal: bool,
    text: Vec<u8>,
    failure: Option<OutputError>,
}

impl<'p> Out<'p> {
    fn new(printer: &'p Printer, format: ExportFormat) -> Self {
        Self {
            printer,
            format,
            is_terminal: printer.output_is_terminal(),
            text: Vec::new(),
            failure: None,
        }
    }

    fn harmless(&self) -> String {
        let text = String::from_utf8_lossy(&self.text);
        if self.format == ExportFormat::JsonLines {
            return escape_json(&text).into_owned();
        }
        text.lines().map(|line| format!("{}\n", escape_untrusted(line))).collect()
    }
}

impl Write for Out<'_> {
    fn write(&mut self, text: &[u8]) -> io::Result<usize> {
        self.text.extend_from_slice(text);
        if self.text.len() >= 1 << 16 && self.text.ends_with(b"\n") {
            self.flush()?;
        }
        Ok(text.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        let written = if self.is_terminal {
            self.printer.text(&self.harmless())
        } else {
            self.printer.bytes(&self.text)
        };
        self.text.clear();
        written.map_err(|error| {
            let told = io::Error::from(error.0.kind());
            self.failure = Some(error);
            told
        })
    }
}

//! The only place that writes to standard output and standard error.

mod table;

use std::fmt::Display;
use std::fs::File;
use std::io::{self, BufRead as _, IsTerminal as _, Write as _};
use std::os::fd::AsFd as _;

use anstream::{AutoStream, ColorChoice};
use anstyle::{AnsiColor, Style};
use keyfob::{Error, Report};
use serde::Serialize;
use zeroize::Zeroizing;

use crate::args::Color;
use crate::exit::OutputError;
use crate::text::{escape_json, escape_untrusted};

pub(crate) use self::table::Table;

pub(crate) const GOOD: Style = AnsiColor::Green.on_default().bold();
pub(crate) const BAD: Style = AnsiColor::Red.on_default().bold();
pub(crate) const ODD: Style = AnsiColor::Yellow.on_default().bold();
pub(crate) const HINT: Style = AnsiColor::Cyan.on_default().bold();
pub(crate) const STRONG: Style = Style::new().bold();
pub(crate) const FAINT: Style = Style::new().dimmed();

/// Decides what goes to standard output, what to standard error, and in which colours.
///
/// Standard output carries what was asked for, standard error everything that is said about it.
#[derive(Debug, Clone)]
pub(crate) struct Printer {
    color: ColorChoice,
    quiet: bool,
}

impl Printer {
    pub(crate) fn new(color: Color, quiet: bool) -> Self {
        let color = match color {
            Color::Auto => ColorChoice::Auto,
            Color::Always => ColorChoice::Always,
            Color::Never => ColorChoice::Never,
        };
        Self { color, quiet }
    }

    /// Whether a person would see what goes to standard output.
    #[expect(clippy::unused_self, reason = "reads as a question to the printer")]
    pub(crate) fn output_is_terminal(&self) -> bool {
        io::stdout().is_terminal()
    }

    /// One line of the answer. What a store said in it must be escaped.
    pub(crate) fn line(&self, line: impl Display) -> Result<(), OutputError> {
        self.text(&format!("{line}\n"))
    }

    /// Lines of the answer, as they are.
    pub(crate) fn text(&self, text: &str) -> Result<(), OutputError> {
        let mut out = AutoStream::new(io::stdout().lock(), self.color);
        out.write_all(text.as_bytes()).and_then(|()| out.flush()).map_err(OutputError)
    }

    /// A table, aligned; nothing at all when it has no rows.
    pub(crate) fn table(&self, table: &Table) -> Result<(), OutputError> {
        self.text(&table.to_string())
    }

    /// A document of the answer.
    pub(crate) fn json(&self, document: &impl Serialize) -> Result<(), OutputError> {
        // Wiped, since `get --json` puts a value in it.
        let mut json = Zeroizing::new(Vec::with_capacity(4096));
        serde_json::to_writer_pretty(&mut *json, document).map_err(|error| OutputError(error.into()))?;
        json.push(b'\n');
        let text = std::str::from_utf8(&json).map_err(|error| OutputError(io::Error::other(error)))?;
        let escaped = Zeroizing::new(escape_json(text).into_owned());
        self.bytes(escaped.as_bytes())
    }

    /// Bytes of the answer, exactly, without a buffer that would keep a copy.
    #[expect(clippy::unused_self, reason = "all output goes through the printer")]
    pub(crate) fn bytes(&self, bytes: &[u8]) -> Result<(), OutputError> {
        let stdout = io::stdout();
        let write = || File::from(stdout.as_fd().try_clone_to_owned()?).write_all(bytes);
        write().map_err(OutputError)
    }

    /// What was done, to standard error; not with `--quiet`.
    pub(crate) fn note(&self, text: impl Display) {
        if !self.quiet {
            self.say(&format!("{}\n", escape_untrusted(&text.to_string())));
        }
    }

    /// Something that should be mended.
    pub(crate) fn warning(&self, text: &str) {
        self.say(&format!("{ODD}warning{ODD:#}: {}\n", escape_untrusted(text)));
    }

    /// An error, what lies below it, and what to do.
    pub(crate) fn error(&self, error: &Error) {
        let mut text = format!("{BAD}error{BAD:#}: {}\n", escape_untrusted(&error.to_string()));
        let mut below = std::error::Error::source(error);
        while let Some(cause) = below {
            text += &format!("  {BAD}caused by{BAD:#}: {}\n", escape_untrusted(&cause.to_string()));
            below = cause.source();
        }
        if let Some(hint) = error.hint() {
            text += &self.hint_line(hint);
        }
        self.say(&text);
    }

    /// Everything that could not be resolved.
    pub(crate) fn report(&self, report: &Report) {
        let mut text = format!("{BAD}error{BAD:#}: ");
        for line in report.to_string().lines() {
            text += &escape_untrusted(line);
            text.push('\n');
        }
        self.say(&text);
    }

    /// What the user can do next; not with `--quiet`.
    pub(crate) fn hint(&self, hint: &str) {
        if !self.quiet {
            self.say(&self.hint_line(hint));
        }
    }

    /// Text to standard error, as it is.
    pub(crate) fn say(&self, text: &str) {
        let mut err = AutoStream::new(io::stderr().lock(), self.color);
        // Where nobody listens, nothing can be told.
        let _ = err.write_all(text.as_bytes()).and_then(|()| err.flush());
    }

    /// How far something is, on one line that is written again and again; only to a terminal.
    pub(crate) fn progress(&self) -> Progress {
        Progress {
            shown: !self.quiet && io::stderr().is_terminal(),
            dirty: false,
        }
    }

    /// Asks a person. `None` when there is none: standard input or standard error is no terminal.
    pub(crate) fn confirm(&self, question: &str) -> Option<bool> {
        if !io::stdin().is_terminal() || !io::stderr().is_terminal() {
            return None;
        }
        self.say(&format!("{STRONG}{}{STRONG:#} [y/N] ", escape_untrusted(question)));
        let mut answer = String::new();
        io::stdin().lock().read_line(&mut answer).ok()?;
        Some(matches!(answer.trim().to_ascii_lowercase().as_str(), "y" | "yes"))
    }

    #[expect(clippy::unused_self, reason = "keeps the layout of hints in one place")]
    fn hint_line(&self, hint: &str) -> String {
        format!("{HINT}hint{HINT:#}: {}\n", escape_untrusted(hint))
    }
}

/// A line that shows how far something is. Cleared when it goes.
#[derive(Debug)]
pub(crate) struct Progress {
    shown: bool,
    dirty: bool,
}

impl Progress {
    pub(crate) fn show(&mut self, text: &str) {
        if self.shown {
            self.dirty = true;
            let mut err = io::stderr().lock();
            let _ = write!(err, "\r\x1b[K{}", escape_untrusted(text)).and_then(|()| err.flush());
        }
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        if self.dirty {
            let mut err = io::stderr().lock();
            let _ = write!(err, "\r\x1b[K").and_then(|()| err.flush());
        }
    }
}

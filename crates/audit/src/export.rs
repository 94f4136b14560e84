//! Accesses in the formats of other programs.

use std::fmt::Write as _;
use std::io::{self, Write};
use std::time::UNIX_EPOCH;

use keyfob_core::{AuditOutcome, AuditRecord, Error, ErrorKind, Result};

use crate::line::{origin, rfc3339};
use crate::read::{AuditReader, Logged};

/// A format of an export.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum ExportFormat {
    /// The lines of the log, as they are.
    JsonLines,
    /// RFC 4180 with a header line: `seq`, then the fields of a line in their order. An empty field is one that is not there.
    ///
    /// Whoever is audited chooses some of the text, and spreadsheets take text for a formula that begins with `=`, `+`, `-`, `@`, a tab or
    /// the end of a line. So a `'` stands before such a character, and before a `'`, where it begins a field or follows a `;` or a tab
    /// (which some take for the end of a field): whoever takes these `'` off again has the text as it was.
    Csv,
    /// ArcSight's Common Event Format, version 0: one line for an access, with the verb as event class. Scheme and location of the store are
    /// one `destinationServiceName`.
    Cef,
}

impl ExportFormat {
    /// Every format.
    pub const ALL: [Self; 3] = [Self::JsonLines, Self::Csv, Self::Cef];

    /// The token of this format: `jsonl`, `csv` or `cef`.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::JsonLines => "jsonl",
            Self::Csv => "csv",
            Self::Cef => "cef",
        }
    }
}

/// Writes all accesses that `reader` has left, and says how many they were.
///
/// # Errors
/// What reading the log or writing says. `BrokenPipe` of `writer` is the source of an error of the kind `Other`.
pub fn export(reader: &mut AuditReader, format: ExportFormat, writer: &mut dyn Write) -> Result<u64> {
    let mut count = 0;
    if format == ExportFormat::Csv {
        line(writer, CSV_HEADER)?;
    }
    while let Some(logged) = reader.next()? {
        line(writer, &format_line(&logged, format))?;
        count += 1;
    }
    writer.flush().map_err(failed)?;
    Ok(count)
}

/// One access in a format, without the newline.
#[must_use]
pub fn format_line(logged: &Logged, format: ExportFormat) -> String {
    match format {
        ExportFormat::JsonLines => logged.line.clone(),
        ExportFormat::Csv => csv(logged),
        ExportFormat::Cef => cef(logged),
    }
}

fn line(writer: &mut dyn Write, text: &str) -> Result<()> {
    writer
        .write_all(text.as_bytes())
        .and_then(|()| writer.write_all(b"\n"))
        .map_err(failed)
}

fn failed(source: io::Error) -> Error {
    Error::new(ErrorKind::Other, "can't write the export").with_source(source)
}

const CSV_HEADER: &str =
    "seq,time,user,process,pid,host,workload,verb,name,version,store,scheme,location,outcome,error,latency_us,from,reason";

fn csv(logged: &Logged) -> String {
    let record = &logged.record;
    let (seq, time, pid, latency) = (
        logged.seq.to_string(),
        rfc3339(record.time),
        record.actor.pid.to_string(),
        record.latency.as_micros().to_string(),
    );
    let fields = [
        &*seq,
        &*time,
        &*record.actor.user,
        &*record.actor.process,
        &*pid,
        &*record.actor.host,
        record.actor.workload.as_deref().unwrap_or_default(),
        record.verb.as_str(),
        record.name.as_deref().unwrap_or_default(),
        record.version.as_deref().unwrap_or_default(),
        &*record.store.name,
        &*record.store.scheme,
        &*record.store.location,
        record.outcome.as_str(),
        record.error.map_or("", ErrorKind::as_str),
        &*latency,
        record.freshness.and_then(origin).unwrap_or_default(),
        record.reason.as_ref().map_or("", |reason| reason.as_str()),
    ];
    fields.map(cell).join(",")
}

fn cell(field: &str) -> String {
    let text = no_formula(field);
    if text.contains([',', '"', '\n', '\r', ';', '\t']) {
        format!("\"{}\"", text.replace('"', "\"\""))
    } else {
        text
    }
}

/// Puts a `'` before what would make a spreadsheet calculate.
fn no_formula(field: &str) -> String {
    let mut text = String::with_capacity(field.len() + 1);
    let mut is_start = true;
    for character in field.chars() {
        // Some of them take wide characters for the others.
        if is_start && "=+-@\t\r\n'＝＋－＠".contains(character) {
            text.push('\'');
        }
        text.push(character);
        is_start = matches!(character, ';' | '\t');
    }
    text
}

fn cef(logged: &Logged) -> String {
    let record = &logged.record;
    let verb = record.verb.as_str();
    let mut text = format!(
        "CEF:0|keyfob|keyfob|{}|{verb}|{}|{}|",
        env!("CARGO_PKG_VERSION"),
        header(&format!("secret {verb} {}", record.outcome.as_str())),
        severity(record),
    );
    let milliseconds = record.time.duration_since(UNIX_EPOCH).unwrap_or_default().as_millis();
    let mut fields = vec![
        ("rt", milliseconds.to_string()),
        ("externalId", logged.seq.to_string()),
        ("suser", record.actor.user.clone()),
        ("sproc", record.actor.process.clone()),
        ("spid", record.actor.pid.to_string()),
        ("shost", record.actor.host.clone()),
        ("act", verb.to_owned()),
        ("outcome", record.outcome.as_str().to_owned()),
        (
            "destinationServiceName",
            format!("{}:{}", record.store.scheme, record.store.location),
        ),
    ];
    let custom = [
        ("cs1", "store", Some(record.store.name.clone())),
        ("cs2", "name", record.name.as_deref().map(str::to_owned)),
        ("cs3", "version", record.version.as_deref().map(str::to_owned)),
        ("cs4", "error", record.error.map(|kind| kind.as_str().to_owned())),
        ("cs5", "from", record.freshness.and_then(origin).map(str::to_owned)),
        ("cs6", "workload", record.actor.workload.clone()),
    ];
    fields.push(("cn1Label", "latency_us".to_owned()));
    fields.push(("cn1", record.latency.as_micros().to_string()));
    fields.extend(record.reason.as_ref().map(|reason| ("reason", reason.to_string())));
    for (index, (key, value)) in fields.iter().enumerate() {
        let space = if index == 0 { "" } else { " " };
        let _ = write!(text, "{space}{key}={}", extension(value));
    }
    for (key, label, value) in custom {
        if let Some(value) = value {
            let _ = write!(text, " {key}Label={label} {key}={}", extension(&value));
        }
    }
    text
}

/// From 0 to 10: reading is a fact, changing is worth a look, and a refusal is worth more.
fn severity(record: &AuditRecord) -> u8 {
    match (record.outcome, record.error) {
        (_, Some(ErrorKind::PermissionDenied | ErrorKind::Unauthenticated)) => 7,
        (_, Some(ErrorKind::Corrupt)) => 9,
        (AuditOutcome::Ok, _) if record.verb.is_write() => 4,
        (AuditOutcome::Ok, _) => 2,
        _ => 5,
    }
}

/// In the header `|` and `\` have to be escaped.
fn header(text: &str) -> String {
    text.replace('\\', "\\\\").replace('|', "\\|")
}

/// In the extension `=` and `\` have to be escaped, and line ends.
fn extension(text: &str) -> String {
    text.replace('\\', "\\\\")
        .replace('=', "\\=")
        .replace('\n', "\\n")
        .replace('\r', "\\r")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_cell_is_a_formula_and_the_text_is_found_again() {
        for (text, expected) in [
            ("ticket 42 = done", "ticket 42 = done"),
            ("", ""),
            ("=1+1", "'=1+1"),
            ("@a", "'@a"),
            ("-1", "'-1"),
            ("+1", "'+1"),
            ("\t=a", "\"'\t'=a\""),
            ("\ra", "\"'\ra\""),
            ("'=a", "''=a"),
            ("\u{ff1d}a", "'\u{ff1d}a"),
            ("x;=cmd|' /C calc'!A0", "\"x;'=cmd|' /C calc'!A0\""),
            (
                "=HYPERLINK(\"http://x\",\"a\")",
                "\"'=HYPERLINK(\"\"http://x\"\",\"\"a\"\")\"",
            ),
        ] {
            assert_eq!(cell(text), expected);
            assert_eq!(as_it_was(&no_formula(text)), text);
        }
    }

    /// What a reader of the table does.
    fn as_it_was(cell: &str) -> String {
        let (mut text, mut is_start, mut is_taken) = (String::new(), true, false);
        for character in cell.chars() {
            if is_start && !is_taken && character == '\'' {
                is_taken = true;
                continue;
            }
            text.push(character);
            is_start = matches!(character, ';' | '\t');
            is_taken = false;
        }
        text
    }
}

//! From the events of a TOML text to its strings and their keys.

use std::borrow::Cow;
use std::collections::HashMap;

use toml_parser::decoder::{Encoding, ScalarKind};
use toml_parser::parser::{Event, EventKind};
use toml_parser::{ParseError, Raw, Source, Span};

use super::super::path::Path;
use super::super::scan::{Fault, Literal, Scan, Scanned};
use super::super::{MAX_DEPTH, Slot};
use super::TomlString;

pub(super) struct Walk<'t> {
    source: Source<'t>,
    path: Path,
    /// How many steps of the path the current table has.
    table: usize,
    /// The keys of a table header that is being read.
    header: Option<Vec<Cow<'t, str>>>,
    open: Vec<Open>,
    /// How many tables each array of tables has so far.
    arrays: HashMap<String, usize>,
    scanned: Scanned,
    errors: Vec<ParseError>,
    fault: Option<Fault>,
}

/// An array or inline table that is being read, and how many steps lead to it.
enum Open {
    Array { depth: usize, index: usize },
    Table { depth: usize },
}

pub(super) struct Walked {
    pub(super) scan: Scan,
    pub(super) errors: Vec<ParseError>,
    pub(super) fault: Option<Fault>,
}

impl<'t> Walk<'t> {
    pub(super) fn new(source: Source<'t>) -> Self {
        Self {
            source,
            path: Path::default(),
            table: 0,
            header: None,
            open: Vec::new(),
            arrays: HashMap::new(),
            scanned: Scanned::default(),
            errors: Vec::new(),
            fault: None,
        }
    }

    pub(super) fn finish(self) -> Walked {
        Walked {
            scan: self.scanned.finish(),
            errors: self.errors,
            fault: self.fault,
        }
    }

    pub(super) fn event(&mut self, event: &Event) {
        let kind = event.kind();
        if !matches!(
            kind,
            EventKind::Whitespace | EventKind::Comment | EventKind::Newline | EventKind::Scalar
        ) {
            self.scanned.other(kind);
        }
        match kind {
            EventKind::StdTableOpen | EventKind::ArrayTableOpen => {
                self.path.truncate(0);
                self.header = Some(Vec::new());
            }
            EventKind::StdTableClose => self.enter_table(false, event.span()),
            EventKind::ArrayTableClose => self.enter_table(true, event.span()),
            EventKind::SimpleKey => self.key(event),
            EventKind::Scalar => {
                self.scalar(event);
                self.end_value();
            }
            EventKind::ArrayOpen => {
                self.open.push(Open::Array {
                    depth: self.path.depth(),
                    index: 0,
                });
                self.path.push_index(0);
                self.check_depth(event.span());
            }
            EventKind::InlineTableOpen => self.open.push(Open::Table {
                depth: self.path.depth(),
            }),
            EventKind::ArrayClose | EventKind::InlineTableClose => {
                if let Some(Open::Array { depth, .. } | Open::Table { depth }) = self.open.pop() {
                    self.path.truncate(depth);
                }
                self.end_value();
            }
            EventKind::ValueSep => {
                if let Some(Open::Array { depth, index }) = self.open.last_mut() {
                    *index += 1;
                    self.path.truncate(*depth);
                    self.path.push_index(*index);
                }
            }
            _ => {}
        }
    }

    fn key(&mut self, event: &Event) {
        let Some(raw) = self.source.get(event) else { return };
        let mut key = Cow::Borrowed("");
        raw.decode_key(&mut key, &mut self.errors);
        self.scanned.other(&key);
        match &mut self.header {
            Some(header) => header.push(key),
            None => self.path.push_key(key),
        }
        self.check_depth(event.span());
    }

    /// What follows stands in the table that the header names.
    fn enter_table(&mut self, of_array: bool, span: Span) {
        let header = self.header.take().unwrap_or_default();
        let last = header.len().saturating_sub(1);
        if header.len() > MAX_DEPTH {
            self.too_deep(span);
            return;
        }
        for (index, key) in header.into_iter().enumerate() {
            self.path.push_key(key);
            let array = self.path.to_key().unwrap_or_default();
            if index == last && of_array {
                let count = self.arrays.entry(array).or_insert(0);
                self.path.push_index(*count);
                *count += 1;
            } else if let Some(count) = self.arrays.get(&array) {
                self.path.push_index(count - 1);
            }
        }
        self.table = self.path.depth();
    }

    fn scalar(&mut self, event: &Event) {
        let Some(raw) = self.source.get(event) else { return };
        let mut text = Cow::Borrowed("");
        let long = matches!(event.encoding(), Some(Encoding::MlBasicString | Encoding::MlLiteralString));
        if long && raw.as_str().contains("\r\n") {
            // Readers may keep or normalise these line breaks. We normalise, as most do.
            let unix = raw.as_str().replace("\r\n", "\n");
            let mut owned = String::new();
            let _ = Raw::new_unchecked(&unix, event.encoding(), event.span()).decode_scalar(&mut owned, &mut self.errors);
            text = Cow::Owned(owned);
        } else if raw.decode_scalar(&mut text, &mut self.errors) != ScalarKind::String {
            self.scanned.other(("scalar", raw.as_str()));
            return;
        }
        if let Some(encoding) = event.encoding() {
            let span = event.span().start()..event.span().end();
            let literal = Literal::Toml(TomlString::of(encoding, raw.as_str()));
            self.scanned.slot(Slot::new(text, span, self.path.to_key(), literal));
        }
    }

    fn end_value(&mut self) {
        match self.open.last() {
            Some(Open::Array { .. }) => {}
            Some(Open::Table { depth }) => self.path.truncate(*depth),
            None => self.path.truncate(self.table),
        }
    }

    fn check_depth(&mut self, span: Span) {
        if self.path.depth() > MAX_DEPTH || self.header.as_ref().is_some_and(|header| header.len() > MAX_DEPTH) {
            self.too_deep(span);
        }
    }

    fn too_deep(&mut self, span: Span) {
        self.fault.get_or_insert_with(|| Fault::too_deep(span.start()));
    }
}

//! A subscriber that keeps what it is told.

use std::fmt::{Debug, Write as _};
use std::sync::{Arc, Mutex};

use tracing::field::{Field, Visit};
use tracing::span::{Attributes, Id, Record};
use tracing::subscriber::DefaultGuard;
use tracing::{Event, Metadata, Subscriber};

/// Each span when it ends, `outer>inner field=value`, and each event, `LEVEL span: message field=value`; of one thread.
#[derive(Debug, Clone, Default)]
pub(super) struct Told(Arc<Mutex<Inner>>);

#[derive(Debug, Default)]
struct Inner {
    spans: Vec<Span>,
    entered: Vec<usize>,
    lines: Vec<String>,
}

#[derive(Debug)]
struct Span {
    path: String,
    fields: Fields,
    handles: usize,
}

/// Without how long something took, which is the machine's.
#[derive(Debug, Default)]
struct Fields(String);

impl Visit for Fields {
    fn record_str(&mut self, field: &Field, value: &str) {
        self.record_debug(field, &format_args!("{value}"));
    }

    fn record_debug(&mut self, field: &Field, value: &dyn Debug) {
        match field.name() {
            "took" => {}
            "message" => self.0.insert_str(0, &format!(" {value:?}")),
            name => write!(self.0, " {name}={value:?}").unwrap(),
        }
    }
}

impl Told {
    /// Is told what this thread does while the guard lives.
    pub(super) fn here(&self) -> DefaultGuard {
        tracing::subscriber::set_default(self.clone())
    }

    pub(super) fn lines(&self) -> Vec<String> {
        self.0.lock().unwrap().lines.clone()
    }

    pub(super) fn clear(&self) {
        self.0.lock().unwrap().lines.clear();
    }
}

impl Inner {
    fn path(&self) -> &str {
        self.entered.last().map_or("", |index| self.spans[*index].path.as_str())
    }
}

fn index(id: &Id) -> usize {
    usize::try_from(id.into_u64()).unwrap() - 1
}

impl Subscriber for Told {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        metadata.target() == "keyfob"
    }

    fn new_span(&self, attributes: &Attributes<'_>) -> Id {
        let mut inner = self.0.lock().unwrap();
        let mut fields = Fields::default();
        attributes.record(&mut fields);
        let name = attributes.metadata().name();
        let path = match inner.path() {
            "" => name.to_owned(),
            outer => format!("{outer}>{name}"),
        };
        inner.spans.push(Span {
            path,
            fields,
            handles: 1,
        });
        Id::from_u64(inner.spans.len() as u64)
    }

    fn record(&self, id: &Id, values: &Record<'_>) {
        values.record(&mut self.0.lock().unwrap().spans[index(id)].fields);
    }

    fn record_follows_from(&self, _: &Id, _: &Id) {}

    fn event(&self, event: &Event<'_>) {
        let mut fields = Fields::default();
        event.record(&mut fields);
        let mut inner = self.0.lock().unwrap();
        let line = format!("{} {}:{}", event.metadata().level(), inner.path(), fields.0);
        inner.lines.push(line);
    }

    fn enter(&self, id: &Id) {
        self.0.lock().unwrap().entered.push(index(id));
    }

    fn exit(&self, _: &Id) {
        self.0.lock().unwrap().entered.pop();
    }

    fn clone_span(&self, id: &Id) -> Id {
        self.0.lock().unwrap().spans[index(id)].handles += 1;
        id.clone()
    }

    fn try_close(&self, id: Id) -> bool {
        let mut inner = self.0.lock().unwrap();
        let span = &mut inner.spans[index(&id)];
        span.handles -= 1;
        let is_over = span.handles == 0;
        if is_over {
            let line = format!("{}{}", span.path, span.fields.0);
            inner.lines.push(line);
        }
        is_over
    }
}

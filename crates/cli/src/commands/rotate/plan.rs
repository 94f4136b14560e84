//! What policies ask for.

use std::time::SystemTime;

use keyfob::rotation::Planned;
use serde::Serialize;

use crate::exit::OutputError;
use crate::printer::{Printer, Table};
use crate::time::{rfc3339, rfc3339_or_empty};

#[derive(Serialize)]
struct Json<'a> {
    name: &'a str,
    policy: &'a str,
    due: Option<String>,
    now: bool,
    phase: Option<&'static str>,
    rotated: Option<String>,
    error: Option<String>,
}

pub(super) fn tell(printer: &Printer, planned: &[Planned], now: SystemTime, json: bool) -> Result<(), OutputError> {
    if json {
        let all = planned.iter().map(|planned| Json {
            name: planned.name.as_str(),
            policy: &planned.policy.name,
            due: planned.due.map(rfc3339),
            now: planned.is_due(now),
            phase: planned.under_way.as_ref().map(|under_way| under_way.phase.as_str()),
            rotated: planned.history.rotated.map(rfc3339),
            error: planned.error.as_ref().map(ToString::to_string),
        });
        return printer.json(&all.collect::<Vec<_>>());
    }
    if planned.is_empty() {
        printer.note("no policy is about any secret of the store");
        return Ok(());
    }
    let mut table = Table::new(&["NAME", "POLICY", "DUE", "WHAT", "ROTATED"]);
    for planned in planned {
        let due = match planned.due {
            Some(due) if due <= now => "now".to_owned(),
            Some(due) => rfc3339(due),
            None => String::new(),
        };
        let what = match (&planned.error, &planned.under_way) {
            (Some(error), _) => format!("unknown: {error}"),
            (None, Some(under_way)) => format!("go on ({})", under_way.phase.as_str()),
            (None, None) if planned.due.is_some() => "rotate".to_owned(),
            (None, None) => "only when asked".to_owned(),
        };
        table.row([
            planned.name.to_string(),
            planned.policy.name.clone(),
            due,
            what,
            rfc3339_or_empty(planned.history.rotated),
        ]);
    }
    printer.table(&table)
}

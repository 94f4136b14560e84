//! `keyfob audit checkpoint`

use clap::Parser;

use super::log::{KeyArgs, LogArgs};
use crate::context::Context;
use crate::exit::{Exit, Outcome};

/// Print the last checkpoint of an audit log, to be kept elsewhere
///
/// It is one line. Kept where the log's writer can't reach it, it fixes all that comes before: whatever is changed there or cut off
/// later, `keyfob audit verify --checkpoint` finds.
///
/// Where this machine remembers a later signature than the log has, or another one in its place, the log was cut off or replaced:
/// then none is printed.
#[derive(Debug, Parser)]
#[command(after_help = "\
Examples:
  keyfob audit checkpoint >> /mnt/auditors/kept.jsonl
  keyfob audit checkpoint | ssh auditor@far.example 'cat >> kept.jsonl'

Exit status: 1 when the log was cut off or replaced since this machine signed it, and after other errors; 3 when
there is no log.")]
pub(crate) struct Args {
    #[command(flatten)]
    log: LogArgs,

    #[command(flatten)]
    keys: KeyArgs,
}

impl Args {
    pub(crate) fn run(self, context: &Context) -> Outcome {
        let log = self.log.log(context)?;
        // Before the log, which is never the older one then.
        let remembered = log.remembered_or_told(context)?;
        log.still_exists(remembered.as_ref(), context)?;
        let keys = self.keys.keys(&log, context)?;
        let last = log.checkpoint(&keys, context)?;
        if let Some(remembered) = &remembered {
            log.still_has(remembered, &last, context)?;
        }
        // One of our own keys has signed it, and a JSON text has no control characters.
        context.printer().line(last)?;
        Ok(Exit::Success)
    }
}

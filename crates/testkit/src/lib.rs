#![doc = include_str!("../README.md")]

mod canary;
mod case;
pub mod cases;
mod context;
mod expect;
mod logs;
mod notes;
mod report;
mod run;
pub mod shared_cache;
mod table;
mod witness;

pub use case::{Case, CaseResult, Need, Stop};
pub use context::Context;
pub use logs::CapturedLogs;
pub use notes::{REPORT_DIR, server, skip, tell};
pub use report::{CaseReport, Failure, Outcome, Report};
pub use run::{RunOptions, run};
pub use table::TABLE_LINE;

#![doc = include_str!("../README.md")]

mod chain;
mod export;
mod file;
mod keys;
mod line;
mod log;
mod permissions;
mod queue;
mod read;
mod remembered;
mod segment;
mod stream;
mod table;
mod verify;
mod writer;

pub use export::{ExportFormat, export, format_line};
pub use file::{Durability, FileAudit, FileAuditOptions};
pub use keys::{NameKey, PublicKey, SigningKey};
pub use read::{AuditReader, Logged};
pub use stream::StreamAudit;
pub use table::{LineTable, TableAudit, TableAuditOptions};
pub use verify::{Checkpoint, Finding, Verification, checkpoint, checkpoint_of_table, verify, verify_table};

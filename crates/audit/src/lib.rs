#![doc = include_str!("../README.md")]

mod export;
mod file;
mod keys;
mod line;
mod log;
mod permissions;
mod queue;
mod read;
mod segment;
mod stream;
mod verify;

pub use export::{ExportFormat, export, format_line};
pub use file::{Durability, FileAudit, FileAuditOptions};
pub use keys::{NameKey, PublicKey, SigningKey};
pub use read::{AuditReader, Logged};
pub use stream::StreamAudit;
pub use verify::{Checkpoint, Finding, Verification, checkpoint, verify};

//! Where accesses are recorded: what the audit layer is set to, and its sinks once they are open.

mod settings;
mod sinks;
mod store;
#[cfg(test)]
mod tests;

pub use self::settings::AuditSettings;
pub(crate) use self::sinks::Audit;
pub use self::store::AuditStore;

//! The double of Azure Key Vault's secrets.

use crate::Failure;
use crate::arguments::Arguments;

/// Serves until the process ends.
pub(crate) async fn run(mut arguments: Arguments) -> Result<(), Failure> {
    let _port: u16 = arguments.number("--port")?.unwrap_or(0);
    let _directory = arguments.path("--directory")?;
    arguments.finish()?;
    Ok(())
}

//! Servers for tests: strict doubles of services that can't run on this machine.
//!
//! ```text
//! keyfob-double gcp --port PORT
//! keyfob-double azure --port PORT --directory DIRECTORY
//! ```
//!
//! Each listens on 127.0.0.1 only and runs until it is ended by a signal. They are written from the vendors' references,
//! never from what keyfob's adapters send; what they do not know they refuse.

mod arguments;
mod azure;
mod gcp;
mod server;

use std::process::ExitCode;

use arguments::Arguments;

const USAGE: &str = "\
usage: keyfob-double gcp --port PORT [--directory DIRECTORY] [--anonymous] [--page-size NUMBER]
       keyfob-double azure --port PORT --directory DIRECTORY [--metadata-port PORT] [--token-seconds SECONDS]
                           [--settle-ms MILLISECONDS] [--purge-protection] [--requests-per-10s NUMBER]";

/// Why a double can't start, or why it ended.
pub(crate) type Failure = Box<dyn std::error::Error + Send + Sync>;

#[tokio::main]
async fn main() -> ExitCode {
    match run().await {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            complain(&format!("keyfob-double: {failure}"));
            ExitCode::FAILURE
        }
    }
}

async fn run() -> Result<(), Failure> {
    let arguments = Arguments::of_process()?;
    match arguments.command() {
        Some("gcp") => gcp::run(arguments).await,
        Some("azure") => azure::run(arguments).await,
        _ => Err(USAGE.into()),
    }
}

#[expect(clippy::print_stderr, reason = "the one place that does")]
fn complain(message: &str) {
    eprintln!("{message}");
}

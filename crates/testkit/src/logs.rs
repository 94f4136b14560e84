//! What code under test logs through `tracing`, kept for the search.

use std::io;
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};

use keyfob_core::{Error, ErrorKind, Result};
use tracing::Dispatch;
use tracing_subscriber::fmt::MakeWriter;
use tracing_subscriber::fmt::format::FmtSpan;

/// Everything that was logged through `tracing`, down to `TRACE`, from every crate.
///
/// [`run`](crate::run) captures by itself what is logged on the threads that a case runs on. What a store logs from threads or
/// tasks of its own (`spawn_blocking`, a background task, an SDK's connection) goes to the global subscriber: a test
/// binary installs one with [`install_global`](Self::install_global) and hands it to
/// [`RunOptions::logs`](crate::RunOptions::logs). Records of the `log` crate are not seen.
#[derive(Debug, Clone, Default)]
pub struct CapturedLogs(Arc<Mutex<Vec<u8>>>);

impl CapturedLogs {
    /// Makes a capture the global subscriber of this process. Later calls give the same capture.
    ///
    /// # Errors
    /// [`ErrorKind::Other`] when the process has another global subscriber already.
    pub fn install_global() -> Result<Self> {
        static INSTALLED: OnceLock<Option<CapturedLogs>> = OnceLock::new();
        let installed = INSTALLED.get_or_init(|| {
            let logs = Self::default();
            tracing::dispatcher::set_global_default(logs.dispatch()).ok()?;
            Some(logs)
        });
        installed.clone().ok_or_else(|| {
            Error::new(
                ErrorKind::Other,
                "can't capture logs: this process has a global `tracing` subscriber",
            )
            .with_hint("install no subscriber in a test binary that runs the conformance suite")
        })
    }

    /// A dispatcher that writes here.
    pub(crate) fn dispatch(&self) -> Dispatch {
        let subscriber = tracing_subscriber::fmt()
            .with_max_level(tracing::Level::TRACE)
            .with_span_events(FmtSpan::NEW | FmtSpan::CLOSE)
            .with_ansi(false)
            .with_writer(self.clone())
            .finish();
        Dispatch::new(subscriber)
    }

    /// How many bytes were captured by now.
    pub(crate) fn len(&self) -> usize {
        self.bytes().len()
    }

    /// What was captured after the first `start` bytes.
    pub(crate) fn since(&self, start: usize) -> Vec<u8> {
        self.bytes().get(start..).unwrap_or_default().to_vec()
    }

    fn bytes(&self) -> MutexGuard<'_, Vec<u8>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl io::Write for CapturedLogs {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.bytes().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl<'a> MakeWriter<'a> for CapturedLogs {
    type Writer = Self;

    fn make_writer(&'a self) -> Self {
        self.clone()
    }
}

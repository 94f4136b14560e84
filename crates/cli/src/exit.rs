//! How the process ends.

use std::io;

use keyfob::{Error, ErrorKind, Report};

use crate::printer::Printer;

/// The exit status.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Exit {
    /// Everything was done.
    Success,
    /// Something could not be done, or a check found something.
    Failure,
    /// The command line is wrong.
    Usage,
    /// `audit`: there is no log, or `verify` proved nothing, neither that the log is intact nor that it was changed.
    NotProven,
    /// `run`: something failed before the command started.
    BeforeCommand,
    /// `run`: the command can't be started.
    CommandNotExecutable,
    /// `run`: there is no such command.
    CommandNotFound,
    /// `run --watch`: the command's own.
    OfCommand(u8),
}

impl Exit {
    /// What the system is told.
    pub(crate) const fn code(self) -> u8 {
        match self {
            Self::Success => 0,
            Self::Failure => 1,
            Self::Usage => 2,
            Self::NotProven => 3,
            Self::BeforeCommand => 125,
            Self::CommandNotExecutable => 126,
            Self::CommandNotFound => 127,
            Self::OfCommand(code) => code,
        }
    }
}

/// What a command answers.
pub(crate) type Outcome = Result<Exit, Failure>;

/// What a command answers that proves something: where it could not, that is told, and nothing is proven.
pub(crate) fn proven(outcome: Outcome, printer: &Printer) -> Outcome {
    match outcome {
        // Also when the answer could not be written: nobody has been told that it is intact.
        Err(failure @ (Failure::Error(_) | Failure::Output(_))) => {
            failure.report(printer);
            Ok(Exit::NotProven)
        }
        proven => proven,
    }
}

/// Why a command could not do its work.
#[derive(Debug)]
pub(crate) enum Failure {
    /// Something could not be done.
    Error(Error),
    /// What was asked for makes no sense: exit status 2, like a wrong option.
    Usage(Error),
    /// There is no audit log where one was named.
    NoLog(Error),
    /// References could not be resolved.
    Report(Box<Report>),
    /// Standard output could not be written.
    Output(OutputError),
}

/// Standard output could not be written.
#[derive(Debug)]
pub(crate) struct OutputError(pub(crate) io::Error);

impl Failure {
    /// A wrong use of the command line, with what would be right.
    pub(crate) fn usage(
        message: impl Into<std::borrow::Cow<'static, str>>,
        hint: impl Into<std::borrow::Cow<'static, str>>,
    ) -> Self {
        Self::Usage(Error::new(ErrorKind::InvalidInput, message).with_hint(hint))
    }

    /// Tells the user and says how to end.
    pub(crate) fn report(&self, printer: &Printer) -> Exit {
        match self {
            Self::Error(error) => {
                printer.error(error);
                Exit::Failure
            }
            Self::Usage(error) => {
                printer.error(error);
                Exit::Usage
            }
            Self::NoLog(error) => {
                printer.error(error);
                Exit::NotProven
            }
            Self::Report(report) => {
                printer.report(report);
                Exit::Failure
            }
            // Whoever reads us has seen enough, as with `| head`.
            Self::Output(OutputError(error)) if error.kind() == io::ErrorKind::BrokenPipe => Exit::Success,
            Self::Output(OutputError(error)) => {
                printer.error(
                    &Error::new(ErrorKind::Other, "can't write to standard output").with_source(io::Error::from(error.kind())),
                );
                Exit::Failure
            }
        }
    }
}

impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        Self::Error(error)
    }
}

impl From<OutputError> for Failure {
    fn from(error: OutputError) -> Self {
        Self::Output(error)
    }
}

//! Keeps the command running: signals go to it, its end is ours, and what has changed restarts it or is told to it.

use std::ffi::OsString;
use std::io;
use std::process::ExitStatus;

use futures_util::StreamExt as _;
use keyfob::{Error, ErrorKind};
use tokio::time::Instant;

use super::input::Finished;
use super::orphans::Orphans;
use super::started::Started;
use super::watch::{News, NewsStream, WatchArgs};
use crate::exit::Failure;
use crate::printer::Printer;
use crate::signals::{self, Signal, Signals};

/// What a terminal sends to all processes of its foreground group, the command among them.
const OF_TERMINAL: [Signal; 3] = [Signal::INT, Signal::QUIT, Signal::WINCH];

/// With these a terminal and a shell stop and hold a whole process group.
const OF_JOB_CONTROL: [Signal; 3] = [Signal::TSTP, Signal::TTIN, Signal::TTOU];

/// What asks the command to end: it is not started again after it.
const ENDING: [Signal; 3] = [Signal::TERM, Signal::INT, Signal::QUIT];

/// The command and what is done with it.
pub(super) struct Supervisor<'a> {
    pub(super) command: &'a [OsString],
    pub(super) options: &'a WatchArgs,
    pub(super) printer: &'a Printer,
}

/// The old command is being stopped.
struct Stopping {
    /// When it is killed, unless it has been.
    deadline: Option<Instant>,
    /// With what it is started again; `None` when somebody has asked it to end.
    next: Option<Finished>,
}

impl Supervisor<'_> {
    /// Starts the command and stays with it until it ends by itself, or because somebody asks it to.
    ///
    /// # Errors
    /// When the system lets us start or watch no processes.
    pub(super) async fn run(&self, first: Finished, mut news: NewsStream<'_>) -> Result<ExitStatus, Failure> {
        // In a terminal it stays in our process group: Ctrl-C, Ctrl-Z, `fg` and pipelines are the terminal's and the shell's
        // business, as if the command had been started without us.
        let has_terminal = terminal().is_some();
        let own_group = !has_terminal;
        // There, Ctrl-Z stops us with it, and so does what either of us may not do in the background: the shell has to see it.
        let except: &[Signal] = if has_terminal { &OF_JOB_CONTROL } else { &[] };
        // Before the command is there, so that neither its end nor a signal is missed.
        let mut signals = Signals::listen_but(except).map_err(failed)?;
        let mut orphans = Orphans::new();
        let mut started = self.start(&first, own_group)?;
        // The command has the values now; nobody else needs them.
        drop(first);
        let mut stopping: Option<Stopping> = None;
        loop {
            let deadline = stopping.as_ref().and_then(|stopping| stopping.deadline);
            tokio::select! {
                biased;
                signal = signals.next() => match signal {
                    Signal::CHILD => {
                        orphans.may_be_there();
                        if !started.has_ended().map_err(failed)? {
                            continue;
                        }
                        let Some(next) = stopping.take().and_then(|stopping| stopping.next) else {
                            return started.reap().map_err(failed);
                        };
                        // As with a container whose first process has ended.
                        let _ = started.signal_all(Signal::KILL);
                        started.reap().map_err(failed)?;
                        started = self.start(&next, own_group)?;
                    }
                    // A file of ours would become larger than a limit allows: whoever writes it is told.
                    Signal::XFSZ => {}
                    signal => {
                        if let Some(stopping) = &mut stopping && ENDING.contains(&signal) {
                            stopping.next = None;
                        }
                        if !(OF_TERMINAL.contains(&signal) && terminal_has_told()) {
                            self.tell_if_unsent(signal, started.signal(signal));
                        }
                    }
                },
                () = at(deadline) => {
                    self.printer.warning(&format!(
                        "the command has not stopped within {:?} of {} and is killed",
                        self.options.stop_timeout, signals::name(self.options.stop_signal)
                    ));
                    self.tell_if_unsent(Signal::KILL, started.signal_all(Signal::KILL));
                    if let Some(stopping) = &mut stopping {
                        stopping.deadline = None;
                    }
                }
                () = orphans.wait() => orphans.reap(started.pid()),
                Some(told) = news.next(), if stopping.is_none() => {
                    if started.has_ended().map_err(failed)? {
                        return started.reap().map_err(failed);
                    }
                    stopping = self.act(&started, told);
                }
            }
        }
    }

    /// Begins what the news ask for.
    fn act(&self, started: &Started, news: News) -> Option<Stopping> {
        if let Some(signal) = self.options.reload_signal {
            self.printer.note(format_args!(
                "secrets have changed: {} is sent to the command",
                signals::name(signal)
            ));
            if news.variables_changed {
                self.printer
                    .warning("a variable has changed; the command keeps the old one until it is started again");
            }
            self.tell_if_unsent(signal, started.signal(signal));
            return None;
        }
        self.printer.note("secrets have changed: the command is started again");
        let stop = self.options.stop_signal;
        self.tell_if_unsent(stop, started.signal_all(stop));
        // One that is stopped would not see it.
        let _ = started.signal_all(Signal::CONT);
        Some(Stopping {
            deadline: Some(Instant::now() + self.options.stop_timeout),
            next: Some(news.finished),
        })
    }

    fn tell_if_unsent(&self, signal: Signal, sent: io::Result<()>) {
        if let Err(error) = sent {
            let signal = signals::name(signal);
            self.printer.warning(&format!("the command can't be sent {signal}: {error}"));
        }
    }

    fn start(&self, finished: &Finished, own_group: bool) -> Result<Started, Failure> {
        Started::start(self.command, &finished.variables, own_group).map_err(failed)
    }
}

fn failed(error: io::Error) -> Failure {
    Error::new(ErrorKind::Other, "the command can't be started or watched")
        .with_source(error)
        .into()
}

/// Our terminal, if we have one.
fn terminal() -> Option<std::fs::File> {
    std::fs::File::open("/dev/tty").ok()
}

/// Whether what came was most likely typed at the terminal, which has sent it to the command too.
fn terminal_has_told() -> bool {
    let foreground = terminal().and_then(|terminal| rustix::termios::tcgetpgrp(terminal).ok());
    foreground == Some(rustix::process::getpgrp())
}

/// Waits until then; without an end when there is no such time.
async fn at(time: Option<Instant>) {
    match time {
        Some(time) => tokio::time::sleep_until(time).await,
        None => std::future::pending().await,
    }
}

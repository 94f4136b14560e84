//! Signals by their names, and those that a process is sent.

use std::future::poll_fn;
use std::io;
use std::task::Poll;

use rustix::process::Signal;
use tokio::signal::unix::{self, SignalKind};

/// Those that people send, by the names that `kill` has for them.
const NAMES: [(&str, Signal); 13] = [
    ("HUP", Signal::HUP),
    ("INT", Signal::INT),
    ("QUIT", Signal::QUIT),
    ("KILL", Signal::KILL),
    ("USR1", Signal::USR1),
    ("USR2", Signal::USR2),
    ("ALRM", Signal::ALARM),
    ("TERM", Signal::TERM),
    ("CONT", Signal::CONT),
    ("STOP", Signal::STOP),
    ("TSTP", Signal::TSTP),
    ("WINCH", Signal::WINCH),
    ("CHLD", Signal::CHILD),
];

/// A signal by its name, with or without `SIG`, or its number.
pub(crate) fn parse(text: &str) -> Result<Signal, String> {
    let upper = text.to_ascii_uppercase();
    let name = upper.strip_prefix("SIG").unwrap_or(&upper);
    let named = NAMES.iter().find(|(known, _)| *known == name).map(|(_, signal)| *signal);
    let numbered = || Signal::from_named_raw(text.parse().ok()?);
    named
        .or_else(numbered)
        .ok_or_else(|| "give the name of a signal, for example `HUP`, `USR1` or `TERM`".to_owned())
}

/// The name of a signal, or its number.
pub(crate) fn name(signal: Signal) -> String {
    let named = NAMES.iter().find(|(_, known)| *known == signal);
    named.map_or_else(|| signal.as_raw().to_string(), |(name, _)| format!("SIG{name}"))
}

/// The signals that come, from the moment that it is made.
pub(crate) struct Signals(Vec<(Signal, unix::Signal)>);

impl Signals {
    /// Begins to take these signals. What they would do otherwise, they do no longer.
    ///
    /// # Errors
    /// Those of the system.
    pub(crate) fn listen(signals: impl IntoIterator<Item = Signal>) -> io::Result<Self> {
        let listen = |signal: Signal| Ok((signal, unix::signal(SignalKind::from_raw(signal.as_raw()))?));
        signals.into_iter().map(listen).collect::<io::Result<_>>().map(Self)
    }

    /// The next one. Signals of one kind that come together count as one, as always with signals.
    pub(crate) async fn next(&mut self) -> Signal {
        poll_fn(|context| {
            let mut signals = self.0.iter_mut();
            let came = signals.find_map(|(name, signal)| signal.poll_recv(context).is_ready().then_some(*name));
            came.map_or(Poll::Pending, Poll::Ready)
        })
        .await
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_signal_has_a_name_and_a_number() {
        for text in ["HUP", "SIGHUP", "hup", "sighup", "1"] {
            assert_eq!(parse(text), Ok(Signal::HUP), "{text}");
        }
        for text in ["", "SIG", "HUPP", "0", "-1", "99"] {
            assert!(parse(text).is_err(), "{text}");
        }
        assert_eq!(name(Signal::USR2), "SIGUSR2");
        assert_eq!(name(Signal::SEGV), "11");
    }
}

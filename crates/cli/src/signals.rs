//! Signals: their names, those that a process is sent, and how they are sent on.

use std::future::poll_fn;
use std::io;
use std::process::{Command, Stdio};
use std::task::Poll;

use rustix::process::{self, Pid, RawPid, Signal as Named};
use tokio::signal::unix::{self, SignalKind};

/// A signal, by its number: those without a name too.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Signal(i32);

impl Signal {
    pub(crate) const CHILD: Self = Self(Named::CHILD.as_raw());
    pub(crate) const CONT: Self = Self(Named::CONT.as_raw());
    pub(crate) const INT: Self = Self(Named::INT.as_raw());
    pub(crate) const KILL: Self = Self(Named::KILL.as_raw());
    pub(crate) const QUIT: Self = Self(Named::QUIT.as_raw());
    pub(crate) const STOP: Self = Self(Named::STOP.as_raw());
    pub(crate) const TERM: Self = Self(Named::TERM.as_raw());
    pub(crate) const TSTP: Self = Self(Named::TSTP.as_raw());
    pub(crate) const TTIN: Self = Self(Named::TTIN.as_raw());
    pub(crate) const TTOU: Self = Self(Named::TTOU.as_raw());
    pub(crate) const WINCH: Self = Self(Named::WINCH.as_raw());
    pub(crate) const XFSZ: Self = Self(Named::XFSZ.as_raw());
}

/// By the names that `kill` has for them.
const NAMES: &[(&str, Named)] = &[
    ("HUP", Named::HUP),
    ("INT", Named::INT),
    ("QUIT", Named::QUIT),
    ("ILL", Named::ILL),
    ("TRAP", Named::TRAP),
    ("ABRT", Named::ABORT),
    ("BUS", Named::BUS),
    ("FPE", Named::FPE),
    ("KILL", Named::KILL),
    ("USR1", Named::USR1),
    ("SEGV", Named::SEGV),
    ("USR2", Named::USR2),
    ("PIPE", Named::PIPE),
    ("ALRM", Named::ALARM),
    ("TERM", Named::TERM),
    #[cfg(target_os = "linux")]
    ("STKFLT", Named::STKFLT),
    ("CHLD", Named::CHILD),
    ("CONT", Named::CONT),
    ("STOP", Named::STOP),
    ("TSTP", Named::TSTP),
    ("TTIN", Named::TTIN),
    ("TTOU", Named::TTOU),
    ("URG", Named::URG),
    ("XCPU", Named::XCPU),
    ("XFSZ", Named::XFSZ),
    ("VTALRM", Named::VTALARM),
    ("PROF", Named::PROF),
    ("WINCH", Named::WINCH),
    ("IO", Named::IO),
    #[cfg(target_os = "linux")]
    ("PWR", Named::POWER),
    ("SYS", Named::SYS),
];

/// The last number. Above 31 they are the real-time signals, of which the first are the C library's own.
const LAST: i32 = if cfg!(target_os = "linux") { 64 } else { 31 };

/// The first real-time signal that the C library leaves to programs: `RTMIN`.
const FIRST_REAL_TIME: i32 = if cfg!(target_env = "musl") { 35 } else { 34 };

fn is_real_time(number: i32) -> bool {
    (FIRST_REAL_TIME..=LAST).contains(&number)
}

/// `RTMIN`, `RTMIN+N`, `RTMAX` or `RTMAX-N`.
fn real_time(name: &str) -> Option<i32> {
    let (first, sign, offset) = match name.strip_prefix("RTMIN") {
        Some(offset) => (FIRST_REAL_TIME, '+', offset),
        None => (LAST, '-', name.strip_prefix("RTMAX")?),
    };
    let offset = match offset.strip_prefix(sign) {
        Some(digits) if !digits.is_empty() && digits.bytes().all(|byte| byte.is_ascii_digit()) => digits.parse::<u8>().ok()?,
        None if offset.is_empty() => 0,
        _ => return None,
    };
    let number = if sign == '+' {
        first + i32::from(offset)
    } else {
        first - i32::from(offset)
    };
    is_real_time(number).then_some(number)
}

/// The name of a real-time signal: by the nearer end, as `kill -l` has it.
fn real_time_name(number: i32) -> String {
    let (above, below) = (number - FIRST_REAL_TIME, LAST - number);
    match (above, below) {
        (0, _) => "SIGRTMIN".to_owned(),
        (_, 0) => "SIGRTMAX".to_owned(),
        _ if above <= below => format!("SIGRTMIN+{above}"),
        _ => format!("SIGRTMAX-{below}"),
    }
}

/// Not taken: what nobody can take; what a process does to itself, since who caught that would go on where nothing can go on; and
/// what our own writes bring upon us.
const NOT_TAKEN: [Named; 9] = [
    Named::KILL,
    Named::STOP,
    Named::ILL,
    Named::TRAP,
    Named::BUS,
    Named::FPE,
    Named::SEGV,
    Named::SYS,
    Named::PIPE,
];

/// A signal by its name, with or without `SIG`, or its number.
pub(crate) fn parse(text: &str) -> Result<Signal, String> {
    let upper = text.to_ascii_uppercase();
    let name = upper.strip_prefix("SIG").unwrap_or(&upper);
    let named = NAMES.iter().find(|(known, _)| *known == name);
    let numbered = || text.parse().ok().and_then(Signal::from_number);
    named
        .map(|(_, signal)| Signal(signal.as_raw()))
        .or_else(|| real_time(name).map(Signal))
        .or_else(numbered)
        .ok_or_else(|| "give the name of a signal, for example `HUP`, `TERM` or `RTMIN+1`, or its number".to_owned())
}

/// A signal with which somebody means to end a process.
pub(crate) fn parse_ending(text: &str) -> Result<Signal, String> {
    match parse(text)? {
        Signal::STOP | Signal::TSTP | Signal::TTIN | Signal::TTOU => {
            Err("it makes a command pause and does not end it; `TERM` asks it to end".to_owned())
        }
        Signal::CONT => Err("it makes a command that pauses go on and does not end it; `TERM` asks it to end".to_owned()),
        Signal::CHILD => Err("it tells a command of its children and does not end it; `TERM` asks it to end".to_owned()),
        signal => Ok(signal),
    }
}

/// A signal that a process can take as a message.
pub(crate) fn parse_message(text: &str) -> Result<Signal, String> {
    match parse(text)? {
        Signal::KILL | Signal::STOP => Err("no command can take it as a message; `HUP` is the usual one".to_owned()),
        signal => Ok(signal),
    }
}

/// The name of a signal.
pub(crate) fn name(signal: Signal) -> String {
    let named = NAMES.iter().find(|(_, known)| known.as_raw() == signal.0);
    named.map_or_else(|| real_time_name(signal.0), |(name, _)| format!("SIG{name}"))
}

impl Signal {
    /// That with this number, if there is one.
    pub(crate) fn from_number(number: i32) -> Option<Self> {
        let is_known = Named::from_named_raw(number).is_some() || is_real_time(number);
        is_known.then_some(Self(number))
    }

    /// Sends it to a process.
    ///
    /// # Errors
    /// Those of the system.
    pub(crate) fn send(self, pid: Pid) -> io::Result<()> {
        match Named::from_named_raw(self.0) {
            Some(signal) => Ok(process::kill_process(pid, signal)?),
            None => self.send_by_shell(pid.as_raw_pid()),
        }
    }

    /// Sends it to all processes of a group.
    ///
    /// # Errors
    /// Those of the system.
    pub(crate) fn send_to_group(self, group: Pid) -> io::Result<()> {
        match Named::from_named_raw(self.0) {
            Some(signal) => Ok(process::kill_process_group(group, signal)?),
            None => self.send_by_shell(-group.as_raw_pid()),
        }
    }

    /// Nothing else that is safe sends a real-time signal: what calls the kernel for us takes one by its number unchecked only.
    fn send_by_shell(self, receiver: RawPid) -> io::Result<()> {
        let kill = format!("kill -{} {receiver}", self.0);
        let mut shell = Command::new("/bin/sh");
        shell.args(["-c", &kill]).env_clear();
        let status = shell
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .status()?;
        match status.success() {
            true => Ok(()),
            false => Err(io::Error::other("the shell can't send it")),
        }
    }
}

/// The signals that come, from the moment that it is made.
pub(crate) struct Signals(Vec<(Signal, unix::Signal)>);

impl Signals {
    /// Begins to take all signals that can be taken, but these. What they would do otherwise, they do no longer.
    ///
    /// What this process was started to ignore, as by `nohup`, it goes on to ignore, and so do its children.
    ///
    /// # Errors
    /// Those of the system.
    pub(crate) fn listen_but(except: &[Signal]) -> io::Result<Self> {
        let ignored = ignored();
        let is_taken = |signal: &Signal| {
            let is_out = NOT_TAKEN.iter().any(|out| out.as_raw() == signal.0) || except.contains(signal);
            !is_out && ignored >> (signal.0 - 1) & 1 == 0
        };
        // Our children come last: what is sent to a command that has just ended still counts.
        let numbers = (1..=LAST).filter_map(Signal::from_number);
        let wanted = numbers.filter(|signal| *signal != Signal::CHILD && is_taken(signal));
        let mut signals = Vec::new();
        for signal in wanted.chain([Signal::CHILD]) {
            match unix::signal(SignalKind::from_raw(signal.0)) {
                Ok(listener) => signals.push((signal, listener)),
                // Some C libraries keep more of these for themselves.
                Err(_) if is_real_time(signal.0) => {}
                Err(error) => return Err(error),
            }
        }
        Ok(Self(signals))
    }

    /// The next one. Signals of one kind that come together count as one.
    pub(crate) async fn next(&mut self) -> Signal {
        poll_fn(|context| {
            let mut signals = self.0.iter_mut();
            let came = signals.find_map(|(name, signal)| signal.poll_recv(context).is_ready().then_some(*name));
            came.map_or(Poll::Pending, Poll::Ready)
        })
        .await
    }
}

/// The signals that this process ignores, a bit each from the first.
fn ignored() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let mask = status.lines().find_map(|line| line.strip_prefix("SigIgn:"));
    mask.and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok())
        .unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_signal_has_a_name_and_a_number() {
        for text in ["HUP", "SIGHUP", "hup", "sighup", "1"] {
            assert_eq!(parse(text), Ok(Signal(1)), "{text}");
        }
        let wrong = ["", "SIG", "HUPP", "0", "-1", "32", "33", "65", "99"];
        let wrong_real_time = [
            "RTMIN-1",
            "RTMAX+1",
            "RTMIN+",
            "RTMIN+31",
            "RTMIN++1",
            "RTMAX-31",
            "RTMAX-x",
            "RTMIN+256",
            "RTMIN 1",
        ];
        for text in wrong.into_iter().chain(wrong_real_time) {
            assert!(parse(text).is_err(), "{text}");
        }
        for number in 1..=31 {
            let signal = parse(&number.to_string()).unwrap();
            assert_eq!(parse(&name(signal)), Ok(signal), "{number}");
        }
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn a_real_time_signal_has_a_name_and_a_number() {
        for number in FIRST_REAL_TIME..=64 {
            let signal = parse(&number.to_string()).unwrap();
            assert_eq!(signal, Signal(number));
            assert_eq!(parse(&name(signal)), Ok(signal), "{number}");
            let (above, below) = (number - FIRST_REAL_TIME, 64 - number);
            assert_eq!(parse(&format!("RTMIN+{above}")), Ok(signal));
            assert_eq!(parse(&format!("sigrtmax-{below}")), Ok(signal));
        }
        assert_eq!(name(Signal(FIRST_REAL_TIME + 1)), "SIGRTMIN+1");
        assert_eq!(name(Signal(62)), "SIGRTMAX-2");
    }

    #[test]
    fn what_ends_no_command_and_what_none_can_take_is_refused() {
        for text in ["STOP", "SIGSTOP", "TSTP", "TTIN", "TTOU", "CONT", "CHLD", "19"] {
            assert!(parse_ending(text).unwrap_err().contains("does not end it"), "{text}");
        }
        for text in ["TERM", "KILL", "WINCH", "USR2"] {
            assert_eq!(parse_ending(text), parse(text), "{text}");
        }
        assert!(parse_message("KILL").is_err() && parse_message("STOP").is_err());
        assert_eq!(parse_message("WINCH"), parse("WINCH"));
    }
}

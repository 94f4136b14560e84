//! Which process is which: a number alone may belong to another process by now.

use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use crate::process::{Failure, Result, output};

const POLITE: Duration = Duration::from_secs(15);
const BY_FORCE: Duration = Duration::from_secs(5);

/// A process that was started as the leader of its own group.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Process {
    pub(super) pid: u32,
    /// When it started, in words of the operating system that are only compared.
    pub(super) started: String,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Signal {
    Terminate,
    Interrupt,
    Kill,
}

impl Signal {
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Terminate => "TERM",
            Self::Interrupt => "INT",
            Self::Kill => "KILL",
        }
    }

    pub(super) fn from_name(name: &str) -> Option<Self> {
        [Self::Terminate, Self::Interrupt, Self::Kill]
            .into_iter()
            .find(|signal| signal.name() == name)
    }
}

impl Process {
    /// The process that has the number `pid` now. None when there is no such process, or it has ended and only waits to
    /// be reaped.
    pub(super) fn at(pid: u32) -> Option<Self> {
        let started = if cfg!(target_os = "linux") {
            let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
            let boot = std::fs::read_to_string("/proc/sys/kernel/random/boot_id").unwrap_or_default();
            format!("{} {}", start_in_stat(&stat)?, boot.trim())
        } else {
            let said = output(Command::new("ps").args(["-o", "stat=,lstart=", "-p", &pid.to_string()])).ok()?;
            start_in_ps(&said)?
        };
        Some(Self { pid, started })
    }

    /// Whether it is still this process that has the number.
    pub(super) fn runs(&self) -> bool {
        Self::at(self.pid).as_ref() == Some(self)
    }

    /// Ends it and its group, and waits until it has ended. What is not this process is left alone.
    pub(super) fn stop(&self, signal: Signal) -> Result {
        for (signal, patience) in [(signal, POLITE), (Signal::Kill, BY_FORCE)] {
            if !self.runs() {
                return Ok(());
            }
            self.signal_group(signal);
            let end = Instant::now() + patience;
            while self.runs() && Instant::now() < end {
                std::thread::sleep(Duration::from_millis(20));
            }
        }
        if self.runs() {
            return Err(Failure::failed(format!("process {} does not end", self.pid)));
        }
        Ok(())
    }

    /// That it has just ended is no failure.
    fn signal_group(&self, signal: Signal) {
        // The shell's own `kill` is there where no such program is installed.
        let _ = Command::new("sh")
            .args(["-c", "kill -s \"$1\" -- \"-$2\"", "sh", signal.name(), &self.pid.to_string()])
            .stdin(Stdio::null())
            .stderr(Stdio::null())
            .status();
    }
}

/// The start time in the content of `/proc/PID/stat`, in ticks since the machine started.
fn start_in_stat(stat: &str) -> Option<&str> {
    // The program's name, in parentheses, may hold spaces and parentheses.
    let (_, after_name) = stat.rsplit_once(')')?;
    let mut fields = after_name.split_whitespace();
    let state = fields.next()?;
    (!matches!(state, "Z" | "X")).then_some(())?;
    // Field 22 of the manual page proc(5); the state is the third.
    fields.nth(18)
}

/// The start time in a line of `ps -o stat=,lstart=`.
fn start_in_ps(said: &str) -> Option<String> {
    let (state, start) = said.trim().split_once(' ')?;
    (!state.starts_with('Z')).then(|| start.trim().to_owned())
}

#[cfg(test)]
mod tests {
    use std::os::unix::process::CommandExt as _;
    use std::process::Child;

    use super::*;

    fn sleeper() -> Child {
        Command::new("sleep").arg("600").process_group(0).spawn().unwrap()
    }

    #[test]
    fn a_process_is_stopped_and_then_runs_no_more() {
        let mut child = sleeper();
        let process = Process::at(child.id()).unwrap();
        assert!(process.runs());
        process.stop(Signal::Terminate).unwrap();
        // Not reaped yet, and still it counts as ended.
        assert!(!process.runs());
        assert!(!child.wait().unwrap().success());
    }

    #[test]
    fn a_process_with_a_recycled_number_is_left_alone() {
        let mut child = sleeper();
        let mut other = Process::at(child.id()).unwrap();
        other.started.insert(0, '1');
        assert!(!other.runs());
        other.stop(Signal::Kill).unwrap();
        assert!(child.try_wait().unwrap().is_none());
        child.kill().unwrap();
        child.wait().unwrap();
    }

    #[test]
    fn one_that_ignores_the_polite_signal_is_killed_with_its_children() {
        let mut command = Command::new("sh");
        command
            .args(["-c", "trap '' INT; sleep 600 & echo $!; wait"])
            .stdout(Stdio::piped());
        let mut child = command.process_group(0).spawn().unwrap();
        let mut line = String::new();
        std::io::BufRead::read_line(&mut std::io::BufReader::new(child.stdout.take().unwrap()), &mut line).unwrap();
        let grandchild = Process::at(line.trim().parse().unwrap()).unwrap();
        let process = Process::at(child.id()).unwrap();
        // As `stop`, without its patience.
        process.signal_group(Signal::Interrupt);
        std::thread::sleep(Duration::from_millis(50));
        assert!(process.runs());
        process.stop(Signal::Kill).unwrap();
        child.wait().unwrap();
        let end = Instant::now() + BY_FORCE;
        while grandchild.runs() && Instant::now() < end {
            std::thread::sleep(Duration::from_millis(10));
        }
        assert!(!grandchild.runs());
    }

    #[test]
    fn the_start_time_is_found_behind_any_name() {
        let stat = "7 (a) b (c)) S 1 7 7 0 -1 4194304 1 2 3 4 5 6 7 8 20 0 1 0 4711 999 1\n";
        assert_eq!(start_in_stat(stat), Some("4711"));
        assert_eq!(start_in_stat(&stat.replace(" S ", " Z ")), None);
        assert_eq!(start_in_stat("7 (a"), None);
        assert_eq!(
            start_in_ps("Ss   Mon Nov 23 22:30:34 2026\n").as_deref(),
            Some("Mon Nov 23 22:30:34 2026")
        );
        assert_eq!(start_in_ps("Z    Mon Nov 23 22:30:34 2026"), None);
        assert_eq!(start_in_ps(""), None);
    }

    #[test]
    fn signals_are_read_as_they_are_written() {
        for signal in [Signal::Terminate, Signal::Interrupt, Signal::Kill] {
            assert_eq!(Signal::from_name(signal.name()), Some(signal));
        }
        assert_eq!(Signal::from_name("HUP"), None);
    }
}

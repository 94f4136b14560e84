//! The command as a child of `keyfob run --watch`.
//!
//! Between the two stands a short-lived `keyfob`, started as [`start`](crate::commands::start): it sees to it that the command
//! does not outlive its keeper, and takes the variables over a socket, so that the keeper holds their values no longer than it
//! takes to hand them over. (`std::process::Command` would keep copies that nobody wipes.)

use std::ffi::OsString;
use std::io::{self, IoSlice, Write as _};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd as _, OwnedFd};
use std::os::unix::net::UnixStream;
use std::os::unix::process::{CommandExt as _, ExitStatusExt as _};
use std::process::{Child, Command, ExitStatus};

use keyfob::SecretValue;
use rustix::net::{SendAncillaryBuffer, SendAncillaryMessage, SendFlags};
use rustix::process::{Pid, WaitId, WaitIdOptions};

use crate::commands::start;
use crate::exit::Exit;
use crate::signals::Signal;

/// A command that was started.
pub(super) struct Started {
    child: Child,
    pid: Pid,
    has_group: bool,
}

impl Started {
    /// Starts it, in a process group of its own if `own_group`.
    ///
    /// # Errors
    /// Those of the system. That there is no such command is no error here: the child ends with 127.
    pub(super) fn start(command: &[OsString], variables: &[(String, SecretValue)], own_group: bool) -> io::Result<Self> {
        let (ours, theirs) = UnixStream::pair()?;
        let mut keyfob = Command::new(own_program()?);
        keyfob.arg0("keyfob").args(start::arguments()).args(command);
        keyfob.stdin(OwnedFd::from(theirs));
        if own_group {
            keyfob.process_group(0);
        }
        let mut child = keyfob.spawn()?;
        // It holds the other end of the socket.
        drop(keyfob);
        let pid = Pid::from_child(&child);
        if let Err(error) = hand_over(&ours, variables) {
            // One that has ended already says so by its status.
            if error.kind() != io::ErrorKind::BrokenPipe && error.kind() != io::ErrorKind::ConnectionReset {
                child.kill()?;
                child.wait()?;
                return Err(error);
            }
        }
        Ok(Self {
            child,
            pid,
            has_group: own_group,
        })
    }

    /// Sends a signal to the command alone. It may have ended.
    ///
    /// # Errors
    /// Those of the system, such as that the command is another user's.
    pub(super) fn signal(&self, signal: Signal) -> io::Result<()> {
        signal.send(self.pid)
    }

    /// Sends a signal to the command and all that it has started, where they have a process group.
    ///
    /// # Errors
    /// Those of [`signal`](Self::signal).
    pub(super) fn signal_all(&self, signal: Signal) -> io::Result<()> {
        match self.has_group {
            true => signal.send_to_group(self.pid),
            false => self.signal(signal),
        }
    }

    /// Whether it has ended. Its process id stays its own until it is [reaped](Self::reap).
    ///
    /// # Errors
    /// Those of the system.
    pub(super) fn has_ended(&self) -> io::Result<bool> {
        let options = WaitIdOptions::EXITED | WaitIdOptions::NOHANG | WaitIdOptions::NOWAIT;
        Ok(rustix::process::waitid(WaitId::Pid(self.pid), options)?.is_some())
    }

    /// Takes note of its end.
    ///
    /// # Errors
    /// Those of the system.
    pub(super) fn reap(mut self) -> io::Result<ExitStatus> {
        self.child.wait()
    }

    pub(super) fn pid(&self) -> Pid {
        self.pid
    }
}

/// This very program, also when its file has been replaced since.
fn own_program() -> io::Result<OsString> {
    if cfg!(target_os = "linux") {
        return Ok("/proc/self/exe".into());
    }
    std::env::current_exe().map(Into::into)
}

/// Sends our standard input and the variables.
fn hand_over(socket: &UnixStream, variables: &[(String, SecretValue)]) -> io::Result<()> {
    let stdin = io::stdin();
    let descriptors = [stdin.as_fd()];
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
    let mut ancillary = SendAncillaryBuffer::new(&mut space);
    ancillary.push(SendAncillaryMessage::ScmRights(&descriptors));
    rustix::net::sendmsg(socket, &[IoSlice::new(&[0])], &mut ancillary, SendFlags::NOSIGNAL)?;
    let message = start::encode(variables);
    let mut socket = socket;
    socket.write_all(&message)
}

/// Ends this process as the command ended: by the same signal, or with its exit status, which is given back.
pub(super) fn end_like(status: ExitStatus) -> Exit {
    let code = match status.signal() {
        Some(signal) => {
            // A program that is executed has no handlers, so the signal does what it does by itself.
            if let Ok(program) = own_program() {
                let _ = Command::new(program).arg0("keyfob").args(start::end_by(signal)).exec();
            }
            128 + signal
        }
        None => status.code().unwrap_or(1),
    };
    Exit::OfCommand(u8::try_from(code).unwrap_or(u8::MAX))
}

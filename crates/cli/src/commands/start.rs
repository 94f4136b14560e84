//! `keyfob start-command`: the moment between `keyfob run --watch` and the command that it starts. Nobody else calls it.
//!
//! Standard input is a socket to the keeper. Over it come the command's own standard input and the variables, each as
//! `NAME=VALUE` with a NUL behind it, and one more NUL when they are complete. A keeper that ends before that starts nothing.

use std::ffi::{OsStr, OsString};
use std::io::{self, IoSliceMut, Read as _};
use std::mem::MaybeUninit;
use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStrExt as _;
use std::process::Command;

use clap::Parser;
use keyfob::SecretValue;
use rustix::net::{RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, ReturnFlags};
use rustix::process::Pid;
use zeroize::Zeroizing;

use super::run::become_it;
use crate::context::Context;
use crate::exit::{Exit, Outcome};
use crate::signals::Signal;

#[derive(Debug, Parser)]
pub(crate) struct Args {
    /// The process that waits for the command
    #[arg(long)]
    keeper: Option<i32>,

    /// End by this signal instead
    #[arg(long)]
    end_by: Option<i32>,

    /// The command and its arguments
    #[arg(last = true)]
    command: Vec<OsString>,
}

/// The arguments that stand before the command.
pub(super) fn arguments() -> Vec<String> {
    let keeper = std::process::id().to_string();
    ["start-command", "--keeper", &keeper, "--"].map(str::to_owned).into()
}

/// The arguments with which this program ends by a signal.
pub(super) fn end_by(signal: i32) -> Vec<String> {
    ["start-command", "--end-by", &signal.to_string()].map(str::to_owned).into()
}

/// What is sent after standard input.
pub(super) fn encode(variables: &[(String, SecretValue)]) -> Zeroizing<Vec<u8>> {
    let length = |(name, value): &(String, SecretValue)| name.len() + value.expose_secret().len() + 2;
    // Of its final size from the start: what grows leaves copies behind.
    let mut message = Zeroizing::new(Vec::with_capacity(variables.iter().map(length).sum::<usize>() + 1));
    for (name, value) in variables {
        message.extend_from_slice(name.as_bytes());
        message.push(b'=');
        message.extend_from_slice(value.expose_secret());
        message.push(0);
    }
    message.push(0);
    message
}

/// The variables of a message; `None` when it is not complete.
fn decode(message: &[u8]) -> Option<Vec<(&OsStr, &OsStr)>> {
    let mut variables = Vec::new();
    let mut rest = message;
    loop {
        let end = rest.iter().position(|byte| *byte == 0)?;
        let (variable, behind) = (&rest[..end], &rest[end + 1..]);
        if variable.is_empty() {
            return behind.is_empty().then_some(variables);
        }
        let equals = variable.iter().position(|byte| *byte == b'=')?;
        variables.push((
            OsStr::from_bytes(&variable[..equals]),
            OsStr::from_bytes(&variable[equals + 1..]),
        ));
        rest = behind;
    }
}

impl Args {
    pub(crate) fn run(self, context: &Context) -> Outcome {
        if let Some(signal) = self.end_by {
            return Ok(end(signal));
        }
        if !stay_with(self.keeper) {
            return Ok(Exit::BeforeCommand);
        }
        let Some((program, arguments)) = self.command.split_first() else {
            return Ok(Exit::Usage);
        };
        // A keeper that is gone has nobody left to tell.
        let Ok(message) = receive() else {
            return Ok(Exit::BeforeCommand);
        };
        let Some(variables) = decode(&message) else {
            return Ok(Exit::BeforeCommand);
        };
        let mut command = Command::new(program);
        command.args(arguments).envs(variables);
        Ok(become_it(command, context))
    }
}

/// Lets the kernel kill this process, and the command that it becomes, when the keeper is killed. False when the keeper is
/// gone already.
fn stay_with(keeper: Option<i32>) -> bool {
    #[cfg(target_os = "linux")]
    if rustix::process::set_parent_process_death_signal(Some(rustix::process::Signal::KILL)).is_err() {
        return false;
    }
    rustix::process::getppid().map(Pid::as_raw_pid) == keeper
}

/// Takes standard input and the message.
fn receive() -> io::Result<Zeroizing<Vec<u8>>> {
    let socket = rustix::stdio::stdin();
    let mut byte = [0];
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
    let mut ancillary = RecvAncillaryBuffer::new(&mut space);
    let received = rustix::net::recvmsg(
        socket,
        &mut [IoSliceMut::new(&mut byte)],
        &mut ancillary,
        RecvFlags::CMSG_CLOEXEC,
    )?;
    let descriptors = ancillary.drain().find_map(|message| match message {
        RecvAncillaryMessage::ScmRights(mut descriptors) => descriptors.next(),
        _ => None,
    });
    let stdin: OwnedFd = match descriptors {
        Some(descriptor) if received.bytes == 1 && !received.flags.contains(ReturnFlags::CTRUNC) => descriptor,
        _ => return Err(io::ErrorKind::UnexpectedEof.into()),
    };
    let message = read_wiped(std::fs::File::from(socket.try_clone_to_owned()?))?;
    rustix::stdio::dup2_stdin(&stdin)?;
    Ok(message)
}

/// Reads to the end, without leaving copies behind.
fn read_wiped(mut socket: std::fs::File) -> io::Result<Zeroizing<Vec<u8>>> {
    let mut message = Zeroizing::new(Vec::new());
    let mut piece = Zeroizing::new([0; 4096]);
    loop {
        match socket.read(&mut *piece) {
            Ok(0) => return Ok(message),
            Ok(count) => {
                if message.capacity() < message.len() + count {
                    let mut larger = Zeroizing::new(Vec::with_capacity(2 * message.len() + count));
                    larger.extend_from_slice(&message);
                    message = larger;
                }
                message.extend_from_slice(&piece[..count]);
            }
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
}

/// Ends by a signal, or, where that does not end this process (the first one of a container), as a shell would show it.
fn end(signal: i32) -> Exit {
    if let Some(signal) = Signal::from_number(signal) {
        let _ = signal.send(rustix::process::getpid());
    }
    Exit::OfCommand(u8::try_from(128 + signal).unwrap_or(u8::MAX))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn variables_arrive_whole_or_not_at_all() {
        let variables = [
            ("A".to_owned(), SecretValue::from("one=two\n")),
            ("B".to_owned(), SecretValue::from("")),
        ];
        let message = encode(&variables);
        assert_eq!(message.capacity(), message.len());
        let decoded = decode(&message).unwrap();
        let expected = [("A", "one=two\n"), ("B", "")].map(|(name, value)| (OsStr::new(name), OsStr::new(value)));
        assert_eq!(decoded, expected);
        for length in 0..message.len() {
            assert_eq!(decode(&message[..length]), None);
        }
        assert_eq!(decode(&encode(&[])), Some(Vec::new()));
    }
}

//! Asking a person for something that must not be seen.
//!
//! The terminal is silent from before the first question until after the last answer: what is typed or pasted ahead
//! is never echoed. It is read key by key, because a terminal's own line is cut at 4095 bytes, and because Ctrl-C must
//! leave a terminal that echoes again.

use std::fs::{File, OpenOptions};
use std::io::{self, Read as _, Write as _};

use keyfob::{Error, ErrorKind, Result, SecretValue};
use rustix::process::{Signal, getpid, kill_process};
use rustix::termios::{LocalModes, OptionalActions, SpecialCodeIndex, Termios, tcgetattr, tcsetattr};
use zeroize::Zeroizing;

use crate::text::escape_untrusted;

/// Asks twice, without echo, and refuses two different answers.
///
/// # Errors
/// `InvalidInput` when the answers differ or hold a key that makes no character; `Unavailable` when there is no
/// terminal to ask at, or nothing was entered.
pub(crate) fn new_secret(what: &str) -> Result<SecretValue> {
    let mut terminal = SilentTerminal::open()?;
    let first = terminal.ask(what)?;
    let second = terminal.ask("the same again")?;
    if *first != *second {
        let message = "the two entries differ, nothing was written";
        return Err(Error::new(ErrorKind::InvalidInput, message));
    }
    Ok(SecretValue::from(&first[..]))
}

/// Asks once, without echo.
///
/// # Errors
/// As [`new_secret`].
pub(crate) fn secret(what: &str) -> Result<SecretValue> {
    let answer = SilentTerminal::open()?.ask(what)?;
    Ok(SecretValue::from(&answer[..]))
}

/// The longest answer, in bytes.
const MAX_BYTES: usize = 64 << 10;

const CTRL_C: u8 = 0x03;
const CTRL_D: u8 = 0x04;
const BACKSPACE: u8 = 0x08;
const CTRL_U: u8 = 0x15;
const DELETE: u8 = 0x7f;

/// The controlling terminal, without echo. As it was before when it goes.
struct SilentTerminal {
    tty: File,
    before: Termios,
}

impl SilentTerminal {
    fn open() -> Result<Self> {
        let open = || -> io::Result<Self> {
            let tty = OpenOptions::new().read(true).write(true).open("/dev/tty")?;
            let before = tcgetattr(&tty)?;
            let mut silent = before.clone();
            silent.local_modes -= LocalModes::ECHO | LocalModes::ECHONL | LocalModes::ICANON | LocalModes::ISIG;
            silent.special_codes[SpecialCodeIndex::VMIN] = 1;
            silent.special_codes[SpecialCodeIndex::VTIME] = 0;
            // What was typed before the question was echoed, and is no answer to it.
            tcsetattr(&tty, OptionalActions::Flush, &silent)?;
            Ok(Self { tty, before })
        };
        open().map_err(|error| Error::new(ErrorKind::Unavailable, "there is no terminal to ask at").with_source(error))
    }

    fn ask(&mut self, what: &str) -> Result<Zeroizing<Vec<u8>>> {
        let answer = write!(self.tty, "{}: ", escape_untrusted(what)).and_then(|()| self.line());
        let _ = self.tty.write_all(b"\n");
        answer.map_err(|error| match error.kind() {
            io::ErrorKind::UnexpectedEof | io::ErrorKind::Interrupted => {
                Error::new(ErrorKind::Unavailable, "nothing was entered")
            }
            io::ErrorKind::InvalidInput => Error::new(ErrorKind::InvalidInput, "a key was pressed that makes no character")
                .with_hint("enter it again, or pipe the value in"),
            io::ErrorKind::FileTooLarge => {
                Error::new(ErrorKind::InvalidInput, "this is longer than 64 KiB").with_hint("pipe the value in")
            }
            _ => Error::new(ErrorKind::Unavailable, "can't read from the terminal").with_source(error),
        })
    }

    fn line(&mut self) -> io::Result<Zeroizing<Vec<u8>>> {
        // Never grows, so it leaves no copy behind.
        let mut line = Zeroizing::new(Vec::with_capacity(MAX_BYTES));
        loop {
            match self.key()? {
                b'\n' | b'\r' => return Ok(line),
                BACKSPACE | DELETE => remove_last_character(&mut line),
                CTRL_U => line.clear(),
                CTRL_C => return Err(self.interrupt()),
                CTRL_D if line.is_empty() => return Err(io::ErrorKind::UnexpectedEof.into()),
                // An arrow key, say: what it sends must not become part of a password that nobody sees.
                control if control.is_ascii_control() && control != b'\t' => return Err(io::ErrorKind::InvalidInput.into()),
                _ if line.len() == MAX_BYTES => return Err(io::ErrorKind::FileTooLarge.into()),
                byte => line.push(byte),
            }
        }
    }

    fn key(&mut self) -> io::Result<u8> {
        let mut byte = [0];
        self.tty.read_exact(&mut byte)?;
        Ok(byte[0])
    }

    /// Does what Ctrl-C does where the terminal itself sees it.
    fn interrupt(&mut self) -> io::Error {
        self.restore();
        let _ = kill_process(getpid(), Signal::INT);
        io::ErrorKind::Interrupted.into()
    }

    /// What is left of the input goes, so that no part of a password ends up in the shell.
    fn restore(&mut self) {
        let _ = tcsetattr(&self.tty, OptionalActions::Flush, &self.before);
    }
}

impl Drop for SilentTerminal {
    fn drop(&mut self) {
        self.restore();
    }
}

fn remove_last_character(line: &mut Vec<u8>) {
    while let Some(byte) = line.pop() {
        // All but the first byte of a character in UTF-8.
        if byte & 0b1100_0000 != 0b1000_0000 {
            break;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_whole_character_is_removed() {
        let mut line = "aé✓".as_bytes().to_vec();
        for left in ["aé", "a", "", ""] {
            remove_last_character(&mut line);
            assert_eq!(line, left.as_bytes());
        }
    }
}

//! Values that come from standard input or a file.

use std::fs::File;
use std::io::{self, IsTerminal as _, Read};
use std::path::Path;

use keyfob::{Error, ErrorKind, Result, SecretValue};
use rustix::fs::FileType;
use zeroize::Zeroizing;

/// The largest value that is read, in bytes. Every store takes less.
const MAX_BYTES: usize = 64 << 20;

/// What standard input is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum StandardInput {
    /// A person sits there.
    Terminal,
    /// A pipe, a file or a socket: somebody may have put a value there.
    Data,
    /// `/dev/null` or another device: nobody did, as in a cron job.
    Nothing,
}

impl StandardInput {
    /// Looks, without reading.
    pub(crate) fn look() -> Self {
        let stdin = io::stdin();
        if stdin.is_terminal() {
            return Self::Terminal;
        }
        match rustix::fs::fstat(&stdin).map(|status| FileType::from_raw_mode(status.st_mode)) {
            Ok(FileType::Fifo | FileType::RegularFile | FileType::Socket) => Self::Data,
            _ => Self::Nothing,
        }
    }
}

/// What to do with a line end at the end of a value that is text.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum FinalNewline {
    /// Leave out one: `echo`, editors and `file:` references have it that way.
    Strip,
    /// Every byte counts.
    Keep,
}

/// Reads a value from standard input.
///
/// # Errors
/// `Other` when it can't be read, `InvalidInput` when it is larger than any store takes.
pub(crate) fn value_from_stdin(newline: FinalNewline) -> Result<SecretValue> {
    // Around the buffer of the standard library, which nobody wipes.
    let read = || {
        use std::os::fd::AsFd as _;
        read_all(File::from(io::stdin().as_fd().try_clone_to_owned()?))
    };
    read()
        .map(|bytes| finished(&bytes, newline))
        .map_err(|error| failed(error, "standard input"))
}

/// Reads a value from a file; `-` is standard input.
///
/// # Errors
/// `NotFound` or `PermissionDenied` when there is no readable file, else as [`value_from_stdin`].
pub(crate) fn value_from_file(path: &Path, newline: FinalNewline) -> Result<SecretValue> {
    if path == Path::new("-") {
        return value_from_stdin(newline);
    }
    File::open(path)
        .and_then(read_all)
        .map(|bytes| finished(&bytes, newline))
        .map_err(|error| failed(error, &path.display().to_string()))
}

/// Like `Read::read_to_end`, but what the buffer leaves behind when it grows is wiped.
fn read_all(mut reader: impl Read) -> io::Result<Zeroizing<Vec<u8>>> {
    let mut bytes = Zeroizing::new(vec![0; 64 << 10]);
    let mut length = 0;
    loop {
        if length == bytes.len() {
            if length > MAX_BYTES {
                return Err(io::ErrorKind::FileTooLarge.into());
            }
            let mut larger = Zeroizing::new(vec![0; length * 2]);
            larger[..length].copy_from_slice(&bytes);
            bytes = larger;
        }
        match reader.read(&mut bytes[length..]) {
            Ok(0) => break,
            Ok(count) => length += count,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    // The rest was never written to but with zeros.
    bytes.truncate(length);
    Ok(bytes)
}

fn finished(bytes: &[u8], newline: FinalNewline) -> SecretValue {
    if newline == FinalNewline::Keep || bytes.contains(&0) || std::str::from_utf8(bytes).is_err() {
        return SecretValue::from(bytes);
    }
    let line = bytes.strip_suffix(b"\n").map(|line| line.strip_suffix(b"\r").unwrap_or(line));
    SecretValue::from(line.unwrap_or(bytes))
}

fn failed(error: io::Error, from: &str) -> Error {
    let (kind, message) = match error.kind() {
        io::ErrorKind::NotFound => (ErrorKind::NotFound, "there is no such file"),
        io::ErrorKind::PermissionDenied => (ErrorKind::PermissionDenied, "the file may not be read"),
        io::ErrorKind::FileTooLarge => (ErrorKind::InvalidInput, "the value is larger than 64 MiB"),
        io::ErrorKind::IsADirectory => (ErrorKind::InvalidInput, "this is a directory"),
        _ => (ErrorKind::Other, "the value can't be read"),
    };
    Error::new(kind, message).with("from", from).with_source(error)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn value(bytes: &[u8], newline: FinalNewline) -> Vec<u8> {
        finished(&read_all(bytes).unwrap(), newline).expose_secret().to_vec()
    }

    #[test]
    fn one_line_end_of_a_text_is_left_out_and_nothing_else() {
        for (bytes, expected) in [
            (&b"a\n"[..], &b"a"[..]),
            (b"a\r\n", b"a"),
            (b"a\n\n", b"a\n"),
            (b"a", b"a"),
            (b"a\r", b"a\r"),
            (b"\n", b""),
            (b"", b""),
            (b"\xff\n", b"\xff\n"),
            (b"\0\n", b"\0\n"),
        ] {
            assert_eq!(value(bytes, FinalNewline::Strip), expected);
            assert_eq!(value(bytes, FinalNewline::Keep), bytes);
        }
    }

    #[test]
    fn a_large_value_is_read_as_a_whole() {
        let large: Vec<u8> = (0..300_001_u32).map(|n| n as u8).collect();
        assert_eq!(value(&large, FinalNewline::Keep), large);
    }
}

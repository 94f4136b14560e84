//! What `${file:…}` reads.

use std::fs::File;
use std::io::{self, Read as _};
use std::path::{Path, PathBuf};

use zeroize::Zeroizing;

use crate::error::{Error, ErrorKind, Result};
use crate::value::SecretValue;

/// The largest file that `${file:…}` reads, in bytes.
pub const MAX_FILE_BYTES: u64 = 1 << 20;

/// Reads `path`, relative to `directory`, without one final line ending: that is what editors and `echo` leave behind.
pub(crate) fn read_file(directory: Option<&Path>, path: &str) -> Result<SecretValue> {
    let full = directory.map_or_else(|| PathBuf::from(path), |directory| directory.join(path));
    let failed = |error: io::Error| {
        let (kind, message) = match error.kind() {
            io::ErrorKind::NotFound => (ErrorKind::NotFound, "no such file"),
            io::ErrorKind::PermissionDenied => (ErrorKind::PermissionDenied, "the file can't be read"),
            _ => (ErrorKind::Unavailable, "the file can't be read"),
        };
        Error::new(kind, message)
            .with("file", full.display().to_string())
            .with_source(error)
    };
    let file = File::open(&full).map_err(failed)?;
    let length = file.metadata().map_err(failed)?.len();
    // A FIFO or a device could give bytes for ever: one byte past the limit is enough to refuse.
    let mut bytes = Vec::with_capacity(usize::try_from(length.min(MAX_FILE_BYTES)).unwrap_or(0) + 1);
    file.take(MAX_FILE_BYTES + 1).read_to_end(&mut bytes).map_err(failed)?;
    let mut value = Zeroizing::new(bytes);
    if value.len() as u64 > MAX_FILE_BYTES {
        let message = format!("the file has more than {MAX_FILE_BYTES} bytes");
        return Err(Error::new(ErrorKind::InvalidInput, message).with("file", full.display().to_string()));
    }
    if value.last() == Some(&b'\n') {
        value.pop();
        if value.last() == Some(&b'\r') {
            value.pop();
        }
    }
    Ok(SecretValue::new(std::mem::take(&mut value)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn takes_one_line_ending_off_and_bounds_the_size() {
        let directory = tempfile::tempdir().unwrap();
        let read = |content: &[u8]| {
            std::fs::write(directory.path().join("f"), content).unwrap();
            read_file(Some(directory.path()), "f")
        };
        assert_eq!(read(b"a\n").unwrap().expose_secret(), b"a");
        assert_eq!(read(b"a\r\n").unwrap().expose_secret(), b"a");
        assert_eq!(read(b"a\n\n").unwrap().expose_secret(), b"a\n");
        assert_eq!(read(b"").unwrap().expose_secret(), b"");
        let largest = vec![b'x'; usize::try_from(MAX_FILE_BYTES).unwrap()];
        assert_eq!(read(&largest).unwrap().len(), largest.len());
        assert_eq!(
            read(&[largest, vec![b'x']].concat()).unwrap_err().kind(),
            ErrorKind::InvalidInput
        );
        assert_eq!(
            read_file(Some(Path::new("/dev")), "zero").unwrap_err().kind(),
            ErrorKind::InvalidInput
        );
        assert_eq!(
            read_file(Some(directory.path()), "none").unwrap_err().kind(),
            ErrorKind::NotFound
        );
    }
}

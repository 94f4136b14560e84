//! A buffer for what may hold a value.

use std::fmt;
use std::io;

use zeroize::Zeroizing;

/// Bytes that leave nothing behind where they were while they grew, for answers and requests with values.
#[derive(Default)]
pub struct WipedBuffer(Zeroizing<Vec<u8>>);

impl WipedBuffer {
    /// An empty buffer that takes so many bytes before it has to move.
    #[must_use]
    pub fn with_capacity(capacity: usize) -> Self {
        Self(Zeroizing::new(Vec::with_capacity(capacity)))
    }

    /// How many bytes it holds.
    #[must_use]
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether it holds none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Puts `bytes` behind what is there.
    pub fn extend(&mut self, bytes: &[u8]) {
        let needed = self.0.len() + bytes.len();
        if needed > self.0.capacity() {
            let mut larger = Vec::with_capacity(needed.max(2 * self.0.capacity()).max(512));
            larger.extend_from_slice(&self.0);
            // The old place is wiped as it goes.
            self.0 = Zeroizing::new(larger);
        }
        self.0.extend_from_slice(bytes);
    }

    /// The bytes, still wiped when they go.
    #[must_use]
    pub fn into_inner(self) -> Zeroizing<Vec<u8>> {
        self.0
    }
}

impl io::Write for WipedBuffer {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.extend(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl fmt::Debug for WipedBuffer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "WipedBuffer({} bytes)", self.len())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_in_parts_is_there_as_a_whole_and_never_shown() {
        let mut buffer = WipedBuffer::with_capacity(1);
        let mut expected = Vec::new();
        for part in 0..200_u8 {
            let bytes = vec![part; usize::from(part)];
            buffer.extend(&bytes);
            expected.extend_from_slice(&bytes);
        }
        assert_eq!(buffer.len(), expected.len());
        assert_eq!(format!("{buffer:?}"), format!("WipedBuffer({} bytes)", expected.len()));
        assert!(*buffer.into_inner() == expected);
    }
}

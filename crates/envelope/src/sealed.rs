//! An encrypted value, in two parts or as one blob. `FORMAT.md` describes the bytes.

use std::fmt;

use keyfob_core::{Error, ErrorKind, Result};

use crate::crypto::{ENCRYPTED_KEY, OVERHEAD};
use crate::ids::KekId;

/// An encrypted value: its data key, wrapped by a key-encryption key, and its ciphertext.
///
/// The parts are apart so that a change of the key-encryption key rewrites the small one only. `Debug` shows lengths.
#[derive(Clone, PartialEq, Eq)]
pub struct Sealed {
    /// The wrapped data key: 78 bytes. [`rewrap`](crate::KeyEncryptionKey::rewrap) makes another one for the same
    /// ciphertext.
    pub wrapped_key: Vec<u8>,
    /// The encrypted value: 28 bytes longer than the value.
    pub ciphertext: Vec<u8>,
}

impl Sealed {
    /// Both parts in one blob, for files and exports.
    #[must_use]
    pub fn to_bytes(&self) -> Vec<u8> {
        let length = MAGIC.len() + 1 + 8 + self.wrapped_key.len() + self.ciphertext.len();
        let mut bytes = Vec::with_capacity(length);
        bytes.extend_from_slice(MAGIC);
        bytes.push(VERSION);
        bytes.extend_from_slice(&(self.wrapped_key.len() as u64).to_be_bytes());
        bytes.extend_from_slice(&self.wrapped_key);
        bytes.extend_from_slice(&self.ciphertext);
        bytes
    }

    /// Reads what [`to_bytes`](Self::to_bytes) gave. Checks the form only: what the bytes are worth shows when they
    /// are opened.
    ///
    /// # Errors
    /// `Corrupt` for anything else, also for a version that this keyfob does not know.
    pub fn parse(bytes: &[u8]) -> Result<Self> {
        let rest = bytes
            .strip_prefix(MAGIC)
            .ok_or_else(|| corrupt("this is not a sealed value of keyfob"))?;
        let (&version, rest) = rest.split_first().ok_or_else(cut_off)?;
        check_version(version)?;
        let (length, rest) = rest.split_first_chunk::<8>().ok_or_else(cut_off)?;
        let length = usize::try_from(u64::from_be_bytes(*length)).map_err(|_| cut_off())?;
        let (wrapped_key, ciphertext) = rest.split_at_checked(length).ok_or_else(cut_off)?;
        WrappedKey::parse(wrapped_key)?;
        check_ciphertext(ciphertext)?;
        Ok(Self {
            wrapped_key: wrapped_key.to_vec(),
            ciphertext: ciphertext.to_vec(),
        })
    }
}

impl fmt::Debug for Sealed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Sealed")
            .field("wrapped_key_bytes", &self.wrapped_key.len())
            .field("ciphertext_bytes", &self.ciphertext.len())
            .finish()
    }
}

/// Says which key-encryption key wrapped a data key. Needs no key and therefore proves nothing: only opening does.
///
/// # Errors
/// `Corrupt` when these bytes are no wrapped data key.
pub fn kek_of(wrapped_key: &[u8]) -> Result<KekId> {
    WrappedKey::parse(wrapped_key).map(|parsed| parsed.kek)
}

/// A wrapped data key, taken apart.
pub(crate) struct WrappedKey<'a> {
    pub(crate) kek: KekId,
    /// Nonce, encrypted data key, tag.
    pub(crate) encrypted: &'a [u8; ENCRYPTED_KEY],
}

impl<'a> WrappedKey<'a> {
    pub(crate) fn parse(bytes: &'a [u8]) -> Result<Self> {
        let (&[version, algorithm], rest) = bytes
            .split_first_chunk::<2>()
            .ok_or_else(|| corrupt("the wrapped data key is cut off"))?;
        check_version(version)?;
        if algorithm != ALGORITHM {
            let message = format!("the algorithm {algorithm} of a wrapped data key is not known");
            return Err(Error::new(ErrorKind::Corrupt, message).with_hint(NEWER));
        }
        let (kek, encrypted) = rest
            .split_first_chunk::<16>()
            .ok_or_else(|| corrupt("the wrapped data key is cut off"))?;
        let encrypted = encrypted
            .try_into()
            .map_err(|_| corrupt("the wrapped data key has not the right length"))?;
        Ok(Self {
            kek: KekId(*kek),
            encrypted,
        })
    }

    /// The bytes before the encrypted data key.
    pub(crate) fn header(kek: KekId) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(FORMAT.len() + 16 + ENCRYPTED_KEY);
        bytes.extend_from_slice(&FORMAT);
        bytes.extend_from_slice(kek.as_bytes());
        bytes
    }
}

/// Version and algorithm, bound to everything that is encrypted.
pub(crate) const FORMAT: [u8; 2] = [VERSION, ALGORITHM];

/// Gives the length of the plaintext.
pub(crate) fn check_ciphertext(ciphertext: &[u8]) -> Result<usize> {
    ciphertext
        .len()
        .checked_sub(OVERHEAD)
        .ok_or_else(|| corrupt("the encrypted value is cut off"))
}

const MAGIC: &[u8] = b"keyfob-sealed\n";
const VERSION: u8 = 1;
/// AES-256-GCM for the data key and for the value.
const ALGORITHM: u8 = 1;
const NEWER: &str = "if a newer keyfob wrote this, update this one; if not, put back a backup";

fn check_version(version: u8) -> Result<()> {
    if version == VERSION {
        return Ok(());
    }
    let message = format!("format version {version} of a sealed value is not known, this keyfob knows {VERSION}");
    Err(Error::new(ErrorKind::Corrupt, message).with_hint(NEWER))
}

fn corrupt(message: &'static str) -> Error {
    Error::new(ErrorKind::Corrupt, message)
}

fn cut_off() -> Error {
    corrupt("the sealed value is cut off")
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn sealed() -> Sealed {
        let mut wrapped_key = WrappedKey::header(KekId([5; 16]));
        wrapped_key.resize(78, 9);
        Sealed {
            wrapped_key,
            ciphertext: vec![3; 28],
        }
    }

    #[test]
    fn the_blob_reads_back_and_every_cut_is_refused() {
        let bytes = sealed().to_bytes();
        assert_eq!(Sealed::parse(&bytes).unwrap(), sealed());
        for end in 0..bytes.len() {
            assert_eq!(Sealed::parse(&bytes[..end]).unwrap_err().kind(), ErrorKind::Corrupt, "{end}");
        }
    }

    #[test]
    fn the_key_is_named_without_a_key() {
        assert_eq!(kek_of(&sealed().wrapped_key).unwrap(), KekId([5; 16]));
        assert_eq!(kek_of(&[]).unwrap_err().kind(), ErrorKind::Corrupt);
        let longer = [sealed().wrapped_key, vec![0]].concat();
        assert_eq!(kek_of(&longer).unwrap_err().kind(), ErrorKind::Corrupt);
    }

    #[test]
    fn another_version_says_so() {
        let mut bytes = sealed().to_bytes();
        bytes[MAGIC.len()] = 2;
        let error = Sealed::parse(&bytes).unwrap_err();
        assert_eq!(
            error.message(),
            "format version 2 of a sealed value is not known, this keyfob knows 1"
        );
        assert!(error.hint().unwrap().contains("newer keyfob"));
        let mut wrapped_key = sealed().wrapped_key;
        wrapped_key[1] = 7;
        assert!(kek_of(&wrapped_key).unwrap_err().message().contains("algorithm 7"));
    }

    #[test]
    fn a_length_beyond_the_end_is_refused() {
        let mut bytes = sealed().to_bytes();
        bytes[MAGIC.len() + 1..][..8].fill(0xff);
        assert_eq!(Sealed::parse(&bytes).unwrap_err().kind(), ErrorKind::Corrupt);
    }

    proptest! {
        #[test]
        fn arbitrary_bytes_never_panic(bytes: Vec<u8>) {
            let _ = kek_of(&bytes);
            let _ = Sealed::parse(&bytes);
            let _ = Sealed::parse(&[MAGIC, &[VERSION], &bytes].concat());
        }

        #[test]
        fn what_parses_is_written_back_the_same(tail: [u8; 60], ciphertext in prop::collection::vec(any::<u8>(), 28..100)) {
            let wrapped_key = [WrappedKey::header(KekId([5; 16])), tail.to_vec()].concat();
            let sealed = Sealed { wrapped_key, ciphertext };
            prop_assert_eq!(Sealed::parse(&sealed.to_bytes()).unwrap(), sealed);
        }
    }
}

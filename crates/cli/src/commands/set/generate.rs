//! Random values.

use clap::ValueEnum;
use keyfob::{Error, ErrorKind, Result, SecretValue};
use zeroize::Zeroizing;

/// Of what a generated value is made.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Alphabet {
    /// Letters and digits: 5.95 bits each
    Alphanumeric,
    /// Lower-case hexadecimal digits: 4 bits each
    Hex,
    /// Decimal digits: 3.32 bits each
    Digits,
    /// Letters, digits, `-` and `_`: 6 bits each, for URLs
    Url,
    /// Letters, digits and `!#%+,-./:=@^_~`: 6.25 bits each, for servers that want other characters
    Symbols,
}

impl Alphabet {
    const fn characters(self) -> &'static [u8] {
        match self {
            Self::Alphanumeric => b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789",
            Self::Hex => b"0123456789abcdef",
            Self::Digits => b"0123456789",
            Self::Url => b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_",
            Self::Symbols => b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789!#%+,-./:=@^_~",
        }
    }
}

/// `length` characters, each equally likely and independent of the others.
///
/// # Errors
/// `Unavailable` when the operating system gives no random bytes.
pub(crate) fn value(length: usize, alphabet: Alphabet) -> Result<SecretValue> {
    let characters = alphabet.characters();
    // Bytes from the last, incomplete repetition of the alphabet would make some characters likelier.
    let limit = 256 - 256 % characters.len();
    let mut random = Zeroizing::new([0_u8; 256]);
    let mut value = Vec::with_capacity(length);
    while value.len() < length {
        getrandom::fill(&mut *random).map_err(|error| {
            Error::new(ErrorKind::Unavailable, "the operating system gives no random bytes").with_source(error)
        })?;
        let usable = random.iter().map(|byte| usize::from(*byte)).filter(|byte| *byte < limit);
        let missing = length - value.len();
        value.extend(usable.take(missing).map(|byte| characters[byte % characters.len()]));
    }
    Ok(SecretValue::new(value))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_alphabet_gives_its_own_characters_and_all_of_them() {
        for alphabet in Alphabet::value_variants() {
            let value = value(4096, *alphabet).unwrap();
            let characters = alphabet.characters();
            assert_eq!(value.len(), 4096);
            assert!(value.expose_secret().iter().all(|byte| characters.contains(byte)));
            assert!(
                characters.iter().all(|byte| value.expose_secret().contains(byte)),
                "{alphabet:?}"
            );
        }
    }
}

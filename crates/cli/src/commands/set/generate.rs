//! Random values.

use clap::ValueEnum;
use keyfob::rotation::{self, Recipe};
use keyfob::{Result, SecretValue};

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
    fn characters(self) -> Result<rotation::Alphabet> {
        match self {
            Self::Alphanumeric => Ok(rotation::Alphabet::alphanumeric()),
            Self::Hex => rotation::Alphabet::new("0123456789abcdef"),
            Self::Digits => rotation::Alphabet::new("0123456789"),
            Self::Url => Ok(rotation::Alphabet::url()),
            Self::Symbols => Ok(rotation::Alphabet::symbols()),
        }
    }
}

/// `length` characters, each equally likely and independent of the others.
///
/// # Errors
/// `Unavailable` when the operating system gives no random bytes.
pub(crate) fn value(length: usize, alphabet: Alphabet) -> Result<SecretValue> {
    Recipe::text(length, alphabet.characters()?, &[])?.generate()
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn every_alphabet_gives_what_its_help_says() {
        for (alphabet, bits) in [
            (Alphabet::Alphanumeric, 5.95),
            (Alphabet::Hex, 4.0),
            (Alphabet::Digits, 3.32),
            (Alphabet::Url, 6.0),
            (Alphabet::Symbols, 6.25),
        ] {
            let value = value(4096, alphabet).unwrap();
            assert_eq!(value.len(), 4096);
            let different: BTreeSet<u8> = value.expose_secret().iter().copied().collect();
            // Of so many all characters come: the likeliest lack has a chance below 1 in 10^20.
            assert!(((different.len() as f64).log2() - bits).abs() < 0.01, "{alphabet:?}");
        }
    }
}

//! The random names of stores and of key-encryption keys.

use std::fmt;
use std::str::FromStr;

use keyfob_core::{Error, ErrorKind, Result};

use crate::crypto;

/// Which store a secret belongs to: 16 random bytes, made once when the store is made. Not secret.
///
/// Everything that is encrypted is bound to it, so that a row or a key slot of one store is refused in another.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct StoreId(pub [u8; 16]);

/// Which key-encryption key wrapped a data key: 16 random bytes beside the key, not made from it. Not secret.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct KekId(pub [u8; 16]);

macro_rules! random_id {
    ($Id:ident, $what:literal) => {
        impl $Id {
            /// A new random id.
            ///
            /// # Errors
            /// `Unavailable` when the operating system gives no random bytes.
            pub fn generate() -> Result<Self> {
                crypto::random().map(Self)
            }

            /// The bytes.
            #[must_use]
            pub const fn as_bytes(&self) -> &[u8; 16] {
                &self.0
            }
        }

        /// 32 lower-case hexadecimal digits.
        impl fmt::Display for $Id {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                crypto::write_hex(f, &self.0)
            }
        }

        impl fmt::Debug for $Id {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, concat!(stringify!($Id), "({})"), self)
            }
        }

        /// Reads 32 hexadecimal digits of either case.
        impl FromStr for $Id {
            type Err = Error;

            fn from_str(text: &str) -> Result<Self> {
                let mut id = [0; 16];
                match data_encoding::HEXLOWER_PERMISSIVE.decode_len(text.len()) {
                    Ok(16)
                        if data_encoding::HEXLOWER_PERMISSIVE
                            .decode_mut(text.as_bytes(), &mut id)
                            .is_ok() =>
                    {
                        Ok(Self(id))
                    }
                    _ => Err(Error::new(
                        ErrorKind::InvalidInput,
                        concat!($what, " is 32 hexadecimal digits, this is something else"),
                    )),
                }
            }
        }
    };
}

random_id!(StoreId, "the id of a store");
random_id!(KekId, "the id of a key");

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_read_back_what_they_print() {
        let id = StoreId::generate().unwrap();
        assert_eq!(id.to_string().parse::<StoreId>().unwrap(), id);
        assert_eq!(id.to_string().to_uppercase().parse::<StoreId>().unwrap(), id);
        assert_eq!(KekId([0xab; 16]).to_string(), "ab".repeat(16));
        assert_eq!(format!("{:?}", KekId([0xab; 16])), format!("KekId({})", "ab".repeat(16)));
        assert_ne!(id, StoreId::generate().unwrap());
    }

    #[test]
    fn anything_else_is_invalid_input() {
        for text in [
            "",
            "ab",
            &"ab".repeat(17),
            &"zz".repeat(16),
            &"é".repeat(16),
            &format!("{} ", "ab".repeat(16)),
        ] {
            assert_eq!(text.parse::<KekId>().unwrap_err().kind(), ErrorKind::InvalidInput, "{text}");
        }
    }
}

//! A secret's bytes, behind one door.

use std::fmt;
use std::sync::Arc;

use serde::de::{Deserialize, Deserializer, Visitor};
use zeroize::Zeroizing;

use crate::error::{Error, ErrorKind, Result};

/// A secret's bytes: shared by its clones, wiped when the last of them goes.
///
/// `Debug` says `[REDACTED]`. The only way to the bytes is [`expose_secret`](Self::expose_secret) (or
/// [`expose_str`](Self::expose_str)), so that every place that sees a value can be found by its name. There is no
/// `Display`, `Deref`, `Serialize` or `PartialEq`.
///
/// ```
/// use keyfob_core::SecretValue;
///
/// let value = SecretValue::from("s3cr3t");
/// assert_eq!(format!("{value:?}"), "[REDACTED]");
/// assert_eq!(value.expose_str()?, "s3cr3t");
/// # Ok::<(), keyfob_core::Error>(())
/// ```
#[derive(Clone)]
pub struct SecretValue(Arc<Zeroizing<Vec<u8>>>);

impl SecretValue {
    /// Takes the bytes over, without a copy.
    ///
    /// The vector is wiped over its whole capacity when the last handle goes. What the vector left behind when it
    /// grew before it came here is out of reach: fill it with a capacity that is large enough.
    #[must_use]
    pub fn new(bytes: Vec<u8>) -> Self {
        Self(Arc::new(Zeroizing::new(bytes)))
    }

    /// The bytes.
    #[must_use]
    pub fn expose_secret(&self) -> &[u8] {
        &self.0
    }

    /// The bytes as text.
    ///
    /// # Errors
    /// [`ErrorKind::NotText`] when they are not UTF-8.
    pub fn expose_str(&self) -> Result<&str> {
        // The source error would tell a length and an offset into the value: left out on purpose.
        std::str::from_utf8(&self.0).map_err(|_| {
            Error::new(ErrorKind::NotText, "the value is not UTF-8 text")
                .with_hint("read it as bytes, for example with `keyfob get --output FILE`")
        })
    }

    /// How many bytes there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether there are no bytes. An empty value is a value.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

impl From<&str> for SecretValue {
    fn from(text: &str) -> Self {
        Self::new(text.as_bytes().to_vec())
    }
}

impl From<String> for SecretValue {
    fn from(text: String) -> Self {
        Self::new(text.into_bytes())
    }
}

impl From<&[u8]> for SecretValue {
    fn from(bytes: &[u8]) -> Self {
        Self::new(bytes.to_vec())
    }
}

impl From<Vec<u8>> for SecretValue {
    fn from(bytes: Vec<u8>) -> Self {
        Self::new(bytes)
    }
}

impl fmt::Debug for SecretValue {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("[REDACTED]")
    }
}

impl<'de> Deserialize<'de> for SecretValue {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Text;
        impl Visitor<'_> for Text {
            type Value = SecretValue;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("text")
            }
            fn visit_str<E>(self, text: &str) -> Result<SecretValue, E> {
                Ok(SecretValue::from(text))
            }
            fn visit_string<E>(self, text: String) -> Result<SecretValue, E> {
                Ok(SecretValue::from(text))
            }
        }
        deserializer.deserialize_string(Text)
    }
}

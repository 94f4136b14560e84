//! PEM (RFC 7468).

use data_encoding::BASE64;
use keyfob_core::{Result, SecretValue};
use zeroize::Zeroizing;

use super::unusable;

pub(super) const PRIVATE_KEY: &str = "PRIVATE KEY";
pub(super) const REQUEST: &str = "CERTIFICATE REQUEST";
pub(super) const CERTIFICATE: &str = "CERTIFICATE";

/// The text for these bytes.
pub(super) fn encode(label: &str, bytes: &[u8]) -> SecretValue {
    let body = Zeroizing::new(BASE64.encode(bytes));
    // Large enough that it never grows and leaves a copy behind.
    let mut text = String::with_capacity(body.len() + body.len() / 64 + 2 * label.len() + 40);
    text.push_str(&format!("-----BEGIN {label}-----\n"));
    let mut rest = body.as_str();
    while !rest.is_empty() {
        let (line, after) = rest.split_at(rest.len().min(64));
        text.push_str(line);
        text.push('\n');
        rest = after;
    }
    text.push_str(&format!("-----END {label}-----\n"));
    SecretValue::from(text)
}

/// The bytes of the first block of this kind.
///
/// # Errors
/// `InvalidInput` where there is none.
pub(super) fn decode(label: &str, text: &str) -> Result<Zeroizing<Vec<u8>>> {
    let (begin, end) = (format!("-----BEGIN {label}-----"), format!("-----END {label}-----"));
    let body = text
        .split_once(&begin)
        .and_then(|(_, rest)| rest.split_once(&end))
        .map(|(body, _)| body);
    let body = body.ok_or_else(|| unusable("there is no block of the expected kind in the PEM text"))?;
    let joined: Zeroizing<Vec<u8>> = Zeroizing::new(body.bytes().filter(|byte| !byte.is_ascii_whitespace()).collect());
    let bytes = BASE64.decode(&joined);
    bytes
        .map(Zeroizing::new)
        .map_err(|_| unusable("a block of the PEM text is not base64"))
}

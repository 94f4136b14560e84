//! Identifiers that nobody can guess.

use crate::Failure;

/// A version of a secret: 32 hexadecimal digits.
pub(super) fn version() -> Result<String, Failure> {
    Ok(hex(&bytes::<16>()?))
}

/// A UUID of version 4.
pub(super) fn uuid() -> Result<String, Failure> {
    let mut bytes = bytes::<16>()?;
    bytes[6] = bytes[6] & 0x0f | 0x40;
    bytes[8] = bytes[8] & 0x3f | 0x80;
    let digits = hex(&bytes);
    let parts = [&digits[..8], &digits[8..12], &digits[12..16], &digits[16..20], &digits[20..]];
    Ok(parts.join("-"))
}

/// A password, as long as the secrets that Microsoft Entra makes.
pub(super) fn password() -> Result<String, Failure> {
    Ok(hex(&bytes::<20>()?))
}

pub(super) fn bytes<const N: usize>() -> Result<[u8; N], Failure> {
    let mut bytes = [0; N];
    getrandom::fill(&mut bytes).map_err(|error| format!("no random bytes: {error}"))?;
    Ok(bytes)
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_uuid_has_its_form() {
        let uuid = uuid().unwrap();
        let lengths: Vec<_> = uuid.split('-').map(str::len).collect();
        assert_eq!(lengths, [8, 4, 4, 4, 12]);
        assert_eq!(&uuid[14..15], "4");
        assert!("89ab".contains(&uuid[19..20]));
    }

    #[test]
    fn no_two_are_the_same() {
        assert_ne!(version().unwrap(), version().unwrap());
        assert_eq!(version().unwrap().len(), 32);
        assert_ne!(password().unwrap(), password().unwrap());
    }
}

//! As much of DER (X.690) as a certificate request needs.

pub(super) const INTEGER: u8 = 0x02;
pub(super) const BIT_STRING: u8 = 0x03;
pub(super) const OCTET_STRING: u8 = 0x04;
pub(super) const NULL: u8 = 0x05;
pub(super) const OBJECT: u8 = 0x06;
pub(super) const UTF8: u8 = 0x0c;
pub(super) const SEQUENCE: u8 = 0x30;
pub(super) const SET: u8 = 0x31;
pub(super) const CONTEXT_0: u8 = 0xa0;
/// In a `GeneralName`.
pub(super) const DNS_NAME: u8 = 0x82;
pub(super) const IP_ADDRESS: u8 = 0x87;

/// One element with these contents.
pub(super) fn element(tag: u8, contents: &[&[u8]]) -> Vec<u8> {
    let contents = contents.concat();
    let length = contents.len();
    let mut element = vec![tag];
    if let Ok(short @ ..=0x7f) = u8::try_from(length) {
        element.push(short);
    } else {
        let bytes = length.to_be_bytes();
        let bytes = &bytes[bytes.iter().take_while(|byte| **byte == 0).count()..];
        element.push(0x80 | bytes.len() as u8);
        element.extend_from_slice(bytes);
    }
    element.extend_from_slice(&contents);
    element
}

/// The contents of the first element, if it is of this kind, and what follows.
pub(super) fn split(tag: u8, bytes: &[u8]) -> Option<(&[u8], &[u8])> {
    let (&[found, length], rest) = bytes.split_first_chunk::<2>()?;
    if found != tag {
        return None;
    }
    let (length, rest) = match length {
        short @ ..=0x7f => (usize::from(short), rest),
        long @ 0x81..=0x84 => {
            let (bytes, rest) = rest.split_at_checked(usize::from(long & 0x7f))?;
            (bytes.iter().fold(0, |length, byte| length << 8 | usize::from(*byte)), rest)
        }
        _ => return None,
    };
    rest.split_at_checked(length)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_read_at_every_length() {
        for length in [0, 1, 127, 128, 255, 256, 65_535, 65_536] {
            let contents = vec![7; length];
            let mut bytes = element(OCTET_STRING, &[&contents]);
            bytes.push(9);
            assert_eq!(split(OCTET_STRING, &bytes), Some((&contents[..], &[9][..])));
            assert_eq!(split(INTEGER, &bytes), None);
            assert_eq!(split(OCTET_STRING, &bytes[..bytes.len() - 2]), None);
        }
        assert!(split(OCTET_STRING, &[]).is_none() && split(OCTET_STRING, &[OCTET_STRING, 0x80]).is_none());
    }
}

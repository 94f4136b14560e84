//! As much of gRPC as the value of a secret takes: Google's client libraries for Go speak nothing else.
//!
//! The fields are those of `google/cloud/secretmanager/v1/service.proto`.

use data_encoding::BASE64;

/// The only method.
pub(super) const METHOD: &str = "/google.cloud.secretmanager.v1.SecretManagerService/AccessSecretVersion";

/// The name of the version that a framed `AccessSecretVersionRequest` asks for.
pub(super) fn name(frame: &[u8]) -> Option<&str> {
    let (header, message) = frame.split_at_checked(5)?;
    // Not compressed; the first field, of a length that fits into one or two bytes.
    let (&[0, ..], &[0x0a, ref rest @ ..]) = (header, message) else {
        return None;
    };
    let (length, rest) = match *rest {
        [low, ref rest @ ..] if low < 0x80 => (usize::from(low), rest),
        [low, high, ref rest @ ..] if high < 0x80 => (usize::from(low & 0x7f) | usize::from(high) << 7, rest),
        _ => return None,
    };
    std::str::from_utf8(rest.get(..length)?).ok()
}

/// A framed `AccessSecretVersionResponse` that says the same as the answer in JSON.
pub(super) fn response(json: &str) -> Option<Vec<u8>> {
    let member = |name: &str| {
        let (_, rest) = json.split_once(&format!("\"{name}\":"))?;
        rest.split('"').nth(1)
    };
    let mut payload = field(0x0a, &BASE64.decode(member("data")?.as_bytes()).ok()?);
    if let Some(checksum) = member("dataCrc32c") {
        payload.push(0x10);
        payload.extend(varint(checksum.parse().ok()?));
    }
    let message = [field(0x0a, member("name")?.as_bytes()), field(0x12, &payload)].concat();
    let length = u32::try_from(message.len()).ok()?;
    Some([&[0], &length.to_be_bytes()[..], &message].concat())
}

fn field(tag: u8, content: &[u8]) -> Vec<u8> {
    [&[tag], &varint(content.len() as u64)[..], content].concat()
}

fn varint(mut number: u64) -> Vec<u8> {
    let mut bytes = Vec::new();
    while number > 0x7f {
        bytes.push((number & 0x7f) as u8 | 0x80);
        number >>= 7;
    }
    bytes.push(number as u8);
    bytes
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_request_is_read_and_an_answer_written() {
        let long = "x".repeat(200);
        for text in ["projects/p/secrets/s/versions/latest", &long] {
            let message = field(0x0a, text.as_bytes());
            let frame = [&[0, 0, 0, 0, message.len() as u8][..], &message].concat();
            assert_eq!(name(&frame), Some(text));
            assert_eq!(name(&frame[..frame.len() - 1]), None);
        }
        for wrong in [&b""[..], b"\0\0\0\0\0", b"\x01\0\0\0\x03\x0a\x01a", b"\0\0\0\0\x03\x12\x01a"] {
            assert_eq!(name(wrong), None);
        }
        let json = r#"{"name":"a/b","payload":{"data":"a2V5","dataCrc32c":"300"}}"#;
        let expected = b"\0\0\0\0\x0f\x0a\x03a/b\x12\x08\x0a\x03key\x10\xac\x02";
        assert_eq!(response(json).as_deref(), Some(&expected[..]));
        assert_eq!(response("{}"), None);
    }
}

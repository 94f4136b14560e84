//! A `SecretValue`'s bytes are gone from the process's memory when its last handle goes.
//!
//! The test looks at its own memory through `/proc/self/mem`: every writable mapping, not only where the value was.

#![cfg(target_os = "linux")]
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::fs::File;
use std::io::{Read as _, Seek as _, SeekFrom};
use std::sync::{Mutex, PoisonError};

use keyfob_core::{Field, SecretValue};

/// The needle is kept inverted, and compared without ever being put together, so that looking for it doesn't make it.
struct Needle(Vec<u8>);

impl Needle {
    fn new(seed: u8) -> Self {
        // No two bytes in a row are the same, and the sequence is nowhere in the binary.
        Self(
            (0..64_u8)
                .map(|index| !(index.wrapping_mul(37).wrapping_add(seed) % 94 + 33))
                .collect(),
        )
    }

    fn write(&self, bytes: &mut Vec<u8>) {
        bytes.extend(self.0.iter().map(|byte| !byte));
    }

    fn stands_at(&self, window: &[u8]) -> bool {
        window.iter().zip(&self.0).all(|(seen, inverted)| *seen == !inverted)
    }
}

/// One look at a time: another one's buffer would hold copies.
static LOOK: Mutex<()> = Mutex::new(());

/// In how many places of this process's writable memory the needle stands.
fn count(needle: &Needle) -> usize {
    let maps = std::fs::read_to_string("/proc/self/maps").unwrap();
    let mut memory = File::open("/proc/self/mem").unwrap();
    let mut found = 0;
    // One buffer for all, allocated before the look and wiped after it: what it holds is a copy, not a find.
    let mut buffer = vec![0_u8; 1 << 20];
    let own = buffer.as_ptr() as u64..buffer.as_ptr() as u64 + buffer.len() as u64;
    for line in maps
        .lines()
        .filter(|line| line.split(' ').nth(1).is_some_and(|access| access.starts_with("rw")))
    {
        let (start, end) = line.split(' ').next().unwrap().split_once('-').unwrap();
        let (start, end) = (u64::from_str_radix(start, 16).unwrap(), u64::from_str_radix(end, 16).unwrap());
        let mut at = start;
        while at < end {
            let length = usize::try_from((end - at).min(buffer.len() as u64)).unwrap();
            if memory.seek(SeekFrom::Start(at)).is_err() || memory.read_exact(&mut buffer[..length]).is_err() {
                break;
            }
            for offset in 0..length.saturating_sub(needle.0.len() - 1) {
                let address = at + offset as u64;
                if !own.contains(&address) && needle.stands_at(&buffer[offset..offset + needle.0.len()]) {
                    found += 1;
                }
            }
            // The next chunk overlaps by a needle's length, so that none is missed at the seam.
            at += if at + (length as u64) < end {
                (length - needle.0.len() + 1) as u64
            } else {
                length as u64
            };
        }
    }
    buffer.fill(0);
    found
}

#[test]
fn bytes_are_wiped_when_the_last_handle_goes_and_not_before() {
    let _one = LOOK.lock().unwrap_or_else(PoisonError::into_inner);
    let needle = Needle::new(7);
    assert_eq!(count(&needle), 0, "the needle stands in memory before there is a value");
    let mut bytes = Vec::with_capacity(64);
    needle.write(&mut bytes);
    let value = SecretValue::new(bytes);
    let other = value.clone();
    assert_eq!(count(&needle), 1, "clones share one copy");
    drop(value);
    assert_eq!(count(&needle), 1, "a handle is still there");
    drop(other);
    assert_eq!(count(&needle), 0, "the bytes are still in memory");
}

#[test]
fn a_picked_field_leaves_nothing_behind() {
    let _one = LOOK.lock().unwrap_or_else(PoisonError::into_inner);
    let needle = Needle::new(11);
    let mut json = Vec::with_capacity(128);
    json.extend(br#"{"user":""#);
    needle.write(&mut json);
    // A quote or a backslash in the needle would end the string early.
    json.iter_mut()
        .skip(9)
        .filter(|byte| matches!(**byte, b'"' | b'\\'))
        .for_each(|byte| *byte = b'_');
    let needle = Needle(json[9..].iter().map(|byte| !byte).collect());
    json.extend(br#""}"#);
    let document = SecretValue::new(json);
    let field = Field::parse("user").unwrap().pick(&document).unwrap();
    assert_eq!(count(&needle), 2, "the document and the field");
    drop(document);
    assert_eq!(count(&needle), 1);
    drop(field);
    assert_eq!(count(&needle), 0, "picking a field left a copy in memory");
}

#[test]
fn the_look_finds_what_was_not_wiped() {
    let _one = LOOK.lock().unwrap_or_else(PoisonError::into_inner);
    let needle = Needle::new(23);
    let mut bytes = Vec::with_capacity(64);
    needle.write(&mut bytes);
    assert_eq!(count(&needle), 1);
    std::hint::black_box(&bytes);
}

//! One piece of content, compressed by itself where that makes it shorter.

use keyfob_core::Result;
use miniz_oxide::deflate::core::{CompressorOxide, TDEFLFlush, TDEFLStatus, compress};
use miniz_oxide::inflate::TINFLStatus;
use miniz_oxide::inflate::core::{DecompressorOxide, decompress, inflate_flags::TINFL_FLAG_USING_NON_WRAPPING_OUTPUT_BUF};
use miniz_oxide::{DataFormat, deflate::CompressionLevel};
use zeroize::Zeroizing;

use crate::error::{corrupt, cut_off};

/// Packs pieces. Nothing of one piece helps to compress another.
pub(crate) struct Packer(Option<Box<CompressorOxide>>);

/// Shorter ones can't become shorter by more than a few bytes, and passwords not at all.
const WORTH_A_TRY: usize = 64;
/// Method, and the length of what follows.
const STORED_HEADER: usize = 5;
/// Method, the length of the piece, and the length of what follows.
const DEFLATED_HEADER: usize = 9;
const STORED: u8 = 0;
const DEFLATED: u8 = 1;

/// The most bytes that a piece of `length` bytes takes.
pub(crate) const fn most_packed(length: usize) -> usize {
    STORED_HEADER + length
}

impl Packer {
    pub(crate) fn new(compresses: bool) -> Self {
        Self(compresses.then(|| {
            let mut compressor = Box::<CompressorOxide>::default();
            compressor.set_format_and_level(DataFormat::Raw, CompressionLevel::DefaultLevel as u8);
            compressor
        }))
    }

    /// Appends a piece of less than 4 GiB. `out` has room for [`most_packed`].
    pub(crate) fn pack(&mut self, piece: &[u8], out: &mut Vec<u8>) {
        if let Some(deflated) = self.deflate(piece) {
            out.push(DEFLATED);
            push_length(piece.len(), out);
            push_length(deflated.len(), out);
            out.extend_from_slice(&deflated);
        } else {
            out.push(STORED);
            push_length(piece.len(), out);
            out.extend_from_slice(piece);
        }
    }

    /// `None` where that would not be shorter.
    fn deflate(&mut self, piece: &[u8]) -> Option<Zeroizing<Vec<u8>>> {
        let compressor = self.0.as_mut().filter(|_| piece.len() >= WORTH_A_TRY)?;
        // Not a byte more than pays: the compressor then stops by itself.
        let mut out = Zeroizing::new(vec![0; piece.len() - (DEFLATED_HEADER - STORED_HEADER) - 1]);
        let (status, _, length) = compress(compressor, piece, &mut out, TDEFLFlush::Finish);
        compressor.reset();
        out.truncate(length);
        (status == TDEFLStatus::Done).then_some(out)
    }
}

/// Takes the next piece of `bytes`.
///
/// # Errors
/// `Corrupt` for anything else than a packed piece of at most `most` bytes.
pub(crate) fn unpack(bytes: &mut &[u8], most: usize) -> Result<Zeroizing<Vec<u8>>> {
    let method = take(bytes, 1)?[0];
    let length = take_length(bytes)?;
    if length > most {
        return Err(corrupt("a piece of the snapshot is longer than it may be"));
    }
    match method {
        STORED => Ok(Zeroizing::new(take(bytes, length)?.to_vec())),
        DEFLATED => {
            let packed = take_length(bytes)?;
            inflate(take(bytes, packed)?, length)
        }
        _ => Err(corrupt("a piece of the snapshot is compressed in a way that is not known")),
    }
}

fn inflate(packed: &[u8], length: usize) -> Result<Zeroizing<Vec<u8>>> {
    // What no deflate stream can give is not worth the memory.
    if length / 1032 > packed.len() {
        return Err(corrupt("a piece of the snapshot is longer than its bytes can give"));
    }
    let mut piece = Zeroizing::new(vec![0; length]);
    let mut state = Box::<DecompressorOxide>::default();
    let flags = TINFL_FLAG_USING_NON_WRAPPING_OUTPUT_BUF;
    let (status, read, written) = decompress(&mut state, packed, &mut piece, 0, flags);
    if status == TINFLStatus::Done && read == packed.len() && written == length {
        Ok(piece)
    } else {
        Err(corrupt("a piece of the snapshot can't be decompressed"))
    }
}

fn push_length(length: usize, out: &mut Vec<u8>) {
    let length = u32::try_from(length).expect("the caller has checked that it is less than 4 GiB");
    out.extend_from_slice(&length.to_be_bytes());
}

fn take_length(bytes: &mut &[u8]) -> Result<usize> {
    let length = take(bytes, 4)?.try_into().map_err(|_| cut_off())?;
    usize::try_from(u32::from_be_bytes(length)).map_err(|_| cut_off())
}

pub(crate) fn take<'a>(bytes: &mut &'a [u8], length: usize) -> Result<&'a [u8]> {
    let (taken, rest) = bytes.split_at_checked(length).ok_or_else(cut_off)?;
    *bytes = rest;
    Ok(taken)
}

#[cfg(test)]
mod tests {
    use keyfob_core::ErrorKind;
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn arbitrary_bytes_never_panic_and_never_take_more_than_they_may(method in 0_u8..3, length: u32, bytes: Vec<u8>) {
            let packed = [&[method][..], &length.to_be_bytes(), &bytes].concat();
            if let Ok(piece) = unpack(&mut packed.as_slice(), 1 << 20) {
                prop_assert!(piece.len() <= 1 << 20);
            }
        }
    }

    fn packed(piece: &[u8], compresses: bool) -> Vec<u8> {
        let mut out = Vec::with_capacity(most_packed(piece.len()));
        let before = out.capacity();
        Packer::new(compresses).pack(piece, &mut out);
        assert_eq!(out.capacity(), before, "a buffer that grew leaves a copy behind");
        out
    }

    fn noise(length: usize) -> Vec<u8> {
        let random = keyfob_core::Random::seeded(7);
        (0..length).map(|_| random.next().to_be_bytes()[0]).collect()
    }

    #[test]
    fn every_piece_comes_back_and_is_never_longer_than_stored() {
        for length in [0, 1, 63, 64, 65, 1000, 70_000, 300_000] {
            for piece in [vec![b'a'; length], noise(length)] {
                for compresses in [true, false] {
                    let packed = packed(&piece, compresses);
                    assert!(packed.len() <= most_packed(length));
                    let mut rest = packed.as_slice();
                    assert_eq!(*unpack(&mut rest, length).unwrap(), piece);
                    assert!(rest.is_empty());
                }
            }
        }
    }

    #[test]
    fn what_repeats_gets_shorter_and_what_is_short_is_left_alone() {
        assert!(packed(&vec![b'a'; 10_000], true).len() < 100);
        assert_eq!(packed(&[b'a'; 63], true)[0], STORED);
        assert_eq!(packed(&noise(10_000), true)[0], STORED);
    }

    #[test]
    fn one_piece_does_not_help_another() {
        let piece = noise(2000);
        let mut packer = Packer::new(true);
        let (mut first, mut second) = (Vec::with_capacity(3000), Vec::with_capacity(3000));
        packer.pack(&piece, &mut first);
        packer.pack(&piece, &mut second);
        assert_eq!(first, second);
        assert_eq!(first[0], STORED);
    }

    #[test]
    fn every_cut_and_a_wrong_length_are_refused() {
        let good = packed(&vec![b'a'; 10_000], true);
        for end in 0..good.len() {
            assert_eq!(
                unpack(&mut &good[..end], 10_000).unwrap_err().kind(),
                ErrorKind::Corrupt,
                "{end}"
            );
        }
        assert_eq!(unpack(&mut good.as_slice(), 9999).unwrap_err().kind(), ErrorKind::Corrupt);
        for length in [9_999_u32, 10_001, u32::MAX] {
            let mut other = good.clone();
            other[1..5].copy_from_slice(&length.to_be_bytes());
            let refused = unpack(&mut other.as_slice(), usize::MAX).unwrap_err();
            assert_eq!(refused.kind(), ErrorKind::Corrupt, "{length}");
        }
        let mut unknown = good;
        unknown[0] = 2;
        assert_eq!(
            unpack(&mut unknown.as_slice(), 10_000).unwrap_err().kind(),
            ErrorKind::Corrupt
        );
    }
}

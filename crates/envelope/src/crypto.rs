//! Thin steps over the cryptographic crates, so that every use of a key can be read in one place.

use std::fmt;

use aes_gcm::aead::consts::U12;
use aes_gcm::aead::inout::InOutBuf;
use aes_gcm::aes::Aes256Enc;
use aes_gcm::{AeadInOut, AesGcm, KeyInit};
use hkdf::Hkdf;
use keyfob_core::{Error, ErrorKind, Result};
use sha2::Sha256;
use zeroize::{Zeroize, Zeroizing};

/// 32 bytes that are wiped.
pub(crate) type KeyBytes = Zeroizing<[u8; 32]>;

/// AES-256-GCM with its round keys expanded. GCM only ever encrypts blocks: the decrypting half of the key schedule
/// would cost time at every value and never be used.
pub(crate) type Cipher = AesGcm<Aes256Enc, U12>;

pub(crate) const NONCE: usize = 12;
pub(crate) const TAG: usize = 16;
/// How much longer nonce, ciphertext and tag are than the plaintext.
pub(crate) const OVERHEAD: usize = NONCE + TAG;
/// A key that was encrypted: nonce, 32 bytes, tag.
pub(crate) const ENCRYPTED_KEY: usize = 32 + OVERHEAD;

/// What is too long for AES-GCM (64 GiB).
#[derive(Debug)]
pub(crate) struct TooLong;

/// What is not, under this key and with this associated data, what [`encrypt`] made.
#[derive(Debug)]
pub(crate) struct Forged;

pub(crate) fn cipher(key: &KeyBytes) -> Cipher {
    Cipher::new((&**key).into())
}

/// Appends nonce, ciphertext and tag. The plaintext is never copied.
pub(crate) fn encrypt(
    cipher: &Cipher,
    nonce: &[u8; NONCE],
    associated: &[u8],
    plain: &[u8],
    out: &mut Vec<u8>,
) -> Result<(), TooLong> {
    out.reserve_exact(plain.len() + OVERHEAD);
    out.extend_from_slice(nonce);
    let start = out.len();
    out.resize(start + plain.len(), 0);
    let buffer = InOutBuf::new(plain, &mut out[start..]).map_err(|_| TooLong)?;
    let tag = cipher
        .encrypt_inout_detached(nonce.into(), associated, buffer)
        .map_err(|_| TooLong)?;
    out.extend_from_slice(&tag);
    Ok(())
}

/// Reads what [`encrypt`] appended into `plain`, which must have exactly the plaintext's length. It is written only
/// after the tag was found right.
pub(crate) fn decrypt(cipher: &Cipher, associated: &[u8], sealed: &[u8], plain: &mut [u8]) -> Result<(), Forged> {
    let (nonce, rest) = sealed.split_first_chunk::<NONCE>().ok_or(Forged)?;
    let (encrypted, tag) = rest.split_last_chunk::<TAG>().ok_or(Forged)?;
    let buffer = InOutBuf::new(encrypted, plain).map_err(|_| Forged)?;
    cipher
        .decrypt_inout_detached(nonce.into(), associated, buffer, tag.into())
        .map_err(|_| Forged)
}

/// [`encrypt`] for a key.
pub(crate) fn encrypt_key(cipher: &Cipher, nonce: &[u8; NONCE], associated: &[u8], key: &[u8; 32], out: &mut Vec<u8>) {
    encrypt(cipher, nonce, associated, key, out).expect("32 bytes are not too long for AES-GCM");
}

/// [`decrypt`] for a key.
pub(crate) fn decrypt_key(cipher: &Cipher, associated: &[u8], sealed: &[u8]) -> Result<KeyBytes, Forged> {
    let mut key = KeyBytes::default();
    decrypt(cipher, associated, sealed, &mut *key)?;
    Ok(key)
}

/// HKDF-SHA256 without salt; `info` is the concatenation of its parts.
pub(crate) fn derive_key(secret: &[u8; 32], info: &[&[u8]]) -> KeyBytes {
    let mut key = KeyBytes::default();
    let (mut pseudorandom, hkdf) = Hkdf::<Sha256>::extract(None, secret);
    pseudorandom.as_mut_slice().zeroize();
    hkdf.expand_multi_info(info, &mut *key)
        .expect("32 bytes are less than the 8160 that HKDF-SHA256 gives");
    key
}

pub(crate) fn random<const N: usize>() -> Result<[u8; N]> {
    let mut bytes = [0; N];
    fill_random(&mut bytes)?;
    Ok(bytes)
}

/// Random bytes that are wiped.
pub(crate) fn random_secret<const N: usize>() -> Result<Zeroizing<[u8; N]>> {
    let mut bytes = Zeroizing::new([0; N]);
    fill_random(&mut *bytes)?;
    Ok(bytes)
}

pub(crate) fn write_hex(f: &mut impl fmt::Write, bytes: &[u8]) -> fmt::Result {
    bytes.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
}

fn fill_random(bytes: &mut [u8]) -> Result<()> {
    getrandom::fill(bytes)
        .map_err(|source| Error::new(ErrorKind::Unavailable, "the operating system gives no random bytes").with_source(source))
}

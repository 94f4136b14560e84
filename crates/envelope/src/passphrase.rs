//! A key source that is a passphrase, made into a key by Argon2id.

use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};

use argon2::{Algorithm, Argon2, Block, Params, Version};
use async_trait::async_trait;
use data_encoding::HEXLOWER;
use keyfob_core::{Error, ErrorKind, Result, SecretValue};
use subtle::ConstantTimeEq;
use zeroize::Zeroizing;

use crate::crypto::{self, Cipher, ENCRYPTED_KEY, KeyBytes, NONCE};
use crate::source::{KeySource, KeySourceId};

/// A passphrase.
///
/// Argon2id makes it into a key, with a salt that is random for every `Passphrase` and stored in the slots that it
/// makes. That takes about a tenth of a second of the calling thread and 64 MiB, once per salt: the result is kept until
/// the last handle goes, then wiped.
///
/// Its [id](KeySource::id) is `passphrase:` and the beginning of the salt. It [fits](KeySource::fits) every slot of a
/// passphrase, because only trying tells which one it opens.
///
/// `Debug` shows the id.
pub struct Passphrase {
    id: KeySourceId,
    passphrase: SecretValue,
    recipe: Recipe,
    derived: Mutex<Vec<(Recipe, Arc<Derived>)>>,
}

/// How much work Argon2id does for every guess.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PassphraseCost {
    memory_kib: u32,
    passes: u32,
    lanes: u32,
}

impl PassphraseCost {
    /// 64 MiB, 3 passes, 4 lanes: the second recommended option of RFC 9106, section 4. The lanes are computed one
    /// after the other.
    pub const RECOMMENDED: Self = Self {
        memory_kib: 64 * 1024,
        passes: 3,
        lanes: 4,
    };

    /// 19 MiB, 2 passes, 1 lane: the least that is taken.
    pub const LEAST: Self = Self {
        memory_kib: 19 * 1024,
        passes: 2,
        lanes: 1,
    };

    /// 1 GiB, 16 passes, 16 lanes: the most that is taken, so that a forged slot can't keep the machine busy.
    pub const MOST: Self = Self {
        memory_kib: 1024 * 1024,
        passes: 16,
        lanes: 16,
    };

    /// A cost between [`LEAST`](Self::LEAST) and [`MOST`](Self::MOST), each number by itself.
    ///
    /// # Errors
    /// `InvalidInput` outside these bounds.
    pub fn new(memory_kib: u32, passes: u32, lanes: u32) -> Result<Self> {
        for (what, given, least, most) in [
            ("KiB of memory", memory_kib, Self::LEAST.memory_kib, Self::MOST.memory_kib),
            ("passes", passes, Self::LEAST.passes, Self::MOST.passes),
            ("lanes", lanes, Self::LEAST.lanes, Self::MOST.lanes),
        ] {
            if given < least || given > most {
                let message = format!("{given} {what} for a passphrase, from {least} to {most} are possible");
                return Err(Error::new(ErrorKind::InvalidInput, message));
            }
        }
        Ok(Self {
            memory_kib,
            passes,
            lanes,
        })
    }
}

impl Default for PassphraseCost {
    fn default() -> Self {
        Self::RECOMMENDED
    }
}

impl Passphrase {
    /// The longest passphrase, in bytes.
    pub const MAX_BYTES: usize = 4096;

    /// Takes a passphrase, with the [recommended](PassphraseCost::RECOMMENDED) cost. Every byte counts, a newline at
    /// the end too: whoever reads it from a prompt or a file takes that away.
    ///
    /// # Errors
    /// `InvalidConfig` when it is empty or longer than [`MAX_BYTES`](Self::MAX_BYTES), `Unavailable` when the
    /// operating system gives no random bytes.
    pub fn new(passphrase: impl Into<SecretValue>) -> Result<Self> {
        Self::with_cost(passphrase, PassphraseCost::RECOMMENDED)
    }

    /// The same with another cost. It is that of slots that are made from now on; slots that exist are opened at the
    /// cost that they were made with.
    ///
    /// # Errors
    /// As [`new`](Self::new).
    pub fn with_cost(passphrase: impl Into<SecretValue>, cost: PassphraseCost) -> Result<Self> {
        let salt = crypto::random()?;
        Self::with_recipe(passphrase.into(), Recipe { cost, salt })
    }

    pub(crate) fn with_recipe(passphrase: SecretValue, recipe: Recipe) -> Result<Self> {
        if passphrase.is_empty() {
            return Err(Error::new(ErrorKind::InvalidConfig, "the passphrase is empty"));
        }
        if passphrase.len() > Self::MAX_BYTES {
            let message = format!(
                "the passphrase has {} bytes, at most {} are possible",
                passphrase.len(),
                Self::MAX_BYTES
            );
            return Err(Error::new(ErrorKind::InvalidConfig, message));
        }
        let mut id = PREFIX.to_owned();
        HEXLOWER.encode_append(&recipe.salt[..8], &mut id);
        Ok(Self {
            id: KeySourceId::new(id),
            passphrase,
            recipe,
            derived: Mutex::default(),
        })
    }

    pub(crate) fn wrap_with(&self, nonce: &[u8; NONCE], context: &[u8], key: &[u8; 32]) -> Result<Vec<u8>> {
        let derived = self.derive(&self.recipe)?;
        let mut wrapped = self.recipe.to_bytes();
        wrapped.extend_from_slice(&*derived.check);
        let associated = [&wrapped, context].concat();
        crypto::encrypt_key(&derived.wrapping, nonce, &associated, key, &mut wrapped);
        Ok(wrapped)
    }

    /// Runs Argon2id, once for every recipe.
    fn derive(&self, recipe: &Recipe) -> Result<Arc<Derived>> {
        // Held while it computes: whoever asks for the same key at the same time waits for it instead of doing the
        // work, and needing the memory, again.
        let mut known = self.derived.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((_, derived)) = known.iter().find(|(made_by, _)| made_by == recipe) {
            return Ok(Arc::clone(derived));
        }
        let derived = Arc::new(recipe.derive(&self.passphrase)?);
        known.push((*recipe, Arc::clone(&derived)));
        Ok(derived)
    }
}

#[async_trait]
impl KeySource for Passphrase {
    fn id(&self) -> &KeySourceId {
        &self.id
    }

    fn fits(&self, slot_source: &str) -> bool {
        slot_source.starts_with(PREFIX)
    }

    async fn wrap(&self, context: &[u8], key: &[u8; 32]) -> Result<Vec<u8>> {
        self.wrap_with(&crypto::random()?, context, key)
    }

    async fn unwrap(&self, context: &[u8], wrapped: &[u8]) -> Result<Zeroizing<[u8; 32]>> {
        let (header, encrypted) = wrapped.split_at_checked(HEADER + CHECK).ok_or_else(damaged)?;
        let (recipe, check) = header.split_at(HEADER);
        let derived = self.derive(&Recipe::parse(recipe)?)?;
        if !bool::from(derived.check.ct_eq(check)) {
            return Err(
                Error::new(ErrorKind::Unauthenticated, "the passphrase does not fit this store")
                    .with_hint("type the passphrase that the store was made with or that it was last changed to"),
            );
        }
        crypto::decrypt_key(&derived.wrapping, &[header, context].concat(), encrypted).map_err(|_| damaged())
    }
}

impl fmt::Debug for Passphrase {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Passphrase({}, [REDACTED])", self.id)
    }
}

const PREFIX: &str = "passphrase:";
const SALT: usize = 16;
/// Version, kind, memory, passes, lanes, salt.
const HEADER: usize = 2 + 4 + 4 + 4 + SALT;
const CHECK: usize = 32;

/// How a key is made from a passphrase.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) struct Recipe {
    pub(crate) cost: PassphraseCost,
    pub(crate) salt: [u8; SALT],
}

/// The keys that are made from a passphrase.
struct Derived {
    wrapping: Cipher,
    /// Stored in the slot: tells a wrong passphrase from a changed slot, and makes it impossible to build a slot that
    /// two passphrases open (AES-GCM alone would allow that).
    check: KeyBytes,
}

impl Recipe {
    fn to_bytes(self) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(HEADER + CHECK + ENCRYPTED_KEY);
        bytes.extend_from_slice(&[1, 2]);
        for number in [self.cost.memory_kib, self.cost.passes, self.cost.lanes] {
            bytes.extend_from_slice(&number.to_be_bytes());
        }
        bytes.extend_from_slice(&self.salt);
        bytes
    }

    /// Refuses a cost outside the bounds before any of it is paid.
    fn parse(bytes: &[u8]) -> Result<Self> {
        let rest = bytes.strip_prefix(&[1, 2]).ok_or_else(damaged)?;
        let (&[m0, m1, m2, m3, t0, t1, t2, t3, p0, p1, p2, p3], salt) = rest.split_first_chunk().ok_or_else(damaged)?;
        let cost = PassphraseCost::new(
            u32::from_be_bytes([m0, m1, m2, m3]),
            u32::from_be_bytes([t0, t1, t2, t3]),
            u32::from_be_bytes([p0, p1, p2, p3]),
        )
        .map_err(|error| damaged().with("problem", error.message()))?;
        let salt = salt.try_into().map_err(|_| damaged())?;
        Ok(Self { cost, salt })
    }

    fn derive(&self, passphrase: &SecretValue) -> Result<Derived> {
        let impossible =
            |source: argon2::Error| Error::new(ErrorKind::Other, "can't make a key from the passphrase").with_source(source);
        let PassphraseCost {
            memory_kib,
            passes,
            lanes,
        } = self.cost;
        let params = Params::new(memory_kib, passes, lanes, Some(32)).map_err(impossible)?;
        // Our own memory, because it must be wiped: its last blocks are all that is needed for the key.
        let mut memory = Zeroizing::new(Vec::new());
        memory
            .try_reserve_exact(params.block_count())
            .map_err(|_| impossible(argon2::Error::OutOfMemory))?;
        memory.resize(params.block_count(), Block::new());
        let mut secret = KeyBytes::default();
        Argon2::new(Algorithm::Argon2id, Version::V0x13, params)
            .hash_password_into_with_memory(passphrase.expose_secret(), &self.salt, &mut *secret, &mut memory[..])
            .map_err(impossible)?;
        Ok(Derived {
            wrapping: crypto::cipher(&crypto::derive_key(&secret, &[b"keyfob/1 passphrase wrap"])),
            check: crypto::derive_key(&secret, &[b"keyfob/1 passphrase check"]),
        })
    }
}

fn damaged() -> Error {
    Error::new(ErrorKind::Corrupt, "the key slot was changed or belongs to another store")
        .with_hint("put back a backup of the store")
}

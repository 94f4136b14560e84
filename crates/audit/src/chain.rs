//! What the next line of a log builds on, wherever the lines are kept.

use std::sync::Arc;
use std::time::SystemTime;

use crate::keys::SigningKey;
use crate::line::{Event, FORMAT, Hash, body, seal, sign};
use crate::verify::Checkpoint;

/// Where a log ends.
#[derive(Clone)]
pub(crate) struct Chain {
    /// The log's random number.
    pub(crate) log: Arc<str>,
    /// At most this many lines come between two signatures.
    pub(crate) every: u64,
    /// The number and hash of the last line.
    pub(crate) seq: u64,
    pub(crate) hash: Hash,
    /// Lines after the last signature.
    pub(crate) unsigned: u64,
}

/// Lines that are to be added.
pub(crate) struct Batch<'k> {
    pub(crate) key: &'k SigningKey,
    pub(crate) now: SystemTime,
    /// What holds when they are.
    pub(crate) chain: Chain,
    pub(crate) text: Vec<u8>,
    /// The last of them that is signed.
    pub(crate) signed: Option<Checkpoint>,
}

impl<'k> Batch<'k> {
    pub(crate) fn new(key: &'k SigningKey, now: SystemTime, chain: Chain) -> Self {
        Self {
            key,
            now,
            chain,
            text: Vec::new(),
            signed: None,
        }
    }
}

impl Batch<'_> {
    /// The first line of a file.
    pub(crate) fn begin(&mut self, file: u64) {
        let log = Arc::clone(&self.chain.log);
        let event = Event::Begin {
            format: FORMAT,
            log: (&*log).into(),
            file,
            every: self.chain.every,
            head: self.chain.hash.to_hex().into(),
            key: self.key.public_key().id().into(),
        };
        self.signed(&event);
    }

    pub(crate) fn add(&mut self, time: SystemTime, event: &Event<'_>) {
        if self.chain.unsigned >= self.chain.every {
            self.checkpoint();
        }
        self.seal(body(self.chain.seq + 1, time, event));
        self.chain.unsigned += 1;
    }

    pub(crate) fn checkpoint(&mut self) {
        let log = Arc::clone(&self.chain.log);
        let event = Event::Checkpoint {
            log: (&*log).into(),
            head: self.chain.hash.to_hex().into(),
            key: self.key.public_key().id().into(),
        };
        self.signed(&event);
    }

    /// The files up to `file`, which ends with the line `last`, are being deleted.
    pub(crate) fn expired(&mut self, file: u64, last: u64, last_hash: Hash) {
        let log = Arc::clone(&self.chain.log);
        let event = Event::Expired {
            log: (&*log).into(),
            file,
            last,
            last_hash: last_hash.to_hex().into(),
            head: self.chain.hash.to_hex().into(),
            key: self.key.public_key().id().into(),
        };
        self.signed(&event);
    }

    /// The signed line `lacking` is not where it was.
    pub(crate) fn missing(&mut self, lacking: &Checkpoint) {
        let event = Event::Missing {
            of: lacking.log().into(),
            last: lacking.seq(),
            last_hash: lacking.hash().to_hex().into(),
        };
        self.add(self.now, &event);
    }

    fn signed(&mut self, event: &Event<'_>) {
        let mut body = body(self.chain.seq + 1, self.now, event);
        let signature = self.key.sign(&body);
        sign(&mut body, &signature);
        let start = self.text.len();
        self.seal(body);
        self.signed = Checkpoint::of(self.text[start..].trim_ascii_end());
        self.chain.unsigned = 0;
    }

    fn seal(&mut self, body: Vec<u8>) {
        self.chain.hash = seal(self.chain.hash, body, &mut self.text);
        self.chain.seq += 1;
    }
}

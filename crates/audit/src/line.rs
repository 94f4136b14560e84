//! The lines of a log: one JSON object each, sealed by the hash over it and the one before. FORMAT.md says it all.

use std::borrow::Cow;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use aws_lc_rs::digest;
use data_encoding::HEXLOWER;
use jiff::Timestamp;
use keyfob_core::{Actor, AuditOutcome, AuditRecord, AuditedStore, ErrorKind, Freshness, Reason, Verb};
use serde::{Deserialize, Serialize};

/// The version of the format.
pub(crate) const FORMAT: u32 = 1;

/// No line is longer, with its newline: a name and a reason of 512 bytes each, and of a store 2,048 of its name and as many of its
/// place, are escaped to six times that at most.
pub(crate) const MAX_LINE: usize = 64 * 1024;

/// What a line is chained by.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Hash([u8; 32]);

impl Hash {
    /// What stands in the place of the hash before the first.
    pub(crate) const NONE: Self = Self([0; 32]);

    /// The hash of a line whose text before `,"hash"` is `body`.
    pub(crate) fn of(previous: Self, body: &[u8]) -> Self {
        let mut context = digest::Context::new(&digest::SHA256);
        context.update(&previous.0);
        context.update(body);
        let mut hash = [0; 32];
        hash.copy_from_slice(context.finish().as_ref());
        Self(hash)
    }

    pub(crate) fn to_hex(self) -> String {
        HEXLOWER.encode(&self.0)
    }

    /// Takes lower-case digits alone: a text has to be the only one for its hash.
    pub(crate) fn from_hex(text: &[u8]) -> Option<Self> {
        HEXLOWER.decode(text).ok()?.try_into().ok().map(Self)
    }
}

/// What a line tells.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub(crate) enum Event<'a> {
    /// The first line of a file. Signed.
    Begin {
        format: u32,
        /// The log's random number, the same in all its files.
        log: Cow<'a, str>,
        /// The number of this file.
        file: u64,
        /// At most this many accesses come between two signatures.
        every: u64,
        /// The hash before this line.
        head: Cow<'a, str>,
        /// Which key has signed.
        key: Cow<'a, str>,
    },
    /// Somebody accessed a secret.
    #[serde(borrow)]
    Access(Box<Access<'a>>),
    /// The log's writer vouches for all before. Signed.
    Checkpoint {
        log: Cow<'a, str>,
        head: Cow<'a, str>,
        key: Cow<'a, str>,
    },
    /// So many records were lost before this line: they came faster than they could be written, or writing failed.
    Gap { dropped: u64 },
    /// The bytes of an unfinished line were cut off here: whoever wrote them was killed.
    Repair { bytes: u64, sha256: Cow<'a, str> },
    /// On the machine of the writer it is remembered that the log `of` was here, with a signed line of this number and hash, and it
    /// was not there any more.
    Missing {
        of: Cow<'a, str>,
        last: u64,
        last_hash: Cow<'a, str>,
    },
    /// All files up to this one are old enough and are being deleted; it ended with this line and this hash. Signed: what is
    /// missing is only lawfully so if the log's writer says it.
    Expired {
        log: Cow<'a, str>,
        file: u64,
        last: u64,
        last_hash: Cow<'a, str>,
        head: Cow<'a, str>,
        key: Cow<'a, str>,
    },
    /// The last line of a file: the next one goes on.
    End { next: u64 },
}

/// The fields of an access.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Access<'a> {
    #[serde(borrow)]
    user: Cow<'a, str>,
    #[serde(borrow)]
    process: Cow<'a, str>,
    pid: u32,
    #[serde(borrow)]
    host: Cow<'a, str>,
    #[serde(skip_serializing_if = "Option::is_none", default)]
    workload: Option<Cow<'a, str>>,
    #[serde(borrow)]
    verb: Cow<'a, str>,
    #[serde(skip_serializing_if = "Option::is_none", default)]
    name: Option<Cow<'a, str>>,
    #[serde(skip_serializing_if = "Option::is_none", default)]
    version: Option<Cow<'a, str>>,
    #[serde(borrow)]
    store: Cow<'a, str>,
    #[serde(borrow)]
    scheme: Cow<'a, str>,
    #[serde(borrow)]
    location: Cow<'a, str>,
    #[serde(borrow)]
    outcome: Cow<'a, str>,
    #[serde(skip_serializing_if = "Option::is_none", default)]
    error: Option<Cow<'a, str>>,
    latency_us: u64,
    #[serde(skip_serializing_if = "Option::is_none", default)]
    from: Option<Cow<'a, str>>,
    #[serde(skip_serializing_if = "Option::is_none", default)]
    reason: Option<Cow<'a, str>>,
}

impl<'a> Access<'a> {
    pub(crate) fn of(record: &'a AuditRecord) -> Self {
        Self {
            user: cut(&record.actor.user),
            process: cut(&record.actor.process),
            pid: record.actor.pid,
            host: cut(&record.actor.host),
            workload: record.actor.workload.as_deref().map(cut),
            verb: record.verb.as_str().into(),
            name: record.name.as_deref().map(cut),
            version: record.version.as_deref().map(cut),
            store: record.store.name.as_str().into(),
            scheme: cut(&record.store.scheme),
            location: record.store.location.as_str().into(),
            outcome: record.outcome.as_str().into(),
            error: record.error.map(|kind| kind.as_str().into()),
            latency_us: record.latency.as_micros().try_into().unwrap_or(u64::MAX),
            from: record.freshness.and_then(origin).map(Cow::Borrowed),
            reason: record.reason.as_ref().map(|reason| reason.as_str().into()),
        }
    }

    /// The record again, `None` when a token is unknown.
    pub(crate) fn to_record(&self, time: SystemTime) -> Option<AuditRecord> {
        let mut actor = Actor::default();
        actor.user = self.user.clone().into_owned();
        actor.process = self.process.clone().into_owned();
        actor.pid = self.pid;
        actor.host = self.host.clone().into_owned();
        actor.workload = self.workload.as_deref().map(str::to_owned);
        let store = AuditedStore::new(&*self.store, &*self.scheme, &*self.location);
        let mut record = AuditRecord::new(time, Arc::new(actor), Verb::from_token(&self.verb)?, Arc::new(store));
        record.name = self.name.as_deref().map(Arc::from);
        record.version = self.version.as_deref().map(Arc::from);
        record.outcome = AuditOutcome::from_token(&self.outcome)?;
        record.error = match &self.error {
            Some(token) => Some(ErrorKind::ALL.into_iter().find(|kind| kind.as_str() == token)?),
            None => None,
        };
        record.latency = Duration::from_micros(self.latency_us);
        record.freshness = match self.from.as_deref() {
            Some("store") => Some(Freshness::Store),
            Some("cache") => Some(Freshness::Cache),
            Some("stale") => Some(Freshness::Stale),
            Some(_) => return None,
            None => None,
        };
        record.reason = match &self.reason {
            Some(reason) => Some(Reason::new(reason).ok()?),
            None => None,
        };
        Some(record)
    }
}

/// The longest text that is written as it is, in bytes: a secret's name fits. What an environment or a store says can be longer,
/// and a line has a limit.
const MOST_TEXT: usize = 512;

fn cut(text: &str) -> Cow<'_, str> {
    if text.len() <= MOST_TEXT {
        return text.into();
    }
    let end = (0..=MOST_TEXT)
        .rev()
        .find(|&end| text.is_char_boundary(end))
        .unwrap_or_default();
    format!("{}…", &text[..end]).into()
}

/// The token of how fresh an answer was.
pub(crate) fn origin(freshness: Freshness) -> Option<&'static str> {
    match freshness {
        Freshness::Store => Some("store"),
        Freshness::Cache => Some("cache"),
        Freshness::Stale => Some("stale"),
        _ => None,
    }
}

/// The instant of a line, as it is written.
pub(crate) fn rfc3339(time: SystemTime) -> String {
    match Timestamp::try_from(time) {
        Ok(time) => format!("{time:.6}"),
        Err(_) => format!("{:.6}", Timestamp::UNIX_EPOCH),
    }
}

/// Writes the text of a line before its signature and its hash.
pub(crate) fn body(seq: u64, time: SystemTime, event: &Event<'_>) -> Vec<u8> {
    let mut body = Vec::with_capacity(512);
    body.extend_from_slice(format!("{{\"seq\":{seq},\"time\":\"{}\",", rfc3339(time)).as_bytes());
    let start = body.len();
    let written = serde_json::to_writer(&mut body, event);
    debug_assert!(written.is_ok(), "text and numbers are always written");
    // Of the event's own object, the fields alone.
    body.remove(start);
    body.pop();
    body
}

/// Adds a signature to a body.
pub(crate) fn sign(body: &mut Vec<u8>, signature: &str) {
    body.extend_from_slice(SIGNATURE);
    body.extend_from_slice(signature.as_bytes());
    body.push(b'"');
}

/// Ends a line with its hash and a newline.
pub(crate) fn seal(previous: Hash, mut body: Vec<u8>, out: &mut Vec<u8>) -> Hash {
    let hash = Hash::of(previous, &body);
    out.append(&mut body);
    out.extend_from_slice(HASH);
    out.extend_from_slice(hash.to_hex().as_bytes());
    out.extend_from_slice(b"\"}\n");
    hash
}

const SIGNATURE: &[u8] = b",\"signature\":\"";
const HASH: &[u8] = b",\"hash\":\"";
/// What comes after the body: the hash in hexadecimal digits between this.
const SEAL: usize = HASH.len() + 64 + b"\"}".len();

/// A line without its newline, taken apart.
pub(crate) struct Line<'a> {
    pub(crate) seq: u64,
    pub(crate) time: SystemTime,
    pub(crate) event: Event<'a>,
    pub(crate) hash: Hash,
    /// What the hash is over.
    pub(crate) body: &'a [u8],
    /// What is signed, and the signature, where there is one.
    pub(crate) signed: Option<(&'a [u8], &'a str)>,
}

#[derive(Deserialize)]
struct Fields<'a> {
    seq: u64,
    #[serde(borrow)]
    time: Cow<'a, str>,
    #[serde(borrow, default)]
    signature: Option<Cow<'a, str>>,
    #[serde(borrow, flatten)]
    event: Event<'a>,
}

impl<'a> Line<'a> {
    /// Takes a line apart. Does not say that its hash is right.
    ///
    /// # Errors
    /// What is wrong with it.
    pub(crate) fn parse(line: &'a [u8]) -> Result<Self, &'static str> {
        let (body, hash) = line
            .split_at_checked(line.len().saturating_sub(SEAL))
            .filter(|(body, _)| !body.is_empty())
            .ok_or("it is too short")?;
        let hash = hash
            .strip_prefix(HASH)
            .and_then(|rest| rest.strip_suffix(b"\"}"))
            .and_then(Hash::from_hex)
            .ok_or("it does not end with a hash")?;
        let fields: Fields<'a> = serde_json::from_slice(line).map_err(|_| "it is not a JSON object of this format")?;
        let time: Timestamp = fields.time.parse().map_err(|_| "its time is not a time")?;
        let time = SystemTime::try_from(time).map_err(|_| "its time is out of range")?;
        let signed = match fields.signature {
            Some(_) => Some(split_signature(body).ok_or("its signature is not where it belongs")?),
            None => None,
        };
        Ok(Self {
            seq: fields.seq,
            time,
            event: fields.event,
            hash,
            body,
            signed,
        })
    }
}

fn split_signature(body: &[u8]) -> Option<(&[u8], &str)> {
    let rest = body.strip_suffix(b"\"")?;
    let start = rest.iter().rposition(|&byte| byte == b'"')? + 1;
    let (signed, signature) = rest.split_at(start);
    Some((signed.strip_suffix(SIGNATURE)?, std::str::from_utf8(signature).ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_record_is_read_back_as_it_was_written() {
        let actor = Actor::default().workload("role \"a\"\\");
        let time = SystemTime::UNIX_EPOCH + Duration::from_micros(1_700_000_000_123_456);
        let store = AuditedStore::new("prod", "vault", "https://vault.example:8200/\"a\"");
        let mut record = AuditRecord::new(time, Arc::new(actor), Verb::Get, Arc::new(store));
        record.name = Some("täglich/\"kind\":\"checkpoint\"".into());
        record.version = Some("7".into());
        record.error = Some(ErrorKind::NotFound);
        record.outcome = AuditOutcome::Failed;
        record.latency = Duration::from_micros(812);
        record.freshness = Some(Freshness::Stale);
        record.reason = Some(Reason::new("ticket | 42").unwrap());
        let body = body(7, record.time, &Event::Access(Box::new(Access::of(&record))));
        let mut out = Vec::new();
        let hash = seal(Hash::NONE, body, &mut out);
        let line = Line::parse(out.strip_suffix(b"\n").unwrap()).unwrap();
        assert_eq!((line.seq, line.hash, line.time), (7, hash, time));
        assert_eq!(Hash::of(Hash::NONE, line.body), hash);
        assert!(line.signed.is_none());
        let Event::Access(access) = &line.event else {
            panic!("{:?}", line.event)
        };
        assert_eq!(access.to_record(line.time).unwrap(), record);
    }

    #[test]
    fn the_longest_record_has_its_place_in_a_line() {
        let long = "\u{1}".repeat(100_000);
        let mut actor = Actor::default();
        actor.user.clone_from(&long);
        actor.process.clone_from(&long);
        actor.host.clone_from(&long);
        actor.workload = Some(long.clone());
        actor.pid = u32::MAX;
        let store = AuditedStore::new(&*long, &*long, &*long);
        let mut record = AuditRecord::new(SystemTime::UNIX_EPOCH, Arc::new(actor), Verb::GetMany, Arc::new(store));
        record.name = Some(Arc::from(&*long));
        record.version = Some(Arc::from(&*long));
        record.outcome = AuditOutcome::Failed;
        record.error = Some(ErrorKind::PermissionDenied);
        record.latency = Duration::MAX;
        record.freshness = Some(Freshness::Stale);
        record.reason = Some(Reason::new(&"\"".repeat(Reason::MAX_BYTES)).unwrap());
        let mut out = Vec::new();
        let event = Event::Access(Box::new(Access::of(&record)));
        seal(Hash::NONE, body(u64::MAX, record.time, &event), &mut out);
        assert!(out.len() <= MAX_LINE, "{}", out.len());
        assert!(Line::parse(out.strip_suffix(b"\n").unwrap()).is_ok());
    }

    #[test]
    fn a_signature_is_taken_off_what_it_is_over() {
        let event = Event::Checkpoint {
            log: "l".into(),
            head: "h".into(),
            key: "k".into(),
        };
        let plain = body(1, SystemTime::UNIX_EPOCH, &event);
        let mut signed = plain.clone();
        sign(&mut signed, "c2ln");
        let mut out = Vec::new();
        seal(Hash::NONE, signed, &mut out);
        let line = Line::parse(out.strip_suffix(b"\n").unwrap()).unwrap();
        assert_eq!(line.signed, Some((plain.as_slice(), "c2ln")));
    }
}

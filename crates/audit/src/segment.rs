//! The files of a log: their names, their first lines, their ends.

use std::fs::{self, File, OpenOptions};
use std::io::{self, BufRead, BufReader};
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant, SystemTime};

use keyfob_core::{Error, ErrorKind, Result};
use memchr::memmem;
use rustix::fs::{FlockOperation, OFlags, flock};
use rustix::io::Errno;

use crate::keys::PublicKey;
use crate::line::{Event, Hash, Line, MAX_LINE};
use crate::permissions::{check_file, failed};
use crate::queue::{HELD, HELD_HINT};

/// A file of a log by its number, the first is 1.
pub(crate) fn path_of(directory: &Path, number: u64) -> PathBuf {
    directory.join(format!("audit-{number:08}.jsonl"))
}

/// The numbers of the files that are there, in order.
pub(crate) fn numbers(directory: &Path) -> Result<Vec<u64>> {
    let list = || -> io::Result<Vec<u64>> {
        let mut numbers = Vec::new();
        for entry in fs::read_dir(directory)? {
            let name = entry?.file_name();
            let number = name
                .to_str()
                .and_then(|name| name.strip_prefix("audit-")?.strip_suffix(".jsonl"))
                .and_then(|digits| digits.parse().ok())
                .filter(|&number| path_of(directory, number).file_name() == Some(&name));
            numbers.extend(number);
        }
        numbers.sort_unstable();
        Ok(numbers)
    };
    list().map_err(|source| failed("list the files of the audit log", directory, source))
}

/// The files and how long they are, at a moment when no writer is in the middle of a line.
pub(crate) fn snapshot(directory: &Path) -> Result<Vec<(u64, u64)>> {
    // A copy of a log may have no lock, and nobody writes to it.
    let lock = File::open(directory.join("lock")).ok();
    let unseen = AtomicBool::new(false);
    let take = |file| Lock::take(file, directory, true, &unseen);
    let _lock = lock.as_ref().map(take).transpose()?;
    let mut files = Vec::new();
    for number in existing_numbers(directory)? {
        let path = path_of(directory, number);
        let facts = fs::metadata(&path).map_err(|source| failed("look at the audit log", &path, source))?;
        files.push((number, facts.len()));
    }
    Ok(files)
}

/// The numbers of a log's files, at least one.
///
/// # Errors
/// `NotFound` when there is no log.
pub(crate) fn existing_numbers(directory: &Path) -> Result<Vec<u64>> {
    let problem = match directory.exists() {
        true => "there is no audit log in the directory",
        false => "there is no audit log: the directory does not exist",
    };
    match numbers(directory) {
        Err(error) if error.kind() != ErrorKind::NotFound => Err(error),
        Ok(numbers) if !numbers.is_empty() => Ok(numbers),
        _ => Err(Error::new(ErrorKind::NotFound, problem).with("path", directory.display().to_string())),
    }
}

/// Opens a file of the log to add to it.
pub(crate) fn open_to_append(path: &Path) -> Result<File> {
    let file = options()
        .append(true)
        .open(path)
        .map_err(|source| failed("open the audit log", path, source))?;
    check_file(&file, path)?;
    Ok(file)
}

/// Opens a file of the log to read it.
pub(crate) fn open_to_read(path: &Path) -> Result<File> {
    options()
        .open(path)
        .map_err(|source| failed("open the audit log", path, source))
}

/// A link could lead anywhere, and to open a pipe could wait forever.
fn options() -> OpenOptions {
    let mut options = OpenOptions::new();
    options
        .read(true)
        .custom_flags((OFlags::NOFOLLOW | OFlags::NONBLOCK).bits().cast_signed());
    options
}

/// The right to change the files of a log (exclusive), or to see them as no writer has them half-written (shared).
pub(crate) struct Lock<'f>(&'f File);

/// How long a process may keep the others waiting.
const PATIENCE: Duration = Duration::from_secs(10);

impl<'f> Lock<'f> {
    pub(crate) fn open(directory: &Path) -> Result<File> {
        let path = directory.join("lock");
        let file = options()
            .write(true)
            .create(true)
            .truncate(false)
            .mode(0o600)
            .open(&path)
            .map_err(|source| failed("open the lock of the audit log", &path, source))?;
        check_file(&file, &path)?;
        Ok(file)
    }

    /// Says in `is_held` whether another process holds it, while it waits for that.
    ///
    /// # Errors
    /// `Unavailable` when another process keeps the lock for more than ten seconds.
    pub(crate) fn take(file: &'f File, path: &Path, is_shared: bool, is_held: &AtomicBool) -> Result<Self> {
        let operation = if is_shared {
            FlockOperation::NonBlockingLockShared
        } else {
            FlockOperation::NonBlockingLockExclusive
        };
        let give_up = Instant::now() + PATIENCE;
        let mut pause = Duration::from_micros(50);
        loop {
            match flock(file, operation) {
                Ok(()) => {
                    is_held.store(false, Ordering::Relaxed);
                    return Ok(Self(file));
                }
                Err(Errno::WOULDBLOCK | Errno::INTR) if Instant::now() < give_up => {
                    is_held.store(true, Ordering::Relaxed);
                    thread::sleep(pause);
                    pause = (pause * 2).min(Duration::from_millis(5));
                }
                Err(Errno::WOULDBLOCK | Errno::INTR) => {
                    return Err(Error::new(ErrorKind::Unavailable, HELD)
                        .with("log", path.display().to_string())
                        .with_hint(HELD_HINT));
                }
                Err(source) => return Err(failed("lock the audit log", path, source.into())),
            }
        }
    }
}

impl Drop for Lock<'_> {
    fn drop(&mut self) {
        // The lock goes with the process at the latest.
        let _ = flock(self.0, FlockOperation::Unlock);
    }
}

/// What the first line of a file says.
pub(crate) struct Beginning {
    pub(crate) log: String,
    pub(crate) every: u64,
    pub(crate) time: SystemTime,
    pub(crate) line: Vec<u8>,
}

fn first_line(file: &File, path: &Path) -> Result<Vec<u8>> {
    let mut start = vec![0; MAX_LINE];
    let length = read_at_most(file, &mut start, 0).map_err(|source| failed("read the audit log", path, source))?;
    start.truncate(start[..length].iter().position(|&byte| byte == b'\n').unwrap_or(length));
    Ok(start)
}

/// What the writer of a file signed about the one before it.
pub(crate) struct Predecessor {
    /// The number and hash of its last line.
    pub(crate) last: u64,
    pub(crate) last_hash: Hash,
    /// When it had ended.
    pub(crate) ended: SystemTime,
}

/// What file `number` of `log` says of the one before it; `None` unless it says so under a signature of `key`: all else can
/// be changed by whoever can write to the files.
pub(crate) fn predecessor(file: &File, path: &Path, number: u64, log: &str, key: PublicKey) -> Result<Option<Predecessor>> {
    let line = first_line(file, path)?;
    let Ok(line) = Line::parse(&line) else { return Ok(None) };
    let is_signed = line.signed.is_some_and(|(body, signature)| key.proves(body, signature));
    Ok(match &line.event {
        Event::Begin { log: of, file, head, .. } if is_signed && of == log && *file == number => {
            let last = line.seq.checked_sub(1).zip(Hash::from_hex(head.as_bytes()));
            last.map(|(last, last_hash)| Predecessor {
                last,
                last_hash,
                ended: line.time,
            })
        }
        _ => None,
    })
}

/// Reads the first line of a file.
pub(crate) fn beginning(file: &File, path: &Path) -> Result<Beginning> {
    let line = first_line(file, path)?;
    let parsed = Line::parse(&line).map_err(|problem| damaged(path, format!("its first line is damaged: {problem}")))?;
    match parsed.event {
        Event::Begin { log, format, every, .. } if format == crate::line::FORMAT => Ok(Beginning {
            log: log.into_owned(),
            every,
            time: parsed.time,
            line: line.clone(),
        }),
        Event::Begin { format, .. } => Err(Error::new(
            ErrorKind::Unsupported,
            format!(
                "the audit log is of format {format}, this program knows format {}",
                crate::line::FORMAT
            ),
        )
        .with("file", path.display().to_string())),
        _ => Err(damaged(path, "its first line does not begin a log")),
    }
}

/// The end of a file, as somebody finds it who has not written it.
pub(crate) struct Ending {
    /// The number and hash of the last whole line.
    pub(crate) seq: u64,
    pub(crate) hash: Hash,
    pub(crate) is_end: bool,
    /// Where the last whole line ends.
    pub(crate) whole: u64,
    /// What comes after it: an unfinished line.
    pub(crate) unfinished: Vec<u8>,
    /// How many lines there are after the last signature; `None` when it is farther away than was looked.
    pub(crate) unsigned: Option<u64>,
    /// The last line that is signed, under the same condition.
    pub(crate) signed: Option<Vec<u8>>,
    /// The hash of the line that was asked for, under the same condition.
    pub(crate) sought: Option<Hash>,
}

/// How far back a signature is looked for.
const WINDOW: usize = 16 * MAX_LINE;

/// Reads the end of a file, and looks for the line with the number `sought` there.
pub(crate) fn ending(file: &File, path: &Path, sought: Option<u64>) -> Result<Ending> {
    let read = |error| failed("read the audit log", path, error);
    let length = file.metadata().map_err(read)?.len();
    let start = length.saturating_sub(WINDOW as u64);
    let mut window = vec![0; usize::try_from(length - start).unwrap_or(WINDOW)];
    let count = read_at_most(file, &mut window, start).map_err(read)?;
    window.truncate(count);
    let whole = window.iter().rposition(|&byte| byte == b'\n').map_or(0, |last| last + 1);
    let unfinished = window.split_off(whole);
    window.pop();
    let mut lines = window.rsplit(|&byte| byte == b'\n');
    let last = lines.next().unwrap_or_default();
    let parsed = Line::parse(last).map_err(|problem| damaged(path, format!("its last line is damaged: {problem}")))?;
    // Of the first line in the window a part may be missing.
    if let Some(before) = lines.clone().next().filter(|_| start == 0 || lines.clone().count() > 1) {
        let before =
            Line::parse(before).map_err(|problem| damaged(path, format!("the line before its last is damaged: {problem}")))?;
        if Hash::of(before.hash, parsed.body) != parsed.hash {
            return Err(damaged(path, "its last line does not have the hash that it should"));
        }
    }
    let mut back = std::iter::once(last).chain(lines.clone());
    let unsigned = back.clone().position(is_signed).and_then(|lines| u64::try_from(lines).ok());
    let signed = back.clone().find(|line| is_signed(line)).map(<[u8]>::to_vec);
    let sought = sought
        .map(start_of)
        .and_then(|start| back.find(|line| line.starts_with(&start)));
    let sought = sought.and_then(|line| Line::parse(line).ok()).map(|line| line.hash);
    Ok(Ending {
        seq: parsed.seq,
        hash: parsed.hash,
        is_end: matches!(parsed.event, Event::End { .. }),
        whole: start + whole as u64,
        unfinished,
        unsigned,
        signed,
        sought,
    })
}

/// More than this after the last whole line is nothing that a writer left.
pub(crate) const MOST_UNFINISHED: u64 = (WINDOW - MAX_LINE) as u64;

/// Whether what comes after the last whole line of a file, and has no line's end, can be what a killed writer or a lost disk cache left: any
/// bytes can, and zeros above all, but for a whole line with something else in the place of its end. That one was there.
pub(crate) fn is_unfinished(text: &[u8]) -> bool {
    let text = &text[..text.iter().rposition(|&byte| byte != 0).map_or(0, |last| last + 1)];
    !memmem::find_iter(&text[..text.len().min(MAX_LINE)], b"\"}").any(|end| {
        let end = end + 2;
        end < text.len() && Line::parse(&text[..end]).is_ok()
    })
}

/// What stands in the place of a line.
pub(crate) enum Sought {
    /// A line with this hash.
    There(Hash),
    /// Nothing, and lines before it are there.
    Missing,
    /// Nothing, and neither is anything before it.
    Expired,
}

/// Looks for the line with a number, wherever it is in the log.
pub(crate) fn seek(directory: &Path, number: u64) -> Result<Sought> {
    for file in numbers(directory)?.into_iter().rev() {
        let path = path_of(directory, file);
        let read = |source| failed("read the audit log", &path, source);
        let opened = open_to_read(&path)?;
        let first = first_line(&opened, &path)?;
        let is_later = Line::parse(&first).is_ok_and(|first| first.seq > number);
        if is_later {
            continue;
        }
        let start = start_of(number);
        let (mut reader, mut left, mut line) = (BufReader::with_capacity(1 << 18, opened), u64::MAX, Vec::new());
        while let Found::Line(_) = next_line(&mut reader, &mut left, &mut line).map_err(read)? {
            if line.starts_with(&start) {
                return Ok(Line::parse(&line).map_or(Sought::Missing, |line| Sought::There(line.hash)));
            }
        }
        return Ok(Sought::Missing);
    }
    Ok(Sought::Expired)
}

/// How the line with this number begins.
fn start_of(number: u64) -> Vec<u8> {
    format!("{{\"seq\":{number},").into_bytes()
}

/// Whether a line is a signed one. Inside of a JSON text every `"` has a `\` in front, so nothing else looks like this.
pub(crate) fn is_signed(line: &[u8]) -> bool {
    memmem::find(line, SIGNED).is_some()
}

const SIGNED: &[u8] = b"\",\"signature\":\"";

/// Reads the next line without its newline into `line`, from a file that is read up to `left` bytes.
pub(crate) fn next_line(reader: &mut BufReader<File>, left: &mut u64, line: &mut Vec<u8>) -> io::Result<Found> {
    line.clear();
    let most = (*left).min(MAX_LINE as u64);
    let count = io::Read::take(&mut *reader, most).read_until(b'\n', line)? as u64;
    *left -= count;
    if line.pop_if(|byte| *byte == b'\n').is_some() {
        Ok(Found::Line(count))
    } else if count == 0 {
        Ok(Found::Nothing)
    } else if *left > 0 {
        Ok(Found::TooLong)
    } else {
        Ok(Found::Unfinished)
    }
}

/// What stands at a place of a file.
pub(crate) enum Found {
    /// A line of so many bytes, with its newline.
    Line(u64),
    /// The end of the file comes before the end of the line.
    Unfinished,
    /// More bytes than any line has.
    TooLong,
    Nothing,
}

fn read_at_most(file: &File, buffer: &mut [u8], start: u64) -> io::Result<usize> {
    let mut count = 0;
    while count < buffer.len() {
        match file.read_at(&mut buffer[count..], start + count as u64) {
            Ok(0) => break,
            Ok(read) => count += read,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(count)
}

/// A log to which nothing can be added, because somebody else has changed it.
pub(crate) fn damaged(path: &Path, problem: impl std::fmt::Display) -> Error {
    Error::new(
        ErrorKind::Corrupt,
        format!("the audit log was changed by somebody else: {problem}"),
    )
    .with("file", path.display().to_string())
    .with_hint("`keyfob audit verify` shows what is wrong; keep the directory as evidence and begin a log in another one")
}

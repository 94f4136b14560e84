//! Whatever somebody does to a log without its key is found, at its place, and an intact log is never accused.

#![expect(clippy::unwrap_used, reason = "helpers of tests may panic as tests do")]

mod common;

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use aws_lc_rs::digest::{Context, SHA256};
use aws_lc_rs::signature::{Ed25519KeyPair, KeyPair};
use common::{Bed, Day, files, give};
use data_encoding::{BASE64URL_NOPAD, HEXLOWER};
use keyfob_audit::{Checkpoint, FileAudit, FileAuditOptions, Finding, PublicKey, SigningKey, checkpoint, verify};

const EDITS: u64 = 10_000;

#[test]
fn ten_thousand_edits_are_found() {
    let originals: Vec<(Bed, Checkpoint, Log)> = (0..5).map(original).collect();
    let threads = 2;
    std::thread::scope(|scope| {
        for thread in 0..threads {
            let originals = &originals;
            scope.spawn(move || {
                let place = tempfile::tempdir().unwrap();
                for seed in (thread..EDITS).step_by(threads as usize) {
                    let (bed, kept, original) = &originals[seed as usize / 2 % originals.len()];
                    one_edit(seed + 1, place.path(), original, kept, bed.public_key);
                }
            });
        }
    });
}

/// A log of several files; but for the first, with a writer that was killed and records that were lost.
fn original(number: u64) -> (Bed, Checkpoint, Log) {
    let bed = Bed::new();
    for part in 0..3 {
        let max_bytes = if part == 0 { u64::MAX } else { 1 };
        let mut options = bed.options().checkpoint_lines(4 + number).max_bytes(max_bytes);
        if number > 0 && part == 1 {
            cut_off(&bed, 1 + number as usize * 31);
            options = options.queue(3);
        }
        let sink = FileAudit::open(options).unwrap();
        give(&sink, part * 7..part * 7 + 7 + number);
        sink.close().unwrap();
    }
    let kept = checkpoint(bed.log(), &[bed.public_key]).unwrap();
    let seen = verify(bed.log(), &[bed.public_key], std::slice::from_ref(&kept)).unwrap();
    assert_eq!((seen.finding, seen.repairs), (None, u64::from(number > 0)));
    let log = Log::read(&bed.log());
    assert!(log.files.len() >= 3);
    (bed, kept, log)
}

/// Leaves what a killed writer does: the last line without its end.
fn cut_off(bed: &Bed, bytes: usize) {
    let file = bed.files().pop().unwrap();
    let text = fs::read(&file).unwrap();
    fs::write(&file, &text[..text.len() - bytes]).unwrap();
}

/// Writers are killed, lose records, end files and delete old ones, in any order, under changing keys and over the years: that is never taken for
/// an edit.
#[test]
fn generated_logs_that_nobody_edited_are_never_accused() {
    let (mut repairs, mut lost, mut expired) = (0, 0, 0);
    for seed in 1..=30 {
        let (bed, mut random) = (Bed::new(), Random(seed));
        let other = SigningKey::create_file(bed.place.path().join("other")).unwrap().public_key();
        let (mut kept, mut day, mut number) = (Vec::new(), 0, 0);
        for step in 0..10 {
            if step > 0 && random.below(2) == 0 && ends_with_a_checkpoint(&bed) {
                cut_off(&bed, 1 + random.below(100));
            } else if step > 0 && random.below(4) == 0 {
                let file = bed.files().pop().unwrap();
                let text = [fs::read(&file).unwrap(), vec![0; 1 + random.below(5000)]].concat();
                fs::write(file, text).unwrap();
            }
            day += random.below(400) as u64;
            let key = if random.below(3) == 0 { "other" } else { "key" };
            let key = SigningKey::from_file(bed.place.path().join(key)).unwrap();
            let mut options = FileAuditOptions::new(bed.log(), key)
                .clock(Arc::new(Day(day)))
                .checkpoint_lines(1 + random.below(9) as u64)
                .keep_years(1 + random.below(2) as u32);
            if random.below(3) == 0 {
                options = options.queue(1 + random.below(4));
            }
            if random.below(2) == 0 {
                options = options.max_bytes(1);
            }
            let sink = FileAudit::open(options).unwrap();
            let count = random.below(30) as u64;
            give(&sink, number..number + count);
            number += count;
            sink.close().unwrap();
            let keys = [bed.public_key, other];
            let seen = verify(bed.log(), &keys, &kept).unwrap();
            assert_eq!(
                (seen.finding, seen.unfinished),
                (None, 0),
                "seed {seed}, step {step}: an intact log was accused"
            );
            kept.extend(beginning(&bed));
            (repairs, lost, expired) = (repairs.max(seen.repairs), lost.max(seen.lost), expired.max(seen.expired));
        }
    }
    assert!(
        repairs > 1 && lost > 0 && expired > 0,
        "{repairs} repairs, {lost} lost, {expired} expired"
    );
}

/// Lines of other kinds are on the disk before anything follows from them, or appear with their file.
fn ends_with_a_checkpoint(bed: &Bed) -> bool {
    let text = fs::read_to_string(bed.files().pop().unwrap()).unwrap();
    text.lines().last().unwrap().contains("\"kind\":\"checkpoint\"")
}

/// The first line of the last file, which is signed and can't be cut off by a kill.
fn beginning(bed: &Bed) -> Option<Checkpoint> {
    let text = fs::read_to_string(bed.files().pop().unwrap()).unwrap();
    text.lines().next().unwrap().parse().ok()
}

fn one_edit(seed: u64, place: &Path, original: &Log, kept: &Checkpoint, key: PublicKey) {
    let mut random = Random(seed);
    let (what, edited) = loop {
        let (what, edited) = edit(&mut random, original);
        // Two equal lines swapped are no edit.
        if edited != *original {
            break (what, edited);
        }
    };
    edited.write(place);
    let found = |kept: &[Checkpoint]| -> Option<Finding> { verify(place, &[key], kept).unwrap().finding };
    let finding = found(std::slice::from_ref(kept));
    let finding = finding.unwrap_or_else(|| panic!("edit {seed} ({what}) was not found"));
    if let Some((file, line)) = original.first_difference(&edited)
        && !what.starts_with("forged")
    {
        assert_eq!(
            (&finding.file, finding.line),
            (&place.join(file), line),
            "edit {seed} ({what}): {finding}"
        );
    }
    if !edited.is_a_beginning_of(original) {
        let found = found(&[]);
        assert!(found.is_some(), "edit {seed} ({what}) was not found without a checkpoint");
    }
    if seed % 50 == 1 {
        original.write(place);
        let seen = verify(place, &[key], std::slice::from_ref(kept)).unwrap();
        assert_eq!((seen.finding, seen.unfinished), (None, 0), "an intact log was accused");
    }
}

/// The files of a log by name, each with its lines.
#[derive(Clone, PartialEq)]
struct Log {
    files: Vec<(String, Vec<u8>)>,
}

impl Log {
    fn read(directory: &Path) -> Self {
        let name = |path: &PathBuf| path.file_name().unwrap().to_str().unwrap().to_owned();
        let files = files(directory)
            .iter()
            .map(|path| (name(path), fs::read(path).unwrap()))
            .collect();
        Self { files }
    }

    fn write(&self, directory: &Path) {
        for file in files(directory) {
            fs::remove_file(file).unwrap();
        }
        for (name, text) in &self.files {
            fs::write(directory.join(name), text).unwrap();
        }
    }

    /// Where a reader of `edited` meets the first thing that is another; `None` when that is the end of the log.
    fn first_difference(&self, edited: &Self) -> Option<(String, u64)> {
        for (index, (name, text)) in self.files.iter().enumerate() {
            let Some((_, other)) = edited.files.iter().find(|(other, _)| other == name) else {
                // The next file that is there does not continue what was before it.
                let next = self.files[index + 1..]
                    .iter()
                    .find(|(name, _)| edited.files.iter().any(|(other, _)| other == name))?;
                return Some((next.0.clone(), 1));
            };
            let (lines, others) = (lines(text), lines(other));
            let same = lines.iter().zip(&others).take_while(|(a, b)| a == b).count();
            if same < others.len() {
                return Some((name.clone(), same as u64 + 1));
            }
            if same < lines.len() {
                if others.is_empty() {
                    return Some((name.clone(), 1));
                }
                // It ends too early, which is seen at the beginning of the next one.
                return self.files.get(index + 1).map(|(name, _)| (name.clone(), 1));
            }
        }
        None
    }

    /// Whether it is what `whole` looked like at an earlier time.
    fn is_a_beginning_of(&self, whole: &Self) -> bool {
        let Some(((name, text), before)) = self.files.split_last() else {
            return true;
        };
        let Some((known, rest)) = whole.files.get(before.len()) else {
            return false;
        };
        before == &whole.files[..before.len()]
            && name == known
            && text.len() >= lines(rest)[0].len()
            // A file that has its last line does not end there.
            && (text.len() < rest.len() || before.len() + 1 == whole.files.len() || text == rest)
            && rest.starts_with(text)
    }
}

/// The lines with their newlines.
fn lines(text: &[u8]) -> Vec<Vec<u8>> {
    text.split_inclusive(|&byte| byte == b'\n').map(<[u8]>::to_vec).collect()
}

fn edit(random: &mut Random, original: &Log) -> (&'static str, Log) {
    let mut log = original.clone();
    let count = log.files.len();
    let file = random.below(count);
    let text = &mut log.files[file].1;
    let mut all = lines(text);
    let (a, b) = (random.below(all.len()), random.below(all.len()));
    let what = match random.below(11) {
        0 | 1 => {
            let at = random.below(text.len());
            text[at] ^= 1 << random.below(8);
            return ("flipped a bit", log);
        }
        2 => {
            text.truncate(random.below(text.len()));
            return ("cut a file off", log);
        }
        3 => {
            all.swap(a, b);
            "swapped lines"
        }
        4 => {
            all.remove(a);
            "took a line out"
        }
        5 => {
            let line = all[a].clone();
            all.insert(b, line);
            "doubled a line"
        }
        6 => {
            all.truncate(a);
            "cut lines off"
        }
        7 => {
            let line = all.remove(a);
            all.insert(random.below(all.len() + 1), line);
            "moved a line"
        }
        8 => {
            if random.below(2) == 0 {
                log.files.remove(file);
                return ("took a file out", log);
            }
            let other = random.below(count);
            let text = log.files[file].1.clone();
            log.files[file].1 = std::mem::replace(&mut log.files[other].1, text);
            return ("swapped files", log);
        }
        9 => {
            forge(random, &mut log, true);
            return ("forged and signed with another key", log);
        }
        _ => {
            forge(random, &mut log, false);
            return ("forged and chained anew, with the old signatures", log);
        }
    };
    log.files[file].1 = all.concat();
    (what, log)
}

/// Changes a record, takes one out or puts one in, and then mends numbers and hashes as the format says.
fn forge(random: &mut Random, log: &mut Log, sign: bool) {
    let key = Ed25519KeyPair::from_seed_unchecked(&[9; 32]).unwrap();
    let mut all: Vec<(usize, String)> = Vec::new();
    for (index, (_, text)) in log.files.iter().enumerate() {
        all.extend(lines(text).into_iter().map(|line| (index, String::from_utf8(line).unwrap())));
    }
    let accesses: Vec<usize> = (0..all.len())
        .filter(|&line| all[line].1.contains("\"kind\":\"access\""))
        .collect();
    let at = accesses[random.below(accesses.len())];
    match random.below(3) {
        0 => all[at].1 = all[at].1.replace("\"user\":\"jo\"", "\"user\":\"al\""),
        1 => drop(all.remove(at)),
        _ => {
            let line = all[at].clone();
            all.insert(at, line);
        }
    }
    let mut texts = vec![String::new(); log.files.len()];
    let mut hash = [0; 32];
    for (number, (file, line)) in all.iter().enumerate() {
        let body = &line[..line.rfind(",\"hash\":\"").unwrap()];
        let mut body = format!("{{\"seq\":{},{}", number + 1, body.split_once(',').unwrap().1);
        if let Some(start) = body.find("\"head\":\"").filter(|_| body.contains("\"signature\"")) {
            body.replace_range(start + 8..start + 72, &HEXLOWER.encode(&hash));
        }
        if sign && let Some(start) = body.find(",\"signature\":\"") {
            body.truncate(start);
            let signature = key.sign(format!("keyfob audit log v1\n{body}").as_bytes());
            body = format!("{body},\"signature\":\"{}\"", BASE64URL_NOPAD.encode(signature.as_ref()));
        }
        let mut context = Context::new(&SHA256);
        context.update(&hash);
        context.update(body.as_bytes());
        hash.copy_from_slice(context.finish().as_ref());
        texts[*file].push_str(&format!("{body},\"hash\":\"{}\"}}\n", HEXLOWER.encode(&hash)));
    }
    for (index, text) in texts.into_iter().enumerate() {
        log.files[index].1 = text.into_bytes();
    }
}

#[test]
fn a_forger_with_the_key_is_found_by_a_kept_checkpoint_and_only_so() {
    let bed = Bed::new();
    let sink = FileAudit::open(bed.options()).unwrap();
    give(&sink, 0..5);
    sink.close().unwrap();
    let kept = checkpoint(bed.log(), &[bed.public_key]).unwrap();
    let mut log = Log::read(&bed.log());
    forge(&mut Random(1), &mut log, true);
    log.write(&bed.log());
    // The forger's key stands in for a stolen one.
    let key = Ed25519KeyPair::from_seed_unchecked(&[9; 32]).unwrap();
    let stolen: PublicKey = format!(
        "keyfob-audit-public-key:{}",
        BASE64URL_NOPAD.encode(key.public_key().as_ref())
    )
    .parse()
    .unwrap();
    // This also says that what was forged above was forged well.
    assert_eq!(verify(bed.log(), &[stolen], &[]).unwrap().finding, None);
    assert!(verify(bed.log(), &[stolen], &[kept]).unwrap().finding.is_some());
}

/// A file's last line is not signed, so what it says of its age is worth nothing.
#[test]
fn who_makes_files_look_old_does_not_have_them_deleted() {
    let bed = Bed::new();
    let write = |part: u64| {
        let options = bed.options().max_bytes(1).keep_years(1);
        let sink = FileAudit::open(options).unwrap();
        give(&sink, part * 3..part * 3 + 3);
        sink.close().unwrap();
    };
    (0..3).for_each(write);
    let mut log = Log::read(&bed.log());
    let finished = log.files.len() - 1;
    for (_, text) in &mut log.files[..finished] {
        let mut all = lines(text);
        let (end, before) = (all.len() - 1, all.len() - 2);
        let last = String::from_utf8(all[end].clone()).unwrap();
        let year = last.find("\"time\":\"").unwrap() + 8;
        all[end] = format!("{}2015{}", &last[..year], &last[year + 4..]).into_bytes();
        all[before] = b"{\"x\n".to_vec();
        *text = all.concat();
    }
    log.write(&bed.log());
    write(3);
    let files = Log::read(&bed.log()).files;
    assert!(files.len() > finished + 1);
    assert!(log.files[..finished].iter().zip(&files).all(|(before, now)| before == now));
    assert!(bed.verify().finding.is_some());
}

/// The chain has no key: an end can be cut off and another one put in its place, which the next writer signs.
#[test]
fn an_end_that_was_replaced_is_found_by_a_kept_checkpoint_and_only_so() {
    let bed = Bed::new();
    let sink = FileAudit::open(bed.options()).unwrap();
    give(&sink, 0..5);
    sink.close().unwrap();
    let kept = checkpoint(bed.log(), &[bed.public_key]).unwrap();
    let mut log = Log::read(&bed.log());
    // Without the checkpoint at the end nothing is signed but the beginning.
    let without = lines(&log.files[0].1);
    log.files[0].1 = without[..without.len() - 1].concat();
    forge(&mut Random(1), &mut log, false);
    log.write(&bed.log());
    assert!(
        verify(bed.log(), &[bed.public_key], std::slice::from_ref(&kept))
            .unwrap()
            .finding
            .is_some()
    );
    let seen = bed.verify();
    assert!(seen.is_intact() && seen.unsigned > 0, "{seen:?}");

    let sink = FileAudit::open(bed.options()).unwrap();
    give(&sink, 5..6);
    sink.close().unwrap();
    let seen = bed.verify();
    assert!(seen.is_intact() && seen.unsigned == 0, "{seen:?}");
    assert!(verify(bed.log(), &[bed.public_key], &[kept]).unwrap().finding.is_some());
}

/// The chain has no key: whoever can write to the files can go on with it, and say that the first ones were old.
#[test]
fn files_that_only_a_forger_calls_old_are_missed() {
    let bed = Bed::new();
    for part in 0..3 {
        let sink = FileAudit::open(bed.options().max_bytes(1)).unwrap();
        give(&sink, part * 3..part * 3 + 3);
        sink.close().unwrap();
    }
    let mut log = Log::read(&bed.log());
    let gone = log.files.len() - 2;
    let last_of = |file: usize| {
        let line = String::from_utf8(lines(&log.files[file].1).pop().unwrap()).unwrap();
        let seq: u64 = line["{\"seq\":".len()..line.find(',').unwrap()].parse().unwrap();
        let hash = line[line.len() - 67..line.len() - 3].to_owned();
        (seq, hash)
    };
    let ((seq, hash), (last, last_hash)) = (last_of(log.files.len() - 1), last_of(gone - 1));
    let signed = lines(&log.files[0].1).into_iter().next().unwrap();
    let signed = String::from_utf8(signed).unwrap();
    let field = |name: &str| {
        let start = signed.find(&format!("\"{name}\":\"")).unwrap() + name.len() + 4;
        &signed[start..start + signed[start..].find('"').unwrap()]
    };
    let old_signature = format!(",\"signature\":\"{}\"", field("signature"));
    let time = "\"time\":\"2026-01-01T00:00:00.000000Z\"";
    let forged = format!("{{\"seq\":{},{time},\"kind\":\"expired\"", seq + 1);
    let of_old = format!("{forged},\"file\":{gone},\"last\":{last},\"head\":\"{last_hash}\"");
    let of_now = format!(
        "{forged},\"log\":\"{}\",\"file\":{gone},\"last\":{last},\"last_hash\":\"{last_hash}\",\"head\":\"{hash}\",\"key\":\"{}\"",
        field("log"),
        field("key")
    );
    log.files.drain(..gone);
    let end = log.files.len() - 1;
    let original = log.files[end].1.clone();
    for body in [of_old, of_now.clone(), of_now + &old_signature] {
        let mut context = Context::new(&SHA256);
        context.update(&HEXLOWER.decode(hash.as_bytes()).unwrap());
        context.update(body.as_bytes());
        let line = format!("{body},\"hash\":\"{}\"}}\n", HEXLOWER.encode(context.finish().as_ref()));
        log.files[end].1 = [&*original, line.as_bytes()].concat();
        fs::remove_dir_all(bed.log()).unwrap();
        fs::create_dir(bed.log()).unwrap();
        log.write(&bed.log());
        let finding = bed.verify().finding;
        assert!(finding.is_some_and(|finding| finding.seq == seq + 1), "{line}");
    }
}

#[test]
fn signatures_that_are_missing_are_missed() {
    let bed = Bed::new();
    let sink = FileAudit::open(bed.options().checkpoint_lines(1000)).unwrap();
    give(&sink, 0..20);
    sink.close().unwrap();
    let mut log = Log::read(&bed.log());
    // As if the writer had promised a signature every ten lines: then its own signature does not hold any more.
    let text = String::from_utf8(log.files[0].1.clone()).unwrap();
    log.files[0].1 = text.replacen("\"every\":1000", "\"every\":9999", 1).into_bytes();
    log.write(&bed.log());
    assert_eq!(bed.verify().finding.unwrap().line, 1);
}

/// xorshift64*
struct Random(u64);

impl Random {
    fn below(&mut self, end: usize) -> usize {
        if self.0 < 1 << 32 {
            // A small seed has few bits.
            self.0 = self.0.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1;
        }
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        let number = self.0.wrapping_mul(0x2545_F491_4F6C_DD1D) >> 16;
        usize::try_from(number % end as u64).unwrap()
    }
}

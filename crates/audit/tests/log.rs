//! A log is written, rotated, mended, read and exported.

mod common;

use std::fs::{self, OpenOptions, Permissions};
use std::io::Write;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::sync::Arc;

use common::{Bed, Day, give, record};
use keyfob_audit::{
    AuditReader, Checkpoint, Durability, ExportFormat, FileAudit, NameKey, StreamAudit, checkpoint, export, format_line, verify,
};
use keyfob_core::{
    Actor, AuditFilter, AuditLayer, AuditReceipt, AuditSink, ErrorKind, GetOptions, GetRequest, Layer, MemoryAudit, MemoryStore,
    PutRequest, SecretName, SecretStore,
};

#[test]
fn what_was_recorded_is_verified_and_read_back() {
    let bed = Bed::new();
    let sink = FileAudit::open(bed.options().checkpoint_lines(10)).unwrap();
    give(&sink, 0..25);
    sink.close().unwrap();
    let seen = bed.verify();
    assert_eq!(seen.finding, None);
    assert_eq!((seen.accesses, seen.unsigned, seen.unfinished, seen.lost), (25, 0, 0, 0));
    // begin, 10, checkpoint, 10, checkpoint, 5, checkpoint
    assert_eq!(seen.lines, 1 + 25 + 3);

    let mut reader = AuditReader::open(bed.log(), AuditFilter::default()).unwrap();
    for number in 0..25 {
        assert_eq!(reader.next().unwrap().unwrap().record, record(number));
    }
    assert!(reader.next().unwrap().is_none());
    // It follows what comes later, also over the end of a file.
    let sink = FileAudit::open(bed.options().max_bytes(1)).unwrap();
    give(&sink, 25..27);
    sink.close().unwrap();
    assert_eq!(reader.next().unwrap().unwrap().record, record(25));
    assert_eq!(reader.next().unwrap().unwrap().record, record(26));
    assert!(reader.next().unwrap().is_none());
    assert!(bed.verify().is_intact());
    assert!(bed.files().len() > 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_durable_log_has_the_record_before_the_value_is_handed_out() {
    let bed = Bed::new();
    let sink = Arc::new(FileAudit::open(bed.options().durability(Durability::Durable)).unwrap());
    let memory = MemoryStore::new();
    let name = SecretName::new("a").unwrap();
    memory.put(&name, PutRequest::new("kfcanary-auditlog01")).await.unwrap();
    let seen = Arc::new(MemoryAudit::new(100));
    let store = AuditLayer::new(Actor::default())
        .sink(Arc::clone(&sink) as _)
        .sink(Arc::clone(&seen) as _)
        .layer(Arc::new(memory));
    for count in 1..=5 {
        store.get(&name, &GetOptions::default()).await.unwrap();
        let verified = bed.verify();
        assert!(verified.is_intact());
        assert_eq!(verified.accesses, count);
    }
    store.get_many(&[GetRequest::new(name.clone()), GetRequest::new(name)]).await;
    assert_eq!(bed.verify().accesses, 7);
    assert_eq!(seen.total(), 7);
    let text = fs::read_to_string(&bed.files()[0]).unwrap();
    assert!(!text.contains("kfcanary"), "a value was written to the log");
}

#[tokio::test(flavor = "multi_thread")]
async fn while_the_log_can_not_be_written_nothing_is_handed_out_and_afterwards_it_says_so() {
    let bed = Bed::new();
    let sink = Arc::new(FileAudit::open(bed.options().durability(Durability::Durable)).unwrap());
    let store = AuditLayer::new(Actor::default())
        .sink(Arc::clone(&sink) as _)
        .layer(Arc::new(MemoryStore::new()));
    let name = SecretName::new("a").unwrap();
    store.put(&name, PutRequest::new("v")).await.unwrap();
    // Somebody cuts off a byte.
    let file = bed.files()[0].clone();
    let whole = fs::read(&file).unwrap();
    fs::write(&file, &whole[..whole.len() - 1]).unwrap();
    let error = store.get(&name, &GetOptions::default()).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unavailable, "{error:?}");
    assert!(sink.ready().is_err());
    let error = store.put(&name, PutRequest::new("v2")).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unavailable, "the write was tried");
    assert_eq!(
        fs::read(&file).unwrap(),
        &whole[..whole.len() - 1],
        "a record that was there was mended away"
    );

    // And puts it back: the next access is recorded, but comes too early, and from then on all is well.
    fs::write(&file, &whole).unwrap();
    store.get(&name, &GetOptions::default()).await.unwrap_err();
    let secret = store.get(&name, &GetOptions::default()).await.unwrap();
    assert_eq!(secret.metadata.version.as_ref().unwrap().as_str(), "1");
    let lost = sink.lost();
    assert_eq!(lost, 2);
    drop(store);
    sink.close().unwrap();
    let seen = bed.verify();
    assert_eq!(seen.finding, None);
    assert_eq!((seen.lost, seen.accesses, seen.repairs), (lost, 3, 0));
}

#[test]
fn files_are_for_their_owner_and_directories_that_others_may_write_are_refused() {
    let bed = Bed::new();
    let sink = FileAudit::open(bed.options()).unwrap();
    give(&sink, 0..1);
    sink.close().unwrap();
    assert_eq!(fs::metadata(bed.log()).unwrap().mode() & 0o7777, 0o700);
    for file in fs::read_dir(bed.log()).unwrap() {
        assert_eq!(file.unwrap().metadata().unwrap().mode() & 0o7777, 0o600);
    }
    let file = &bed.files()[0];
    let refused = || FileAudit::open(bed.options()).unwrap_err().kind() == ErrorKind::InvalidConfig;
    for mode in [0o620, 0o602, 0o666] {
        fs::set_permissions(file, Permissions::from_mode(mode)).unwrap();
        assert!(refused(), "{mode:o}");
    }
    fs::set_permissions(file, Permissions::from_mode(0o640)).unwrap();
    assert!(!refused_for(&bed));
    for mode in [0o720, 0o702, 0o1777] {
        fs::set_permissions(bed.log(), Permissions::from_mode(mode)).unwrap();
        assert!(refused(), "{mode:o}");
    }
    fs::set_permissions(bed.log(), Permissions::from_mode(0o700)).unwrap();
    fs::set_permissions(bed.place.path(), Permissions::from_mode(0o777)).unwrap();
    assert!(refused(), "others could put another directory in its place");
    fs::set_permissions(bed.place.path(), Permissions::from_mode(0o700)).unwrap();
    fs::rename(file, bed.place.path().join("elsewhere")).unwrap();
    std::os::unix::fs::symlink(bed.place.path().join("elsewhere"), file).unwrap();
    FileAudit::open(bed.options()).unwrap_err();
}

fn refused_for(bed: &Bed) -> bool {
    FileAudit::open(bed.options()).is_err()
}

#[test]
fn an_unfinished_line_is_told_of_and_mended() {
    let bed = Bed::new();
    let sink = FileAudit::open(bed.options()).unwrap();
    give(&sink, 0..3);
    sink.close().unwrap();
    let file = &bed.files()[0];
    let text = fs::read(file).unwrap();
    let start = text[..text.len() - 1].iter().rposition(|&byte| byte == b'\n').unwrap() + 1;
    for cut in [start + 1, start + 100, text.len() - 1] {
        fs::write(file, &text[..cut]).unwrap();
        let seen = bed.verify();
        assert!(seen.is_intact());
        assert_eq!(seen.unfinished, (cut - start) as u64);
        assert_eq!(seen.accesses, 3);
    }
    let sink = FileAudit::open(bed.options()).unwrap();
    give(&sink, 3..5);
    sink.close().unwrap();
    let seen = bed.verify();
    assert_eq!(seen.finding, None);
    assert_eq!((seen.accesses, seen.repairs, seen.unfinished), (5, 1, 0));

    // A whole line that no writer left is not mended but refused.
    OpenOptions::new()
        .append(true)
        .open(file)
        .unwrap()
        .write_all(b"{}\n")
        .unwrap();
    assert_eq!(FileAudit::open(bed.options()).unwrap_err().kind(), ErrorKind::Corrupt);
}

/// What a lost disk cache leaves, a killed writer, or somebody who only adds: a proof and the next writer see the same in it.
#[test]
fn any_torn_end_is_told_of_and_mended_and_what_is_not_torn_is_kept_as_evidence() {
    let half = [&b"{\"seq\":5,\"time\""[..], &[0; 300]].concat();
    let bed = Bed::new();
    for (torn, number) in [&b"garbage"[..], &[0; 200], &half, &[0; 200_000], b"\0", b"x\"}y\"}"]
        .into_iter()
        .zip(1..)
    {
        let sink = FileAudit::open(bed.options()).unwrap();
        give(&sink, number..number + 1);
        sink.close().unwrap();
        let file = bed.files()[0].clone();
        OpenOptions::new().append(true).open(&file).unwrap().write_all(torn).unwrap();
        let seen = bed.verify();
        assert_eq!((seen.finding, seen.unfinished), (None, torn.len() as u64), "{number}");
        FileAudit::open(bed.options()).unwrap().close().unwrap();
        let seen = bed.verify();
        assert_eq!((seen.finding, seen.unfinished, seen.repairs), (None, 0, number), "{number}");
    }

    let file = bed.files()[0].clone();
    let whole = fs::read(&file).unwrap();
    let without_end = &whole[..whole.len() - 1];
    // A line whose end alone was lost: that record is no record.
    fs::write(&file, [without_end, &[0; 20]].concat()).unwrap();
    assert!(bed.verify().is_intact());
    for evidence in [
        [without_end, b" "].concat(),
        [without_end, b"\0\0more"].concat(),
        [&*whole, &[0; 1 << 20]].concat(),
    ] {
        fs::write(&file, &evidence).unwrap();
        assert!(!bed.verify().is_intact());
        assert_eq!(FileAudit::open(bed.options()).unwrap_err().kind(), ErrorKind::Corrupt);
        assert!(fs::read(&file).unwrap() == evidence, "evidence was mended away");
    }
    // After the last line of a file nothing is ever written.
    fs::write(&file, &whole).unwrap();
    FileAudit::open(bed.options().max_bytes(1)).unwrap().close().unwrap();
    fs::remove_file(&bed.files()[1]).unwrap();
    OpenOptions::new().append(true).open(&file).unwrap().write_all(b"x").unwrap();
    assert!(!bed.verify().is_intact());
    assert_eq!(FileAudit::open(bed.options()).unwrap_err().kind(), ErrorKind::Corrupt);
}

#[test]
fn two_writers_of_one_log_make_one_chain() {
    let bed = Bed::new();
    let one = FileAudit::open(bed.options().checkpoint_lines(7).max_bytes(20_000)).unwrap();
    let other = FileAudit::open(bed.options().checkpoint_lines(9).max_bytes(15_000)).unwrap();
    std::thread::scope(|scope| {
        scope.spawn(|| {
            for part in 0..20 {
                give(&one, part * 10..part * 10 + 10);
                std::thread::yield_now();
            }
            one.close().unwrap();
        });
        scope.spawn(|| {
            give(&other, 1000..1200);
            other.close().unwrap();
        });
    });
    let seen = bed.verify();
    assert_eq!(seen.finding, None);
    assert_eq!((seen.accesses, seen.lost, seen.repairs), (400, 0, 0));
    assert!(seen.files > 1, "{seen:?}");
}

#[test]
fn old_files_are_deleted_lawfully_and_otherwise_missed() {
    let bed = Bed::new();
    // Four files, a year and a half from one to the next.
    for number in 0..4 {
        let clock = Arc::new(Day(number * 548));
        let sink = FileAudit::open(bed.options().clock(clock)).unwrap();
        give(&sink, 0..3);
        sink.close().unwrap();
    }
    assert_eq!(bed.files().len(), 4);
    let kept = checkpoint(bed.log(), &[bed.public_key]).unwrap();
    let before = bed.verify();
    assert_eq!((before.files, before.expired, before.accesses), (4, 0, 12));
    let first = fs::read(&bed.files()[0]).unwrap();

    let sink = FileAudit::open(bed.options().clock(Arc::new(Day(4 * 548))).keep_years(4)).unwrap();
    sink.close().unwrap();
    let files = bed.files();
    assert_eq!(files.len(), 4, "{files:?}");
    let after = verify(bed.log(), &[bed.public_key], &[kept]).unwrap();
    assert_eq!(after.finding, None);
    assert_eq!((after.files, after.expired, after.accesses), (4, 1, 9));
    assert_eq!(after.kept_expired, 0);
    let of_the_first = String::from_utf8(first.clone()).unwrap();
    let of_the_first: Checkpoint = of_the_first.lines().next().unwrap().parse().unwrap();
    assert_eq!(verify(bed.log(), &[bed.public_key], &[of_the_first]).unwrap().kept_expired, 1);

    // One more, and nobody says that it was old enough.
    let second = fs::read(&files[0]).unwrap();
    fs::remove_file(&files[0]).unwrap();
    let finding = bed.verify().finding.unwrap();
    assert_eq!((finding.line, &finding.file), (1, &files[1]));
    fs::write(&files[0], second).unwrap();
    // The deleted one back again is no harm.
    fs::write(bed.log().join("audit-00000001.jsonl"), first).unwrap();
    assert!(bed.verify().is_intact());
    // One out of the middle.
    fs::remove_file(&files[1]).unwrap();
    assert_eq!(bed.verify().finding.unwrap().file, files[2]);
}

#[test]
fn a_log_that_can_not_keep_up_says_how_many_it_lost() {
    let bed = Bed::new();
    let sink = FileAudit::open(bed.options().queue(50)).unwrap();
    give(&sink, 0..2000);
    std::thread::sleep(std::time::Duration::from_millis(60));
    give(&sink, 2000..2001);
    sink.close().unwrap();
    let seen = bed.verify();
    assert_eq!(seen.finding, None);
    assert_eq!(seen.accesses + seen.lost, 2001);
    assert!(seen.lost > 0);
    assert_eq!(sink.lost(), seen.lost);
    // After the end nothing is taken any more.
    give(&sink, 0..1);
    assert_eq!(sink.lost(), seen.lost + 1);
}

#[test]
fn masked_names_are_found_by_their_mask() {
    let key = NameKey::new(&[7; 32]);
    let mut filter = AuditFilter::default();
    filter.name = Some(key.mask("db"));
    let mut masked = record(1);
    masked.name = Some(key.mask("db").into());
    assert!(filter.matches(&masked));
}

#[test]
fn exports_are_what_other_programs_read() {
    let bed = Bed::new();
    let sink = FileAudit::open(bed.options()).unwrap();
    let mut odd = record(1);
    odd.name = Some("a=b|c\\d,\"e\"".into());
    odd.error = Some(ErrorKind::PermissionDenied);
    odd.outcome = keyfob_core::AuditOutcome::Failed;
    odd.reason = Some(keyfob_core::Reason::new("ticket 42").unwrap());
    let _ = sink.record(odd);
    give(&sink, 2..4);
    sink.close().unwrap();
    let with = |condition: &str, format| {
        let mut filter = AuditFilter::default();
        filter.require(condition).unwrap();
        let mut text = Vec::new();
        let count = export(&mut AuditReader::open(bed.log(), filter).unwrap(), format, &mut text).unwrap();
        (count, String::from_utf8(text).unwrap())
    };
    assert_eq!(
        with("outcome=failed", ExportFormat::Csv).1,
        "seq,time,user,process,pid,host,workload,verb,name,version,store,scheme,location,outcome,error,latency_us,from,reason\n\
         2,2023-11-14T22:13:21.000000Z,jo,,0,web1,,get,\"a=b|c\\d,\"\"e\"\"\",,prod,vault,https://vault.example:8200,failed,permission_denied,0,,ticket 42\n"
    );
    let (_, cef) = with("outcome=failed", ExportFormat::Cef);
    assert!(
        cef.starts_with("CEF:0|keyfob|keyfob|0.1.0|get|secret get failed|7|rt=1700000001000 externalId=2 suser=jo"),
        "{cef}"
    );
    assert!(cef.contains(r#" cs2=a\=b|c\\d,"e" "#), "{cef}");
    assert!(cef.contains(" reason=ticket 42 "), "{cef}");
    assert!(
        cef.contains(" destinationServiceName=vault:https://vault.example:8200 "),
        "{cef}"
    );
    assert!(cef.contains(" cs1Label=store cs1=prod "), "{cef}");
    let (count, lines) = with("prefix=team/", ExportFormat::JsonLines);
    assert_eq!(count, 2);
    let log = fs::read_to_string(&bed.files()[0]).unwrap();
    assert!(lines.lines().all(|line| log.lines().any(|known| known == line)));
    let mut reader = AuditReader::open(bed.log(), AuditFilter::default()).unwrap();
    let logged = reader.next().unwrap().unwrap();
    assert_eq!(format!("{}\n", format_line(&logged, ExportFormat::Cef)), cef);
}

#[test]
fn a_stream_gets_a_line_for_each_record() {
    let place = tempfile::tempdir().unwrap();
    let path = place.path().join("stream");
    let sink = StreamAudit::new(fs::File::create(&path).unwrap()).unwrap();
    for number in 0..3 {
        assert!(matches!(sink.record(record(number)), AuditReceipt::Taken));
    }
    sink.close().unwrap();
    let text = fs::read_to_string(path).unwrap();
    let first = text.lines().next().unwrap();
    assert_eq!(
        first,
        "{\"time\":\"2023-11-14T22:13:20.000000Z\",\"kind\":\"access\",\"user\":\"jo\",\"process\":\"\",\"pid\":0,\"host\":\"web1\",\
         \"verb\":\"get\",\"name\":\"team/secret-0\",\"store\":\"prod\",\"scheme\":\"vault\",\
         \"location\":\"https://vault.example:8200\",\"outcome\":\"ok\",\"latency_us\":0}"
    );
    assert_eq!(text.lines().count(), 3);
}

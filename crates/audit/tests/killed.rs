//! A writer that is killed leaves at most one unfinished line, and in durable mode no value without its record.

#![expect(clippy::unwrap_used, reason = "helpers of tests may panic as tests do")]

mod common;

use std::collections::HashSet;
use std::io::{Read, Write};
use std::os::unix::process::ExitStatusExt as _;
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use common::Bed;
use keyfob_audit::{AuditReader, Durability, FileAudit, FileAuditOptions, SigningKey};
use keyfob_core::{
    Actor, AuditFilter, AuditLayer, GetOptions, Layer, MemoryStore, PutRequest, Reason, SecretName, SecretStore, with_reason,
};

const PLACE: &str = "KEYFOB_AUDIT_KILLED_IN";

#[test]
fn no_value_is_handed_out_without_its_record_over_50_kills() {
    kills(50);
}

#[test]
#[ignore = "kills a thousand processes, which takes minutes"]
fn no_value_is_handed_out_without_its_record_over_1000_kills() {
    kills(1000);
}

fn kills(count: u64) {
    let (mut handed_out, mut at_work, mut repairs, mut bed) = (0, 0, 0, Bed::new());
    for number in 0..count {
        if number % 10 == 0 {
            bed = Bed::new();
        }
        let told = run_and_kill(bed.place.path(), Duration::from_millis(30 + number * 7 % 90));
        if !bed.log().exists() || bed.files().is_empty() {
            assert_eq!(told, Vec::<String>::new(), "killed before there was a log");
            continue;
        }
        let seen = bed.verify();
        assert_eq!(seen.finding, None, "after kill {number}");
        repairs = repairs.max(seen.repairs);
        let mut reader = AuditReader::open(bed.log(), AuditFilter::default()).unwrap();
        let mut recorded = HashSet::new();
        while let Some(logged) = reader.next().unwrap() {
            let reason = logged.record.reason.unwrap().to_string();
            assert!(recorded.insert(reason), "a record stands there twice");
        }
        let without: Vec<&String> = told.iter().filter(|id| !recorded.contains(*id)).collect();
        assert!(without.is_empty(), "kill {number}: handed out without a record: {without:?}");
        handed_out += told.len();
        at_work += u64::from(!told.is_empty());
    }
    assert!(
        handed_out as u64 > count,
        "only {handed_out} values were handed out in {count} lives"
    );
    // Whoever has begun goes on until it is killed.
    assert!(
        at_work * 4 >= count,
        "only {at_work} of {count} kills hit a writer at its work"
    );
    keyfob_testkit::tell(&format!(
        "audit: {count} kills, {at_work} of them of a writer at its work, {handed_out} values handed out, each with its record; unfinished lines mended: {repairs}"
    ));
}

/// Lets a child read secrets for a time, kills it, and returns what it says it was handed out.
fn run_and_kill(place: &Path, time: Duration) -> Vec<String> {
    let mut child = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "reads_until_it_is_killed", "--ignored", "--nocapture"])
        .env(PLACE, place)
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let mut output = child.stdout.take().unwrap();
    let reader = thread::spawn(move || {
        let mut text = Vec::new();
        output.read_to_end(&mut text).unwrap();
        text
    });
    thread::sleep(time);
    child.kill().unwrap();
    let ended = child.wait().unwrap();
    assert_eq!(ended.signal(), Some(9), "it ended by itself");
    let text = String::from_utf8(reader.join().unwrap()).unwrap();
    // The last line may be cut off by the kill.
    let whole = text.rfind('\n').map_or("", |end| &text[..end]);
    whole
        .lines()
        .filter_map(|line| line.strip_prefix("got "))
        .map(str::to_owned)
        .collect()
}

/// The child, no test of its own.
#[test]
#[ignore = "is run by the others, in a process to be killed"]
fn reads_until_it_is_killed() {
    let Ok(place) = std::env::var(PLACE) else { return };
    let place = Path::new(&place);
    let key = SigningKey::from_file(place.join("key")).unwrap();
    let options = FileAuditOptions::new(place.join("log"), key)
        .durability(Durability::Durable)
        .checkpoint_lines(50)
        .max_bytes(200_000);
    let sink = Arc::new(FileAudit::open(options).unwrap());
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).build().unwrap();
    runtime.block_on(async {
        let memory = MemoryStore::new();
        let name = SecretName::new("a").unwrap();
        memory.put(&name, PutRequest::new("kfcanary-killed0001")).await.unwrap();
        let store = AuditLayer::new(Actor::default()).sink(sink).layer(Arc::new(memory));
        let readers: Vec<_> = (0..16)
            .map(|reader| tokio::spawn(read_on(reader, Arc::clone(&store), name.clone())))
            .collect();
        for reader in readers {
            reader.await.unwrap();
        }
    });
}

async fn read_on(reader: u64, store: Arc<dyn SecretStore>, name: SecretName) {
    // Bounded, in case that nobody kills.
    for count in 0..1_000_000_u64 {
        let id = format!("{}-{reader}-{count}", std::process::id());
        let reason = Reason::new(&id).unwrap();
        with_reason(reason, store.get(&name, &GetOptions::default())).await.unwrap();
        // One write, so that lines are whole or cut off at the very end.
        let told = std::io::stdout().lock().write_all(format!("got {id}\n").as_bytes());
        if told.is_err() {
            return;
        }
    }
}

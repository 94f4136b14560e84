//! A Redis that is ill is skipped: nobody waits for it twice, nobody fails because of it, and nobody reads an old value when it
//! is back.

#![expect(clippy::unwrap_used, reason = "helpers of tests may panic as tests do")]

mod bed;

use std::sync::Arc;
use std::time::Duration;

use bed::{Logs, Machine, Server, config, fleet_store, key, ms, set, until};
use keyfob_core::Freshness;
use keyfob_redis::RedisConfig;
use redis::Commands as _;
use tokio::time::Instant;

const VALUE: &str = "kfcanary-illnessvalue1";
const NEWER: &str = "kfcanary-illnessvalue2";
const SKIPPED: &str = "is skipped until it is well again";
const WELL: &str = "is well again";

fn well(logs: &Logs) -> usize {
    logs.lines(WELL).len() - logs.lines(SKIPPED).len()
}

#[tokio::test]
async fn a_redis_that_was_never_there_costs_one_refusal_and_one_warning() {
    let Some(mut server) = Server::start("a_redis_that_was_never_there", &[]) else {
        return;
    };
    let (logs, _guard) = Logs::capture();
    server.kill();
    let store = fleet_store();
    set(&*store, "db", VALUE).await;
    let machine = Machine::new(config(&server.url()), store.clone());
    let start = Instant::now();
    for number in 0..500 {
        let key = format!("db/{number}");
        set(&*store, &key, VALUE).await;
        assert_eq!(machine.read(&key).await.unwrap().1, Freshness::Store);
        machine.put(&key, NEWER).await;
        assert_eq!(machine.read(&key).await.unwrap().0, NEWER);
    }
    // Far less than a deadline for each of the thousand reads and five hundred writes.
    assert!(start.elapsed() < Duration::from_secs(5), "{:?}", start.elapsed());
    assert_eq!(logs.lines(SKIPPED).len(), 1, "{:?}", logs.lines(""));
    assert!(logs.lines("refused the connection").len() == 1);
    server.launch();
    until("it is used", async || {
        machine.store.clear_all();
        machine.read("db").await.unwrap();
        machine.redis.counts().missing > 0
    })
    .await;
    assert_eq!((logs.lines(SKIPPED).len(), well(&logs)), (1, 1));
}

#[tokio::test]
async fn a_frozen_redis_costs_one_deadline() {
    let Some(server) = Server::start("a_frozen_redis", &[]) else {
        return;
    };
    let (logs, _guard) = Logs::capture();
    let store = fleet_store();
    for key in ["a", "b", "c", "d"] {
        set(&*store, key, VALUE).await;
    }
    let short = config(&server.url()).timeout(ms(300)).connect_timeout(ms(300));
    let machine = Machine::new(short, store.clone());
    machine.read("a").await.unwrap();
    server.freeze();
    let start = Instant::now();
    assert_eq!(machine.read("b").await.unwrap().1, Freshness::Store);
    let waited = start.elapsed();
    assert!(waited >= ms(300) && waited < ms(900), "{waited:?}");
    let start = Instant::now();
    machine.read("c").await.unwrap();
    machine.put("c", NEWER).await;
    assert_eq!(machine.read("c").await.unwrap().0, NEWER);
    assert!(start.elapsed() < ms(200), "{:?}", start.elapsed());
    assert_eq!((logs.lines(SKIPPED).len(), well(&logs)), (1, 0));
    assert_eq!(logs.lines("did not answer in time").len(), 1);
    server.thaw();
    until("it is well", async || well(&logs) == 1).await;
    machine.read("d").await.unwrap();
    assert_eq!(
        Machine::new(config(&server.url()), store).read("d").await.unwrap().1,
        Freshness::Cache
    );
}

#[tokio::test]
async fn a_write_past_a_redis_that_says_nothing_is_told_at_once() {
    let silent = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let (logs, _guard) = Logs::capture();
    let store = fleet_store();
    set(&*store, "db", VALUE).await;
    let url = format!("redis://{}/0", silent.local_addr().unwrap());
    let machine = Machine::new(config(&url).timeout(ms(100)).connect_timeout(Duration::from_secs(60)), store);
    machine.put("db", NEWER).await;
    assert_eq!(logs.lines(SKIPPED).len(), 1, "{:?}", logs.lines(""));
    assert_eq!(logs.lines("did not answer in time").len(), 1);
    machine.put("db", NEWER).await;
    assert_eq!(logs.lines(SKIPPED).len(), 1, "it is told once");
}

#[tokio::test]
async fn what_was_written_while_redis_was_out_of_reach_is_forgotten_when_it_is_back() {
    let Some(server) = Server::start("what_was_written_while", &[]) else {
        return;
    };
    let (logs, _guard) = Logs::capture();
    let store = fleet_store();
    for key in ["db", "mail"] {
        set(&*store, key, VALUE).await;
    }
    let short = || config(&server.url()).timeout(ms(200)).connect_timeout(ms(500));
    let (a, b) = (Machine::new(short(), store.clone()), Machine::new(short(), store.clone()));
    for key in ["db", "mail"] {
        a.read(key).await.unwrap();
        b.read(key).await.unwrap();
    }
    server.freeze();
    b.put("db", NEWER).await;
    // From the store, although Redis has the old one.
    assert_eq!(b.read("db").await.unwrap(), (NEWER.to_owned(), Freshness::Store));
    server.thaw();
    until("it is well", async || well(&logs) == 1).await;
    let c = Machine::new(config(&server.url()), store);
    assert_eq!(c.read("db").await.unwrap(), (NEWER.to_owned(), Freshness::Store));
    // Nothing else went.
    assert_eq!(c.read("mail").await.unwrap(), (VALUE.to_owned(), Freshness::Cache));
}

#[tokio::test]
async fn readers_go_on_while_redis_is_killed_and_started_again() {
    let Some(mut server) = Server::start("readers_go_on", &[]) else {
        return;
    };
    let (logs, _guard) = Logs::capture();
    let store = fleet_store();
    for number in 0..20 {
        set(&*store, &format!("db/{number}"), VALUE).await;
    }
    let machine = Arc::new(Machine::new(config(&server.url()), store));
    let stop = Arc::new(std::sync::atomic::AtomicBool::new(false));
    let mut readers = tokio::task::JoinSet::new();
    for reader in 0..50 {
        let (machine, stop) = (machine.clone(), stop.clone());
        readers.spawn(async move {
            let (mut reads, mut longest) = (0_usize, Duration::ZERO);
            while !stop.load(std::sync::atomic::Ordering::Relaxed) {
                let start = Instant::now();
                let (value, _) = machine.read(&format!("db/{}", (reads + reader) % 20)).await.unwrap();
                longest = longest.max(start.elapsed());
                assert_eq!(value.len(), VALUE.len());
                reads += 1;
                if reads % 10 == 0 {
                    // So that there is something to look for in Redis.
                    machine.store.clear_all();
                }
                tokio::time::sleep(ms(1)).await;
            }
            (reads, longest)
        });
    }
    let looks = || {
        let counts = machine.redis.counts();
        counts.found + counts.missing
    };
    until("it is used", async || looks() > 100).await;
    for round in 1..=2 {
        server.kill();
        until("it is skipped", async || logs.lines(SKIPPED).len() == round).await;
        let skipped = machine.redis.counts().skipped;
        until("reads go on", async || machine.redis.counts().skipped > skipped + 100).await;
        server.launch();
        until("it is well", async || well(&logs) == round).await;
        let before = looks();
        until("it is used again", async || looks() > before + 100).await;
    }
    stop.store(true, std::sync::atomic::Ordering::Relaxed);
    let (mut reads, mut longest) = (0, Duration::ZERO);
    while let Some(reader) = readers.join_next().await {
        let (some, long) = reader.unwrap();
        reads += some;
        longest = longest.max(long);
    }
    keyfob_testkit::tell(&format!(
        "redis killed twice under 50 readers: {reads} reads, none failed, longest {longest:?}"
    ));
    assert!(longest < Duration::from_secs(3), "{longest:?}");
    assert_eq!((logs.lines(SKIPPED).len(), well(&logs)), (2, 2));
}

#[tokio::test]
async fn what_comes_back_with_a_snapshot_is_not_found() {
    let Some(mut server) = Server::start("what_comes_back_with_a_snapshot", &["--dbfilename", "dump.rdb"]) else {
        return;
    };
    let store = fleet_store();
    set(&*store, "db", VALUE).await;
    let a = Machine::new(config(&server.url()), store.clone());
    a.read("db").await.unwrap();
    redis::cmd("SAVE").exec(&mut server.connection()).unwrap();
    a.put("db", NEWER).await;
    server.kill();
    server.launch();
    let keys: Vec<String> = server.connection().keys("*").unwrap();
    assert!(!keys.is_empty(), "the snapshot brought nothing back");
    let b = Machine::new(config(&server.url()), store);
    assert_eq!(b.read("db").await.unwrap(), (NEWER.to_owned(), Freshness::Store));
}

/// What a machine that is given this Redis says of it, while it works without.
async fn said_of(config: RedisConfig) -> Vec<String> {
    let (logs, _guard) = Logs::capture();
    let store = fleet_store();
    set(&*store, "db", VALUE).await;
    let machine = Machine::new(config, store);
    for _ in 0..3 {
        assert_eq!(machine.read("db").await.unwrap().0, VALUE);
        machine.put("db", VALUE).await;
    }
    until("it is told of", async || !logs.lines(SKIPPED).is_empty()).await;
    for _ in 0..20 {
        machine.put("db", VALUE).await;
        tokio::time::sleep(ms(20)).await;
    }
    assert_eq!(machine.redis.counts().found, 0);
    logs.lines("")
}

#[tokio::test]
async fn the_warning_tells_what_is_wrong_and_shows_no_password() {
    let Some(server) = Server::start("the_warning_tells", &["--requirepass", "kfcanary-rightpassword1"]) else {
        return;
    };
    let url = |credentials: &str| format!("redis://{credentials}127.0.0.1:{}/0", server.port);
    let client = redis::Client::open(url(":kfcanary-rightpassword1@")).unwrap();
    let mut admin = client.get_connection().unwrap();
    let acl = |line: &str, admin: &mut redis::Connection| {
        let words = line.split(' ');
        redis::cmd("ACL")
            .arg("SETUSER")
            .arg(words.collect::<Vec<_>>())
            .exec(admin)
            .unwrap();
    };
    acl("reader on >kfcanary-readerpassword1 ~* +get +info +eval", &mut admin);
    acl("other on >kfcanary-otherpassword1 ~other:* +@all", &mut admin);
    acl(
        "least on >kfcanary-leastpassword1 ~keyfob:cache:1:* +eval +info +time +get +set +del +hget +hset +hlen +hexists +pttl +pexpire",
        &mut admin,
    );
    for (credentials, problem) in [
        ("", "does not accept the user or the password"),
        (":kfcanary-wrongpassword1@", "does not accept the user or the password"),
        ("reader:kfcanary-readerpassword1@", "may not do what the cache does"),
        ("other:kfcanary-otherpassword1@", "may not do what the cache does"),
    ] {
        let lines = said_of(config(&url(credentials))).await;
        assert_eq!(lines.len(), 1, "{lines:?}");
        assert!(lines[0].contains(problem) && lines[0].contains("127.0.0.1"), "{lines:?}");
        assert!(!lines[0].contains("kfcanary"), "a password is shown");
    }
    // What the warning says is enough is enough.
    let store = fleet_store();
    set(&*store, "db", VALUE).await;
    let least = || config(&url("least:kfcanary-leastpassword1@"));
    Machine::new(least(), store.clone()).read("db").await.unwrap();
    assert_eq!(
        Machine::new(least(), store.clone()).read("db").await.unwrap().1,
        Freshness::Cache
    );
    // The password apart from the URL.
    let apart = config(&url("")).password("kfcanary-rightpassword1");
    assert_eq!(Machine::new(apart, store).read("db").await.unwrap().1, Freshness::Cache);
}

#[tokio::test]
async fn a_replica_and_a_full_memory_are_told_of() {
    let Some(server) = Server::start(
        "a_replica_and_a_full_memory",
        &["--maxmemory", "1", "--maxmemory-policy", "noeviction"],
    ) else {
        return;
    };
    let lines = said_of(config(&server.url())).await;
    assert!(lines[0].contains("its memory is full"), "{lines:?}");
    let main = Server::start("a_replica_and_a_full_memory", &[]).unwrap();
    let port = main.port.to_string();
    let replica = Server::start("a_replica_and_a_full_memory", &["--replicaof", "127.0.0.1", &port]).unwrap();
    let lines = said_of(config(&replica.url())).await;
    assert!(lines[0].contains("a replica"), "{lines:?}");
}

#[tokio::test]
async fn what_is_no_redis_is_told_of() {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let served = tokio::spawn(async move {
        loop {
            let (mut stream, _) = listener.accept().await.unwrap();
            let _ = tokio::io::AsyncWriteExt::write_all(&mut stream, b"HTTP/1.1 400 Bad Request\r\n\r\n").await;
        }
    });
    let lines = said_of(config(&format!("redis://127.0.0.1:{port}"))).await;
    assert_eq!(lines.len(), 1, "{lines:?}");
    served.abort();
}

#[test]
fn without_a_runtime_it_is_skipped() {
    let config = RedisConfig::new("redis://127.0.0.1:1", &key()).unwrap();
    let store = fleet_store();
    let machine = Machine::new(config, store.clone());
    let mut reading = Box::pin(async {
        set(&*store, "db", VALUE).await;
        machine.put("db", NEWER).await;
        machine.read("db").await
    });
    let mut context = std::task::Context::from_waker(std::task::Waker::noop());
    let std::task::Poll::Ready(read) = reading.as_mut().poll(&mut context) else {
        panic!("it waits");
    };
    assert_eq!(read.unwrap().0, NEWER);
}

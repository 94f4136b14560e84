//! Machines that share a Redis: what one has read the others need not ask for, and what one has written none reads old.

#![expect(clippy::unwrap_used, reason = "helpers of tests may panic as tests do")]

mod bed;

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use bed::{Logs, Machine, Server, config, fleet_store, ms, name, set, until};
use keyfob_core::{
    BoxFuture, CacheTimes, Clock, DeleteOptions, ErrorKind, Freshness, GetOptions, GetRequest, SecretStore, SharedCache, Version,
    VersionSelector,
};
use keyfob_redis::RedisCache;
use keyfob_testkit::shared_cache::{Act, every_order};
use redis::Commands as _;

const VALUE: &str = "kfcanary-fleetvalue1";
const NEWER: &str = "kfcanary-fleetvalue2";

fn of(value: &str, freshness: Freshness) -> (String, Freshness) {
    (value.to_owned(), freshness)
}

#[tokio::test]
async fn what_one_machine_has_read_the_others_need_not_ask_for() {
    let Some(server) = Server::start("what_one_machine_has_read", &[]) else {
        return;
    };
    let store = fleet_store();
    set(&*store, "db", VALUE).await;
    let (a, b) = (
        Machine::new(config(&server.url()), store.clone()),
        Machine::new(config(&server.url()), store.clone()),
    );
    assert_eq!(a.read("db").await.unwrap(), of(VALUE, Freshness::Store));
    // Whoever changes it past the cache is seen when its time is over: so this is what Redis has.
    set(&*store, "db", NEWER).await;
    assert_eq!(b.read("db").await.unwrap(), of(VALUE, Freshness::Cache));
    assert_eq!((a.redis.counts().missing, b.redis.counts().found), (1, 1));
    // From memory from now on.
    assert_eq!(b.read("db").await.unwrap(), of(VALUE, Freshness::Cache));
    assert_eq!(b.redis.counts().found, 1);
    // Past both levels, which then have what it brought.
    let past = GetOptions {
        max_age: Some(Duration::ZERO),
        ..GetOptions::default()
    };
    let secret = b.store.get(&name("db"), &past).await.unwrap();
    assert_eq!(secret.metadata.origin.freshness, Freshness::Store);
    let c = Machine::new(config(&server.url()), store);
    assert_eq!(c.read("db").await.unwrap(), of(NEWER, Freshness::Cache));
}

#[tokio::test]
async fn a_write_on_one_machine_ends_what_the_others_would_find() {
    let Some(server) = Server::start("a_write_on_one_machine", &[]) else {
        return;
    };
    let store = fleet_store();
    set(&*store, "db", VALUE).await;
    let (a, b) = (
        Machine::new(config(&server.url()), store.clone()),
        Machine::new(config(&server.url()), store.clone()),
    );
    a.read("db").await.unwrap();
    b.put("db", NEWER).await;
    let fresh = || Machine::new(config(&server.url()), store.clone());
    assert_eq!(fresh().read("db").await.unwrap(), of(NEWER, Freshness::Store));
    assert_eq!(fresh().read("db").await.unwrap(), of(NEWER, Freshness::Cache));
    b.store.delete(&name("db"), &DeleteOptions::default()).await.unwrap();
    assert_eq!(fresh().read("db").await.unwrap_err().kind(), ErrorKind::NotFound);
    b.store.restore(&name("db")).await.unwrap();
    assert_eq!(fresh().read("db").await.unwrap(), of(NEWER, Freshness::Store));
    // Somebody who knows that it was changed past the cache.
    set(&*store, "db", VALUE).await;
    b.store.clear(&name("db"));
    until("the entry goes", async || {
        server.connection().keys::<_, Vec<String>>("*").unwrap().is_empty()
    })
    .await;
    assert_eq!(fresh().read("db").await.unwrap(), of(VALUE, Freshness::Store));
}

#[tokio::test]
async fn no_order_of_what_machines_do_brings_an_old_value_back() {
    let Some(server) = Server::start("no_order_of_what_machines_do", &[]) else {
        return;
    };
    let redis = RedisCache::new(config(&server.url())).unwrap();
    let cache: Arc<dyn SharedCache> = redis.of_store("memory:orders");
    for acts in [
        &[Act::Read, Act::Put][..],
        &[Act::Read, Act::Delete],
        &[Act::Read, Act::PutAndDie],
        &[Act::Read, Act::PutAlone],
        &[Act::Read, Act::Read, Act::Put],
        &[Act::Put, Act::Put, Act::Read],
    ] {
        let orders = every_order(&cache, acts).await.unwrap();
        keyfob_testkit::tell(&format!(
            "redis {acts:?}: {} orders, in {} the second level has an answer",
            orders.all, orders.kept
        ));
        assert!(orders.all >= 15);
    }
    assert_eq!((redis.counts().skipped, redis.counts().refused), (0, 0));
}

#[tokio::test]
async fn a_batch_is_one_look_and_asks_the_store_for_the_rest() {
    let Some(server) = Server::start("a_batch_is_one_look", &[]) else {
        return;
    };
    let store = fleet_store();
    let (a, b) = (
        Machine::new(config(&server.url()), store.clone()),
        Machine::new(config(&server.url()), store.clone()),
    );
    for key in ["x", "y", "z"] {
        set(&*store, key, VALUE).await;
    }
    a.read("x").await.unwrap();
    a.read("z").await.unwrap();
    let scripts = || -> u64 {
        let text: String = redis::cmd("INFO")
            .arg("commandstats")
            .query(&mut server.connection())
            .unwrap();
        let eval = text.lines().find(|line| line.starts_with("cmdstat_eval:")).unwrap();
        eval.split(['=', ',']).nth(1).unwrap().parse().unwrap()
    };
    b.read("warm").await.unwrap_err();
    let before = scripts();
    let requests: Vec<_> = ["x", "y", "none", "z", "x"]
        .iter()
        .map(|key| GetRequest::new(name(key)))
        .collect();
    let answers = b.store.get_many(&requests).await;
    let shown: Vec<_> = answers
        .into_iter()
        .map(|answer| {
            answer
                .map(|secret| secret.metadata.origin.freshness)
                .map_err(|error| error.kind())
        })
        .collect();
    let (cache, asked) = (Ok(Freshness::Cache), Ok(Freshness::Store));
    assert_eq!(shown, [cache, asked, Err(ErrorKind::NotFound), cache, cache]);
    // A look for each name, and one entry that was kept.
    assert_eq!(scripts() - before, 5);
}

#[tokio::test]
async fn ten_thousand_readers_of_one_name_look_once() {
    let Some(server) = Server::start("ten_thousand_readers", &[]) else {
        return;
    };
    let store = fleet_store();
    set(&*store, "db", VALUE).await;
    let machine = Arc::new(Machine::new(config(&server.url()), store));
    let mut readers = tokio::task::JoinSet::new();
    for _ in 0..10_000 {
        let machine = machine.clone();
        readers.spawn(async move { machine.read("db").await.unwrap().0.len() });
    }
    while let Some(length) = readers.join_next().await {
        assert_eq!(length.unwrap(), VALUE.len());
    }
    assert_eq!(machine.redis.counts().missing, 1);
}

#[tokio::test]
async fn ages_hold_over_both_levels_and_redis_lets_go_in_time() {
    let Some(server) = Server::start("ages_hold_over_both_levels", &[]) else {
        return;
    };
    let store = fleet_store();
    set(&*store, "db", VALUE).await;
    let times = CacheTimes::new(ms(1_000));
    let machine = || Machine::with_times(config(&server.url()), store.clone(), times);
    let (a, b) = (machine(), machine());
    let start = tokio::time::Instant::now();
    a.read("db").await.unwrap();
    let asked = tokio::time::Instant::now();
    set(&*store, "db", NEWER).await;
    tokio::time::sleep_until(start + ms(400)).await;
    assert_eq!(b.read("db").await.unwrap(), of(VALUE, Freshness::Cache));
    let mut connection = server.connection();
    for key in connection.keys::<_, Vec<String>>("*}").unwrap() {
        // A millisecond for the rounding of Redis.
        let most = 1_001 - i64::try_from(asked.elapsed().as_millis()).unwrap();
        let left: i64 = connection.pttl(key).unwrap();
        assert!((1..=most).contains(&left), "{left} of {most}");
    }
    // Not 1,000 from when it came out of Redis.
    tokio::time::sleep_until(start + ms(1_050)).await;
    assert_eq!(b.read("db").await.unwrap(), of(NEWER, Freshness::Store));
}

#[tokio::test]
async fn an_old_answer_covers_for_a_store_that_can_not_up_to_the_hard_maximum_age() {
    let Some(server) = Server::start("an_old_answer_covers", &[]) else {
        return;
    };
    let store = fleet_store();
    set(&*store, "db", VALUE).await;
    let times = CacheTimes::new(ms(100)).hard_max_age(ms(1_500));
    let start = tokio::time::Instant::now();
    Machine::with_times(config(&server.url()), store, times)
        .read("db")
        .await
        .unwrap();
    let gone = Arc::new(bed::Gone::default());
    let machine = || Machine::with_times(config(&server.url()), gone.clone(), times);
    tokio::time::sleep_until(start + ms(150)).await;
    let (b, c) = (machine(), machine());
    assert_eq!(b.read("db").await.unwrap(), of(VALUE, Freshness::Stale));
    tokio::time::sleep_until(start + ms(1_550)).await;
    for machine in [b, c] {
        assert_eq!(machine.read("db").await.unwrap_err().kind(), ErrorKind::Unavailable);
    }
}

/// The time of day of a machine whose clock is wrong.
#[derive(Debug)]
struct Skewed {
    ahead: Duration,
    behind: Duration,
}

impl Clock for Skewed {
    fn now(&self) -> Duration {
        Duration::ZERO
    }

    fn system_now(&self) -> SystemTime {
        SystemTime::now() + self.ahead - self.behind
    }

    fn sleep(&self, time: Duration) -> BoxFuture<'static, ()> {
        Box::pin(tokio::time::sleep(time))
    }
}

#[tokio::test]
async fn wrong_clocks_make_answers_older_never_younger() {
    let Some(server) = Server::start("wrong_clocks", &[]) else {
        return;
    };
    let seconds = Duration::from_secs;
    // The times to live are 300 seconds; the second machine's clock, and what it reads.
    for (number, (ahead, behind, freshness)) in [
        (seconds(0), seconds(0), Freshness::Cache),
        (seconds(200), seconds(0), Freshness::Cache),
        (seconds(301), seconds(0), Freshness::Store),
        (seconds(0), seconds(50), Freshness::Cache),
        // By its clock the answer is from the future: one of the two is wrong.
        (seconds(0), seconds(90), Freshness::Store),
    ]
    .into_iter()
    .enumerate()
    {
        let store = fleet_store();
        let key = format!("db/{number}");
        set(&*store, &key, VALUE).await;
        let a = Machine::new(config(&server.url()), store.clone());
        a.read(&key).await.unwrap();
        let clock = Arc::new(Skewed { ahead, behind });
        let b = Machine::new(config(&server.url()).clock(clock), store);
        assert_eq!(b.read(&key).await.unwrap().1, freshness, "{ahead:?} {behind:?}");
    }
}

#[tokio::test]
async fn versions_are_kept_apart_and_are_bounded() {
    let Some(server) = Server::start("versions_are_kept_apart", &[]) else {
        return;
    };
    let store = fleet_store();
    let mut versions = Vec::new();
    for number in 0..40 {
        let put = keyfob_core::PutRequest::new(format!("{VALUE}{number}"));
        versions.push(store.put(&name("db"), put).await.unwrap().version.unwrap());
    }
    let read = async |machine: &Machine, version: &Version| {
        let options = GetOptions::version(VersionSelector::Exact(version.clone()));
        let secret = machine.store.get(&name("db"), &options).await.unwrap();
        assert_eq!(secret.metadata.version.as_ref(), Some(version));
        (
            secret.value.expose_str().unwrap().to_owned(),
            secret.metadata.origin.freshness,
        )
    };
    let a = Machine::new(config(&server.url()), store.clone());
    for version in &versions {
        read(&a, version).await;
        let mut connection = server.connection();
        for key in connection.keys::<_, Vec<String>>("*}").unwrap() {
            assert!(connection.hlen::<_, usize>(key).unwrap() <= 16);
        }
    }
    let b = Machine::new(config(&server.url()), store);
    let mut found = 0;
    for (number, version) in versions.iter().enumerate().rev() {
        let (value, freshness) = read(&b, version).await;
        assert!(value == format!("{VALUE}{number}"));
        found += usize::from(freshness == Freshness::Cache);
    }
    assert!(found > 0, "none of {} was found", versions.len());
}

/// Each field of a key, and what is in it.
type Fields = Vec<(Vec<u8>, Vec<u8>)>;

/// Everything that Redis has, as bytes.
fn dump(server: &Server) -> Vec<(String, Fields)> {
    let mut connection = server.connection();
    let keys: Vec<String> = connection.keys("*").unwrap();
    let mut all = Vec::new();
    for key in keys {
        let kind: String = redis::cmd("TYPE").arg(&key).query(&mut connection).unwrap();
        let fields: Fields = match kind.as_str() {
            "hash" => connection.hgetall::<_, Fields>(&key).unwrap(),
            "string" => vec![(Vec::new(), connection.get(&key).unwrap())],
            other => panic!("{other}"),
        };
        all.push((key, fields));
    }
    all
}

#[tokio::test]
async fn redis_sees_neither_values_nor_names_nor_metadata() {
    let Some(server) = Server::start("redis_sees_nothing", &[]) else {
        return;
    };
    let store = fleet_store();
    let mut put = keyfob_core::PutRequest::new(VALUE);
    put.description = keyfob_core::Change::Set("kfcanary-description1".into());
    put.tags = keyfob_core::Change::Set([("team".to_owned(), "kfcanary-tagvalue1".to_owned())].into());
    store.put(&name("kfcanary-secretname1/db"), put).await.unwrap();
    let a = Machine::new(config(&server.url()), store.clone());
    let first = a
        .store
        .get(&name("kfcanary-secretname1/db"), &GetOptions::default())
        .await
        .unwrap();
    let everything = format!("{:?}", dump(&server));
    let bytes: Vec<u8> = dump(&server)
        .into_iter()
        .flat_map(|(key, fields)| {
            let fields = fields.into_iter().flat_map(|(field, value)| [field, value].concat());
            [key.into_bytes(), fields.collect()].concat()
        })
        .collect();
    assert!(bytes.len() > 200);
    assert!(!bytes.windows(8).any(|window| window == b"kfcanary") && !everything.contains("kfcanary"));
    for (key, _) in dump(&server) {
        assert!(key.starts_with("keyfob:cache:1:{"), "{key}");
    }
    // It is all there, all the same.
    let b = Machine::new(config(&server.url()), store);
    let second = b
        .store
        .get(&name("kfcanary-secretname1/db"), &GetOptions::default())
        .await
        .unwrap();
    assert_eq!(second.metadata.origin.freshness, Freshness::Cache);
    assert_eq!(second.metadata.description, first.metadata.description);
    assert_eq!(second.metadata.tags, first.metadata.tags);
    assert_eq!(second.metadata.version, first.metadata.version);
    assert_eq!(second.metadata.created, first.metadata.created);
}

#[tokio::test]
async fn whatever_the_operator_of_redis_does_no_name_gets_another_value() {
    let Some(server) = Server::start("whatever_the_operator_does", &[]) else {
        return;
    };
    let (logs, _guard) = Logs::capture();
    let store = fleet_store();
    let names = ["a", "b", "c"];
    for key in names {
        set(&*store, key, &format!("{VALUE}{key}")).await;
        set(&*store, key, &format!("{NEWER}{key}")).await;
    }
    let fill = async || {
        let machine = Machine::new(config(&server.url()), store.clone());
        for key in names {
            machine.read(key).await.unwrap();
            let previous = GetOptions::version(VersionSelector::Previous);
            machine.store.get(&name(key), &previous).await.unwrap();
        }
    };
    let check = async |what: &str| {
        let machine = Machine::new(config(&server.url()), store.clone());
        for key in names {
            for (version, value) in [(VersionSelector::Current, NEWER), (VersionSelector::Previous, VALUE)] {
                let secret = machine.store.get(&name(key), &GetOptions::version(version)).await.unwrap();
                let value = format!("{value}{key}");
                assert!(secret.value.expose_secret() == value.as_bytes(), "{what}: {key}");
            }
        }
        machine.redis.counts()
    };
    let entries = || -> Vec<(String, Vec<u8>, Vec<u8>)> {
        let hashes = dump(&server).into_iter().filter(|(key, _)| key.ends_with('}'));
        let fields = hashes.flat_map(|(key, fields)| fields.into_iter().map(move |(field, value)| (key.clone(), field, value)));
        fields.collect()
    };
    let mut connection = server.connection();
    let flush = |connection: &mut redis::Connection| redis::cmd("FLUSHALL").exec(connection).unwrap();

    fill().await;
    let whole = entries();
    assert_eq!(whole.len(), 6);
    assert_eq!(check("nothing").await.found, 6);

    // Every entry in the place of every other.
    for shift in 1..whole.len() {
        flush(&mut connection);
        fill().await;
        let now = entries();
        for (index, (key, field, _)) in now.iter().enumerate() {
            let other = &now[(index + shift) % now.len()].2;
            connection.hset::<_, _, _, ()>(key, field, other).unwrap();
        }
        let counts = check("swapped").await;
        assert_eq!((counts.found, counts.refused), (0, 6), "{shift}");
    }

    // A bit in every eleventh byte, and cuts.
    flush(&mut connection);
    fill().await;
    let now = entries();
    let longest = now.iter().map(|(_, _, value)| value.len()).max().unwrap();
    for byte in (0..longest).step_by(11) {
        for (key, field, value) in &now {
            let mut changed = value.clone();
            let place = byte.min(changed.len() - 1);
            changed[place] ^= 1;
            if byte % 2 == 0 {
                changed.truncate(place);
            }
            connection.hset::<_, _, _, ()>(key, field, changed).unwrap();
        }
        check("changed").await;
    }

    // Entries of another kind altogether.
    flush(&mut connection);
    fill().await;
    for (key, ..) in entries() {
        redis::cmd("SET").arg(&key).arg("text").exec(&mut connection).unwrap();
    }
    check("another kind").await;
    assert!(!logs.lines("tampered").is_empty());
    assert!(logs.lines("kfcanary").is_empty());
}

#[tokio::test]
async fn another_key_another_store_and_another_prefix_share_nothing() {
    let Some(server) = Server::start("another_key", &[]) else {
        return;
    };
    let store = fleet_store();
    set(&*store, "db", VALUE).await;
    Machine::new(config(&server.url()), store.clone()).read("db").await.unwrap();
    let other_key = keyfob_envelope::RawKey::new(&[8; 32]).shared_key();
    for config in [
        keyfob_redis::RedisConfig::new(&server.url(), &other_key)
            .unwrap()
            .timeout(ms(500)),
        config(&server.url()).prefix("other"),
    ] {
        let machine = Machine::new(config, store.clone());
        assert_eq!(machine.read("db").await.unwrap().1, Freshness::Store);
        assert_eq!(machine.redis.counts().refused, 0);
    }
    let redis = RedisCache::new(config(&server.url())).unwrap();
    let layer = keyfob_core::CacheLayer::new(Duration::from_secs(300)).shared(redis.of_store("memory:elsewhere"));
    let secret = layer.build(store).get(&name("db"), &GetOptions::default()).await.unwrap();
    assert_eq!(secret.metadata.origin.freshness, Freshness::Store);
}

#[tokio::test]
async fn what_is_too_large_is_not_kept() {
    let Some(server) = Server::start("what_is_too_large", &[]) else {
        return;
    };
    let store = fleet_store();
    set(&*store, "db", &VALUE.repeat(10)).await;
    let small = || config(&server.url()).max_value_bytes(100);
    Machine::new(small(), store.clone()).read("db").await.unwrap();
    assert_eq!(Machine::new(small(), store).read("db").await.unwrap().1, Freshness::Store);
    assert!(dump(&server).iter().all(|(key, _)| key.ends_with("generation")));
}

//! Every order in which reads, writes and what forgets can happen, step by step: an exhaustive search, not a sample.
//!
//! Each actor is a future that is polled by hand. A store's read is three steps (asked, looked, answered), so is a write
//! (asked, done, acknowledged). What happens between two steps of an actor happens under one lock of the cache (see
//! `table`), so the orders of the polls are all the orders there are.

use std::pin::Pin;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context, Poll, Waker};

use async_trait::async_trait;

use super::*;
use crate::capabilities::Capabilities;
use crate::options::{DeleteOptions, GetRequest, ListOptions, Page, PageRequest, PutRequest};
use crate::secret::{Metadata, VersionInfo};
use crate::store::{Health, StoreInfo};

type Actor = Pin<Box<dyn Future<Output = ()>>>;
type Script = fn(&Arc<World>) -> Vec<Actor>;

/// A store with one secret, whose value is a number that grows, and what is known of it.
#[derive(Debug)]
struct Numbered {
    info: StoreInfo,
    current: AtomicU64,
}

#[derive(Debug)]
struct World {
    upstream: Arc<Numbered>,
    store: Arc<CachedStore>,
    /// No read that begins from now on may see less.
    settled: AtomicU64,
}

impl World {
    fn new() -> Arc<Self> {
        let upstream = Arc::new(Numbered {
            info: StoreInfo::new("numbered", "this test", Capabilities::FULL),
            current: AtomicU64::new(1),
        });
        Arc::new(Self {
            store: CacheLayer::new(Duration::from_secs(3600)).build(upstream.clone()),
            upstream,
            settled: AtomicU64::new(1),
        })
    }

    fn settle(&self) {
        let current = self.upstream.current.load(Ordering::SeqCst);
        self.settled.fetch_max(current, Ordering::SeqCst);
    }

    fn reader(self: &Arc<Self>, max_age: Option<Duration>) -> Actor {
        let world = self.clone();
        Box::pin(async move {
            let least = world.settled.load(Ordering::SeqCst);
            let options = GetOptions {
                max_age,
                ..GetOptions::default()
            };
            let secret = world.store.get(&name("a"), &options).await.unwrap();
            assert!(number(&secret) >= least, "an older value after a newer one");
        })
    }

    fn batch(self: &Arc<Self>) -> Actor {
        let world = self.clone();
        Box::pin(async move {
            let least = world.settled.load(Ordering::SeqCst);
            let requests = [GetRequest::new(name("a")), GetRequest::new(name("a"))];
            for secret in world.store.get_many(&requests).await {
                assert!(number(&secret.unwrap()) >= least, "an older value after a newer one");
            }
        })
    }

    fn writer(self: &Arc<Self>) -> Actor {
        /// A write is settled when its future is gone, done or dropped.
        struct Settles(Arc<World>);
        impl Drop for Settles {
            fn drop(&mut self) {
                self.0.settle();
            }
        }
        let world = self.clone();
        Box::pin(async move {
            let _settles = Settles(world.clone());
            world.store.put(&name("a"), PutRequest::new("")).await.unwrap();
        })
    }

    /// Somebody else writes, and then the cache is told.
    fn stranger(self: &Arc<Self>) -> Actor {
        let world = self.clone();
        Box::pin(async move {
            world.upstream.current.fetch_add(1, Ordering::SeqCst);
            step().await;
            let told = world.upstream.current.load(Ordering::SeqCst);
            world.store.clear_all();
            world.settled.fetch_max(told, Ordering::SeqCst);
        })
    }
}

fn number(secret: &Secret) -> u64 {
    secret.value.expose_str().unwrap().parse().unwrap()
}

/// Lets everybody else go first, once.
async fn step() {
    let mut stepped = false;
    std::future::poll_fn(|_| {
        if std::mem::replace(&mut stepped, true) {
            Poll::Ready(())
        } else {
            Poll::Pending
        }
    })
    .await;
}

/// One run: the choices that it made, and how many there were each time.
fn run(script: Script, cancels: Option<usize>, choices: &mut Vec<(usize, usize)>) {
    let world = World::new();
    let mut actors: Vec<Option<Actor>> = script(&world).into_iter().map(Some).collect();
    let mut may_cancel = cancels;
    let mut made = 0;
    loop {
        let ready: Vec<usize> = (0..actors.len()).filter(|actor| actors[*actor].is_some()).collect();
        let cancel = may_cancel.filter(|actor| actors[*actor].is_some());
        let options = ready.len() + usize::from(cancel.is_some());
        if options == 0 {
            break;
        }
        if made == choices.len() {
            choices.push((0, options));
        }
        let choice = choices[made].0;
        made += 1;
        match (ready.get(choice), cancel) {
            (Some(actor), _) => {
                let polled = actors[*actor]
                    .as_mut()
                    .map(|future| future.as_mut().poll(&mut Context::from_waker(Waker::noop())));
                if polled.is_some_and(|polled| polled.is_ready()) {
                    actors[*actor] = None;
                }
            }
            (None, Some(actor)) => {
                actors[actor] = None;
                may_cancel = None;
            }
            (None, None) => unreachable!("there are as many choices as were counted"),
        }
    }
    // What is in memory in the end is the newest there is.
    let mut last = world.reader(None);
    world.settle();
    while last.as_mut().poll(&mut Context::from_waker(Waker::noop())).is_pending() {}
}

/// Runs all orders and returns how many there are.
fn explore(script: Script, cancels: Option<usize>) -> usize {
    let mut choices: Vec<(usize, usize)> = Vec::new();
    for runs in 1..1_000_000 {
        run(script, cancels, &mut choices);
        while choices.last().is_some_and(|(choice, options)| choice + 1 == *options) {
            choices.pop();
        }
        match choices.last_mut() {
            Some((choice, _)) => *choice += 1,
            None => return runs,
        }
    }
    panic!("too many orders to try them all");
}

#[test]
fn a_write_never_races_an_older_read_into_the_cache() {
    let scripts: [(&str, Script); 7] = [
        ("two reads, a write", |w| vec![w.reader(None), w.reader(None), w.writer()]),
        ("a read, two writes", |w| vec![w.reader(None), w.writer(), w.writer()]),
        ("a read past the cache", |w| {
            vec![w.reader(None), w.reader(Some(Duration::ZERO)), w.writer()]
        }),
        ("a batch", |w| vec![w.batch(), w.reader(None), w.writer()]),
        ("two batches", |w| vec![w.batch(), w.batch(), w.writer()]),
        ("somebody else's write", |w| {
            vec![w.reader(None), w.reader(None), w.stranger()]
        }),
        ("both kinds of writes", |w| vec![w.reader(None), w.writer(), w.stranger()]),
    ];
    for (what, script) in scripts {
        let orders = explore(script, None);
        assert!(orders >= 100, "{what}: only {orders} orders");
    }
}

#[test]
fn nor_when_a_reader_or_a_writer_is_cancelled_anywhere() {
    for cancels in [0, 1, 2] {
        let orders = explore(|w| vec![w.reader(None), w.reader(None), w.writer()], Some(cancels));
        assert!(orders >= 500, "{cancels}: only {orders} orders");
    }
}

#[async_trait]
impl SecretStore for Numbered {
    fn info(&self) -> &StoreInfo {
        &self.info
    }

    async fn get(&self, name: &SecretName, _: &GetOptions) -> Result<Secret> {
        step().await;
        let current = self.current.load(Ordering::SeqCst);
        step().await;
        Ok(Secret::new(
            current.to_string().into(),
            Metadata::new(name.clone(), "numbered"),
        ))
    }

    async fn get_many(&self, requests: &[GetRequest]) -> Vec<Result<Secret>> {
        step().await;
        let current = self.current.load(Ordering::SeqCst);
        step().await;
        let answer = |name: &SecretName| Secret::new(current.to_string().into(), Metadata::new(name.clone(), "numbered"));
        requests.iter().map(|request| Ok(answer(&request.name))).collect()
    }

    async fn put(&self, name: &SecretName, _: PutRequest) -> Result<Metadata> {
        step().await;
        self.current.fetch_add(1, Ordering::SeqCst);
        step().await;
        Ok(Metadata::new(name.clone(), "numbered"))
    }

    async fn delete(&self, _: &SecretName, _: &DeleteOptions) -> Result<()> {
        unreachable!("no script deletes")
    }

    async fn restore(&self, _: &SecretName) -> Result<Metadata> {
        unreachable!("no script restores")
    }

    async fn list(&self, _: &ListOptions) -> Result<Page<Metadata>> {
        unreachable!("no script lists")
    }

    async fn versions(&self, _: &SecretName, _: &PageRequest) -> Result<Page<VersionInfo>> {
        unreachable!("no script asks for versions")
    }

    async fn health(&self) -> Result<Health> {
        Ok(Health::default())
    }
}

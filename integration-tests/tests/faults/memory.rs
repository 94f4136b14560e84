//! The store in memory has no outside: what can go wrong is who calls it.

use std::collections::BTreeSet;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::task::{Context, Poll, Waker};

use keyfob_core::{ErrorKind, GetOptions, MemoryStore, PutMode, PutRequest, SecretStore, Version};

use crate::bed::name;
use crate::verb::{self, Outcome, State, Verb};

/// Every verb ends at its first poll: dropped before it, nothing has happened, and after it all has.
#[tokio::test]
async fn a_dropped_verb_is_done_or_not_begun() {
    for verb in Verb::ALL {
        for polls in 0..2 {
            let store = filled().await;
            let current = prepare(verb, &store).await;
            let mut work = Box::pin(verb::act(verb, &store, current));
            for _ in 0..polls {
                let polled = work.as_mut().poll(&mut Context::from_waker(Waker::noop()));
                assert!(matches!(polled, Poll::Ready(Outcome::Done)), "{verb:?}: {polled:?}");
            }
            drop(work);
            assert!(matches!(verb::act(Verb::GetMany, &store, None).await, Outcome::Done));
            if !verb.reads() {
                let expected = if polls == 0 { State::Before } else { State::After };
                assert_eq!(verb::state(verb, &store).await, expected, "{verb:?} after {polls} polls");
            }
        }
    }
}

#[tokio::test]
async fn a_caller_that_panics_takes_nothing_with_it() {
    for verb in Verb::ALL {
        let store = Arc::new(filled().await);
        let current = prepare(verb, &store).await;
        let handle = Arc::clone(&store);
        let thread = std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
            let work = AssertUnwindSafe(|| {
                runtime.block_on(async {
                    let _secret = handle.get(&name("shared/secret-00"), &GetOptions::default()).await.unwrap();
                    // The verb's own future is alive, and has not begun.
                    let _work = verb::act(verb, &*handle, current.clone());
                    std::panic::resume_unwind(Box::new("a caller's mistake"));
                });
            });
            assert!(catch_unwind(work).is_err());
            current
        });
        let current = thread.join().unwrap();
        assert!(matches!(verb::act(verb, &*store, current).await, Outcome::Done), "{verb:?}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn of_many_writers_none_is_lost() {
    const WRITERS: usize = 16;
    const ROUNDS: usize = 50;
    let store = Arc::new(MemoryStore::new());
    store.put(&name("counter"), PutRequest::new("0")).await.unwrap();
    let writers: Vec<_> = (0..WRITERS)
        .map(|_| {
            let store = Arc::clone(&store);
            tokio::spawn(async move {
                let mut versions = Vec::new();
                while versions.len() < ROUNDS {
                    let secret = store.get(&name("counter"), &GetOptions::default()).await.unwrap();
                    let next = secret.value.expose_str().unwrap().parse::<usize>().unwrap() + 1;
                    let mode = PutMode::Match(secret.metadata.version.clone().unwrap());
                    match store
                        .put(&name("counter"), PutRequest::new(next.to_string()).mode(mode))
                        .await
                    {
                        Ok(metadata) => versions.push(metadata.version.unwrap()),
                        Err(error) => assert_eq!(error.kind(), ErrorKind::Conflict),
                    }
                }
                versions
            })
        })
        .collect();
    let mut versions = BTreeSet::new();
    for writer in writers {
        versions.extend(writer.await.unwrap().iter().map(Version::to_string));
    }
    assert_eq!(versions.len(), WRITERS * ROUNDS, "a version was given twice");
    let secret = store.get(&name("counter"), &GetOptions::default()).await.unwrap();
    assert_eq!(secret.value.expose_str().unwrap(), (WRITERS * ROUNDS).to_string());
}

async fn filled() -> MemoryStore {
    let store = MemoryStore::new();
    verb::make_shared(&store).await;
    store
}

async fn prepare(verb: Verb, store: &MemoryStore) -> Option<Version> {
    if verb.reads() {
        None
    } else {
        verb::prepare(verb, store).await
    }
}

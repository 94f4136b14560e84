//! Stands between a store and its server, counts the round trips, and loses the answer to a commit when it is told to.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpListener, TcpStream};

/// How much later answers come.
const LATENCY: Duration = Duration::from_millis(20);

/// What becomes of the answer.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Loss {
    /// The connection is closed.
    Closed,
    /// It never comes.
    Hung,
}

pub(crate) struct Proxy {
    pub(crate) port: u16,
    state: Arc<State>,
}

#[derive(Default)]
struct State {
    is_armed: AtomicBool,
    /// How often the client spoke after the server had.
    turns: AtomicUsize,
}

impl Proxy {
    /// To a port of this machine.
    pub(crate) async fn to(port: u16, loss: Loss) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let own = listener.local_addr().unwrap().port();
        let state = Arc::new(State::default());
        let shared = Arc::clone(&state);
        tokio::spawn(async move {
            while let Ok((client, _)) = listener.accept().await {
                let server = TcpStream::connect(("127.0.0.1", port)).await.unwrap();
                tokio::spawn(carry(client, server, Arc::clone(&shared), loss));
            }
        });
        Self { port: own, state }
    }

    /// The next commit reaches the server, and its answer does not come back.
    pub(crate) fn lose_next_commit(&self) {
        self.state.is_armed.store(true, Ordering::SeqCst);
    }

    /// The round trips since this was asked last.
    pub(crate) fn round_trips(&self) -> usize {
        self.state.turns.swap(0, Ordering::SeqCst)
    }
}

async fn carry(client: TcpStream, server: TcpStream, state: Arc<State>, loss: Loss) {
    let (mut from_client, to_client) = client.into_split();
    let (from_server, mut to_server) = server.into_split();
    let is_lost = Arc::new(AtomicBool::new(false));
    let is_answered = Arc::new(AtomicBool::new(true));
    let back = tokio::spawn(answers(
        from_server,
        to_client,
        Arc::clone(&is_lost),
        Arc::clone(&is_answered),
        loss,
    ));
    let mut bytes = vec![0; 1 << 16];
    while let Ok(count @ 1..) = from_client.read(&mut bytes).await {
        if is_answered.swap(false, Ordering::SeqCst) {
            state.turns.fetch_add(1, Ordering::SeqCst);
        }
        let is_commit = bytes[..count].windows(7).any(|window| window == b"COMMIT\0");
        if is_commit && state.is_armed.swap(false, Ordering::SeqCst) {
            is_lost.store(true, Ordering::SeqCst);
        }
        if to_server.write_all(&bytes[..count]).await.is_err() {
            break;
        }
    }
    drop(to_server);
    let _ = back.await;
}

async fn answers(
    mut from: OwnedReadHalf,
    mut to: OwnedWriteHalf,
    is_lost: Arc<AtomicBool>,
    is_answered: Arc<AtomicBool>,
    loss: Loss,
) {
    let mut bytes = vec![0; 1 << 16];
    while let Ok(count @ 1..) = from.read(&mut bytes).await {
        // All that the client sends without waiting has been sent by then.
        tokio::time::sleep(LATENCY).await;
        is_answered.store(true, Ordering::SeqCst);
        if is_lost.load(Ordering::SeqCst) {
            match loss {
                Loss::Closed => return,
                Loss::Hung => continue,
            }
        }
        if to.write_all(&bytes[..count]).await.is_err() {
            return;
        }
    }
}

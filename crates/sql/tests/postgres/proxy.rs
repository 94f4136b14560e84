//! Stands between a store and its server, and loses the answer to a commit when it is told to.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpListener, TcpStream};

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
    is_armed: Arc<AtomicBool>,
}

impl Proxy {
    /// To a port of this machine.
    pub(crate) async fn to(port: u16, loss: Loss) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let own = listener.local_addr().unwrap().port();
        let is_armed = Arc::new(AtomicBool::new(false));
        let armed = Arc::clone(&is_armed);
        tokio::spawn(async move {
            while let Ok((client, _)) = listener.accept().await {
                let server = TcpStream::connect(("127.0.0.1", port)).await.unwrap();
                tokio::spawn(carry(client, server, Arc::clone(&armed), loss));
            }
        });
        Self { port: own, is_armed }
    }

    /// The next commit reaches the server, and its answer does not come back.
    pub(crate) fn lose_next_commit(&self) {
        self.is_armed.store(true, Ordering::SeqCst);
    }
}

async fn carry(client: TcpStream, server: TcpStream, armed: Arc<AtomicBool>, loss: Loss) {
    let (mut from_client, to_client) = client.into_split();
    let (from_server, mut to_server) = server.into_split();
    let is_lost = Arc::new(AtomicBool::new(false));
    let back = tokio::spawn(answers(from_server, to_client, Arc::clone(&is_lost), loss));
    let mut bytes = vec![0; 1 << 16];
    while let Ok(count @ 1..) = from_client.read(&mut bytes).await {
        let is_commit = bytes[..count].windows(7).any(|window| window == b"COMMIT\0");
        if is_commit && armed.swap(false, Ordering::SeqCst) {
            is_lost.store(true, Ordering::SeqCst);
        }
        if to_server.write_all(&bytes[..count]).await.is_err() {
            break;
        }
    }
    drop(to_server);
    let _ = back.await;
}

async fn answers(mut from: OwnedReadHalf, mut to: OwnedWriteHalf, is_lost: Arc<AtomicBool>, loss: Loss) {
    let mut bytes = vec![0; 1 << 16];
    while let Ok(count @ 1..) = from.read(&mut bytes).await {
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

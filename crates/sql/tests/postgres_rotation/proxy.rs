//! Stands between a rotator and its server, hears everything, and stops at a message that the test has chosen.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Notify;

pub(crate) struct Proxy {
    pub(crate) port: u16,
    state: Arc<State>,
}

struct State {
    /// Counts what was said by either side.
    said: AtomicUsize,
    /// Which of it is never delivered.
    stops_at: usize,
    stopped: Notify,
    heard: Mutex<Vec<u8>>,
}

impl Proxy {
    /// To a port of this machine.
    pub(crate) async fn to(port: u16, stops_at: usize) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let own = listener.local_addr().unwrap().port();
        let state = Arc::new(State {
            said: AtomicUsize::new(0),
            stops_at,
            stopped: Notify::new(),
            heard: Mutex::default(),
        });
        let shared = Arc::clone(&state);
        tokio::spawn(async move {
            while let Ok((client, _)) = listener.accept().await {
                let server = TcpStream::connect(("127.0.0.1", port)).await.unwrap();
                tokio::spawn(carry(client, server, Arc::clone(&shared)));
            }
        });
        Self { port: own, state }
    }

    /// When the chosen message was held back.
    pub(crate) async fn stopped(&self) {
        self.state.stopped.notified().await;
    }

    /// Whether these bytes came by.
    pub(crate) fn has_heard(&self, bytes: &[u8]) -> bool {
        let heard = self.state.heard.lock().unwrap();
        heard.windows(bytes.len()).any(|window| window == bytes)
    }
}

/// Both ends are closed at the stop, as when the client's process is killed there.
async fn carry(mut client: TcpStream, mut server: TcpStream, state: Arc<State>) {
    let (mut asked, mut answered) = (vec![0; 1 << 16], vec![0; 1 << 16]);
    loop {
        let (bytes, to) = tokio::select! {
            Ok(count @ 1..) = client.read(&mut asked) => (&asked[..count], &mut server),
            Ok(count @ 1..) = server.read(&mut answered) => (&answered[..count], &mut client),
            else => return,
        };
        state.heard.lock().unwrap().extend_from_slice(bytes);
        if state.said.fetch_add(1, Ordering::SeqCst) + 1 == state.stops_at {
            state.stopped.notify_one();
            return;
        }
        if to.write_all(bytes).await.is_err() {
            return;
        }
    }
}

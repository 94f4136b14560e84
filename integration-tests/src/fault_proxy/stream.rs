//! The two directions of a connection, with and without TLS.

use std::io;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll};

use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _, ReadBuf};
use tokio::net::TcpStream;
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio_rustls::TlsStream;

/// An open connection.
pub(super) enum Stream {
    Plain(TcpStream),
    Tls(Box<TlsStream<TcpStream>>),
}

impl Stream {
    pub(super) fn split(self) -> (Inlet, Quiet) {
        match self {
            Self::Plain(stream) => {
                let (inlet, outlet) = stream.into_split();
                (Inlet::Plain(inlet), Quiet(Some(Half::Plain(outlet))))
            }
            Self::Tls(stream) => {
                let shared = Shared(Arc::new(Mutex::new(stream)));
                (Inlet::Tls(shared.clone()), Quiet(Some(Half::Tls(shared))))
            }
        }
    }
}

/// Where bytes come from.
#[derive(Debug)]
pub(super) enum Inlet {
    Plain(OwnedReadHalf),
    Tls(Shared),
}

impl Inlet {
    /// How many bytes came; none are the end. Nothing is lost when the future is dropped.
    pub(super) async fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        match self {
            Self::Plain(half) => half.read(buffer).await,
            Self::Tls(shared) => match shared.read(buffer).await {
                // FIN without TLS's own word of farewell, as many clients and servers leave.
                Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => Ok(0),
                read => read,
            },
        }
    }

    /// Lets the connection end with RST when both halves are dropped.
    pub(super) fn reset(&self) {
        // Fails only on connections that are gone.
        let _ = match self {
            Self::Plain(half) => half.as_ref().set_zero_linger(),
            Self::Tls(shared) => shared.stream().get_ref().0.set_zero_linger(),
        };
    }
}

/// A half that says nothing when it is dropped: the usual one sends FIN, and then no RST would be the first thing that
/// the other side sees.
#[derive(Debug)]
pub(super) struct Quiet(Option<Half>);

#[derive(Debug)]
enum Half {
    Plain(OwnedWriteHalf),
    /// Its connection ends when the inlet is dropped too.
    Tls(Shared),
}

impl Quiet {
    /// Says that nothing more comes.
    pub(super) async fn end(&mut self) {
        // The other side may be gone already, which is as good.
        let _ = match &mut self.0 {
            Some(Half::Plain(half)) => half.shutdown().await,
            Some(Half::Tls(shared)) => shared.shutdown().await,
            None => Ok(()),
        };
    }

    pub(super) async fn write(&mut self, bytes: &[u8]) -> io::Result<()> {
        match &mut self.0 {
            Some(Half::Plain(half)) => half.write_all(bytes).await,
            Some(Half::Tls(shared)) => {
                shared.write_all(bytes).await?;
                // What is encrypted is not yet sent.
                shared.flush().await
            }
            None => Err(io::ErrorKind::BrokenPipe.into()),
        }
    }
}

impl Drop for Quiet {
    fn drop(&mut self) {
        if let Some(Half::Plain(half)) = self.0.take() {
            half.forget();
        }
    }
}

/// Both directions of a TLS connection, whose state is one. tokio's own halves don't give the socket back, which a reset
/// needs.
#[derive(Debug, Clone)]
pub(super) struct Shared(Arc<Mutex<Box<TlsStream<TcpStream>>>>);

impl Shared {
    fn stream(&self) -> MutexGuard<'_, Box<TlsStream<TcpStream>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl AsyncRead for Shared {
    fn poll_read(self: Pin<&mut Self>, context: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut **self.stream()).poll_read(context, buffer)
    }
}

impl AsyncWrite for Shared {
    fn poll_write(self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut **self.stream()).poll_write(context, bytes)
    }

    fn poll_flush(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut **self.stream()).poll_flush(context)
    }

    fn poll_shutdown(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut **self.stream()).poll_shutdown(context)
    }
}

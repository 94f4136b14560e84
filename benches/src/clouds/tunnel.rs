//! A way to a service of this machine for tools that have its public name built in.
//!
//! They take it when they are told to use an HTTP proxy: this one connects a name that it knows with what stands for the
//! service here, and no other name with anything. It adds no round trip of the line.

use std::net::{Ipv4Addr, TcpListener as StdListener};
use std::sync::Arc;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, copy_bidirectional};
use tokio::net::{TcpListener, TcpStream};
use tokio::runtime::Handle;

use crate::Outcome;

/// The longest request to connect that is read.
const MOST_HEAD_BYTES: usize = 8 << 10;

/// Starts a tunnel that runs for as long as the runtime, and gives its URL. Of `places`, the first is the end of a host's name and the
/// second where it leads.
pub(super) fn start(runtime: &Handle, places: Vec<(&'static str, String)>) -> Outcome<String> {
    let listener = StdListener::bind((Ipv4Addr::LOCALHOST, 0))?;
    listener.set_nonblocking(true)?;
    let url = format!("http://{}", listener.local_addr()?);
    let places = Arc::new(places);
    runtime.spawn(async move {
        let Ok(listener) = TcpListener::from_std(listener) else {
            return;
        };
        loop {
            if let Ok((client, _)) = listener.accept().await {
                let places = Arc::clone(&places);
                // What goes wrong, the client sees itself.
                tokio::spawn(async move { connect(client, &places).await.map_err(drop) });
            }
        }
    });
    Ok(url)
}

async fn connect(mut client: TcpStream, places: &[(&str, String)]) -> Outcome {
    client.set_nodelay(true)?;
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        if head.len() > MOST_HEAD_BYTES || client.read_buf(&mut head).await? == 0 {
            return Ok(());
        }
    }
    let Some(place) = place(std::str::from_utf8(&head)?, places) else {
        client
            .write_all(b"HTTP/1.1 403 Forbidden\r\nContent-Length: 0\r\n\r\n")
            .await?;
        return Ok(());
    };
    let mut server = TcpStream::connect(place).await?;
    server.set_nodelay(true)?;
    client.write_all(b"HTTP/1.1 200 OK\r\n\r\n").await?;
    copy_bidirectional(&mut client, &mut server).await?;
    Ok(())
}

/// Where a request like `CONNECT host:443 HTTP/1.1` leads.
fn place<'a>(request: &str, places: &'a [(&str, String)]) -> Option<&'a str> {
    let (host, _) = request.strip_prefix("CONNECT ")?.split(' ').next()?.rsplit_once(':')?;
    let (_, place) = places.iter().find(|(end, _)| host.ends_with(end))?;
    Some(place)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_names_that_are_known_lead_somewhere() {
        let places = [
            (".vault.azure.net", "127.0.0.1:1".to_owned()),
            ("login.example", "127.0.0.1:2".to_owned()),
        ];
        let place = |request: &str| place(request, &places).map(str::to_owned);
        assert_eq!(
            place("CONNECT a.vault.azure.net:443 HTTP/1.1\r\n\r\n").as_deref(),
            Some("127.0.0.1:1")
        );
        assert_eq!(
            place("CONNECT login.example:443 HTTP/1.1\r\n\r\n").as_deref(),
            Some("127.0.0.1:2")
        );
        for request in [
            "CONNECT other.example:443 HTTP/1.1",
            "CONNECT login.example HTTP/1.1",
            "GET http://login.example:80/",
        ] {
            assert_eq!(place(request), None, "{request}");
        }
    }
}

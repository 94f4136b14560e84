//! A Prometheus endpoint that shows what keyfob does: `curl` the address that it prints.

#![expect(clippy::print_stdout, reason = "an example shows what it does")]

use std::convert::Infallible;
use std::error::Error;
use std::time::Duration;

use hyper::header::CONTENT_TYPE;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Method, Response, StatusCode};
use hyper_util::rt::TokioIo;
use keyfob::SecretManager;
use metrics_exporter_prometheus::{Matcher, PrometheusBuilder};
use tokio::net::TcpListener;

/// From an answer out of memory to one that is as old as it may be.
const SECONDS: [f64; 12] = [1e-6, 1e-5, 1e-4, 0.001, 0.005, 0.02, 0.1, 0.5, 2.0, 10.0, 300.0, 1800.0];

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Box<dyn Error>> {
    // First the recorder, then the stores: what is opened before it is there stays silent.
    let recorder = PrometheusBuilder::new()
        .set_buckets_for_metric(Matcher::Suffix("_seconds".to_owned()), &SECONDS)?
        .install_recorder()?;
    let secrets = SecretManager::from_env().await?;

    let upkeep = recorder.clone();
    tokio::spawn(async move {
        loop {
            tokio::time::sleep(Duration::from_secs(5)).await;
            upkeep.run_upkeep();
        }
    });

    for _ in 0..3 {
        let password = secrets.get("DB_PASSWORD").await?;
        println!("a password of {} bytes", password.value.len());
    }
    if let Err(error) = secrets.get("DB_PASWORD").await {
        println!("{}", error.kind());
    }

    let listener = TcpListener::bind("127.0.0.1:0").await?;
    println!("http://{}/metrics", listener.local_addr()?);
    loop {
        let (stream, _) = listener.accept().await?;
        let recorder = recorder.clone();
        let answer = service_fn(move |request: hyper::Request<hyper::body::Incoming>| {
            let is_ours = request.method() == Method::GET && request.uri().path() == "/metrics";
            let (status, text) = match is_ours {
                true => (StatusCode::OK, recorder.render()),
                false => (StatusCode::NOT_FOUND, String::new()),
            };
            async move {
                let response = Response::builder()
                    .status(status)
                    .header(CONTENT_TYPE, "text/plain; version=0.0.4");
                Ok::<_, Infallible>(response.body(text).unwrap_or_default())
            }
        });
        tokio::spawn(http1::Builder::new().serve_connection(TokioIo::new(stream), answer));
    }
}

//! OpenTelemetry: the spans and the metrics of keyfob, here on standard output. An application has the exporter of its
//! collector (`opentelemetry-otlp`) in that place.

#![expect(clippy::print_stdout, reason = "an example shows what it does")]

mod bridge;

use std::error::Error;

use keyfob::SecretManager;
use opentelemetry::metrics::MeterProvider as _;
use opentelemetry::trace::TracerProvider as _;
use opentelemetry_sdk::metrics::SdkMeterProvider;
use opentelemetry_sdk::trace::SdkTracerProvider;
use tracing_subscriber::filter::{LevelFilter, Targets};
use tracing_subscriber::layer::{Layer as _, SubscriberExt as _};

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Box<dyn Error>> {
    let meters = SdkMeterProvider::builder()
        .with_periodic_exporter(opentelemetry_stdout::MetricExporter::default())
        .build();
    let tracers = SdkTracerProvider::builder()
        .with_simple_exporter(opentelemetry_stdout::SpanExporter::default())
        .build();

    // The spans of keyfob are of level debug.
    let spans = tracing_opentelemetry::layer().with_tracer(tracers.tracer("application"));
    let only = Targets::new().with_target("keyfob", LevelFilter::DEBUG);
    tracing::subscriber::set_global_default(tracing_subscriber::registry().with(spans.with_filter(only)))?;
    // Before the stores are opened: what is opened before the recorder is there stays silent.
    metrics::set_global_recorder(bridge::Bridge::new(meters.meter("application")))?;

    let secrets = SecretManager::from_env().await?;
    for _ in 0..3 {
        let password = secrets.get("DB_PASSWORD").await?;
        println!("a password of {} bytes", password.value.len());
    }

    tracers.shutdown()?;
    meters.shutdown()?;
    Ok(())
}

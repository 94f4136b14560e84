//! From the `metrics` facade to OpenTelemetry's instruments.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

use metrics::{Counter, CounterFn, Gauge, GaugeFn, Histogram, HistogramFn, Key, KeyName, Metadata, Recorder, SharedString, Unit};
use opentelemetry::KeyValue;
use opentelemetry::metrics::{Meter, UpDownCounter};

/// Seconds, from an answer out of memory to one that is as old as it may be.
const BOUNDARIES: [f64; 12] = [1e-6, 1e-5, 1e-4, 0.001, 0.005, 0.02, 0.1, 0.5, 2.0, 10.0, 300.0, 1800.0];

/// A recorder whose numbers go to the instruments of `meter`.
pub(crate) struct Bridge {
    meter: Meter,
    described: Mutex<BTreeMap<String, (&'static str, String)>>,
}

impl Bridge {
    pub(crate) fn new(meter: Meter) -> Self {
        Self {
            meter,
            described: Mutex::default(),
        }
    }

    fn describe(&self, name: &KeyName, unit: Option<Unit>, help: &SharedString) {
        let unit = unit.map_or("", |unit| unit.as_canonical_label());
        let mut described = self.described.lock().unwrap_or_else(PoisonError::into_inner);
        described.insert(name.as_str().to_owned(), (unit, help.to_string()));
    }

    /// The name, the unit and the description of a metric.
    fn texts(&self, key: &Key) -> (String, &'static str, String) {
        let described = self.described.lock().unwrap_or_else(PoisonError::into_inner);
        let (unit, help) = described.get(key.name()).cloned().unwrap_or_default();
        (key.name().to_owned(), unit, help)
    }
}

/// An instrument with the labels of one series.
struct Series<I> {
    instrument: I,
    labels: Vec<KeyValue>,
}

impl<I> Series<I> {
    fn new(instrument: I, key: &Key) -> Arc<Self> {
        let labels = key
            .labels()
            .map(|label| KeyValue::new(label.key().to_owned(), label.value().to_owned()));
        Arc::new(Self {
            instrument,
            labels: labels.collect(),
        })
    }
}

impl CounterFn for Series<opentelemetry::metrics::Counter<u64>> {
    fn increment(&self, value: u64) {
        self.instrument.add(value, &self.labels);
    }

    /// keyfob doesn't set counters.
    fn absolute(&self, _: u64) {}
}

impl GaugeFn for Series<UpDownCounter<f64>> {
    fn increment(&self, value: f64) {
        self.instrument.add(value, &self.labels);
    }

    fn decrement(&self, value: f64) {
        self.instrument.add(-value, &self.labels);
    }

    /// keyfob only adds to its gauges and takes away, so that they are sums.
    fn set(&self, _: f64) {}
}

impl HistogramFn for Series<opentelemetry::metrics::Histogram<f64>> {
    fn record(&self, value: f64) {
        self.instrument.record(value, &self.labels);
    }
}

impl Recorder for Bridge {
    fn describe_counter(&self, name: KeyName, unit: Option<Unit>, help: SharedString) {
        self.describe(&name, unit, &help);
    }

    fn describe_gauge(&self, name: KeyName, unit: Option<Unit>, help: SharedString) {
        self.describe(&name, unit, &help);
    }

    fn describe_histogram(&self, name: KeyName, unit: Option<Unit>, help: SharedString) {
        self.describe(&name, unit, &help);
    }

    fn register_counter(&self, key: &Key, _: &Metadata<'_>) -> Counter {
        let (name, unit, help) = self.texts(key);
        let instrument = self.meter.u64_counter(name).with_unit(unit).with_description(help).build();
        Counter::from_arc(Series::new(instrument, key))
    }

    fn register_gauge(&self, key: &Key, _: &Metadata<'_>) -> Gauge {
        let (name, unit, help) = self.texts(key);
        let instrument = self
            .meter
            .f64_up_down_counter(name)
            .with_unit(unit)
            .with_description(help)
            .build();
        Gauge::from_arc(Series::new(instrument, key))
    }

    fn register_histogram(&self, key: &Key, _: &Metadata<'_>) -> Histogram {
        let (name, unit, help) = self.texts(key);
        let builder = self.meter.f64_histogram(name).with_unit(unit).with_description(help);
        Histogram::from_arc(Series::new(builder.with_boundaries(BOUNDARIES.to_vec()).build(), key))
    }
}

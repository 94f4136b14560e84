//! A recorder for tests that keeps every number.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

use ::metrics::{
    Counter, CounterFn, Gauge, GaugeFn, Histogram, HistogramFn, Key, KeyName, Label, LocalRecorderGuard, Metadata, Recorder,
    SharedString, Unit,
};

/// Keeps every number under its name and labels, written as `name{label="value"}`.
#[derive(Default)]
pub(super) struct Recorded {
    numbers: Mutex<BTreeMap<String, Arc<Number>>>,
    pub(super) described: Mutex<BTreeMap<String, Described>>,
    /// The names of the labels of each metric.
    pub(super) labels: Mutex<BTreeMap<String, Vec<String>>>,
}

/// Its kind, its unit and what it is.
pub(super) type Described = (&'static str, Option<Unit>, String);

/// The sum of a counter, the level of a gauge, or all that came to a histogram.
#[derive(Debug, Default)]
struct Number {
    now: Mutex<f64>,
    all: Mutex<Vec<f64>>,
}

impl Number {
    fn add(&self, value: f64) {
        *self.now.lock().unwrap() += value;
    }
}

impl CounterFn for Number {
    fn increment(&self, value: u64) {
        self.add(value as f64);
    }
    fn absolute(&self, _: u64) {
        unreachable!("nothing in keyfob sets a counter");
    }
}

impl GaugeFn for Number {
    fn increment(&self, value: f64) {
        self.add(value);
    }
    fn decrement(&self, value: f64) {
        self.add(-value);
    }
    fn set(&self, _: f64) {
        unreachable!("two stores may share a gauge");
    }
}

impl HistogramFn for Number {
    fn record(&self, value: f64) {
        self.add(1.0);
        self.all.lock().unwrap().push(value);
    }
}

impl Recorded {
    /// Records what this thread does while the guard lives.
    pub(super) fn here(&self) -> LocalRecorderGuard<'_> {
        ::metrics::set_default_local_recorder(self)
    }

    /// What has moved, of the metrics that begin so: `name{labels} number`, of a histogram how many came to it.
    pub(super) fn moved(&self, prefix: &str) -> Vec<String> {
        let numbers = self.numbers.lock().unwrap();
        let begin = numbers.iter().filter(|(key, _)| key.starts_with(prefix));
        let moved = begin.filter_map(|(key, number)| {
            let now = *number.now.lock().unwrap();
            (now != 0.0).then(|| format!("{} {now}", key.trim_start_matches("keyfob_")))
        });
        moved.collect()
    }

    /// What came to a histogram.
    pub(super) fn all(&self, key: &str) -> Vec<f64> {
        self.numbers.lock().unwrap()[key].all.lock().unwrap().clone()
    }

    /// Every name with its labels.
    pub(super) fn keys(&self) -> Vec<String> {
        self.numbers.lock().unwrap().keys().cloned().collect()
    }

    fn number(&self, key: &Key) -> Arc<Number> {
        let labels: Vec<String> = key
            .labels()
            .map(|label| format!("{}=\"{}\"", label.key(), label.value()))
            .collect();
        let text = format!("{}{{{}}}", key.name(), labels.join(","));
        let names = key.labels().map(Label::key).map(str::to_owned).collect();
        self.labels.lock().unwrap().insert(key.name().to_owned(), names);
        Arc::clone(self.numbers.lock().unwrap().entry(text).or_default())
    }

    fn describe(&self, kind: &'static str, name: &KeyName, unit: Option<Unit>, help: &SharedString) {
        let described = (kind, unit, help.to_string());
        self.described.lock().unwrap().insert(name.as_str().to_owned(), described);
    }
}

impl Recorder for Recorded {
    fn describe_counter(&self, name: KeyName, unit: Option<Unit>, help: SharedString) {
        self.describe("Counter", &name, unit, &help);
    }
    fn describe_gauge(&self, name: KeyName, unit: Option<Unit>, help: SharedString) {
        self.describe("Gauge", &name, unit, &help);
    }
    fn describe_histogram(&self, name: KeyName, unit: Option<Unit>, help: SharedString) {
        self.describe("Histogram", &name, unit, &help);
    }
    fn register_counter(&self, key: &Key, _: &Metadata<'_>) -> Counter {
        self.number(key).into()
    }
    fn register_gauge(&self, key: &Key, _: &Metadata<'_>) -> Gauge {
        self.number(key).into()
    }
    fn register_histogram(&self, key: &Key, _: &Metadata<'_>) -> Histogram {
        self.number(key).into()
    }
}

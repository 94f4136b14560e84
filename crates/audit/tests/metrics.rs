//! The metrics of a sink say what became of its records.

#![expect(clippy::unwrap_used, reason = "helpers of tests may panic as tests do")]

mod common;

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};

use keyfob_audit::{FileAudit, StreamAudit};
use keyfob_core::AuditSink;
use metrics::{Counter, Gauge, Histogram, Key, KeyName, Label, Metadata, Recorder, SharedString, Unit, with_local_recorder};

use common::{Bed, record};

/// Keeps counters under the values of their labels.
#[derive(Default)]
struct Counts(Mutex<BTreeMap<String, Arc<AtomicU64>>>);

impl Counts {
    fn of(&self, labels: &str) -> u64 {
        self.0.lock().unwrap()[labels].load(Ordering::Relaxed)
    }
}

impl Recorder for Counts {
    fn describe_counter(&self, _: KeyName, _: Option<Unit>, _: SharedString) {}
    fn describe_gauge(&self, _: KeyName, _: Option<Unit>, _: SharedString) {}
    fn describe_histogram(&self, _: KeyName, _: Option<Unit>, _: SharedString) {}
    fn register_counter(&self, key: &Key, _: &Metadata<'_>) -> Counter {
        let labels: Vec<&str> = key.labels().map(Label::value).collect();
        let mut counts = self.0.lock().unwrap();
        Counter::from_arc(Arc::clone(counts.entry(labels.join(" ")).or_default()))
    }
    fn register_gauge(&self, _: &Key, _: &Metadata<'_>) -> Gauge {
        Gauge::noop()
    }
    fn register_histogram(&self, _: &Key, _: &Metadata<'_>) -> Histogram {
        Histogram::noop()
    }
}

#[test]
fn metrics_say_what_was_kept_and_what_was_lost() {
    let bed = Bed::new();
    let counts = Counts::default();
    let (file, stream) = with_local_recorder(&counts, || {
        (
            FileAudit::open(bed.options()).unwrap(),
            StreamAudit::new(std::io::sink()).unwrap(),
        )
    });
    let give = |numbers: std::ops::Range<u64>| {
        for number in numbers {
            let _ = file.record(record(number));
            let _ = stream.record(record(number));
        }
    };
    give(0..5);
    file.close().unwrap();
    stream.close().unwrap();
    // After the end nothing is taken any more.
    give(5..7);
    for sink in ["file", "stream"] {
        assert_eq!(
            (counts.of(&format!("{sink} kept")), counts.of(&format!("{sink} lost"))),
            (5, 2),
            "{sink}"
        );
    }
    assert_eq!((file.lost(), stream.lost()), (2, 2));
}

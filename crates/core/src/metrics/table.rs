//! Every metric: the only list of them.

use ::metrics::{Counter, Gauge, Histogram, Key, KeyName, Label, Level, Metadata, SharedString, Unit, with_recorder};

/// Makes of each row a function that tells the recorder of the metric and gives the handle, with an argument for each label.
macro_rules! metrics {
    ($($name:ident($($label:ident),*) -> $kind:ident, $unit:ident, $help:literal;)+) => {
        $(
            #[doc = $help]
            pub(crate) fn $name($($label: impl Into<SharedString>),*) -> $kind {
                let labels = vec![$(Label::new(stringify!($label), $label)),*];
                $kind::registered(concat!("keyfob_", stringify!($name)), labels, Unit::$unit, $help)
            }
        )+

        #[cfg(test)]
        pub(super) const ROWS: &[Row] = &[$(Row {
            name: concat!("keyfob_", stringify!($name)),
            kind: stringify!($kind),
            unit: Unit::$unit,
            labels: &[$(stringify!($label)),*],
            help: $help,
        }),+];
    };
}

/// A row, as the documentation must have it.
#[cfg(test)]
#[derive(Debug)]
pub(super) struct Row {
    pub(super) name: &'static str,
    pub(super) kind: &'static str,
    pub(super) unit: Unit,
    pub(super) labels: &'static [&'static str],
    pub(super) help: &'static str,
}

metrics! {
    requests_total(store, verb, outcome) -> Counter, Count,
        "what the application asked, each secret of a batch by itself";
    request_duration_seconds(store, verb) -> Histogram, Seconds,
        "how long the application waited for an answer, a batch as a whole";
    in_flight(store) -> Gauge, Count,
        "calls of the application that are under way";

    cache_reads_total(store, result) -> Counter, Count,
        "reads by what was in memory";
    cache_shared_reads_total(store, result) -> Counter, Count,
        "reads that memory could not answer, by whether the second level did";
    cache_stale_if_error_total(store) -> Counter, Count,
        "reads that the store failed to answer and that were answered from memory all the same";
    cache_stale_age_seconds(store) -> Histogram, Seconds,
        "the age of each answer that was handed out after its time to live";
    cache_refreshes_total(store) -> Counter, Count,
        "secrets that were read again behind answers from memory";
    cache_evictions_total(store, kind) -> Counter, Count,
        "what was driven out of memory because there was no room";
    cache_entries(store, kind) -> Gauge, Count,
        "how much is in memory";
    cache_bytes(store) -> Gauge, Bytes,
        "what the values in memory take, as counted for the bound";

    retries_total(store, kind) -> Counter, Count,
        "requests that were sent again, by the error before";
    retry_budget_exhausted_total(store) -> Counter, Count,
        "retries and hedges that were not sent because the budget was spent";
    hedges_total(store) -> Counter, Count,
        "second requests for reads that took long";
    hedges_won_total(store) -> Counter, Count,
        "second requests that answered first";
    writes_settled_total(store) -> Counter, Count,
        "writes whose repetition was refused and that were found done by their first attempt";

    failover_answers_total(store, member) -> Counter, Count,
        "reads by who of the list answered, each secret of a batch by itself";
    failover_passed_over_total(store, member, kind, asked) -> Counter, Count,
        "reads that went past a store of the list, by the reason";
    replication_failures_total(store, member, kind) -> Counter, Count,
        "writes that the first store of the list has and this one has not";
    breaker_state(store, member, state) -> Gauge, Count,
        "1 for the state that the breaker is in, 0 for the others";
    breaker_transitions_total(store, member, from, to) -> Counter, Count,
        "how often the breaker changed its state";

    concurrency_limit(store) -> Gauge, Count,
        "how many calls to the store may be under way at once";
    concurrency_waiting(store) -> Gauge, Count,
        "calls that wait until they may be sent";
    throttled_total(store) -> Counter, Count,
        "answers that said that the store can't take so much";

    store_requests_total(store, verb, outcome) -> Counter, Count,
        "what was sent to the store, retries and hedges included";
    store_request_duration_seconds(store, verb) -> Histogram, Seconds,
        "how long the store took";
    store_in_flight(store) -> Gauge, Count,
        "calls that the store has not answered yet";

    audit_withheld_total() -> Counter, Count,
        "accesses that were refused, and answers that were withheld, because they could not be recorded";
    audit_records_total(sink, result) -> Counter, Count,
        "records that a sink has kept or lost";
}

/// A handle of one kind.
trait Registered {
    fn registered(name: &'static str, labels: Vec<Label>, unit: Unit, help: &'static str) -> Self;
}

const METADATA: Metadata<'_> = Metadata::new("keyfob", Level::INFO, Some(module_path!()));

macro_rules! registered {
    ($($kind:ident: $describe:ident, $register:ident;)+) => {$(
        impl Registered for $kind {
            fn registered(name: &'static str, labels: Vec<Label>, unit: Unit, help: &'static str) -> Self {
                with_recorder(|recorder| {
                    recorder.$describe(KeyName::from_const_str(name), Some(unit), help.into());
                    recorder.$register(&Key::from_parts(name, labels), &METADATA)
                })
            }
        }
    )+};
}

registered! {
    Counter: describe_counter, register_counter;
    Gauge: describe_gauge, register_gauge;
    Histogram: describe_histogram, register_histogram;
}

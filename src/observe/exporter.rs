//! The crate `metrics`. A handle belongs to the recorder that is installed when it is made.

use metrics::{Key, Level, Metadata, with_recorder};

use super::catalogue::{Kind, Label, Metric, Unit};

const METADATA: Metadata<'static> =
    Metadata::new(module_path!(), Level::INFO, Some(module_path!()));

pub(super) struct Counter(metrics::Counter);

impl Counter {
    pub(super) fn new(metric: Metric, label: Label) -> Counter {
        describe(&metric);
        let key = key(&metric, label);
        Counter(with_recorder(|to| to.register_counter(&key, &METADATA)))
    }

    pub(super) fn add(&self, count: u64) {
        self.0.increment(count);
    }
}

pub(super) struct Gauge(metrics::Gauge);

impl Gauge {
    pub(super) fn new(metric: Metric, label: Label) -> Gauge {
        describe(&metric);
        let key = key(&metric, label);
        Gauge(with_recorder(|to| to.register_gauge(&key, &METADATA)))
    }

    pub(super) fn add(&self, difference: f64) {
        self.0.increment(difference);
    }
}

pub(super) struct Histogram(metrics::Histogram);

impl Histogram {
    pub(super) fn new(metric: Metric, label: Label) -> Histogram {
        describe(&metric);
        let key = key(&metric, label);
        Histogram(with_recorder(|to| to.register_histogram(&key, &METADATA)))
    }

    pub(super) fn record(&self, value: impl FnOnce() -> f64) {
        self.0.record(value());
    }
}

fn key(metric: &Metric, label: Label) -> Key {
    let labels = label.map(|(name, value)| metrics::Label::from_static_parts(name, value));
    Key::from_parts(metric.name, labels.into_iter().collect::<Vec<_>>())
}

fn describe(metric: &Metric) {
    let (name, text) = (metric.name.into(), metric.description.into());
    let unit = Some(match metric.unit {
        Unit::Count => metrics::Unit::Count,
        Unit::Seconds => metrics::Unit::Seconds,
    });
    with_recorder(|to| match metric.kind {
        Kind::Counter => to.describe_counter(name, unit, text),
        Kind::Gauge => to.describe_gauge(name, unit, text),
        Kind::Histogram => to.describe_histogram(name, unit, text),
    });
}

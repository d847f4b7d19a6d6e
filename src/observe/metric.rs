//! Counters, gauges and histograms. Each is also sent to the crate `metrics`, if that feature is on.

use std::{
    sync::atomic::{AtomicU64, AtomicUsize, Ordering},
    time::Duration,
};

use super::{
    catalogue::{Label, Metric},
    exporter,
};

/// A number that only grows.
pub(crate) struct Counter {
    value: AtomicU64,
    exported: exporter::Counter,
}

impl Counter {
    pub(crate) fn new(metric: Metric) -> Counter {
        Counter::labelled(metric, None)
    }

    pub(crate) fn labelled(metric: Metric, label: Label) -> Counter {
        Counter {
            value: AtomicU64::new(0),
            exported: exporter::Counter::new(metric, label),
        }
    }

    pub(crate) fn add(&self, count: u64) {
        self.value.fetch_add(count, Ordering::Relaxed);
        self.exported.add(count);
    }

    pub(crate) fn get(&self) -> u64 {
        self.value.load(Ordering::Relaxed)
    }
}

/// A number that grows and shrinks. Gauges of the same name are added up, so that those of several stores do not replace
/// each other. A gauge that is dropped no longer counts.
pub(crate) struct Gauge {
    value: AtomicUsize,
    exported: exporter::Gauge,
}

impl Gauge {
    pub(crate) fn new(metric: Metric) -> Gauge {
        Gauge::labelled(metric, None)
    }

    pub(crate) fn labelled(metric: Metric, label: Label) -> Gauge {
        Gauge {
            value: AtomicUsize::new(0),
            exported: exporter::Gauge::new(metric, label),
        }
    }

    pub(crate) fn set(&self, value: usize) {
        let before = self.value.swap(value, Ordering::Relaxed);
        self.exported.add(value as f64 - before as f64);
    }

    pub(crate) fn get(&self) -> usize {
        self.value.load(Ordering::Relaxed)
    }

    pub(crate) fn add(&self, count: usize) {
        self.value.fetch_add(count, Ordering::Relaxed);
        self.exported.add(count as f64);
    }

    pub(crate) fn subtract(&self, count: usize) {
        self.value.fetch_sub(count, Ordering::Relaxed);
        self.exported.add(-(count as f64));
    }
}

impl Drop for Gauge {
    fn drop(&mut self) {
        self.set(0);
    }
}

/// The distribution of values. Only the crate `metrics` gets them.
pub(crate) struct Histogram(exporter::Histogram);

impl Histogram {
    pub(crate) fn new(metric: Metric) -> Histogram {
        Histogram::labelled(metric, None)
    }

    pub(crate) fn labelled(metric: Metric, label: Label) -> Histogram {
        Histogram(exporter::Histogram::new(metric, label))
    }

    pub(crate) fn record(&self, value: usize) {
        self.0.record(|| value as f64);
    }

    pub(crate) fn record_time(&self, time: Duration) {
        self.0.record(|| time.as_secs_f64());
    }
}

//! The crate `metrics` gets the same numbers, under the names of the guide.

use std::{
    cell::RefCell,
    collections::BTreeMap,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
        mpsc,
    },
    time::Duration,
};

use metrics::{
    Counter, Gauge, Histogram, HistogramFn, KeyName, Metadata, Recorder, SharedString, Unit,
};
use metrics_util::{
    MetricKind,
    debugging::{DebugValue, DebuggingRecorder, Snapshotter},
};
use session_postgres::{
    AsyncStore, Error, MemoryStore, Method, Offload, OffloadBuilder, PostgresStore, Store,
};

use super::{kill_connection, store_on_one};
use crate::support::{
    blocking::Blocking,
    database::{Schema, lock},
    wait_until,
};

const GUIDE: &str = include_str!("../../../src/guide/observing.md");

/// The metrics of the stores and facades that are made by a test.
struct Recorded {
    snapshotter: Snapshotter,
    values: RefCell<BTreeMap<String, f64>>,
}

impl Recorded {
    /// Returns the metrics of what `make` makes, and what it returns.
    fn of<T>(make: impl FnOnce() -> T) -> (Recorded, T) {
        let recorder = DebuggingRecorder::new();
        let recorded = Recorded {
            snapshotter: recorder.snapshotter(),
            values: RefCell::default(),
        };
        let made = metrics::with_local_recorder(&recorder, make);
        (recorded, made)
    }

    /// Returns the value of each metric, or the number of values of a histogram. The name is followed by the value of
    /// the label.
    fn values(&self) -> BTreeMap<String, f64> {
        let mut values = self.values.borrow_mut();
        // A snapshot sets all values to zero.
        for (key, _, _, value) in self.snapshotter.snapshot().into_vec() {
            let (_, key) = key.into_parts();
            let labels = key.labels().map(|label| format!(" {}", label.value()));
            let name = format!("{}{}", key.name(), labels.collect::<String>());
            *values.entry(name).or_default() += match value {
                DebugValue::Counter(count) => count as f64,
                DebugValue::Gauge(value) => value.into_inner(),
                DebugValue::Histogram(values) => values.len() as f64,
            };
        }
        values.clone()
    }
}

/// Returns the metrics of a store, and of a facade for it.
fn recorded(schema: &Schema) -> (Recorded, Blocking<Offload<PostgresStore>>) {
    schema.create_table(false);
    let (recorded, store) = Recorded::of(|| {
        let builder = schema.builder();
        let config = schema.config();
        let store = builder.connect_with(config, session_postgres::postgres::NoTls);
        Blocking::new(|| OffloadBuilder::default().build(store.unwrap()))
    });
    (recorded, store)
}

#[test]
fn the_guide_lists_every_metric_with_its_kind_unit_and_labels() {
    let schema = Schema::new();
    let (recorded, _store) = recorded(&schema);
    let mut rows = BTreeMap::new();
    for (key, unit, description, _) in recorded.snapshotter.snapshot().into_vec() {
        let (kind, key) = key.into_parts();
        let kind = match kind {
            MetricKind::Counter => "counter",
            MetricKind::Gauge => "gauge",
            MetricKind::Histogram => "histogram",
        };
        let labels: Vec<_> = key
            .labels()
            .map(|label| format!("`{}`", label.key()))
            .collect();
        let unit = unit.map_or("", |unit| unit.as_str());
        let description = description.unwrap();
        let description = description.trim_end_matches('.');
        let row = format!("| {kind} | {unit} | {} | {description} |", labels.concat());
        rows.insert(format!("| `{}` ", key.name()), row);
    }
    let expected: Vec<_> = rows
        .iter()
        .map(|(name, row)| format!("{name}{row}"))
        .collect();
    let mut listed: Vec<_> = GUIDE
        .lines()
        .filter(|line| {
            ["| `session_store_", "| `session_offload_"]
                .iter()
                .any(|name| line.starts_with(name))
        })
        .map(str::to_owned)
        .collect();
    listed.sort();
    assert_eq!(
        listed,
        expected,
        "the guide must have:\n{}",
        expected.join("\n")
    );
}

#[test]
fn metrics_have_the_numbers_of_stats() {
    let schema = Schema::new();
    let (recorded, store) = recorded(&schema);
    let key = store.generate(Some("lobster"), None).unwrap();
    store.get(&key).unwrap();
    store.get(&key).unwrap();
    // A facade executes this alone.
    store.set_owner(&key, Some("user 42")).unwrap();
    store.clear(&key).unwrap();
    assert!(matches!(store.get(&key), Err(Error::NotFound)));

    let values = recorded.values();
    for side in ["store", "offload"] {
        let value = |name: &str| values[&format!("session_{side}_{name}")];
        assert_eq!(value("calls_total get"), 3.0);
        assert_eq!(value("calls_total clear"), 1.0);
        assert_eq!(value("calls_total set"), 0.0);
        assert_eq!(value("errors_total not_found"), 1.0);
        assert_eq!(value("errors_total timed_out"), 0.0);
    }
    assert_eq!(values["session_offload_call_seconds get"], 3.0);
    assert_eq!(values["session_store_call_seconds get"], 3.0);
    assert_eq!(values["session_offload_queue_seconds"], 6.0);
    assert_eq!(values["session_offload_batch_size"], 6.0);
    assert!(values["session_store_statement_seconds"] >= 5.0);
    assert_eq!(values["session_offload_waiting_calls"], 0.0);
    assert_eq!(values["session_store_new_connections_total"], 1.0);
    wait_until("the connection is idle", || {
        let values = recorded.values();
        let state = |state| values[&format!("session_store_connections {state}")];
        (state("in_use"), state("idle"), state("opening")) == (0.0, 1.0, 0.0)
    });
}

#[tokio::test]
async fn waiting_and_running_calls_are_gauges() {
    let (recorded, store) = Recorded::of(|| {
        let facade = OffloadBuilder::default().max_concurrency(1);
        facade.build(MemoryStore::new())
    });
    let open = || {
        let values = recorded.values();
        ["waiting", "running"].map(|state| values[&format!("session_offload_{state}_calls")])
    };
    let (release, released) = mpsc::channel::<()>();
    let held = {
        let store = store.clone();
        tokio::spawn(async move { store.run(move |_| released.recv()).await })
    };
    while store.stats().running == 0 {
        tokio::task::yield_now().await;
    }
    assert_eq!(open(), [0.0, 1.0]);
    let waiting = {
        let store = store.clone();
        tokio::spawn(async move { store.generate(None, None).await })
    };
    while store.stats().waiting == 0 {
        tokio::task::yield_now().await;
    }
    assert_eq!(open(), [1.0, 1.0]);
    drop(release);
    held.await.unwrap().unwrap().unwrap_err();
    waiting.await.unwrap().unwrap();
    while open() != [0.0, 0.0] {
        tokio::task::yield_now().await;
    }
}

#[test]
fn the_time_in_the_queue_is_recorded_once_also_if_the_call_is_late() {
    let schema = Schema::new();
    schema.create_table(false);
    let (recorded, facade) = Recorded::of(|| {
        let builder = OffloadBuilder::default().timeout(Duration::from_millis(300));
        let builder = builder.max_concurrency(1);
        builder.build(schema.builder().from_pool(schema.pool(2)))
    });
    let store = Blocking::new(|| facade.clone());
    let key = store.generate(None, None).unwrap();
    let times = || recorded.values()["session_offload_queue_seconds"];
    assert_eq!(times(), 1.0);
    let mut holder = schema.client();
    let held = lock(&mut holder, &key);
    // It is taken twice, because the session is locked.
    assert!(matches!(
        store.touch(&key, None),
        Err(Error::TimedOut { .. })
    ));
    drop(held);
    assert_eq!(times(), 2.0);
    wait_until("the worker is free", || facade.stats().running == 0);
    // The only worker is busy.
    let runtime = tokio::runtime::Runtime::new().unwrap();
    // If the test fails, this is dropped before the runtime, which waits for the worker.
    let (release, released) = mpsc::channel::<()>();
    let holder = facade.clone();
    let held = runtime.spawn(async move { holder.run(move |_| released.recv()).await });
    wait_until("the worker is busy", || facade.stats().running == 1);
    assert!(matches!(store.find(&key), Err(Error::TimedOut { .. })));
    assert_eq!(times(), 4.0);
    drop(release);
    let _ = runtime.block_on(held);
}

/// A recorder that panics when workers take calls, as long as this is true.
struct Faulty(Arc<AtomicBool>);

impl Recorder for Faulty {
    fn describe_counter(&self, _: KeyName, _: Option<Unit>, _: SharedString) {}

    fn describe_gauge(&self, _: KeyName, _: Option<Unit>, _: SharedString) {}

    fn describe_histogram(&self, _: KeyName, _: Option<Unit>, _: SharedString) {}

    fn register_counter(&self, _: &metrics::Key, _: &Metadata<'_>) -> Counter {
        Counter::noop()
    }

    fn register_gauge(&self, _: &metrics::Key, _: &Metadata<'_>) -> Gauge {
        Gauge::noop()
    }

    fn register_histogram(&self, key: &metrics::Key, _: &Metadata<'_>) -> Histogram {
        match key.name() {
            "session_offload_batch_size" => Histogram::from_arc(Arc::new(Faulty(self.0.clone()))),
            _ => Histogram::noop(),
        }
    }
}

impl HistogramFn for Faulty {
    fn record(&self, _: f64) {
        assert!(!self.0.load(Ordering::Relaxed), "the recorder panics");
    }
}

#[test]
fn a_recorder_that_panics_in_a_worker_ends_only_that_batch() {
    let is_faulty = Arc::new(AtomicBool::new(true));
    let facade = metrics::with_local_recorder(&Faulty(is_faulty.clone()), || {
        let builder = OffloadBuilder::default().max_concurrency(1);
        builder.build(MemoryStore::new())
    });
    let store = Blocking::new(|| facade.clone());
    for _ in 0..3 {
        assert!(matches!(store.generate(None, None), Err(Error::Cancelled)));
    }
    is_faulty.store(false, Ordering::Relaxed);
    store.generate(None, None).unwrap();
    wait_until("the worker is idle", || facade.stats().running == 0);
    assert_eq!(facade.stats().waiting, 0);
}

#[test]
fn faults_are_in_the_metrics() {
    let schema = Schema::new();
    let (recorded, store) = Recorded::of(|| store_on_one(&schema, schema.builder()));
    let key = store.generate(None, None).unwrap();
    kill_connection(&schema, &store);
    store.touch(&key, None).ok();
    let values = recorded.values();
    assert_eq!(values["session_store_broken_connections_total"], 1.0);
    assert_eq!(values["session_store_new_connections_total"], 2.0);
}

#[test]
fn gauges_of_several_stores_are_added_up_until_they_are_dropped() {
    let schema = Schema::new();
    schema.store();
    let (recorded, mut stores) = Recorded::of(|| {
        let one = || schema.builder().from_client(schema.client());
        vec![one(), one()]
    });
    let idle = || recorded.values()["session_store_connections idle"];
    for store in &stores {
        store
            .find(&session_postgres::Key::generate().unwrap())
            .unwrap();
    }
    assert_eq!(idle(), 2.0);
    stores.pop();
    assert_eq!(idle(), 1.0);
    stores.pop();
    assert_eq!(idle(), 0.0);
}

#[test]
fn keys_and_values_add_no_series() {
    let schema = Schema::new();
    let (recorded, store) = Recorded::of(|| schema.store());
    let before = recorded.values().len();
    for value in 0..20 {
        let key = store
            .generate(Some(&format!("lobster {value}")), None)
            .unwrap();
        store
            .set_owner(&key, Some(&format!("user {value}")))
            .unwrap();
        store.owned(&format!("user {value}")).unwrap();
    }
    let after = recorded.values();
    assert_eq!(after.len(), before);
    assert!(
        after
            .keys()
            .all(|name| !name.contains("lobster") && !name.contains("user"))
    );
}

#[tokio::test]
async fn a_recorder_that_is_installed_later_gets_nothing() {
    let store = Offload::new(MemoryStore::new());
    let (recorded, ()) = Recorded::of(|| ());
    store.generate(None, None).await.unwrap();
    assert_eq!(store.stats().calls.of(Method::Generate), 1);
    assert!(recorded.values().is_empty());
}

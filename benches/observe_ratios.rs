//! The overhead of the features `metrics` and `tracing`: ratios of a `get` with a recorder or subscriber to one without.
//!
//! `cargo bench --features metrics,tracing --bench observe_ratios`.

#![allow(missing_docs, clippy::unwrap_used)]

mod support;

use std::{
    cell::Cell,
    io,
    time::{Duration, Instant},
};

use metrics_exporter_prometheus::PrometheusBuilder;
use session_postgres::{AsyncStore, Offload, PostgresStore, Store};
use support::{
    Bench,
    ratio::{Ratio, is_test, time},
};
use tokio::runtime::{Builder, Runtime};
use tracing::{Dispatch, dispatcher};

struct Ratios {
    bench: Bench,
    turns: usize,
    /// The number of calls in a turn.
    calls: usize,
    done: Cell<usize>,
}

fn main() {
    let (turns, calls) = if is_test() { (1, 1) } else { (201, 200) };
    let ratios = Ratios {
        bench: Bench::new(),
        turns,
        calls,
        done: Cell::new(0),
    };
    Ratio::print_head();
    ratios.store();
    ratios.facade();
}

/// Formats all spans and events, and writes them nowhere.
fn subscriber() -> Dispatch {
    Dispatch::new(
        tracing_subscriber::fmt()
            .with_max_level(tracing::Level::DEBUG)
            .with_writer(io::sink)
            .finish(),
    )
}

/// Returns what `make` makes. Its metrics are recorded.
fn recorded<T>(make: impl FnOnce() -> T) -> T {
    metrics::with_local_recorder(&PrometheusBuilder::new().build_recorder(), make)
}

impl Ratios {
    fn store(&self) {
        // All use one connection, because speed depends on the processor of its server process.
        let pool = self.bench.pool();
        let plain = PostgresStore::from_pool(pool.clone());
        let measured = recorded(|| PostgresStore::from_pool(pool));
        let subscriber = subscriber();
        let get =
            |store: &PostgresStore| time(self.calls, || drop(store.get(self.next_key()).unwrap()));
        let traced = |store| dispatcher::with_default(&subscriber, || get(store));
        self.print("Store::get", "metrics", || get(&measured), || get(&plain));
        self.print("Store::get", "tracing", || traced(&plain), || get(&plain));
        self.print("Store::get", "both", || traced(&measured), || get(&plain));
    }

    fn facade(&self) {
        let subscriber = subscriber();
        let runtime = |subscriber: Option<Dispatch>| {
            let mut builder = Builder::new_current_thread();
            builder.enable_time();
            if let Some(subscriber) = subscriber {
                // The guard stays on its thread until the thread ends.
                builder.on_thread_start(move || {
                    std::mem::forget(dispatcher::set_default(&subscriber));
                });
            }
            builder.build().unwrap()
        };
        let (plain, traced) = (runtime(None), runtime(Some(subscriber.clone())));
        let pool = self.bench.pool();
        let store = Offload::new(PostgresStore::from_pool(pool.clone()));
        let measured = recorded(|| Offload::new(PostgresStore::from_pool(pool)));
        let get = |store: &Offload<PostgresStore>, runtime: &Runtime| {
            let calls = async {
                for _ in 0..self.calls {
                    store.get(self.next_key()).await.unwrap();
                }
            };
            let begun = Instant::now();
            runtime.block_on(calls);
            begun.elapsed()
        };
        let get_traced = |store| dispatcher::with_default(&subscriber, || get(store, &traced));
        let without = || get(&store, &plain);
        self.print(
            "Offload::get",
            "metrics",
            || get(&measured, &plain),
            without,
        );
        self.print("Offload::get", "tracing", || get_traced(&store), without);
        self.print("Offload::get", "both", || get_traced(&measured), without);
    }

    fn next_key(&self) -> &session_postgres::Key {
        let next = self.done.get();
        self.done.set(next + 1);
        &self.bench.keys[next * 7919 % self.bench.keys.len()]
    }

    fn print(
        &self,
        call: &str,
        what: &str,
        with: impl FnMut() -> Duration,
        without: impl FnMut() -> Duration,
    ) {
        let ratio = Ratio::of_times(self.turns, with, without);
        ratio.print(&format!("time of {call} with {what} / without"), "<= 1.05");
    }
}

//! Times of a call from async code, layer by layer: plain statements, the blocking store, the store in
//! `spawn_blocking`, and the facade, with batches and without. Without a database, only the cost of the facade
//! remains.
//!
//! `cargo bench --bench offload`. For ratios, run `cargo bench --bench offload_ratios`.

#![allow(missing_docs, clippy::unwrap_used)]

mod support;

use std::{sync::Arc, time::Duration};

use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use session_postgres::{Offload, Store};
use tokio::{runtime::Runtime, task::spawn_blocking};

use support::{
    Bench, CONNECTIONS, key_of,
    load::{self, Length, Load},
    verb::{VERBS, Verb},
};

const CALLERS: [usize; 6] = [1, 4, 16, 64, 256, 1024];

/// The name of a layer, and a function that runs a number of callers on it.
type Layer<'a> = (&'a str, Box<dyn Fn(usize, Length) -> Load + 'a>);

fn layers(c: &mut Criterion) {
    let bench = Bench::new();
    let runtime = Runtime::new().unwrap();
    measure(c, "hop", &[bare_spawn_blocking(&runtime)]);
    for verb in VERBS {
        let mut layers = vec![plain_statement(&bench, verb)];
        layers.extend(layers_of(&bench, &runtime, verb, || {
            bench.store(CONNECTIONS)
        }));
        measure(c, &format!("{verb:?}"), &layers);
    }
    for verb in VERBS {
        let layers = layers_of(&bench, &runtime, verb, || bench.in_memory());
        measure(c, &format!("{verb:?} in memory"), &layers);
    }
}

fn measure(c: &mut Criterion, group: &str, layers: &[Layer<'_>]) {
    let mut group = c.benchmark_group(group);
    group.throughput(Throughput::Elements(1));
    for (name, layer) in layers {
        for callers in CALLERS {
            group.bench_function(BenchmarkId::new(*name, callers), |b| {
                b.iter_custom(|calls| layer(callers, Length::Calls(calls)).elapsed);
            });
        }
    }
}

fn bare_spawn_blocking(runtime: &Runtime) -> Layer<'_> {
    let run = move |callers, length| {
        load::tasks(runtime, callers, length, |_| {
            |_| async { spawn_blocking(|| ()).await.unwrap() }
        })
    };
    ("spawn_blocking", Box::new(run))
}

fn plain_statement(bench: &Bench, verb: Verb) -> Layer<'_> {
    let run = move |callers, length| {
        let caller = |caller| bench.plain_caller(verb, caller);
        load::threads(threads(callers), length, caller)
    };
    ("Client", Box::new(run))
}

/// Returns the layers from the blocking store up. Each has its own store.
fn layers_of<'a, S: Store>(
    bench: &'a Bench,
    runtime: &'a Runtime,
    verb: Verb,
    make: impl Fn() -> S,
) -> Vec<Layer<'a>> {
    let store = Arc::new(make());
    let one_by_one = Offload::builder().max_batch(1).build(make());
    let default = Offload::new(make());
    vec![
        in_threads(bench, verb, store.clone()),
        in_spawn_blocking(bench, runtime, verb, store),
        in_facade("Offload, max_batch(1)", bench, runtime, verb, one_by_one),
        in_facade("Offload", bench, runtime, verb, default),
    ]
}

fn in_threads<S: Store>(bench: &Bench, verb: Verb, store: Arc<S>) -> Layer<'_> {
    let run = move |callers, length| {
        let caller = |caller| bench.blocking_caller(&*store, verb, caller);
        load::threads(threads(callers), length, caller)
    };
    ("Store", Box::new(run))
}

fn in_spawn_blocking<'a, S: Store>(
    bench: &'a Bench,
    runtime: &'a Runtime,
    verb: Verb,
    store: Arc<S>,
) -> Layer<'a> {
    let run = move |callers, length| {
        load::tasks(runtime, callers, length, |caller| {
            let (store, keys) = (store.clone(), bench.keys.clone());
            let value = bench.value.clone();
            move |call| {
                let (store, value) = (store.clone(), value.clone());
                let key = key_of(&keys, caller, call).clone();
                async move {
                    let call = spawn_blocking(move || verb.call(&*store, &key, &value));
                    call.await.unwrap();
                }
            }
        })
    };
    ("Store in spawn_blocking", Box::new(run))
}

fn in_facade<'a, S: Store>(
    name: &'a str,
    bench: &'a Bench,
    runtime: &'a Runtime,
    verb: Verb,
    store: Offload<S>,
) -> Layer<'a> {
    let run = move |callers, length| {
        let caller = |caller| bench.async_caller(&store, verb, caller);
        load::tasks(runtime, callers, length, caller)
    };
    (name, Box::new(run))
}

/// Returns the number of threads for blocking callers: no more than connections.
fn threads(callers: usize) -> usize {
    callers.min(CONNECTIONS as usize)
}

criterion_group! {
    name = benches;
    config = Criterion::default()
        .warm_up_time(Duration::from_millis(200))
        .measurement_time(Duration::from_millis(600))
        .sample_size(10);
    targets = layers
}
criterion_main!(benches);

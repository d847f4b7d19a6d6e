//! What it costs to call from async code, layer by layer: a statement by hand, the blocking store, a
//! bare thread hop, the store behind one, and the facade, one call a trip and by default. With a
//! database, and without, where all that is left is the cost of the facade itself.
//!
//! `cargo bench --bench offload` gives times of a call, `cargo bench --bench offload_ratios` holds them
//! against each other. What blocks has as many threads as there are connections at most; async callers
//! are tasks.

#![allow(missing_docs, clippy::unwrap_used)]

mod support;

use std::{sync::Arc, time::Duration};

use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use session_postgres::{Offload, Store};
use tokio::{runtime::Runtime, task::spawn_blocking};

use support::{
    Bench,
    load::{self, Length},
    verbs::{VERBS, Verb, place},
};

const CALLERS: [usize; 6] = [1, 4, 16, 64, 256, 1024];

/// How many connections everybody has.
const CONNECTIONS: u32 = 8;

/// One layer, as the length of so many calls by so many callers.
type Layer<'a> = (&'a str, Box<dyn Fn(usize, Length) -> load::Load + 'a>);

/// The layers from the blocking store up.
fn layers<'a, S: Store>(
    bench: &'a Bench,
    runtime: &'a Runtime,
    verb: Verb,
    make: impl Fn() -> S,
) -> Vec<Layer<'a>> {
    let blocking = Arc::new(make());
    let hopping = blocking.clone();
    let one_by_one = Offload::builder().max_batch(1).build(make());
    let default = Offload::new(make());
    vec![
        (
            "Store",
            Box::new(move |callers, length| {
                load::threads(callers.min(CONNECTIONS as usize), length, |caller| {
                    let blocking = &blocking;
                    move |call| {
                        let key = &bench.keys[place(bench.keys.len(), caller, call)];
                        verb.call(blocking, key, &bench.value);
                    }
                })
            }),
        ),
        (
            "Store in spawn_blocking",
            Box::new(move |callers, length| {
                load::tasks(runtime, callers, length, |caller| {
                    let (store, keys) = (hopping.clone(), bench.keys.clone());
                    let value = bench.value.clone();
                    move |call| {
                        let (store, value) = (store.clone(), value.clone());
                        let key = keys[place(keys.len(), caller, call)].clone();
                        async move {
                            let hop = spawn_blocking(move || verb.call(&store, &key, &value));
                            hop.await.unwrap();
                        }
                    }
                })
            }),
        ),
        (
            "Offload, max_batch(1)",
            Box::new(move |callers, length| {
                let caller = |caller| bench.async_caller(&one_by_one, verb, caller);
                load::tasks(runtime, callers, length, caller)
            }),
        ),
        (
            "Offload",
            Box::new(move |callers, length| {
                let caller = |caller| bench.async_caller(&default, verb, caller);
                load::tasks(runtime, callers, length, caller)
            }),
        ),
    ]
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

fn offload(c: &mut Criterion) {
    let bench = Bench::new();
    let runtime = Runtime::new().unwrap();
    let hop: Layer<'_> = (
        "spawn_blocking",
        Box::new(|callers, length| {
            load::tasks(&runtime, callers, length, |_| {
                |_| async { spawn_blocking(|| ()).await.unwrap() }
            })
        }),
    );
    measure(c, "hop", &[hop]);

    // Clears come last, for they take the sessions away; those that find none are clears too.
    for verb in VERBS {
        let by_hand: Layer<'_> = (
            "Client",
            Box::new(|callers, length| {
                load::threads(callers.min(CONNECTIONS as usize), length, |caller| {
                    let mut run = verb.by_hand(bench.client());
                    let bench = &bench;
                    move |call| {
                        let key = &bench.keys[place(bench.keys.len(), caller, call)];
                        run(key, &bench.value);
                    }
                })
            }),
        );
        let mut with_database = vec![by_hand];
        with_database.extend(layers(&bench, &runtime, verb, || bench.store(CONNECTIONS)));
        measure(c, &format!("{verb:?}"), &with_database);
    }
    for verb in VERBS {
        let in_memory = layers(&bench, &runtime, verb, || bench.in_memory());
        measure(c, &format!("{verb:?} in memory"), &in_memory);
    }
}

criterion_group! {
    name = benches;
    config = Criterion::default()
        .warm_up_time(Duration::from_millis(200))
        .measurement_time(Duration::from_millis(600))
        .sample_size(10);
    targets = offload
}
criterion_main!(benches);

//! Times of the blocking store: single calls, next to a plain statement, and batches.
//!
//! `cargo bench --bench store`. For ratios, run `cargo bench --bench store_ratios`.

#![allow(missing_docs, clippy::unwrap_used)]

mod support;

use std::time::Duration;

use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use session_postgres::Store;

use support::{Bench, verb::Verb};

fn single_calls(c: &mut Criterion) {
    let bench = Bench::new();
    let (single, pooled) = (bench.single(), bench.pooled());
    let mut group = c.benchmark_group("one");
    let mut client = bench.client();
    let prepared = Verb::Get.prepare(&mut client);
    let mut next = bench.batches(1);
    group.bench_function("get/raw query_opt", |b| {
        b.iter(|| Verb::Get.execute(&mut client, &prepared, next()[0], &bench.value));
    });
    group.bench_function("get/client", |b| b.iter(|| single.get(next()[0]).unwrap()));
    group.bench_function("get/pool", |b| b.iter(|| pooled.get(next()[0]).unwrap()));
    group.bench_function("set/client", |b| {
        b.iter(|| single.set(next()[0], &bench.value, None).unwrap());
    });
    group.bench_function("touch/client", |b| {
        b.iter(|| single.touch(next()[0], None).unwrap());
    });
    group.bench_function("generate and clear/client", |b| {
        b.iter(|| {
            let key = single.generate(Some(&bench.value), None).unwrap();
            single.clear(&key).unwrap();
        });
    });
    group.bench_function("update/client", |b| {
        b.iter(|| {
            let mut edit = |value: Option<&str>| value.map(str::to_owned);
            single.update(next()[0], None, &mut edit).unwrap()
        });
    });
}

fn batches(c: &mut Criterion) {
    let bench = Bench::new();
    let store = bench.single();
    let mut group = c.benchmark_group("many");
    for count in [1, 4, 16, 64, 256, 1024] {
        group.throughput(Throughput::Elements(count as u64));
        let mut next = bench.batches(count);
        group.bench_function(BenchmarkId::new("get_many", count), |b| {
            b.iter(|| store.get_many(&next()));
        });
        group.bench_function(BenchmarkId::new("set_many", count), |b| {
            b.iter(|| store.set_many(&bench.sets(&next())));
        });
    }
}

criterion_group! {
    name = benches;
    config = Criterion::default()
        .warm_up_time(Duration::from_secs(1))
        .measurement_time(Duration::from_secs(3))
        .sample_size(50);
    targets = single_calls, batches
}
criterion_main!(benches);

//! The blocking store beside a statement written by hand, and many calls at once beside single ones.
//!
//! `cargo bench --bench store` gives times; `cargo bench --bench ratios` holds them against each
//! other.

#![allow(missing_docs, clippy::unwrap_used)]

mod support;

use std::time::Duration;

use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use session_postgres::Store;

use support::{Bench, get_by_hand, prepare_get};

fn one(c: &mut Criterion) {
    let bench = Bench::new();
    let (single, pooled) = (bench.single(), bench.pooled());
    let mut group = c.benchmark_group("one");
    let mut client = bench.client();
    let statement = prepare_get(&mut client);
    let mut next = bench.batches(1);
    group.bench_function("get/raw query_opt", |b| {
        b.iter(|| get_by_hand(&mut client, &statement, next()[0]))
    });
    group.bench_function("get/client", |b| b.iter(|| single.get(next()[0]).unwrap()));
    group.bench_function("get/pool", |b| b.iter(|| pooled.get(next()[0]).unwrap()));
    group.bench_function("set/client", |b| {
        b.iter(|| single.set(next()[0], &bench.value, None).unwrap());
    });
    group.bench_function("touch/client", |b| {
        b.iter(|| single.touch(next()[0], None).unwrap())
    });
    group.bench_function("generate and clear/client", |b| {
        b.iter(|| {
            single
                .clear(&single.generate(Some(&bench.value), None).unwrap())
                .unwrap()
        });
    });
    group.bench_function("update/client", |b| {
        b.iter(|| {
            single
                .update(next()[0], None, &mut |value| value.map(str::to_owned))
                .unwrap()
        });
    });
}

fn many(c: &mut Criterion) {
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
    targets = one, many
}
criterion_main!(benches);

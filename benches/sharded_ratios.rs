//! The overhead of a sharded store: ratios of its calls to those of its only server, and of batches for three servers to
//! batches for one.
//!
//! `cargo bench --bench sharded_ratios`.

#![allow(missing_docs, clippy::unwrap_used)]

mod support;

use std::{sync::Arc, time::Duration};

use futures_util::future::join_all;
use session_postgres::{
    AsyncStore, Key, MemoryStore, Offload, PostgresStore, SessionFields, ShardMap, Sharded, Store,
};
use tokio::runtime::Runtime;

use support::{
    Bench, CONNECTIONS, key_of,
    load::{self, Length},
    ratio::{Ratio, is_test, time},
    verb::Verb,
};

/// The verbs that leave the sessions of the benchmark where they are.
const VERBS: [Verb; 3] = [Verb::Get, Verb::Set, Verb::Generate];

const BATCH: usize = 256;

type Blocking = Arc<PostgresStore>;
type Facade = Offload<Blocking>;

struct Ratios {
    runtime: Runtime,
    turns: usize,
    length: Length,
}

fn main() {
    let (turns, millis) = if is_test() { (1, 10) } else { (51, 100) };
    let ratios = Ratios {
        runtime: Runtime::new().unwrap(),
        turns,
        length: Length::Time(Duration::from_millis(millis)),
    };
    Ratio::print_head();
    ratios.in_memory();
    let one = Bench::new();
    ratios.one_server(&one);
    ratios.three_servers(&one);
}

fn map_of_one() -> ShardMap {
    "version=1 a=0-4095".parse().unwrap()
}

fn map_of_three() -> ShardMap {
    "version=1 a=0-1364 b=1365-2729 c=2730-4095"
        .parse()
        .unwrap()
}

/// The same store as the only server, so that both use the same connections.
fn around<S: Store + Clone>(store: &S) -> Sharded<S> {
    let builder = Sharded::builder(map_of_one());
    builder.server("a", store.clone()).build().unwrap()
}

fn three<S: Store + Clone>([a, b, c]: &[S; 3]) -> Sharded<S> {
    let builder = Sharded::builder(map_of_three()).server("a", a.clone());
    let builder = builder.server("b", b.clone()).server("c", c.clone());
    builder.build().unwrap()
}

impl Ratios {
    /// Measures how many microseconds a sharded store adds to a call, without a database.
    fn in_memory(&self) {
        let calls = if is_test() { 1 } else { 10_000 };
        let plain = Arc::new(MemoryStore::new());
        let sharded = around(&plain);
        let keys: Vec<_> = (0..1000)
            .map(|_| plain.generate(Some("value"), None).unwrap())
            .collect();
        let get = |store: &dyn Fn(&Key)| {
            let mut call = 0..;
            time(calls, || store(key_of(&keys, 0, call.next().unwrap())))
        };
        let added = |a: &dyn Fn() -> Duration, b: &dyn Fn() -> Duration, calls: usize| {
            let turn = |_| (a().as_secs_f64() - b().as_secs_f64()) / calls as f64 * 1e6;
            Ratio::from((0..self.turns).map(turn).collect::<Vec<_>>())
        };
        added(
            &|| get(&|key| drop(sharded.get(key).unwrap())),
            &|| get(&|key| drop(plain.get(key).unwrap())),
            calls,
        )
        .print("µs that Sharded adds to Store::get, one server", "");
        added(
            &|| time(calls, || drop(sharded.generate(None, None).unwrap())),
            &|| time(calls, || drop(plain.generate(None, None).unwrap())),
            calls,
        )
        .print("µs that Sharded adds to Store::generate, one server", "");

        let three = three(&[(); 3].map(|()| Arc::new(MemoryStore::new())));
        let of_three = generate(&three, 1000);
        let batches = calls.div_ceil(100);
        let of_one: Vec<_> = keys.iter().take(BATCH).collect();
        let of_three: Vec<_> = of_three.iter().take(BATCH).collect();
        added(
            &|| time(batches, || drop(three.get_many(&of_three))),
            &|| time(batches, || drop(sharded.get_many(&of_one))),
            batches,
        )
        .print("µs that two threads add to Store::get_many of 256", "");
    }

    fn one_server(&self, bench: &Bench) {
        let store: Blocking = Arc::new(bench.store(CONNECTIONS));
        let sharded = around(&store);
        let facade: Facade = Offload::new(store.clone());
        let sharded_facade = self.sharded_facade(&facade);
        for verb in VERBS {
            for callers in [1, 16, 256] {
                let ratio = self.rates(
                    || self.threads(bench, &sharded, verb, callers),
                    || self.threads(bench, &store, verb, callers),
                );
                let name =
                    format!("{verb:?} per second, {callers} threads, Sharded / PostgresStore");
                ratio.print(&name, ">= 0.95");
                let ratio = self.rates(
                    || self.tasks(bench, &sharded_facade, verb, callers),
                    || self.tasks(bench, &facade, verb, callers),
                );
                let name = format!("{verb:?} per second, {callers} tasks, Sharded / Offload");
                ratio.print(&name, ">= 0.95");
            }
        }
    }

    fn sharded_facade(&self, facade: &Facade) -> Sharded<Facade> {
        let builder = Sharded::builder(map_of_one()).server("a", facade.clone());
        self.runtime.block_on(builder.build_async()).unwrap()
    }

    fn rates(&self, a: impl FnMut() -> f64, b: impl FnMut() -> f64) -> Ratio {
        Ratio::of_figures(self.turns, a, b)
    }

    fn threads(&self, bench: &Bench, store: &impl Store, verb: Verb, callers: usize) -> f64 {
        let caller = |caller| bench.blocking_caller(store, verb, caller);
        load::threads(callers, self.length, caller).rate()
    }

    fn tasks<A: AsyncStore + Clone>(
        &self,
        bench: &Bench,
        store: &A,
        verb: Verb,
        callers: usize,
    ) -> f64 {
        let caller = |caller| bench.async_caller(store, verb, caller);
        load::tasks(&self.runtime, callers, self.length, caller).rate()
    }

    /// All servers and this program share the processors of one machine, so three servers are not faster than one here.
    fn three_servers(&self, one: &Bench) {
        let benches = [(); 3].map(|()| Bench::with_sessions(1));
        let stores = benches
            .each_ref()
            .map(|bench| Arc::new(bench.store(CONNECTIONS)));
        let (store, sharded) = (Arc::new(one.store(CONNECTIONS)), three(&stores));
        let map = sharded.map();
        let keys = generate(&sharded, one.keys.len());
        let names = ["a", "b", "c"];
        let of = |name: &str| -> Vec<Key> {
            let is_there = |key: &&Key| map.server_of(key) == Some(name);
            keys.iter().filter(is_there).cloned().collect()
        };
        let by_server = names.map(of);
        let calls = if is_test() { 1 } else { 50 };
        let times = |a: &mut dyn FnMut(), b: &mut dyn FnMut()| {
            Ratio::of_times(self.turns, || time(calls, &mut *a), || time(calls, &mut *b))
        };

        for size in [3, BATCH] {
            let (mut batches, mut of_one) = (batches(&keys, size), batches(&one.keys, size));
            times(&mut || drop(sharded.get_many(&batches())), &mut || {
                drop(store.get_many(&of_one()));
            })
            .print(
                &format!("time of Store::get_many of {size}, three servers / one"),
                "",
            );
        }
        for size in [1, BATCH / 3] {
            let mut parts = by_server.each_ref().map(|keys| self::batches(keys, size));
            let mut mixed = by_server.each_ref().map(|keys| self::batches(keys, size));
            times(
                &mut || drop(sharded.get_many(&mixed.each_mut().map(|next| next()).concat())),
                &mut || {
                    for (store, next) in stores.iter().zip(&mut parts) {
                        drop(store.get_many(&next()));
                    }
                },
            )
            .print(
                &format!("time of Store::get_many of 3 × {size}, on threads / one after the other"),
                "",
            );
        }

        let facade: Facade = Offload::new(store.clone());
        let builder = Sharded::builder(map);
        let [a, b, c] = stores.each_ref().map(|store| Offload::new(store.clone()));
        let builder = builder.server("a", a).server("b", b).server("c", c);
        let sharded = self.runtime.block_on(builder.build_async()).unwrap();
        let (mut three, mut one) = (batches(&keys, BATCH), batches(&one.keys, BATCH));
        let get_all = |store: &Facade, keys: Vec<&Key>| self.get_all(store, &keys);
        let get_all_sharded = |keys: Vec<&Key>| self.get_all(&sharded, &keys);
        times(&mut || get_all_sharded(three()), &mut || {
            get_all(&facade, one());
        })
        .print(
            "time of 256 AsyncStore::get at the same time, three servers / one",
            "",
        );
    }

    fn get_all(&self, store: &impl AsyncStore, keys: &[&Key]) {
        let gets = keys.iter().map(|key| store.get(key));
        for session in self.runtime.block_on(join_all(gets)) {
            session.unwrap();
        }
    }
}

fn generate(store: &impl Store, count: usize) -> Vec<Key> {
    let value = "x".repeat(200);
    let keys = store.generate_many(&vec![SessionFields::new(Some(&value), None); count]);
    keys.into_iter().map(Result::unwrap).collect()
}

/// Returns batches of these keys, in an order that does not repeat soon.
fn batches<'a>(keys: &'a [Key], size: usize) -> impl FnMut() -> Vec<&'a Key> + use<'a> {
    let mut calls = 0..;
    move || {
        let next = |_| key_of(keys, 0, calls.next().unwrap());
        (0..size).map(next).collect()
    }
}

//! Ratios of costs, each measured side by side in one run: the two take turns, so that a machine
//! whose speed drifts slows both. `cargo bench --bench ratios`

#![allow(missing_docs, clippy::unwrap_used)]

mod support;

use session_postgres::{PostgresStore, Store, postgres::Client};

use support::{
    Bench, get_by_hand, prepare_get, prepare_plain_sets,
    ratio::{Ratio, time, trying},
    set_plainly,
};

fn main() {
    let (turns, calls) = if trying() { (1, 1) } else { (101, 200) };
    let bench = Bench::new();
    let (single, pooled) = (bench.single(), bench.pooled());
    let get = |store: &PostgresStore, count: usize| {
        let mut next = bench.batches(1);
        time(count, || drop(store.get(next()[0]).unwrap()))
    };
    let set = |count: usize| {
        let mut next = bench.batches(1);
        time(count, || single.set(next()[0], &bench.value, None).unwrap())
    };

    Ratio::print_head();
    for (name, store, bar) in [("client", &single, "<= 1.15"), ("pool", &pooled, "")] {
        let statement = store.with_client(prepare_get).unwrap();
        // On the store's own connection: another's server process may have a better or worse place.
        let by_hand = || {
            let mut next = bench.batches(1);
            let turn =
                |client: &mut Client| time(calls, || get_by_hand(client, &statement, next()[0]));
            store.with_client(turn).unwrap()
        };
        Ratio::of(turns, || get(store, calls), by_hand)
            .print(&format!("time of get on a {name} / query_opt"), bar);
    }
    // What it costs that such a connection gives up a server that is silent.
    // New ones each time, for much depends on which processor a connection's process is on.
    let get_on_new = |store: PostgresStore| {
        get(&store, calls);
        get(&store, calls)
    };
    let by_store = || get_on_new(bench.store(1));
    Ratio::of(turns, by_store, || get_on_new(bench.pooled()))
        .print("time of get, connected by the store / by the driver", "");
    for (count, bar) in [(16, ""), (64, ""), (256, ">= 8"), (1024, "")] {
        let mut next = bench.batches(count);
        let many = || time(1, || drop(single.get_many(&next())));
        Ratio::of(turns, || get(&single, count), many)
            .print(&format!("sessions a second, get_many({count}) / get"), bar);
    }
    for (count, bar) in [(16, ""), (64, ""), (256, ">= 15"), (1024, "")] {
        let mut next = bench.batches(count);
        let many = || time(1, || drop(single.set_many(&bench.sets(&next()))));
        Ratio::of(turns.min(31), || set(count), many)
            .print(&format!("sessions a second, set_many({count}) / set"), bar);
    }
    // What it takes that two batches are safe from each other, and no expired session comes back.
    let plain = single.with_client(prepare_plain_sets).unwrap();
    let mut next = bench.batches(256);
    let many = || time(1, || drop(single.set_many(&bench.sets(&next()))));
    let mut others = bench.batches(256);
    let plainly = || {
        let keys = others();
        let sets: Vec<_> = keys.iter().map(|key| (*key, &*bench.value)).collect();
        let set = |client: &mut Client| set_plainly(client, &plain, &sets);
        time(1, || single.with_client(set).unwrap())
    };
    Ratio::of(turns, many, plainly).print("time of set_many(256) / one plain UPDATE", "");
}

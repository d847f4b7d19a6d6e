//! Ratios of `set` and `touch` to a plain `UPDATE`: times, and bytes of the write-ahead log (WAL).
//!
//! `cargo bench --bench write_ratios`. A commit waits for the disk, which takes most of the time of a single call. So
//! the times are also measured without that wait.

#![allow(missing_docs, clippy::unwrap_used)]

mod support;

use std::time::Duration;

use session_postgres::{
    Key, PostgresStore, Store,
    postgres::{
        Client,
        types::{ToSql, Type},
    },
};

use support::{
    Bench,
    ratio::{Ratio, is_test, time},
};

/// The number of sessions in a batch.
const BATCH: usize = 256;

/// A verb, and the statement to which it is compared.
struct Comparison {
    name: &'static str,
    /// The number of keys of a call.
    keys: usize,
    goal: &'static str,
    call: fn(&PostgresStore, &Bench, &[&Key]),
    sql: &'static str,
    types: &'static [Type],
}

const COMPARISONS: [Comparison; 5] = [
    Comparison {
        name: "set / UPDATE",
        keys: 1,
        goal: "<= 1.05",
        call: |store, bench, keys| store.set(keys[0], &bench.value, None).unwrap(),
        sql: "UPDATE session SET expire_date = now() + interval '7 days', session_data = $2 \
              WHERE session_key = $1 AND expire_date > now()",
        types: &[Type::BPCHAR, Type::TEXT],
    },
    Comparison {
        name: "touch / UPDATE",
        keys: 1,
        goal: "<= 1.05",
        call: |store, _, keys| store.touch(keys[0], None).unwrap(),
        sql: "UPDATE session SET expire_date = now() + interval '7 days' \
              WHERE session_key = $1 AND expire_date > now()",
        types: &[Type::BPCHAR],
    },
    Comparison {
        name: "set_many(256) / UPDATE FROM unnest",
        keys: BATCH,
        goal: "<= 1.10",
        call: |store, bench, keys| assert_ok(store.set_many(&bench.sets(keys))),
        sql: "UPDATE session SET expire_date = now() + interval '7 days', session_data = value \
              FROM unnest($1, $2) AS sets (key, value) \
              WHERE session_key = key AND expire_date > now()",
        types: &[Type::BPCHAR_ARRAY, Type::TEXT_ARRAY],
    },
    Comparison {
        name: "touch_many(256) / UPDATE FROM unnest",
        keys: BATCH,
        goal: "<= 1.10",
        call: touch_many,
        sql: "UPDATE session SET expire_date = now() + interval '7 days' \
              FROM unnest($1) AS touches (key) \
              WHERE session_key = key AND expire_date > now()",
        types: &[Type::BPCHAR_ARRAY],
    },
    // It gives all sessions the same period.
    Comparison {
        name: "touch_many(256) / UPDATE WHERE key = ANY",
        keys: BATCH,
        goal: "",
        call: touch_many,
        sql: "UPDATE session SET expire_date = now() + interval '7 days' \
              WHERE session_key = ANY ($1) AND expire_date > now()",
        types: &[Type::BPCHAR_ARRAY],
    },
];

fn touch_many(store: &PostgresStore, _: &Bench, keys: &[&Key]) {
    let calls: Vec<_> = keys.iter().map(|key| (*key, None)).collect();
    assert_ok(store.touch_many(&calls));
}

fn assert_ok(results: Vec<Result<(), session_postgres::Error>>) {
    results.into_iter().for_each(Result::unwrap);
}

fn main() {
    let bench = Bench::new();
    let store = bench.single();
    Ratio::print_head();
    for comparison in &COMPARISONS {
        let print = |ratio: Ratio, what: &str| {
            ratio.print(&format!("{what}, {}", comparison.name), comparison.goal);
        };
        print(comparison.times(&bench, &store), "time");
        run(&store, "SET synchronous_commit = off");
        print(comparison.times(&bench, &store), "time without the disk");
        print(comparison.wal_bytes(&bench, &store), "WAL");
        run(&store, "SET synchronous_commit = on");
    }
}

fn run(store: &PostgresStore, sql: &str) {
    let run = |client: &mut Client| client.batch_execute(sql).unwrap();
    store.with_client(run).unwrap();
}

impl Comparison {
    fn times(&self, bench: &Bench, store: &PostgresStore) -> Ratio {
        let (turns, keys) = if is_test() { (1, 1) } else { (301, BATCH) };
        let (verb, plain) = self.turns(bench, store, keys / self.keys);
        Ratio::of_times(turns, verb, plain)
    }

    fn wal_bytes(&self, bench: &Bench, store: &PostgresStore) -> Ratio {
        let (turns, keys) = if is_test() { (1, 1) } else { (31, BATCH) };
        // The first change of a page after a checkpoint logs the whole page.
        run(store, "CHECKPOINT");
        run(store, "UPDATE session SET session_data = session_data");
        let mut observer = bench.client();
        let mut observer_of_plain = bench.client();
        let (mut verb, mut plain) = self.turns(bench, store, keys / self.keys);
        Ratio::of_figures(
            turns,
            || bytes_of(&mut observer, || _ = verb()),
            || bytes_of(&mut observer_of_plain, || _ = plain()),
        )
    }

    /// Returns functions that execute this many calls and return how long they took: by the store, and by the plain
    /// statement.
    fn turns<'a>(
        &'a self,
        bench: &'a Bench,
        store: &'a PostgresStore,
        calls: usize,
    ) -> (impl FnMut() -> Duration + 'a, impl FnMut() -> Duration + 'a) {
        let calls = calls.max(1);
        let (mut next, mut next_plain) = (bench.batches(self.keys), bench.batches(self.keys));
        // Each statement has other sessions than the one before it, which has just cleaned up their pages.
        for _ in 0..7 {
            next_plain();
        }
        let verb = move || time(calls, || (self.call)(store, bench, &next()));
        let prepare = |client: &mut Client| client.prepare_typed(self.sql, self.types).unwrap();
        let prepared = store.with_client(prepare).unwrap();
        // On the store's own connection, because speed depends on the processor that its server process runs on.
        let plain = move || {
            let turn = |client: &mut Client| {
                time(calls, || {
                    let keys: Vec<_> = next_plain().iter().map(|key| key.as_str()).collect();
                    let values = vec![&*bench.value; keys.len()];
                    let arrays: [&(dyn ToSql + Sync); 2] = [&keys, &values];
                    let fields: [&(dyn ToSql + Sync); 2] = [&keys[0], &values[0]];
                    let params = if self.keys == 1 { fields } else { arrays };
                    let changed = client.execute(&prepared, &params[..self.types.len()]);
                    assert_eq!(changed.unwrap(), keys.len() as u64);
                })
            };
            store.with_client(turn).unwrap()
        };
        (verb, plain)
    }
}

/// Returns how many bytes the write-ahead log has grown.
fn bytes_of(observer: &mut Client, work: impl FnOnce()) -> f64 {
    let mut end = || -> f64 {
        let sql = "SELECT (pg_current_wal_insert_lsn() - '0/0')::float8";
        observer.query_one(sql, &[]).unwrap().get(0)
    };
    let begun = end();
    work();
    end() - begun
}

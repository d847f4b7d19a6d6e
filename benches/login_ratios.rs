//! Ratios of the blocking store for logins: of tables with hashed keys, owners and times of creation to tables
//! without them, and of `renew` to `get`.
//!
//! `cargo bench --bench login_ratios`.

#![allow(missing_docs, clippy::unwrap_used)]

mod support;

use std::{cell::Cell, sync::Arc, time::Duration};

use r2d2_postgres::PostgresConnectionManager;
use session_postgres::{
    Key, PostgresStore, PostgresStoreBuilder, SessionFields, Store,
    postgres::{Client, NoTls},
    r2d2::Pool,
};

use support::{
    Bench, key_of,
    ratio::{Ratio, is_test, time},
};

/// The table of OCaml's session-postgresql, in a schema of its own.
const OCAML: &str = concat!(
    "CREATE SCHEMA ocaml; SET search_path = ocaml;",
    include_str!("../sql/ocaml.sql"),
    "RESET search_path;",
);

struct Ratios {
    bench: Bench,
    /// Its connection is used by all stores, because speed depends on the processor that a connection's server
    /// process runs on.
    pool: Pool<PostgresConnectionManager<NoTls>>,
    turns: usize,
    /// The number of calls in a turn.
    calls: usize,
}

/// A table with as many sessions as [`Bench`] has, and a store on it.
struct Table {
    name: &'static str,
    store: PostgresStore,
    keys: Arc<Vec<Key>>,
    /// The number of calls so far.
    calls: Cell<usize>,
}

fn main() {
    let (turns, calls) = if is_test() { (1, 1) } else { (201, 200) };
    let bench = Bench::new();
    let ratios = Ratios {
        pool: bench.pool(),
        bench,
        turns,
        calls,
    };
    let plain = Table {
        name: "session",
        store: ratios.store(PostgresStore::builder()),
        keys: ratios.bench.keys.clone(),
        calls: Cell::new(0),
    };
    Ratio::print_head();
    ratios.hashed_keys(&plain);
    ratios.ocaml(&plain);
    ratios.renew(&plain);
    ratios.owners(&plain);
}

impl Ratios {
    fn hashed_keys(&self, plain: &Table) {
        let hashed = self.table("hashed", PostgresStore::builder().hash_keys(true), false);
        self.compare_get(&hashed, plain)
            .print("time of get with hash_keys / without", "<= 1.02");
    }

    /// Compares the recommended table, which has more columns, with that of OCaml's session-postgresql.
    fn ocaml(&self, plain: &Table) {
        let store = self.store(PostgresStore::builder().schema("ocaml").unwrap());
        self.execute(&store, OCAML);
        let ocaml = self.fill("ocaml.session", store, false);
        self.compare_get(plain, &ocaml).print(
            "time of get on the recommended table / on OCaml's table",
            "",
        );
    }

    /// Compares a `renew` that writes nothing, because no tenth of the period has passed.
    fn renew(&self, table: &Table) {
        let renew = || self.time(table, |store, key| drop(store.renew(key, None).unwrap()));
        Ratio::of_times(self.turns, renew, || self.get(table))
            .print("time of renew that is not due / get", "");
    }

    fn owners(&self, plain: &Table) {
        let owned = self.table("owned", PostgresStore::builder(), true);
        Ratio::of_times(self.turns.min(51), || self.set(&owned), || self.set(plain))
            .print("time of set on sessions with an owner / without", "1");
        for table in [&owned, plain] {
            self.print_heap_only(table);
        }
    }

    /// Prints the share of updates that have not changed an index.
    fn print_heap_only(&self, table: &Table) {
        let share = |client: &mut Client| {
            // Not in PostgreSQL 14.
            client
                .execute("SELECT pg_stat_force_next_flush()", &[])
                .ok()?;
            let share = "SELECT n_tup_hot_upd * 100 / n_tup_upd FROM pg_stat_user_tables \
                 WHERE relid = $1::text::regclass";
            let row = client.query_one(share, &[&table.name]).ok()?;
            row.get::<_, Option<i64>>(0)
        };
        if let Some(share) = table.store.with_client(share).unwrap() {
            println!("heap-only updates in the table {}: {share} %", table.name);
        }
    }

    fn compare_get(&self, a: &Table, b: &Table) -> Ratio {
        Ratio::of_times(self.turns, || self.get(a), || self.get(b))
    }

    fn get(&self, table: &Table) -> Duration {
        self.time(table, |store, key| drop(store.get(key).unwrap()))
    }

    fn set(&self, table: &Table) -> Duration {
        let value = &self.bench.value;
        self.time(table, |store, key| store.set(key, value, None).unwrap())
    }

    fn time(&self, table: &Table, call: impl Fn(&PostgresStore, &Key)) -> Duration {
        time(self.calls, || {
            let number = table.calls.replace(table.calls.get() + 1);
            call(&table.store, key_of(&table.keys, 0, number));
        })
    }

    fn table(&self, name: &'static str, options: PostgresStoreBuilder, has_owners: bool) -> Table {
        let store = self.store(options.table(name).unwrap());
        store.create_table().unwrap();
        self.fill(name, store, has_owners)
    }

    fn store(&self, options: PostgresStoreBuilder) -> PostgresStore {
        options.from_pool(self.pool.clone())
    }

    /// Creates the sessions. If they have owners, each owner has three.
    fn fill(&self, name: &'static str, store: PostgresStore, has_owners: bool) -> Table {
        let count = self.bench.keys.len();
        let owners: Vec<_> = (0..count)
            .map(|session| has_owners.then(|| format!("user {}", session / 3)))
            .collect();
        let sessions: Vec<_> = owners
            .iter()
            .map(|owner| SessionFields {
                value: Some(&*self.bench.value),
                owner: owner.as_deref(),
                ..SessionFields::default()
            })
            .collect();
        let keys = store.generate_many(&sessions);
        let keys = Arc::new(keys.into_iter().map(Result::unwrap).collect());
        self.execute(&store, &format!("VACUUM ANALYZE {name}"));
        Table {
            name,
            store,
            keys,
            calls: Cell::new(0),
        }
    }

    fn execute(&self, store: &PostgresStore, sql: &str) {
        let execute = |client: &mut Client| client.batch_execute(sql);
        store.with_client(execute).unwrap().unwrap();
    }
}

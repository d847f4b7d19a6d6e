//! `Pruner`: a thread that prunes at intervals.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    thread,
    time::{Duration, Instant},
};

use session_postgres::{
    Offload, PostgresStore, Pruner, Store,
    postgres::{Client, NoTls},
    r2d2::{ManageConnection, Pool},
};
use throwaway_postgres::Server;
use tokio::runtime::Runtime;

use super::{fill, often, slow_down};
use crate::support::{
    PATIENCE,
    database::{Manager, Schema},
    patiently, wait_until,
};

#[test]
fn a_pruner_removes_expired_rows_in_every_pass() {
    let schema = Schema::new();
    let store = Arc::new(schema.store());
    let living = store.generate(Some("lobster"), None).unwrap();
    let pruner = often().limit(150).start(store.clone());
    for round in 1..=3 {
        fill(&schema, 1_000);
        wait_until("all rows to be removed", || schema.count("true") == 1);
        wait_until("the rows to be counted", || {
            pruner.stats().removed == round * 1_000
        });
    }
    let stats = pruner.stats();
    assert!(stats.passes >= 3 * 6, "{stats:?}");
    assert_eq!((stats.yields, stats.failures), (0, 0), "{stats:?}");
    assert!(stats.last_error.is_none());
    assert!(store.get(&living).is_ok());
    assert!(format!("{pruner:?}").contains("removed: 3000"));
}

/// Takes the advisory lock of a pruner on the table. Its key is documented.
const TAKE_LOCK: &str = "SELECT pg_advisory_lock(1936028531, 'session'::regclass::oid::int4)";

/// The number of connections that hold this lock.
fn lock_holders(client: &mut Client) -> i64 {
    let sql = "SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' \
               AND classid = 1936028531 AND objid = 'session'::regclass AND objsubid = 2";
    client.query_one(sql, &[]).unwrap().get(0)
}

#[test]
fn a_pruner_yields_while_another_one_prunes_the_table() {
    let schema = Schema::new();
    let store = schema.store();
    let mut other = schema.client();
    other.execute(TAKE_LOCK, &[]).unwrap();
    fill(&schema, 1_000);
    let pruner = often().start(Arc::new(store));
    wait_until("some passes", || pruner.stats().yields >= 3);
    let stats = pruner.stats();
    assert_eq!((stats.removed, stats.passes, stats.failures), (0, 0, 0));
    assert_eq!(schema.count("true"), 1_000);

    // Another table has another lock.
    let elsewhere = Schema::new();
    let other_store = elsewhere.store();
    fill(&elsewhere, 10);
    let other_pruner = often().start(Arc::new(other_store));
    wait_until("the rows to be removed", || {
        other_pruner.stats().removed == 10
    });
    // `prune` yields, too.
    assert_eq!(schema.store().prune(100).unwrap(), 0);
    assert_eq!(schema.count("true"), 1_000);

    drop(other);
    wait_until("all rows to be removed", || pruner.stats().removed == 1_000);
    assert_eq!(schema.count("true"), 0);
}

#[test]
fn only_one_of_two_pruners_works_at_a_time() {
    let schema = Schema::new();
    let stores = [(); 2].map(|()| Arc::new(schema.store()));
    slow_down(&schema);
    fill(&schema, 6_000);
    let mut client = schema.client();
    let pruners = stores.each_ref().map(|store| often().start(store.clone()));
    let sum = || pruners.iter().map(|p| p.stats().removed).sum::<u64>();
    let mut busy = 0;
    wait_until("all rows to be removed", || {
        let holders = lock_holders(&mut client);
        assert!(holders <= 1, "{holders} pruners at a time");
        busy += holders;
        sum() == 6_000
    });
    assert!(busy > 0);
    assert_eq!(schema.count("true"), 0);
    let yields = pruners.iter().map(|p| p.stats().yields).sum::<u64>();
    assert!(yields > 0);
    drop(pruners);
    wait_until("the lock to be released", || lock_holders(&mut client) == 0);
}

#[test]
fn a_pruner_survives_killed_connections_and_restarts() {
    let server = Server::start().unwrap();
    let schema = Schema::on(server.url());
    let store = schema
        .builder()
        .timeout(Duration::from_millis(300))
        .from_pool(schema.pool(2));
    patiently(|| store.create_table());
    let pruner = often().start(Arc::new(store));
    let removes_rows = || {
        let before = pruner.stats().removed;
        fill(&schema, 100);
        wait_until("all rows to be removed", || {
            pruner.stats().removed == before + 100
        });
    };
    removes_rows();
    schema.run(
        "SELECT pg_terminate_backend(pid, 10000) FROM pg_stat_activity \
         WHERE pid <> pg_backend_pid() AND backend_type = 'client backend'",
    );
    removes_rows();
    server.restart().unwrap();
    removes_rows();
    server.stop().unwrap();
    wait_until("a failed pass", || pruner.stats().last_error.is_some());
    server.start_again().unwrap();
    removes_rows();
    wait_until("a pass without an error", || {
        pruner.stats().last_error.is_none()
    });
    assert!(pruner.stats().failures > 0);
}

/// A connection manager that panics once in the pruner's thread if `panics` is set.
struct Panicking {
    inner: Manager,
    panics: Arc<AtomicBool>,
}

impl ManageConnection for Panicking {
    type Connection = Client;
    type Error = <Manager as ManageConnection>::Error;

    fn connect(&self) -> Result<Client, Self::Error> {
        self.inner.connect()
    }

    fn is_valid(&self, client: &mut Client) -> Result<(), Self::Error> {
        self.inner.is_valid(client)
    }

    fn has_broken(&self, client: &mut Client) -> bool {
        let is_pruner = thread::current().name() == Some("session-pruner");
        if is_pruner && self.panics.swap(false, Ordering::SeqCst) {
            panic!("no file descriptors");
        }
        self.inner.has_broken(client)
    }
}

#[test]
fn a_pruner_survives_a_panic_and_reports_it() {
    let schema = Schema::new();
    let panics = Arc::new(AtomicBool::new(true));
    let manager = Panicking {
        inner: Manager::new(schema.config(), NoTls),
        panics: panics.clone(),
    };
    let pool = Pool::builder()
        .max_size(3)
        .test_on_check_out(false)
        .build(manager)
        .unwrap();
    let store = schema.builder().from_pool(pool);
    store.create_table().unwrap();
    let pruner = Pruner::builder()
        .interval(Duration::from_secs(1))
        .start(Arc::new(store));
    wait_until("a panic", || pruner.stats().failures == 1);
    let error = pruner.stats().last_error.unwrap();
    assert!(error.to_string().contains("no file descriptors"), "{error}");
    fill(&schema, 10);
    wait_until("the rows to be removed", || pruner.stats().removed == 10);
}

#[test]
fn a_dropped_pruner_stops_soon_in_any_state() {
    let schema = Schema::new();
    schema.store();
    // Without being dropped, none of these pruners would stop within `PATIENCE`.
    let builder = schema.builder().timeout(PATIENCE * 10);
    let store = Arc::new(builder.from_pool(schema.pool(2)));
    let ends = |what: &str, pruner: Pruner, store: &Arc<PostgresStore>| {
        let begun = Instant::now();
        drop(pruner);
        assert!(begun.elapsed() < PATIENCE, "{what}");
        wait_until(&format!("{what} to stop"), || Arc::strong_count(store) == 1);
    };

    let pruner = Pruner::builder()
        .interval(Duration::MAX)
        .start(store.clone());
    wait_until("the first pass", || pruner.stats().passes == 1);
    ends("a pruner that waits for its next pass", pruner, &store);

    // Its thread may not even have begun.
    ends(
        "a pruner that was just started",
        Pruner::start(store.clone()),
        &store,
    );

    slow_down(&schema);
    fill(&schema, 10_000);
    let pruner = Pruner::start(store.clone());
    // The pruner counts them at the end of the pass.
    wait_until("some rows to be removed", || schema.count("true") < 10_000);
    ends("a pruner in the middle of a pass", pruner, &store);
    assert!(schema.count("true") > 0);

    let mut holder = schema.client();
    let mut transaction = holder.transaction().unwrap();
    transaction.batch_execute("LOCK TABLE session").unwrap();
    let pruner = Pruner::start(store.clone());
    wait_until("its statement to wait", || schema.active() == 1);
    ends("a pruner whose statement waits for a lock", pruner, &store);
    wait_until("the server to end the statement", || schema.active() == 0);
    transaction.rollback().unwrap();

    // The store still works.
    assert!(store.prune(10).unwrap() == 10);
}

#[test]
fn a_pruner_with_the_last_handle_may_be_dropped_in_an_async_task() {
    let schema = Schema::new();
    let mut config = schema.config();
    config.application_name(schema.name());
    let store = schema.builder().connect_with(config, NoTls).unwrap();
    store.create_table().unwrap();
    fill(&schema, 1_000);
    let store = Offload::new(store);
    Runtime::new().unwrap().block_on(async {
        let on_worker = tokio::spawn(async move {
            let pruner = store.start_pruner(often());
            drop(store);
            while pruner.stats().removed < 1_000 {
                tokio::time::sleep(Duration::from_millis(1)).await;
            }
        });
        on_worker.await.unwrap();
    });
    let sql = "SELECT count(*) FROM pg_stat_activity WHERE application_name = $1";
    wait_until("all connections to be closed", || {
        let mut client = schema.client();
        let row = client.query_one(sql, &[&schema.name()]).unwrap();
        row.get::<_, i64>(0) == 0
    });
}

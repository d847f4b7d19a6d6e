//! The threads that deadlines need, counted in a process with no other tests.

use std::{
    fs, thread,
    time::{Duration, Instant},
};

use session_postgres::{Error, Store, postgres::NoTls, r2d2::Pool};

use super::SHORT;
use crate::support::{
    PATIENCE, child,
    database::{Manager, Schema},
    tcp_proxy::TcpProxy,
    wait_until,
};

/// Returns the number of threads of this process.
fn threads() -> usize {
    fs::read_dir("/proc/self/task").map_or(0, Iterator::count)
}

/// Returns whether the store's thread runs.
fn has_store_thread() -> bool {
    let tasks = fs::read_dir("/proc/self/task").unwrap();
    tasks.flatten().any(|task| {
        let name = fs::read_to_string(task.path().join("comm"));
        name.is_ok_and(|name| "postgres-cancel".starts_with(name.trim_end()))
    })
}

#[test]
fn the_thread_of_a_store_ends_when_the_store_is_dropped() {
    const NAME: &str = "deadlines::threads::the_thread_of_a_store_ends_when_the_store_is_dropped";
    if !child::is_for(NAME) {
        child::run(NAME);
        return;
    }
    if threads() == 0 {
        eprintln!("skipped: this system does not list its threads");
        return;
    }
    let schema = Schema::new();
    // The builder and its other stores do not share the thread.
    let builder = schema.builder();
    let _other = builder.clone().from_pool(schema.pool(1));
    let store = builder.clone().from_pool(schema.pool(1));
    store.create_table().unwrap();
    let key = store.generate(Some("lobster"), None).unwrap();
    wait_until("the thread runs", has_store_thread);
    assert_eq!(store.get(&key).unwrap().value, "lobster");
    drop(store);
    wait_until("the thread has ended", || !has_store_thread());
}

#[test]
fn at_most_eight_cancel_requests_are_sent_at_the_same_time() {
    const NAME: &str =
        "deadlines::threads::at_most_eight_cancel_requests_are_sent_at_the_same_time";
    const CALLS: usize = 24;
    /// The threads that send requests, the thread that starts them, and some threads of the C library.
    const ADDITIONAL_THREADS: usize = 8 + 1 + 3;
    if !child::is_for(NAME) {
        child::run(NAME);
        return;
    }
    let schema = Schema::new();
    let proxy = TcpProxy::to(&schema.config());
    let mut config = proxy.config(&schema.config());
    config.connect_timeout(PATIENCE);
    let pool = Pool::builder()
        .max_size(CALLS as u32)
        .test_on_check_out(false);
    let pool = pool.build(Manager::new(config, NoTls)).unwrap();
    let store = schema.builder().timeout(SHORT).from_pool(pool);
    let patient = schema.store();
    let keys: Vec<_> = (0..CALLS)
        .map(|_| patient.generate(Some("lobster"), None).unwrap())
        .collect();
    wait_until("all connections are open", || proxy.open() == CALLS);
    let mut holder = schema.client();
    let mut locked = holder.transaction().unwrap();
    locked
        .batch_execute("SELECT FROM session FOR UPDATE")
        .unwrap();
    let accepts_none = proxy.accept_none();
    let before = threads();
    let mut most = 0;
    thread::scope(|scope| {
        let calls: Vec<_> = keys
            .iter()
            .map(|key| {
                let store = &store;
                scope.spawn(move || store.set(key, "crab", None))
            })
            .collect();
        let begun = Instant::now();
        wait_until("5 seconds have passed", || {
            most = most.max(threads());
            begun.elapsed() > Duration::from_secs(5)
        });
        locked.rollback().unwrap();
        for call in calls {
            let result = call.join().unwrap();
            let is_known = matches!(result, Ok(()) | Err(Error::TimedOut { .. }));
            assert!(is_known, "{result:?}");
        }
    });
    drop(accepts_none);
    assert!(
        most <= before + CALLS + ADDITIONAL_THREADS,
        "{before}, then {most}"
    );
}

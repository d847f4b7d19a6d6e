//! The last handle of a facade can be dropped where a `postgres::Client` must not be dropped.

use session_postgres::{AsyncStore, Offload, PostgresStore, postgres::NoTls};
use tokio::runtime::Builder;

use crate::support::{child, database::Schema, wait_until};

const CHILD: &str = "offload::last_handle::in_a_child";

/// The test needs its own process: a `postgres::Client` that is dropped on an async task aborts the process.
#[test]
fn the_last_handle_can_be_dropped_anywhere() {
    let text = child::run(CHILD);
    assert!(text.contains("all dropped"), "{text}");
}

#[test]
fn in_a_child() {
    if !child::is_for(CHILD) {
        return;
    }
    let schema = Schema::new();
    let connect = || {
        let mut config = schema.config();
        config.application_name(schema.name());
        let pooled = schema
            .builder()
            .connect_with(config.clone(), NoTls)
            .unwrap();
        pooled.create_table().unwrap();
        let single = PostgresStore::from_client(config.connect(NoTls).unwrap());
        [Offload::new(pooled), Offload::new(single)]
    };
    let workers = || {
        Builder::new_multi_thread()
            .worker_threads(1)
            .enable_time()
            .build()
            .unwrap()
    };
    let one_thread = || Builder::new_current_thread().enable_time().build().unwrap();

    for store in connect() {
        // On a worker thread of tokio.
        let used = async move { store.generate(None, None).await.map(|_| store) };
        let runtime = workers();
        runtime.block_on(async { tokio::spawn(async { drop(used.await) }).await.unwrap() });
    }
    for store in connect() {
        // In `block_on`.
        workers().block_on(async move { drop(store) });
    }
    for store in connect() {
        // On a runtime of one thread.
        one_thread().block_on(async move { drop(store) });
    }
    for store in connect() {
        // With a call that runs and then holds the last handle.
        let runtime = workers();
        runtime.block_on(async move {
            tokio::spawn(async move { store.generate(None, None).await }).abort();
        });
    }
    for store in connect() {
        // Outside of a runtime.
        drop(store);
    }
    wait_until("all connections are closed", || {
        let sql = "SELECT count(*) FROM pg_stat_activity WHERE application_name = $1";
        schema
            .client()
            .query_one(sql, &[&schema.name()])
            .unwrap()
            .get::<_, i64>(0)
            == 0
    });
    eprintln!("all dropped");
}

//! Cancel requests that are late, fail or panic.

use std::{
    sync::{
        Arc, Condvar, Mutex,
        atomic::{AtomicBool, Ordering},
    },
    thread,
    time::{Duration, Instant},
};

use session_postgres::{
    Error, Key, Offload, PostgresStore, Store,
    postgres::{
        Client, NoTls, Socket,
        error::SqlState,
        tls::{MakeTlsConnect, NoTlsError, NoTlsStream},
    },
};
use tokio::runtime::Builder;

use super::{SHORT, wait_for_server};
use crate::support::{
    PATIENCE,
    database::{Schema, lock, pid},
    patiently, wait_until,
};

/// Blocks the connection for a cancel request until the test allows it.
#[derive(Clone, Default)]
struct HeldTls(Arc<Gate>);

#[derive(Default)]
struct Gate {
    has_arrived: AtomicBool,
    is_open: Mutex<bool>,
    opened: Condvar,
}

impl HeldTls {
    fn release(&self) {
        *self.0.is_open.lock().unwrap() = true;
        self.0.opened.notify_all();
    }
}

impl MakeTlsConnect<Socket> for HeldTls {
    type Stream = NoTlsStream;
    type TlsConnect = NoTls;
    type Error = NoTlsError;

    fn make_tls_connect(&mut self, _: &str) -> Result<NoTls, NoTlsError> {
        self.0.has_arrived.store(true, Ordering::SeqCst);
        let is_open = self.0.is_open.lock().unwrap();
        drop(self.0.opened.wait_while(is_open, |is_open| !*is_open));
        Ok(NoTls)
    }
}

/// Calls `set`, which waits for a lock until its time limit. Then the lock is released while the cancel
/// request cannot connect, so that the call succeeds. Returns how long the call took.
fn set_after_its_time_limit(
    schema: &Schema,
    store: &PostgresStore,
    key: &Key,
    held: &HeldTls,
) -> Duration {
    let mut holder = schema.client();
    let locked = lock(&mut holder, key);
    thread::scope(|scope| {
        let call = scope.spawn(|| {
            let begun = Instant::now();
            (store.set(key, "crab", None), begun.elapsed())
        });
        wait_until("the cancel request connects", || {
            held.0.has_arrived.load(Ordering::SeqCst)
        });
        locked.rollback().unwrap();
        let (result, took) = call.join().unwrap();
        result.unwrap();
        took
    })
}

#[test]
fn a_late_cancel_request_does_not_cancel_the_next_statement() {
    let schema = Schema::new();
    let key = schema.store().generate(Some("lobster"), None).unwrap();
    let held = HeldTls::default();
    let builder = schema.builder().timeout(SHORT).cancel_tls(held.clone());
    let store = builder.from_pool(schema.pool(1));
    let before = pid(&store);
    set_after_its_time_limit(&schema, &store, &key, &held);
    assert_ne!(pid(&store), before);
    thread::scope(|scope| {
        let sleeping = scope.spawn(|| {
            let sleep = format!("SELECT pg_sleep(0.5) AS {}", schema.quoted());
            let sleep = |client: &mut Client| client.batch_execute(&sleep);
            patiently(|| store.with_client(sleep))
        });
        wait_until("the next statement is active", || schema.active() == 1);
        held.release();
        sleeping.join().unwrap().unwrap();
    });
    assert_eq!(patiently(|| store.get(&key)).value, "crab");
}

#[test]
fn a_call_does_not_wait_for_a_cancel_request_that_cannot_connect() {
    let schema = Schema::new();
    let key = schema.store().generate(Some("lobster"), None).unwrap();
    // A slow machine may take longer, but not every time.
    wait_until(
        "a call that returns within a second of its time limit",
        || {
            let held = HeldTls::default();
            let builder = schema.builder().timeout(SHORT).cancel_tls(held.clone());
            let store = builder.from_pool(schema.pool(1));
            let took = set_after_its_time_limit(&schema, &store, &key, &held);
            held.release();
            took < SHORT + Duration::from_secs(1)
        },
    );
}

/// Panics in the first connection for a cancel request.
#[derive(Clone, Default)]
struct PanicOnceTls(Arc<AtomicBool>);

impl MakeTlsConnect<Socket> for PanicOnceTls {
    type Stream = NoTlsStream;
    type TlsConnect = NoTls;
    type Error = NoTlsError;

    fn make_tls_connect(&mut self, _: &str) -> Result<NoTls, NoTlsError> {
        assert!(self.0.swap(true, Ordering::SeqCst), "on purpose");
        Ok(NoTls)
    }
}

#[test]
fn a_cancel_request_that_panics_is_sent_again() {
    let schema = Schema::new();
    let key = schema.store().generate(Some("lobster"), None).unwrap();
    let builder = schema.builder().timeout(SHORT);
    let store = builder
        .cancel_tls(PanicOnceTls::default())
        .from_pool(schema.pool(1));
    let mut holder = schema.client();
    let _locked = lock(&mut holder, &key);
    let late = store.set(&key, "crab", None);
    assert!(matches!(late, Err(Error::TimedOut { .. })), "{late:?}");
    wait_for_server(&schema);
}

#[test]
fn a_transaction_that_a_cancel_request_leaves_open_is_rolled_back() {
    let schema = Schema::new();
    let patient = schema.builder().timeout(PATIENCE * 10);
    let store = patient.from_pool(schema.pool(1));
    store.create_table().unwrap();
    let store = Offload::builder().timeout(SHORT).build(store);
    let runtime = Builder::new_current_thread().enable_time().build().unwrap();
    // A cancelled COMMIT also leaves its transaction open.
    let late = runtime.block_on(store.run(|store| {
        store.with_client(|client| client.batch_execute("BEGIN; SELECT pg_sleep(600)"))
    }));
    match late {
        Ok(Ok(Err(e))) => assert_eq!(e.code(), Some(&SqlState::QUERY_CANCELED)),
        Err(Error::StillRunning { .. }) => {}
        other => panic!("{other:?}"),
    }
    wait_until("the worker is free", || store.stats().running == 0);
    patiently(|| runtime.block_on(store.run(|store| store.generate(None, None)))?);
}

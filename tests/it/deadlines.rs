//! Operations whose time is up while the server works, or waits for a lock.

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
        tls::{MakeTlsConnect, NoTlsError, NoTlsStream},
    },
};

use tokio::runtime::Builder;

use crate::support::{
    PATIENCE,
    database::{Schema, lock, pid},
    patiently, wait_until,
};

const SHORT: Duration = Duration::from_millis(100);

type Verb = (&'static str, fn(&PostgresStore, &Key) -> Result<(), Error>);

/// All that waits for a row's lock.
const VERBS: [Verb; 7] = [
    ("set", |store, key| store.set(key, "crab", None)),
    ("touch", |store, key| store.touch(key, None)),
    ("clear", |store, key| store.clear(key)),
    ("rotate", |store, key| store.rotate(key).map(drop)),
    ("update", |store, key| {
        let edit = &mut |_: Option<&str>| Some("crab".to_owned());
        store.update(key, None, edit).map(drop)
    }),
    ("set_many", |store, key| {
        let other = Key::generate()?;
        let mut results = store.set_many(&[(&other, "crab", None), (key, "crab", None)]);
        results.pop().unwrap()
    }),
    ("clear_many", |store, key| {
        store.clear_many(&[key]).pop().unwrap()
    }),
];

/// The call has been told before the server is done with what the cancelling has ended.
fn wait_for_server(schema: &Schema) {
    wait_until("the server is done", || schema.active() == 0);
}

#[test]
fn a_call_that_waits_for_a_lock_ends_when_its_time_is_up_and_did_nothing() {
    for legacy in [false, true] {
        let schema = Schema::new();
        schema.create_table(legacy);
        let builder = || schema.builder().timeout(SHORT);
        let pooled = builder().from_pool(schema.pool(1));
        let single = builder().from_client(schema.client());
        let key = patiently(|| pooled.generate(Some("lobster"), None));
        let mut holder = schema.client();
        for store in [pooled, single] {
            let before = pid(&store);
            let locked = lock(&mut holder, &key);
            for (name, verb) in &VERBS {
                let result = verb(&store, &key);
                let timed_out = matches!(result, Err(Error::TimedOut { .. }));
                assert!(timed_out, "{name}: {result:?}");
                // It no longer waits there, though the row is still locked.
                wait_for_server(&schema);
            }
            locked.rollback().unwrap();
            // And the connection is the same, and as good as before.
            assert_eq!(patiently(|| store.get(&key)).value, "lobster");
            assert_eq!(pid(&store), before);
        }
    }
}

#[test]
fn many_calls_have_the_time_of_one() {
    let schema = Schema::new();
    schema.store();
    let store = schema.builder().timeout(SHORT).from_pool(schema.pool(1));
    let key = patiently(|| store.generate(Some("lobster"), None));
    let mut holder = schema.client();
    let locked = lock(&mut holder, &key);
    // Each is a statement of its own, after the one before.
    const CALLS: u32 = 1000;
    const { assert!(SHORT.as_millis() * CALLS as u128 > PATIENCE.as_millis()) };
    let begun = Instant::now();
    for result in store.set_many(&vec![(&key, "crab", None); CALLS as usize]) {
        assert!(matches!(result, Err(Error::TimedOut { .. })), "{result:?}");
    }
    assert!(begun.elapsed() < PATIENCE);
    drop(locked);
    assert_eq!(patiently(|| store.get(&key)).value, "lobster");
}

#[test]
fn a_call_that_finds_a_single_client_busy_times_out() {
    let schema = Schema::new();
    schema.store();
    let store = schema.builder().timeout(SHORT).from_client(schema.client());
    let late = store
        .with_client(|_| store.get(&Key::generate().unwrap()))
        .unwrap();
    assert!(matches!(late, Err(Error::TimedOut { .. })), "{late:?}");
    patiently(|| store.generate(None, None));
}

#[test]
fn a_statement_of_the_users_own_may_take_longer_than_the_timeout() {
    let schema = Schema::new();
    let store = schema.builder().timeout(SHORT).from_pool(schema.pool(1));
    let sleep = |client: &mut Client| client.batch_execute("SELECT pg_sleep(0.5)");
    patiently(|| store.with_client(sleep)).unwrap();
}

/// Connects for a cancelling when a test lets it.
#[derive(Clone, Default)]
struct Held(Arc<Gate>);

#[derive(Default)]
struct Gate {
    is_there: AtomicBool,
    is_open: Mutex<bool>,
    opened: Condvar,
}

impl Held {
    fn let_go(&self) {
        *self.0.is_open.lock().unwrap() = true;
        self.0.opened.notify_all();
    }
}

impl MakeTlsConnect<Socket> for Held {
    type Stream = NoTlsStream;
    type TlsConnect = NoTls;
    type Error = NoTlsError;

    fn make_tls_connect(&mut self, _: &str) -> Result<NoTls, NoTlsError> {
        self.0.is_there.store(true, Ordering::SeqCst);
        let is_open = self.0.is_open.lock().unwrap();
        drop(self.0.opened.wait_while(is_open, |is_open| !*is_open));
        Ok(NoTls)
    }
}

#[test]
fn a_cancelling_that_comes_too_late_hits_nothing_else() {
    let schema = Schema::new();
    let key = schema.store().generate(Some("lobster"), None).unwrap();
    let held = Held::default();
    let builder = schema.builder().timeout(SHORT).cancel_tls(held.clone());
    let store = builder.from_pool(schema.pool(1));
    let mut holder = schema.client();
    let locked = lock(&mut holder, &key);
    thread::scope(|scope| {
        let call = scope.spawn(|| store.set(&key, "crab", None));
        wait_until("the cancelling to be on its way", || {
            held.0.is_there.load(Ordering::SeqCst)
        });
        locked.rollback().unwrap();
        wait_until("the call to be done", || schema.active() == 0);
        // It was, but the connection is not given back before the cancelling has come and gone.
        assert!(!call.is_finished());
        held.let_go();
        call.join().unwrap().unwrap();
    });
    let sleep = |client: &mut Client| client.batch_execute("SELECT pg_sleep(0.5)");
    patiently(|| store.with_client(sleep)).unwrap();
    assert_eq!(patiently(|| store.get(&key)).value, "crab");
}

/// Panics where it is to connect for a cancelling, the first time.
#[derive(Clone, Default)]
struct PanicsOnce(Arc<AtomicBool>);

impl MakeTlsConnect<Socket> for PanicsOnce {
    type Stream = NoTlsStream;
    type TlsConnect = NoTls;
    type Error = NoTlsError;

    fn make_tls_connect(&mut self, _: &str) -> Result<NoTls, NoTlsError> {
        assert!(self.0.swap(true, Ordering::SeqCst), "on purpose");
        Ok(NoTls)
    }
}

#[test]
fn a_cancelling_that_panics_is_tried_again() {
    let schema = Schema::new();
    let key = schema.store().generate(Some("lobster"), None).unwrap();
    let builder = schema.builder().timeout(SHORT);
    let store = builder
        .cancel_tls(PanicsOnce::default())
        .from_pool(schema.pool(1));
    let mut holder = schema.client();
    let _locked = lock(&mut holder, &key);
    let late = store.set(&key, "crab", None);
    assert!(matches!(late, Err(Error::TimedOut { .. })), "{late:?}");
    wait_for_server(&schema);
}

#[test]
fn what_a_cancelling_leaves_open_is_rolled_back() {
    let schema = Schema::new();
    let patient = schema.builder().timeout(PATIENCE * 10);
    let store = patient.from_pool(schema.pool(1));
    store.create_table().unwrap();
    let store = Offload::builder().timeout(SHORT).build(store);
    let runtime = Builder::new_current_thread().enable_time().build().unwrap();
    // As a COMMIT leaves it that was hit.
    let late = runtime.block_on(store.run(|store| {
        store.with_client(|client| client.batch_execute("BEGIN; SELECT pg_sleep(600)"))
    }));
    assert!(matches!(late, Err(Error::TimedOut { .. })), "{late:?}");
    wait_until("the lane to come back", || store.stats().running == 0);
    patiently(|| runtime.block_on(store.run(|store| store.generate(None, None)))?);
}

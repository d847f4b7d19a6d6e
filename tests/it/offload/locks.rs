//! Sessions that other transactions lock, and calls that take long: neither delays other calls.

use std::{
    pin::Pin,
    sync::{Arc, Condvar, Mutex, mpsc},
    time::Duration,
};

use session_postgres::{
    AsyncStore, Error, Key, Offload, OffloadBuilder, PostgresStore, Store, postgres::Client,
};
use tokio::{
    task::{JoinHandle, JoinSet},
    time::timeout,
};

use super::{occupy, runtime};
use crate::support::{
    PATIENCE,
    database::{Schema, lock},
    wait_until,
};

const CALLS: usize = 256;

/// A facade that is not late while a test waits.
fn patient(schema: &Schema) -> OffloadBuilder {
    schema.store();
    OffloadBuilder::default().timeout(PATIENCE * 10)
}

fn patient_store(schema: &Schema) -> PostgresStore {
    let builder = schema.builder().timeout(PATIENCE * 10);
    builder.from_pool(schema.pool(4))
}

fn keys(store: &PostgresStore, count: usize) -> Vec<Key> {
    let keys = store.generate_many(&vec![(Some("lobster"), None); count]);
    keys.into_iter().map(Result::unwrap).collect()
}

type Call =
    fn(Offload<PostgresStore>, Key) -> Pin<Box<dyn Future<Output = Result<(), Error>> + Send>>;

/// Makes the call for all keys, of which the first so many are locked until all others are answered.
fn calls_beside_locks(
    store: &Offload<PostgresStore>,
    call: Call,
    keys: &[Key],
    locked: usize,
    unlock: impl FnOnce(),
) {
    let runtime = runtime();
    let mut calls = JoinSet::new();
    for key in keys {
        calls.spawn_on(call(store.clone(), key.clone()), runtime.handle());
    }
    let mut answered = || {
        let answer = runtime.block_on(async { timeout(PATIENCE, calls.join_next()).await });
        let answer = answer.expect("only calls for locked sessions wait");
        answer.unwrap().unwrap().unwrap();
    };
    for _ in locked..keys.len() {
        answered();
    }
    unlock();
    for _ in 0..locked {
        answered();
    }
}

#[test]
fn sessions_that_are_locked_delay_no_call_for_another() {
    let verbs: [Call; 3] = [
        |store, key| Box::pin(async move { store.set(&key, "crab", None).await }),
        |store, key| Box::pin(async move { store.touch(&key, None).await }),
        |store, key| Box::pin(async move { store.clear(&key).await }),
    ];
    for locked in [1, 16, 64, 128] {
        for (number, verb) in verbs.into_iter().enumerate() {
            let schema = Schema::new();
            let builder = patient(&schema);
            let store = patient_store(&schema);
            let keys = keys(&store, CALLS);
            let mut holder = schema.client();
            let mut transaction = holder.transaction().unwrap();
            let names: Vec<_> = keys[..locked].iter().map(Key::as_str).collect();
            let sql = "SELECT FROM session WHERE session_key = ANY($1::text[]) FOR UPDATE";
            let count = transaction.execute(sql, &[&names]).unwrap();
            assert_eq!(count, locked as u64);
            // With as few workers as leave one for the others, and with some more.
            let builder = match number {
                0 => builder,
                _ => builder.max_concurrency(2),
            };
            let store = builder.build(store);
            calls_beside_locks(&store, verb, &keys, locked, || {
                transaction.rollback().unwrap();
            });
        }
    }
}

#[test]
fn an_insert_that_waits_for_another_delays_none() {
    for locked in [1, 16, 64, 128] {
        let schema = Schema::new();
        let builder = patient(&schema);
        let keys: Vec<_> = (0..CALLS).map(|_| Key::generate().unwrap()).collect();
        let mut holder = schema.client();
        let mut transaction = holder.transaction().unwrap();
        let names: Vec<_> = keys[..locked].iter().map(Key::as_str).collect();
        let sql = "INSERT INTO session (session_key, expire_date, session_data) \
                   SELECT key, now() + '1 day', 'crab' FROM unnest($1::text[]) key";
        transaction.execute(sql, &[&names]).unwrap();
        let store = builder.build(patient_store(&schema));
        let insert: Call =
            |store, key| Box::pin(async move { store.insert(&key, Some("lobster"), None).await });
        calls_beside_locks(&store, insert, &keys, locked, || {
            transaction.rollback().unwrap();
        });
        assert_eq!(schema.count("session_data = 'lobster'"), CALLS as i64);
    }
}

#[test]
fn of_two_calls_for_locked_sessions_each_waits_for_its_own() {
    let schema = Schema::new();
    let builder = patient(&schema);
    let store = patient_store(&schema);
    let keys = keys(&store, 2);
    let store = builder.build(store);
    let mut holders = [schema.client(), schema.client()];
    let runtime = runtime();
    for unlocked_first in [0, 1] {
        let [a, b] = &mut holders;
        let mut locks = vec![lock(a, &keys[0]), lock(b, &keys[1])];
        let mut calls: Vec<_> = keys
            .iter()
            .map(|key| {
                let (store, key) = (store.clone(), key.clone());
                runtime.spawn(async move { store.set(&key, "crab", None).await })
            })
            .collect();
        wait_until("both wait", || schema.active() == 2);
        locks.remove(unlocked_first).rollback().unwrap();
        let first =
            runtime.block_on(async { timeout(PATIENCE, calls.remove(unlocked_first)).await });
        first.expect("its session is free").unwrap().unwrap();
        assert!(!calls[0].is_finished());
        locks.remove(0).rollback().unwrap();
        runtime.block_on(calls.remove(0)).unwrap().unwrap();
    }
}

/// Blocks those that pass until it is opened.
#[derive(Clone, Default)]
struct Gate(Arc<(Mutex<bool>, Condvar)>);

impl Gate {
    fn pass(&self) {
        let is_open = self.0.0.lock().unwrap();
        drop(self.0.1.wait_while(is_open, |is_open| !*is_open).unwrap());
    }

    fn open(&self) {
        *self.0.0.lock().unwrap() = true;
        self.0.1.notify_all();
    }
}

/// Opens it also if a test fails, because the runtime waits for its workers.
impl Drop for Opener {
    fn drop(&mut self) {
        self.0.open();
    }
}

struct Opener(Gate);

#[test]
fn edits_that_take_long_delay_no_other_call() {
    let schema = Schema::new();
    let builder = patient(&schema);
    let store = patient_store(&schema);
    let edited = store.generate(Some("0"), None).unwrap();
    let others = keys(&store, 100);
    let store = builder.build(store);
    let runtime = runtime();
    let gate = Gate::default();
    let opener = Opener(gate.clone());
    let (begun, has_begun) = mpsc::channel();
    let edits: Vec<_> = (0..40)
        .map(|_| {
            let (store, key) = (store.clone(), edited.clone());
            let (gate, begun) = (gate.clone(), begun.clone());
            let edit = move |old: Option<&str>| {
                let _ = begun.send(());
                gate.pass();
                Some((old.unwrap().parse::<u32>().unwrap() + 1).to_string())
            };
            runtime.spawn(async move { store.update(&key, None, edit).await })
        })
        .collect();
    has_begun.recv().unwrap();
    wait_until("the others wait for the first", || schema.active() >= 2);
    let mut calls = JoinSet::new();
    for key in &others {
        let (store, key) = (store.clone(), key.clone());
        calls.spawn_on(async move { store.get(&key).await }, runtime.handle());
    }
    runtime.block_on(async {
        for _ in &others {
            let answer = timeout(PATIENCE, calls.join_next()).await;
            let answer = answer.expect("a call that does not take long is answered");
            assert_eq!(answer.unwrap().unwrap().unwrap().value, "lobster");
        }
    });
    assert!(edits.iter().all(|edit| !edit.is_finished()));
    drop(opener);
    for edit in edits {
        runtime.block_on(edit).unwrap().unwrap();
    }
    let session = runtime.block_on(store.get(&edited)).unwrap();
    assert_eq!(session.value, "40");
}

#[test]
fn a_call_for_a_locked_session_that_no_worker_has_is_timed_out() {
    let schema = Schema::new();
    schema.store();
    let store = patient_store(&schema);
    let key = store.generate(Some("lobster"), None).unwrap();
    let builder = OffloadBuilder::default().max_concurrency(2);
    let store = builder.timeout(Duration::from_millis(500)).build(store);
    let runtime = runtime();
    let mut holder = schema.client();
    let locked = lock(&mut holder, &key);
    // Of two workers only one executes what may take long.
    let (release, released) = mpsc::channel::<()>();
    let busy = store.clone();
    runtime.spawn(async move { busy.run(move |_| released.recv()).await });
    wait_until("the worker is busy", || store.stats().running == 1);
    let late = runtime.block_on(store.set(&key, "crab", None));
    assert!(matches!(late, Err(Error::TimedOut { .. })), "{late:?}");
    locked.rollback().unwrap();
    drop(release);
    wait_until("the workers are done", || {
        let stats = store.stats();
        (stats.running, stats.waiting) == (0, 0)
    });
    assert_eq!(schema.count("session_data = 'lobster'"), 1);
}

/// A trigger because of which writes of sessions take until the table `gate` is empty. They wait for no lock.
fn add_gate(schema: &Schema) {
    schema.run(
        "CREATE TABLE gate (); INSERT INTO gate DEFAULT VALUES;
         CREATE FUNCTION pass() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
           WHILE EXISTS (SELECT FROM gate) LOOP PERFORM pg_sleep(0.01); END LOOP;
           RETURN NEW;
         END $$;
         CREATE TRIGGER pass BEFORE UPDATE ON session FOR EACH ROW EXECUTE FUNCTION pass()",
    );
}

fn open_gate(schema: &Schema) {
    schema.run("DELETE FROM gate");
}

/// Waits until nothing is left of what the facade had the server do.
fn wait_for_server(schema: &Schema) {
    wait_until("the server is done", || schema.active() == 0);
}

#[test]
fn a_call_that_is_timed_out_never_has_an_effect() {
    let schema = Schema::new();
    schema.store();
    let key = schema.store().generate(Some("lobster"), None).unwrap();
    let short = OffloadBuilder::default().timeout(Duration::from_millis(300));
    let own = schema
        .builder()
        .timeout(PATIENCE * 10)
        .connect_with(schema.config(), session_postgres::postgres::NoTls);
    let runtime = runtime();
    let mut holder = schema.client();
    for store in [patient_store(&schema), own.unwrap()] {
        let store = short.clone().build(store);
        for _ in 0..5 {
            let locked = lock(&mut holder, &key);
            let late = runtime.block_on(store.set(&key, "crab", None));
            locked.rollback().unwrap();
            assert!(matches!(late, Err(Error::TimedOut { .. })), "{late:?}");
            wait_for_server(&schema);
            assert_eq!(schema.count("session_data = 'lobster'"), 1);
        }
    }
}

#[test]
fn each_call_of_a_batch_has_its_own_deadline() {
    const TIMEOUT: Duration = Duration::from_secs(4);
    let schema = Schema::new();
    let blocking = schema.store();
    let keys = keys(&blocking, 2);
    let store = OffloadBuilder::default()
        .max_concurrency(1)
        .timeout(TIMEOUT);
    let store = store.build(patient_store(&schema));
    add_gate(&schema);
    let runtime = runtime();
    let release = occupy(&store, &runtime);
    let set = |key: &Key| {
        let (store, key) = (store.clone(), key.clone());
        runtime.spawn(async move { store.set(&key, "crab", None).await })
    };
    let earlier = set(&keys[0]);
    runtime.block_on(async { tokio::time::sleep(TIMEOUT / 2).await });
    let later = set(&keys[1]);
    wait_until("both wait", || store.stats().waiting == 2);
    drop(release);
    // A second after its time it would be StillRunning.
    let late = runtime.block_on(earlier).unwrap();
    assert!(matches!(late, Err(Error::TimedOut { .. })), "{late:?}");
    assert_eq!(store.stats().largest_batch, 2);
    open_gate(&schema);
    runtime.block_on(later).unwrap().unwrap();
    wait_for_server(&schema);
    assert_eq!(blocking.get(&keys[0]).unwrap().value, "lobster");
    assert_eq!(blocking.get(&keys[1]).unwrap().value, "crab");
}

#[test]
fn what_no_caller_waits_for_is_cancelled() {
    let schema = Schema::new();
    let builder = patient(&schema).max_concurrency(1);
    let store = patient_store(&schema);
    let keys = keys(&store, 3);
    let store = builder.build(store);
    let runtime = runtime();
    let mut holder: Client = schema.client();
    let locked = lock(&mut holder, &keys[0]);
    let served = |what: &str, calls: Vec<JoinHandle<()>>, active: i64| {
        wait_until(what, || schema.active() == active);
        for call in calls {
            call.abort();
        }
        // The locks are held still.
        wait_for_server(&schema);
        let found = runtime.block_on(async { timeout(PATIENCE, store.get(&keys[2])).await });
        assert_eq!(found.expect("a worker is free").unwrap().value, "lobster");
    };
    let set = |key: &Key| {
        let (store, key) = (store.clone(), key.clone());
        runtime.spawn(async move { drop(store.set(&key, "crab", None).await) })
    };

    served("the set waits", vec![set(&keys[0])], 1);
    let (busy, sql) = (
        store.clone(),
        format!("SELECT pg_sleep(600) -- {}", schema.quoted()),
    );
    let run = runtime.spawn(async move {
        let sleep =
            move |store: &PostgresStore| store.with_client(|client| client.batch_execute(&sql));
        drop(busy.run(sleep).await);
    });
    served("the closure sleeps", vec![run], 1);
    locked.rollback().unwrap();

    add_gate(&schema);
    let release = occupy(&store, &runtime);
    let both = vec![set(&keys[0]), set(&keys[1])];
    wait_until("both wait", || store.stats().waiting == 2);
    drop(release);
    served("the batch is at the gate", both, 1);
    assert_eq!(store.stats().largest_batch, 2);

    // One that is left is answered.
    let release = occupy(&store, &runtime);
    let (gone, stays) = (set(&keys[0]), store.clone());
    let key = keys[1].clone();
    let stays = runtime.spawn(async move { stays.set(&key, "crab", None).await });
    wait_until("both wait", || store.stats().waiting == 2);
    drop(release);
    wait_until("the batch is at the gate", || schema.active() == 1);
    gone.abort();
    assert!(runtime.block_on(gone).unwrap_err().is_cancelled());
    open_gate(&schema);
    runtime.block_on(stays).unwrap().unwrap();
}

#[test]
fn the_values_of_calls_that_wait_for_locks_count_as_waiting() {
    let schema = Schema::new();
    let builder = patient(&schema).max_concurrency(2).max_waiting_bytes(100);
    let store = patient_store(&schema);
    let keys = keys(&store, 2);
    let mut holder = schema.client();
    let locked = lock(&mut holder, &keys[0]);
    let store = builder.build(store);
    let runtime = runtime();
    let set = |key: &Key| {
        let (store, key) = (store.clone(), key.clone());
        runtime.spawn(async move { store.set(&key, &"x".repeat(60), None).await })
    };
    // Each is taken twice: the second time by the only worker for calls that may take long.
    let first = set(&keys[0]);
    wait_until("it waits on the server", || store.stats().calls == 2);
    let second = set(&keys[0]);
    wait_until("it waits in the queue", || {
        let stats = store.stats();
        (stats.calls, stats.waiting) == (3, 1)
    });
    let turned_away = runtime.block_on(set(&keys[1])).unwrap();
    assert!(
        matches!(turned_away, Err(Error::Overloaded { .. })),
        "{turned_away:?}"
    );
    locked.rollback().unwrap();
    for call in [first, second] {
        runtime.block_on(call).unwrap().unwrap();
    }
    runtime.block_on(set(&keys[1])).unwrap().unwrap();
}

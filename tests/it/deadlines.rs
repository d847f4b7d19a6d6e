//! Operations whose time is up while the server works, or waits for a lock.

use std::{
    fs,
    sync::{
        Arc, Condvar, Mutex,
        atomic::{AtomicBool, AtomicUsize, Ordering},
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
    r2d2::Pool,
};

use tokio::runtime::Builder;

use crate::{
    connect::through,
    support::{
        PATIENCE, child,
        database::{Manager, Schema, lock, pid},
        line::Line,
        patiently, wait_until,
    },
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

/// The call has been told before the server is done with what the cancel request has ended.
fn wait_for_server(schema: &Schema) {
    wait_until("the server is done", || schema.active() == 0);
}

#[test]
fn a_call_that_waits_for_a_lock_ends_when_its_time_is_up_and_did_nothing() {
    for legacy in [false, true] {
        let schema = Schema::new();
        schema.create_table(legacy);
        let line = Line::to(&schema.config());
        let builder = || schema.builder().timeout(SHORT).max_connections(1);
        let own = through(&line, &schema);
        // A cancel request of the driver's may arrive late. Then the pool's connection is replaced.
        let stores = [
            (builder().from_pool(schema.pool(1)), true),
            (builder().from_client(schema.client()), false),
            (builder().connect(own).unwrap(), false),
        ];
        let key = patiently(|| stores[0].0.generate(Some("lobster"), None));
        let mut holder = schema.client();
        for (store, is_replaced) in stores {
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
            assert_eq!(patiently(|| store.get(&key)).value, "lobster");
            assert_eq!(pid(&store) != before, is_replaced);
        }
    }
}

#[test]
fn many_calls_have_the_time_of_one() {
    const CALLS: usize = 1000;
    const { assert!(SHORT.as_millis() * CALLS as u128 > PATIENCE.as_millis()) };
    let schema = Schema::new();
    let keys = schema
        .store()
        .generate_many(&[(Some("lobster"), None); CALLS]);
    let keys: Vec<_> = keys.into_iter().map(Result::unwrap).collect();
    let store = schema.builder().timeout(SHORT).from_pool(schema.pool(1));
    let mut holder = schema.client();
    let mut locked = holder.transaction().unwrap();
    locked
        .batch_execute("SELECT FROM session FOR UPDATE")
        .unwrap();
    // Each waits by itself, after the one before.
    let sets: Vec<_> = keys.iter().map(|key| (key, "crab", None)).collect();
    let begun = Instant::now();
    for result in store.set_many(&sets) {
        assert!(matches!(result, Err(Error::TimedOut { .. })), "{result:?}");
    }
    assert!(begun.elapsed() < PATIENCE);
    locked.rollback().unwrap();
    wait_for_server(&schema);
    assert_eq!(schema.count("session_data <> 'lobster'"), 0);
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

/// Connects for a cancel request when a test lets it.
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

/// Waits for a lock until its time is up, then gets the lock while the cancel request cannot connect.
fn set_beyond_its_time(schema: &Schema, store: &PostgresStore, key: &Key, held: &Held) -> Duration {
    let mut holder = schema.client();
    let locked = lock(&mut holder, key);
    thread::scope(|scope| {
        let call = scope.spawn(|| {
            let begun = Instant::now();
            (store.set(key, "crab", None), begun.elapsed())
        });
        wait_until("the cancel request to be on its way", || {
            held.0.is_there.load(Ordering::SeqCst)
        });
        locked.rollback().unwrap();
        let (result, took) = call.join().unwrap();
        result.unwrap();
        took
    })
}

#[test]
fn a_cancel_request_that_comes_too_late_hits_nothing_else() {
    let schema = Schema::new();
    let key = schema.store().generate(Some("lobster"), None).unwrap();
    let held = Held::default();
    let builder = schema.builder().timeout(SHORT).cancel_tls(held.clone());
    let store = builder.from_pool(schema.pool(1));
    let before = pid(&store);
    set_beyond_its_time(&schema, &store, &key, &held);
    assert_ne!(pid(&store), before);
    thread::scope(|scope| {
        let sleeping = scope.spawn(|| {
            let sleep = format!("SELECT pg_sleep(0.5) AS {}", schema.quoted());
            let sleep = |client: &mut Client| client.batch_execute(&sleep);
            patiently(|| store.with_client(sleep))
        });
        wait_until("the next statement to be executed", || schema.active() == 1);
        held.let_go();
        sleeping.join().unwrap().unwrap();
    });
    assert_eq!(patiently(|| store.get(&key)).value, "crab");
}

#[test]
fn a_call_does_not_wait_for_a_cancel_request_that_cannot_connect() {
    let schema = Schema::new();
    let key = schema.store().generate(Some("lobster"), None).unwrap();
    // A slow machine may take longer, but not each time.
    wait_until("a call to return a second after its time", || {
        let held = Held::default();
        let builder = schema.builder().timeout(SHORT).cancel_tls(held.clone());
        let store = builder.from_pool(schema.pool(1));
        let took = set_beyond_its_time(&schema, &store, &key, &held);
        held.let_go();
        took < SHORT + Duration::from_secs(1)
    });
}

/// Panics where it is to connect for a cancel request, the first time.
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
fn a_cancel_request_that_panics_is_sent_again() {
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
fn what_a_cancel_request_leaves_open_is_rolled_back() {
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
    match late {
        Ok(Ok(Err(e))) => assert_eq!(e.code(), Some(&SqlState::QUERY_CANCELED)),
        Err(Error::StillRunning { .. }) => {}
        other => panic!("{other:?}"),
    }
    wait_until("the worker to come back", || store.stats().running == 0);
    patiently(|| runtime.block_on(store.run(|store| store.generate(None, None)))?);
}

/// SQLSTATE 57014 does not tell who has cancelled, but the server's message does.
fn is_hit_by_request(message: &str) -> bool {
    message.contains("user request")
}

#[test]
fn no_cancel_request_hits_another_call_on_the_pool_of_a_user() {
    const LIMIT: Duration = Duration::from_millis(60);
    const ROUNDS: usize = 50;
    let schema = Schema::new();
    let setup = schema.store();
    let keys: Vec<_> = (0..4)
        .map(|_| setup.generate(Some("lobster"), None).unwrap())
        .collect();
    let other = setup.generate(Some("crab"), None).unwrap();
    // The server ends a statement at the same time as the store.
    let mut config = schema.config();
    let path = config.get_options().unwrap();
    config.options(&format!("{path} -cstatement_timeout={}", LIMIT.as_millis()));
    // So few connections that one which comes back is used again at once.
    let pool = Pool::builder().max_size(6).test_on_check_out(false);
    let pool = pool.build(Manager::new(config, NoTls)).unwrap();
    let store = schema.builder().timeout(LIMIT).from_pool(pool.clone());
    let patient = schema.builder().timeout(PATIENCE).from_pool(pool);
    let mut holder = schema.client();
    let mut locked = holder.transaction().unwrap();
    let lock = "SELECT FROM session WHERE session_data = 'lobster' FOR UPDATE";
    locked.execute(lock, &[]).unwrap();
    let (left, calls) = (AtomicUsize::new(keys.len()), AtomicUsize::new(0));
    thread::scope(|scope| {
        for key in &keys {
            let (store, left) = (&store, &left);
            scope.spawn(move || {
                for _ in 0..ROUNDS {
                    let error = store.rotate(key).unwrap_err();
                    let is_late = matches!(error, Error::TimedOut { .. });
                    let code = error.sqlstate();
                    assert!(
                        is_late || code == Some(&SqlState::QUERY_CANCELED),
                        "{error:?}"
                    );
                }
                left.fetch_sub(1, Ordering::SeqCst);
            });
        }
        for thread in 0..4 {
            let (patient, other, left, calls) = (&patient, &other, &left, &calls);
            scope.spawn(move || {
                while left.load(Ordering::SeqCst) > 0 {
                    let own = |client: &mut Client| client.batch_execute("SELECT 1");
                    let message = match thread {
                        0 => patient.get(other).map(drop).err(),
                        1 => patient.set(other, "crab", None).err(),
                        2 => patient
                            .update(other, None, &mut |_| Some("crab".into()))
                            .map(drop)
                            .err(),
                        _ => patient.with_client(own).unwrap().err().map(Error::other),
                    };
                    // A slow machine may need longer than the server allows.
                    let message = message.map(|error| match error {
                        Error::Other(own) => format!("{:?}", own.source()),
                        error => error.to_string(),
                    });
                    let is_hit = message.as_deref().is_some_and(is_hit_by_request);
                    assert!(!is_hit, "{message:?}");
                    calls.fetch_add(1, Ordering::SeqCst);
                }
            });
        }
    });
    assert!(calls.into_inner() > 200);
}

/// How many threads this process has.
fn threads() -> usize {
    fs::read_dir("/proc/self/task").map_or(0, Iterator::count)
}

/// Whether the store's thread is there.
fn has_store_thread() -> bool {
    let tasks = fs::read_dir("/proc/self/task").unwrap();
    tasks.flatten().any(|task| {
        let name = fs::read_to_string(task.path().join("comm"));
        name.is_ok_and(|name| "postgres-cancel".starts_with(name.trim_end()))
    })
}

#[test]
fn the_thread_of_a_store_ends_with_it() {
    const NAME: &str = "deadlines::the_thread_of_a_store_ends_with_it";
    if !child::is_for(NAME) {
        child::run(NAME);
        return;
    }
    if threads() == 0 {
        eprintln!("skipped: this system does not name its threads");
        return;
    }
    let schema = Schema::new();
    let store = schema.builder().from_pool(schema.pool(1));
    store.create_table().unwrap();
    let key = store.generate(Some("lobster"), None).unwrap();
    wait_until("the thread to be there", has_store_thread);
    assert_eq!(store.get(&key).unwrap().value, "lobster");
    drop(store);
    wait_until("the thread to end", || !has_store_thread());
}

#[test]
fn a_server_that_accepts_no_connections_gets_few_cancel_requests() {
    const NAME: &str = "deadlines::a_server_that_accepts_no_connections_gets_few_cancel_requests";
    const CALLS: usize = 24;
    /// Requests that are being sent, the thread that starts them, and some of the system's own.
    const MOST: usize = 8 + 1 + 3;
    if !child::is_for(NAME) {
        child::run(NAME);
        return;
    }
    let schema = Schema::new();
    let line = Line::to(&schema.config());
    let mut config = line.config(&schema.config());
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
    wait_until("all connections to be open", || line.open() == CALLS);
    let mut holder = schema.client();
    let mut locked = holder.transaction().unwrap();
    locked
        .batch_execute("SELECT FROM session FOR UPDATE")
        .unwrap();
    let accepts_none = line.accept_none();
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
        wait_until("some seconds to pass", || {
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
    assert!(most <= before + CALLS + MOST, "{before}, then {most}");
}

#[test]
fn an_update_whose_edit_takes_too_long_is_rolled_back() {
    let schema = Schema::new();
    let key = schema.store().generate(Some("lobster"), None).unwrap();
    let builder = || schema.builder().timeout(SHORT);
    for store in [
        builder().from_pool(schema.pool(1)),
        builder().from_client(schema.client()),
    ] {
        let before = pid(&store);
        // A slow machine may not get as far as to the edit.
        let mut edits = 0;
        wait_until("an edit", || {
            let result = store.update(&key, None, &mut |_| {
                edits += 1;
                let begun = Instant::now();
                wait_until("the time to be up", || begun.elapsed() > 2 * SHORT);
                Some("crab".to_owned())
            });
            assert!(matches!(result, Err(Error::TimedOut { .. })), "{result:?}");
            edits > 0
        });
        assert_eq!(edits, 1);
        wait_for_server(&schema);
        assert_eq!(patiently(|| store.get(&key)).value, "lobster");
        assert_eq!(pid(&store), before);
    }
}

#[test]
fn an_update_that_the_server_ends_in_its_edit_is_not_repeated() {
    let schema = Schema::new();
    let key = schema.store().generate(Some("lobster"), None).unwrap();
    let mut config = schema.config();
    let path = config.get_options().unwrap();
    config.options(&format!("{path} -cidle_in_transaction_session_timeout=100"));
    let pool = Pool::builder().max_size(2).test_on_check_out(false);
    let pool = pool.build(Manager::new(config, NoTls)).unwrap();
    let store = schema.builder().timeout(PATIENCE).from_pool(pool);
    let mut watcher = schema.client();
    let mut edits = 0;
    let result = store.update(&key, None, &mut |_| {
        edits += 1;
        wait_until("the server to end the transaction", || {
            let sql = "SELECT count(*) FROM pg_locks WHERE relation = 'session'::regclass";
            watcher.query_one(sql, &[]).unwrap().get::<_, i64>(0) == 0
        });
        Some("crab".to_owned())
    });
    let error = result.unwrap_err();
    assert!(matches!(error, Error::Database(_)), "{error:?}");
    assert_eq!(error.sqlstate().unwrap().code(), "25P03");
    assert_eq!(edits, 1);
    assert_eq!(store.get(&key).unwrap().value, "lobster");
}

#[test]
fn a_timeout_says_how_long_the_caller_has_waited() {
    const TIMEOUT: Duration = Duration::from_millis(300);
    let schema = Schema::new();
    let setup = schema.store();
    let keys = [(); 8].map(|()| setup.generate(Some("lobster"), None).unwrap());
    let store = schema.builder().timeout(TIMEOUT).from_pool(schema.pool(2));
    let mut holder = schema.client();
    let mut locked = holder.transaction().unwrap();
    locked
        .batch_execute("SELECT FROM session FOR UPDATE")
        .unwrap();
    // The key of a session that another transaction may add yet.
    let new = Key::generate().unwrap();
    let add = "INSERT INTO session VALUES ($1, now() + interval '1 day', NULL)";
    locked.execute(add, &[&new.as_str()]).unwrap();
    type Calls = fn(&PostgresStore, &[Key; 8], &Key) -> Vec<Result<(), Error>>;
    let calls: [Calls; 5] = [
        |store, keys, _| vec![store.set(&keys[0], "crab", None)],
        // Each waits after the one before.
        |store, keys, _| store.set_many(&keys.each_ref().map(|key| (key, "crab", None))),
        |store, keys, _| {
            let edit = &mut |_: Option<&str>| None;
            vec![store.update(&keys[0], None, edit).map(drop)]
        },
        |store, _, new| vec![store.insert(new, None, None)],
        |store, _, new| {
            store.insert_many(&[(new, None, None), (&Key::generate().unwrap(), None, None)])
        },
    ];
    for (number, call) in calls.into_iter().enumerate() {
        // A slow machine may take longer, but not each time.
        wait_until("a call to return a second after its time", || {
            let begun = Instant::now();
            let results = call(&store, &keys, &new);
            let took = begun.elapsed();
            let late = results.into_iter().filter_map(Result::err);
            for error in late {
                let Error::TimedOut { waited, .. } = error else {
                    panic!("{number}: {error:?}");
                };
                assert!((TIMEOUT..=took).contains(&waited), "{number}: {waited:?}");
            }
            took < TIMEOUT + Duration::from_secs(1)
        });
    }
}

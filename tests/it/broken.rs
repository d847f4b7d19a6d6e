//! Connections that break: killed by the server, cut in the middle, gone with a restart.

use std::{
    sync::{
        Arc, Barrier,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    thread,
    time::{Duration, Instant},
};

use session_postgres::{
    Error, Key, Period, PostgresStore, Store,
    postgres::{self, Client, Config, NoTls},
    r2d2::{ManageConnection, Pool},
};
use throwaway_postgres::Server;

use crate::{
    connect::through,
    support::{
        database::{Manager, Schema},
        line::Line,
        patiently,
        proxy::{Break, Proxy},
        switch::Switch,
        wait_until,
    },
};

/// Ends every server process that serves this schema's connections, but the caller's own.
fn kill_backends(schema: &Schema) -> usize {
    let mut client = schema.client();
    let path: String = client.query_one("SHOW search_path", &[]).unwrap().get(0);
    let name = format!("killer of {path}");
    client
        .execute("SELECT set_config('application_name', $1, false)", &[&name])
        .unwrap();
    let killed = client
        .query(
            "SELECT pid, pg_terminate_backend(pid) FROM pg_stat_activity \
             WHERE pid <> pg_backend_pid() AND application_name = $1",
            &[&schema.name()],
        )
        .unwrap();
    let killed: Vec<i32> = killed.iter().map(|row| row.get(0)).collect();
    wait_until("all of them to end", || {
        let sql = "SELECT count(*) FROM pg_stat_activity WHERE pid = ANY ($1)";
        client.query_one(sql, &[&killed]).unwrap().get::<_, i64>(0) == 0
    });
    killed.len()
}

/// A pool whose connections are known to the server by the schema's name.
fn named_pool(schema: &Schema, size: u32) -> Pool<Manager> {
    let mut config = schema.config();
    config.application_name(schema.name());
    let pool = Pool::builder().max_size(size).test_on_check_out(false);
    pool.build(Manager::new(config, NoTls)).unwrap()
}

#[test]
fn no_call_fails_when_the_server_kills_every_connection() {
    let schema = Schema::new();
    let store = schema.builder().from_pool(named_pool(&schema, 8));
    store.create_table().unwrap();
    let key = store.generate(Some("lobster"), None).unwrap();
    for round in 0..3 {
        let barrier = Barrier::new(8);
        on_all(&store, || {
            // Each has a connection of its own.
            store.with_client(|_| barrier.wait()).unwrap();
        });
        let killed = kill_backends(&schema);
        assert_eq!(killed, 8, "round {round}");
        assert_eq!(store.get(&key).unwrap().value, "lobster");
        store.set(&key, "lobster", None).unwrap();
    }
}

#[test]
fn connections_that_broke_together_cost_one_write_at_most() {
    let schema = Schema::new();
    schema.store();
    // Without preparing, the write itself is the first that is sent.
    let builder = schema.builder().prepared(false);
    let store = builder.from_pool(named_pool(&schema, 8));
    let barrier = Barrier::new(8);
    on_all(&store, || {
        // Each has a connection of its own, and has used it just now.
        let key = store.generate(Some("lobster"), None).unwrap();
        let edit = &mut |_: Option<&str>| {
            barrier.wait();
            None
        };
        store.update(&key, None, edit).unwrap();
    });
    let key = store.generate(Some("lobster"), None).unwrap();
    assert_eq!(kill_backends(&schema), 8);
    // This one finds out.
    store.get(&key).unwrap();
    on_all(&store, || store.set(&key, "crab", None).unwrap());
}

/// Calls from as many threads as there are connections, at the same time.
fn on_all(store: &PostgresStore, call: impl Fn() + Sync) {
    let threads = store.parallelism().get();
    let barrier = Barrier::new(threads);
    thread::scope(|scope| {
        for _ in 0..threads {
            scope.spawn(|| {
                barrier.wait();
                call();
            });
        }
    });
}

/// The whole story: every backend is killed and the server restarted, while 8 threads call.
#[test]
fn a_thousand_calls_from_8_threads_outlive_kills_and_a_restart() {
    // Else a crash may lose what was committed.
    let server = Server::builder()
        .setting("synchronous_commit", "on")
        .start()
        .unwrap();
    for legacy in [false, true] {
        let schema = Schema::on(server.url());
        schema.create_table(legacy);
        let store = schema.builder().from_pool(named_pool(&schema, 8));
        let counter = store.generate(Some("0"), None).unwrap();

        kill_backends(&schema);
        server.restart().unwrap();
        let (done, unknown) = (AtomicUsize::new(0), AtomicUsize::new(0));
        let kept: Vec<Key> = thread::scope(|scope| {
            let threads: Vec<_> = (0..8)
                .map(|thread| {
                    let (store, counter) = (&store, &counter);
                    let (done, unknown) = (&done, &unknown);
                    scope.spawn(move || {
                        (0..125)
                            .map(|i| {
                                let first = format!("{thread}.{i}");
                                let key = a_life(store, counter, &first, unknown);
                                done.fetch_add(1, Ordering::Relaxed);
                                key
                            })
                            .collect::<Vec<_>>()
                    })
                })
                .collect();
            // More of the same while they are at it.
            wait_until("some calls", || done.load(Ordering::Relaxed) > 200);
            kill_backends(&schema);
            wait_until("more calls", || done.load(Ordering::Relaxed) > 400);
            server.restart().unwrap();
            wait_until("more calls", || done.load(Ordering::Relaxed) > 600);
            server.kill().unwrap();
            server.start_again().unwrap();
            threads
                .into_iter()
                .flat_map(|thread| thread.join().unwrap())
                .collect()
        });

        // Nothing is lost, nothing is doubled.
        assert_eq!(kept.len(), 1000);
        for key in &kept {
            assert_eq!(store.get(key).unwrap().value, format!("final {key}"));
        }
        // An update whose outcome nothing proves has counted, or has not.
        let unknown = unknown.into_inner();
        let counted: usize = store.get(&counter).unwrap().value.parse().unwrap();
        assert!((1000 - unknown..=1000).contains(&counted), "{counted}");
        assert_eq!(schema.count("true"), 1001);
    }
}

/// One session through every verb. The outcome of a set, touch or clear may be unknown. It is the caller who
/// repeats these, because here that does no harm.
fn a_life(store: &PostgresStore, counter: &Key, first: &str, unknown: &AtomicUsize) -> Key {
    let key = store.generate(Some(first), None).unwrap();
    assert_eq!(store.get(&key).unwrap().value, first);
    until_known(|| store.touch(&key, None));
    let key = store.rotate(&key).unwrap();
    let value = format!("final {key}");
    until_known(|| store.set(&key, &value, None));
    let counted = store.update(counter, None, &mut |count| {
        Some((count.unwrap().parse::<u32>().unwrap() + 1).to_string())
    });
    match counted {
        Ok(_) => {}
        // The others have changed the counter since.
        Err(Error::Disconnected(_)) => drop(unknown.fetch_add(1, Ordering::Relaxed)),
        Err(error) => panic!("{error:?}"),
    }
    let gone = store.generate_many(&[(Some("gone"), None), (None, None)]);
    for key in gone.into_iter().map(Result::unwrap) {
        until_known(|| store.clear(&key));
    }
    key
}

/// Repeats a write until its outcome is known, which then is success.
fn until_known(mut write: impl FnMut() -> Result<(), Error>) {
    loop {
        match write() {
            Err(Error::Disconnected(_)) => {}
            outcome => return outcome.unwrap(),
        }
    }
}

/// A store whose one connection goes through a proxy, on the recommended or the original's table.
fn behind_proxy(legacy: bool) -> (Schema, Proxy, PostgresStore) {
    let schema = Schema::new();
    schema.create_table(legacy);
    let proxy = Proxy::to(&schema.config());
    let pool = Pool::builder().max_size(1).test_on_check_out(false);
    let pool = pool
        .build(Manager::new(proxy.config(&schema.config()), NoTls))
        .unwrap();
    let store = schema.builder().from_pool(pool);
    (schema, proxy, store)
}

type Verb = fn(&PostgresStore, &Key) -> Result<(), Error>;

/// Runs `check` on either table, with cuts before and after the server does a statement. `check` is
/// handed a function that runs a call and cuts its connection.
fn cut_around_statements(check: impl Fn(&PostgresStore, &Cut, &Schema)) {
    for legacy in [false, true] {
        let (schema, proxy, store) = behind_proxy(legacy);
        for at in [Break::BeforeStatement, Break::AfterStatement] {
            let cut = Cut {
                proxy: &proxy,
                store: &store,
                at,
            };
            check(&store, &cut, &schema);
        }
    }
}

struct Cut<'a> {
    proxy: &'a Proxy,
    store: &'a PostgresStore,
    at: Break,
}

impl Cut<'_> {
    fn during<T>(&self, call: impl FnOnce() -> T) -> T {
        // The first statement on a connection is a question of the store's own.
        let absent = Key::generate().unwrap();
        assert!(matches!(self.store.get(&absent), Err(Error::NotFound)));
        self.proxy.break_at(self.at);
        let result = call();
        assert!(self.proxy.has_broken(), "the call was not cut");
        result
    }

    /// Whether the server has done what was cut.
    fn is_done(&self) -> bool {
        self.at == Break::AfterStatement
    }
}

#[test]
fn a_generate_that_is_cut_makes_one_session() {
    cut_around_statements(|store, cut, schema| {
        let before = schema.count("true");
        let key = cut
            .during(|| store.generate(Some("lobster"), None))
            .unwrap();
        assert_eq!(store.get(&key).unwrap().value, "lobster");
        assert_eq!(schema.count("true"), before + 1);
        cut.during(|| store.generate(Some("over"), Some(Period::ZERO)))
            .unwrap();
        assert_eq!(schema.count("true"), before + 2);

        let calls = [(Some("a"), None), (Some("b"), None)];
        let keys = cut.during(|| store.generate_many(&calls));
        let keys: Vec<_> = keys.into_iter().map(Result::unwrap).collect();
        assert_eq!(store.get(&keys[1]).unwrap().value, "b");
        assert_eq!(schema.count("true"), before + 4);
    });
}

#[test]
fn a_get_that_is_cut_is_done() {
    cut_around_statements(|store, cut, _| {
        let key = store.generate(Some("lobster"), None).unwrap();
        assert_eq!(cut.during(|| store.get(&key)).unwrap().value, "lobster");
        let found = cut.during(|| store.get_many(&[&key, &Key::generate().unwrap()]));
        assert_eq!(found[0].as_ref().unwrap().value, "lobster");
        assert!(matches!(found[1], Err(Error::NotFound)));
    });
}

/// Writes that are not sent again, because nothing proves whether they were carried out.
const WRITES: [Verb; 7] = [
    |store, key| store.set(key, "crab", None),
    |store, key| store.touch(key, None),
    |store, key| store.clear(key),
    // These end the session, so that one sent again would find none.
    |store, key| store.set(key, "over", Some(Period::ZERO)),
    |store, key| store.touch(key, Some(Period::ZERO)),
    |store, _| store.insert(&Key::generate()?, Some("crab"), None),
    |store, _| store.insert(&Key::generate()?, Some("over"), Some(Period::ZERO)),
];

type ManyWrites = fn(&PostgresStore, [&Key; 2]) -> Vec<Result<(), Error>>;

/// Writes of two sessions: the given ones, or new ones.
const MANY_WRITES: [ManyWrites; 4] = [
    |store, keys| store.set_many(&keys.map(|key| (key, "crab", None))),
    |store, keys| store.touch_many(&keys.map(|key| (key, None))),
    |store, keys| store.clear_many(&keys),
    |store, _| {
        let keys = [(); 2].map(|()| Key::generate().unwrap());
        store.insert_many(&keys.each_ref().map(|key| (key, None, None)))
    },
];

/// Counts each row that is added, changed or removed.
const AUDIT: &str = "
    CREATE TABLE IF NOT EXISTS audit (what text); \
    CREATE OR REPLACE FUNCTION audit() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN \
        INSERT INTO audit VALUES (TG_OP); \
        RETURN NULL; \
    END $$; \
    DROP TRIGGER IF EXISTS audit ON session; \
    CREATE TRIGGER audit AFTER INSERT OR UPDATE OR DELETE ON session FOR EACH ROW \
        EXECUTE FUNCTION audit()";

fn audited(schema: &Schema) -> i64 {
    let mut client = schema.client();
    let row = client.query_one("SELECT count(*) FROM audit", &[]).unwrap();
    row.get(0)
}

#[test]
fn a_write_that_is_cut_is_not_sent_again() {
    cut_around_statements(|store, cut, schema| {
        schema.run(AUDIT);
        for write in WRITES {
            let key = store.generate(Some("lobster"), None).unwrap();
            let before = audited(schema);
            let result = cut.during(|| write(store, &key));
            assert!(matches!(result, Err(Error::Disconnected(_))), "{result:?}");
            assert_eq!(audited(schema) - before, i64::from(cut.is_done()));
        }
    });
}

#[test]
fn many_writes_that_are_cut_are_not_sent_again() {
    cut_around_statements(|store, cut, schema| {
        schema.run(AUDIT);
        for write in MANY_WRITES {
            let keys = [(); 2].map(|()| store.generate(Some("lobster"), None).unwrap());
            let before = audited(schema);
            for result in cut.during(|| write(store, keys.each_ref())) {
                assert!(matches!(result, Err(Error::Disconnected(_))), "{result:?}");
            }
            assert_eq!(audited(schema) - before, 2 * i64::from(cut.is_done()));
        }
    });
}

#[test]
fn a_rotate_that_is_cut_moves_the_session_once() {
    cut_around_statements(|store, cut, schema| {
        let before = schema.count("true");
        let old = store.generate(Some("lobster"), None).unwrap();
        let new = cut.during(|| store.rotate(&old)).unwrap();
        assert_eq!(store.get(&new).unwrap().value, "lobster");
        assert!(matches!(store.get(&old), Err(Error::NotFound)));
        assert_eq!(schema.count("true"), before + 1);
        assert!(matches!(
            cut.during(|| store.rotate(&old)),
            Err(Error::NotFound)
        ));
    });
}

#[test]
fn an_update_that_is_cut_is_done_once() {
    for legacy in [false, true] {
        let (_schema, proxy, store) = behind_proxy(legacy);
        let key = store.generate(Some("0"), None).unwrap();
        let add = |value: Option<&str>| {
            let value: u32 = value.unwrap().parse().unwrap();
            Some((value + 1).to_string())
        };
        let cuts = [
            Break::BeforeText("BEGIN"),
            Break::AfterText("BEGIN"),
            Break::BeforeStatement,
            Break::AfterStatement,
            Break::BeforeText("COMMIT"),
            Break::AfterText("COMMIT"),
        ];
        for (done, cut) in cuts.into_iter().enumerate() {
            proxy.break_at(cut);
            let session = store.update(&key, None, &mut { add }).unwrap();
            assert!(proxy.has_broken());
            assert_eq!(session.value, (done + 1).to_string());
            assert_eq!(store.get(&key).unwrap().value, session.value);
        }
    }
}

/// A store on a single client whose server process was killed, and the key of a session.
fn on_killed_client() -> (Schema, PostgresStore, Key) {
    let schema = Schema::new();
    let mut config = schema.config();
    config.application_name(schema.name());
    let store = schema.builder().from_client(config.connect(NoTls).unwrap());
    store.create_table().unwrap();
    let key = store.generate(Some("lobster"), None).unwrap();
    assert_eq!(kill_backends(&schema), 1);
    (schema, store, key)
}

#[test]
fn a_single_client_that_broke_says_so_each_time_and_nothing_panics() {
    let (_schema, store, key) = on_killed_client();
    for _ in 0..3 {
        let edit = &mut |_: Option<&str>| None;
        let results = [
            store.get(&key).map(drop),
            store
                .get_many(&[&key, &Key::generate().unwrap()])
                .remove(1)
                .map(drop),
            store.set(&key, "crab", None),
            store.insert(&key, None, None),
            store.rotate(&key).map(drop),
            store.update(&key, None, edit).map(drop),
            store.generate(None, None).map(drop),
            store.with_client(|_| ()),
        ];
        for (call, result) in results.into_iter().enumerate() {
            assert!(
                matches!(result, Err(Error::Database(_))),
                "{call}: {result:?}"
            );
        }
    }
}

/// Only the write that meets the break was perhaps carried out.
#[test]
fn a_write_on_a_single_client_that_broke_has_an_unknown_outcome_once() {
    let (_schema, store, key) = on_killed_client();
    let first = store.set(&key, "crab", None);
    let is_known = matches!(first, Err(Error::Disconnected(_) | Error::Database(_)));
    assert!(is_known, "{first:?}");
    for _ in 0..3 {
        let result = store.set(&key, "crab", None);
        assert!(matches!(result, Err(Error::Database(_))), "{result:?}");
    }
}

#[test]
fn a_server_that_stays_away_is_an_error_in_time() {
    let server = Server::start().unwrap();
    let schema = Schema::on(server.url());
    let store = schema
        .builder()
        .timeout(Duration::from_millis(500))
        .from_pool(schema.pool(2));
    patiently(|| store.create_table());
    let key = patiently(|| store.generate(Some("lobster"), None));
    server.stop().unwrap();
    // The first calls may have sent something; then there is nothing to send it with.
    wait_until("the dead connections to be found out", || {
        match store.set(&key, "crab", None) {
            Err(Error::Disconnected(_)) => false,
            Err(Error::TimedOut { .. }) => true,
            other => panic!("{other:?}"),
        }
    });
    assert!(matches!(
        store.with_client(|_| ()),
        Err(Error::TimedOut { .. })
    ));
    // It comes back by itself.
    server.start_again().unwrap();
    assert_eq!(patiently(|| store.get(&key)).value, "lobster");
}

#[test]
fn the_users_own_code_gets_a_living_connection() {
    let schema = Schema::new();
    let store = schema.builder().from_pool(named_pool(&schema, 4));
    store.create_table().unwrap();
    kill_backends(&schema);
    let ran = AtomicBool::new(false);
    let one: i32 = store
        .with_client(|client| {
            assert!(!ran.swap(true, Ordering::Relaxed), "it runs once");
            client.query_one("SELECT 1", &[]).unwrap().get(0)
        })
        .unwrap();
    assert_eq!(one, 1);
}

#[test]
fn statements_that_somebody_discarded_are_prepared_again() {
    let schema = Schema::new();
    let store = schema.builder().from_client(schema.client());
    store.create_table().unwrap();
    let key = store.generate(Some("lobster"), None).unwrap();
    store.get(&key).unwrap();
    store
        .with_client(|client| client.batch_execute("DISCARD ALL").unwrap())
        .unwrap();
    assert_eq!(store.get(&key).unwrap().value, "lobster");
    store.set(&key, "crab", None).unwrap();

    // A column that changed its type under a prepared statement.
    schema.run("ALTER TABLE session ALTER COLUMN session_data TYPE varchar");
    assert_eq!(store.get(&key).unwrap().value, "crab");
}

/// The server does not notice that a connection is cut on which it is at work.
#[test]
fn what_was_cut_while_the_server_was_at_it_does_not_come_through_later() {
    let schema = Schema::new();
    schema.store();
    // Only the first waits, for what the test holds.
    schema.run(
        "CREATE SEQUENCE tries; \
         CREATE FUNCTION wait() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN \
             IF nextval('tries') % 2 = 1 THEN \
                 PERFORM pg_advisory_xact_lock_shared('tries'::regclass::oid::bigint); \
             END IF; \
             RETURN NEW; \
         END $$; \
         CREATE TRIGGER wait BEFORE INSERT OR UPDATE ON session FOR EACH ROW \
             EXECUTE FUNCTION wait()",
    );
    let line = Line::to(&schema.config());
    let mut holder = schema.client();
    let mut cut = |call: &mut (dyn FnMut() + Send)| {
        let hold = "SELECT pg_advisory_lock('tries'::regclass::oid::bigint)";
        holder.execute(hold, &[]).unwrap();
        thread::scope(|scope| {
            let call = scope.spawn(call);
            wait_until("the first try to wait", || {
                let sql = "SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' \
                           AND NOT granted AND objid = 'tries'::regclass";
                holder.query_one(sql, &[]).unwrap().get::<_, i64>(0) == 1
            });
            line.cut();
            call.join().unwrap();
        });
        holder
            .execute("SELECT pg_advisory_unlock_all()", &[])
            .unwrap();
        wait_until("all to be over", || schema.active() == 0);
    };
    // A session that is added past the trigger.
    let add = || {
        let key = Key::generate().unwrap();
        schema.run(&format!(
            "ALTER TABLE session DISABLE TRIGGER wait; \
             INSERT INTO session VALUES ('{key}', now() + interval '1 day', 'old'); \
             ALTER TABLE session ENABLE TRIGGER wait",
        ));
        key
    };
    for store in [
        schema.builder().connect(through(&line, &schema)).unwrap(),
        schema
            .builder()
            .connect_with(line.config(&schema.config()), NoTls)
            .unwrap(),
    ] {
        let before = schema.count("true");
        cut(&mut || {
            let made = store.generate(Some("lobster"), None).unwrap();
            store.clear(&made).unwrap();
        });
        assert_eq!(schema.count("true"), before);

        let old = add();
        cut(&mut || {
            let new = store.rotate(&old).unwrap();
            store.clear(&new).unwrap();
        });
        assert_eq!(schema.count("true"), before);

        let key = add();
        let edits = AtomicUsize::new(0);
        cut(&mut || {
            let edit = &mut |_: Option<&str>| {
                edits.fetch_add(1, Ordering::SeqCst);
                Some("first".to_owned())
            };
            store.update(&key, None, edit).unwrap();
            schema.run("ALTER TABLE session DISABLE TRIGGER wait");
            store.set(&key, "second", None).unwrap();
        });
        schema.run("ALTER TABLE session ENABLE TRIGGER wait");
        assert_eq!(store.get(&key).unwrap().value, "second");
        assert_eq!(edits.into_inner(), 2);
    }
}

#[test]
fn a_connection_that_broke_while_it_was_idle_costs_no_write() {
    /// After this long, a connection is tested before a write.
    const IDLE: Duration = Duration::from_millis(500);
    type Expected = fn(&Result<(), Error>) -> bool;
    let writes: [(Verb, Expected); 4] = [
        (|store, key| store.set(key, "crab", None), Result::is_ok),
        (
            |store, _| store.set(&Key::generate()?, "crab", None),
            |result| matches!(result, Err(Error::NotFound)),
        ),
        (
            |store, key| store.insert(key, None, None),
            |result| matches!(result, Err(Error::KeyExists)),
        ),
        (|store, key| store.clear(key), Result::is_ok),
    ];
    let schema = Schema::new();
    let key = schema.store().generate(Some("lobster"), None).unwrap();
    // Over a Unix socket, the client learns at once that a connection was closed.
    let line = Line::to(&schema.config());
    let mut config = line.config(&schema.config());
    config.application_name(schema.name());
    let store = schema
        .builder()
        .max_connections(1)
        .connect_with(config, NoTls)
        .unwrap();
    for (write, is_expected) in writes {
        store.get(&key).unwrap();
        let last_used = Instant::now();
        assert!(kill_backends(&schema) > 0);
        wait_until("the connection to be idle for long", || {
            last_used.elapsed() > IDLE
        });
        let result = write(&store, &key);
        assert!(is_expected(&result), "{result:?}");
    }
}

/// As of many who write to few rows of a table in partitions by the expiry date.
#[test]
fn conflicts_of_transactions_are_tried_again_for_as_long_as_there_is_time() {
    let schema = Schema::new();
    let store = schema.store();
    let key = store.generate(None, None).unwrap();
    schema.run(
        "CREATE SEQUENCE tries; \
         CREATE FUNCTION conflict() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN \
             IF nextval('tries') <= 20 THEN RAISE 'not yet' USING ERRCODE = '40001'; END IF; \
             RETURN NEW; \
         END $$; \
         CREATE TRIGGER conflict BEFORE UPDATE ON session FOR EACH ROW \
             EXECUTE FUNCTION conflict()",
    );
    store.set(&key, "lobster", None).unwrap();
    assert_eq!(store.get(&key).unwrap().value, "lobster");
}

#[test]
fn a_write_that_is_cut_and_finds_no_connection_has_an_unknown_outcome() {
    let calls: [(Verb, Break); 4] = [
        (
            |store, _| store.generate(None, None).map(drop),
            Break::AfterStatement,
        ),
        (
            |store, _| store.generate_many(&[(None, None); 2]).remove(0).map(drop),
            Break::AfterStatement,
        ),
        (
            |store, key| store.rotate(key).map(drop),
            Break::AfterStatement,
        ),
        (
            |store, key| {
                store
                    .update(key, None, &mut |_| Some("crab".into()))
                    .map(drop)
            },
            Break::AfterText("COMMIT"),
        ),
    ];
    let (schema, proxy, _) = behind_proxy(false);
    // A server that is not there.
    let mut absent = Config::new();
    absent.host_path("/nowhere/at/all").user("postgres");
    for (call, at) in calls {
        for is_cut in [true, false] {
            let key = schema.store().generate(Some("lobster"), None).unwrap();
            let switch = Switch::new(vec![proxy.config(&schema.config()), absent.clone()]);
            let builder = schema.builder().timeout(Duration::from_secs(2));
            let store = builder.from_pool(switch.pool(1));
            store.get(&key).unwrap();
            switch.to_next();
            if is_cut {
                proxy.break_at(at);
                let result = call(&store, &key);
                assert!(matches!(result, Err(Error::Disconnected(_))), "{result:?}");
                assert!(proxy.has_broken());
            } else {
                proxy.break_at(Break::BeforeStatement);
                let result = store.get(&key);
                assert!(matches!(result, Err(Error::TimedOut { .. })), "{result:?}");
            }
        }
    }
}

/// Connections that are closed before their first statement.
struct Dying {
    config: Config,
    connected: Arc<AtomicUsize>,
}

impl ManageConnection for Dying {
    type Connection = Client;
    type Error = postgres::Error;

    fn connect(&self) -> Result<Client, postgres::Error> {
        self.connected.fetch_add(1, Ordering::SeqCst);
        let mut client = self.config.connect(NoTls)?;
        let end = client.batch_execute("SELECT pg_terminate_backend(pg_backend_pid())");
        assert!(end.is_err());
        Ok(client)
    }

    fn is_valid(&self, client: &mut Client) -> Result<(), postgres::Error> {
        client.is_valid(Duration::from_secs(5))
    }

    fn has_broken(&self, client: &mut Client) -> bool {
        client.is_closed()
    }
}

#[test]
fn a_server_that_drops_every_connection_is_not_flooded() {
    let schema = Schema::new();
    schema.store();
    let key = Key::generate().unwrap();
    let calls: [Verb; 4] = [
        |store, _| store.with_client(|_| ()),
        |store, key| store.get(key).map(drop),
        |store, key| store.set(key, "crab", None),
        |store, _| store.generate(None, None).map(drop),
    ];
    for call in calls {
        let connected = Arc::new(AtomicUsize::new(0));
        let manager = Dying {
            config: schema.config(),
            connected: connected.clone(),
        };
        let pool = Pool::builder().max_size(2).test_on_check_out(false);
        let builder = schema.builder().timeout(Duration::from_secs(2));
        let store = builder.from_pool(pool.build(manager).unwrap());
        let result = call(&store, &key);
        assert!(matches!(result, Err(Error::TimedOut { .. })), "{result:?}");
        let connected = connected.load(Ordering::SeqCst);
        assert!(connected < 40, "{connected} connections");
    }
}

#[test]
fn a_statement_whose_feature_is_not_supported_is_sent_twice_at_most() {
    let schema = Schema::new();
    schema.store();
    let proxy = Proxy::to(&schema.config());
    let client = proxy.config(&schema.config()).connect(NoTls).unwrap();
    let store = schema.builder().from_client(client);
    let keys = [(); 2].map(|()| store.generate(Some("lobster"), None).unwrap());
    let sets = keys.each_ref().map(|key| (key, "crab", None));
    store.set(&keys[0], "crab", None).unwrap();
    assert!(store.set_many(&sets).iter().all(Result::is_ok));
    schema.run(
        "CREATE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN \
             RAISE 'no' USING ERRCODE = '0A000'; \
         END $$; \
         CREATE TRIGGER refuse BEFORE UPDATE ON session FOR EACH ROW EXECUTE FUNCTION refuse()",
    );
    for _ in 0..2 {
        proxy.counts();
        let result = store.set(&keys[0], "crab", None);
        assert!(matches!(result, Err(Error::Database(_))), "{result:?}");
        let (_, statements) = proxy.counts();
        assert!((1..=2).contains(&statements), "{statements}");
        for result in store.set_many(&sets) {
            assert_eq!(result.unwrap_err().sqlstate().unwrap().code(), "0A000");
        }
        let (_, statements) = proxy.counts();
        assert!((1..=2).contains(&statements), "{statements}");
    }
    assert_eq!(store.get(&keys[0]).unwrap().value, "crab");
}

//! Connections that break: killed by the server, cut in the middle, gone with a restart.

use std::{
    sync::atomic::{AtomicBool, AtomicUsize, Ordering},
    thread,
    time::Duration,
};

use session_postgres::{Error, Key, Period, PostgresStore, Store, postgres::NoTls, r2d2::Pool};
use throwaway_postgres::Server;

use crate::{
    connect::through,
    support::{
        database::{Manager, Schema},
        line::Line,
        patiently,
        proxy::{Break, Proxy},
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
            "SELECT pg_terminate_backend(pid, 10000) FROM pg_stat_activity \
             WHERE pid <> pg_backend_pid() AND application_name = $1",
            &[&schema.name()],
        )
        .unwrap();
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
        let killed = kill_backends(&schema);
        assert!(
            killed == 8 || round > 0 && killed > 0,
            "{killed} connections were there to kill"
        );
        assert_eq!(store.get(&key).unwrap().value, "lobster");
        store.set(&key, "lobster", None).unwrap();
    }
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
        let done = AtomicUsize::new(0);
        let kept: Vec<Key> = thread::scope(|scope| {
            let threads: Vec<_> = (0..8)
                .map(|thread| {
                    let (store, done, counter) = (&store, &done, &counter);
                    scope.spawn(move || {
                        (0..125)
                            .map(|i| a_life(store, counter, thread, i, done))
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
        assert_eq!(store.get(&counter).unwrap().value, "1000");
        assert_eq!(schema.count("true"), 1001);
    }
}

/// One session through every verb; none may fail.
fn a_life(
    store: &PostgresStore,
    counter: &Key,
    thread: usize,
    i: usize,
    done: &AtomicUsize,
) -> Key {
    let first = format!("{thread}.{i}");
    let key = store.generate(Some(&first), None).unwrap();
    assert_eq!(store.get(&key).unwrap().value, first);
    store.touch(&key, None).unwrap();
    let key = store.rotate(&key).unwrap();
    let value = format!("final {key}");
    store.set(&key, &value, None).unwrap();
    store
        .update(counter, None, &mut |count| {
            Some((count.unwrap().parse::<u32>().unwrap() + 1).to_string())
        })
        .unwrap();
    let gone = store.generate_many(&[(Some("gone"), None), (None, None)]);
    for key in gone {
        store.clear(&key.unwrap()).unwrap();
    }
    done.fetch_add(1, Ordering::Relaxed);
    key
}

/// A store whose every connection goes through a proxy, on the recommended or the original's table.
fn behind_proxy(legacy: bool) -> (Schema, Proxy, PostgresStore) {
    let schema = Schema::new();
    schema.create_table(legacy);
    let proxy = Proxy::to(&schema.config());
    let pool = Pool::builder().max_size(2).test_on_check_out(false);
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
            check(&store, &Cut { proxy: &proxy, at }, &schema);
        }
    }
}

struct Cut<'a> {
    proxy: &'a Proxy,
    at: Break,
}

impl Cut<'_> {
    fn during<T>(&self, call: impl FnOnce() -> T) -> T {
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
fn a_get_set_touch_or_clear_that_is_cut_is_done() {
    cut_around_statements(|store, cut, _| {
        let key = store.generate(Some("lobster"), None).unwrap();
        assert_eq!(cut.during(|| store.get(&key)).unwrap().value, "lobster");
        cut.during(|| store.set(&key, "crab", None)).unwrap();
        cut.during(|| store.touch(&key, None)).unwrap();
        assert_eq!(store.get(&key).unwrap().value, "crab");
        cut.during(|| store.clear(&key)).unwrap();
        assert!(matches!(store.get(&key), Err(Error::NotFound)));
    });
}

#[test]
fn many_that_are_cut_are_done() {
    cut_around_statements(|store, cut, _| {
        let a = store.generate(Some("a"), None).unwrap();
        let b = store.generate(Some("b"), None).unwrap();
        let all_ok = |results: Vec<Result<(), Error>>| {
            assert!(results.iter().all(Result::is_ok), "{results:?}");
        };
        let sets = [(&b, "new b", None), (&a, "new a", None)];
        all_ok(cut.during(|| store.set_many(&sets)));
        all_ok(cut.during(|| store.touch_many(&[(&a, None), (&b, None)])));
        let found = cut.during(|| store.get_many(&[&a, &b]));
        assert_eq!(found[0].as_ref().unwrap().value, "new a");
        assert_eq!(found[1].as_ref().unwrap().value, "new b");
        all_ok(cut.during(|| store.clear_many(&[&a, &b])));
        assert!(matches!(store.get(&a), Err(Error::NotFound)));
    });
}

#[test]
fn a_set_or_touch_that_is_cut_and_then_finds_nothing_says_what_it_knows() {
    cut_around_statements(|store, cut, _| {
        // The first try ended the session, if the server got it; the second cannot tell.
        const END: Option<Period> = Some(Period::ZERO);
        let ending: [Verb; 4] = [
            |store, key| store.set(key, "over", END),
            |store, key| store.touch(key, END),
            |store, key| store.set_many(&[(key, "over", END)]).pop().unwrap(),
            |store, key| store.touch_many(&[(key, END)]).pop().unwrap(),
        ];
        for call in ending {
            let key = store.generate(Some("lobster"), None).unwrap();
            match cut.during(|| call(store, &key)) {
                Ok(()) => assert!(!cut.is_done()),
                Err(Error::Disconnected(_)) => assert!(cut.is_done()),
                Err(error) => panic!("{error:?}"),
            }
            assert!(matches!(store.get(&key), Err(Error::NotFound)));
        }
    });
}

#[test]
fn a_write_that_is_cut_and_then_refused_does_not_say_that_nothing_was_done() {
    cut_around_statements(|store, cut, schema| {
        let key = store.generate(Some("0"), None).unwrap();
        // Takes a value once, and refuses it the next time.
        schema.run(
            "CREATE FUNCTION once() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN \
                 IF OLD.session_data = NEW.session_data THEN RAISE 'again'; END IF; RETURN NEW; \
             END $$; \
             CREATE TRIGGER once BEFORE UPDATE ON session FOR EACH ROW EXECUTE FUNCTION once()",
        );
        match cut.during(|| store.set(&key, "1", None)) {
            Ok(()) => assert!(!cut.is_done()),
            Err(Error::Disconnected(_)) => assert!(cut.is_done()),
            Err(error) => panic!("{error:?}"),
        }
        assert_eq!(store.get(&key).unwrap().value, "1");
        schema.run("DROP FUNCTION once CASCADE");
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
fn an_insert_that_is_cut_says_what_it_knows() {
    for legacy in [false, true] {
        let (schema, proxy, store) = behind_proxy(legacy);
        let key = Key::generate().unwrap();
        proxy.break_at(Break::BeforeStatement);
        store.insert(&key, Some("lobster"), None).unwrap();
        assert_eq!(store.get(&key).unwrap().value, "lobster");

        // The row is there, and nobody can know whose it is.
        let key = Key::generate().unwrap();
        proxy.break_at(Break::AfterStatement);
        let result = store.insert(&key, Some("crab"), None);
        assert!(matches!(result, Err(Error::Disconnected(_))), "{result:?}");
        assert_eq!(store.get(&key).unwrap().value, "crab");
        assert_eq!(schema.count("true"), 2);
    }
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
            Break::BeforeText("START"),
            Break::AfterText("START"),
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

#[test]
fn a_single_client_that_broke_says_so_each_time_and_nothing_panics() {
    let schema = Schema::new();
    let mut config = schema.config();
    config.application_name(schema.name());
    let store = schema.builder().from_client(config.connect(NoTls).unwrap());
    store.create_table().unwrap();
    let key = store.generate(Some("lobster"), None).unwrap();
    assert_eq!(kill_backends(&schema), 1);
    for _ in 0..3 {
        assert!(matches!(store.get(&key), Err(Error::Disconnected(_))));
        assert!(matches!(
            store.set(&key, "crab", None),
            Err(Error::Disconnected(_))
        ));
        assert!(matches!(
            store.update(&key, None, &mut |_| None),
            Err(Error::Disconnected(_))
        ));
        assert!(matches!(
            store.get_many(&[&key, &key])[1],
            Err(Error::Disconnected(_))
        ));
        assert!(matches!(
            store.with_client(|_| ()),
            Err(Error::Disconnected(_))
        ));
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
    for store in [
        schema.builder().connect(through(&line, &schema)).unwrap(),
        schema
            .builder()
            .connect_with(line.config(&schema.config()), NoTls)
            .unwrap(),
    ] {
        let mut key = None;
        cut(&mut || {
            let made = store.generate(Some("lobster"), None).unwrap();
            store.clear(&made).unwrap();
            key = Some(made);
        });
        assert!(matches!(store.get(&key.unwrap()), Err(Error::NotFound)));

        let key = Key::generate().unwrap();
        schema.run(&format!(
            "ALTER TABLE session DISABLE TRIGGER wait; \
             INSERT INTO session VALUES ('{key}', now() + interval '1 day', 'old'); \
             ALTER TABLE session ENABLE TRIGGER wait",
        ));
        cut(&mut || {
            store.set(&key, "first", None).unwrap();
            schema.run("ALTER TABLE session DISABLE TRIGGER wait");
            store.set(&key, "second", None).unwrap();
        });
        schema.run("ALTER TABLE session ENABLE TRIGGER wait");
        assert_eq!(store.get(&key).unwrap().value, "second");
    }
}

#[test]
fn a_session_that_the_server_ended_for_doing_nothing_has_carried_out_nothing() {
    let schema = Schema::new();
    let there = schema.store().generate(None, None).unwrap();
    let mut config = schema.config();
    let version = "SELECT current_setting('server_version_num')::int4";
    let version: i32 = schema.client().query_one(version, &[]).unwrap().get(0);
    if version < 140_000 {
        eprintln!("skipped: this server does not end sessions for doing nothing");
        return;
    }
    let path = config.get_options().unwrap();
    config.options(&format!("{path} -cidle_session_timeout=50"));
    // Not over a Unix socket, by which the client would know.
    let line = Line::to(&config);
    let mut config = line.config(&config);
    config.application_name(schema.name());
    let store = schema.builder().connect_with(config, NoTls).unwrap();
    let mut watcher = schema.client();
    let mut wait_for_end = || {
        // Whatever comes of it, there is a connection then.
        let _ = store.get(&there);
        wait_until("its session to be ended", || {
            let sql = "SELECT count(*) FROM pg_stat_activity WHERE application_name = $1";
            let row = watcher.query_one(sql, &[&schema.name()]).unwrap();
            row.get::<_, i64>(0) == 0
        });
    };
    // Where the client writes before it has read, the network may swallow what the server has said.
    wait_until("a session that is not there to be told of", || {
        wait_for_end();
        let absent = Key::generate().unwrap();
        matches!(store.set(&absent, "lobster", None), Err(Error::NotFound))
    });
    wait_until("a session that is there to be told of", || {
        wait_for_end();
        matches!(store.insert(&there, None, None), Err(Error::KeyExists))
    });
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

//! PgBouncer in transaction mode, with fewer connections to the server than clients have to PgBouncer.

use std::{thread, time::Duration};

use session_postgres::{
    ConnectOptions, Error, Key, PostgresStore, Store,
    postgres::{Client, Config, NoTls},
};
use throwaway_postgres::{Pooler, Server};

use super::is_about_time;
use crate::support::{PATIENCE, patiently, wait_until};

struct Pooled {
    pooler: Pooler,
    server: Server,
}

impl Pooled {
    fn start() -> Option<Pooled> {
        let server = Server::start().unwrap();
        let Some(pooler) = Pooler::start(&server).unwrap() else {
            eprintln!("skipped: there is no pgbouncer on this machine");
            return None;
        };
        Some(Pooled { pooler, server })
    }

    fn by_tcp(&self) -> ConnectOptions {
        self.pooler.tcp_url().parse().unwrap()
    }

    fn by_socket(&self) -> ConnectOptions {
        self.pooler.url().parse().unwrap()
    }

    fn client(&self) -> Client {
        Client::connect(self.server.url(), NoTls).unwrap()
    }
}

/// Makes calls on eight threads, on more connections than the pooler has.
fn make_calls(store: &PostgresStore) -> Result<(), Error> {
    thread::scope(|scope| {
        let lives: Vec<_> = (0..8)
            .map(|_| {
                scope.spawn(|| {
                    for _ in 0..20 {
                        let key = store.generate(Some("lobster"), None)?;
                        store.set(&key, "crab", None)?;
                        assert_eq!(store.get(&key)?.value, "crab");
                        store.update(&key, None, &mut |_| Some("prawn".to_owned()))?;
                        store.touch(&key, None)?;
                        let new = store.rotate(&key)?;
                        assert_eq!(store.get_many(&[&new, &new]).remove(1)?.value, "prawn");
                        match store.get(&key) {
                            Ok(_) => panic!("a rotated session is still there"),
                            Err(Error::NotFound) => {}
                            Err(error) => return Err(error),
                        }
                        store.clear(&new)?;
                    }
                    Ok(())
                })
            })
            .collect();
        lives.into_iter().try_for_each(|life| life.join().unwrap())
    })
}

/// The number of prepared statements of the server process behind a connection.
fn prepared(store: &PostgresStore) -> i64 {
    let sql = "SELECT count(*) FROM pg_prepared_statements";
    let count = store.with_client(|client| client.query_typed(sql, &[]).unwrap()[0].get(0));
    count.unwrap()
}

#[test]
fn behind_a_pooler_statements_are_not_prepared_and_every_verb_works() {
    let Some(pooled) = Pooled::start() else {
        return;
    };
    for options in [pooled.by_tcp(), pooled.by_socket()] {
        let store = PostgresStore::connect(options).unwrap();
        store.create_table().unwrap();
        store.check().unwrap();
        make_calls(&store).unwrap();
        assert_eq!(prepared(&store), 0);
    }
    // Without a pooler they are prepared, also on clients and pools that the user has made.
    let direct = PostgresStore::builder()
        .max_connections(1)
        .connect(pooled.server.url())
        .unwrap();
    for store in [direct, PostgresStore::from_client(pooled.client())] {
        make_calls(&store).unwrap();
        assert!(prepared(&store) > 0);
    }
    let config: Config = pooled.pooler.url().parse().unwrap();
    let client = config.connect(NoTls).unwrap();
    let store = PostgresStore::from_client(client);
    make_calls(&store).unwrap();
    assert_eq!(prepared(&store), 0);
}

#[test]
fn the_error_explains_prepared_statements_behind_a_pooler() {
    let Some(pooled) = Pooled::start() else {
        return;
    };
    let builder = PostgresStore::builder().prepared(true);
    let store = builder.connect(pooled.by_tcp()).unwrap();
    store.create_table().unwrap();
    let mut told = None;
    wait_until("a statement is missing", || {
        told = make_calls(&store).err();
        told.is_some()
    });
    let error = told.unwrap();
    assert!(error.to_string().contains("prepared(false)"), "{error}");
    assert!(error.sqlstate().is_some(), "{error:?}");
}

#[test]
fn the_error_explains_options_that_a_pooler_refuses() {
    let Some(pooled) = Pooled::start() else {
        return;
    };
    let options = pooled.by_tcp().options("-c work_mem=8MB");
    let error = PostgresStore::connect(options).unwrap_err();
    assert!(
        error.to_string().contains("ignore_startup_parameters"),
        "{error}"
    );
    assert_eq!(error.sqlstate().unwrap().code(), "08P01");
}

#[test]
fn a_timeout_behind_a_pooler_affects_only_its_call() {
    let Some(pooled) = Pooled::start() else {
        return;
    };
    let store = PostgresStore::builder()
        .timeout(Duration::from_millis(300))
        .connect(pooled.by_tcp())
        .unwrap();
    patiently(|| store.create_table());
    let key = patiently(|| store.generate(None, None));
    let mut locker = pooled.client();
    let mut lock = locker.transaction().unwrap();
    lock.batch_execute("SELECT FROM session FOR UPDATE")
        .unwrap();
    for _ in 0..3 {
        wait_until("the statement is cancelled in time", || {
            let error = store.set(&key, "crab", None).unwrap_err();
            assert!(is_about_time(&error), "{error:?}");
            matches!(error, Error::TimedOut { .. })
        });
    }
    lock.rollback().unwrap();
    patiently(|| store.set(&key, "lobster", None));
}

/// PgBouncer 1.18 crashes if the connection of a cancel request is closed early, as the driver does. The driver
/// sends the requests on connections of the user's making and on Unix sockets. There the statement is waited for.
#[test]
fn no_cancel_request_of_the_driver_is_sent_to_a_pooler() {
    let Some(pooled) = Pooled::start() else {
        return;
    };
    let builder = PostgresStore::builder().timeout(Duration::from_millis(100));
    let setup = PostgresStore::connect(pooled.server.url()).unwrap();
    setup.create_table().unwrap();
    let key = setup.generate(None, None).unwrap();
    let mut config: Config = pooled.pooler.tcp_url().parse().unwrap();
    config.connect_timeout(PATIENCE);
    // This is true for the first call on a connection, too.
    for store in [
        builder.clone().connect(pooled.by_socket()).unwrap(),
        builder.clone().connect_with(config.clone(), NoTls).unwrap(),
        builder
            .clone()
            .prepared(false)
            .connect_with(config.clone(), NoTls)
            .unwrap(),
        builder
            .clone()
            .prepared(true)
            .from_client(config.connect(NoTls).unwrap()),
    ] {
        waits_for_a_lock(&pooled, &store, &key);
    }
}

fn waits_for_a_lock(pooled: &Pooled, store: &PostgresStore, key: &Key) {
    let (mut locker, mut watcher) = (pooled.client(), pooled.client());
    let mut lock = locker.transaction().unwrap();
    lock.batch_execute("SELECT FROM session FOR UPDATE")
        .unwrap();
    thread::scope(|scope| {
        let call = scope.spawn(|| patiently(|| store.set(key, "crab", None)));
        let waits_longer = "SELECT count(*) FROM pg_stat_activity \
                            WHERE wait_event_type = 'Lock' \
                            AND query_start < clock_timestamp() - interval '1 second'";
        wait_until("the call waits longer than its timeout", || {
            watcher
                .query_one(waits_longer, &[])
                .unwrap()
                .get::<_, i64>(0)
                == 1
        });
        lock.rollback().unwrap();
        call.join().unwrap();
    });
    assert_eq!(patiently(|| store.get(key)).value, "crab");
}

//! Failover: the primary dies, and its standby is promoted.

use std::{
    sync::{
        Mutex,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    thread,
    time::{Duration, Instant},
};

use session_postgres::{
    ConnectOptions, Error, Key, PostgresStore, Store,
    postgres::{Client, Config, NoTls},
};
use throwaway_postgres::Server;

use super::is_about_time;
use crate::support::{
    PATIENCE, patiently,
    proxy::{Break, Proxy},
    switch::Switch,
    wait_until,
};

fn config(server: &Server) -> Config {
    server.url().parse().unwrap()
}

/// Options that connect to the server that accepts writes.
fn writable(servers: &[&Server]) -> ConnectOptions {
    let list = |part: fn(&Server) -> String| {
        let parts: Vec<_> = servers.iter().map(|server| part(server)).collect();
        parts.join(",")
    };
    ConnectOptions::new()
        .host(&list(|server| server.socket_dir().display().to_string()))
        .port(list(|server| config(server).get_ports()[0].to_string()))
        .user("postgres")
        .dbname("postgres")
        .set("target_session_attrs", "read-write")
        .unwrap()
}

/// A primary whose commits wait for its standby.
fn pair() -> Option<(Server, Server)> {
    let primary = Server::builder().durable(true).start().unwrap();
    let standby = match primary.standby("replica") {
        Ok(standby) => standby,
        // Some distributions of PostgreSQL do not contain it.
        Err(e) if e.to_string().contains("pg_basebackup") => {
            eprintln!("skipped: {e}");
            return None;
        }
        Err(e) => panic!("{e}"),
    };
    primary.wait_for_standby("replica").unwrap();
    Some((primary, standby))
}

#[test]
fn no_acknowledged_session_is_lost_in_a_failover() {
    let Some((primary, standby)) = pair() else {
        return;
    };
    let store = PostgresStore::builder()
        .timeout(PATIENCE)
        .connect(writable(&[&primary, &standby]))
        .unwrap();
    store.create_table().unwrap();

    let is_over = AtomicBool::new(false);
    let acknowledged = Mutex::new(Vec::<(Key, String)>::new());
    let unknown = AtomicUsize::new(0);
    let mut out_for = Duration::ZERO;
    thread::scope(|scope| {
        for thread in 0..8 {
            let (store, is_over) = (&store, &is_over);
            let (acknowledged, unknown) = (&acknowledged, &unknown);
            scope.spawn(move || {
                let mut count = 0;
                while !is_over.load(Ordering::SeqCst) {
                    count += 1;
                    let value = format!("{thread}.{count}");
                    let key = match store.generate(None, None) {
                        Ok(key) => key,
                        Err(Error::Disconnected(_)) => continue,
                        Err(e) => panic!("{e:?}"),
                    };
                    match store.set(&key, &value, None) {
                        Ok(()) => acknowledged.lock().unwrap().push((key, value)),
                        // The server may be gone between the write and its answer.
                        Err(Error::Disconnected(_)) => {
                            unknown.fetch_add(1, Ordering::SeqCst);
                        }
                        Err(e) => panic!("{e:?}"),
                    }
                }
            });
        }
        let count = || acknowledged.lock().unwrap().len();
        wait_until("all threads make calls", || count() > 200);
        primary.kill().unwrap();
        let dead = Instant::now();
        let before = count();
        standby.promote().unwrap();
        wait_until("calls succeed at the standby", || count() > before + 200);
        out_for = dead.elapsed();
        is_over.store(true, Ordering::SeqCst);
    });

    let acknowledged = acknowledged.into_inner().unwrap();
    let mut promoted = config(&standby).connect(NoTls).unwrap();
    for (key, value) in &acknowledged {
        let found = value_of(&mut promoted, key);
        assert_eq!(
            found.as_ref(),
            Some(value),
            "an acknowledged session is lost"
        );
    }
    eprintln!(
        "failover: {} acknowledged sessions, all there; {} calls nobody can know of; \
         200 calls were done at the standby {out_for:?} after the primary's death",
        acknowledged.len(),
        unknown.into_inner(),
    );
}

fn value_of(client: &mut Client, key: &Key) -> Option<String> {
    let sql = "SELECT session_data FROM session WHERE session_key = $1";
    let row = client.query_opt(sql, &[&key.as_str()]).unwrap();
    row.and_then(|row| row.get(0))
}

#[test]
fn a_standby_is_not_used_until_it_is_promoted() {
    let Some((primary, standby)) = pair() else {
        return;
    };
    let alone = writable(&[&standby]);
    let error = PostgresStore::connect(alone.clone()).unwrap_err();
    assert!(
        error.to_string().contains("the server is read-only"),
        "{error}"
    );
    // The standby is first in the list.
    let store = PostgresStore::connect(writable(&[&standby, &primary])).unwrap();
    store.create_table().unwrap();
    let key = store.generate(Some("lobster"), None).unwrap();

    primary.kill().unwrap();
    standby.promote().unwrap();
    assert_eq!(store.get(&key).unwrap().value, "lobster");
    store.set(&key, "crab", None).unwrap();
    PostgresStore::connect(alone).unwrap();
}

/// At the deadline, a commit stops waiting for a standby that does not answer. It is not undone, so its outcome
/// is unknown.
#[test]
fn a_commit_that_no_standby_has_confirmed_is_not_acknowledged() {
    let Some((primary, standby)) = pair() else {
        return;
    };
    let store = PostgresStore::builder()
        .timeout(Duration::from_millis(500))
        .connect(writable(&[&primary]))
        .unwrap();
    patiently(|| store.create_table());
    let key = patiently(|| store.generate(None, None));
    standby.pause().unwrap();
    wait_until("a write is sent", || {
        let error = store.set(&key, "lobster", None).unwrap_err();
        assert!(is_about_time(&error), "{error:?}");
        matches!(error, Error::Disconnected(_))
    });
    standby.resume().unwrap();
    wait_until("the standby has caught up", || {
        store.set(&key, "crab", None).is_ok()
    });
}

/// A pool of eight connections, all to a standby.
fn on_standby(switch: &Switch, timeout: Duration) -> PostgresStore {
    let builder = PostgresStore::builder().timeout(timeout);
    builder.from_pool(switch.pool(8))
}

/// Repeats a write as long as it reaches the standby, which another call is leaving.
fn on_primary<T>(write: impl Fn() -> Result<T, Error>) -> T {
    let begun = Instant::now();
    loop {
        match write() {
            Err(e) if e.sqlstate().is_some_and(|code| code.code() == "25006") => {
                assert!(begun.elapsed() < PATIENCE, "{e}");
            }
            written => return written.unwrap(),
        }
    }
}

#[test]
fn connections_to_a_standby_are_replaced_one_at_a_time() {
    let Some((primary, standby)) = pair() else {
        return;
    };
    let setup = PostgresStore::connect(primary.url()).unwrap();
    setup.create_table().unwrap();
    let key = setup.generate(Some("lobster"), None).unwrap();
    let switch = Switch::new(vec![config(&standby), config(&primary)]);
    let store = on_standby(&switch, PATIENCE);
    wait_until("the standby to have the session", || {
        store.get(&key).is_ok()
    });
    let before = switch.connected();
    switch.to_next();
    thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                for _ in 0..20 {
                    on_primary(|| store.generate(None, None));
                    assert_eq!(store.get(&key).unwrap().value, "lobster");
                }
            });
        }
    });
    // Each of the eight connections is replaced at most once.
    let left = switch.connected() - before;
    assert!((1..=8).contains(&left), "{left}");
}

#[test]
fn a_standby_without_primary_refuses_writes_in_time_and_reads() {
    let Some((primary, standby)) = pair() else {
        return;
    };
    let setup = PostgresStore::connect(primary.url()).unwrap();
    setup.create_table().unwrap();
    let key = setup.generate(Some("lobster"), None).unwrap();
    let switch = Switch::new(vec![config(&standby)]);
    let store = on_standby(&switch, Duration::from_secs(1));
    wait_until("the standby to have the session", || {
        store.get(&key).is_ok()
    });
    let before = switch.connected();
    thread::scope(|scope| {
        let writers: Vec<_> = (0..4)
            .map(|_| scope.spawn(|| store.set(&key, "crab", None)))
            .collect();
        while writers.iter().any(|writer| !writer.is_finished()) {
            assert_eq!(patiently(|| store.get(&key)).value, "lobster");
        }
        for writer in writers {
            let error = writer.join().unwrap().unwrap_err();
            let code = error.sqlstate().map(|code| code.code());
            let is_late = matches!(error, Error::TimedOut { .. });
            assert!(code == Some("25006") || is_late, "{error:?}");
        }
    });
    // One call at a time leaves it. The pauses double up to a quarter of a second.
    let left = switch.connected() - before;
    assert!((1..=15).contains(&left), "{left}");
}

/// Promotes the standby while the answer to the commit of an update is lost. The standby has not received that
/// commit, and executes `others` transactions before the store asks it.
fn update_with_lost_answer(
    others: usize,
    check: impl FnOnce(&PostgresStore, &Key, Result<u32, Error>),
) {
    let primary = Server::builder().durable(true).start().unwrap();
    let standby = match primary.standby("replica") {
        Ok(standby) => standby,
        Err(e) if e.to_string().contains("pg_basebackup") => {
            return eprintln!("skipped: {e}");
        }
        Err(e) => panic!("{e}"),
    };
    let proxy = Proxy::to(&config(&primary));
    let switch = Switch::new(vec![proxy.config(&config(&primary)), config(&standby)]);
    let builder = PostgresStore::builder().timeout(PATIENCE);
    let store = builder.from_pool(switch.pool(1));
    store.create_table().unwrap();
    let key = store.generate(Some("0"), None).unwrap();
    let mut reader = config(&standby).connect(NoTls).unwrap();
    let mut ask = |sql: &str| -> i64 { reader.query_one(sql, &[]).unwrap().get(0) };
    wait_until("the standby to have the session", || {
        let sql = "SELECT count(*) FROM pg_class WHERE relname = 'session'";
        ask(sql) == 1 && ask("SELECT count(*) FROM session") == 1
    });
    // From now on, the standby receives nothing.
    standby.set("primary_conninfo", "").unwrap();
    wait_until("the standby to be cut off", || {
        ask("SELECT count(*) FROM pg_stat_wal_receiver") == 0
    });

    let mut own = config(&primary).connect(NoTls).unwrap();
    let mut last = 0;
    for _ in 0..20 {
        let sql = "SELECT txid_current()";
        last = own.query_one(sql, &[]).unwrap().get::<_, i64>(0);
    }
    switch.hold();
    proxy.break_at(Break::AfterText("COMMIT"));
    let result = thread::scope(|scope| {
        let update = scope.spawn(|| {
            store.update(&key, None, &mut |value| {
                let value: u32 = value.unwrap().parse().unwrap();
                Some((value + 1).to_string())
            })
        });
        wait_until("the answer to be lost", || proxy.has_broken());
        primary.kill().unwrap();
        standby.promote().unwrap();
        let mut promoted = config(&standby).connect(NoTls).unwrap();
        for _ in 0..others {
            promoted.execute("SELECT txid_current()", &[]).unwrap();
        }
        let sql = "SELECT txid_snapshot_xmax(txid_current_snapshot())";
        let next: i64 = promoted.query_one(sql, &[]).unwrap().get(0);
        // The update had the next number.
        assert_eq!(next > last + 1, others > 0, "{next}, {last}");
        switch.to_next();
        update.join().unwrap()
    });
    check(
        &store,
        &key,
        result.map(|session| session.value.parse().unwrap()),
    );
}

#[test]
fn a_transaction_number_of_another_transaction_proves_no_update() {
    update_with_lost_answer(100, |store, key, result| {
        assert!(matches!(result, Err(Error::Disconnected(_))), "{result:?}");
        assert_eq!(store.get(key).unwrap().value, "0");
    });
}

#[test]
fn an_update_that_the_new_primary_does_not_have_is_repeated() {
    update_with_lost_answer(0, |store, key, result| {
        assert_eq!(result.unwrap(), 1);
        assert_eq!(store.get(key).unwrap().value, "1");
    });
}

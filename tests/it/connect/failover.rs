//! A primary that dies, and its standby that takes over.

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
use crate::support::{PATIENCE, patiently, wait_until};

fn config(server: &Server) -> Config {
    server.url().parse().unwrap()
}

/// Whichever of these takes writes.
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
        // Some distributions of the server come without it.
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
fn no_acknowledged_session_is_lost_when_the_standby_takes_over() {
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
                        // Nobody can know; the server may be gone in between.
                        Err(Error::Disconnected(_)) => {
                            unknown.fetch_add(1, Ordering::SeqCst);
                        }
                        Err(e) => panic!("{e:?}"),
                    }
                }
            });
        }
        let count = || acknowledged.lock().unwrap().len();
        wait_until("the load is on", || count() > 200);
        primary.kill().unwrap();
        let dead = Instant::now();
        let before = count();
        standby.promote().unwrap();
        wait_until("calls go on at the standby", || count() > before + 200);
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
fn a_standby_is_passed_over_until_it_is_promoted() {
    let Some((primary, standby)) = pair() else {
        return;
    };
    let alone = writable(&[&standby]);
    let error = PostgresStore::connect(alone.clone()).unwrap_err();
    assert!(
        error.to_string().contains("the server is read-only"),
        "{error}"
    );
    // It is named first, and is not taken.
    let store = PostgresStore::connect(writable(&[&standby, &primary])).unwrap();
    store.create_table().unwrap();
    let key = store.generate(Some("lobster"), None).unwrap();

    primary.kill().unwrap();
    standby.promote().unwrap();
    assert_eq!(store.get(&key).unwrap().value, "lobster");
    store.set(&key, "crab", None).unwrap();
    PostgresStore::connect(alone).unwrap();
}

/// Commits that wait for a standby which does not answer are cut short by their deadline, but not
/// undone: whether they last, nobody can know.
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

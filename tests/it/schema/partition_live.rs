//! Converting a table to one with partitions while programs use it.

use std::{
    sync::atomic::{AtomicBool, Ordering},
    thread,
};

use session_postgres::{Error, Key, SessionFields, Store, postgres::Client};

use super::partitions::definition;
use crate::support::{
    database::{Schema, lock},
    verbs::of_owner,
    wait_until,
};

/// Executes the script. Its parts are separated by empty lines, and may be transactions of their own.
fn convert(client: &mut Client) {
    for part in include_str!("../../../sql/partition-live.sql").split("\n\n") {
        client
            .batch_execute(part)
            .unwrap_or_else(|e| panic!("{e:?}: {part}"));
    }
}

/// Is set when it is dropped, also by a panic. Otherwise the callers would never end.
struct Done<'a>(&'a AtomicBool);

impl Drop for Done<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

/// Makes calls of every kind until `is_done`, and some more. Returns the living sessions with their values.
fn use_table(store: &impl Store, is_done: &AtomicBool) -> Result<Vec<(Key, String)>, Error> {
    let mut sessions = Vec::new();
    let mut more = 20;
    let mut round = 0;
    while more > 0 {
        if is_done.load(Ordering::Relaxed) {
            more -= 1;
        }
        round += 1;
        let value = format!("value {round}");
        let key = store.generate_with(of_owner("crab"))?;
        store.set(&key, "old", None)?;
        let key = store.rotate(&key)?;
        store.set_owner(&key, Some("prawn"))?;
        store.update(&key, None, &mut |_| Some(value.clone()))?;
        store.renew(&key, None)?;
        sessions.push((key, value));
        let cleared = Key::generate()?;
        store.insert(&cleared, Some("lobster"), None)?;
        store.clear(&cleared)?;
        assert!(matches!(store.get(&cleared), Err(Error::NotFound)));
        for made in store.generate_many(&[SessionFields::new(Some("many"), None); 3]) {
            sessions.push((made?, "many".to_owned()));
        }
        let (key, value) = sessions.swap_remove(round * 7 % sessions.len());
        assert_eq!(store.get(&key)?.value, value);
        match round % 3 {
            0 => store.clear(&key)?,
            1 => {
                store.set(&key, "again", None)?;
                sessions.push((key, "again".to_owned()));
            }
            _ => sessions.push((store.rotate(&key)?, value)),
        }
        let sets: Vec<_> = sessions
            .iter()
            .take(5)
            .map(|(key, value)| (key, &**value, None))
            .collect();
        for set in store.set_many(&sets) {
            set?;
        }
    }
    Ok(sessions)
}

#[test]
fn no_session_is_lost_when_a_table_in_use_is_partitioned() {
    let (schema, expected) = (Schema::new(), Schema::new());
    expected.run(include_str!("../../../sql/partitioned.sql"));
    let store = schema.store();
    let version = "SELECT current_setting('server_version_num')::int4";
    if schema
        .client()
        .query_one(version, &[])
        .unwrap()
        .get::<_, i32>(0)
        < 140_000
    {
        eprintln!("skipped: the script needs PostgreSQL 14");
        return;
    }
    schema.run(
        "INSERT INTO session SELECT md5(i::text), now() + interval '1 day', repeat('x', 200) \
         FROM generate_series(1, 10000) AS i",
    );
    let locked = store.generate(Some("locked"), None).unwrap();
    let is_done = AtomicBool::new(false);
    let sessions = thread::scope(|scope| {
        let callers: Vec<_> = (0..3)
            .map(|_| scope.spawn(|| use_table(&store, &is_done)))
            .collect();
        let done = Done(&is_done);
        // A transaction that locks a session does not keep the others from being copied.
        let mut holder = schema.client();
        let holding = lock(&mut holder, &locked);
        let converting = scope.spawn(|| convert(&mut schema.client()));
        let mut client = schema.client();
        let mut is_copied = || -> bool {
            let sql = "SELECT to_regclass('session_new') IS NOT NULL";
            client.query_one(sql, &[]).unwrap().get(0)
                && client
                    .query_one("SELECT count(*) >= 10000 FROM session_new", &[])
                    .unwrap()
                    .get(0)
        };
        wait_until("the other sessions to be copied", &mut is_copied);
        holding.rollback().unwrap();
        converting.join().unwrap();
        drop(done);
        let sessions = callers
            .into_iter()
            .map(|caller| caller.join().unwrap().unwrap());
        sessions.flatten().collect::<Vec<_>>()
    });
    for (key, value) in &sessions {
        assert_eq!(&store.get(key).unwrap().value, value);
    }
    assert_eq!(store.get(&locked).unwrap().value, "locked");
    assert_eq!(schema.count("true"), sessions.len() as i64 + 10_001);
    store.check().unwrap();
    schema.run("DROP TABLE session_old");
    assert_eq!(definition(&schema), definition(&expected));
}

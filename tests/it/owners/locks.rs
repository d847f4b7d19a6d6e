//! How clearing the sessions of an owner affects other calls.

use std::sync::Arc;

use session_postgres::{AsyncStore, Error, Key, Offload, Period, SessionFields, Store};
use tokio::runtime::Builder;

use super::{at_once, sessions};
use crate::support::{database::Schema, verbs::of_owner, wait_until};

/// Makes the removal of one session wait for a lock, and returns the client that has it.
fn hold_clearing(schema: &Schema, key: &str) -> session_postgres::postgres::Client {
    schema.run(&format!(
        "CREATE FUNCTION wait() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN \
             PERFORM pg_advisory_xact_lock_shared('session'::regclass::oid::bigint); RETURN OLD; \
         END $$; \
         CREATE TRIGGER wait BEFORE DELETE ON session FOR EACH ROW \
             WHEN (OLD.session_key = '{key}') EXECUTE FUNCTION wait()"
    ));
    let mut holder = schema.client();
    let hold = "SELECT pg_advisory_lock('session'::regclass::oid::bigint)";
    holder.execute(hold, &[]).unwrap();
    holder
}

fn wait_for_clearing(schema: &Schema) {
    let mut client = schema.client();
    wait_until("the clearing to wait", || {
        let sql = "SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND NOT granted \
                   AND objid = 'session'::regclass";
        client.query_one(sql, &[]).unwrap().get::<_, i64>(0) == 1
    });
}

#[test]
fn other_calls_do_not_wait_until_100_000_sessions_are_cleared() {
    const MANY: u64 = 100_000;
    let schema = Schema::new();
    let store = schema.store();
    schema.run(&format!(
        "INSERT INTO session (session_key, expire_date, session_data, owner) \
         SELECT md5(i::text), now() + interval '1 day', 'x', 'crab' FROM generate_series(1, {MANY}) AS i; \
         INSERT INTO session (session_key, expire_date, owner) VALUES ('last', now() + interval '1 day', 'crab')"
    ));
    let holder = hold_clearing(&schema, "last");
    let other = store
        .generate_with(SessionFields {
            owner: Some("prawn"),
            ..of_owner("prawn")
        })
        .unwrap();
    let runtime = Builder::new_multi_thread().enable_time().build().unwrap();
    let store = Offload::new(store);
    let clearing = runtime.spawn({
        let store = store.clone();
        async move { store.clear_owned("crab", None).await }
    });
    wait_for_clearing(&schema);
    // Many calls at a time, so that the facade combines them.
    let calls: Vec<_> = (0..200)
        .map(|number| {
            let (store, key) = (store.clone(), other.clone());
            runtime.spawn(async move {
                match number % 8 {
                    0 => store.get(&key).await.map(drop),
                    1 => store.set(&key, "x", None).await,
                    2 => store.touch(&key, None).await,
                    3 => store.renew(&key, None).await.map(drop),
                    4 => store.generate(Some("new"), None).await.map(drop),
                    5 => store.generate_with(of_owner("crab")).await.map(drop),
                    6 => store.owned("prawn").await.map(drop),
                    _ => store.clear(&Key::generate()?).await,
                }
            })
        })
        .collect();
    for call in calls {
        runtime.block_on(call).unwrap().unwrap();
    }
    // A session that is being cleared can still be read.
    let last: Key = "last".parse().unwrap();
    let read = runtime.block_on(store.get(&last));
    assert!(matches!(read, Err(Error::NotSet)), "{read:?}");
    assert!(!clearing.is_finished());
    drop(holder);
    assert_eq!(runtime.block_on(clearing).unwrap().unwrap(), MANY + 1);
    // Those of this owner that were created meanwhile.
    assert_eq!(schema.count("owner = 'crab'"), 25);
}

#[test]
fn a_write_to_a_session_that_is_being_cleared_does_not_find_it_afterwards() {
    let schema = Schema::new();
    let store = schema.store();
    let keys = sessions(&store, 3);
    let holder = hold_clearing(&schema, keys[1].as_str());
    let (store, waiting) = (Arc::new(store), keys[1].clone());
    let clearing = std::thread::spawn({
        let store = store.clone();
        move || store.clear_owned("crab", None)
    });
    wait_for_clearing(&schema);
    // A renewal does not wait.
    for key in &keys {
        assert_eq!(
            store.renew(key, Some(Period::DAY * 30)).unwrap().value,
            "lobster"
        );
    }
    let set = std::thread::spawn({
        let store = store.clone();
        move || store.set(&waiting, "crab", None)
    });
    drop(holder);
    assert_eq!(clearing.join().unwrap().unwrap(), 3);
    let result = set.join().unwrap();
    // The call may have been executed before the clearing reached the session, or after it.
    assert!(
        matches!(result, Ok(()) | Err(Error::NotFound)),
        "{result:?}"
    );
    assert_eq!(schema.count("true"), 0);
}

#[test]
fn a_write_to_a_session_with_an_owner_is_a_heap_only_update() {
    let schema = Schema::new();
    let store = schema.store();
    let keys = sessions(&store, 1);
    // Few enough for one page, because the space of old versions cannot be reused while any transaction is open.
    for number in 0..5 {
        store.set(&keys[0], &number.to_string(), None).unwrap();
        store.touch(&keys[0], None).unwrap();
        store
            .update(&keys[0], None, &mut |_| Some("x".into()))
            .unwrap();
        assert!(store.set_many(&[(&keys[0], "y", None); 2])[1].is_ok());
        store
            .renew(&keys[0], Some(Period::DAY * (number + 30)))
            .unwrap();
    }
    drop(store);
    let count = |column: &str| -> i64 {
        let sql =
            format!("SELECT {column} FROM pg_stat_all_tables WHERE relid = 'session'::regclass");
        schema.client().query_one(&sql, &[]).unwrap().get(0)
    };
    wait_until("the server to count the updates", || {
        count("n_tup_upd") >= 21
    });
    assert_eq!(count("n_tup_hot_upd"), count("n_tup_upd"));
}

#[test]
fn clearing_next_to_batches_ends_and_leaves_no_session_behind() {
    let schema = Schema::new();
    let store = schema.store();
    for round in 0..30 {
        let mut keys = sessions(&store, 200);
        keys.sort();
        if round % 2 == 0 {
            keys.reverse();
        }
        let all: Vec<_> = keys.iter().collect();
        let (cleared, results) = at_once(
            || store.clear_owned("crab", None),
            || match round % 3 {
                0 => store.clear_many(&all),
                1 => store.set_many(&all.iter().map(|key| (*key, "x", None)).collect::<Vec<_>>()),
                _ => store.touch_many(&all.iter().map(|key| (*key, None)).collect::<Vec<_>>()),
            },
        );
        assert!(cleared.unwrap() <= 200);
        for result in results {
            assert!(
                matches!(result, Ok(()) | Err(Error::NotFound)),
                "{result:?}"
            );
        }
        assert_eq!(schema.count("true"), 0);
    }
}

//! Sessions that are created or changed while the sessions of their owner are cleared.

use session_postgres::{
    Error, PostgresStore, SessionFields, Store,
    postgres::{Client, Transaction},
};

use super::{at_once, sessions};
use crate::support::{
    database::{OCAML_TABLE, Schema},
    verbs::of_owner,
};

const ROUNDS: usize = 100;

/// Stores on the recommended table, on one without a unique index, and on one that is partitioned by the key, so that
/// a rotation moves the row to another partition.
fn stores() -> Vec<(Schema, PostgresStore)> {
    let tables = [
        "",
        OCAML_TABLE,
        "CREATE TABLE session (session_key char(40) PRIMARY KEY, expire_date timestamptz(2) NOT NULL, \
             session_data text) PARTITION BY HASH (session_key); \
         CREATE TABLE part0 PARTITION OF session FOR VALUES WITH (MODULUS 2, REMAINDER 0); \
         CREATE TABLE part1 PARTITION OF session FOR VALUES WITH (MODULUS 2, REMAINDER 1)",
    ];
    let stores = tables.into_iter().map(|table| {
        let schema = Schema::new();
        schema.run(table);
        let store = schema.store();
        schema.run(
            "ALTER TABLE session ADD COLUMN IF NOT EXISTS owner text; \
             CREATE INDEX IF NOT EXISTS session_owner_idx ON session (owner)",
        );
        (schema, store)
    });
    stores.collect()
}

#[test]
fn a_session_that_is_created_meanwhile_is_cleared_or_remains_as_a_whole() {
    let (schema, store) = stores().swap_remove(0);
    for _ in 0..ROUNDS {
        let old = sessions(&store, 2);
        let (cleared, new) = at_once(
            || store.clear_owned("crab", None).unwrap(),
            || store.generate_with(of_owner("crab")).unwrap(),
        );
        assert!(old.iter().all(|key| store.find(key).unwrap().is_none()));
        let left = store.owned("crab").unwrap();
        assert_eq!(cleared + left.len() as u64, 3);
        assert!(left.iter().all(|session| session.handle == new.handle()));
        assert_eq!(store.find(&new).unwrap().is_some(), left.len() == 1);
        store.clear_owned("crab", None).unwrap();
    }
    assert_eq!(schema.count("true"), 0);
}

/// The row of the user in table `users`, locked with this clause. Returns whether the user may log in.
fn may_log_in(transaction: &mut Transaction<'_>, lock: &str) -> bool {
    let sql = format!("SELECT may_log_in FROM users WHERE id = 'crab' FOR {lock}");
    transaction.query_one(&sql, &[]).unwrap().get(0)
}

fn log_in(store: &PostgresStore, client: &mut Client) -> bool {
    let mut transaction = client.transaction().unwrap();
    let may = may_log_in(&mut transaction, "SHARE");
    if may {
        let mut calls = store.in_transaction(&mut transaction);
        calls.generate_with(of_owner("crab")).unwrap();
    }
    transaction.commit().unwrap();
    may
}

fn block(store: &PostgresStore, client: &mut Client) -> u64 {
    let mut transaction = client.transaction().unwrap();
    assert!(may_log_in(&mut transaction, "UPDATE"));
    let sql = "UPDATE users SET may_log_in = false";
    transaction.execute(sql, &[]).unwrap();
    let mut calls = store.in_transaction(&mut transaction);
    let cleared = calls.clear_owned("crab", None).unwrap();
    transaction.commit().unwrap();
    cleared
}

#[test]
fn no_session_remains_if_both_transactions_lock_the_user() {
    let (schema, store) = stores().swap_remove(0);
    schema.run("CREATE TABLE users (id text PRIMARY KEY, may_log_in bool); INSERT INTO users VALUES ('crab')");
    let (mut one, mut other) = (schema.client(), schema.client());
    let mut logins = 0;
    for _ in 0..ROUNDS * 3 {
        schema.run("UPDATE users SET may_log_in = true");
        let (logged_in, cleared) =
            at_once(|| log_in(&store, &mut one), || block(&store, &mut other));
        assert_eq!(cleared, u64::from(logged_in));
        assert_eq!(schema.count("owner = 'crab'"), 0);
        logins += usize::from(logged_in);
    }
    println!("{logins} of {} logins were first", ROUNDS * 3);
}

type Change = fn(&PostgresStore, &session_postgres::Key) -> Result<(), Error>;

/// Changes of a session that keep its owner.
const CHANGES: [Change; 7] = [
    |store, key| store.rotate(key).map(drop),
    |store, key| store.rotate_with(key, of_owner("crab")).map(drop),
    |store, key| {
        let new = session_postgres::Key::generate()?;
        store.rotate_to(key, &new, SessionFields::default())
    },
    |store, key| store.set_owner(key, Some("crab")),
    |store, key| store.set(key, "new", None),
    |store, key| {
        store
            .update(key, None, &mut |_| Some("new".into()))
            .map(drop)
    },
    |store, key| store.transaction(|tx| tx.rotate(key).map(drop)),
];

#[test]
fn a_session_that_is_changed_meanwhile_is_always_cleared() {
    for (schema, store) in stores() {
        for change in CHANGES {
            for _ in 0..ROUNDS / 4 {
                let keys = sessions(&store, 3);
                let (cleared, changed) = at_once(
                    || store.clear_owned("crab", None).unwrap(),
                    || {
                        keys.iter()
                            .map(|key| change(&store, key))
                            .collect::<Vec<_>>()
                    },
                );
                assert_eq!(cleared, 3);
                assert_eq!(schema.count("true"), 0);
                for result in changed {
                    assert!(
                        matches!(result, Ok(()) | Err(Error::NotFound)),
                        "{result:?}"
                    );
                }
            }
        }
    }
}

#[test]
fn a_session_that_leaves_its_owner_meanwhile_is_kept_or_cleared() {
    let (schema, store) = stores().swap_remove(0);
    for _ in 0..ROUNDS {
        let keys = sessions(&store, 2);
        let (cleared, changed) = at_once(
            || store.clear_owned("crab", None).unwrap(),
            || {
                keys.iter()
                    .map(|key| store.set_owner(key, None).is_ok())
                    .collect::<Vec<_>>()
            },
        );
        let kept = changed.into_iter().filter(|changed| *changed).count();
        assert_eq!(cleared + kept as u64, 2);
        assert_eq!(schema.count("owner IS NULL"), kept as i64);
        assert_eq!(schema.count("owner IS NOT NULL"), 0);
        schema.run("DELETE FROM session");
    }
}

#[test]
fn the_session_that_is_excepted_is_never_cleared() {
    let (_schema, store) = stores().swap_remove(0);
    for _ in 0..ROUNDS / 2 {
        let keys = sessions(&store, 3);
        let (cleared, also) = at_once(
            || store.clear_owned("crab", Some(&keys[0])).unwrap(),
            || store.clear_owned("crab", Some(&keys[0])).unwrap(),
        );
        assert_eq!(cleared + also, 2);
        assert_eq!(store.get(&keys[0]).unwrap().value, "lobster");
        assert!(store.clear_handle("crab", &keys[0].handle()).unwrap());
    }
}

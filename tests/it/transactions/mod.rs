//! Transactions: calls of a store in one, and those that are left open on its connections.

mod commits;
mod conflicts;
mod cuts;
mod left_open;
mod locks;
mod offloaded;

use session_postgres::{
    Error, Key, Period, PostgresStore, SessionFields, SessionTransaction, Store,
};

use crate::support::{database::Schema, verbs::of_owner};

type Verb = (
    &'static str,
    fn(&mut SessionTransaction<'_, '_>, &Key) -> Result<(), Error>,
);

/// Calls that add a session, or change the one with the key.
const WRITES: [Verb; 14] = [
    ("generate", |tx, _| {
        tx.generate(Some("crab"), None).map(drop)
    }),
    ("generate_with", |tx, _| {
        tx.generate_with(of_owner("user 42")).map(drop)
    }),
    ("insert", |tx, _| {
        tx.insert(&Key::generate()?, Some("crab"), None)
    }),
    ("renew", |tx, key| tx.renew(key, None).map(drop)),
    ("set", |tx, key| tx.set(key, "crab", None)),
    ("touch", |tx, key| tx.touch(key, None)),
    ("update", |tx, key| {
        tx.update(key, None, |_| Some("crab".to_owned())).map(drop)
    }),
    ("set_owner", |tx, key| tx.set_owner(key, Some("user 43"))),
    ("rotate", |tx, key| tx.rotate(key).map(drop)),
    ("rotate_with", |tx, key| {
        tx.rotate_with(key, of_owner("user 43")).map(drop)
    }),
    ("rotate_to", |tx, key| {
        tx.rotate_to(key, &Key::generate()?, SessionFields::default())
    }),
    ("clear", |tx, key| tx.clear(key)),
    ("clear_owned", |tx, _| {
        tx.clear_owned("user 42", None).map(drop)
    }),
    ("clear_handle", |tx, key| {
        tx.clear_handle("user 42", &key.handle()).map(drop)
    }),
];

/// Adds a session of `user 42`, whose renewal is due.
fn session(store: &PostgresStore) -> Key {
    let fields = SessionFields {
        expiry: Some(Period::HOUR),
        ..of_owner("user 42")
    };
    store.generate_with(fields).unwrap()
}

/// All rows of the table, as others see it.
fn rows(schema: &Schema) -> Vec<String> {
    let sql = "SELECT session::text FROM session ORDER BY 1";
    let rows = schema.client().query(sql, &[]).unwrap();
    rows.iter().map(|row| row.get(0)).collect()
}

/// A table of users, and a session that has the user's address as its value.
struct Users {
    schema: Schema,
    key: Key,
}

impl Users {
    fn new() -> Users {
        let schema = Schema::new();
        schema.run(
            "CREATE TABLE users (id int PRIMARY KEY, email text UNIQUE DEFERRABLE INITIALLY DEFERRED); \
             INSERT INTO users VALUES (42, 'old'), (43, 'taken')",
        );
        let key = schema.store().generate(Some("old"), None).unwrap();
        Users { schema, key }
    }

    /// The address of the user and that in the session.
    fn addresses(&self) -> [String; 2] {
        let sql = "SELECT email, session_data FROM users, session WHERE id = 42";
        let row = self.schema.client().query_one(sql, &[]).unwrap();
        [row.get(0), row.get(1)]
    }

    fn assert_old(&self, what: &str) {
        assert_eq!(self.addresses(), ["old", "old"], "{what}");
    }

    fn assert_new(&self, what: &str) {
        assert_eq!(self.addresses(), ["new", "new"], "{what}");
    }
}

/// Changes the address of the user and of the session to `new`.
fn change(tx: &mut SessionTransaction<'_, '_>, key: &Key) -> Result<(), Error> {
    change_to("new", tx, key)
}

fn change_to(address: &str, tx: &mut SessionTransaction<'_, '_>, key: &Key) -> Result<(), Error> {
    tx.execute("UPDATE users SET email = $1 WHERE id = 42", &[&address])?;
    tx.set(key, address, None)
}

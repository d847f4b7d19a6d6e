//! The life of a session, step by step.
//!
//! `tests/with-postgres cargo run --example quickstart` starts a PostgreSQL server that stops with the program.
//! If `DATABASE_URL` is set, the example uses that database. It creates the table `session_quickstart` and
//! drops it at the end.

use std::{error::Error, thread, time::Duration};

use session_postgres::{Key, Period, PostgresStore, SessionFields, Store};
use throwaway_postgres::Database;

const TABLE: &str = "session_quickstart";

fn main() -> Result<(), Box<dyn Error>> {
    let database = Database::open()?;
    let store = PostgresStore::builder()
        .table(TABLE)?
        .connect(database.url())?;
    let version: String =
        store.with_client(|client| client.query_one("SHOW server_version", &[])?.try_get(0))??;
    println!("Connected to PostgreSQL {version}.");

    store.create_table()?;
    store.check()?;
    println!("Created the table {TABLE:?}.\n");

    let outcome = tour(&store);
    store.with_client(|client| client.batch_execute(&format!("DROP TABLE {TABLE}")))??;
    println!("\nDropped the table.");
    outcome
}

fn tour(store: &PostgresStore) -> Result<(), Box<dyn Error>> {
    println!("A visitor arrives: create a session without a value that lasts an hour.");
    let key = store.generate(None, Some(Period::HOUR))?;
    println!(
        "  the key has {} characters and is sent as a cookie",
        key.as_str().len()
    );
    show(store, "get", &key);

    println!("The visitor orders a lobster.");
    store.set(&key, "1 lobster", Some(Period::HOUR))?;
    show(store, "get", &key);

    println!("And a second one: read, change and write in one step.");
    let session = store.update(&key, Some(Period::HOUR), &mut |order| {
        Some(format!("{}, 1 more lobster", order.unwrap_or("nothing")))
    })?;
    println!("  update: {:?}", session.value);

    println!("The visitor logs in: the session moves to a new key.");
    let old = key;
    let key = store.rotate(&old)?;
    show(store, "get by the old key", &old);
    show(store, "get by the new key", &key);

    println!("A session that lasts half a second, read until it expires.");
    let short = store.generate(Some("in a hurry"), Some(Period::milliseconds(500)))?;
    show(store, "get", &short);
    while store.get(&short).is_ok() {
        thread::sleep(Duration::from_millis(10));
    }
    show(store, "get", &short);
    println!(
        "  set: {}",
        describe(store.set(&short, "too late", None).map(|()| "done".into()))
    );

    println!("A thousand sessions: create all in one round trip, read all in another.");
    let created = store.generate_many(&[SessionFields::new(Some("one of many"), None); 1000]);
    let keys = created.iter().flatten().collect::<Vec<_>>();
    let found = store.get_many(&keys);
    println!(
        "  created {}, found {}",
        keys.len(),
        found.iter().flatten().count()
    );

    println!("The visitor logs out.");
    store.clear(&key)?;
    show(store, "get", &key);
    Ok(())
}

fn show(store: &PostgresStore, what: &str, key: &Key) {
    println!(
        "  {what}: {}",
        describe(store.get(key).map(|session| format!(
            "{:?}, {:.1} s left",
            session.value,
            session.period.as_seconds_f64()
        )))
    );
}

fn describe(result: Result<String, session_postgres::Error>) -> String {
    match result {
        Ok(found) => found,
        Err(error) => format!("{error:?}: {error}"),
    }
}

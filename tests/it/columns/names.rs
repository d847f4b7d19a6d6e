//! Names of columns.

use session_postgres::{Columns, Error, Period, PostgresStore, Store};

use crate::support::{
    database::Schema,
    verbs::{VERBS, of_owner},
};

/// Names for the key, the expiry date, the value, the time of creation and the owner.
const NAMES: [[&str; 5]; 7] = [
    [
        "a\"b",
        "{expiry}",
        "x; DROP TABLE session; --",
        "{table}",
        "OWNER",
    ],
    ["session", "key", "value", "owner", "created_at"],
    ["select", "order", "user", "group", "null"],
    ["place", "micros", "data", "expires", "sp__"],
    [
        "line\nbreak",
        "tab\t",
        "é",
        "'",
        "line\nbreak; SELECT 1 / 0; --",
    ],
    ["$1", "$2", "*/ --", "/*", "%s"],
    ["old", "new", "excluded", "now", "interval"],
];

fn columns<'a>([key, expiry, value, created_at, owner]: [&'a str; 5]) -> Columns<'a> {
    Columns {
        key,
        expiry,
        value,
        created_at,
        owner,
    }
}

#[test]
fn every_verb_works_with_columns_of_any_name() {
    for names in NAMES {
        for (hashes, max_age) in [(false, None), (true, Some(Period::DAY))] {
            let schema = Schema::new();
            let builder = schema.builder().columns(columns(names)).unwrap();
            let builder = builder.hash_keys(hashes).max_age(max_age);
            let store = builder.from_pool(schema.pool(2));
            store
                .create_table()
                .unwrap_or_else(|e| panic!("{names:?}: {e:?}"));
            store.check().unwrap();
            // It exists.
            store.create_table().unwrap();
            for (name, verb) in VERBS {
                let key = store.generate_with(of_owner("crab")).unwrap();
                verb(&store, &key).unwrap_or_else(|e| panic!("{names:?}, {name}: {e:?}"));
            }
            store.generate(None, Some(Period::ZERO)).unwrap();
            assert_eq!(store.prune(10).unwrap(), 1);
            store
                .transaction(|tx| {
                    let key = tx.generate_with(of_owner("shrimp"))?;
                    tx.renew(&key, Some(Period::HOUR * 2))?;
                    tx.rotate(&key)?;
                    assert_eq!(tx.owned("shrimp")?.len(), 1);
                    Ok::<_, Error>(())
                })
                .unwrap();
        }
    }
}

#[test]
fn names_of_63_bytes_are_used_as_they_are() {
    let schema = Schema::new();
    let long = ["a", "b", "c", "d", "e"].map(|letter| letter.repeat(63));
    let [key, expiry, value, created, owner] = &long;
    let names = columns([key, expiry, value, created, owner]);
    let builder = schema.builder().columns(names).unwrap();
    let store = builder.from_pool(schema.pool(1));
    store.create_table().unwrap();
    store.check().unwrap();
    let made = store.generate_with(of_owner("crab")).unwrap();
    assert_eq!(store.get(&made).unwrap().value, "lobster");
    assert_eq!(
        schema.count(&format!("{value} = 'lobster' AND {owner} = 'crab'")),
        1
    );
}

#[test]
fn a_name_that_postgresql_does_not_accept_is_refused() {
    let long = "x".repeat(64);
    for (place, what) in ["key", "expiry", "value", "created_at", "owner"]
        .into_iter()
        .enumerate()
    {
        for bad in ["", "nul\0", &long] {
            let mut names = ["a", "b", "c", "d", "e"];
            names[place] = bad;
            let result = PostgresStore::builder().columns(columns(names));
            let is_refused = matches!(&result, Err(Error::InvalidOption(_)));
            assert!(is_refused, "{what} {bad:?}");
        }
    }
}

#[test]
fn a_missing_column_is_reported_by_its_name() {
    let schema = Schema::new();
    schema.store();
    let columns = Columns {
        value: "sess",
        ..Columns::default()
    };
    let builder = schema.builder().columns(columns).unwrap();
    let store = builder.from_pool(schema.pool(1));
    let error = store.generate(Some("x"), None).unwrap_err();
    let Error::MissingColumn { table, source } = &error else {
        panic!("{error:?}");
    };
    assert!(table.contains("session") && source.message().contains("sess"));
    let problems = store.check().unwrap_err().to_string();
    assert!(
        problems.contains("column sess of type text is missing"),
        "{problems}"
    );
}

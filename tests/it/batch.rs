//! Many at once, where the server has something against some of them.

use std::thread;

use session_postgres::{Error, Key, Period, PostgresStore, Store};

use crate::support::{
    database::{Schema, lock},
    role::Role,
    wait_until,
};

fn generated(store: &impl Store, count: usize) -> Vec<Key> {
    let keys = store.generate_many(&vec![(Some("old"), None); count]);
    keys.into_iter().map(Result::unwrap).collect()
}

#[test]
fn a_call_that_the_server_refuses_spoils_no_other() {
    let schema = Schema::new();
    let store = schema.store();
    let keys = generated(&store, 100);
    schema.run("ALTER TABLE session ADD CHECK (session_data <> 'bad')");

    let is_bad = |i: usize| [0, 41, 42, 99].contains(&i);
    let value = |i| if is_bad(i) { "bad" } else { "new" };
    let calls: Vec<_> = keys
        .iter()
        .enumerate()
        .map(|(i, key)| (key, value(i), None))
        .collect();
    for (i, result) in store.set_many(&calls).into_iter().enumerate() {
        match result {
            Ok(()) => assert!(!is_bad(i)),
            Err(error) => {
                assert!(is_bad(i), "{error}");
                assert_eq!(error.sqlstate().unwrap().code(), "23514");
            }
        }
    }
    for (i, key) in keys.iter().enumerate() {
        assert_eq!(
            store.get(key).unwrap().value,
            if is_bad(i) { "old" } else { "new" }
        );
    }

    let made = store.generate_many(&[(Some("good"), None), (Some("bad"), None), (None, None)]);
    assert!(made[0].is_ok() && made[1].is_err() && made[2].is_ok());
    assert_eq!(schema.count("true"), 102);
    let new: Vec<_> = (0..3).map(|_| Key::generate().unwrap()).collect();
    let calls: Vec<_> = new
        .iter()
        .zip(["good", "bad", "good"])
        .map(|(key, v)| (key, Some(v), None))
        .collect();
    let inserted = store.insert_many(&calls);
    assert!(inserted[0].is_ok() && inserted[1].is_err() && inserted[2].is_ok());
    assert_eq!(schema.count("true"), 104);
}

#[test]
fn an_exception_of_a_trigger_reaches_the_call_that_raised_it() {
    let schema = Schema::new();
    let store = schema.store();
    let keys = generated(&store, 3);
    schema.run(
        "CREATE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN \
             IF NEW.session_data = 'bad' THEN \
                 RAISE 'not this one' USING ERRCODE = 'Q0001'; \
             END IF; \
             RETURN NEW; \
         END $$; \
         CREATE TRIGGER refuse BEFORE UPDATE ON session FOR EACH ROW EXECUTE FUNCTION refuse()",
    );
    let results = store.set_many(&[
        (&keys[0], "a", None),
        (&keys[1], "bad", None),
        (&keys[2], "c", None),
    ]);
    assert!(results[0].is_ok() && results[2].is_ok());
    let error = results[1].as_ref().unwrap_err();
    assert!(error.to_string().contains("not this one"), "{error}");
}

#[test]
fn a_policy_for_rows_refuses_only_the_call_that_breaks_it() {
    let schema = Schema::new();
    schema.store();
    let role = Role::new(&schema);
    role.grant("GRANT SELECT, INSERT, UPDATE, DELETE ON session TO web");
    schema.run(
        "ALTER TABLE session ENABLE ROW LEVEL SECURITY; \
         CREATE POLICY short ON session USING (true) WITH CHECK (length(session_data) < 5)",
    );
    let store = role.store();
    let calls = [
        (Some("a"), None),
        (Some("too long"), None),
        (Some("c"), None),
    ];
    let made = store.generate_many(&calls);
    assert!(made[0].is_ok() && made[2].is_ok());
    let error = made[1].as_ref().unwrap_err();
    assert_eq!(error.sqlstate().unwrap().code(), "42501", "{error}");
}

#[test]
fn a_row_that_is_locked_for_too_long_fails_only_its_own_call() {
    let schema = Schema::new();
    let keys = generated(&schema.store(), 3);
    let mut client = schema.client();
    client.batch_execute("SET lock_timeout = '50ms'").unwrap();
    let store = schema.builder().from_client(client);
    let mut holder = schema.client();
    let _locked = lock(&mut holder, &keys[1]);
    let calls: Vec<_> = keys.iter().map(|key| (key, "new", None)).collect();
    let results = store.set_many(&calls);
    assert!(results[0].is_ok() && results[2].is_ok(), "{results:?}");
    let error = results[1].as_ref().unwrap_err();
    assert_eq!(error.sqlstate().unwrap().code(), "55P03", "{error}");
}

#[test]
fn a_row_that_stays_locked_holds_up_no_other_call() {
    type Many = fn(&PostgresStore, &[&Key]) -> Vec<Result<(), Error>>;
    let verbs: [(Many, &str); 3] = [
        (
            |store, keys| {
                let calls: Vec<_> = keys.iter().map(|key| (*key, "new", None)).collect();
                store.set_many(&calls)
            },
            "session_data = 'new'",
        ),
        (
            |store, keys| {
                let calls: Vec<_> = keys.iter().map(|key| (*key, Some(Period::HOUR))).collect();
                store.touch_many(&calls)
            },
            "expire_date < now() + interval '1 day'",
        ),
        (|store, keys| store.clear_many(keys), "false"),
    ];
    for (many, done) in verbs {
        let schema = Schema::new();
        let store = schema.store();
        let keys = generated(&store, 40);
        let keys: Vec<_> = keys.iter().collect();
        let mut holder = schema.client();
        let locked = lock(&mut holder, keys[20]);
        let left = format!("({done}) IS NOT TRUE");
        thread::scope(|scope| {
            let call = scope.spawn(|| many(&store, &keys));
            wait_until("all others are done", || schema.count(&left) == 1);
            assert!(!call.is_finished());
            locked.rollback().unwrap();
            let results = call.join().unwrap();
            assert!(results.iter().all(Result::is_ok), "{results:?}");
        });
        assert_eq!(schema.count(&left), 0);
    }
}

#[test]
fn a_failure_of_the_whole_reaches_every_call() {
    let schema = Schema::new();
    let store = schema.store();
    let keys = generated(&store, 3);
    schema.run("DROP TABLE session");
    let keys: Vec<_> = keys.iter().collect();
    for result in store.get_many(&keys) {
        assert!(matches!(result, Err(Error::MissingTable { .. })));
    }
    for result in store.clear_many(&keys) {
        assert!(matches!(result, Err(Error::MissingTable { .. })));
    }
}

#[test]
fn values_of_many_megabytes_go_together() {
    let schema = Schema::new();
    let store = schema.store();
    let keys = generated(&store, 5);
    let large = "0123456789abcdef".repeat(1 << 19);
    let values: Vec<_> = (0..5).map(|i| format!("{i}{large}")).collect();
    let calls: Vec<_> = keys
        .iter()
        .zip(&values)
        .map(|(key, v)| (key, v.as_str(), None))
        .collect();
    assert!(store.set_many(&calls).iter().all(Result::is_ok));
    for (found, value) in store
        .get_many(&keys.iter().collect::<Vec<_>>())
        .into_iter()
        .zip(&values)
    {
        assert!(found.unwrap().value == *value);
    }
}

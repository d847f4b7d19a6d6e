//! Calls of a batch that the server rejects.

use session_postgres::{Error, Key, SessionFields, Store};

use super::{counted, generated, statements};
use crate::support::{database::Schema, role::Role};

#[test]
fn a_call_that_the_server_rejects_does_not_fail_other_calls() {
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

    let made = store.generate_many(&[
        SessionFields::new(Some("good"), None),
        SessionFields::new(Some("bad"), None),
        SessionFields::new(None, None),
    ]);
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
fn a_row_level_policy_rejects_only_the_call_that_violates_it() {
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
        SessionFields::new(Some("a"), None),
        SessionFields::new(Some("too long"), None),
        SessionFields::new(Some("c"), None),
    ];
    let made = store.generate_many(&calls);
    assert!(made[0].is_ok() && made[2].is_ok(), "{made:?}");
    let error = made[1].as_ref().unwrap_err();
    assert_eq!(error.sqlstate().unwrap().code(), "42501", "{error}");
}

#[test]
fn a_missing_table_is_reported_to_every_call() {
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
fn a_missing_privilege_costs_at_most_three_statements() {
    let schema = Schema::new();
    let keys = generated(&schema.store(), 256);
    let role = Role::new(&schema);
    role.grant("GRANT SELECT ON session TO web");
    let (proxy, store) = counted(&schema, &role.settings());
    let keys: Vec<_> = keys.iter().collect();
    let sets: Vec<_> = keys.iter().map(|key| (*key, "new", None)).collect();
    let new: Vec<_> = (0..256).map(|_| Key::generate().unwrap()).collect();
    let inserts: Vec<_> = new.iter().map(|key| (key, None, None)).collect();
    let calls: [&dyn Fn() -> Vec<Result<(), Error>>; 4] = [
        &|| {
            let made = store
                .generate_many(&[SessionFields::new(None, None); 256])
                .into_iter();
            made.map(|made| made.map(drop)).collect()
        },
        &|| store.set_many(&sets),
        &|| store.clear_many(&keys),
        &|| store.insert_many(&inserts),
    ];
    for (number, call) in calls.into_iter().enumerate() {
        for result in call() {
            let error = result.unwrap_err();
            assert_eq!(error.sqlstate().unwrap().code(), "42501", "{error}");
        }
        let statements = statements(&proxy);
        assert!((1..=3).contains(&statements), "{number}: {statements}");
    }
}

#[test]
fn a_locked_table_costs_at_most_three_round_trips() {
    for limit in ["statement_timeout", "lock_timeout"] {
        let schema = Schema::new();
        let keys = generated(&schema.store(), 256);
        let (proxy, store) = counted(&schema, &format!("SET {limit} = '200ms'"));
        let mut holder = schema.client();
        let calls: Vec<_> = keys.iter().map(|key| (key, "new", None)).collect();
        // The second time, the statements are already prepared.
        for _ in 0..2 {
            let mut locked = holder.transaction().unwrap();
            locked.batch_execute("LOCK TABLE session").unwrap();
            proxy.counts();
            for result in store.set_many(&calls) {
                let error = result.unwrap_err();
                assert!(matches!(error, Error::Database(_)), "{limit}: {error:?}");
            }
            let (round_trips, _) = proxy.counts();
            assert!((1..=3).contains(&round_trips), "{limit}: {round_trips}");
            locked.rollback().unwrap();
            assert!(store.set_many(&calls).iter().all(Result::is_ok));
        }
    }
}

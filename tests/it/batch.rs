//! Many at once, where the server has something against some of them.

use std::thread;

use session_postgres::{Error, Key, Period, PostgresStore, Store, postgres::NoTls};

use crate::support::{
    database::{Schema, lock},
    proxy::Proxy,
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
    assert!(made[0].is_ok() && made[2].is_ok(), "{made:?}");
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

/// The original's table allows several rows of one key.
#[test]
fn one_locked_row_of_several_keeps_its_session_locked() {
    type Many = fn(&PostgresStore, [&Key; 2]) -> Vec<Result<(), Error>>;
    let verbs: [Many; 3] = [
        |store, keys| store.try_set_many(&keys.map(|key| (key, "new", None))),
        |store, keys| store.try_touch_many(&keys.map(|key| (key, None))),
        |store, keys| store.try_clear_many(&keys),
    ];
    for verb in verbs {
        let schema = Schema::new();
        schema.create_table(true);
        let store = schema.builder().from_pool(schema.pool(1));
        let keys = generated(&store, 2);
        let copy = format!(
            "INSERT INTO session SELECT * FROM session WHERE session_key = '{}'",
            keys[0]
        );
        schema.run(&copy);
        let mut holder = schema.client();
        let mut locked = holder.transaction().unwrap();
        let lock = "SELECT FROM session WHERE ctid = (SELECT max(ctid) FROM session) FOR UPDATE";
        locked.execute(lock, &[]).unwrap();
        let results = verb(&store, [&keys[0], &keys[1]]);
        assert!(matches!(results[0], Err(Error::Locked)), "{results:?}");
        assert!(results[1].is_ok(), "{results:?}");
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

/// A store on one connection through a proxy, which has answered a first call.
fn counted(schema: &Schema, settings: &str) -> (Proxy, PostgresStore) {
    let proxy = Proxy::to(&schema.config());
    let mut client = proxy.config(&schema.config()).connect(NoTls).unwrap();
    client.batch_execute(settings).unwrap();
    let store = schema.builder().from_client(client);
    let absent = Key::generate().unwrap();
    assert!(matches!(store.get(&absent), Err(Error::NotFound)));
    proxy.counts();
    proxy.bytes();
    (proxy, store)
}

fn statements(proxy: &Proxy) -> usize {
    proxy.counts().1
}

#[test]
fn a_missing_privilege_costs_many_calls_three_statements_at_most() {
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
            let made = store.generate_many(&[(None, None); 256]).into_iter();
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
fn a_locked_table_costs_many_calls_three_statements_at_most() {
    for limit in ["statement_timeout", "lock_timeout"] {
        let schema = Schema::new();
        let keys = generated(&schema.store(), 256);
        let (proxy, store) = counted(&schema, &format!("SET {limit} = '200ms'"));
        let mut holder = schema.client();
        let calls: Vec<_> = keys.iter().map(|key| (key, "new", None)).collect();
        // With statements that are prepared first, and with those that are prepared already.
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

#[test]
fn a_locked_row_and_a_short_limit_of_the_role_spoil_no_other_call() {
    let schema = Schema::new();
    let keys = generated(&schema.store(), 256);
    let mut client = schema.client();
    client
        .batch_execute("SET statement_timeout = '200ms'")
        .unwrap();
    let store = schema.builder().from_client(client);
    let mut holder = schema.client();
    let _locked = lock(&mut holder, &keys[100]);
    let calls: Vec<_> = keys.iter().map(|key| (key, "new", None)).collect();
    for (i, result) in store.set_many(&calls).into_iter().enumerate() {
        match result {
            Ok(()) => assert_ne!(i, 100),
            Err(error) => {
                assert_eq!(i, 100, "{error}");
                assert_eq!(error.sqlstate().unwrap().code(), "57014", "{error}");
            }
        }
    }
    assert_eq!(schema.count("session_data = 'new'"), 255);
}

#[test]
fn many_calls_for_one_session_are_one_statement() {
    let schema = Schema::new();
    let keys = generated(&schema.store(), 2);
    let (proxy, store) = counted(&schema, "");
    let values: Vec<_> = (0..250).map(|i| i.to_string()).collect();
    let mut sets: Vec<_> = values
        .iter()
        .map(|v| (&keys[0], v.as_str(), None))
        .collect();
    sets.insert(100, (&keys[1], "other", None));
    assert!(store.set_many(&sets).iter().all(Result::is_ok));
    assert_eq!(statements(&proxy), 1);
    assert_eq!(store.get(&keys[0]).unwrap().value, "249");
    assert_eq!(store.get(&keys[1]).unwrap().value, "other");

    statements(&proxy);
    let mut touches = vec![(&keys[0], None); 249];
    touches.push((&keys[0], Some(Period::MINUTE)));
    touches.push((&keys[1], None));
    assert!(store.touch_many(&touches).iter().all(Result::is_ok));
    assert_eq!(statements(&proxy), 1);
    assert!(store.get(&keys[0]).unwrap().period < Period::minutes(2));
    assert!(store.get(&keys[1]).unwrap().period > Period::minutes(2));

    statements(&proxy);
    let new = Key::generate().unwrap();
    let inserted = store.insert_many(&vec![(&new, Some("first"), None); 250]);
    assert!(inserted[0].is_ok());
    let exists = |result: &Result<(), Error>| matches!(result, Err(Error::KeyExists));
    assert!(inserted[1..].iter().all(exists));
    assert_eq!(statements(&proxy), 1);

    statements(&proxy);
    assert!(store.clear_many(&[&keys[0]; 250]).iter().all(Result::is_ok));
    assert_eq!(statements(&proxy), 1);
}

#[test]
fn a_statement_holds_no_more_than_16_mib_of_values() {
    let schema = Schema::new();
    let keys = generated(&schema.store(), 5);
    let (proxy, store) = counted(&schema, "");
    let value = "v".repeat(6 << 20);
    let calls: Vec<_> = keys.iter().map(|key| (key, value.as_str(), None)).collect();
    statements(&proxy);
    assert!(store.set_many(&calls).iter().all(Result::is_ok));
    assert_eq!(statements(&proxy), 3);

    // Once it is known how large the values are.
    let keys: Vec<_> = keys.iter().collect();
    assert!(store.get_many(&keys).iter().all(Result::is_ok));
    statements(&proxy);
    assert!(store.get_many(&keys).iter().all(Result::is_ok));
    assert_eq!(statements(&proxy), 3);
}

/// As if they were done one after another.
#[test]
fn a_call_that_ends_a_session_ends_it_for_those_after_it() {
    const END: Option<Period> = Some(Period::ZERO);
    let schema = Schema::new();
    let store = schema.store();
    let is_absent = |result: &Result<(), Error>| matches!(result, Err(Error::NotFound));
    let [a, b] = [(); 2].map(|()| store.generate(Some("old"), None).unwrap());
    let results = store.set_many(&[
        (&a, "first", None),
        (&b, "other", None),
        (&a, "over", END),
        (&a, "late", None),
        (&a, "later", None),
    ]);
    assert!(results[..3].iter().all(Result::is_ok), "{results:?}");
    assert!(results[3..].iter().all(is_absent), "{results:?}");
    assert!(matches!(store.get(&a), Err(Error::NotFound)));
    assert_eq!(store.get(&b).unwrap().value, "other");

    let results = store.touch_many(&[(&b, None), (&b, END), (&b, None)]);
    assert!(results[..2].iter().all(Result::is_ok), "{results:?}");
    assert!(is_absent(&results[2]), "{results:?}");
    assert!(matches!(store.get(&b), Err(Error::NotFound)));

    let new = Key::generate().unwrap();
    let results = store.insert_many(&[
        (&new, Some("over"), END),
        (&new, Some("over"), END),
        (&new, Some("first"), None),
        (&new, Some("late"), None),
    ]);
    assert!(results[..3].iter().all(Result::is_ok), "{results:?}");
    assert!(matches!(results[3], Err(Error::KeyExists)), "{results:?}");
    assert_eq!(store.get(&new).unwrap().value, "first");
}

#[test]
fn many_reads_of_one_session_send_its_key_once() {
    let schema = Schema::new();
    let keys = generated(&schema.store(), 2);
    let (proxy, store) = counted(&schema, "");
    let mut both = vec![&keys[0]; 256];
    both.push(&keys[1]);
    for _ in 0..2 {
        proxy.bytes();
        for found in store.get_many(&both) {
            assert_eq!(found.unwrap().value, "old");
        }
    }
    // Two keys, and what the protocol needs.
    assert!(proxy.bytes() < 10 * 40);
    assert_eq!(statements(&proxy), 2);
}

#[test]
fn calls_for_one_locked_session_stay_together_and_in_order() {
    let schema = Schema::new();
    let keys = generated(&schema.store(), 1);
    let (proxy, store) = counted(&schema, "");
    let mut holder = schema.client();
    let pid: i32 = holder
        .query_one("SELECT pg_backend_pid()", &[])
        .unwrap()
        .get(0);
    let locked = lock(&mut holder, &keys[0]);
    let values: Vec<_> = (0..100).map(|i| i.to_string()).collect();
    let sets: Vec<_> = values
        .iter()
        .map(|value| (&keys[0], value.as_str(), None))
        .collect();
    let is_locked = |result: &Result<(), Error>| matches!(result, Err(Error::Locked));
    assert!(store.try_set_many(&sets).iter().all(is_locked));
    assert_eq!(statements(&proxy), 2);
    thread::scope(|scope| {
        let writer = scope.spawn(|| store.set_many(&sets));
        wait_until("it waits for the lock", || {
            let sql =
                "SELECT count(*) FROM pg_stat_activity WHERE $1 = ANY (pg_blocking_pids(pid))";
            schema
                .client()
                .query_one(sql, &[&pid])
                .unwrap()
                .get::<_, i64>(0)
                > 0
        });
        locked.rollback().unwrap();
        let results = writer.join().unwrap();
        assert!(results.iter().all(Result::is_ok), "{results:?}");
    });
    assert_eq!(store.get(&keys[0]).unwrap().value, "99");
}

//! Connections that are cut before, while or after the server executes a statement.

use std::{
    sync::atomic::{AtomicUsize, Ordering},
    thread,
    time::Duration,
};

use session_postgres::{
    Error, Key, Period, PostgresStore, SessionFields, Store,
    postgres::{Config, NoTls},
    r2d2::Pool,
};

use super::Verb;
use crate::{
    connect::through,
    support::{
        database::{Manager, Schema},
        proxy::{Break, Proxy},
        switch::Switch,
        tcp_proxy::TcpProxy,
        wait_until,
    },
};

/// A store with one connection, which goes through a proxy.
pub(super) fn behind_proxy(legacy: bool) -> (Schema, Proxy, PostgresStore) {
    let schema = Schema::new();
    schema.create_table(legacy);
    let proxy = Proxy::to(&schema.config());
    let pool = Pool::builder().max_size(1).test_on_check_out(false);
    let pool = pool
        .build(Manager::new(proxy.config(&schema.config()), NoTls))
        .unwrap();
    let store = schema.builder().from_pool(pool);
    (schema, proxy, store)
}

/// Runs `check` on both tables, with cuts before and after the server executes a statement.
fn cut_around_statements(check: impl Fn(&PostgresStore, &Cut, &Schema)) {
    for legacy in [false, true] {
        let (schema, proxy, store) = behind_proxy(legacy);
        for at in [Break::BeforeStatement, Break::AfterStatement] {
            let cut = Cut {
                proxy: &proxy,
                store: &store,
                at,
            };
            check(&store, &cut, &schema);
        }
    }
}

pub(super) struct Cut<'a> {
    pub(super) proxy: &'a Proxy,
    pub(super) store: &'a PostgresStore,
    pub(super) at: Break,
}

impl Cut<'_> {
    /// Runs a call and cuts its connection.
    pub(super) fn during<T>(&self, call: impl FnOnce() -> T) -> T {
        // On a new connection, the store itself sends the first statement.
        let absent = Key::generate().unwrap();
        assert!(matches!(self.store.get(&absent), Err(Error::NotFound)));
        self.proxy.break_at(self.at);
        let result = call();
        assert!(self.proxy.has_broken(), "the call was not cut");
        result
    }

    /// Whether the server executes the statement.
    pub(super) fn is_executed(&self) -> bool {
        self.at == Break::AfterStatement
    }
}

#[test]
fn a_generate_that_is_cut_creates_one_session() {
    cut_around_statements(|store, cut, schema| {
        let before = schema.count("true");
        let key = cut
            .during(|| store.generate(Some("lobster"), None))
            .unwrap();
        assert_eq!(store.get(&key).unwrap().value, "lobster");
        assert_eq!(schema.count("true"), before + 1);
        cut.during(|| store.generate(Some("over"), Some(Period::ZERO)))
            .unwrap();
        assert_eq!(schema.count("true"), before + 2);

        let calls = [
            SessionFields::new(Some("a"), None),
            SessionFields::new(Some("b"), None),
        ];
        let keys = cut.during(|| store.generate_many(&calls));
        let keys: Vec<_> = keys.into_iter().map(Result::unwrap).collect();
        assert_eq!(store.get(&keys[1]).unwrap().value, "b");
        assert_eq!(schema.count("true"), before + 4);
    });
}

#[test]
fn a_get_that_is_cut_succeeds() {
    cut_around_statements(|store, cut, _| {
        let key = store.generate(Some("lobster"), None).unwrap();
        assert_eq!(cut.during(|| store.get(&key)).unwrap().value, "lobster");
        let found = cut.during(|| store.get_many(&[&key, &Key::generate().unwrap()]));
        assert_eq!(found[0].as_ref().unwrap().value, "lobster");
        assert!(matches!(found[1], Err(Error::NotFound)));
    });
}

type Write = fn(&PostgresStore, [&Key; 2]) -> Vec<Result<(), Error>>;

/// Writes that cannot be sent again, because it is unknown whether the server has executed them. They
/// write one or both of the given sessions, or as many new ones.
const WRITES: [Write; 11] = [
    |store, [key, _]| vec![store.set(key, "crab", None)],
    |store, [key, _]| vec![store.touch(key, None)],
    |store, [key, _]| vec![store.clear(key)],
    // These end the session, so that the same write again would not find it.
    |store, [key, _]| vec![store.set(key, "over", Some(Period::ZERO))],
    |store, [key, _]| vec![store.touch(key, Some(Period::ZERO))],
    |store, _| vec![store.insert(&Key::generate().unwrap(), Some("crab"), None)],
    |store, _| {
        let expiry = Some(Period::ZERO);
        vec![store.insert(&Key::generate().unwrap(), Some("over"), expiry)]
    },
    |store, keys| store.set_many(&keys.map(|key| (key, "crab", None))),
    |store, keys| store.touch_many(&keys.map(|key| (key, None))),
    |store, keys| store.clear_many(&keys),
    |store, _| {
        let keys = [(); 2].map(|()| Key::generate().unwrap());
        store.insert_many(&keys.each_ref().map(|key| (key, None, None)))
    },
];

/// A trigger that records each row that is added, changed or removed.
pub(super) const AUDIT: &str = "
    CREATE TABLE IF NOT EXISTS audit (what text); \
    CREATE OR REPLACE FUNCTION audit() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN \
        INSERT INTO audit VALUES (TG_OP); \
        RETURN NULL; \
    END $$; \
    DROP TRIGGER IF EXISTS audit ON session; \
    CREATE TRIGGER audit AFTER INSERT OR UPDATE OR DELETE ON session FOR EACH ROW \
        EXECUTE FUNCTION audit()";

/// The number of rows that were added, changed or removed.
pub(super) fn audited(schema: &Schema) -> i64 {
    let mut client = schema.client();
    let row = client.query_one("SELECT count(*) FROM audit", &[]).unwrap();
    row.get(0)
}

#[test]
fn a_write_that_is_cut_is_not_sent_again() {
    cut_around_statements(|store, cut, schema| {
        schema.run(AUDIT);
        for (number, write) in WRITES.into_iter().enumerate() {
            let keys = [(); 2].map(|()| store.generate(Some("lobster"), None).unwrap());
            let before = audited(schema);
            let results = cut.during(|| write(store, keys.each_ref()));
            let rows = if cut.is_executed() { results.len() } else { 0 };
            assert_eq!(audited(schema) - before, rows as i64, "write {number}");
            for result in results {
                let is_unknown = matches!(result, Err(Error::Disconnected(_)));
                assert!(is_unknown, "write {number}: {result:?}");
            }
        }
    });
}

#[test]
fn a_rotate_that_is_cut_moves_the_session_once() {
    cut_around_statements(|store, cut, schema| {
        let before = schema.count("true");
        let old = store.generate(Some("lobster"), None).unwrap();
        let new = cut.during(|| store.rotate(&old)).unwrap();
        assert_eq!(store.get(&new).unwrap().value, "lobster");
        assert!(matches!(store.get(&old), Err(Error::NotFound)));
        assert_eq!(schema.count("true"), before + 1);
        assert!(matches!(
            cut.during(|| store.rotate(&old)),
            Err(Error::NotFound)
        ));
    });
}

#[test]
fn an_update_that_is_cut_is_applied_once() {
    for legacy in [false, true] {
        let (_schema, proxy, store) = behind_proxy(legacy);
        let key = store.generate(Some("0"), None).unwrap();
        let add = |value: Option<&str>| {
            let value: u32 = value.unwrap().parse().unwrap();
            Some((value + 1).to_string())
        };
        let cuts = [
            Break::BeforeText("BEGIN"),
            Break::AfterText("BEGIN"),
            Break::BeforeStatement,
            Break::AfterStatement,
            Break::BeforeText("COMMIT"),
            Break::AfterText("COMMIT"),
        ];
        for (done, cut) in cuts.into_iter().enumerate() {
            proxy.break_at(cut);
            let session = store.update(&key, None, &mut { add }).unwrap();
            assert!(proxy.has_broken());
            assert_eq!(session.value, (done + 1).to_string());
            assert_eq!(store.get(&key).unwrap().value, session.value);
        }
    }
}

/// While the server executes a statement, it does not notice that the connection was cut.
#[test]
fn a_statement_that_is_cut_while_it_waits_has_no_effect_later() {
    let schema = Schema::new();
    schema.store();
    // Each first try waits for a lock that the test holds. The second does not.
    schema.run(
        "CREATE SEQUENCE tries; \
         CREATE FUNCTION wait() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN \
             IF nextval('tries') % 2 = 1 THEN \
                 PERFORM pg_advisory_xact_lock_shared('tries'::regclass::oid::bigint); \
             END IF; \
             RETURN NEW; \
         END $$; \
         CREATE TRIGGER wait BEFORE INSERT OR UPDATE ON session FOR EACH ROW \
             EXECUTE FUNCTION wait()",
    );
    let proxy = TcpProxy::to(&schema.config());
    let mut holder = schema.client();
    let mut cut = |call: &mut (dyn FnMut() + Send)| {
        let hold = "SELECT pg_advisory_lock('tries'::regclass::oid::bigint)";
        holder.execute(hold, &[]).unwrap();
        thread::scope(|scope| {
            let call = scope.spawn(call);
            wait_until("the first try to wait", || {
                let sql = "SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' \
                           AND NOT granted AND objid = 'tries'::regclass";
                holder.query_one(sql, &[]).unwrap().get::<_, i64>(0) == 1
            });
            proxy.cut();
            call.join().unwrap();
        });
        holder
            .execute("SELECT pg_advisory_unlock_all()", &[])
            .unwrap();
        wait_until("all statements to end", || schema.active() == 0);
    };
    // Adds a session without firing the trigger.
    let add = || {
        let key = Key::generate().unwrap();
        schema.run(&format!(
            "ALTER TABLE session DISABLE TRIGGER wait; \
             INSERT INTO session VALUES ('{key}', now() + interval '1 day', 'old'); \
             ALTER TABLE session ENABLE TRIGGER wait",
        ));
        key
    };
    for store in [
        schema.builder().connect(through(&proxy, &schema)).unwrap(),
        schema
            .builder()
            .connect_with(proxy.config(&schema.config()), NoTls)
            .unwrap(),
    ] {
        let before = schema.count("true");
        cut(&mut || {
            let made = store.generate(Some("lobster"), None).unwrap();
            store.clear(&made).unwrap();
        });
        assert_eq!(schema.count("true"), before);

        let old = add();
        cut(&mut || {
            let new = store.rotate(&old).unwrap();
            store.clear(&new).unwrap();
        });
        assert_eq!(schema.count("true"), before);

        let key = add();
        let edits = AtomicUsize::new(0);
        cut(&mut || {
            let edit = &mut |_: Option<&str>| {
                edits.fetch_add(1, Ordering::SeqCst);
                Some("first".to_owned())
            };
            store.update(&key, None, edit).unwrap();
            schema.run("ALTER TABLE session DISABLE TRIGGER wait");
            store.set(&key, "second", None).unwrap();
        });
        schema.run("ALTER TABLE session ENABLE TRIGGER wait");
        assert_eq!(store.get(&key).unwrap().value, "second");
        assert_eq!(edits.into_inner(), 2);
    }
}

#[test]
fn a_write_that_is_cut_and_cannot_reconnect_has_an_unknown_outcome() {
    let calls: [(Verb, Break); 4] = [
        (
            |store, _| store.generate(None, None).map(drop),
            Break::AfterStatement,
        ),
        (
            |store, _| {
                store
                    .generate_many(&[SessionFields::new(None, None); 2])
                    .remove(0)
                    .map(drop)
            },
            Break::AfterStatement,
        ),
        (
            |store, key| store.rotate(key).map(drop),
            Break::AfterStatement,
        ),
        (
            |store, key| {
                store
                    .update(key, None, &mut |_| Some("crab".into()))
                    .map(drop)
            },
            Break::AfterText("COMMIT"),
        ),
    ];
    let (schema, proxy, _) = behind_proxy(false);
    // There is no server at this address.
    let mut absent = Config::new();
    absent.host_path("/nowhere/at/all").user("postgres");
    for (call, at) in calls {
        for is_cut in [true, false] {
            let key = schema.store().generate(Some("lobster"), None).unwrap();
            let switch = Switch::new(vec![proxy.config(&schema.config()), absent.clone()]);
            let builder = schema.builder().timeout(Duration::from_secs(2));
            let store = builder.from_pool(switch.pool(1));
            store.get(&key).unwrap();
            switch.to_next();
            if is_cut {
                proxy.break_at(at);
                let result = call(&store, &key);
                assert!(matches!(result, Err(Error::Disconnected(_))), "{result:?}");
                assert!(proxy.has_broken());
            } else {
                proxy.break_at(Break::BeforeStatement);
                let result = store.get(&key);
                assert!(matches!(result, Err(Error::TimedOut { .. })), "{result:?}");
            }
        }
    }
}

//! Which statements the store sends again, and how often.

use std::{
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use session_postgres::{
    Error, Key, Store,
    postgres::{self, Client, Config, NoTls},
    r2d2::{ManageConnection, Pool},
};

use super::Verb;
use crate::support::{database::Schema, proxy::Proxy};

#[test]
fn discarded_statements_are_prepared_again() {
    let schema = Schema::new();
    let store = schema.builder().from_client(schema.client());
    store.create_table().unwrap();
    let key = store.generate(Some("lobster"), None).unwrap();
    store.get(&key).unwrap();
    store
        .with_client(|client| client.batch_execute("DISCARD ALL").unwrap())
        .unwrap();
    assert_eq!(store.get(&key).unwrap().value, "lobster");
    store.set(&key, "crab", None).unwrap();

    // The column of a prepared statement has another type.
    schema.run("ALTER TABLE session ALTER COLUMN session_data TYPE varchar");
    assert_eq!(store.get(&key).unwrap().value, "crab");
}

/// Many writers of few rows cause such errors if the table is partitioned by expiry date.
#[test]
fn serialization_failures_are_retried_while_there_is_time() {
    let schema = Schema::new();
    let store = schema.store();
    let key = store.generate(None, None).unwrap();
    schema.run(
        "CREATE SEQUENCE tries; \
         CREATE FUNCTION conflict() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN \
             IF nextval('tries') <= 20 THEN RAISE 'not yet' USING ERRCODE = '40001'; END IF; \
             RETURN NEW; \
         END $$; \
         CREATE TRIGGER conflict BEFORE UPDATE ON session FOR EACH ROW \
             EXECUTE FUNCTION conflict()",
    );
    store.set(&key, "lobster", None).unwrap();
    assert_eq!(store.get(&key).unwrap().value, "lobster");
}

#[test]
fn a_statement_that_fails_with_feature_not_supported_is_sent_at_most_twice() {
    let schema = Schema::new();
    schema.store();
    let proxy = Proxy::to(&schema.config());
    let client = proxy.config(&schema.config()).connect(NoTls).unwrap();
    let store = schema.builder().from_client(client);
    let keys = [(); 2].map(|()| store.generate(Some("lobster"), None).unwrap());
    let sets = keys.each_ref().map(|key| (key, "crab", None));
    store.set(&keys[0], "crab", None).unwrap();
    assert!(store.set_many(&sets).iter().all(Result::is_ok));
    schema.run(
        "CREATE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN \
             RAISE 'no' USING ERRCODE = '0A000'; \
         END $$; \
         CREATE TRIGGER refuse BEFORE UPDATE ON session FOR EACH ROW EXECUTE FUNCTION refuse()",
    );
    for _ in 0..2 {
        proxy.counts();
        let result = store.set(&keys[0], "crab", None);
        assert!(matches!(result, Err(Error::Database(_))), "{result:?}");
        let (_, statements) = proxy.counts();
        assert!((1..=2).contains(&statements), "{statements}");
        for result in store.set_many(&sets) {
            assert_eq!(result.unwrap_err().sqlstate().unwrap().code(), "0A000");
        }
        let (_, statements) = proxy.counts();
        assert!((1..=2).contains(&statements), "{statements}");
    }
    assert_eq!(store.get(&keys[0]).unwrap().value, "crab");
}

/// Opens connections that the server closes before their first statement.
struct Dying {
    config: Config,
    connected: Arc<AtomicUsize>,
}

impl ManageConnection for Dying {
    type Connection = Client;
    type Error = postgres::Error;

    fn connect(&self) -> Result<Client, postgres::Error> {
        self.connected.fetch_add(1, Ordering::SeqCst);
        let mut client = self.config.connect(NoTls)?;
        let end = client.batch_execute("SELECT pg_terminate_backend(pg_backend_pid())");
        assert!(end.is_err());
        Ok(client)
    }

    fn is_valid(&self, client: &mut Client) -> Result<(), postgres::Error> {
        client.is_valid(Duration::from_secs(5))
    }

    fn has_broken(&self, client: &mut Client) -> bool {
        client.is_closed()
    }
}

#[test]
fn a_server_that_drops_every_connection_is_not_flooded() {
    let schema = Schema::new();
    schema.store();
    let key = Key::generate().unwrap();
    let calls: [Verb; 4] = [
        |store, _| store.with_client(|_| ()),
        |store, key| store.get(key).map(drop),
        |store, key| store.set(key, "crab", None),
        |store, _| store.generate(None, None).map(drop),
    ];
    for call in calls {
        let connected = Arc::new(AtomicUsize::new(0));
        let manager = Dying {
            config: schema.config(),
            connected: connected.clone(),
        };
        let pool = Pool::builder().max_size(2).test_on_check_out(false);
        let builder = schema.builder().timeout(Duration::from_secs(2));
        let store = builder.from_pool(pool.build(manager).unwrap());
        let result = call(&store, &key);
        assert!(matches!(result, Err(Error::TimedOut { .. })), "{result:?}");
        let connected = connected.load(Ordering::SeqCst);
        assert!(connected < 40, "{connected} connections");
    }
}

//! The stores of web frameworks over several servers.

use session_postgres::{Key, Offload, PostgresStore, Sharded};
use tokio::runtime::Runtime;

use super::{async_program, map};
use crate::support::{
    database::Schema,
    sharded::{MAP, Schemas},
};

type Servers = Sharded<Offload<PostgresStore>>;

fn servers() -> ([Schema; 3], Runtime, Servers) {
    let Schemas(schemas) = Schemas::new();
    let runtime = Runtime::new().unwrap();
    let store = async_program(&runtime, MAP, &schemas).unwrap();
    (schemas, runtime, store)
}

fn server_of(key: &str) -> String {
    let key: Key = key.parse().unwrap();
    map(MAP).server_of(&key).unwrap().to_owned()
}

fn rows(schemas: &[Schema; 3]) -> [i64; 3] {
    schemas.each_ref().map(|schema| schema.count("true"))
}

#[cfg(feature = "tower-sessions")]
mod tower {
    use std::{collections::HashMap, sync::Arc};

    use session_postgres::{Period, time::OffsetDateTime, tower_sessions::Adapter};
    use tower_sessions::{
        Session, SessionStore,
        session::{Id, Record},
    };

    use super::*;

    fn record(text: &str) -> Record {
        Record {
            id: Id::default(),
            data: HashMap::from([("text".to_owned(), text.into())]),
            expiry_date: OffsetDateTime::now_utc() + Period::HOUR,
        }
    }

    #[test]
    fn ids_of_tower_sessions_are_in_the_slots_of_open_servers() {
        let (schemas, runtime, store) = servers();
        let adapter = Adapter::new(store.clone());
        let create = |count: usize| {
            let created = (0..count).map(|_| {
                let mut record = record("lobster");
                runtime.block_on(adapter.create(&mut record)).unwrap();
                record
            });
            created.collect::<Vec<_>>()
        };
        let mut records = create(30);
        let before = rows(&schemas);
        assert!(before.iter().all(|rows| *rows > 0), "{before:?}");
        store.set_share("b", 0).unwrap();
        records.extend(create(30));
        let after = rows(&schemas);
        assert_eq!(after.iter().sum::<i64>(), 60);
        assert_eq!(after[1], before[1]);
        let mut expected = [0; 3];
        for record in &mut records {
            let id = record.id.to_string();
            expected[usize::from(server_of(&id).as_bytes()[0] - b'a')] += 1;
            record.data.insert("text".to_owned(), "crab".into());
            runtime.block_on(async {
                adapter.save(record).await.unwrap();
                let loaded = adapter.load(&record.id).await.unwrap().unwrap();
                assert_eq!(loaded.data, record.data);
                adapter.delete(&record.id).await.unwrap();
                assert!(adapter.load(&record.id).await.unwrap().is_none());
            });
        }
        assert_eq!(after, expected);
        assert_eq!(rows(&schemas), [0; 3]);
        for name in ["a", "c"] {
            store.set_share(name, 0).unwrap();
        }
        let closed = runtime.block_on(adapter.create(&mut record("lobster")));
        assert!(
            closed
                .unwrap_err()
                .to_string()
                .contains("all servers are closed")
        );
    }

    #[test]
    fn an_id_that_is_cycled_moves_to_an_open_server() {
        let (schemas, runtime, store) = servers();
        let adapter = Arc::new(Adapter::new(store.clone()));
        for name in ["b", "c"] {
            store.set_share(name, 0).unwrap();
        }
        runtime.block_on(async {
            let session = Session::new(None, adapter.clone(), None);
            session.insert("text", "lobster").await.unwrap();
            session.save().await.unwrap();
            let old = session.id().unwrap();
            assert_eq!(server_of(&old.to_string()), "a");
            store.set_share("a", 0).unwrap();
            store.set_share("c", 1).unwrap();
            session.cycle_id().await.unwrap();
            session.save().await.unwrap();
            let new = session.id().unwrap();
            assert_eq!(server_of(&new.to_string()), "c");
            let again = Session::new(Some(new), adapter.clone(), None);
            assert_eq!(
                again.get::<String>("text").await.unwrap().unwrap(),
                "lobster"
            );
            assert!(adapter.load(&old).await.unwrap().is_none());
        });
        assert_eq!(rows(&schemas), [0, 0, 1]);
    }

    #[test]
    fn a_server_that_rejects_new_sessions_gets_no_more_ids_of_tower_sessions() {
        let (schemas, runtime, store) = servers();
        let adapter = Adapter::new(store.clone());
        schemas[1].run(super::super::creation::FULL);
        let created = (0..30).map(|_| runtime.block_on(adapter.create(&mut record("lobster"))));
        created.for_each(|created| created.unwrap());
        let [a, b, c] = rows(&schemas);
        assert_eq!((a + c, b), (30, 0));
    }
}

#[cfg(feature = "actix-session")]
#[test]
fn keys_of_actix_session_are_in_the_slots_of_open_servers() {
    use actix_session::storage::SessionStore;
    use session_postgres::{Period, actix_session::Adapter};

    let (schemas, runtime, store) = servers();
    store.set_share("b", 0).unwrap();
    let adapter = Adapter::new(store);
    let text = |key: &actix_session::storage::SessionKey| key.as_ref().to_owned();
    runtime.block_on(async {
        for _ in 0..10 {
            let state = [("text".to_owned(), "\"lobster\"".to_owned())].into();
            let key = adapter.save(state, &Period::HOUR).await.unwrap();
            assert_ne!(server_of(&text(&key)), "b");
            let loaded = adapter.load(&key).await.unwrap().unwrap();
            assert_eq!(loaded["text"], "\"lobster\"");
        }
    });
    assert_eq!(rows(&schemas).iter().sum::<i64>(), 10);
    assert_eq!(rows(&schemas)[1], 0);
}

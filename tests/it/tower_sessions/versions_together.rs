//! A site that moves from one version to the other, or a program that uses both.

use std::collections::HashMap;

use session_postgres::{Offload, Period, time::OffsetDateTime};
use tokio::runtime::Runtime;

use crate::support::database::Schema;

#[test]
fn a_record_of_one_version_is_loaded_with_the_other() {
    let schema = Schema::new();
    let store = Offload::new(schema.store());
    let (data, expiry_date) = (
        HashMap::from([("text".to_owned(), "lobster".into())]),
        OffsetDateTime::now_utc() + Period::HOUR,
    );
    Runtime::new().unwrap().block_on(async {
        let id = {
            use tower_sessions_0_14::{SessionStore, session::Record};
            let mut record = Record {
                id: Default::default(),
                data: data.clone(),
                expiry_date,
            };
            store.create(&mut record).await.unwrap();
            record.id.to_string()
        };
        {
            use tower_sessions::SessionStore;
            let id = id.parse().unwrap();
            let mut record = store.load(&id).await.unwrap().unwrap();
            assert_eq!(record.data, data);
            record.data.insert("text".to_owned(), "crab".into());
            store.save(&record).await.unwrap();
        }
        {
            use tower_sessions_0_14::SessionStore;
            let id = id.parse().unwrap();
            let record = store.load(&id).await.unwrap().unwrap();
            assert_eq!(record.data["text"], "crab");
        }
    });
    assert_eq!(schema.count("true"), 1);
}

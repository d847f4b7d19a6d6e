//! Calls at the same time.

use std::{collections::HashSet, sync::Arc};

use super::super::tower_sessions::{
    SessionStore,
    session::{Id, Record},
};
use session_postgres::Offload;

use super::{
    super::{Fixture, data, record},
    assert_is_gone,
};

#[test]
fn a_hundred_records_created_with_the_same_id_get_different_ids() {
    let on = Fixture::new();
    let id = Id::default();
    let records = on.wait(async {
        let tasks: Vec<_> = (0..100)
            .map(|number| {
                let store = on.store.clone();
                tokio::spawn(async move {
                    let mut record = record(&number.to_string());
                    record.id = id;
                    store.create(&mut record).await.unwrap();
                    record
                })
            })
            .collect();
        let mut records = Vec::new();
        for task in tasks {
            records.push(task.await.unwrap());
        }
        records
    });
    let ids: HashSet<Id> = records.iter().map(|record| record.id).collect();
    assert_eq!(ids.len(), 100);
    assert!(ids.contains(&id));
    for record in &records {
        assert_eq!(on.load(&record.id).unwrap().unwrap().data, record.data);
    }
}

#[test]
fn saves_of_the_same_record_all_succeed_and_one_of_them_remains() {
    let on = Fixture::new();
    let record = on.created("first");
    on.wait(async {
        let tasks: Vec<_> = (0..200)
            .map(|number| {
                let (store, mut record) = (on.store.clone(), record.clone());
                record.data = data(&number.to_string());
                tokio::spawn(async move { store.save(&record).await })
            })
            .collect();
        for task in tasks {
            task.await.unwrap().unwrap();
        }
    });
    let loaded = on.load(&record.id).unwrap().unwrap();
    let last: u32 = loaded.data["text"].as_str().unwrap().parse().unwrap();
    assert!(last < 200);
    assert_eq!(on.schema.count("true"), 1);
}

#[test]
fn no_save_restores_a_record_that_is_deleted_at_the_same_time() {
    let on = Fixture::new();
    for _ in 0..20 {
        let record = Arc::new(on.created("lobster"));
        on.wait(async {
            let saves: Vec<_> = (0..40)
                .map(|_| {
                    let (store, record) = (on.store.clone(), record.clone());
                    tokio::spawn(async move { store.save(&record).await })
                })
                .collect();
            let (store, id) = (on.store.clone(), record.id);
            let deletion = tokio::spawn(async move { store.delete(&id).await });
            deletion.await.unwrap().unwrap();
            for save in saves {
                if let Err(error) = save.await.unwrap() {
                    assert_is_gone(Err(error));
                }
            }
        });
        assert_eq!(on.load(&record.id).unwrap(), None);
    }
}

#[test]
fn calls_that_wait_are_batched() {
    let fixture = Fixture::new();
    let lone = Offload::builder()
        .max_concurrency(1)
        .build(fixture.schema.store());
    let on = Fixture {
        store: lone,
        ..fixture
    };
    let records: Vec<Record> = (0..100).map(|n| record(&n.to_string())).collect();
    on.wait(async {
        let verbs = ["create", "save", "load", "delete"];
        for verb in verbs {
            let before = on.store.stats();
            let tasks: Vec<_> = records
                .iter()
                .cloned()
                .map(|mut record| {
                    let store = on.store.clone();
                    tokio::spawn(async move {
                        match verb {
                            "create" => store.create(&mut record).await.unwrap(),
                            "save" => store.save(&record).await.unwrap(),
                            "load" => assert!(store.load(&record.id).await.unwrap().is_some()),
                            _ => store.delete(&record.id).await.unwrap(),
                        }
                    })
                })
                .collect();
            for task in tasks {
                task.await.unwrap();
            }
            let batches = on.store.stats().batches.batches - before.batches.batches;
            assert!(batches < 50, "{batches} batches for 100 calls of {verb}");
        }
    });
    assert_eq!(on.schema.count("true"), 0);
}

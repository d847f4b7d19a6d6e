//! Records in a table of hashed keys.

use session_postgres::PostgresStore;

use super::super::{Fixture, data};
use crate::support::database::Schema;

#[test]
fn a_record_is_found_by_its_id_and_the_table_does_not_contain_the_id() {
    let schema = Schema::new();
    let builder = PostgresStore::builder().schema(schema.name()).unwrap();
    let store = builder.hash_keys(true).from_pool(schema.pool(2));
    store.create_table().unwrap();
    let fixture = Fixture::of(store, schema);
    let mut record = fixture.created("lobster");
    assert_eq!(fixture.load(&record.id).unwrap().unwrap().data, record.data);
    record.data = data("crab");
    fixture.save(&record).unwrap();
    assert_eq!(
        fixture.load(&record.id).unwrap().unwrap().data,
        data("crab")
    );
    let has_id = format!("strpos(session::text, '{}') > 0", record.id);
    assert_eq!(fixture.schema.count(&has_id), 0);
    assert_eq!(fixture.schema.count("session_key_hash IS NOT NULL"), 1);
    fixture.delete(&record.id).unwrap();
    assert!(fixture.load(&record.id).unwrap().is_none());
    assert_eq!(fixture.schema.count("true"), 0);
}

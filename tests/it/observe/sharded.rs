//! A server that gets no new sessions for a while is an event.

use session_postgres::Store;

use super::recorder::Recorded;
use crate::support::{sharded::Schemas, wait_until};

const IS_FULL: &str = "\
    CREATE FUNCTION is_full() RETURNS trigger LANGUAGE plpgsql AS $$ \
    BEGIN RAISE 'the disk is full' USING ERRCODE = 'disk_full'; END $$; \
    CREATE TRIGGER is_full BEFORE INSERT ON session FOR EACH ROW EXECUTE FUNCTION is_full()";

#[test]
fn a_full_server_and_its_return_are_events_with_its_name() {
    let schemas = Schemas::new();
    let store = schemas.blocking(1);
    let (recorded, _guard) = Recorded::here();
    schemas.0[1].run(IS_FULL);
    let left_out = "the server gets no new sessions for a while";
    wait_until("a failed creation", || {
        store.generate(None, None).unwrap();
        !recorded.events(left_out).is_empty()
    });
    let fields = recorded.event(left_out).fields;
    assert!(fields.contains("server=\"b\""), "{fields}");
    assert!(fields.contains("53100"), "{fields}");

    schemas.0[1].run("DROP TRIGGER is_full ON session");
    let is_back = "the server gets new sessions again";
    wait_until("a successful creation", || {
        store.generate(None, None).unwrap();
        !recorded.events(is_back).is_empty()
    });
    let fields = recorded.event(is_back).fields;
    assert!(fields.contains("server=\"b\""), "{fields}");
}

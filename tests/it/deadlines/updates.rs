//! `update` with an edit that takes too long.

use std::time::Instant;

use session_postgres::{Error, Store, postgres::NoTls, r2d2::Pool};

use super::{SHORT, wait_for_server};
use crate::support::{
    PATIENCE,
    database::{Manager, Schema, pid},
    patiently, wait_until,
};

#[test]
fn an_update_is_rolled_back_if_its_edit_takes_too_long() {
    let schema = Schema::new();
    let key = schema.store().generate(Some("lobster"), None).unwrap();
    let builder = || schema.builder().timeout(SHORT);
    for store in [
        builder().from_pool(schema.pool(1)),
        builder().from_client(schema.client()),
    ] {
        let before = pid(&store);
        // On a slow machine the time may be up before the edit begins.
        let mut edits = 0;
        wait_until("an edit", || {
            let result = store.update(&key, None, &mut |_| {
                edits += 1;
                let begun = Instant::now();
                wait_until("the time is up", || begun.elapsed() > 2 * SHORT);
                Some("crab".to_owned())
            });
            assert!(matches!(result, Err(Error::TimedOut { .. })), "{result:?}");
            edits > 0
        });
        assert_eq!(edits, 1);
        wait_for_server(&schema);
        assert_eq!(patiently(|| store.get(&key)).value, "lobster");
        assert_eq!(pid(&store), before);
    }
}

#[test]
fn an_update_is_not_repeated_if_the_server_ends_its_transaction_during_the_edit() {
    let schema = Schema::new();
    let key = schema.store().generate(Some("lobster"), None).unwrap();
    let mut config = schema.config();
    let path = config.get_options().unwrap();
    config.options(&format!("{path} -cidle_in_transaction_session_timeout=100"));
    let pool = Pool::builder().max_size(2).test_on_check_out(false);
    let pool = pool.build(Manager::new(config, NoTls)).unwrap();
    let store = schema.builder().timeout(PATIENCE).from_pool(pool);
    let mut watcher = schema.client();
    let mut edits = 0;
    let result = store.update(&key, None, &mut |_| {
        edits += 1;
        wait_until("the server has ended the transaction", || {
            let sql = "SELECT count(*) FROM pg_locks WHERE relation = 'session'::regclass";
            watcher.query_one(sql, &[]).unwrap().get::<_, i64>(0) == 0
        });
        Some("crab".to_owned())
    });
    let error = result.unwrap_err();
    assert!(matches!(error, Error::Database(_)), "{error:?}");
    assert_eq!(error.sqlstate().unwrap().code(), "25P03");
    assert_eq!(edits, 1);
    assert_eq!(store.get(&key).unwrap().value, "lobster");
}

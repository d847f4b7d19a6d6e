//! Programs and servers whose clocks differ. The tests change the clock of the server.

use super::tower_sessions::Expiry;
use session_postgres::{Offload, Period, postgres::NoTls, r2d2::Pool};

use super::{Fixture, in_time, is_in};
use crate::support::database::{Manager, Schema};

/// Returns a store for which the clock of the server is wrong by this interval.
fn shifted(by: &str) -> Fixture {
    let schema = Schema::new();
    for clock in ["clock_timestamp", "now"] {
        schema.run(&format!(
            "CREATE FUNCTION {clock}() RETURNS timestamptz LANGUAGE sql \
             AS $$ SELECT pg_catalog.{clock}() + interval '{by}' $$"
        ));
    }
    let mut config = schema.config();
    // PostgreSQL searches `pg_catalog` first unless the search path contains it.
    let path = config.get_options().unwrap().to_owned() + ",pg_catalog";
    config.options(&path);
    let pool = Pool::builder().max_size(2).test_on_check_out(false);
    let pool = pool.build(Manager::new(config, NoTls)).unwrap();
    let store = schema.builder().from_pool(pool);
    store.create_table().unwrap();
    Fixture::of(store, schema)
}

#[test]
fn sessions_expire_by_the_clock_of_the_server() {
    for by in ["0", "1 day", "-1 day", "40 years", "-40 years"] {
        let on = shifted(by);
        let mut record = on.created("lobster");
        let by_server = format!(
            "abs(extract(epoch FROM expire_date - pg_catalog.now() - interval '{by}') - 1800) < 20"
        );
        assert_eq!(on.schema.count(&by_server), 1, "{by}");
        let loaded = on.load(&record.id).unwrap().unwrap();
        assert!(is_in(loaded.expiry_date, Period::minutes(30)), "{by}");

        on.save(&loaded).unwrap();
        assert_eq!(on.schema.count(&by_server), 1, "{by}");
        let other = on.created("crab");
        assert!(on.load(&other.id).unwrap().is_some(), "{by}");

        record.expiry_date = in_time(Period::milliseconds(-10));
        on.save(&record).unwrap();
        assert_eq!(on.load(&record.id).unwrap(), None, "{by}");
        assert!(on.save(&record).is_err(), "{by}");
    }
}

#[test]
fn cookies_expire_in_the_right_time_if_the_clocks_differ() {
    for by in ["1 day", "-1 day"] {
        let on = shifted(by);
        let expiry = Expiry::OnInactivity(Period::minutes(30));
        let site = super::middleware::site::site(Offload::clone(&on.store), expiry);
        on.wait(async {
            let first = site.ask("/count", None).await;
            assert!(first.set_cookie.as_ref().unwrap().contains("Max-Age=1800"));
            let cookie = first.cookie();
            for visits in 2..5 {
                let next = site.ask("/count", Some(&cookie)).await;
                assert_eq!((next.status, next.body), (200, visits.to_string()), "{by}");
            }
        });
    }
}

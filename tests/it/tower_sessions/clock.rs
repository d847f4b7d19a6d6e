//! Programs and servers whose clocks differ: it is the server's that is put wrong here, which is the same.

use session_postgres::{Offload, Period, postgres::NoTls, r2d2::Pool};
use tower_sessions::Expiry;

use super::{Fixture, in_time, is_in};
use crate::support::database::{Manager, Schema};

/// A store whose server's clock is off by so much, for what this store asks it.
fn shifted(by: &str) -> Fixture {
    let schema = Schema::new();
    for clock in ["clock_timestamp", "now"] {
        schema.run(&format!(
            "CREATE FUNCTION {clock}() RETURNS timestamptz LANGUAGE sql \
             AS $$ SELECT pg_catalog.{clock}() + interval '{by}' $$"
        ));
    }
    let mut config = schema.config();
    // PostgreSQL's own functions come first unless their schema is named.
    let path = config.get_options().unwrap().to_owned() + ",pg_catalog";
    config.options(&path);
    let pool = Pool::builder().max_size(2).test_on_check_out(false);
    let pool = pool.build(Manager::new(config, NoTls)).unwrap();
    let store = schema.builder().from_pool(pool);
    store.create_table().unwrap();
    Fixture::of(store, schema)
}

#[test]
fn a_program_with_a_wrong_clock_loses_no_session_and_keeps_none_too_long() {
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
fn a_visitor_of_a_program_with_a_wrong_clock_stays_and_has_a_cookie_of_the_right_age() {
    for by in ["1 day", "-1 day"] {
        let on = shifted(by);
        let expiry = Expiry::OnInactivity(Period::minutes(30));
        let site = super::middleware::site(Offload::clone(&on.store), expiry);
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

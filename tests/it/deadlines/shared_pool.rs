//! Cancel requests do not cancel the statements of other calls on the same pool.

use std::{
    sync::atomic::{AtomicUsize, Ordering},
    thread,
    time::Duration,
};

use session_postgres::{
    Error, Store,
    postgres::{Client, NoTls, error::SqlState},
    r2d2::Pool,
};

use crate::support::{
    PATIENCE,
    database::{Manager, Schema},
};

/// Returns whether a cancel request has cancelled the statement. SQLSTATE 57014 has other causes too.
fn is_cancelled_by_request(message: &str) -> bool {
    message.contains("user request")
}

#[test]
fn cancel_requests_do_not_cancel_other_calls_on_the_same_pool() {
    const LIMIT: Duration = Duration::from_millis(60);
    const ROUNDS: usize = 50;
    let schema = Schema::new();
    let setup = schema.store();
    let keys: Vec<_> = (0..4)
        .map(|_| setup.generate(Some("lobster"), None).unwrap())
        .collect();
    let other = setup.generate(Some("crab"), None).unwrap();
    // The server cancels statements at the same time as the store.
    let mut config = schema.config();
    let path = config.get_options().unwrap();
    config.options(&format!("{path} -cstatement_timeout={}", LIMIT.as_millis()));
    // There are so few connections that a returned one is used again at once.
    let pool = Pool::builder().max_size(6).test_on_check_out(false);
    let pool = pool.build(Manager::new(config, NoTls)).unwrap();
    let store = schema.builder().timeout(LIMIT).from_pool(pool.clone());
    let patient = schema.builder().timeout(PATIENCE).from_pool(pool);
    let mut holder = schema.client();
    let mut locked = holder.transaction().unwrap();
    let lock = "SELECT FROM session WHERE session_data = 'lobster' FOR UPDATE";
    locked.execute(lock, &[]).unwrap();
    let (left, calls) = (AtomicUsize::new(keys.len()), AtomicUsize::new(0));
    thread::scope(|scope| {
        for key in &keys {
            let (store, left) = (&store, &left);
            scope.spawn(move || {
                for _ in 0..ROUNDS {
                    let error = store.rotate(key).unwrap_err();
                    let is_late = matches!(error, Error::TimedOut { .. });
                    let code = error.sqlstate();
                    assert!(
                        is_late || code == Some(&SqlState::QUERY_CANCELED),
                        "{error:?}"
                    );
                }
                left.fetch_sub(1, Ordering::SeqCst);
            });
        }
        for thread in 0..4 {
            let (patient, other, left, calls) = (&patient, &other, &left, &calls);
            scope.spawn(move || {
                while left.load(Ordering::SeqCst) > 0 {
                    let own = |client: &mut Client| client.batch_execute("SELECT 1");
                    let message = match thread {
                        0 => patient.get(other).map(drop).err(),
                        1 => patient.set(other, "crab", None).err(),
                        2 => patient
                            .update(other, None, &mut |_| Some("crab".into()))
                            .map(drop)
                            .err(),
                        _ => patient.with_client(own).unwrap().err().map(Error::other),
                    };
                    // On a slow machine, `statement_timeout` may cancel these calls too.
                    let message = message.map(|error| match error {
                        Error::Other(own) => format!("{:?}", own.source()),
                        error => error.to_string(),
                    });
                    let is_hit = message.as_deref().is_some_and(is_cancelled_by_request);
                    assert!(!is_hit, "{message:?}");
                    calls.fetch_add(1, Ordering::SeqCst);
                }
            });
        }
    });
    assert!(calls.into_inner() > 200);
}

//! The managers for `r2d2` pools.

use postgres_connect::{
    ConfigManager, ConnectOptions, ConnectionManager, Connector, connect,
    postgres::{Config, NoTls},
    r2d2::{ManageConnection, Pool},
};
use tokio::runtime::Runtime;

use crate::support::{options, server};

#[test]
fn a_pool_uses_the_connection_that_was_opened_first() {
    let manager = ConnectionManager::new(Connector::new(&options()).unwrap());
    manager.connect_first().unwrap();
    let pool = Pool::builder().max_size(1).build(manager).unwrap();
    let mut client = pool.get().unwrap();
    client.batch_execute("SELECT 1").unwrap();
}

#[test]
fn a_broken_connection_is_noticed() {
    let manager = ConnectionManager::new(Connector::new(&options()).unwrap());
    let config: Config = server().url().parse().unwrap();
    let by_driver = ConfigManager::new(config, NoTls);
    for mut client in [manager.connect().unwrap(), by_driver.connect().unwrap()] {
        manager.is_valid(&mut client).unwrap();
        by_driver.is_valid(&mut client).unwrap();
        let end = "SELECT pg_terminate_backend(pg_backend_pid())";
        client.batch_execute(end).unwrap_err();
        let error = manager.is_valid(&mut client).unwrap_err();
        assert!(!error.is_invalid_option(), "{error:?}");
        by_driver.is_valid(&mut client).unwrap_err();
        assert!(manager.has_broken(&mut client) && by_driver.has_broken(&mut client));
    }
}

#[test]
fn the_error_of_a_pool_contains_its_cause() {
    let config: Config = "host=/nowhere user=crab".parse().unwrap();
    let error = ConfigManager::new(config, NoTls).connect().err().unwrap();
    assert!(error.to_string().contains("No such file"), "{error}");
}

#[test]
fn an_async_task_that_connects_gets_an_error() {
    let runtime = Runtime::new().unwrap();
    let config: Config = server().url().parse().unwrap();
    runtime.block_on(async {
        let error = connect(options()).err().unwrap();
        assert!(error.is_async_context(), "{error:?}");
        assert!(error.to_string().contains("spawn_blocking"), "{error}");
        let error = ConfigManager::new(config, NoTls).connect().err().unwrap();
        assert!(error.is_async_context(), "{error:?}");
        // An invalid option is an error without a connection.
        let error = connect("nonsense").err().unwrap();
        assert!(error.is_invalid_option(), "{error:?}");
        drop(ConnectOptions::new());
    });
}

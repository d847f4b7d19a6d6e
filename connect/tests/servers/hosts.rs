//! Hosts: their order, their roles, and the errors if none is suitable.

use postgres_connect::{ConnectOptions, connect, postgres::Client};
use throwaway_postgres::Server;

use crate::support::{options, port, server, wait_until};

/// A port on which no program listens.
const UNUSED: u16 = 1;

fn refused(options: ConnectOptions) -> String {
    let error = connect(options).err().unwrap();
    assert!(!error.is_invalid_option(), "{error:?}");
    error.to_string()
}

fn port_of(client: &mut Client) -> u16 {
    let port: i32 = client
        .query_one("SELECT inet_server_port()", &[])
        .unwrap()
        .get(0);
    port.try_into().unwrap()
}

#[test]
fn an_address_replaces_the_name() {
    let options = options().host("nowhere.invalid").hostaddr("127.0.0.1");
    connect(options).unwrap();
}

#[test]
fn hosts_are_tried_in_order_and_the_error_names_each() {
    let options = options()
        .host("nowhere.invalid,127.0.0.1,127.0.0.1")
        .port(format!("5432,{UNUSED},{}", port(server())));
    connect(options.clone()).unwrap();
    let options = options
        .host("nowhere.invalid,127.0.0.1")
        .port(format!("5432,{UNUSED}"));
    let error = refused(options);
    for part in [
        "as user \"postgres\"",
        "at nowhere.invalid:5432: the host name cannot be resolved",
        "at 127.0.0.1:1: error connecting to server",
        "no program listens there",
    ] {
        assert!(error.contains(part), "{part} is not in: {error}");
    }
}

#[test]
fn hosts_are_tried_in_random_order_on_request() {
    let other = Server::builder().tcp(true).start().unwrap();
    let ports = [port(server()), port(&other)];
    let options = options()
        .host("127.0.0.1,127.0.0.1")
        .port(format!("{},{}", ports[0], ports[1]));
    for _ in 0..3 {
        assert_eq!(port_of(&mut connect(options.clone()).unwrap()), ports[0]);
    }
    let options = options.set("load_balance_hosts", "random").unwrap();
    for port in ports {
        wait_until("each server gets a connection", || {
            port_of(&mut connect(options.clone()).unwrap()) == port
        });
    }
}

#[test]
fn a_server_without_the_role_is_not_used() {
    let writes = options();
    let reads = writes
        .clone()
        .options("-c default_transaction_read_only=on");
    for (options, wanted, fits) in [
        (&writes, "any", true),
        (&writes, "read-write", true),
        (&writes, "primary", true),
        (&writes, "read-only", false),
        (&writes, "standby", false),
        (&writes, "prefer-standby", true),
        (&reads, "any", true),
        (&reads, "read-write", false),
        (&reads, "read-only", true),
        (&reads, "primary", true),
    ] {
        let options = options.clone().set("target_session_attrs", wanted).unwrap();
        if fits {
            connect(options).unwrap();
        } else {
            let error = refused(options);
            assert!(error.contains("target_session_attrs"), "{error}");
        }
    }
}

#[test]
fn an_error_of_the_server_has_its_sqlstate_and_advice() {
    let error = connect(options().dbname("no \"such\" one")).err().unwrap();
    assert_eq!(error.sqlstate().unwrap().code(), "3D000");
    let text = error.to_string();
    assert!(
        text.contains("to database \"no \\\"such\\\" one\""),
        "{text}"
    );
    assert!(text.contains("PGDATABASE"), "{text}");

    let server = Server::builder()
        .setting("max_connections", "4")
        .start()
        .unwrap();
    let clients: Vec<_> = (0..5).map_while(|_| connect(server.url()).ok()).collect();
    assert!(clients.len() < 5);
    let error = connect(server.url()).err().unwrap();
    assert_eq!(error.sqlstate().unwrap().code(), "53300");
    assert!(error.to_string().contains("max_connections"), "{error}");
}

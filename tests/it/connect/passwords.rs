//! Passwords, where they come from, and what is said where they are wrong.

use std::{thread, time::Duration};

use r2d2_postgres::PostgresConnectionManager;
use session_postgres::{
    ConnectOptions, Error, Key, PostgresStore, Store,
    postgres::{Client, Config, NoTls},
    r2d2::Pool,
};
use throwaway_postgres::Server;

use super::Files;
use crate::support::child;

/// A server that asks `web` for the password `lobster`.
fn server() -> Server {
    let server = Server::builder()
        .tcp(true)
        .hba("host all all 127.0.0.1/32 scram-sha-256")
        .start()
        .unwrap();
    let mut superuser = Client::connect(server.url(), NoTls).unwrap();
    superuser
        .batch_execute("CREATE ROLE web LOGIN PASSWORD 'lobster'")
        .unwrap();
    server
}

fn options(server: &Server) -> ConnectOptions {
    let options: ConnectOptions = server.tcp_url().unwrap().parse().unwrap();
    // The machine that runs the tests may have a password file of its own.
    let options = options.set("passfile", "/nowhere/at/all").unwrap();
    options.user("web").dbname("postgres")
}

fn refused(options: ConnectOptions) -> (String, Option<String>) {
    let error = PostgresStore::connect(options).unwrap_err();
    assert!(matches!(error, Error::Connect(_)), "{error:?}");
    let code = error.sqlstate().map(|code| code.code().to_owned());
    (error.to_string(), code)
}

#[test]
fn a_wrong_password_is_told_with_where_it_came_from_and_never_shown() {
    let server = server();
    let options = options(&server);
    PostgresStore::connect(options.clone().password("lobster")).unwrap();
    let (text, code) = refused(options.clone().password("SecretOfTheCrab"));
    assert_eq!(code.as_deref(), Some("28P01"), "{text}");
    assert!(
        text.contains("the password comes from the options"),
        "{text}"
    );
    assert!(!text.contains("Secret"), "{text}");
    let (text, _) = refused(options);
    assert!(text.contains("PGPASSWORD or a password file"), "{text}");
}

#[test]
fn one_wrong_password_is_not_sent_to_every_host() {
    let server = server();
    let options = options(&server)
        .host("127.0.0.1,127.0.0.1")
        .password("wrong");
    let (text, _) = refused(options);
    assert_eq!(text.matches("28P01").count(), 1, "{text}");
}

#[test]
fn the_password_file_serves_who_keeps_it_to_himself() {
    let files = Files::new();
    let server = server();
    let options = options(&server);
    let file = files.write("pgpass", "127.0.0.1:*:postgres:web:lobster\n");
    let options = options.set("passfile", file.to_str().unwrap()).unwrap();
    PostgresStore::connect(options.clone()).unwrap();

    let wrong = files.write("wrong", "*:*:*:*:SecretOfTheCrab\n");
    let with_wrong = options.clone().set("passfile", wrong.to_str().unwrap());
    let (text, _) = refused(with_wrong.unwrap());
    let from = format!("the password comes from {}", wrong.display());
    assert!(text.contains(&from), "{text}");
    assert!(!text.contains("Secret"), "{text}");

    files.open_to_all(&file);
    let (text, _) = refused(options.clone());
    assert!(text.contains("chmod 600"), "{text}");
    assert!(text.contains(file.to_str().unwrap()), "{text}");
    // It is read anew for each connection.
    files.write("pgpass", "127.0.0.1:*:postgres:web:lobster\n");
    PostgresStore::connect(options).unwrap();
}

#[test]
fn the_environment_has_a_password() {
    const NAME: &str = "connect::passwords::the_environment_has_a_password";
    if child::is_for(NAME) {
        PostgresStore::connect("").unwrap();
        let (text, _) = refused(ConnectOptions::new().password("wrong"));
        assert!(text.contains("from the options"), "{text}");
        let (text, _) = refused(ConnectOptions::new().user("postgres"));
        assert!(text.contains("from PGPASSWORD"), "{text}");
        return;
    }
    let server = server();
    let config: Config = server.tcp_url().unwrap().parse().unwrap();
    child::run_with(
        NAME,
        &[
            ("PGHOST", "127.0.0.1"),
            ("PGPORT", &config.get_ports()[0].to_string()),
            ("PGDATABASE", "postgres"),
            ("PGUSER", "web"),
            ("PGPASSWORD", "lobster"),
        ],
    );
}

/// Each of many callers of a store that cannot connect learns why.
fn each_learns(store: &PostgresStore, cause: &str) {
    let key = Key::generate().unwrap();
    thread::scope(|scope| {
        let calls: Vec<_> = (0..10)
            .map(|_| scope.spawn(|| store.get(&key).unwrap_err()))
            .collect();
        for call in calls {
            let error = call.join().unwrap();
            let Error::TimedOut { reason, .. } = &error else {
                panic!("{error:?}");
            };
            assert!(reason.contains(cause), "{reason}");
        }
    });
}

#[test]
fn each_of_many_callers_learns_why_there_is_no_connection() {
    let server = server();
    let mut own = server.tcp_url().unwrap().parse::<Config>().unwrap();
    own.user("web").password("SecretOfTheCrab");
    let builder = || PostgresStore::builder().timeout(Duration::from_secs(2));
    let pool = || {
        let manager = PostgresConnectionManager::new(own.clone(), NoTls);
        Pool::builder().max_size(4).build_unchecked(manager)
    };
    let options = options(&server).password("SecretOfTheCrab").startonly(true);
    let connected = || builder().connect(options.clone()).unwrap();
    let cause = "password authentication failed";
    each_learns(&connected(), cause);
    // The pool passes on the text of the driver's error, and that leaves out what the server said.
    each_learns(&builder().from_pool(pool()), ": db error");

    server.stop().unwrap();
    let cause = "refused";
    each_learns(&connected(), cause);
    each_learns(&builder().from_pool(pool()), ": error connecting");
}

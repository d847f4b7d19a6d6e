//! Passwords: their origin, and the error if one is wrong.

use postgres_connect::{
    ConnectOptions, connect,
    postgres::{Client, Config, NoTls},
};
use throwaway_postgres::Server;

use crate::support::{Files, child};

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
    let error = connect(options).err().unwrap();
    assert!(!error.is_invalid_option(), "{error:?}");
    let code = error.sqlstate().map(|code| code.code().to_owned());
    (error.to_string(), code)
}

#[test]
fn the_error_names_the_origin_of_a_wrong_password_and_never_shows_it() {
    let server = server();
    let options = options(&server);
    connect(options.clone().password("lobster")).unwrap();
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
fn a_wrong_password_is_not_sent_to_every_host() {
    let server = server();
    let options = options(&server)
        .host("127.0.0.1,127.0.0.1")
        .password("wrong");
    let (text, _) = refused(options);
    assert_eq!(text.matches("28P01").count(), 1, "{text}");
}

#[test]
fn the_password_file_is_used_unless_others_may_read_it() {
    let files = Files::new();
    let server = server();
    let options = options(&server);
    let file = files.write("pgpass", "127.0.0.1:*:postgres:web:lobster\n");
    let options = options.set("passfile", file.to_str().unwrap()).unwrap();
    connect(options.clone()).unwrap();

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
    // The file is read again for each connection.
    files.write("pgpass", "127.0.0.1:*:postgres:web:lobster\n");
    connect(options).unwrap();
}

#[test]
fn the_password_can_come_from_the_environment() {
    const NAME: &str = "passwords::the_password_can_come_from_the_environment";
    if child::is_for(NAME) {
        connect("").unwrap();
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

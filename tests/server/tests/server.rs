//! Starting, stopping and configuring a server.

mod support;

use std::thread;

use throwaway_postgres::{Builder, Database, Server};

use support::{shell, sql};

fn settings(server: &Server, names: &[&str]) -> Vec<String> {
    names
        .iter()
        .map(|name| sql(server, server.url(), &format!("SHOW {name}")))
        .collect()
}

#[test]
fn data_and_socket_survive_a_restart_and_a_kill() {
    let server = Server::builder().durable(true).start().expect("a server");
    let url = server.url().to_owned();
    sql(
        &server,
        &url,
        "CREATE TABLE kept (n int); INSERT INTO kept VALUES (1)",
    );
    server.restart().expect("a restart");
    sql(&server, &url, "INSERT INTO kept VALUES (2)");
    server.kill().expect("a kill");
    server.kill().expect("nothing to do");
    server.stop().expect("nothing to do");
    assert!(!server.socket_dir().join("data/postmaster.pid").exists());
    server.start_again().expect("a start");
    server.start_again().expect("nothing to do");
    assert_eq!(
        sql(
            &server,
            &url,
            "SELECT string_agg(n::text, ' ' ORDER BY n) FROM kept"
        ),
        "1 2"
    );
    assert_eq!(server.url(), url);
}

#[test]
fn several_servers_can_start_and_run_at_the_same_time() {
    let start = || Server::start().expect("a server");
    let servers: Vec<Server> = thread::scope(|scope| {
        let threads = [scope.spawn(start), scope.spawn(start), scope.spawn(start)];
        threads
            .map(|thread| thread.join().expect("no panic"))
            .into()
    });
    for (n, server) in servers.iter().enumerate() {
        sql(
            server,
            server.url(),
            &format!("CREATE TABLE mine AS SELECT {n} AS n"),
        );
    }
    for (n, server) in servers.iter().enumerate() {
        assert_eq!(
            sql(server, server.url(), "SELECT n FROM mine"),
            n.to_string()
        );
    }
}

#[test]
fn durability_is_off_unless_the_builder_turns_it_on() {
    let names = [
        "fsync",
        "synchronous_commit",
        "full_page_writes",
        "listen_addresses",
        "work_mem",
    ];
    let server = Server::start().expect("a server");
    assert_eq!(settings(&server, &names), ["off", "off", "off", "", "4MB"]);
    assert_eq!(server.tcp_url(), None);
    let durable = Server::builder()
        .durable(true)
        .setting("work_mem", "5MB")
        .start()
        .expect("a server");
    assert_eq!(settings(&durable, &names), ["on", "on", "on", "", "5MB"]);
    assert_eq!(durable.version(), server.version());
    let version = sql(&server, server.url(), "SHOW server_version");
    assert!(
        server
            .version()
            .contains(version.split(' ').next().expect("a number"))
    );
}

#[test]
fn with_tcp_the_server_listens_on_the_same_port_after_a_restart() {
    let server = Server::builder().tcp(true).start().expect("a server");
    let url = server.tcp_url().expect("a second url").to_owned();
    for url in [&url, server.url()] {
        assert_eq!(sql(&server, url, "SELECT current_user"), "postgres");
    }
    server.restart().expect("a restart");
    assert_eq!(sql(&server, &url, "SELECT 1"), "1");
}

#[test]
fn the_error_of_a_failed_start_contains_the_log() {
    for server in [Server::builder(), Server::builder().tcp(true)] {
        let error = Builder::setting(server, "work_mem", "lots")
            .start()
            .expect_err("no server");
        let error = error.to_string();
        assert!(error.starts_with("the server did not start"), "{error}");
        assert!(
            error.contains(r#"invalid value for parameter "work_mem": "lots""#),
            "{error}"
        );
    }
}

#[test]
fn a_server_that_another_process_stopped_starts_again() {
    let server = Server::start().expect("a server");
    let pid =
        std::fs::read_to_string(server.socket_dir().join("data/postmaster.pid")).expect("its file");
    let pid = pid.lines().next().expect("a pid");
    assert!(shell(&format!("kill -s INT {pid}")).status.success());
    server.stop().expect("an end");
    server.start_again().expect("a start");
    assert_eq!(sql(&server, server.url(), "SELECT 1"), "1");
}

#[test]
fn database_url_takes_precedence_over_a_throwaway_server() {
    let database = Database::open().expect("a database");
    match (std::env::var("DATABASE_URL"), &database) {
        (Ok(expected), Database::External { url }) => {
            assert_eq!((&expected, database.url()), (url, &*expected))
        }
        (_, Database::Own(server)) => assert_eq!(sql(server, database.url(), "SELECT 1"), "1"),
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_setting_can_change_while_the_server_runs() {
    let server = Server::builder()
        .setting("work_mem", "5MB")
        .start()
        .expect("a server");
    let url = server.url();
    server.set("work_mem", "6MB").expect("a new value");
    assert_eq!(settings(&server, &["work_mem"]), ["6MB"]);
    server
        .set("log_line_prefix", r"it's \ ")
        .expect("a new value");
    assert_eq!(
        sql(
            &server,
            url,
            r"SELECT current_setting('log_line_prefix') = 'it''s \ '"
        ),
        "t"
    );
    server.restart().expect("a restart");
    assert_eq!(settings(&server, &["work_mem"]), ["6MB"]);
    let error = server
        .set("work_mem", "lots")
        .expect_err("not a size")
        .to_string();
    assert!(
        error.contains(r#"invalid value for parameter "work_mem": "lots""#),
        "{error}"
    );
}

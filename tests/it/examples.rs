//! The example `counter` as a program: visited as by a browser, and stopped.

use std::{
    env,
    io::{BufRead, BufReader, Read, Write},
    net::{SocketAddr, TcpStream},
    process::{Child, Command, ExitStatus, Stdio},
    thread,
};

use crate::support::{PATIENCE, database::Schema, wait_until};

/// `examples/counter.rs`, on a free port and in a schema of its own.
struct Counter {
    program: Child,
    address: SocketAddr,
    schema: Schema,
}

struct Answer {
    status: u16,
    head: String,
    body: String,
}

/// Cargo puts the examples next to the folder of the tests.
fn program() -> Command {
    let this = env::current_exe().unwrap();
    Command::new(this.ancestors().nth(2).unwrap().join("examples/counter"))
}

/// What the program has logged until its end.
fn log(program: &mut Child) -> String {
    let mut log = String::new();
    let mut stderr = program.stderr.take().unwrap();
    stderr.read_to_string(&mut log).unwrap();
    log
}

impl Counter {
    fn start(settings: &[(&str, &str)]) -> Counter {
        let schema = Schema::new();
        let mut program = program()
            .env("DATABASE_URL", schema.url())
            .env("LISTEN", "127.0.0.1:0")
            .env_remove("ORIGIN")
            .envs(settings.iter().copied())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .expect("the example, which `cargo build --examples` makes");
        let mut said = BufReader::new(program.stdout.take().unwrap());
        let mut line = String::new();
        said.read_line(&mut line).unwrap();
        // What else it says is read, and nobody's business.
        thread::spawn(move || said.read_to_end(&mut Vec::new()));
        let Some(address) = line.strip_prefix("Listening on ") else {
            panic!("it says {line:?} and {:?}", log(&mut program));
        };
        let address = address.split_once(". ").unwrap().0.parse().unwrap();
        Counter {
            program,
            address,
            schema,
        }
    }

    fn send(&self, request: &str, cookie: Option<&str>) -> TcpStream {
        let mut stream = TcpStream::connect(self.address).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        let cookie = cookie.map_or(String::new(), |cookie| format!("Cookie: {cookie}\r\n"));
        let head = format!(
            "{request} HTTP/1.1\r\nHost: {}\r\nConnection: close\r\nContent-Length: 0\r\n{cookie}\r\n",
            self.address
        );
        stream.write_all(head.as_bytes()).unwrap();
        stream
    }

    fn ask(&self, request: &str, cookie: Option<&str>) -> Answer {
        Answer::read(self.send(request, cookie))
    }

    /// A visit, by how often its visitor has been there, and with which cookie the next one is made.
    fn visit(&self, cookie: Option<&str>) -> (u64, String) {
        let answer = self.ask("GET /", cookie);
        assert_eq!(answer.status, 200, "{}", answer.body);
        (answer.visits(), answer.cookie())
    }

    fn sessions(&self) -> i64 {
        let sql = "SELECT count(*) FROM session_counter";
        self.schema.client().query_one(sql, &[]).unwrap().get(0)
    }

    fn signal(&self, name: &str) {
        let id = self.program.id().to_string();
        let kill = Command::new("kill").args(["-s", name, &id]).status();
        assert!(kill.unwrap().success());
    }

    fn end(&mut self) -> ExitStatus {
        let mut status = None;
        wait_until("the example ends", || {
            status = self.program.try_wait().unwrap();
            status.is_some()
        });
        status.unwrap()
    }
}

impl Drop for Counter {
    fn drop(&mut self) {
        let _ = self.program.kill();
        let _ = self.program.wait();
    }
}

impl Answer {
    fn read(mut stream: TcpStream) -> Answer {
        let mut text = String::new();
        stream.read_to_string(&mut text).unwrap();
        let (head, body) = text.split_once("\r\n\r\n").unwrap();
        Answer {
            status: head.split(' ').nth(1).unwrap().parse().unwrap(),
            head: head.to_owned(),
            body: body.to_owned(),
        }
    }

    fn header(&self, name: &str) -> Option<&str> {
        self.head.lines().find_map(|line| {
            let (found, value) = line.split_once(": ")?;
            found.eq_ignore_ascii_case(name).then_some(value)
        })
    }

    /// The cookie that was set, as a browser sends it back.
    fn cookie(&self) -> String {
        let set = self.header("set-cookie").unwrap();
        set.split_once("; ").unwrap().0.to_owned()
    }

    fn visits(&self) -> u64 {
        let (_, number) = self.body.split_once("<strong>").unwrap();
        number.split_once("</strong>").unwrap().0.parse().unwrap()
    }
}

#[test]
fn counter_counts_the_visits_of_each_visitor() {
    let counter = Counter::start(&[]);
    let first = counter.ask("GET /", None);
    assert_eq!((first.status, first.visits()), (200, 1));
    let cookie = first.cookie();
    assert_eq!(
        first.header("set-cookie").unwrap(),
        format!("{cookie}; HttpOnly; SameSite=Lax; Path=/; Max-Age=1800")
    );
    assert!(cookie.starts_with("counter=") && cookie.len() == "counter=".len() + 40);
    assert_eq!(first.header("cache-control"), Some("no-store"));
    assert!(first.header("content-security-policy").is_some());

    assert_eq!(counter.visit(Some(&cookie)), (2, cookie.clone()));
    let among_others = format!("a=b; {cookie}; c=d");
    assert_eq!(counter.visit(Some(&among_others)), (3, cookie.clone()));
    assert_eq!(counter.visit(None).0, 1);
    assert_eq!(counter.visit(Some(&cookie)).0, 4);
}

#[test]
fn counter_knows_the_age_of_a_session_that_each_visit_renews() {
    let counter = Counter::start(&[]);
    let (_, cookie) = counter.visit(None);
    counter.schema.run(
        "UPDATE session_counter SET expire_date = now() + interval '1 minute',
             session_data = '6 ' || extract(epoch FROM now())::bigint - 7300",
    );
    let answer = counter.ask("GET /", Some(&cookie));
    assert_eq!(answer.visits(), 7);
    assert!(answer.body.contains("<dd>2 hours<"));
    assert!(answer.body.contains("<dd>30 minutes<"));
}

#[test]
fn counter_begins_a_session_of_its_own_for_whoever_has_none_that_lives() {
    let counter = Counter::start(&[]);
    let forged = [&"x".repeat(40), "short", "", "two words", &"x".repeat(41)];
    for key in forged {
        let sent = format!("counter={key}");
        let (visits, cookie) = counter.visit(Some(&sent));
        assert_eq!(visits, 1);
        assert_ne!(cookie, sent);
    }

    let (_, expired) = counter.visit(None);
    let sql = "UPDATE session_counter SET expire_date = now() - interval '1 second'";
    counter.schema.run(sql);
    let (visits, cookie) = counter.visit(Some(&expired));
    assert_eq!(visits, 1);
    assert_ne!(cookie, expired);

    let sql = "UPDATE session_counter SET session_data = 'lobster'";
    counter.schema.run(sql);
    assert_eq!(counter.visit(Some(&cookie)), (1, cookie));
}

#[test]
fn counter_counts_nothing_but_visits() {
    let counter = Counter::start(&[]);
    assert_eq!(counter.ask("GET /favicon.ico", None).status, 404);
    assert_eq!(counter.sessions(), 0);
    let (_, cookie) = counter.visit(None);
    for request in ["GET /favicon.ico", "GET /logout", "GET /rotate", "POST /"] {
        let answer = counter.ask(request, Some(&cookie));
        assert!([404, 405].contains(&answer.status));
        assert_eq!(answer.header("set-cookie"), None);
    }
    assert_eq!(counter.visit(Some(&cookie)), (2, cookie));
    assert_eq!(counter.sessions(), 1);
}

#[test]
fn counter_ends_the_session_of_who_logs_out() {
    let counter = Counter::start(&[]);
    let (_, cookie) = counter.visit(None);
    let out = counter.ask("POST /logout", Some(&cookie));
    assert_eq!((out.status, out.cookie().as_str()), (303, "counter="));
    assert!(out.header("set-cookie").unwrap().contains("; Max-Age=0"));
    assert_eq!(counter.sessions(), 0);
    let goodbye = counter.ask(&format!("GET {}", out.header("location").unwrap()), None);
    assert_eq!((goodbye.status, counter.sessions()), (200, 0));

    let (visits, new) = counter.visit(Some(&cookie));
    assert_eq!(visits, 1);
    assert_ne!(new, cookie);
    assert_eq!(counter.ask("POST /logout", None).status, 303);
    assert_eq!(counter.visit(Some(&new)).0, 2);
}

#[test]
fn counter_changes_the_key_and_goes_on_counting() {
    let counter = Counter::start(&[]);
    let (_, old) = counter.visit(None);
    let rotated = counter.ask("POST /rotate", Some(&old));
    assert_eq!(
        (rotated.status, rotated.header("location")),
        (303, Some("/"))
    );
    let new = rotated.cookie();
    assert_ne!(new, old);
    assert_eq!(counter.visit(Some(&new)), (2, new));
    assert_eq!(counter.visit(Some(&old)).0, 1);
    for absent in [None, Some(old.as_str())] {
        let answer = counter.ask("POST /rotate", absent);
        assert_eq!((answer.status, answer.header("set-cookie")), (303, None));
    }
}

#[test]
fn counter_makes_its_cookie_for_https_where_that_is_what_browsers_see() {
    let counter = Counter::start(&[("ORIGIN", "https://example.org")]);
    let first = counter.ask("GET /", None);
    let cookie = first.cookie();
    assert!(cookie.starts_with("__Host-counter="));
    assert_eq!(
        first.header("set-cookie").unwrap(),
        format!("{cookie}; HttpOnly; SameSite=Lax; Secure; Path=/; Max-Age=1800")
    );
    assert_eq!(counter.visit(Some(&cookie)), (2, cookie.clone()));
    let unprefixed = cookie.replace("__Host-", "");
    assert_eq!(counter.visit(Some(&unprefixed)).0, 1);
}

#[test]
fn counter_says_sorry_and_nothing_more_where_the_store_fails() {
    let mut counter = Counter::start(&[]);
    let (_, cookie) = counter.visit(None);
    counter.schema.run("DROP TABLE session_counter");
    for (request, cookie) in [
        ("GET /", None),
        ("GET /", Some(cookie.as_str())),
        ("POST /logout", Some(&cookie)),
    ] {
        let answer = counter.ask(request, cookie);
        assert_eq!((answer.status, answer.header("set-cookie")), (500, None));
        assert!(answer.body.contains("Sorry") && !answer.body.contains("session_counter"));
        assert_eq!(answer.header("cache-control"), Some("no-store"));
    }
    counter.signal("INT");
    assert!(counter.end().success());
    let log = log(&mut counter.program);
    assert_eq!(log.matches("\"session_counter\" does not exist").count(), 3);
    assert!(!log.contains(cookie.split_once('=').unwrap().1));
}

#[test]
fn counter_answers_who_is_waiting_before_it_stops() {
    for signal in ["INT", "TERM"] {
        let mut counter = Counter::start(&[]);
        let (_, cookie) = counter.visit(None);
        // Browsers open connections ahead of time; they do not keep it from stopping.
        let idle = TcpStream::connect(counter.address).unwrap();
        let mut client = counter.schema.client();
        let mut lock = client.transaction().unwrap();
        lock.execute("SELECT FROM session_counter FOR UPDATE", &[])
            .unwrap();
        let waiting = counter.send("GET /", Some(&cookie));
        wait_until("the visit waits for the row", || {
            let sql =
                "SELECT FROM pg_stat_activity WHERE pg_backend_pid() = ANY (pg_blocking_pids(pid))";
            !lock.query(sql, &[]).unwrap().is_empty()
        });

        counter.signal(signal);
        wait_until("it takes no more visitors", || {
            TcpStream::connect(counter.address).is_err()
        });
        assert!(counter.program.try_wait().unwrap().is_none());
        lock.commit().unwrap();
        let answer = Answer::read(waiting);
        assert_eq!((answer.status, answer.visits()), (200, 2));
        assert!(counter.end().success());
        drop(idle);
    }
}

#[test]
fn counter_says_so_where_its_port_is_taken() {
    let counter = Counter::start(&[]);
    let second = program()
        .env("LISTEN", counter.address.to_string())
        .output()
        .unwrap();
    assert!(!second.status.success());
    let said = String::from_utf8(second.stderr).unwrap();
    assert!(said.contains(&format!("cannot listen on {}", counter.address)));
}

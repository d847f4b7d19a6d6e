//! A paused server: it accepts connections but does not answer.

mod support;

use std::fs;
use std::io::{BufRead, BufReader, ErrorKind, Read, Write};
use std::os::unix::net::UnixStream;
use std::process::{Command, Stdio};
use std::sync::mpsc::{self, RecvTimeoutError};
use std::thread;
use std::time::Duration;

use throwaway_postgres::Server;

use support::shell;

/// A server that is not paused answers within this time.
const SILENCE: Duration = Duration::from_millis(500);

/// A request for TLS. The server answers with one letter, because there is no TLS on Unix sockets.
const SSL_REQUEST: [u8; 8] = [0, 0, 0, 8, 4, 210, 22, 47];

fn connect(server: &Server) -> UnixStream {
    let socket = server.socket_dir().join(".s.PGSQL.5432");
    let mut stream = UnixStream::connect(socket).expect("a connection");
    stream.write_all(&SSL_REQUEST).expect("room for 8 bytes");
    stream
}

/// Returns the child processes of the server. While their parent is paused, it does not start more.
fn children(server: &Server) -> Vec<String> {
    let file = server.socket_dir().join("data/postmaster.pid");
    let file = fs::read_to_string(file).expect("its file");
    let pid = file.lines().next().expect("a pid");
    let script = format!("ps -A -o pid=,ppid= | awk '$2 == {pid} {{ print $1 }}'");
    let output = shell(&script).stdout;
    let pids = String::from_utf8_lossy(&output);
    pids.lines().map(str::to_owned).collect()
}

fn exists(pid: &str) -> bool {
    shell(&format!("kill -s 0 {pid}")).status.success()
}

#[test]
fn a_paused_server_answers_when_it_is_resumed() {
    let server = Server::start().expect("a server");
    let mut session = Command::new(server.bin_dir().join("psql"))
        .args(["-XqAt", server.url()])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .expect("psql");
    let mut input = session.stdin.take().expect("a pipe");
    let output = BufReader::new(session.stdout.take().expect("a pipe"));
    let (sender, answers) = mpsc::channel();
    let reader = thread::spawn(move || {
        for line in output.lines().map_while(Result::ok) {
            let _ = sender.send(line);
        }
    });
    let long = Duration::from_secs(30);
    input.write_all(b"SELECT 1;\n").expect("a question");
    assert_eq!(answers.recv_timeout(long).as_deref(), Ok("1"));

    server.pause().expect("a pause");
    server.pause().expect("nothing to do");
    input.write_all(b"SELECT 2;\n").expect("a question");
    let mut stream = connect(&server);
    stream.set_read_timeout(Some(SILENCE)).expect("a timeout");
    let mut answer = [0];
    // Unlike `read`, `read_exact` continues after EINTR, which occurs on a busy machine.
    let error = stream.read_exact(&mut answer).expect_err("no answer");
    assert!(
        [ErrorKind::WouldBlock, ErrorKind::TimedOut].contains(&error.kind()),
        "{error}"
    );
    assert_eq!(answers.try_recv().ok(), None);

    server.resume().expect("an end");
    server.resume().expect("nothing to do");
    assert_eq!(answers.recv_timeout(long).as_deref(), Ok("2"));
    stream.set_read_timeout(Some(long)).expect("a timeout");
    stream.read_exact(&mut answer).expect("an answer");
    assert_eq!(&answer, b"N");
    drop(input);
    assert!(session.wait().expect("an end").success());
    reader.join().expect("no panic");
    assert_eq!(
        answers.recv_timeout(long),
        Err(RecvTimeoutError::Disconnected)
    );
}

#[test]
fn a_paused_server_can_be_stopped_and_started_again() {
    let server = Server::start().expect("a server");
    for end in [Server::stop, Server::kill] {
        server.pause().expect("a pause");
        let children = children(&server);
        assert!(!children.is_empty());
        end(&server).expect("an end");
        for pid in children {
            assert!(!exists(&pid), "{pid} is left");
        }
        let error = server.pause().expect_err("no server");
        assert_eq!(error.to_string(), "the server does not run");
        server.start_again().expect("a start");
        let mut answer = [0];
        connect(&server).read_exact(&mut answer).expect("an answer");
    }
}

#[test]
fn a_paused_server_can_be_dropped() {
    let server = Server::start().expect("a server");
    let dir = server.socket_dir().to_owned();
    let mut stream = connect(&server);
    stream.read_exact(&mut [0]).expect("an answer");
    server.pause().expect("a pause");
    let children = children(&server);
    assert!(!children.is_empty());
    drop(server);
    assert!(!dir.exists());
    for pid in children {
        assert!(!exists(&pid), "{pid} is left");
    }
}

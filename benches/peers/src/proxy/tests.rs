//! These tests run a proxy in a thread and do not depend on exact times.

#![allow(clippy::unwrap_used)]

use std::{
    io::{self, PipeWriter, Read, Write, pipe},
    net::{Ipv4Addr, Shutdown, TcpListener, TcpStream},
    thread::{self, JoinHandle},
    time::{Duration, Instant},
};

use super::{LONGEST_WAKE_UP, Relay, SOON};
use crate::rtt::Rtt;

/// The proxy estimates when bytes have arrived, and may deliver a little early: in both directions.
const TOLERANCE: Duration = LONGEST_WAKE_UP.saturating_add(SOON).saturating_mul(2);

/// A proxy before a listener.
struct Setup {
    server: TcpListener,
    port: u16,
    stop: Option<PipeWriter>,
    relay: Option<JoinHandle<()>>,
}

impl Setup {
    fn new(rtt: Rtt) -> Setup {
        let server = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let (ends, stop) = pipe().unwrap();
        let target = server.local_addr().unwrap().port();
        let mut relay = Relay::new(rtt, &[target], ends).unwrap();
        Setup {
            server,
            port: relay.ports().unwrap()[0],
            stop: Some(stop),
            relay: Some(thread::spawn(move || relay.run().unwrap())),
        }
    }

    /// Returns both ends of a connection.
    fn connect(&self) -> (TcpStream, TcpStream) {
        let client = TcpStream::connect((Ipv4Addr::LOCALHOST, self.port)).unwrap();
        (client, self.server.accept().unwrap().0)
    }
}

impl Drop for Setup {
    fn drop(&mut self) {
        drop(self.stop.take());
        self.relay.take().unwrap().join().unwrap();
    }
}

/// More than the proxy and the sockets hold.
const MANY: usize = 12 << 20;

fn bytes() -> Vec<u8> {
    (0..MANY).map(|at| (at % 251) as u8).collect()
}

/// Sends many bytes and the end of the stream in one direction.
fn send(mut from: TcpStream) -> JoinHandle<TcpStream> {
    thread::spawn(move || {
        from.write_all(&bytes()).unwrap();
        from.shutdown(Shutdown::Write).unwrap();
        from
    })
}

fn receive(mut to: &TcpStream) -> Vec<u8> {
    let mut received = Vec::new();
    to.read_to_end(&mut received).unwrap();
    received
}

#[test]
fn bytes_arrive_in_order_after_a_half_close_of_the_other_direction() {
    let setup = Setup::new(Rtt::of_micros(500));
    let (client, server) = setup.connect();
    let sending = send(client);
    assert!(receive(&server) == bytes());
    let client = sending.join().unwrap();
    // The client has ended its stream. That of the server is still open.
    let sending = send(server);
    assert!(receive(&client) == bytes());
    sending.join().unwrap();
}

#[test]
fn many_bytes_travel_in_both_directions_at_once() {
    let setup = Setup::new(Rtt::of_micros(500));
    let (client, server) = setup.connect();
    let copies = (client.try_clone().unwrap(), server.try_clone().unwrap());
    let sending = (send(client), send(server));
    let receiving = thread::spawn(move || assert!(receive(&copies.0) == bytes()));
    assert!(receive(&copies.1) == bytes());
    receiving.join().unwrap();
    sending.0.join().unwrap();
    sending.1.join().unwrap();
}

#[test]
fn a_round_trip_takes_at_least_the_set_time() {
    let rtt = Rtt::of_micros(20_000);
    let setup = Setup::new(rtt);
    let (mut client, mut server) = setup.connect();
    for _ in 0..3 {
        let start = Instant::now();
        client.write_all(b"?").unwrap();
        server.read_exact(&mut [0]).unwrap();
        assert!(start.elapsed() + TOLERANCE >= rtt.length() / 2);
        server.write_all(b"!").unwrap();
        client.read_exact(&mut [0]).unwrap();
        assert!(start.elapsed() + TOLERANCE >= rtt.length());
    }
}

#[test]
fn a_connection_that_is_reset_is_closed_at_the_other_end() {
    let setup = Setup::new(Rtt::of_micros(500));
    let (mut client, server) = setup.connect();
    client.write_all(b"unread").unwrap();
    server
        .set_read_timeout(Some(Duration::from_secs(60)))
        .unwrap();
    server.peek(&mut [0]).unwrap();
    // Closing a socket with unread bytes resets the connection.
    drop(server);
    let closed = client.read(&mut [0]);
    let is_reset = |error: &io::Error| error.kind() == io::ErrorKind::ConnectionReset;
    assert!(closed.as_ref().is_ok_and(|read| *read == 0) || closed.as_ref().is_err_and(is_reset));
}

//! A proxy that breaks connections at random, before, during and after a statement, and that delays
//! cancel requests.

use std::{
    io::{self, Read, Write},
    net::{Shutdown, TcpListener, TcpStream},
    os::unix::net::UnixStream,
    path::{Path, PathBuf},
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering},
    },
    thread,
    time::Duration,
};

use crate::support::random::Random;

/// One of so many statements is broken, and one is delayed.
const FAULT_IN: usize = 15;

/// The code of a cancel request.
const CANCEL: &[u8] = &80_877_102_u32.to_be_bytes();

/// Listens on a port that the system chose.
pub(super) struct Proxy {
    port: u16,
    shared: Arc<Shared>,
}

struct Shared {
    socket: PathBuf,
    breaks: AtomicBool,
    seed: AtomicU64,
    cuts: AtomicUsize,
    cancels: AtomicUsize,
    ends: Mutex<Vec<Ends>>,
}

/// A fault of a statement.
#[derive(Clone, Copy, PartialEq)]
enum Fault {
    /// The server does not receive it.
    Before,
    /// The server receives only some of its bytes.
    Within,
    /// The server receives it. Both sides are cut while the server executes it.
    After,
    /// The server executes it. The client does not get the answer.
    AfterAnswer,
    /// The server receives it late.
    Late,
}

/// The two sides of a connection.
struct Ends {
    client: TcpStream,
    server: UnixStream,
}

impl Ends {
    fn cut(&self) {
        let _ = self.client.shutdown(Shutdown::Both);
        let _ = self.server.shutdown(Shutdown::Both);
    }

    fn try_clone(&self) -> io::Result<Ends> {
        Ok(Ends {
            client: self.client.try_clone()?,
            server: self.server.try_clone()?,
        })
    }
}

impl Proxy {
    /// A proxy to the server whose socket is in this directory.
    pub(super) fn to(directory: &Path, seed: u64) -> Proxy {
        let listener = TcpListener::bind(("127.0.0.1", 0)).unwrap();
        let port = listener.local_addr().unwrap().port();
        let shared = Arc::new(Shared {
            socket: directory.join(".s.PGSQL.5432"),
            breaks: AtomicBool::new(false),
            seed: AtomicU64::new(seed),
            cuts: AtomicUsize::new(0),
            cancels: AtomicUsize::new(0),
            ends: Mutex::default(),
        });
        let accepting = shared.clone();
        thread::spawn(move || {
            for client in listener.incoming() {
                let shared = accepting.clone();
                thread::spawn(move || shared.serve(client.unwrap()));
            }
        });
        Proxy { port, shared }
    }

    pub(super) fn port(&self) -> u16 {
        self.port
    }

    /// Whether connections break from now on.
    pub(super) fn set_breaks(&self, breaks: bool) {
        self.shared.breaks.store(breaks, Ordering::SeqCst);
    }

    /// Cuts all connections. Nothing that the server has not received yet will reach it.
    pub(super) fn cut_all(&self) {
        for ends in self.shared.ends.lock().unwrap().drain(..) {
            ends.cut();
        }
    }

    /// The number of connections that were broken, and of cancel requests.
    pub(super) fn counts(&self) -> (usize, usize) {
        let count = |count: &AtomicUsize| count.load(Ordering::SeqCst);
        (count(&self.shared.cuts), count(&self.shared.cancels))
    }
}

impl Shared {
    /// Serves a connection. Fails when one of its sides is cut.
    fn serve(self: Arc<Shared>, mut client: TcpStream) -> io::Result<()> {
        client.set_nodelay(true)?;
        let mut random = Random(self.seed.fetch_add(1, Ordering::SeqCst) << 8);
        let first = message(&mut client, false)?;
        if first.get(4..8) == Some(CANCEL) {
            return self.cancel(&client, &first, &mut random);
        }
        let ends = {
            // Locked, so that `cut_all` cuts each connection unless it is opened afterwards.
            let mut all = self.ends.lock().unwrap();
            let server = UnixStream::connect(&self.socket)?;
            let ends = Ends { client, server };
            all.push(ends.try_clone()?);
            ends
        };
        let swallows = Arc::new(AtomicBool::new(false));
        let (mut answers, swallowing) = (ends.try_clone()?, swallows.clone());
        thread::spawn(move || {
            let _ = pass_answers(&mut answers, &swallowing);
            answers.cut();
        });
        let mut statements = ends.try_clone()?;
        let passed = self.pass_statements(&mut statements, &first, &swallows, &mut random);
        if !swallows.load(Ordering::SeqCst) {
            ends.cut();
        }
        passed
    }

    /// Forwards a cancel request, at once or within a second, or drops it.
    fn cancel(&self, client: &TcpStream, first: &[u8], random: &mut Random) -> io::Result<()> {
        self.cancels.fetch_add(1, Ordering::SeqCst);
        if self.breaks.load(Ordering::SeqCst) {
            match random.below(8) {
                0 => return client.shutdown(Shutdown::Both),
                1..=3 => pause(random, 100),
                4 | 5 => pause(random, 1_000),
                _ => {}
            }
        }
        let mut server = UnixStream::connect(&self.socket)?;
        server.write_all(first)?;
        // The server closes the connection after it has processed the request.
        server.read_to_end(&mut Vec::new())?;
        client.shutdown(Shutdown::Both)
    }

    fn pass_statements(
        &self,
        ends: &mut Ends,
        first: &[u8],
        swallows: &AtomicBool,
        random: &mut Random,
    ) -> io::Result<()> {
        if self.breaks(random, 4 * FAULT_IN) {
            return Ok(());
        }
        ends.server.write_all(first)?;
        // The fault of the current statement.
        let mut then = None;
        loop {
            let bytes = message(&mut ends.client, true)?;
            let kind = bytes[0];
            if matches!(kind, b'B' | b'P' | b'Q') && then.is_none() {
                then = self.fault(random);
            }
            match then {
                Some(Fault::Before) => return Ok(()),
                Some(Fault::Within) => return ends.server.write_all(&bytes[..bytes.len() / 2]),
                Some(Fault::Late) => {
                    then = None;
                    pause(random, 60);
                }
                _ => {}
            }
            let is_complete = matches!(kind, b'S' | b'Q');
            if is_complete && then == Some(Fault::AfterAnswer) {
                swallows.store(true, Ordering::SeqCst);
            }
            ends.server.write_all(&bytes)?;
            match then {
                Some(Fault::After) if is_complete => {
                    pause(random, 3);
                    return Ok(());
                }
                Some(Fault::AfterAnswer) if is_complete => return Ok(()),
                _ => {}
            }
        }
    }

    fn fault(&self, random: &mut Random) -> Option<Fault> {
        if self.breaks.load(Ordering::SeqCst) && random.one_in(FAULT_IN) {
            return Some(Fault::Late);
        }
        self.breaks(random, FAULT_IN)
            .then(|| match random.below(4) {
                0 => Fault::Before,
                1 => Fault::Within,
                2 => Fault::After,
                _ => Fault::AfterAnswer,
            })
    }

    fn breaks(&self, random: &mut Random, one_in: usize) -> bool {
        let breaks = self.breaks.load(Ordering::SeqCst) && random.one_in(one_in);
        self.cuts.fetch_add(breaks.into(), Ordering::SeqCst);
        breaks
    }
}

/// Forwards the server's answers. After the end of an answer that must not reach the client, returns.
fn pass_answers(ends: &mut Ends, swallows: &AtomicBool) -> io::Result<()> {
    loop {
        let bytes = message(&mut ends.server, true)?;
        if !swallows.load(Ordering::SeqCst) {
            ends.client.write_all(&bytes)?;
        } else if bytes[0] == b'Z' {
            return Ok(());
        }
    }
}

/// Reads all bytes of one message. The first message of a connection has no type.
fn message(from: &mut impl Read, has_type: bool) -> io::Result<Vec<u8>> {
    let head = if has_type { 5 } else { 4 };
    let mut bytes = vec![0; head];
    from.read_exact(&mut bytes)?;
    let length = u32::from_be_bytes(bytes[head - 4..].try_into().unwrap()) as usize;
    bytes.resize(head - 4 + length, 0);
    from.read_exact(&mut bytes[head..])?;
    Ok(bytes)
}

/// Waits for less than `most` milliseconds.
fn pause(random: &mut Random, most: usize) {
    thread::sleep(Duration::from_millis(random.below(most) as u64));
}

//! A TCP line to a server that can fall silent, be slow, or be cut.

use std::{
    io::{Read, Write},
    net::{Shutdown, SocketAddr, TcpListener, TcpStream},
    sync::{
        Arc, Condvar, Mutex,
        atomic::{AtomicUsize, Ordering},
    },
    thread,
    time::Duration,
};

use session_postgres::postgres::Config;

use super::proxy;

/// Listens at a port that the system chose, and passes on what comes.
pub(crate) struct Line {
    port: u16,
    shared: Arc<Shared>,
}

#[derive(Default)]
struct Shared {
    /// Nothing is passed on, in neither direction, while this is true.
    is_silent: Mutex<bool>,
    speaks: Condvar,
    delay: Mutex<Duration>,
    ends: Mutex<Vec<TcpStream>>,
    /// New connections wait for this.
    accepts: Mutex<()>,
    open: AtomicUsize,
    accepted: AtomicUsize,
}

impl Line {
    /// To the server that this configuration names.
    pub(crate) fn to(server: &Config) -> Line {
        let server = server.clone();
        let listener = TcpListener::bind(("127.0.0.1", 0)).unwrap();
        let port = listener.local_addr().unwrap().port();
        let shared = Arc::new(Shared::default());
        let relayed = shared.clone();
        thread::spawn(move || {
            for client in listener.incoming() {
                drop(relayed.accepts.lock());
                relay(client.unwrap(), server.clone(), &relayed);
            }
        });
        Line { port, shared }
    }

    pub(crate) fn port(&self) -> u16 {
        self.port
    }

    /// How to reach through this line what the configuration, that of a database on the line's server, names.
    pub(crate) fn config(&self, server: &Config) -> Config {
        let mut config = Config::new();
        config
            .host("127.0.0.1")
            .port(self.port)
            .user(server.get_user().unwrap())
            .dbname(server.get_dbname().unwrap())
            .options(server.get_options().unwrap());
        config
    }

    /// Swallows all that is said, and accepts connections that get no answer.
    pub(crate) fn fall_silent(&self) {
        *self.shared.is_silent.lock().unwrap() = true;
    }

    pub(crate) fn speak_again(&self) {
        *self.shared.is_silent.lock().unwrap() = false;
        self.shared.speaks.notify_all();
    }

    /// Accepts no connections as long as the result lives, as a server whose queue of new connections is full.
    pub(crate) fn accept_none(&self) -> impl Sized + '_ {
        let accepts = self.shared.accepts.lock().unwrap();
        // The system keeps some connections ready. When it has no room left, it ignores new ones.
        let address = SocketAddr::from(([127, 0, 0, 1], self.port));
        let mut queue = Vec::new();
        while let Ok(waiting) = TcpStream::connect_timeout(&address, Duration::from_millis(200)) {
            queue.push(waiting);
        }
        (queue, accepts)
    }

    /// Passes on what comes from now on only after so much time.
    pub(crate) fn delay(&self, delay: Duration) {
        *self.shared.delay.lock().unwrap() = delay;
    }

    /// Cuts every connection that there is.
    pub(crate) fn cut(&self) {
        for end in self.shared.ends.lock().unwrap().drain(..) {
            let _ = end.shutdown(Shutdown::Both);
        }
    }

    /// How many connections there have been.
    pub(crate) fn accepted(&self) -> usize {
        self.shared.accepted.load(Ordering::SeqCst)
    }

    /// How many connections are open from the client's side.
    pub(crate) fn open(&self) -> usize {
        self.shared.open.load(Ordering::SeqCst)
    }
}

/// Whoever waits for an answer learns that there is none.
impl Drop for Line {
    fn drop(&mut self) {
        self.cut();
        self.speak_again();
    }
}

fn relay(client: TcpStream, server: Config, shared: &Arc<Shared>) {
    shared
        .ends
        .lock()
        .unwrap()
        .push(client.try_clone().unwrap());
    shared.open.fetch_add(1, Ordering::SeqCst);
    shared.accepted.fetch_add(1, Ordering::SeqCst);
    let up = shared.clone();
    thread::spawn(move || {
        let mut from = client.try_clone().unwrap();
        // The server does not learn of a client whose first word is swallowed.
        if let Some(first) = up.heard(&mut from) {
            let mut server = proxy::connect(&server);
            let (mut answers, mut to_client) = (server.again(), client);
            let down = up.clone();
            thread::spawn(move || {
                while let Some(bytes) = down.heard(&mut answers) {
                    if to_client.write_all(&bytes).is_err() {
                        break;
                    }
                }
                let _ = to_client.shutdown(Shutdown::Both);
            });
            let mut said = Some(first);
            while let Some(bytes) = said {
                if server.write_all(&bytes).is_err() {
                    break;
                }
                said = up.heard(&mut from);
            }
            server.cut();
        }
        up.open.fetch_sub(1, Ordering::SeqCst);
    });
}

impl Shared {
    /// What comes from there, once it may be passed on; none at the end.
    fn heard(&self, from: &mut impl Read) -> Option<Vec<u8>> {
        let mut bytes = vec![0; 65_536];
        let count = from.read(&mut bytes).ok().filter(|count| *count > 0)?;
        bytes.truncate(count);
        let is_silent = self.is_silent.lock().unwrap();
        drop(self.speaks.wait_while(is_silent, |is_silent| *is_silent));
        let delay = *self.delay.lock().unwrap();
        thread::sleep(delay);
        Some(bytes)
    }
}

//! A TCP proxy that can stall, delay or cut its connections.

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

/// Listens on a port that the system chose, and forwards bytes in both directions.
pub(crate) struct TcpProxy {
    port: u16,
    shared: Arc<Shared>,
}

#[derive(Default)]
struct Shared {
    /// While this is true, nothing is forwarded in either direction.
    is_silent: Mutex<bool>,
    resumed: Condvar,
    delay: Mutex<Duration>,
    clients: Mutex<Vec<TcpStream>>,
    /// Held while no new connections are accepted.
    accepts: Mutex<()>,
    open: AtomicUsize,
    accepted: AtomicUsize,
}

impl TcpProxy {
    /// A proxy to the server of this configuration.
    pub(crate) fn to(server: &Config) -> TcpProxy {
        TcpProxy::between(vec![server.clone()])
    }

    /// A proxy that connects its clients to these servers in turn.
    pub(crate) fn between(servers: Vec<Config>) -> TcpProxy {
        let listener = TcpListener::bind(("127.0.0.1", 0)).unwrap();
        let port = listener.local_addr().unwrap().port();
        let shared = Arc::new(Shared::default());
        let accepting = shared.clone();
        thread::spawn(move || {
            for (client, server) in listener.incoming().zip(servers.iter().cycle()) {
                drop(accepting.accepts.lock());
                relay(client.unwrap(), server.clone(), &accepting);
            }
        });
        TcpProxy { port, shared }
    }

    pub(crate) fn port(&self) -> u16 {
        self.port
    }

    /// A configuration that connects through the proxy, with the user, database and options of `server`.
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

    /// Forwards nothing until [`TcpProxy::speak_again`] is called. New connections are accepted, but get no
    /// answer.
    pub(crate) fn fall_silent(&self) {
        *self.shared.is_silent.lock().unwrap() = true;
    }

    /// Forwards again, first the bytes that have arrived meanwhile.
    pub(crate) fn speak_again(&self) {
        *self.shared.is_silent.lock().unwrap() = false;
        self.shared.resumed.notify_all();
    }

    /// Accepts no connections while the result lives, like a server whose queue of new connections is full.
    pub(crate) fn accept_none(&self) -> impl Sized + '_ {
        let accepts = self.shared.accepts.lock().unwrap();
        // The system accepts a few connections in advance. If its queue is full, it ignores new ones.
        let address = SocketAddr::from(([127, 0, 0, 1], self.port));
        let mut queue = Vec::new();
        while let Ok(waiting) = TcpStream::connect_timeout(&address, Duration::from_millis(200)) {
            queue.push(waiting);
        }
        (queue, accepts)
    }

    /// Delays everything by so much from now on.
    pub(crate) fn delay(&self, delay: Duration) {
        *self.shared.delay.lock().unwrap() = delay;
    }

    /// Cuts all open connections.
    pub(crate) fn cut(&self) {
        for client in self.shared.clients.lock().unwrap().drain(..) {
            let _ = client.shutdown(Shutdown::Both);
        }
    }

    /// The number of connections accepted so far.
    pub(crate) fn accepted(&self) -> usize {
        self.shared.accepted.load(Ordering::SeqCst)
    }

    /// The number of connections that clients have open.
    pub(crate) fn open(&self) -> usize {
        self.shared.open.load(Ordering::SeqCst)
    }
}

/// Cuts all connections, so that no client waits for an answer.
impl Drop for TcpProxy {
    fn drop(&mut self) {
        self.cut();
        self.speak_again();
    }
}

fn relay(client: TcpStream, server: Config, shared: &Arc<Shared>) {
    shared
        .clients
        .lock()
        .unwrap()
        .push(client.try_clone().unwrap());
    shared.open.fetch_add(1, Ordering::SeqCst);
    shared.accepted.fetch_add(1, Ordering::SeqCst);
    let up = shared.clone();
    thread::spawn(move || {
        let mut from = client.try_clone().unwrap();
        // The proxy connects to the server only when the client's first bytes may be forwarded.
        if let Some(first) = up.read(&mut from) {
            let mut server = proxy::connect(&server);
            let (mut answers, mut to_client) = (server.duplicate(), client);
            let down = up.clone();
            thread::spawn(move || {
                while let Some(bytes) = down.read(&mut answers) {
                    if to_client.write_all(&bytes).is_err() {
                        break;
                    }
                }
                let _ = to_client.shutdown(Shutdown::Both);
            });
            let mut next = Some(first);
            while let Some(bytes) = next {
                if server.write_all(&bytes).is_err() {
                    break;
                }
                next = up.read(&mut from);
            }
            server.cut();
        }
        up.open.fetch_sub(1, Ordering::SeqCst);
    });
}

impl Shared {
    /// Reads the next bytes, and returns them once they may be forwarded. `None` means that the stream has
    /// ended.
    fn read(&self, from: &mut impl Read) -> Option<Vec<u8>> {
        let mut bytes = vec![0; 65_536];
        let count = from.read(&mut bytes).ok().filter(|count| *count > 0)?;
        bytes.truncate(count);
        let is_silent = self.is_silent.lock().unwrap();
        drop(self.resumed.wait_while(is_silent, |is_silent| *is_silent));
        let delay = *self.delay.lock().unwrap();
        thread::sleep(delay);
        Some(bytes)
    }
}

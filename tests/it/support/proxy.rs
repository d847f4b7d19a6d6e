//! A proxy that counts round trips and statements, and that breaks a connection at a chosen statement.

use std::{
    fs,
    io::{self, Read, Write},
    mem,
    net::{Shutdown, TcpStream},
    os::unix::net::{UnixListener, UnixStream},
    path::PathBuf,
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, AtomicU32, AtomicUsize, Ordering},
    },
    thread,
};

use session_postgres::postgres::{Config, config::Host};

/// The request at which a connection breaks, and whether the server executes it.
#[derive(Clone, Copy, PartialEq)]
pub(crate) enum Break {
    /// Before the server receives a statement with parameters.
    BeforeStatement,
    /// After the server has executed a statement with parameters, before the client gets the result.
    AfterStatement,
    /// Before the server receives a simple query that begins with this text.
    BeforeText(&'static str),
    /// After the server has executed a simple query that begins with this text, before the client gets
    /// the result.
    AfterText(&'static str),
}

/// Listens on a Unix socket in its own directory. Unlike a TCP port, it cannot be taken by another program.
pub(crate) struct Proxy {
    directory: PathBuf,
    shared: Arc<Shared>,
}

#[derive(Default)]
struct Shared {
    round_trips: AtomicUsize,
    statements: AtomicUsize,
    bytes: AtomicUsize,
    breaks: Mutex<Option<Break>>,
}

impl Proxy {
    pub(crate) fn to(server: &Config) -> Proxy {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let count = COUNT.fetch_add(1, Ordering::Relaxed);
        let directory = std::env::temp_dir().join(format!("sp-{}-{count}", std::process::id()));
        fs::create_dir(&directory).unwrap();
        let listener = UnixListener::bind(directory.join(".s.PGSQL.5432")).unwrap();
        let shared = Arc::new(Shared::default());
        let (server, counted) = (server.clone(), shared.clone());
        thread::spawn(move || {
            for client in listener.incoming() {
                let shared = counted.clone();
                relay(client.unwrap(), connect(&server), shared);
            }
        });
        Proxy { directory, shared }
    }

    /// A configuration that connects through the proxy.
    pub(crate) fn config(&self, server: &Config) -> Config {
        let mut config = Config::new();
        config.host_path(&self.directory).port(5432);
        config.user(server.get_user().unwrap());
        server
            .get_password()
            .map(|password| config.password(password));
        server.get_dbname().map(|name| config.dbname(name));
        server.get_options().map(|options| config.options(options));
        config
    }

    /// The numbers of round trips and of statements since this was last called.
    pub(crate) fn counts(&self) -> (usize, usize) {
        let take = |count: &AtomicUsize| count.swap(0, Ordering::SeqCst);
        (
            take(&self.shared.round_trips),
            take(&self.shared.statements),
        )
    }

    /// The number of bytes that the client has sent since this was last called.
    pub(crate) fn bytes(&self) -> usize {
        self.shared.bytes.swap(0, Ordering::SeqCst)
    }

    /// Breaks one connection at the next such request.
    pub(crate) fn break_at(&self, what: Break) {
        *self.shared.breaks.lock().unwrap() = Some(what);
    }

    /// Whether the connection has been broken as requested.
    pub(crate) fn has_broken(&self) -> bool {
        self.shared.breaks.lock().unwrap().is_none()
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.directory);
    }
}

pub(super) trait Stream: Read + Write + Send {
    fn duplicate(&self) -> Box<dyn Stream>;
    fn cut(&self);
}

impl Stream for UnixStream {
    fn duplicate(&self) -> Box<dyn Stream> {
        Box::new(self.try_clone().unwrap())
    }

    fn cut(&self) {
        let _ = self.shutdown(Shutdown::Both);
    }
}

impl Stream for TcpStream {
    fn duplicate(&self) -> Box<dyn Stream> {
        Box::new(self.try_clone().unwrap())
    }

    fn cut(&self) {
        let _ = self.shutdown(Shutdown::Both);
    }
}

pub(super) fn connect(server: &Config) -> Box<dyn Stream> {
    let port = server.get_ports().first().copied().unwrap_or(5432);
    match &server.get_hosts()[0] {
        Host::Tcp(host) => Box::new(TcpStream::connect((host.as_str(), port)).unwrap()),
        Host::Unix(directory) => {
            Box::new(UnixStream::connect(directory.join(format!(".s.PGSQL.{port}"))).unwrap())
        }
    }
}

/// Reads one message. Returns its type and all its bytes. The first message of a connection has no type,
/// which is returned as 0.
fn message(stream: &mut dyn Stream, has_type: bool) -> io::Result<(u8, Vec<u8>)> {
    let head = if has_type { 5 } else { 4 };
    let mut bytes = vec![0; head];
    stream.read_exact(&mut bytes)?;
    let length = u32::from_be_bytes(bytes[head - 4..].try_into().unwrap()) as usize;
    bytes.resize(head - 4 + length, 0);
    stream.read_exact(&mut bytes[head..])?;
    Ok((if has_type { bytes[0] } else { 0 }, bytes))
}

fn relay(client: UnixStream, server: Box<dyn Stream>, shared: Arc<Shared>) {
    let swallow = Arc::new(AtomicBool::new(false));
    let (mut to_client, mut from_server) = (client.duplicate(), server.duplicate());
    let answers = swallow.clone();
    // The number of requests without an answer. The server also answers the start of the connection.
    let open = Arc::new(AtomicUsize::new(1));
    let answered = open.clone();
    thread::spawn(move || {
        while let Ok((kind, bytes)) = message(&mut *from_server, true) {
            // `ReadyForQuery`: the server has executed a request. An earlier one may be without an answer, because the
            // driver does not wait for the end of a `Parse`.
            let is_last = kind == b'Z' && answered.fetch_sub(1, Ordering::SeqCst) == 1;
            if is_last && answers.load(Ordering::SeqCst) {
                break;
            }
            if !answers.load(Ordering::SeqCst) && to_client.write_all(&bytes).is_err() {
                break;
            }
        }
        to_client.cut();
        from_server.cut();
    });
    thread::spawn(move || {
        let (mut client, mut server) = (client.duplicate(), server);
        let (mut has_type, mut is_counted) = (false, false);
        while let Ok((kind, bytes)) = message(&mut *client, has_type) {
            has_type = true;
            shared.bytes.fetch_add(bytes.len(), Ordering::SeqCst);
            if matches!(kind, b'S' | b'Q') {
                shared.round_trips.fetch_add(1, Ordering::SeqCst);
            }
            if matches!(kind, b'E' | b'Q') {
                shared.statements.fetch_add(1, Ordering::SeqCst);
            }
            if matches!(kind, b'S' | b'Q') && !mem::take(&mut is_counted) {
                open.fetch_add(1, Ordering::SeqCst);
            }
            let mut breaks = shared.breaks.lock().unwrap();
            let says = |text: &str| kind == b'Q' && bytes[5..].starts_with(text.as_bytes());
            match *breaks {
                Some(Break::BeforeStatement) if kind == b'B' => {
                    *breaks = None;
                    break;
                }
                Some(Break::BeforeText(text)) if says(text) => {
                    *breaks = None;
                    break;
                }
                Some(Break::AfterStatement) if kind == b'B' => {
                    *breaks = None;
                    // Its `Sync` follows.
                    open.fetch_add(1, Ordering::SeqCst);
                    is_counted = true;
                    swallow.store(true, Ordering::SeqCst);
                }
                Some(Break::AfterText(text)) if says(text) => {
                    *breaks = None;
                    swallow.store(true, Ordering::SeqCst);
                }
                _ => {}
            }
            drop(breaks);
            if server.write_all(&bytes).is_err() {
                break;
            }
        }
        client.cut();
        server.cut();
    });
}

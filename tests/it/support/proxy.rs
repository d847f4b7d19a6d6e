//! A proxy between client and server that counts what is said, and breaks connections on demand.

use std::{
    fs,
    io::{self, Read, Write},
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

/// Where a connection breaks, the next time the client sends such a request.
#[derive(Clone, Copy, PartialEq)]
pub(crate) enum Break {
    /// Before the server gets a statement with parameters.
    BeforeStatement,
    /// After the server has carried out a statement with parameters, before the client knows.
    AfterStatement,
    /// Before the server gets this text.
    BeforeText(&'static str),
    /// After the server has carried out this text, before the client knows.
    AfterText(&'static str),
}

/// Listens in a folder of its own, on a Unix socket: there is no port to be had by somebody else.
pub(crate) struct Proxy {
    folder: PathBuf,
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
        let folder = std::env::temp_dir().join(format!("sp-{}-{count}", std::process::id()));
        fs::create_dir(&folder).unwrap();
        let listener = UnixListener::bind(folder.join(".s.PGSQL.5432")).unwrap();
        let shared = Arc::new(Shared::default());
        let (server, conversation) = (server.clone(), shared.clone());
        thread::spawn(move || {
            for client in listener.incoming() {
                let shared = conversation.clone();
                relay(client.unwrap(), connect(&server), shared);
            }
        });
        Proxy { folder, shared }
    }

    /// The configuration that leads through the proxy.
    pub(crate) fn config(&self, server: &Config) -> Config {
        let mut config = Config::new();
        config.host_path(&self.folder).port(5432);
        config.user(server.get_user().unwrap());
        server
            .get_password()
            .map(|password| config.password(password));
        server.get_dbname().map(|name| config.dbname(name));
        server.get_options().map(|options| config.options(options));
        config
    }

    /// How often the client waited for an answer, and how many statements it sent, since last asked.
    pub(crate) fn counts(&self) -> (usize, usize) {
        let take = |count: &AtomicUsize| count.swap(0, Ordering::SeqCst);
        (
            take(&self.shared.round_trips),
            take(&self.shared.statements),
        )
    }

    /// How many bytes the client sent since last asked.
    pub(crate) fn bytes(&self) -> usize {
        self.shared.bytes.swap(0, Ordering::SeqCst)
    }

    /// Breaks one connection at the next such request.
    pub(crate) fn break_at(&self, what: Break) {
        *self.shared.breaks.lock().unwrap() = Some(what);
    }

    /// Whether the break that was ordered has happened.
    pub(crate) fn has_broken(&self) -> bool {
        self.shared.breaks.lock().unwrap().is_none()
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.folder);
    }
}

pub(super) trait Stream: Read + Write + Send {
    fn again(&self) -> Box<dyn Stream>;
    fn cut(&self);
}

impl Stream for UnixStream {
    fn again(&self) -> Box<dyn Stream> {
        Box::new(self.try_clone().unwrap())
    }

    fn cut(&self) {
        let _ = self.shutdown(Shutdown::Both);
    }
}

impl Stream for TcpStream {
    fn again(&self) -> Box<dyn Stream> {
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
        Host::Unix(folder) => {
            Box::new(UnixStream::connect(folder.join(format!(".s.PGSQL.{port}"))).unwrap())
        }
    }
}

/// One message: its type, 0 for the first of a connection, and all its bytes.
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
    let (mut to_client, mut from_server) = (client.again(), server.again());
    let answers = swallow.clone();
    thread::spawn(move || {
        while let Ok((kind, bytes)) = message(&mut *from_server, true) {
            // The server is ready for the next request: what was asked is done.
            if kind == b'Z' && answers.load(Ordering::SeqCst) {
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
        let (mut client, mut server) = (client.again(), server);
        let mut has_type = false;
        while let Ok((kind, bytes)) = message(&mut *client, has_type) {
            has_type = true;
            shared.bytes.fetch_add(bytes.len(), Ordering::SeqCst);
            if matches!(kind, b'S' | b'Q') {
                shared.round_trips.fetch_add(1, Ordering::SeqCst);
            }
            if matches!(kind, b'E' | b'Q') {
                shared.statements.fetch_add(1, Ordering::SeqCst);
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

//! The wire to a server: a TCP socket, with TLS around it where that is agreed on, or a Unix socket,
//! which does not wait for ever.
//!
//! The driver itself waits for an answer without end, and a thread that waits so cannot be told to
//! stop. What it gives away is the socket, to whoever sets up TLS: so [`Connector`] poses as TLS that
//! begins at once, asks the server for TLS itself where it is to, and gives back a [`Wire`]. A Unix
//! socket it takes itself, at the end of a [detour](super::detour).

use std::{
    error::Error,
    io,
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    task::{Context, Poll, ready},
    time::{Duration, Instant},
};

use postgres::{
    Socket,
    tls::{ChannelBinding, MakeTlsConnect, TlsConnect, TlsStream},
};
#[cfg(unix)]
use tokio::net::UnixStream;
use tokio::{
    io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, ReadBuf},
    time::{Sleep, sleep_until, timeout_at},
};

use super::tls::Tls;
use crate::deadline::{self, Deadline, GRACE};

/// Asks a server whether it speaks TLS: a length, and a number in the place of a version.
const TLS_REQUEST: [u8; 8] = [0, 0, 0, 8, 4, 210, 22, 47];

type Failure = Box<dyn Error + Send + Sync>;

/// Whether a connection is encrypted.
#[derive(Clone)]
pub(super) enum Encryption {
    Never,
    /// Where the server can.
    Offered(Tls),
    Always(Tls),
}

/// What the driver is given as its TLS.
#[derive(Clone)]
pub(super) struct Connector {
    encryption: Encryption,
    /// Whether it is the server that ends the connection, when it has done what it is for.
    is_ended_by_server: bool,
    is_reached: Arc<AtomicBool>,
    has_begun_tls: Arc<AtomicBool>,
}

impl Connector {
    pub(super) fn new(encryption: Encryption) -> Connector {
        Connector {
            encryption,
            is_ended_by_server: false,
            is_reached: Arc::default(),
            has_begun_tls: Arc::default(),
        }
    }

    /// For a request to cancel. As libpq does, it waits until the server has passed it on; PgBouncer
    /// 1.18 even ends where one does not (pgbouncer#801).
    pub(super) fn for_cancelling(encryption: Encryption) -> Connector {
        Connector {
            is_ended_by_server: true,
            ..Connector::new(encryption)
        }
    }

    /// Whether the driver has got so far as to hand out a socket.
    pub(super) fn is_reached(&self) -> bool {
        self.is_reached.load(Ordering::Relaxed)
    }

    /// Whether a server was found that speaks TLS.
    pub(super) fn has_begun_tls(&self) -> bool {
        self.has_begun_tls.load(Ordering::Relaxed)
    }

    async fn negotiate(self, mut socket: Socket, host: String) -> Result<Box<dyn Duplex>, Failure> {
        self.is_reached.store(true, Ordering::Relaxed);
        #[cfg(unix)]
        if let Some(path) = super::detour::socket(&host) {
            return Ok(Box::new(UnixStream::connect(path).await?));
        }
        let (tls, needed) = match self.encryption {
            Encryption::Never => return Ok(Box::new(socket)),
            Encryption::Offered(tls) => (tls, false),
            Encryption::Always(tls) => (tls, true),
        };
        socket.write_all(&TLS_REQUEST).await?;
        // One more byte than a server sends, so that bytes that an attacker adds show. To OpenSSL
        // they would be a failed handshake, after which `prefer` goes on without TLS.
        let mut answer = [0; 2];
        let length = socket.read(&mut answer).await?;
        match &answer[..length] {
            b"S" => {}
            b"N" if needed => return Err("the server does not speak TLS".into()),
            b"N" => return Ok(Box::new(socket)),
            b"" => return Err(io::Error::from(io::ErrorKind::UnexpectedEof).into()),
            [b'S' | b'N', ..] => {
                return Err("unencrypted data came after the server's answer".into());
            }
            _ => return Err("the server's answer is not one of PostgreSQL's".into()),
        }
        self.has_begun_tls.store(true, Ordering::Relaxed);
        Ok(Box::new(tls.shake_hands(socket, &host).await?))
    }
}

impl MakeTlsConnect<Socket> for Connector {
    type Stream = Wire;
    type TlsConnect = Handshake;
    type Error = Failure;

    fn make_tls_connect(&mut self, host: &str) -> Result<Handshake, Failure> {
        Ok(Handshake {
            connector: self.clone(),
            host: host.to_owned(),
        })
    }
}

/// How one connection begins.
pub(super) struct Handshake {
    connector: Connector,
    host: String,
}

impl TlsConnect<Socket> for Handshake {
    type Stream = Wire;
    type Error = Failure;
    type Future = Pin<Box<dyn Future<Output = Result<Wire, Failure>> + Send>>;

    fn connect(self, socket: Socket) -> Self::Future {
        Box::pin(async move {
            let end = silence_ends().unwrap_or_else(|| deadline::after(Duration::MAX));
            let is_ended_by_server = self.connector.is_ended_by_server;
            let negotiated = self.connector.negotiate(socket, self.host);
            let stream = timeout_at(end.into(), negotiated).await;
            Ok(Wire {
                stream: stream.map_err(|_| silence())??,
                is_ended_by_server,
                alarm: None,
                is_given_up: false,
            })
        })
    }
}

/// A stream of bytes to a server and from it.
pub(super) trait Duplex: AsyncRead + AsyncWrite + Send + Unpin {
    fn channel_binding(&self) -> ChannelBinding {
        ChannelBinding::none()
    }
}

impl Duplex for Socket {}

#[cfg(unix)]
impl Duplex for UnixStream {}

/// A connection that fails if the server is silent for longer than [`GRACE`] after the deadline of the call
/// that waits for it. It then fails at whatever else is asked of it.
pub(super) struct Wire {
    stream: Box<dyn Duplex>,
    is_ended_by_server: bool,
    /// Wakes the thread at its limit, or at an earlier one of a call that was answered since: so most
    /// calls leave it as it is.
    alarm: Option<Pin<Box<Sleep>>>,
    is_given_up: bool,
}

impl Wire {
    /// Does `poll` on the stream, unless there is no point in waiting for that any more.
    fn poll<T>(
        &mut self,
        cx: &mut Context<'_>,
        poll: impl FnOnce(Pin<&mut dyn Duplex>, &mut Context<'_>) -> Poll<io::Result<T>>,
    ) -> Poll<io::Result<T>> {
        if self.is_given_up {
            return Poll::Ready(Err(silence()));
        }
        let polled = poll(Pin::new(&mut *self.stream), cx);
        if polled.is_ready() {
            return polled;
        }
        let Some(end) = silence_ends() else {
            return Poll::Pending;
        };
        ready!(self.poll_alarm(end, cx));
        self.is_given_up = true;
        Poll::Ready(Err(silence()))
    }

    fn poll_alarm(&mut self, end: Instant, cx: &mut Context<'_>) -> Poll<()> {
        let alarm = self
            .alarm
            .get_or_insert_with(|| Box::pin(sleep_until(end.into())));
        if alarm.deadline() > end.into() {
            alarm.as_mut().reset(end.into());
        }
        loop {
            ready!(alarm.as_mut().poll(cx));
            if Instant::now() >= end {
                return Poll::Ready(());
            }
            alarm.as_mut().reset(end.into());
        }
    }
}

/// When the server is given up that this thread waits for.
fn silence_ends() -> Option<Instant> {
    Deadline::current().map(|deadline| deadline.end() + GRACE)
}

fn silence() -> io::Error {
    io::Error::new(
        io::ErrorKind::TimedOut,
        "the server has not answered in time",
    )
}

impl AsyncRead for Wire {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        self.poll(cx, |stream, cx| stream.poll_read(cx, buf))
    }
}

impl AsyncWrite for Wire {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        self.poll(cx, |stream, cx| stream.poll_write(cx, buf))
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.poll(cx, |stream, cx| stream.poll_flush(cx))
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        while self.is_ended_by_server {
            let mut rest = [0; 8];
            let mut rest = ReadBuf::new(&mut rest);
            let read = ready!(self.poll(cx, |stream, cx| stream.poll_read(cx, &mut rest)));
            // Not every reset comes from the server.
            let is_reset = |e: &io::Error| e.kind() == io::ErrorKind::ConnectionReset;
            if read.as_ref().is_err_and(is_reset) {
                return Poll::Ready(read);
            }
            self.is_ended_by_server = read.is_ok() && !rest.filled().is_empty();
        }
        self.poll(cx, |stream, cx| stream.poll_shutdown(cx))
    }
}

impl TlsStream for Wire {
    fn channel_binding(&self) -> ChannelBinding {
        self.stream.channel_binding()
    }
}

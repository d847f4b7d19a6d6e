//! The stream to a server: a TCP socket, with TLS if client and server agree on it, that obeys deadlines.
//!
//! The driver waits for an answer without a time limit, and the thread that waits cannot be interrupted. But
//! the driver hands its socket to an implementation of TLS. So [`MakeStream`] claims to be TLS that begins at
//! once. It asks the server for real TLS itself, and returns a [`DeadlineStream`]. On a Unix socket the
//! driver never uses TLS, so there is no such stream.

use std::{
    error::Error,
    io,
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    task::{Context, Poll, ready},
    time::Instant,
};

use postgres::{
    Socket,
    tls::{ChannelBinding, MakeTlsConnect, TlsConnect, TlsStream},
};
use tokio::{
    io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, ReadBuf},
    time::{Sleep, sleep_until, timeout_at},
};

use crate::{deadline::Deadline, tls::Tls};

/// The message that asks a server for TLS: its length, and a number in the place of a protocol version.
const TLS_REQUEST: [u8; 8] = [0, 0, 0, 8, 4, 210, 22, 47];

type BoxError = Box<dyn Error + Send + Sync>;

/// Whether a connection is encrypted.
#[derive(Clone)]
pub(crate) enum Encryption {
    Never,
    IfSupported(Tls),
    Always(Tls),
}

/// Makes a [`DeadlineStream`] of the driver's socket.
#[derive(Clone)]
pub(crate) struct MakeStream {
    encryption: Encryption,
    /// Whether the server closes the connection, as it does after a cancel request.
    is_closed_by_server: bool,
    has_begun_tls: Arc<AtomicBool>,
}

impl MakeStream {
    pub(crate) fn new(encryption: Encryption) -> MakeStream {
        MakeStream {
            encryption,
            is_closed_by_server: false,
            has_begun_tls: Arc::default(),
        }
    }

    /// For a cancel request. As in libpq, the stream waits until the server has passed the request on and
    /// closed the connection. PgBouncer 1.18 crashes if the client closes it earlier (pgbouncer#801).
    pub(crate) fn for_cancel_request(encryption: Encryption) -> MakeStream {
        MakeStream {
            is_closed_by_server: true,
            ..MakeStream::new(encryption)
        }
    }

    /// Whether the server has agreed to TLS.
    pub(crate) fn has_begun_tls(&self) -> bool {
        self.has_begun_tls.load(Ordering::Relaxed)
    }

    async fn negotiate(
        self,
        mut socket: Socket,
        host: String,
    ) -> Result<Box<dyn Duplex>, BoxError> {
        let (tls, needed) = match self.encryption {
            Encryption::Never => return Ok(Box::new(socket)),
            Encryption::IfSupported(tls) => (tls, false),
            Encryption::Always(tls) => (tls, true),
        };
        socket.write_all(&TLS_REQUEST).await?;
        // The server answers with one byte. More bytes come from an attacker. If TLS got them, the
        // handshake would fail, and `prefer` would then connect without TLS.
        let mut answer = [0; 2];
        let length = socket.read(&mut answer).await?;
        match &answer[..length] {
            b"S" => {}
            b"N" if needed => return Err("the server does not support TLS".into()),
            b"N" => return Ok(Box::new(socket)),
            b"" => return Err(io::Error::from(io::ErrorKind::UnexpectedEof).into()),
            [b'S' | b'N', ..] => {
                return Err("the server sent unencrypted data after its answer about TLS".into());
            }
            _ => return Err("the answer is not that of a PostgreSQL server".into()),
        }
        self.has_begun_tls.store(true, Ordering::Relaxed);
        Ok(Box::new(tls.handshake(socket, &host).await?))
    }
}

impl MakeTlsConnect<Socket> for MakeStream {
    type Stream = DeadlineStream;
    type TlsConnect = OpenStream;
    type Error = BoxError;

    fn make_tls_connect(&mut self, host: &str) -> Result<OpenStream, BoxError> {
        Ok(OpenStream {
            make: self.clone(),
            host: host.to_owned(),
        })
    }
}

/// Makes the stream of one connection.
pub(crate) struct OpenStream {
    make: MakeStream,
    host: String,
}

impl TlsConnect<Socket> for OpenStream {
    type Stream = DeadlineStream;
    type Error = BoxError;
    type Future = Pin<Box<dyn Future<Output = Result<DeadlineStream, BoxError>> + Send>>;

    fn connect(self, socket: Socket) -> Self::Future {
        Box::pin(async move {
            let end = silence_limit().unwrap_or_else(|| Instant::now() + Deadline::LONGEST);
            let is_closed_by_server = self.make.is_closed_by_server;
            let negotiated = self.make.negotiate(socket, self.host);
            let stream = timeout_at(end.into(), negotiated).await;
            Ok(DeadlineStream {
                stream: stream.map_err(|_| silence())??,
                is_closed_by_server,
                alarm: None,
                has_timed_out: false,
            })
        })
    }
}

/// A stream of bytes in both directions.
pub(crate) trait Duplex: AsyncRead + AsyncWrite + Send + Unpin {
    fn channel_binding(&self) -> ChannelBinding {
        ChannelBinding::none()
    }
}

impl Duplex for Socket {}

/// A stream that fails if the server is silent until [`Deadline::GRACE`] after the deadline of the thread that
/// waits for it. After that it fails always.
pub(crate) struct DeadlineStream {
    stream: Box<dyn Duplex>,
    is_closed_by_server: bool,
    /// Wakes the thread at its limit, or at the earlier limit of a call that has been answered. So most calls
    /// need not set it.
    alarm: Option<Pin<Box<Sleep>>>,
    has_timed_out: bool,
}

impl DeadlineStream {
    /// Polls the stream. While it is not ready, also polls the time limit.
    fn poll<T>(
        &mut self,
        cx: &mut Context<'_>,
        poll: impl FnOnce(Pin<&mut dyn Duplex>, &mut Context<'_>) -> Poll<io::Result<T>>,
    ) -> Poll<io::Result<T>> {
        if self.has_timed_out {
            return Poll::Ready(Err(silence()));
        }
        let polled = poll(Pin::new(&mut *self.stream), cx);
        if polled.is_ready() {
            return polled;
        }
        let Some(end) = silence_limit() else {
            return Poll::Pending;
        };
        ready!(self.poll_alarm(end, cx));
        self.has_timed_out = true;
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

/// The instant until which this thread waits for a silent server.
fn silence_limit() -> Option<Instant> {
    Deadline::current().map(|deadline| deadline.end() + Deadline::GRACE)
}

fn silence() -> io::Error {
    io::Error::new(io::ErrorKind::TimedOut, "the server did not answer in time")
}

impl AsyncRead for DeadlineStream {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        self.poll(cx, |stream, cx| stream.poll_read(cx, buf))
    }
}

impl AsyncWrite for DeadlineStream {
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
        while self.is_closed_by_server {
            let mut rest = [0; 8];
            let mut rest = ReadBuf::new(&mut rest);
            let read = ready!(self.poll(cx, |stream, cx| stream.poll_read(cx, &mut rest)));
            // A reset does not prove that the server has closed the connection.
            let is_reset = |e: &io::Error| e.kind() == io::ErrorKind::ConnectionReset;
            if read.as_ref().is_err_and(is_reset) {
                return Poll::Ready(read);
            }
            self.is_closed_by_server = read.is_ok() && !rest.filled().is_empty();
        }
        self.poll(cx, |stream, cx| stream.poll_shutdown(cx))
    }
}

impl TlsStream for DeadlineStream {
    fn channel_binding(&self) -> ChannelBinding {
        self.stream.channel_binding()
    }
}

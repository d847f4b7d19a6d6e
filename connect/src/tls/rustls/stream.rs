//! The stream of a connection. It only passes calls on. It is a type of this crate, because the type of
//! tokio-postgres-rustls has no name, and so cannot implement a trait of ours.

use std::{
    io,
    pin::Pin,
    task::{Context, Poll},
};

use postgres::{
    Socket,
    tls::{ChannelBinding, MakeTlsConnect, TlsStream},
};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio_postgres_rustls::MakeRustlsConnect;

use crate::stream::Duplex;

pub(crate) struct Stream(pub(super) <MakeRustlsConnect as MakeTlsConnect<Socket>>::Stream);

impl Duplex for Stream {
    fn channel_binding(&self) -> ChannelBinding {
        self.0.channel_binding()
    }
}

impl AsyncRead for Stream {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_read(cx, buf)
    }
}

impl AsyncWrite for Stream {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.0).poll_write(cx, buf)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_shutdown(cx)
    }
}

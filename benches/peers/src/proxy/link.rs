//! A connection through the proxy: two sockets, and the bytes that a socket does not accept yet.

use std::{
    io::{self, ErrorKind, Read, Write},
    net::{Shutdown, TcpStream},
    os::fd::OwnedFd,
};

use rustix::event::epoll::{self, EventData, EventFlags};

use super::Parcel;

/// The proxy reads no more from a socket while it has this many bytes of it. Half a round trip of 2 ms at 4 GB/s.
const MOST: usize = 4 << 20;

/// The client or the server.
pub(super) struct End {
    socket: TcpStream,
    /// The number of its events.
    number: u64,
    registered: EventFlags,
    /// The number of bytes that were read from this socket and not yet written to the other one.
    held: usize,
    /// Whether the end of the stream was read.
    is_read: bool,
    /// The bytes that were not accepted by this socket yet.
    waiting: Vec<u8>,
    /// Whether the stream to this socket ends after the waiting bytes.
    ends: bool,
    is_shut: bool,
}

pub(super) struct Link([End; 2]);

impl End {
    pub(super) fn new(epoll: &OwnedFd, socket: TcpStream, number: u64) -> io::Result<End> {
        socket.set_nonblocking(true)?;
        socket.set_nodelay(true)?;
        let mut end = End {
            socket,
            number,
            registered: EventFlags::empty(),
            held: 0,
            is_read: false,
            waiting: Vec::new(),
            ends: false,
            is_shut: false,
        };
        end.register(epoll)?;
        Ok(end)
    }

    fn wants_bytes(&self) -> bool {
        !self.is_read && self.held < MOST
    }

    fn register(&mut self, epoll: &OwnedFd) -> io::Result<()> {
        let mut flags = EventFlags::empty();
        flags.set(EventFlags::IN, self.wants_bytes());
        flags.set(EventFlags::OUT, !self.waiting.is_empty());
        if flags != self.registered {
            let number = EventData::new_u64(self.number);
            // Without flags, errors would still be reported, again and again.
            if flags.is_empty() {
                epoll::delete(epoll, &self.socket)?;
            } else if self.registered.is_empty() {
                epoll::add(epoll, &self.socket, number, flags)?;
            } else {
                epoll::modify(epoll, &self.socket, number, flags)?;
            }
            self.registered = flags;
        }
        Ok(())
    }

    /// Returns the number of bytes that the socket has accepted.
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let mut written = 0;
        while written < bytes.len() {
            match self.socket.write(&bytes[written..]) {
                Ok(count) => written += count,
                Err(error) if error.kind() == ErrorKind::WouldBlock => break,
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        Ok(written)
    }
}

impl Link {
    pub(super) fn new(ends: [End; 2]) -> Link {
        Link(ends)
    }

    pub(super) fn has_ended(&self) -> bool {
        self.0.iter().all(|end| end.is_shut)
    }

    /// Reads once. Returns 0 at the end of the stream, and `None` if there is nothing to read now.
    pub(super) fn read(
        &mut self,
        epoll: &OwnedFd,
        end: usize,
        buffer: &mut [u8],
    ) -> io::Result<Option<usize>> {
        let end = &mut self.0[end];
        if !end.wants_bytes() {
            return Ok(None);
        }
        match end.socket.read(buffer) {
            Ok(read) => {
                end.is_read = read == 0;
                end.held += read;
                end.register(epoll)?;
                Ok(Some(read))
            }
            Err(error)
                if [ErrorKind::WouldBlock, ErrorKind::Interrupted].contains(&error.kind()) =>
            {
                Ok(None)
            }
            Err(error) => Err(error),
        }
    }

    /// Writes to an end, in order.
    pub(super) fn deliver(
        &mut self,
        epoll: &OwnedFd,
        end: usize,
        parcel: Parcel,
    ) -> io::Result<()> {
        let to = &mut self.0[end];
        match parcel {
            Parcel::End => to.ends = true,
            Parcel::Bytes(bytes) if !to.waiting.is_empty() => to.waiting.extend(bytes),
            Parcel::Bytes(bytes) => {
                let written = to.write(&bytes)?;
                to.waiting.extend(&bytes[written..]);
                self.release(epoll, end, written)?;
            }
        }
        self.shut(epoll, end)
    }

    /// Writes the waiting bytes to an end.
    pub(super) fn flush(&mut self, epoll: &OwnedFd, end: usize) -> io::Result<()> {
        let to = &mut self.0[end];
        let waiting = std::mem::take(&mut to.waiting);
        let written = to.write(&waiting)?;
        to.waiting.extend(&waiting[written..]);
        self.release(epoll, end, written)?;
        self.shut(epoll, end)
    }

    /// Notes that bytes have left the proxy at this end, so that more can be read at the other one.
    fn release(&mut self, epoll: &OwnedFd, end: usize, bytes: usize) -> io::Result<()> {
        let from = &mut self.0[1 - end];
        from.held -= bytes;
        from.register(epoll)
    }

    /// Ends the stream to this socket if all its bytes are written.
    fn shut(&mut self, epoll: &OwnedFd, end: usize) -> io::Result<()> {
        let to = &mut self.0[end];
        if to.ends && to.waiting.is_empty() && !to.is_shut {
            to.socket.shutdown(Shutdown::Write)?;
            to.is_shut = true;
        }
        to.register(epoll)
    }
}

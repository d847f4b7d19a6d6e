//! The way to a Unix socket.
//!
//! The driver gives away none, only TCP sockets, and so could not be told to stop waiting for a server
//! behind one (see [`super::wire`]). So it is led to a port of our own, at which there is nobody, as if
//! that were a host with TLS; the connector drops what it is given there, and takes the socket that the
//! host's name tells of.

use std::{
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpListener, TcpStream},
    path::Path,
    sync::atomic::{AtomicBool, Ordering},
    time::Duration,
};

/// Begins the name of such a host. No host of TCP has a name with a slash: see
/// [`super::hosts::Host::name_for_tls`].
const SCHEME: &str = "unix:/";

/// How long it takes at most to get from this machine to itself.
pub(super) const TO_ITSELF: Duration = Duration::from_millis(500);

/// More than the system lets wait at the port.
const MOST: usize = 10_000;

/// A port of this program's own, open to this machine only.
pub(super) struct Detour {
    listener: TcpListener,
    address: SocketAddr,
    is_closed: AtomicBool,
}

impl Detour {
    /// Nothing, where the program may not use TCP, not even with itself.
    pub(super) fn open() -> Option<Detour> {
        let loopbacks: [IpAddr; 2] = [Ipv4Addr::LOCALHOST.into(), Ipv6Addr::LOCALHOST.into()];
        loopbacks.into_iter().find_map(Detour::open_at)
    }

    fn open_at(ip: IpAddr) -> Option<Detour> {
        let listener = TcpListener::bind((ip, 0)).ok()?;
        listener.set_nonblocking(true).ok()?;
        let address = listener.local_addr().ok()?;
        TcpStream::connect_timeout(&address, TO_ITSELF).ok()?;
        Some(Detour {
            listener,
            address,
            is_closed: AtomicBool::new(false),
        })
    }

    pub(super) fn is_closed(&self) -> bool {
        self.is_closed.load(Ordering::Relaxed)
    }

    /// Where the program may use TCP no longer.
    pub(super) fn close(&self) {
        self.is_closed.store(true, Ordering::Relaxed);
    }

    /// Lets the driver connect there.
    pub(super) fn lend<T>(&self, connect: impl FnOnce(SocketAddr) -> T) -> T {
        self.clear();
        let done = connect(self.address);
        self.clear();
        done
    }

    /// Ends whatever has come, so that there is room for more.
    fn clear(&self) {
        let _ = (0..MOST).all(|_| self.listener.accept().is_ok());
    }
}

#[cfg(test)]
impl Detour {
    /// As where a program has given up TCP since.
    pub(super) fn to_nowhere() -> Detour {
        let mut detour = Detour::open().expect("TCP with itself");
        detour.address.set_port(1);
        detour
    }
}

/// What the driver is to call the host that is a socket.
pub(super) fn name(folder: &Path, port: u16) -> String {
    let socket = folder.join(format!(".s.PGSQL.{port}"));
    format!("{SCHEME}{}", socket.display())
}

/// The socket that a host's name tells of, if it does.
#[cfg(unix)]
pub(super) fn socket(name: &str) -> Option<&Path> {
    name.strip_prefix(SCHEME).map(Path::new)
}

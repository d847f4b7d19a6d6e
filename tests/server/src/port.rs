//! A TCP port for a server or pooler.

use std::net::TcpListener;

use crate::Error;

/// Returns a port of 127.0.0.1 that is free now. Another program may take it before the server does.
pub(crate) fn free_port() -> Result<u16, Error> {
    let listener =
        TcpListener::bind(("127.0.0.1", 0)).map_err(Error::io("cannot listen on 127.0.0.1"))?;
    Ok(listener
        .local_addr()
        .map_err(Error::io("cannot read the address of a socket"))?
        .port())
}

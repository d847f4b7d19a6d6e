//! Stores that connect themselves: pools, poolers, failover, TLS, and servers that do not answer.

mod failover;
mod pool;
mod pooler;
mod silent_server;
#[cfg(any(feature = "tls", feature = "rustls"))]
mod tls;

use std::{sync::mpsc, thread};

use session_postgres::{ConnectOptions, Error};

use crate::support::{PATIENCE, database::Schema, tcp_proxy::TcpProxy};

/// Options that connect to a schema through a proxy.
pub(crate) fn through(proxy: &TcpProxy, schema: &Schema) -> ConnectOptions {
    let config = schema.config();
    ConnectOptions::new()
        .host("127.0.0.1")
        .port(proxy.port())
        .user(config.get_user().unwrap())
        .dbname(config.get_dbname().unwrap())
        .options(config.get_options().unwrap())
}

/// Executes `work`. Panics if it takes longer than the patience.
fn in_time<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> T {
    let (done, waiting) = mpsc::channel();
    thread::spawn(move || done.send(work()));
    waiting.recv_timeout(PATIENCE).expect("an answer in time")
}

fn is_about_time(error: &Error) -> bool {
    matches!(error, Error::TimedOut { .. } | Error::Disconnected(_))
}

//! Connecting, and servers as they are in production.

mod failover;
mod pool;
mod pooler;
mod silence;
#[cfg(feature = "tls")]
mod tls;

use std::{sync::mpsc, thread};

use session_postgres::{ConnectOptions, Error};

use crate::support::{PATIENCE, database::Schema, tcp_proxy::TcpProxy};

/// How to reach a schema through a proxy.
pub(crate) fn through(proxy: &TcpProxy, schema: &Schema) -> ConnectOptions {
    let config = schema.config();
    ConnectOptions::new()
        .host("127.0.0.1")
        .port(proxy.port())
        .user(config.get_user().unwrap())
        .dbname(config.get_dbname().unwrap())
        .options(config.get_options().unwrap())
}

/// What `work` comes to, if that is before the patience is at an end.
fn in_time<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> T {
    let (done, waiting) = mpsc::channel();
    thread::spawn(move || done.send(work()));
    waiting.recv_timeout(PATIENCE).expect("it hangs")
}

fn is_about_time(error: &Error) -> bool {
    matches!(error, Error::TimedOut { .. } | Error::Disconnected(_))
}

//! The signals that stop a program.

use std::{io, time::Duration};

use tokio::signal::unix::{SignalKind, signal};

/// How long requests may take after the program was told to stop.
pub(crate) const SHUTDOWN_TIMEOUT: Duration = Duration::from_secs(10);

/// Waits for Ctrl-C or `kill`. The signals are caught from this call on, not from the first poll of the future.
pub(crate) fn stop_signal() -> io::Result<impl Future<Output = ()> + Send + 'static> {
    let mut interrupt = signal(SignalKind::interrupt())?;
    let mut terminate = signal(SignalKind::terminate())?;
    Ok(async move {
        tokio::select! {
            _ = interrupt.recv() => {}
            _ = terminate.recv() => {}
        }
    })
}

//! Leaving a connection as the next operation needs it, or closing it.

use std::time::Instant;

use postgres_connect::Cancelled;

use super::Connection;

/// Closes the connection from the server's side.
const CLOSE: &str = "ROLLBACK; SELECT pg_catalog.pg_terminate_backend(pg_catalog.pg_backend_pid())";

/// Waits for a cancel request that may still arrive.
const ABSORB_CANCEL_REQUEST: &str = "ROLLBACK; SELECT pg_catalog.pg_sleep(0.9)";

impl Connection<'_> {
    /// Makes the connection fit for the next operation: no transaction is open, and no cancel request can still
    /// arrive. If a request can, and the connection can be replaced, closes it.
    pub(in crate::pg) fn clean_up(&mut self) {
        let has_pending = self.cancelled == Cancelled::Pending;
        if has_pending && self.store.source.replaces_closed() {
            self.close();
        }
        // The connection is still open if it cannot be replaced, or if the role may not terminate it.
        if !self.is_closed() && (self.is_in_transaction || self.cancelled != Cancelled::No) {
            if has_pending {
                let _ = self
                    .checked_out
                    .client()
                    .batch_execute(ABSORB_CANCEL_REQUEST);
            }
            // A late cancel request may cancel the first ROLLBACK.
            let again = self.checked_out.client().batch_execute("ROLLBACK").is_err();
            if again && !self.is_closed() {
                let _ = self.checked_out.client().batch_execute("ROLLBACK");
            }
        }
        self.checked_out.facts().last_used = Some(Instant::now());
    }

    /// Closes the connection, so that the pool replaces it.
    pub(in crate::pg) fn close(&mut self) {
        // A late cancel request may cancel the first attempt.
        for _ in 0..2 {
            if !self.is_closed() {
                let _ = self.checked_out.client().batch_execute(CLOSE);
                self.notice_close();
            }
        }
    }

    /// Makes the client notice that its connection is closed. The pool replaces the connection only then.
    pub(in crate::pg) fn notice_close(&mut self) {
        let _ = self.checked_out.client().batch_execute("");
    }
}

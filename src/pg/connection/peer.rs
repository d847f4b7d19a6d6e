//! The peer of a connection: a server process or a pooler, and what the server is.

use std::{thread, time::Duration};

use postgres::{
    Row,
    types::{ToSql, Type},
};
use postgres_connect::Cancelled;

use super::{Connection, Effect, StatementError};
use crate::pg::connection_source::{Peer, ServerProcess};

/// Returns whether `client_encoding` was set by the client, and the server process. The driver sets it when it
/// connects. A pooler, which has its own connections to the server, sets it later or not at all.
const PEER: &str = "SELECT source = 'client', pid, backend_start \
     FROM pg_catalog.pg_settings, pg_catalog.pg_stat_get_activity(pg_catalog.pg_backend_pid()) \
     WHERE name = 'client_encoding'";

/// Terminates a server process. Returns no row if there is none. Parameters: its pid, and when it started.
const TERMINATE: &str = "SELECT pg_catalog.pg_terminate_backend(pid) \
     FROM pg_catalog.pg_stat_get_activity($1) WHERE backend_start = $2";

const IS_STANDBY: &str = "SELECT pg_catalog.pg_is_in_recovery()";

const HAS_SYNCHRONOUS_STANDBYS: &str = "SELECT current_setting('synchronous_standby_names') <> ''";

/// The pause between two checks whether a server process has ended.
const TERMINATE_INTERVAL: Duration = Duration::from_millis(2);

impl Connection<'_> {
    /// Returns the peer. The first call on a connection asks the server.
    pub(super) fn peer(&mut self) -> Result<Peer, StatementError> {
        if let Some(peer) = self.checked_out.facts().peer {
            return Ok(peer);
        }
        let rows = self.checked_out.client().query_typed(PEER, &[])?;
        self.has_answered = true;
        let peer = match rows.first() {
            Some(row) if row.try_get(0)? => {
                let (pid, started) = (row.try_get(1)?, row.try_get::<_, Option<_>>(2)?);
                Peer::Server(started.map(|started| ServerProcess { pid, started }))
            }
            _ => Peer::Pooler,
        };
        self.checked_out.facts().peer = Some(peer);
        Ok(peer)
    }

    /// Returns whether it is safe to send a cancel request. PgBouncer 1.18 crashes on a request of the driver,
    /// because the driver closes the connection of the request at once (pgbouncer#801).
    pub(super) fn may_cancel(&mut self) -> Result<bool, StatementError> {
        Ok(self.store.canceller.waits_for_server() || matches!(self.peer()?, Peer::Server(_)))
    }

    /// Returns the server process that the next attempt must terminate, because it may hold a lock or still
    /// execute a statement. Behind a pooler it is unknown.
    pub(in crate::pg) fn busy_process(&mut self) -> Option<ServerProcess> {
        if self.effect == Effect::None && !self.is_in_transaction {
            return None;
        }
        match self.checked_out.facts().peer {
            Some(Peer::Server(process)) => process,
            _ => None,
        }
    }

    /// Terminates the server process of an earlier attempt, and waits until it has ended.
    pub(in crate::pg) fn terminate(
        &mut self,
        process: &ServerProcess,
    ) -> Result<(), StatementError> {
        let params: [(&(dyn ToSql + Sync), Type); 2] = [
            (&process.pid, Type::INT4),
            (&process.started, Type::TIMESTAMPTZ),
        ];
        while !self
            .send(|client| client.query_typed(TERMINATE, &params))?
            .is_empty()
        {
            thread::sleep(TERMINATE_INTERVAL);
        }
        Ok(())
    }

    pub(in crate::pg) fn is_standby(&mut self) -> bool {
        let rows = self.send(|client| client.query_typed(IS_STANDBY, &[]));
        matches!(rows.map(|rows| first_bool(&rows)), Ok(Ok(Some(true))))
    }

    /// Returns whether a commit may be missing on a synchronous standby. A cancel request ends the wait of a
    /// commit for the standby, but not the commit.
    pub(in crate::pg) fn may_lack_replication(&mut self) -> bool {
        if self.cancelled == Cancelled::No || self.effect == Effect::None {
            return false;
        }
        let client = self.checked_out.client();
        let rows = client.query_typed(HAS_SYNCHRONOUS_STANDBYS, &[]);
        !matches!(rows.map(|rows| first_bool(&rows)), Ok(Ok(Some(false))))
    }
}

/// The first column of the first row.
fn first_bool(rows: &[Row]) -> Result<Option<bool>, postgres::Error> {
    rows.first().map(|row| row.try_get(0)).transpose()
}

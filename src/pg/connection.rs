//! One connection on loan, and the one way a statement goes to the server.

use postgres::{Client, Error, GenericClient, Row, Statement, types::ToSql};

use super::{source::Lease, sql::Sql};
use crate::error::DatabaseError;

/// Whether the driver's own parameter has come from it to this server process: a pooler, which has
/// connections of its own to the server, sets it later or not at all.
const IS_DIRECT: &str =
    "SELECT source = 'client' FROM pg_catalog.pg_settings WHERE name = 'client_encoding'";

/// Whether statements are prepared.
#[derive(Debug, Clone, Copy)]
pub(super) enum Prepare {
    Always,
    Never,
    /// Where no pooler stands between.
    WhereDirect,
}

/// A connection for the length of one try at an operation.
pub(super) struct Connection<'a> {
    lease: &'a mut dyn Lease,
    prepare: Prepare,
    interrupted: Option<&'a DatabaseError>,
}

impl<'a> Connection<'a> {
    pub(super) fn new(
        lease: &'a mut dyn Lease,
        prepare: Prepare,
        interrupted: Option<&'a DatabaseError>,
    ) -> Self {
        Connection {
            lease,
            prepare,
            interrupted,
        }
    }

    /// What broke an earlier try of this operation, if that happened: the server may have carried it
    /// out all the same.
    pub(super) fn interrupted(&self) -> Option<&'a DatabaseError> {
        self.interrupted
    }

    pub(super) fn client(&mut self) -> &mut Client {
        self.lease.client()
    }

    /// Sends a statement: one round trip, once it is prepared.
    pub(super) fn query(
        &mut self,
        sql: &Sql,
        params: &[&(dyn ToSql + Sync)],
    ) -> Result<Vec<Row>, Error> {
        self.ready(sql)?.query(self.client(), params)
    }

    /// The statement as [`query`](Self::query) sends it, for use in a transaction.
    pub(super) fn ready<'s>(&mut self, sql: &'s Sql) -> Result<Ready<'s>, Error> {
        if !self.prepares()? {
            return Ok(Ready::Typed(sql));
        }
        let known = self.lease.known();
        if let Some(statement) = known.and_then(|known| known.prepared.get(&sql.text)) {
            return Ok(Ready::Prepared(statement.clone()));
        }
        let statement = self.client().prepare_typed(&sql.text, sql.types)?;
        self.lease.learn(&mut |known| {
            known.prepared.insert(sql.text.clone(), statement.clone());
        });
        Ok(Ready::Prepared(statement))
    }

    fn prepares(&mut self) -> Result<bool, Error> {
        match self.prepare {
            Prepare::Always => Ok(true),
            Prepare::Never => Ok(false),
            Prepare::WhereDirect => is_direct(self.lease),
        }
    }
}

/// Whether a connection leads to one and the same server process as long as it lives: its first use
/// asks the server.
pub(super) fn is_direct(lease: &mut dyn Lease) -> Result<bool, Error> {
    if let Some(is_direct) = lease.known().and_then(|known| known.is_direct) {
        return Ok(is_direct);
    }
    let rows = lease.client().query_typed(IS_DIRECT, &[])?;
    let is_direct = rows.first().map_or(Ok(false), |row| row.try_get(0))?;
    lease.learn(&mut |known| known.is_direct = Some(is_direct));
    Ok(is_direct)
}

/// A statement that is ready to be sent.
pub(super) enum Ready<'s> {
    /// Known to this connection's server process.
    Prepared(Statement),
    /// Sent with its text and types each time: for poolers that change the process behind the
    /// connection.
    Typed(&'s Sql),
}

impl Ready<'_> {
    pub(super) fn query(
        &self,
        client: &mut impl GenericClient,
        params: &[&(dyn ToSql + Sync)],
    ) -> Result<Vec<Row>, Error> {
        match self {
            Ready::Prepared(statement) => client.query(statement, params),
            Ready::Typed(sql) => {
                let typed: Vec<_> = params
                    .iter()
                    .copied()
                    .zip(sql.types.iter().cloned())
                    .collect();
                client.query_typed(&sql.text, &typed)
            }
        }
    }
}

//! One connection on loan, and the one way a statement goes to the server.

use postgres::{Client, Error, GenericClient, Row, Statement, types::ToSql};

use super::{source::Lease, sql::Sql};
use crate::error::DatabaseError;

/// A connection for the length of one try at an operation.
pub(super) struct Connection<'a> {
    lease: &'a mut dyn Lease,
    prepared: bool,
    interrupted: Option<&'a DatabaseError>,
}

impl<'a> Connection<'a> {
    pub(super) fn new(
        lease: &'a mut dyn Lease,
        prepared: bool,
        interrupted: Option<&'a DatabaseError>,
    ) -> Self {
        Connection {
            lease,
            prepared,
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
        if !self.prepared {
            return Ok(Ready::Typed(sql));
        }
        if let Some(statement) = self.lease.prepared(&sql.text) {
            return Ok(Ready::Prepared(statement));
        }
        let statement = self.client().prepare_typed(&sql.text, sql.types)?;
        self.lease.keep_prepared(&sql.text, statement.clone());
        Ok(Ready::Prepared(statement))
    }
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

//! Prepared statements: which ones a connection has, and whether to use them.

use std::mem;

use postgres::Statement;

use super::{Connection, StatementError};
use crate::pg::{connection_source::Peer, statements::Sql};

/// The most prepared statements of a connection. Stores of any number of tables may share it.
const MAX_PREPARED: usize = 256;

/// Whether statements are prepared.
#[derive(Debug, Clone, Copy)]
pub(in crate::pg) enum PreparePolicy {
    Always,
    Never,
    /// Unless a pooler is between the client and the server.
    IfDirect,
}

impl Connection<'_> {
    /// Returns the prepared statement, or `None` if the text of the statement is to be sent.
    pub(super) fn prepared(&mut self, sql: &Sql) -> Result<Option<Statement>, StatementError> {
        let prepares = match self.store.prepare {
            PreparePolicy::Always => true,
            PreparePolicy::Never => false,
            PreparePolicy::IfDirect => matches!(self.peer()?, Peer::Server(_)),
        };
        if !prepares {
            return Ok(None);
        }
        let mut all = self.checked_out.facts().prepared.iter();
        if let Some((_, statement)) = all.find(|(text, _)| *text == sql.text) {
            let statement = statement.clone();
            self.has_reused = true;
            return Ok(Some(statement));
        }
        let statement = self.send(|client| client.prepare_typed(&sql.text, sql.types))?;
        let facts = self.checked_out.facts();
        if facts.prepared.len() >= MAX_PREPARED {
            facts.prepared.clear();
        }
        facts.prepared.push((sql.text.clone(), statement.clone()));
        Ok(Some(statement))
    }

    /// Forgets all prepared statements because the server has rejected one. Returns whether this attempt has
    /// used one that an earlier operation had prepared, so that another attempt may succeed.
    pub(in crate::pg) fn forget_prepared(&mut self) -> bool {
        self.checked_out.facts().prepared.clear();
        mem::take(&mut self.has_reused)
    }
}

//! Transactions that change sessions and other tables together.

use postgres::Transaction;

use super::{PostgresStore, failure::is_certain, session_transaction::SessionTransaction};
use crate::{Error, error::DatabaseError};

impl PostgresStore {
    /// Executes `work` in a transaction on a connection of the store. If `work` returns `Ok`, commits. Otherwise, rolls
    /// back.
    ///
    /// In addition to the methods of [`postgres::Transaction`], the transaction has the calls of the store:
    ///
    /// ```
    /// use session_postgres::{Error, PostgresStore, Store};
    ///
    /// # let server = throwaway_postgres::Server::start()?;
    /// # let url = server.url();
    /// let store = PostgresStore::connect(url)?;
    /// store.create_table()?;
    /// # store.with_client(|client| client.batch_execute("CREATE TABLE users (id int, email text)"))??;
    /// let key = store.generate(Some("old@example.com"), None)?;
    /// store.transaction(|transaction| {
    ///     transaction.execute("UPDATE users SET email = $1 WHERE id = 42", &[&"new@example.com"])?;
    ///     transaction.set(&key, "new@example.com", None)
    /// })?;
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// The store tests the connection first. `work` is executed at most once. Its time is not limited, except within
    /// [`Offload::run`](crate::Offload::run): see [`with_client`](Self::with_client). The guide on
    /// [transactions](crate::guide::transactions) has more examples.
    ///
    /// # Errors
    ///
    /// The error of `work`, or one that is converted to its type:
    ///
    /// - [`Error::TimedOut`] if no connection is free in time, or [`Error::Database`] if the only one is closed or has
    ///   an open transaction. `work` was not executed then.
    /// - [`Error::Database`] if the server refuses to commit, also because an earlier statement of the transaction has
    ///   failed. The transaction had no effect.
    /// - [`Error::Disconnected`] if the connection breaks during the commit, or if the commit was cancelled while it
    ///   waited for a synchronous standby. The transaction may or may not have taken effect.
    ///
    /// # Panics
    ///
    /// If `work` panics. The transaction is rolled back.
    pub fn transaction<T, E: From<Error>>(
        &self,
        work: impl FnOnce(&mut SessionTransaction<'_, '_>) -> Result<T, E>,
    ) -> Result<T, E> {
        let done = self.lend_client(true, Result::is_ok, |client| {
            let mut transaction = client
                .transaction()
                .map_err(|e| self.explain_in_transaction(&e))?;
            let done = work(&mut self.in_transaction(&mut transaction))?;
            // The server would answer the commit of an aborted transaction with a rollback, which is not an error.
            transaction
                .batch_execute("SELECT")
                .map_err(|e| self.explain_in_transaction(&e))?;
            transaction.commit().map_err(|e| self.commit_error(&e))?;
            Ok(done)
        });
        done.unwrap_or_else(|error| Err(error.into()))
    }

    /// Returns the calls of this store for a transaction of any `postgres::Client`, which may be on another connection.
    ///
    /// The calls have the rules of [`Store`](crate::Store), with these differences:
    ///
    /// - They take effect when the transaction is committed, and not if it is rolled back.
    /// - They are sent once, and have no time limit. They wait for rows that other transactions have locked, and keep
    ///   their locks until the transaction ends.
    /// - After [`Error::Database`] and other errors of the server, the transaction is aborted, as after any other failed
    ///   statement. After [`Error::NotFound`], [`Error::NotSet`], [`Error::KeyExists`] and errors of the arguments, it
    ///   is not.
    /// - Each takes one round trip. [`update`](SessionTransaction::update),
    ///   [`rotate_to`](SessionTransaction::rotate_to) and a renewal that writes take two, and more if another transaction
    ///   uses the same key. The statements are not prepared.
    ///
    /// # Examples
    ///
    /// ```
    /// use session_postgres::{PostgresStore, SessionFields, Store, postgres::{Client, NoTls}};
    ///
    /// # let server = throwaway_postgres::Server::start()?;
    /// # let url = server.url();
    /// let store = PostgresStore::connect(url)?;
    /// store.create_table()?;
    ///
    /// let mut client = Client::connect(url, NoTls)?;
    /// let mut transaction = client.transaction()?;
    /// let key = store.in_transaction(&mut transaction).generate(Some("lobster"), None)?;
    /// assert!(store.find(&key)?.is_none());
    /// transaction.commit()?;
    /// assert!(store.find(&key)?.is_some());
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn in_transaction<'a, 't>(
        &'a self,
        transaction: &'a mut Transaction<'t>,
    ) -> SessionTransaction<'a, 't> {
        SessionTransaction {
            store: self,
            transaction,
        }
    }

    /// The error of a commit. If the server has not answered, it may have committed.
    fn commit_error(&self, error: &postgres::Error) -> Error {
        match is_certain(error) {
            true => self.explain_in_transaction(error),
            false => Error::Disconnected(DatabaseError::from(error)),
        }
    }
}

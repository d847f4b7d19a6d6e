//! Access to the sessions of a peer outside of the measurements, without the peer and without a proxy.

mod postgres;
mod redis;

use anyhow::Result;

pub(crate) use self::{
    postgres::{BETWEEN_URLS, PgTable, Postgres},
    redis::Redis,
};
use crate::meters::Server;

pub(crate) trait Admin: Sized + Send + Sync + 'static {
    /// How the server keeps the sessions of a peer.
    type Table: 'static;

    fn connect(url: &str, table: &Self::Table) -> impl Future<Output = Result<Self>> + Send;

    /// Removes all sessions.
    fn clear(&self) -> impl Future<Output = Result<()>> + Send;

    fn insert(
        &self,
        keys: Vec<String>,
        data: Vec<Vec<u8>>,
    ) -> impl Future<Output = Result<()>> + Send;

    fn delete(&self, keys: Vec<String>) -> impl Future<Output = Result<()>> + Send;

    /// See [`Request::Vacuum`](crate::protocol::Request::Vacuum).
    fn vacuum(&self) -> impl Future<Output = Result<()>> + Send;

    /// See [`Request::Touch`](crate::protocol::Request::Touch).
    fn touch(&self) -> impl Future<Output = Result<()>> + Send;

    fn server(&self) -> impl Future<Output = Result<Server>> + Send;

    /// Returns how many bytes the server has written to its log, or `None` if it has no log.
    fn log_bytes(&self) -> impl Future<Output = Result<Option<u64>>> + Send;
}

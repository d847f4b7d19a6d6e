//! A table of PostgreSQL.

use anyhow::{Context, Result};
use procfs::process::Process;
use tokio_postgres::{Client, NoTls};

use super::Admin;
use crate::meters::Server;

#[derive(Clone, Copy)]
pub(crate) struct PgTable {
    pub(crate) name: &'static str,
    /// Inserts sessions. Parameters: keys (`text[]`) and data (`bytea[]`).
    pub(crate) insert: &'static str,
    /// Deletes sessions. Parameter: keys (`text[]`).
    pub(crate) delete: &'static str,
}

pub(crate) struct Postgres {
    pub(crate) client: Client,
    table: PgTable,
}

impl Admin for Postgres {
    type Table = PgTable;

    async fn connect(url: &str, table: &PgTable) -> Result<Postgres> {
        let (client, connection) = tokio_postgres::connect(url, NoTls).await?;
        tokio::spawn(connection);
        Ok(Postgres {
            client,
            table: *table,
        })
    }

    async fn clear(&self) -> Result<()> {
        let truncate = format!("TRUNCATE {}", self.table.name);
        Ok(self.client.batch_execute(&truncate).await?)
    }

    async fn insert(&self, keys: Vec<String>, data: Vec<Vec<u8>>) -> Result<()> {
        self.client
            .execute(self.table.insert, &[&keys, &data])
            .await?;
        Ok(())
    }

    async fn delete(&self, keys: Vec<String>) -> Result<()> {
        self.client.execute(self.table.delete, &[&keys]).await?;
        Ok(())
    }

    async fn vacuum(&self) -> Result<()> {
        let vacuum = format!("VACUUM ANALYZE {}", self.table.name);
        Ok(self.client.batch_execute(&vacuum).await?)
    }

    /// Locks all rows, which changes their pages, and rebuilds the indexes, which locks do not change.
    async fn touch(&self) -> Result<()> {
        let table = self.table.name;
        let lock_all =
            format!("SELECT count(*) FROM (SELECT FROM {table} FOR NO KEY UPDATE) AS locked");
        self.client.query_one(&lock_all, &[]).await?;
        let reindex = format!("REINDEX TABLE {table}");
        Ok(self.client.batch_execute(&reindex).await?)
    }

    async fn server(&self) -> Result<Server> {
        let pid = "SELECT pg_backend_pid()";
        let pid = self.client.query_one(pid, &[]).await?.get(0);
        let postmaster = Process::new(pid)
            .and_then(|backend| backend.stat())
            .context("the server's processes are not visible in /proc")?
            .ppid;
        Ok(Server::Postgres { postmaster })
    }

    async fn log_bytes(&self) -> Result<Option<u64>> {
        let wal = "SELECT (pg_current_wal_insert_lsn() - '0/0'::pg_lsn)::bigint";
        let wal: i64 = self.client.query_one(wal, &[]).await?.get(0);
        Ok(Some(wal as u64))
    }
}

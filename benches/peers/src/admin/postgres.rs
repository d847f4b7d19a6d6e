//! A table of PostgreSQL, on one server or on several.

use anyhow::{Context, Result};
use procfs::process::Process;
use tokio_postgres::{Client, NoTls};

use super::Admin;
use crate::{meters::Server, peer::shard_map};

/// Separates the connection strings of several servers.
pub(crate) const BETWEEN_URLS: char = ';';

#[derive(Clone, Copy)]
pub(crate) struct PgTable {
    pub(crate) name: &'static str,
    /// Inserts sessions. Parameters: keys (`text[]`) and data (`bytea[]`).
    pub(crate) insert: &'static str,
    /// Deletes sessions. Parameter: keys (`text[]`).
    pub(crate) delete: &'static str,
}

pub(crate) struct Postgres {
    /// One for each server.
    pub(crate) clients: Vec<Client>,
    table: PgTable,
}

impl Admin for Postgres {
    type Table = PgTable;

    async fn connect(urls: &str, table: &PgTable) -> Result<Postgres> {
        let mut clients = Vec::new();
        for url in urls.split(BETWEEN_URLS) {
            let (client, connection) = tokio_postgres::connect(url, NoTls).await?;
            tokio::spawn(connection);
            clients.push(client);
        }
        Ok(Postgres {
            clients,
            table: *table,
        })
    }

    async fn clear(&self) -> Result<()> {
        let truncate = format!("TRUNCATE {}", self.table.name);
        self.execute(&truncate).await
    }

    async fn insert(&self, keys: Vec<String>, data: Vec<Vec<u8>>) -> Result<()> {
        let map = shard_map(self.clients.len())?;
        let servers = keys.iter().map(|key| match self.clients.len() {
            // The keys of other stores need not be keys of session-postgres.
            1 => Ok(0),
            _ => Ok(map.server_of(&key.parse()?).context("no server")?.parse()?),
        });
        let servers = servers.collect::<Result<Vec<usize>>>()?;
        let rows: Vec<_> = servers.iter().zip(keys).zip(data).collect();
        for (server, client) in self.clients.iter().enumerate() {
            let own = rows.iter().filter(|((of, _), _)| **of == server);
            let (keys, data): (Vec<_>, Vec<_>) = own.map(|((_, key), data)| (key, data)).unzip();
            client.execute(self.table.insert, &[&keys, &data]).await?;
        }
        Ok(())
    }

    async fn delete(&self, keys: Vec<String>) -> Result<()> {
        for client in &self.clients {
            client.execute(self.table.delete, &[&keys]).await?;
        }
        Ok(())
    }

    async fn vacuum(&self) -> Result<()> {
        let vacuum = format!("VACUUM ANALYZE {}", self.table.name);
        self.execute(&vacuum).await
    }

    /// Locks all rows, which changes their pages, and rebuilds the indexes, which locks do not change.
    async fn touch(&self) -> Result<()> {
        let table = self.table.name;
        let lock_all =
            format!("SELECT count(*) FROM (SELECT FROM {table} FOR NO KEY UPDATE) AS locked");
        self.execute(&lock_all).await?;
        self.execute(&format!("REINDEX TABLE {table}")).await
    }

    async fn server(&self) -> Result<Server> {
        let mut postmasters = Vec::new();
        for client in &self.clients {
            let pid = "SELECT pg_backend_pid()";
            let pid = client.query_one(pid, &[]).await?.get(0);
            let backend = Process::new(pid).and_then(|backend| backend.stat());
            let backend = backend.context("the server's processes are not visible in /proc")?;
            postmasters.push(backend.ppid);
        }
        Ok(Server::Postgres { postmasters })
    }

    async fn log_bytes(&self) -> Result<Option<u64>> {
        let wal = "SELECT (pg_current_wal_insert_lsn() - '0/0'::pg_lsn)::bigint";
        let mut sum = 0;
        for client in &self.clients {
            sum += client.query_one(wal, &[]).await?.get::<_, i64>(0) as u64;
        }
        Ok(Some(sum))
    }
}

impl Postgres {
    /// Executes a statement on each server.
    async fn execute(&self, sql: &str) -> Result<()> {
        for client in &self.clients {
            client.batch_execute(sql).await?;
        }
        Ok(())
    }
}

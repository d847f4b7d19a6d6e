//! The map of a [`Sharded`](crate::Sharded) store that a server keeps, in a table beside that of the sessions.

use postgres::types::Type;

use super::{
    PostgresStore,
    connection::{Connection, StatementError},
    create_table,
};
use crate::{Error, ShardMap, shard_map::Compared};

const CREATE: &str = include_str!("../../sql/shard-map.sql");

const NAME: &str = "session_shard_map";

/// The quoted name of the table of maps, the name of the sessions table, and whether the table of maps exists. Fails if the
/// sessions table does not. Parameters: the quoted name of the sessions table.
const FIND: &str = "SELECT pg_catalog.format('%I.session_shard_map', nspname), relname::text, \
            pg_catalog.to_regclass(pg_catalog.format('%I.session_shard_map', nspname)) IS NOT NULL \
     FROM pg_catalog.pg_class JOIN pg_catalog.pg_namespace ON pg_namespace.oid = relnamespace \
     WHERE pg_class.oid = $1::text::regclass::oid";

/// What a server keeps.
struct Kept {
    server: String,
    map: String,
}

impl PostgresStore {
    /// Fails if the server keeps a newer map than this one, another one of the same version, or another name. Has the
    /// server keep the map otherwise.
    pub(super) fn keep_map(&self, server: &str, map: &ShardMap) -> Result<(), Error> {
        self.with_connection(|connection| {
            let mut table = MapTable::find(connection)?;
            let kept = table.read(connection)?;
            if !must_be_replaced(kept.as_ref(), server, map)? {
                return Ok(());
            }
            connection.begin()?;
            connection.execute(create_table::LOCK)?;
            table.create(connection)?;
            // Another program may have written it in the meantime.
            let kept = table.read(connection)?;
            if must_be_replaced(kept.as_ref(), server, map)? {
                table.write(connection, server, map)?;
            }
            connection.commit()
        })
    }
}

struct MapTable {
    name: String,
    session_table: String,
    exists: bool,
}

impl MapTable {
    fn find(connection: &mut Connection<'_>) -> Result<MapTable, StatementError> {
        let rows = connection.query_catalog(FIND)?;
        let row = rows.first().ok_or_else(|| {
            Error::other("the catalog has no row for the sessions table, which exists")
        })?;
        Ok(MapTable {
            name: row.try_get(0)?,
            session_table: row.try_get(1)?,
            exists: row.try_get(2)?,
        })
    }

    fn read(&self, connection: &mut Connection<'_>) -> Result<Option<Kept>, StatementError> {
        if !self.exists {
            return Ok(None);
        }
        let sql = format!(
            "SELECT server, map FROM {} WHERE session_table OPERATOR(pg_catalog.=) $1",
            self.name
        );
        let rows = connection.query_once(&sql, &[(&self.session_table, Type::TEXT)])?;
        let kept = rows.first().map(|row| {
            Ok::<_, postgres::Error>(Kept {
                server: row.try_get(0)?,
                map: row.try_get(1)?,
            })
        });
        Ok(kept.transpose()?)
    }

    fn create(&mut self, connection: &mut Connection<'_>) -> Result<(), StatementError> {
        if !self.exists {
            connection.execute(&CREATE.replace(NAME, &self.name))?;
            self.exists = true;
        }
        Ok(())
    }

    fn write(
        &self,
        connection: &mut Connection<'_>,
        server: &str,
        map: &ShardMap,
    ) -> Result<(), StatementError> {
        let sql = format!(
            "INSERT INTO {} (session_table, server, map) VALUES ($1, $2, $3) \
             ON CONFLICT (session_table) DO UPDATE SET map = excluded.map RETURNING 1",
            self.name
        );
        let map = map.to_string();
        connection.query_once(
            &sql,
            &[
                (&self.session_table, Type::TEXT),
                (&server, Type::TEXT),
                (&map, Type::TEXT),
            ],
        )?;
        Ok(())
    }
}

/// Returns whether the map is newer than the one that the server keeps. Fails if the program must not use it.
fn must_be_replaced(kept: Option<&Kept>, server: &str, map: &ShardMap) -> Result<bool, Error> {
    let Some(kept) = kept else {
        return Ok(true);
    };
    let refuse = |reason: String| {
        Err(Error::ShardMap {
            server: server.to_owned(),
            reason,
        })
    };
    if kept.server != server {
        return refuse(format!(
            "it is server {} of the map; check the connection strings",
            kept.server
        ));
    }
    match kept.map.parse().map(|kept| map.compare_to(&kept)) {
        Ok(Compared::Same) => Ok(false),
        Ok(Compared::Newer) => Ok(true),
        Ok(Compared::Refused(reason)) => refuse(reason),
        Err(e) => refuse(format!(
            "the map that it keeps in {NAME} cannot be read: {e}"
        )),
    }
}

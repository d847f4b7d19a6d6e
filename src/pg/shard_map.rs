//! The map of a [`Sharded`](crate::Sharded) store that a server keeps, in a table beside that of the sessions.

use postgres::{error::SqlState, types::Type};

use super::{
    PostgresStore,
    connection::{Connection, StatementError},
    create_table,
};
use crate::{Error, ShardMap, shard_map::Compared};

const CREATE: &str = include_str!("../../sql/shard-map.sql");

const NAME: &str = "session_shard_map";

/// The quoted name of the table of maps, the name of the sessions table, whether the table of maps exists, and whether
/// another user could have made it. Fails if the sessions table does not exist. Parameters: the quoted name of the sessions
/// table.
///
/// If other users may create tables in the schema, one of them could make a view with the name of the table of maps, whose
/// functions would be executed with the privileges of the store's role.
const FIND: &str = "SELECT pg_catalog.format('%I.session_shard_map', nspname), sessions.relname::text, \
            maps.oid IS NOT NULL, \
            maps.relkind IS DISTINCT FROM 'r'::\"char\" OR NOT EXISTS ( \
                SELECT FROM pg_catalog.pg_roles WHERE pg_roles.oid = maps.relowner AND ( \
                    rolsuper OR rolname::text = current_user::text OR pg_roles.oid = sessions.relowner OR pg_roles.oid = nspowner \
                ) \
            ) \
     FROM pg_catalog.pg_class AS sessions \
     JOIN pg_catalog.pg_namespace ON pg_namespace.oid = sessions.relnamespace \
     LEFT JOIN pg_catalog.pg_class AS maps ON maps.relnamespace = pg_namespace.oid \
         AND maps.relname::text = 'session_shard_map' \
     WHERE sessions.oid = $1::text::regclass::oid";

/// The row of the table of maps for one sessions table.
struct Kept {
    server: String,
    map: String,
}

impl PostgresStore {
    /// Fails if the server keeps a newer map than this one, another one of the same version, or another name. Has the
    /// server keep the map otherwise. Returns the older map that it has kept until now.
    pub(super) fn keep_map(&self, server: &str, map: &ShardMap) -> Result<Option<ShardMap>, Error> {
        self.with_connection(|connection| {
            let kept = MapTable::find(connection)?
                .checked(server)?
                .read(connection)?;
            if !must_be_replaced(kept.as_ref(), server, map)? {
                return Ok(None);
            }
            connection.begin()?;
            connection.execute(create_table::LOCK)?;
            // Another program may have created or changed it in the meantime.
            let mut table = MapTable::find(connection)?.checked(server)?;
            if !table.exists {
                table.create(connection, server)?;
                table = MapTable::find(connection)?.checked(server)?;
            }
            let kept = table.read(connection)?;
            if !must_be_replaced(kept.as_ref(), server, map)? {
                connection.commit()?;
                return Ok(None);
            }
            table.write(connection, server, map)?;
            connection.commit()?;
            Ok(kept.and_then(|kept| kept.map.parse().ok()))
        })
    }

    /// Returns the name of the server if it keeps a map, but this store has not joined it.
    pub(super) fn map_not_joined(
        &self,
        connection: &mut Connection<'_>,
    ) -> Result<Option<String>, StatementError> {
        if self.slots.have_joined() {
            return Ok(None);
        }
        let table = MapTable::find(connection)?;
        if table.is_foreign || !table.may_read(connection)? {
            return Ok(None);
        }
        Ok(table.read(connection)?.map(|kept| kept.server))
    }
}

struct MapTable {
    name: String,
    session_table: String,
    exists: bool,
    /// Whether another user could have made it.
    is_foreign: bool,
}

impl MapTable {
    fn find(connection: &mut Connection<'_>) -> Result<MapTable, StatementError> {
        let rows = connection.query_catalog(FIND)?;
        let row = rows.first().ok_or_else(|| {
            Error::other("the catalog has no row for the sessions table, which exists")
        })?;
        let exists = row.try_get(2)?;
        Ok(MapTable {
            name: row.try_get(0)?,
            session_table: row.try_get(1)?,
            exists,
            is_foreign: exists && row.try_get(3)?,
        })
    }

    fn may_read(&self, connection: &mut Connection<'_>) -> Result<bool, StatementError> {
        if !self.exists {
            return Ok(false);
        }
        let sql = "SELECT pg_catalog.has_table_privilege($1::text, 'SELECT')";
        let rows = connection.query_once(sql, &[(&self.name, Type::TEXT)])?;
        Ok(rows.first().map_or(Ok(false), |row| row.try_get(0))?)
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

    fn create(&self, connection: &mut Connection<'_>, server: &str) -> Result<(), StatementError> {
        match connection.execute(&CREATE.replace(NAME, &self.name)) {
            Err(StatementError::Driver(e))
                if e.code() == Some(&SqlState::INSUFFICIENT_PRIVILEGE) =>
            {
                let why = "the role may not create the table session_shard_map: create it with sql/shard-map.sql";
                Err(refused(server, why.to_owned()).into())
            }
            done => done,
        }
    }

    /// Fails if another user may have made the table.
    fn checked(self, server: &str) -> Result<MapTable, Error> {
        match self.is_foreign {
            true => Err(refused(
                server,
                format!(
                    "{} is not a table of a superuser, of this role, or of the owner of the sessions table or the schema, \
                     so another user may have made it",
                    self.name
                ),
            )),
            false => Ok(self),
        }
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
    let refuse = |reason| Err(refused(server, reason));
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

fn refused(server: &str, reason: String) -> Error {
    Error::ShardMap {
        server: server.to_owned(),
        reason,
    }
}

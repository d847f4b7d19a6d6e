//! Connections that break.

mod cut_owners;
mod cut_statements;
mod killed_connections;
mod retries;
mod server_restarts;

use session_postgres::{Error, Key, PostgresStore, postgres::NoTls, r2d2::Pool};

use crate::support::{
    database::{Manager, Schema},
    wait_until,
};

type Verb = fn(&PostgresStore, &Key) -> Result<(), Error>;

/// Kills the server process of every connection whose `application_name` is the schema's name. Returns
/// how many there were.
fn kill_backends(schema: &Schema) -> usize {
    let mut client = schema.client();
    let path: String = client.query_one("SHOW search_path", &[]).unwrap().get(0);
    let name = format!("killer of {path}");
    client
        .execute("SELECT set_config('application_name', $1, false)", &[&name])
        .unwrap();
    let killed = client
        .query(
            "SELECT pid, pg_terminate_backend(pid) FROM pg_stat_activity \
             WHERE pid <> pg_backend_pid() AND application_name = $1",
            &[&schema.name()],
        )
        .unwrap();
    let killed: Vec<i32> = killed.iter().map(|row| row.get(0)).collect();
    wait_until("the server processes to end", || {
        let sql = "SELECT count(*) FROM pg_stat_activity WHERE pid = ANY ($1)";
        client.query_one(sql, &[&killed]).unwrap().get::<_, i64>(0) == 0
    });
    killed.len()
}

/// A pool whose connections have the schema's name as `application_name`.
fn named_pool(schema: &Schema, size: u32) -> Pool<Manager> {
    let mut config = schema.config();
    config.application_name(schema.name());
    let pool = Pool::builder().max_size(size).test_on_check_out(false);
    pool.build(Manager::new(config, NoTls)).unwrap()
}

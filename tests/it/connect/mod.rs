//! Connecting, and servers as they are in production.

mod options;
mod silence;

use session_postgres::ConnectOptions;

use crate::support::{database::Schema, line::Line};

/// How to reach a schema through a line.
fn through(line: &Line, schema: &Schema) -> ConnectOptions {
    let config = schema.config();
    ConnectOptions::new()
        .host("127.0.0.1")
        .port(line.port())
        .user(config.get_user().unwrap())
        .dbname(config.get_dbname().unwrap())
        .options(config.get_options().unwrap())
}

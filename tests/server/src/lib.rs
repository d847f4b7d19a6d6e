//! A real PostgreSQL server for tests, benchmarks and examples.
//!
//! ```no_run
//! let database = throwaway_postgres::Database::open()?;
//! println!("{}", database.url());
//! # Ok::<(), throwaway_postgres::Error>(())
//! ```
//!
//! If `DATABASE_URL` is set, [`Database::open`] uses that database. Otherwise it starts a server with the
//! newest PostgreSQL of the machine (13 or later). The server listens on a Unix socket in a temporary
//! directory and is ready in about a second.
//!
//! Dropping the [`Server`] stops the server and deletes its directory. This also happens if it is never
//! dropped, because it is in a `static` or because the process panics, aborts or is killed by Ctrl-C or
//! `kill -9`. A small shell process (`supervisor.sh`) notices the end of the process and cleans up.
//!
//! PostgreSQL refuses to run as root. If root starts the server, it runs as the user `postgres`, or as
//! `nobody` if there is no user `postgres`.
//!
//! The environment variable `PG_BIN` selects another PostgreSQL: the directory of `initdb` and `postgres`.

#[cfg(not(unix))]
compile_error!("throwaway-postgres needs Unix: elsewhere run the tests in a container or in WSL");

mod binaries;
pub mod certificates;
mod command;
mod database;
mod directory;
mod error;
mod pooler;
mod port;
mod psql;
mod server;
mod supervisor;
mod user;
mod wait;

pub use database::Database;
pub use error::Error;
pub use pooler::{Pooler, PoolerBuilder};
pub use server::{Builder, Server};

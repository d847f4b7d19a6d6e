//! A real PostgreSQL server for tests, benchmarks and examples.
//!
//! ```no_run
//! let database = throwaway_postgres::Database::open()?;
//! println!("{}", database.url());
//! # Ok::<(), throwaway_postgres::Error>(())
//! ```
//!
//! Where `DATABASE_URL` is set, that is the database. Else a server starts from the newest
//! PostgreSQL of the machine (13 or later), in a temporary folder and behind a Unix socket there, and
//! is ready in about a second.
//!
//! The server and its folder go away when the [`Server`] is dropped, and also when nothing is
//! dropped: servers in a `static`, a panic, an abort, Ctrl-C, `kill -9`. A small shell process sees to
//! that (`supervisor.sh`).
//!
//! PostgreSQL refuses to run as root. Started by root, the server runs as the user `postgres`, or as
//! `nobody` where there is no such user.
//!
//! Where to look for PostgreSQL can be said with `PG_BIN`, a folder with `initdb` and `postgres`.

#[cfg(not(unix))]
compile_error!("throwaway-postgres needs Unix: elsewhere run the tests in a container or in WSL");

mod binaries;
pub mod certificates;
mod database;
mod error;
mod place;
mod pooler;
mod psql;
mod server;
mod supervisor;
mod user;

pub use database::Database;
pub use error::Error;
pub use pooler::{Pooler, PoolerBuilder};
pub use server::{Builder, Server};

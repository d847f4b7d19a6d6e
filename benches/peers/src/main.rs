//! Compares session-postgres with other ways to keep sessions in PostgreSQL: see README.md.
//!
//! In the order of a run:
//! 1. [`plan`] reads the options.
//! 2. [`run`] starts a server and a [`process`] for each [`peer`], and sends requests ([`protocol`]) to the
//!    peers in turns.
//! 3. The processes execute them ([`serve`]): they run [`callers`], read [`meters`] and return [`figures`].
//! 4. [`results`] writes tables and charts and compares the figures with the goals.
//!
//! [`renewals`] is a measurement of its own.

mod callers;
mod figures;
mod meters;
mod peer;
mod plan;
mod process;
mod protocol;
mod renewals;
mod results;
mod run;
mod serve;
mod values;

use anyhow::Result;
use clap::Parser;

use plan::{Command, Options};

fn main() -> Result<()> {
    let options = Options::parse();
    match &options.command {
        Some(Command::Serve { peer, url }) => peer::serve(peer, url),
        Some(Command::Renewals(options)) => renewals::run(options),
        None => run::run(&options.plan()),
    }
}

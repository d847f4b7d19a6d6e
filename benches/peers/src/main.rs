//! session-postgres side by side with what else keeps sessions in PostgreSQL: see README.md.
//!
//! In the order of a run: [`run`] starts a server, and a process for each of the [`peer`]s, and tells them
//! in turn what to do; each ([`side`]) lets callers call ([`load`]) and says what it cost ([`measure`]); of
//! all this come tables, charts and bars ([`results`]).

mod load;
mod measure;
mod order;
mod peer;
mod plan;
mod results;
mod run;
mod side;
mod values;

use anyhow::Result;
use clap::Parser;

use plan::{Command, Options};

fn main() -> Result<()> {
    let options = Options::parse();
    match &options.command {
        Some(Command::Serve { peer, url }) => peer::serve(peer, url),
        None => run::run(&options.plan()),
    }
}

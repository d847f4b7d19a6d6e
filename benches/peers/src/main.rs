//! Compares session-postgres with other ways to keep sessions: see README.md.
//!
//! In the order of a run:
//! 1. [`plan`] reads the options.
//! 2. [`run`] starts the servers, a [`proxy`] for each length of a round trip and a [`process`] for each [`peer`], and
//!    sends requests ([`protocol`]) to the peers in turns.
//! 3. The processes execute them ([`serve`]): they run [`callers`], read [`meters`] and return [`figures`]. With
//!    [`admin`], they prepare the sessions.
//! 4. [`results`] writes tables and charts and compares the figures with the goals.
//!
//! [`renewals`] and [`costs`] are measurements of their own.

mod admin;
mod callers;
mod costs;
mod figures;
mod meters;
mod network;
mod peer;
mod plan;
mod points;
mod process;
mod protocol;
mod proxy;
mod redis;
mod renewals;
mod results;
mod rtt;
mod run;
mod serve;
mod values;

use anyhow::Result;
use clap::Parser;

use self::{
    plan::{Command, Options},
    results::Results,
};

fn main() -> Result<()> {
    let options = Options::parse();
    match &options.command {
        Some(Command::Serve { peer, url }) => peer::serve(peer, url),
        Some(Command::Proxy { rtt, targets }) => proxy::serve(*rtt, targets),
        Some(Command::Renewals(options)) => renewals::run(options),
        Some(Command::Costs(options)) => costs::run(options),
        Some(Command::Draw { dir }) => Results::read(dir)?.write(dir),
        None => run::run(options.plan()),
    }
}

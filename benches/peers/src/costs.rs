//! Measures the processor time of a statement and of a call, for the program and for the server separately.
//!
//! The time of a call falls with the size of its batch. So each verb is measured with several sizes, and the costs are those
//! of the line that fits best: a batch of `n` calls takes the time of a statement and `n` times that of a call.
//! `benches/scaling` calculates with them.

use std::time::Duration;

use anyhow::{Context, Result};
use indicatif::ProgressBar;
use session_postgres::postgres::{Client, NoTls};

use crate::{
    peer::{Ours, Setting},
    plan::Verb,
    protocol::{Run, Way},
    results::Spread,
    rtt::Rtt,
    run::{start_server, tcp_port, url_of},
    serve::{Handler, PeerHandler},
};

#[derive(Debug, clap::Args)]
pub(crate) struct Options {
    /// The number of rounds. Each round measures all verbs with all sizes of batches.
    #[arg(long, default_value_t = 9)]
    rounds: usize,
    /// The length of a measurement in seconds.
    #[arg(long, default_value_t = 0.3)]
    seconds: f64,
    /// The number of sessions.
    #[arg(long, default_value_t = 100_000)]
    sessions: usize,
}

const VERBS: [Verb; 4] = [Verb::Load, Verb::Renew, Verb::Save, Verb::Create];

/// The largest numbers of calls in a batch.
const SIZES: [usize; 5] = [1, 4, 16, 64, 256];

/// So many times more callers than calls in a batch, so that the batches are full.
const CALLERS: usize = 4;

const DATABASE: &str = "costs";

/// One measurement.
struct Measured {
    batch: f64,
    program_micros: f64,
    server_micros: f64,
    rate: f64,
    p50: f64,
}

pub(crate) fn run(options: &Options) -> Result<()> {
    let server = start_server()?;
    let create = format!("CREATE DATABASE {DATABASE}");
    Client::connect(server.url(), NoTls)?.batch_execute(&create)?;
    let url = server.tcp_url().context("no TCP port")?;
    let way = Way {
        rtt: Rtt::NONE,
        url: url_of(url, tcp_port(&server)?, DATABASE),
        proxy: None,
    };
    let mut handler = PeerHandler::<Ours>::new(&way.url, Setting::Default)?;
    handler.fill(options.sessions, 200)?;
    handler.touch()?;
    let points = VERBS.map(|verb| SIZES.map(|size| (verb, size)));
    let mut points: Vec<_> = points.concat().into_iter().map(|p| (p, vec![])).collect();
    // With one caller, the difference of a save and a load is mostly the time of a commit.
    let mut alone = [Verb::Load, Verb::Save].map(|verb| ((verb, 0), vec![]));
    let progress = ProgressBar::new((options.rounds * (points.len() + alone.len())) as u64);
    for round in 0..options.rounds {
        for ((verb, size), measured) in points.iter_mut().chain(&mut alone) {
            handler.options = Setting::MaxBatch((*size).max(1));
            handler.connect(way.clone())?;
            let run = Run {
                verb: *verb,
                callers: (*size * CALLERS).max(1),
                length: Duration::from_secs_f64(options.seconds),
                seed: round as u64,
            };
            measured.push(measure(&mut handler, &run)?);
            progress.inc(1);
        }
    }
    progress.finish_and_clear();
    println!(
        "| verb | calls in a batch | program, µs per call | server, µs per call | calls per second |\n|---|---|---|---|---|"
    );
    for ((verb, _), measured) in &points {
        println!(
            "| {verb} | {:.1} | {} | {} | {:.0} |",
            median(measured, |m| m.batch)?,
            cell(measured, |m| m.program_micros)?,
            cell(measured, |m| m.server_micros)?,
            median(measured, |m| m.rate)?,
        );
    }
    println!(
        "\n| verb | program, µs per statement | per call | server, µs per statement | per call |\n|---|---|---|---|---|"
    );
    for points in points.chunk_by(|a, b| a.0.0 == b.0.0) {
        let verb = points[0].0.0;
        let [(program, program_call), (server, server_call)] = [
            |m: &Measured| m.program_micros,
            |m: &Measured| m.server_micros,
        ]
        .map(|cost| {
            let point = |(_, measured): &(_, Vec<Measured>)| {
                Ok((median(measured, |m| m.batch)?, median(measured, cost)?))
            };
            points.iter().map(point).collect::<Result<Vec<_>>>()
        })
        .into_iter()
        .map(|points| Ok(fit(&points?)))
        .collect::<Result<Vec<_>>>()?[..] else {
            unreachable!("two costs");
        };
        println!("| {verb} | {program:.1} | {program_call:.2} | {server:.1} | {server_call:.2} |");
    }
    let [load, save] = &alone;
    println!(
        "\nWith one caller, a load takes {:.0} µs and a save {:.0} µs.",
        median(&load.1, |m| m.p50)?,
        median(&save.1, |m| m.p50)?,
    );
    Ok(())
}

fn measure(handler: &mut PeerHandler<Ours>, run: &Run) -> Result<Measured> {
    let batches = |handler: &PeerHandler<Ours>| {
        let peer = handler.peer.as_ref().context("the peer is not connected")?;
        anyhow::Ok(peer.batches())
    };
    let before = batches(handler)?;
    let figures = handler.run(run)?.context("no figures")?;
    let after = batches(handler)?;
    Ok(Measured {
        batch: (after.1 - before.1) as f64 / (after.0 - before.0) as f64,
        program_micros: figures.program_micros(),
        server_micros: figures.server_micros(),
        rate: figures.rate(),
        p50: figures.p50.context("no calls")?,
    })
}

fn spread(measured: &[Measured], figure: impl Fn(&Measured) -> f64) -> Result<Spread> {
    Spread::of(measured.iter().map(figure).collect()).context("no rounds")
}

fn median(measured: &[Measured], figure: impl Fn(&Measured) -> f64) -> Result<f64> {
    Ok(spread(measured, figure)?.median())
}

fn cell(measured: &[Measured], figure: impl Fn(&Measured) -> f64) -> Result<String> {
    let spread = spread(measured, figure)?;
    Ok(format!("{:.2} ({})", spread.median(), spread.range()))
}

/// Returns the costs of a statement and of a call, from pairs of the size of a batch and the cost of each of its calls. The
/// sum of the squares of the relative errors is the smallest.
fn fit(points: &[(f64, f64)]) -> (f64, f64) {
    // cost = statement / size + call. Divided by cost: 1 = statement * a + call * b.
    let rows = points
        .iter()
        .map(|(size, cost)| (1.0 / (size * cost), 1.0 / cost));
    let sum = |of: &dyn Fn((f64, f64)) -> f64| rows.clone().map(of).sum::<f64>();
    let (aa, ab, bb) = (
        sum(&|(a, _)| a * a),
        sum(&|(a, b)| a * b),
        sum(&|(_, b)| b * b),
    );
    let (a, b) = (sum(&|(a, _)| a), sum(&|(_, b)| b));
    let determinant = aa * bb - ab * ab;
    (
        (a * bb - b * ab) / determinant,
        (b * aa - a * ab) / determinant,
    )
}

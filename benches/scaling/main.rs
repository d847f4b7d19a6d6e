//! What several servers carry, and where the programs become the bottleneck: a calculation and a simulation.
//!
//! `cargo bench --bench scaling`. It needs no PostgreSQL. It calculates with costs that were measured, which are below.
//!
//! The calculation divides the processors of all servers, or of all programs, by the processor time of a call. The simulation
//! adds queues, the network and the disk. Each caller makes its next call as soon as the last has returned, for a random
//! session. Each program has a queue and workers for each server, as `Sharded<Offload<PostgresStore>>` has. An idle worker
//! takes all waiting calls, up to 256. A batch then needs a processor of the program, half of a round trip, a processor of
//! the server, the disk if it writes, half of a round trip, and a processor of the program. A disk executes one flush at a
//! time, for all commits that wait for it. The same numbers always give the same results.
//!
//! The simulation is not exact. For all on one machine, it is 32 % below to 84 % above the measurement, and with three servers
//! mostly above. So compare its results with each other, and take them as an upper bound.
//!
//! Assumptions:
//!
//! - A call costs as much on 16 processors as on two: no lock and no memory is a bottleneck before the processors are.
//! - The network has the bandwidth, and its latency is constant. The disk takes as long for many commits as for one.
//! - The servers do nothing else: no checkpoints, no vacuum, no full-page writes, no replicas.
//! - The programs do nothing else. A program that also serves requests has less time for sessions.
//! - Calls for the same session do not wait for each other.

#![allow(missing_docs, clippy::unwrap_used)]

mod simulation;

use self::simulation::{MAX_BATCH, Setup, Simulation};

/// A verb, with the processor times in microseconds that `cargo run --release -p peers -- costs` has measured.
struct Verb {
    name: &'static str,
    program: Cost,
    server: Cost,
    is_write: bool,
}

#[derive(Clone, Copy)]
struct Cost {
    statement: f64,
    call: f64,
}

impl Cost {
    fn of(self, calls: usize) -> f64 {
        self.statement + self.call * calls as f64
    }
}

const fn verb(name: &'static str, program: [f64; 2], server: [f64; 2], is_write: bool) -> Verb {
    let [statement, call] = program;
    let program = Cost { statement, call };
    let [statement, call] = server;
    let server = Cost { statement, call };
    Verb {
        name,
        program,
        server,
        is_write,
    }
}

const LOAD: Verb = verb("load", [51.0, 2.55], [53.5, 3.75], false);
const RENEW: Verb = verb("renew", [49.3, 2.58], [49.0, 3.98], false);
const SAVE: Verb = verb("save", [77.9, 3.04], [125.7, 10.23], true);
const CREATE: Verb = verb("create", [82.1, 3.36], [117.5, 7.67], true);

/// How long the disk of the machine of the measurement takes for a commit, in microseconds. With one caller, a save took
/// 161 µs longer than a load, and 106 µs of that were processor time.
const FLUSH_MEASURED: f64 = 55.0;

/// The same of the simulated servers. An assumption: disks that keep data without power take 20 to 1,000 µs.
const FLUSH: f64 = 500.0;

/// Calls per second on two processors, which the program and all servers share: verb, servers, callers, and the median of 9
/// rounds with 200-byte values. `benches/peers/results/sharded` has the command and all figures.
const MEASURED: [(&Verb, usize, usize, f64); 18] = [
    (&LOAD, 1, 1, 11807.0),
    (&LOAD, 1, 16, 61782.0),
    (&LOAD, 1, 256, 218993.0),
    (&LOAD, 3, 1, 9004.0),
    (&LOAD, 3, 16, 35664.0),
    (&LOAD, 3, 256, 159674.0),
    (&SAVE, 1, 1, 4165.0),
    (&SAVE, 1, 16, 23565.0),
    (&SAVE, 1, 256, 97874.0),
    (&SAVE, 3, 1, 3599.0),
    (&SAVE, 3, 16, 13236.0),
    (&SAVE, 3, 256, 80118.0),
    (&CREATE, 1, 1, 3813.0),
    (&CREATE, 1, 16, 24428.0),
    (&CREATE, 1, 256, 120743.0),
    (&CREATE, 3, 1, 3459.0),
    (&CREATE, 3, 16, 13593.0),
    (&CREATE, 3, 256, 68676.0),
];

fn main() {
    let is_test = std::env::args().any(|arg| arg == "--test");
    calculate();
    let (micros, servers): (f64, &[usize]) = match is_test {
        true => (20_000.0, &[1]),
        false => (60_000.0, &[1, 3, 10]),
    };
    compare(micros * 5.0);
    println!(
        "\nSimulated: 16 processors each, round trips of 500 µs, commits of {FLUSH} µs, 4,096 callers in each program.\n"
    );
    println!(
        "| verb | sessions | servers | programs | calls per second | in a batch | programs busy | servers busy | busiest | p50, µs | p99, µs |"
    );
    println!("|---|---|---|---|---|---|---|---|---|---|---|");
    for (verb, is_zipf) in [(&LOAD, false), (&LOAD, true), (&SAVE, false)] {
        for &servers in servers {
            for programs in [1, 2, 4, 8, 16] {
                let setup = Setup {
                    verb,
                    programs,
                    callers: 4096,
                    servers,
                    processors: 16,
                    is_one_machine: false,
                    round_trip: 500.0,
                    flush: FLUSH,
                    is_zipf,
                };
                let o = Simulation::run(setup, micros);
                let sessions = if is_zipf { "Zipf" } else { "uniform" };
                println!(
                    "| {} | {sessions} | {servers} | {programs} | {:.0} | {:.0} | {:.2} | {:.2} | {:.2} | {:.0} | {:.0} |",
                    verb.name,
                    o.rate,
                    o.batch,
                    o.programs_busy,
                    o.servers_busy,
                    o.busiest,
                    o.p50,
                    o.p99
                );
            }
        }
    }
}

/// Prints what ten servers with 16 processors carry, and how many such programs use them up.
fn calculate() {
    println!("Calculated: 10 servers with 16 processors.\n");
    println!(
        "| verb | calls in a batch | calls per second | of one program with 16 processors | programs for all servers |"
    );
    println!("|---|---|---|---|---|");
    for verb in [&LOAD, &RENEW, &SAVE, &CREATE] {
        for calls in [16, 64, MAX_BATCH] {
            let rate = |cost: Cost| 16.0 * 1e6 * calls as f64 / cost.of(calls);
            let (servers, program) = (10.0 * rate(verb.server), rate(verb.program));
            println!(
                "| {} | {calls} | {servers:.0} | {program:.0} | {:.1} |",
                verb.name,
                servers / program
            );
        }
    }
}

/// Prints how far the simulation is from the measurement.
fn compare(micros: f64) {
    println!("\nSimulated and measured: all on one machine with two processors.\n");
    println!(
        "| verb | servers | callers | simulated | measured | error |\n|---|---|---|---|---|---|"
    );
    for (verb, servers, callers, measured) in MEASURED {
        let setup = Setup {
            verb,
            programs: 1,
            callers,
            servers,
            processors: 2,
            is_one_machine: true,
            round_trip: 0.0,
            flush: FLUSH_MEASURED,
            is_zipf: false,
        };
        let rate = Simulation::run(setup, micros).rate;
        println!(
            "| {} | {servers} | {callers} | {rate:.0} | {measured:.0} | {:+.0} % |",
            verb.name,
            (rate / measured - 1.0) * 100.0
        );
    }
}

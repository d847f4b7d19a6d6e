//! The tables in `results.md`.

use std::fmt::Write;

use super::{
    Results,
    goals::{self, Figure},
    number::Short,
};
use crate::{
    figures::Figures,
    peer::{OTHERS, OURS, PGBENCH},
    plan::{CONNECTIONS, Kind, Point, Verb},
};

const MIB: f64 = (1 << 20) as f64;

type Figured = fn(&Figures) -> f64;

pub(super) fn markdown(results: &Results) -> String {
    let mut text = String::new();
    let out = &mut text;
    head(out, results);
    goals_table(out, results);
    losses(out, results);
    for kind in results.kinds() {
        kind_tables(out, results, kind);
    }
    text
}

fn row(out: &mut String, cells: impl IntoIterator<Item = String>) {
    for cell in cells {
        let _ = write!(out, "| {cell} ");
    }
    out.push_str("|\n");
}

fn header<'a>(out: &mut String, cells: impl IntoIterator<Item = &'a str>) {
    let cells: Vec<_> = cells.into_iter().map(str::to_owned).collect();
    let lines = vec!["---".to_owned(); cells.len()];
    row(out, cells);
    row(out, lines);
}

fn head(out: &mut String, results: &Results) {
    let machine = &results.machine;
    let _ = write!(
        out,
        "# Results\n\n\
         `{}`, {}, {} processors ({}), {:.0} GiB, {}, {}, {}; load average {:.1} before, {:.1} at the end.\n\n\
         {} connections, {} sessions per table, {} rounds of {} seconds. Values are medians of the rounds, \
         with the lowest and the highest in parentheses. {OURS} is the facade with its defaults. \
         ../README.md describes the method.\n",
        results.command,
        machine.date,
        machine.processors,
        machine.processor,
        machine.memory_gib,
        machine.system,
        machine.postgresql,
        machine.redis.as_deref().unwrap_or("no Redis"),
        machine.load_before,
        machine.load_after,
        results.connections,
        Short(results.sessions as f64),
        results.rounds,
        results.seconds,
    );
    if !results.proxies.is_empty() {
        out.push_str("\nLengths of round trips, measured at the start of the run:\n\n");
        for accuracy in &results.proxies {
            let _ = writeln!(out, "- {accuracy}");
        }
    }
}

fn goals_table(out: &mut String, results: &Results) {
    let goals = goals::all(results);
    let _ = write!(
        out,
        "\n## Goals\n\n{}. Ratios, round by round, with 200-byte values. The best store is the one with the best \
         median at that point.\n\n",
        goals::count(&goals)
    );
    header(out, goals::COLUMNS);
    for goal in goals {
        let mut cells = goal.cells();
        if cells[4] == goals::NOT_REACHED {
            cells[4] = format!("**{}**", cells[4]);
        }
        row(out, cells);
    }
}

/// Without memory, which hardly differs between points. The other tables have it.
const FIGURES: [Figure; 5] = [
    Figure::Rate,
    Figure::P50,
    Figure::P99,
    Figure::Cpu,
    Figure::Log,
];

/// Lists every point at which the median of a peer is better.
fn losses(out: &mut String, results: &Results) {
    out.push_str(
        "\n## Where other peers are better\n\nRatios of session-postgres to the peer; bold if the peer is better.\n\n",
    );
    let figures = FIGURES.map(Figure::name);
    header(out, ["", "callers", "peer"].into_iter().chain(figures));
    for kind in results.kinds() {
        for callers in results.callers(kind) {
            let point = kind.with(callers);
            for peer in OTHERS {
                let mut is_listed = false;
                let cells = FIGURES.map(|figure| {
                    // Loads themselves write nothing to the write-ahead log, and callers of pgbench never
                    // wait for a connection.
                    let is_late = matches!(figure, Figure::P50 | Figure::P99);
                    if figure == Figure::Log && kind.verb == Verb::Load
                        || is_late && peer == PGBENCH && callers > CONNECTIONS
                    {
                        return String::new();
                    }
                    let of = |figures: &Figures| figure.of(figures);
                    match results.ratio([OURS, peer], &point, of) {
                        None => String::new(),
                        Some(ratio) if figure.reaches(ratio.median(), 1.0) => {
                            format!("{:.2}", ratio.median())
                        }
                        Some(ratio) => {
                            is_listed = true;
                            format!("**{:.2}** ({})", ratio.median(), ratio.range())
                        }
                    }
                });
                if is_listed {
                    let head = [
                        format!("{}, {}, {} B", kind.verb, kind.rtt, kind.value_bytes),
                        callers.to_string(),
                        peer.to_owned(),
                    ];
                    row(out, head.into_iter().chain(cells));
                }
            }
        }
    }
}

fn kind_tables(out: &mut String, results: &Results, kind: Kind) {
    let Kind {
        rtt,
        value_bytes,
        verb,
    } = kind;
    let _ = write!(out, "\n## {verb}, {rtt}, {value_bytes} bytes\n");
    if rtt.is_none() {
        out.push_str("\nWithout a network: the worst case of this design.\n");
    }
    let with_range = |results: &Results, peer: &str, point: &Point| {
        let rate = results.spread(peer, point, |f| Some(f.rate()))?;
        Some(format!("{} ({})", Short(rate.median()), rate.range()))
    };
    table(out, results, kind, "Calls a second", with_range);
    table(
        out,
        results,
        kind,
        "Latency, p50 / p99, milliseconds",
        |results, peer, point| {
            let millis = |figure: fn(&Figures) -> Option<f64>| {
                let micros = results.spread(peer, point, figure)?.median();
                Some(Short(micros / 1e3).to_string())
            };
            Some(format!("{} / {}", millis(|f| f.p50)?, millis(|f| f.p99)?))
        },
    );
    let median = |results: &Results, peer: &str, point: &Point, figure: Figured| {
        let spread = results.spread(peer, point, |figures| Some(figure(figures)))?;
        Some(Short(spread.median()).to_string())
    };
    table(
        out,
        results,
        kind,
        if rtt.is_none() {
            "Processor time a call, program + server, microseconds"
        } else {
            "Processor time a call, program + server (+ proxy), microseconds"
        },
        |results, peer, point| {
            let program = median(results, peer, point, Figures::program_micros)?;
            let server = median(results, peer, point, Figures::server_micros)?;
            let proxy = results.spread(peer, point, Figures::proxy_micros);
            let proxy = proxy.map(|proxy| format!(" (+ {})", Short(proxy.median())));
            Some(format!("{program} + {server}{}", proxy.unwrap_or_default()))
        },
    );
    table(
        out,
        results,
        kind,
        "Context switches a call, program + server",
        |results, peer, point| {
            let program = median(results, peer, point, Figures::program_switches)?;
            let server = median(results, peer, point, Figures::server_switches)?;
            Some(format!("{program} + {server}"))
        },
    );
    table(
        out,
        results,
        kind,
        "Threads; peak memory, MiB",
        |results, peer, point| {
            let threads = results.spread(peer, point, |f| Some(f.threads as f64))?;
            let peak = results.spread(peer, point, |f| Some(f.peak_bytes as f64 / MIB))?;
            Some(format!("{:.0}; {}", threads.median(), Short(peak.median())))
        },
    );
    if verb != Verb::Load {
        table(
            out,
            results,
            kind,
            "Write-ahead log or append-only file a call, bytes",
            |results, peer, point| {
                let log = results.spread(peer, point, Figures::log)?;
                Some(Short(log.median()).to_string())
            },
        );
    }
}

fn table(
    out: &mut String,
    results: &Results,
    kind: Kind,
    title: &str,
    cell: impl Fn(&Results, &str, &Point) -> Option<String>,
) {
    let callers = results.callers(kind);
    let titles: Vec<_> = callers.iter().map(|n| format!("{n} callers")).collect();
    let _ = write!(out, "\n{title}:\n\n");
    header(
        out,
        [""].into_iter().chain(titles.iter().map(String::as_str)),
    );
    for peer in &results.peers {
        let cells = callers
            .iter()
            .map(|&callers| cell(results, peer, &kind.with(callers)).unwrap_or_default());
        let cells: Vec<_> = cells.collect();
        if cells.iter().any(|cell| !cell.is_empty()) {
            row(out, [peer.clone()].into_iter().chain(cells));
        }
    }
}

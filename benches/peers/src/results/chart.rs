//! The charts: a figure by the number of callers, with a line for each peer.

use std::{ops::Range, path::Path};

use anyhow::{Result, anyhow};
use plotters::{
    chart::ChartBuilder,
    coord::ranged1d::{DefaultFormatting, KeyPointHint, Ranged},
    element::{Circle, PathElement, Text},
    prelude::{IntoDrawingArea, SVGBackend},
    series::LineSeries,
    style::{Color, IntoFont, RGBColor, ShapeStyle, WHITE},
};

use super::{Results, number::Short};
use crate::{
    figures::Figures,
    peer::{
        AXUM_SESSION, BLOCKING, DEADPOOL, ONE_BY_ONE, OURS, PGBENCH, R2D2, REDIS, REDIS_ALWAYS,
        TOWER_SESSIONS, UNCHECKED,
    },
    plan::Kind,
};

const SIZE: (u32, u32) = (1180, 520);

/// The width of the legend on the right.
const LEGEND_WIDTH: u32 = 370;

/// The position of the legend's first line, and the distance of its lines.
const LEGEND_TOP: i32 = 60;
const LINE_HEIGHT: i32 = 22;

/// Those of session-postgres are green, those of Redis pink.
fn colour(peer: &str) -> RGBColor {
    match peer {
        OURS => RGBColor(0, 104, 55),
        ONE_BY_ONE => RGBColor(65, 171, 93),
        BLOCKING => RGBColor(173, 221, 142),
        DEADPOOL => RGBColor(8, 81, 156),
        TOWER_SESSIONS => RGBColor(217, 72, 1),
        UNCHECKED => RGBColor(253, 174, 107),
        AXUM_SESSION => RGBColor(106, 81, 163),
        R2D2 => RGBColor(165, 15, 21),
        PGBENCH => RGBColor(99, 99, 99),
        REDIS => RGBColor(247, 104, 161),
        REDIS_ALWAYS => RGBColor(174, 1, 126),
        // The variants with a fixed number of workers.
        _ => RGBColor(120, 198, 121),
    }
}

type Value = fn(&Figures) -> Option<f64>;

pub(super) fn draw(results: &Results, dir: &Path) -> Result<()> {
    let rate: Value = |figures| Some(figures.rate());
    let p99: Value = |figures| Some(figures.p99? / 1e3);
    for kind in results.kinds() {
        let Kind {
            rtt,
            value_bytes,
            verb,
        } = kind;
        if results.callers(kind).len() > 1 {
            for (name, title, value) in [
                ("throughput", "calls a second", rate),
                ("p99", "p99 latency, milliseconds", p99),
            ] {
                let round_trip = rtt.to_string().replace(' ', "");
                let file = format!("{verb}-{round_trip}-{value_bytes}-{name}.svg");
                let file = dir.join(file);
                let title =
                    format!("{verb}, round trips of {rtt}, {value_bytes}-byte values: {title}");
                chart(results, kind, &title, value, &file)
                    .map_err(|why| anyhow!("{}: {why}", file.display()))?;
            }
        }
    }
    Ok(())
}

fn chart(
    results: &Results,
    kind: Kind,
    title: &str,
    value: Value,
    file: &Path,
) -> Result<(), Box<dyn std::error::Error>> {
    let callers: Vec<_> = results.callers(kind).into_iter().collect();
    let lines: Vec<_> = results
        .peers
        .iter()
        .map(|peer| {
            let points = callers.iter().filter_map(|&callers| {
                let spread = results.spread(peer, &kind.with(callers), value)?;
                Some((callers as f64, spread.median()))
            });
            // A logarithmic axis has no zero.
            let points = points.filter(|(_, y)| *y > 0.0);
            (peer, points.collect::<Vec<_>>())
        })
        .filter(|(_, points)| !points.is_empty())
        .collect();
    let all = || {
        lines
            .iter()
            .flat_map(|(.., points)| points)
            .map(|(_, y)| *y)
    };
    let (low, high) = (all().fold(f64::MAX, f64::min), all().fold(0.0, f64::max));
    let Some((&fewest, &most)) = callers.first().zip(callers.last()) else {
        return Ok(());
    };

    let area = SVGBackend::new(file, SIZE).into_drawing_area();
    area.fill(&WHITE)?;
    let mut chart = ChartBuilder::on(&area)
        .caption(title, ("sans-serif", 20))
        .margin(12)
        .margin_right(LEGEND_WIDTH)
        .x_label_area_size(44)
        .y_label_area_size(76)
        .build_cartesian_2d(
            Log {
                marks: callers.iter().map(|&n| n as f64).collect(),
                ends: (fewest as f64, most as f64),
            },
            Log::from_to(low * 0.8, high * 1.25),
        )?;
    chart
        .configure_mesh()
        .x_desc("callers at once")
        .x_label_formatter(&|x| {
            Short(*x)
                .to_string()
                .trim_end_matches(".00")
                .trim_end_matches(".0")
                .to_owned()
        })
        .y_label_formatter(&|y| Short(*y).to_string())
        .light_line_style(WHITE)
        .draw()?;
    let mut y = LEGEND_TOP;
    for (peer, points) in lines {
        let colour = colour(peer);
        let width = if peer == OURS { 4 } else { 2 };
        let style = ShapeStyle::from(&colour).stroke_width(width);
        chart.draw_series(LineSeries::new(points.iter().copied(), style))?;
        let dot = |at| Circle::new(at, width + 1, colour.filled());
        chart.draw_series(points.iter().map(|&at| dot(at)))?;

        let x = (SIZE.0 - LEGEND_WIDTH) as i32 + 16;
        area.draw(&PathElement::new([(x, y), (x + 24, y)], style))?;
        let font = ("sans-serif", 13).into_font();
        area.draw(&Text::new(peer.as_str(), (x + 32, y - 6), font))?;
        y += LINE_HEIGHT;
    }
    area.present()?;
    Ok(())
}

/// A logarithmic axis with chosen marks.
struct Log {
    marks: Vec<f64>,
    ends: (f64, f64),
}

impl Log {
    /// Has marks at 1, 2, 5, 10 and so on.
    fn from_to(low: f64, high: f64) -> Log {
        let decades = low.log10().floor() as i32..=high.log10().ceil() as i32;
        let marks = decades.flat_map(|n| [1.0, 2.0, 5.0].map(|mark| mark * 10f64.powi(n)));
        Log {
            marks: marks.filter(|mark| (low..=high).contains(mark)).collect(),
            ends: (low, high),
        }
    }
}

impl Ranged for Log {
    type FormatOption = DefaultFormatting;
    type ValueType = f64;

    fn map(&self, value: &f64, limit: (i32, i32)) -> i32 {
        let (low, high) = self.ends;
        let part = (value / low).ln() / (high / low).ln();
        limit.0 + (f64::from(limit.1 - limit.0) * part) as i32
    }

    fn key_points<Hint: KeyPointHint>(&self, _: Hint) -> Vec<f64> {
        self.marks.clone()
    }

    fn range(&self) -> Range<f64> {
        self.ends.0..self.ends.1
    }
}

//! The charts: a figure against the callers, a line a peer.

use std::path::Path;

use anyhow::{Result, anyhow};
use plotters::{
    chart::{ChartBuilder, SeriesLabelPosition},
    coord::ranged1d::{KeyPointHint, Ranged},
    element::{Circle, PathElement},
    prelude::{IntoDrawingArea, IntoLogRange, SVGBackend},
    series::LineSeries,
    style::{Color, RGBColor, ShapeStyle, WHITE},
};

use super::{Results, spread::Short};
use crate::{
    measure::Figures,
    peer,
    plan::{Point, Verb},
};

const SIZE: (u32, u32) = (1080, 520);

/// At the right, for the names of the lines.
const NAMES_WIDTH: u32 = 260;

/// In the order of [`peer::ALL`]: ours in greens, for they are of one kind.
const COLOURS: [RGBColor; peer::ALL.len()] = [
    RGBColor(0, 104, 55),
    RGBColor(65, 171, 93),
    RGBColor(173, 221, 142),
    RGBColor(8, 81, 156),
    RGBColor(217, 72, 1),
    RGBColor(253, 174, 107),
    RGBColor(106, 81, 163),
    RGBColor(165, 15, 21),
    RGBColor(99, 99, 99),
];

type Value = fn(&Figures) -> Option<f64>;

pub(super) fn draw(results: &Results, folder: &Path) -> Result<()> {
    let rate: Value = |figures| Some(figures.rate());
    let p99: Value = |figures| Some(figures.p99? / 1e3);
    for kind in results.kinds() {
        if results.callers(kind).len() > 1 {
            let (value_bytes, verb) = kind;
            for (name, title, value) in [
                ("throughput", "calls a second", rate),
                ("p99", "p99 latency, milliseconds", p99),
            ] {
                let file = folder.join(format!("{verb}-{value_bytes}-{name}.svg"));
                let title = format!("{verb}, {value_bytes}-byte values: {title}");
                chart(results, kind, &title, value, &file)
                    .map_err(|why| anyhow!("{}: {why}", file.display()))?;
            }
        }
    }
    Ok(())
}

fn chart(
    results: &Results,
    kind: (usize, Verb),
    title: &str,
    value: Value,
    file: &Path,
) -> Result<(), Box<dyn std::error::Error>> {
    let (value_bytes, verb) = kind;
    let callers: Vec<_> = results.callers(kind).into_iter().collect();
    let lines: Vec<_> = peer::ALL
        .into_iter()
        .zip(COLOURS)
        .map(|(peer, colour)| {
            let points = callers.iter().filter_map(|&callers| {
                let point = Point {
                    value_bytes,
                    verb,
                    callers,
                };
                Some((
                    callers as f64,
                    results.spread(peer, &point, value)?.median(),
                ))
            });
            (peer, colour, points.collect::<Vec<_>>())
        })
        .filter(|(.., points)| !points.is_empty())
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
        .margin_right(NAMES_WIDTH)
        .x_label_area_size(44)
        .y_label_area_size(76)
        .build_cartesian_2d(
            Callers(
                callers.iter().map(|&n| n as f64).collect(),
                (fewest as f64, most as f64),
            ),
            (low * 0.8..high * 1.3).log_scale(),
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
        .y_labels(12)
        .y_label_formatter(&|y| Short(*y).to_string())
        .light_line_style(WHITE)
        .draw()?;
    for (peer, colour, points) in lines {
        let width = if peer == peer::OURS { 4 } else { 2 };
        let style = ShapeStyle::from(&colour).stroke_width(width);
        chart
            .draw_series(LineSeries::new(points.iter().copied(), style))?
            .label(peer)
            .legend(move |(x, y)| PathElement::new([(x, y), (x + 20, y)], style));
        chart.draw_series(
            points
                .iter()
                .map(|&at| Circle::new(at, width + 1, colour.filled())),
        )?;
    }
    let right_of_plot = chart.plotting_area().dim_in_pixel().0 as i32 + 8;
    chart
        .configure_series_labels()
        .position(SeriesLabelPosition::Coordinate(right_of_plot, 0))
        .label_font(("sans-serif", 13))
        .draw()?;
    area.present()?;
    Ok(())
}

/// A logarithmic axis with a mark at each number of callers that was measured.
struct Callers(Vec<f64>, (f64, f64));

impl Ranged for Callers {
    type FormatOption = plotters::coord::ranged1d::DefaultFormatting;
    type ValueType = f64;

    fn map(&self, value: &f64, limit: (i32, i32)) -> i32 {
        let Callers(_, (low, high)) = self;
        let part = (value / low).ln() / (high / low).ln();
        limit.0 + (f64::from(limit.1 - limit.0) * part) as i32
    }

    fn key_points<Hint: KeyPointHint>(&self, _: Hint) -> Vec<f64> {
        self.0.clone()
    }

    fn range(&self) -> std::ops::Range<f64> {
        let Callers(_, (low, high)) = *self;
        low..high
    }
}

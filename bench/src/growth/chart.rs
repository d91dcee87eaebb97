//! A series as a picture: panels one below the other over the same points, and a line for each
//! subject.
//!
//! Points are at equal distances. They are powers where the axis is to be logarithmic.

use std::fmt::Write;

use super::series::{Panel, Series, Unit};
use crate::chart::{STYLE, escape};

const WIDTH: f64 = 860.0;
const LEFT: f64 = 76.0;
const RIGHT: f64 = 24.0;
const FIRST: f64 = 230.0;
const OTHERS: f64 = 96.0;
const GAP: f64 = 40.0;

/// Four hues that can be told apart on white and on black; the marks tell them apart without any.
const LINES: &str = ".l{fill:none;stroke-width:2}.c{stroke-dasharray:5 4}.g{stroke:#d0d7de;stroke-width:1}.s{font-size:12px}\
    .l0{stroke:#1a7f37}.l1{stroke:#0969da}.l2{stroke:#bc4c00}.l3{stroke:#8250df}\
    .m0{fill:#1a7f37}.m1{fill:#0969da}.m2{fill:#bc4c00}.m3{fill:#8250df}\
    @media(prefers-color-scheme:dark){.g{stroke:#30363d}.l0{stroke:#3fb950}.l1{stroke:#58a6ff}.l2{stroke:#f0883e}\
    .l3{stroke:#bc8cff}.m0{fill:#3fb950}.m1{fill:#58a6ff}.m2{fill:#f0883e}.m3{fill:#bc8cff}}";

pub fn svg(series: &Series) -> String {
    let mut body = format!(
        "<text class=\"t\" x=\"12\" y=\"26\">{}</text>",
        escape(&series.title)
    );
    let mut y = legend(&mut body, series) + 34.0;
    for (at, panel) in series.panels.iter().enumerate() {
        let height = if at == 0 { FIRST } else { OTHERS };
        draw(&mut body, series, panel, y, height);
        y += height + GAP;
    }
    let (middle, below) = ((LEFT + WIDTH - RIGHT) / 2.0, y + 2.0);
    let _ = write!(
        body,
        "<text class=\"v\" text-anchor=\"middle\" x=\"{middle}\" y=\"{below}\">{}</text>",
        series.along
    );
    let height = y + 16.0;
    format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {WIDTH} {height}\" width=\"{WIDTH}\" \
         height=\"{height}\" role=\"img\" aria-label=\"{}\"><style>{STYLE}{LINES}</style>\
         <rect class=\"bg\" width=\"{WIDTH}\" height=\"{height}\" rx=\"6\"/>{body}</svg>\n",
        escape(&series.title)
    )
}

/// Returns where it ends.
fn legend(body: &mut String, series: &Series) -> f64 {
    let (mut x, mut y) = (16.0, 50.0);
    for (line, own) in series.lines.iter().enumerate() {
        let width = 50.0 + 7.3 * own.name.len() as f64;
        if x + width > WIDTH {
            (x, y) = (16.0, y + 20.0);
        }
        let dashed = if own.computed { " c" } else { "" };
        let _ = write!(
            body,
            "<path class=\"l l{line}{dashed}\" d=\"M{x} {0}h26\"/>{1}<text x=\"{2}\" y=\"{y}\">{3}</text>",
            y - 4.0,
            mark(line, x + 13.0, y - 4.0),
            x + 32.0,
            escape(&own.name)
        );
        x += width;
    }
    y
}

fn draw(body: &mut String, series: &Series, panel: &Panel, top: f64, height: f64) {
    let axis = Axis::of(panel);
    let place = |value: f64| top + height * (1.0 - axis.at(value));
    let _ = write!(
        body,
        "<text class=\"s\" x=\"12\" y=\"{}\">{}</text>",
        top - 8.0,
        escape(panel.label)
    );
    for tick in &axis.ticks {
        let y = place(*tick);
        let _ = write!(
            body,
            "<path class=\"g\" d=\"M{LEFT} {y:.1}H{}\"/><text class=\"v s\" text-anchor=\"end\" x=\"{}\" y=\"{:.1}\">{}</text>",
            WIDTH - RIGHT,
            LEFT - 8.0,
            y + 4.0,
            tick_label(panel.unit, *tick)
        );
    }
    for (at, point) in series.points.iter().enumerate() {
        let _ = write!(
            body,
            "<text class=\"v s\" text-anchor=\"middle\" x=\"{:.1}\" y=\"{}\">{point}</text>",
            along(series, at),
            top + height + 17.0
        );
    }
    for (line, values) in panel.values.iter().enumerate() {
        let known = values.iter().enumerate();
        let known: Vec<(f64, f64)> = known
            .filter_map(|(at, value)| Some((along(series, at), place((*value)?))))
            .collect();
        let points: Vec<_> = known
            .iter()
            .map(|(x, y)| format!("{x:.1},{y:.1}"))
            .collect();
        let dashed = if series.lines[line].computed {
            " c"
        } else {
            ""
        };
        let _ = write!(
            body,
            "<polyline class=\"l l{line}{dashed}\" points=\"{}\"/>",
            points.join(" ")
        );
        known.iter().for_each(|(x, y)| *body += &mark(line, *x, *y));
    }
}

/// Where point number `at` stands.
fn along(series: &Series, at: usize) -> f64 {
    let room = WIDTH - LEFT - RIGHT - 60.0;
    let steps = (series.points.len() - 1).max(1) as f64;
    LEFT + 30.0 + room * at as f64 / steps
}

fn mark(line: usize, x: f64, y: f64) -> String {
    let shape = match line {
        0 => "m-4 0a4 4 0 1 0 8 0a4 4 0 1 0 -8 0z",
        1 => "m-3.5 -3.5h7v7h-7z",
        2 => "m0 -5l4.6 8h-9.2z",
        _ => "m0 -5l5 5l-5 5l-5 -5z",
    };
    format!("<path class=\"m{line}\" d=\"M{x:.1} {y:.1}{shape}\"/>")
}

/// From bottom to top: shares from nothing to a core, everything else in steps of 1, 2 and 5 times
/// a power of ten.
struct Axis {
    ticks: Vec<f64>,
    logarithmic: bool,
}

impl Axis {
    fn of(panel: &Panel) -> Self {
        let values = panel.values.iter().flatten().flatten().copied();
        if panel.unit == Unit::Share {
            let most = values.fold(1.0, f64::max);
            let ticks = (0..=(most * 2.0 - 0.1).ceil() as u32).map(|half| f64::from(half) / 2.0);
            return Self {
                ticks: ticks.collect(),
                logarithmic: false,
            };
        }
        let (least, most) = values.fold((f64::MAX, 0.0), |(least, most): (f64, f64), value| {
            (least.min(value), most.max(value))
        });
        let steps = |power: i32| [1.0, 2.0, 5.0].map(|step| step * 10f64.powi(power));
        let all: Vec<f64> = (-6..12).flat_map(steps).collect();
        let from = all.iter().rposition(|tick| *tick <= least).unwrap_or(0);
        let to = all.iter().position(|tick| *tick >= most);
        let mut ticks = all[from..=to.unwrap_or(all.len() - 1).max(from + 1)].to_vec();
        // Over many powers, the powers themselves and both ends are enough.
        if ticks.len() > 8 {
            // Powers of ten alone, at the ends too: others would run into each other.
            let (from, to) = (least.log10().floor() as i32, most.log10().ceil() as i32);
            ticks = (from..=to).map(|power| 10f64.powi(power)).collect();
        }
        Self {
            ticks,
            logarithmic: true,
        }
    }

    /// Between 0 and 1.
    fn at(&self, value: f64) -> f64 {
        let scale = |value: f64| if self.logarithmic { value.ln() } else { value };
        let (least, most) = (self.ticks[0], self.ticks[self.ticks.len() - 1]);
        (scale(value) - scale(least)) / (scale(most) - scale(least))
    }
}

fn tick_label(unit: Unit, tick: f64) -> String {
    let (tick, suffix) = match tick {
        tick if unit == Unit::Share => (tick * 100.0, ""),
        tick if tick >= 1e6 => (tick / 1e6, " M"),
        tick if tick >= 1e3 => (tick / 1e3, " k"),
        tick => (tick, ""),
    };
    let unit = match unit {
        Unit::CallsPerSecond => "",
        Unit::MegabytesPerSecond => " MB/s",
        Unit::Nanoseconds => " ns",
        Unit::Microseconds => " µs",
        Unit::Bytes => " B",
        Unit::Share => " %",
    };
    // As short as the number is.
    format!("{}{suffix}{unit}", (tick * 1e6).round() / 1e6)
}

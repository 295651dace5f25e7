//! Pictures of a run: what is lost, when, and lines over an interval or a count.

use super::plot::PALETTE;
use crate::metrics::RunSegment;
use crate::units::{DAY, three};
use std::fmt::Write;

/// Training is pale, so that what is lost shows.
pub(super) const TRAINING: &str = "#9fd8c2";

/// The colour of a loss.
pub(super) fn colour(loss: &str) -> &'static str {
    match loss {
        "checkpoint" => PALETTE[0],
        "lost_work" => PALETTE[5],
        "detection" => PALETTE[1],
        "restart" => PALETTE[3],
        "restore" => PALETTE[4],
        "no_spare" => PALETTE[8],
        "straggler" => PALETTE[9],
        "pause" => PALETTE[6],
        "maintenance" => PALETTE[7],
        "shrunk" => PALETTE[2],
        _ => "#444444",
    }
}

/// One bar of the lost time, losses to scale.
pub(super) fn losses_svg(lost: &[(&str, f64)]) -> String {
    let mut out = String::from("<svg viewBox=\"0 0 900 46\" role=\"img\"><title>Shares of the lost time</title>");
    let mut x = 0.0;
    let all: f64 = lost.iter().map(|p| p.1).sum();
    for (name, seconds) in lost {
        let w = 900.0 * seconds / all;
        let _ = write!(out, "<rect x=\"{x:.2}\" y=\"6\" width=\"{w:.2}\" height=\"30\" fill=\"{}\"/>", colour(name));
        x += w;
    }
    out.push_str("</svg>");
    out
}

/// Lengths of a row of the time line, the first that needs at most [`MOST_ROWS`].
const ROWS: [(f64, &str); 9] = [
    (600.0, "10 min"),
    (3600.0, "hour"),
    (6.0 * 3600.0, "6 hours"),
    (DAY, "day"),
    (7.0 * DAY, "week"),
    (28.0 * DAY, "4 weeks"),
    (91.0 * DAY, "13 weeks"),
    (364.0 * DAY, "52 weeks"),
    (3640.0 * DAY, "520 weeks"),
];
const MOST_ROWS: f64 = 14.0;

/// Rows of time from top to bottom, training pale, losses on top.
pub(super) fn timeline_svg(segments: &[RunSegment], lost: &[(&str, f64)]) -> String {
    const LEFT: f64 = 90.0;
    const WIDTH: f64 = 800.0;
    const ROW: f64 = 24.0;
    let end = segments.iter().map(|s| s.end_s).fold(0.0, f64::max);
    let (length, name) = ROWS.into_iter().find(|r| end / r.0 <= MOST_ROWS).unwrap_or((end / MOST_ROWS, "row"));
    let rows = (end / length).ceil().max(1.0);
    let mut out =
        format!("<svg viewBox=\"0 0 900 {:.0}\" role=\"img\"><title>Time line of the run, one row a {name}</title>", rows * ROW + 24.0);
    let mut paths: Vec<(&str, String)> = vec![(TRAINING, String::new())];
    paths.extend(lost.iter().map(|p| (colour(p.0), String::new())));
    for segment in segments {
        let at = segment.loss.map_or(Some(0), |l| lost.iter().position(|p| p.0 == l).map(|i| i + 1));
        let Some(at) = at else { continue };
        let mut from = segment.start_s;
        while from < segment.end_s {
            let row = (from / length + 1e-9).floor();
            let to = segment.end_s.min((row + 1.0) * length).max(from + 1e-9 * length);
            let (x, w) =
                (LEFT + (from - row * length) / length * WIDTH, ((to - from) / length * WIDTH).max(if at == 0 { 0.0 } else { 0.8 }));
            let _ = write!(paths[at].1, "M{x:.2} {:.1}h{w:.2}v{:.0}h-{w:.2}z", row * ROW + 2.0, ROW - 5.0);
            from = to;
        }
    }
    for (fill, path) in paths {
        let _ = write!(out, "<path fill=\"{fill}\" d=\"{path}\"/>");
    }
    for row in 0..rows as u32 {
        let y = f64::from(row) * ROW + 16.0;
        let _ = write!(out, "<text x=\"4\" y=\"{y:.0}\" font-size=\"12\" fill=\"currentColor\">{name} {}</text>", row + 1);
    }
    out.push_str("</svg>");
    out
}

/// A line of a chart.
pub(super) struct Line {
    /// Colour.
    pub(super) colour: &'static str,
    /// Whether it is dashed.
    pub(super) dashed: bool,
    /// Points, from left to right.
    pub(super) points: Vec<(f64, f64)>,
}

/// Left, top, width and height of the lines in a chart.
const BOX: (f64, f64, f64, f64) = (64.0, 12.0, 820.0, 260.0);

/// Shares over something: what is across is logarithmic or linear, shown by `show`; a mark stands at `chosen`.
pub(super) fn shares_svg(title: &str, lines: &[Line], log: bool, chosen: f64, x_name: &str, show: &dyn Fn(f64) -> String) -> String {
    let (left, top, width, height) = BOX;
    let all = || lines.iter().flat_map(|l| l.points.iter().copied());
    let best = all().map(|p| p.1).fold(0.0, f64::max);
    // What lies far below the best would press the rest together.
    let worst = all().map(|p| p.1).fold(1.0, f64::min).max(best - if log { 0.4 } else { 1.0 });
    let mark = [0.005, 0.01, 0.02, 0.05].into_iter().find(|m| (best - worst) / m < 6.0).unwrap_or(0.1);
    let (low, high) = ((worst / mark).floor() * mark, (best / mark).ceil() * mark);
    let first = all().map(|p| p.0).fold(chosen, f64::min);
    let last = all().map(|p| p.0).fold(chosen, f64::max);
    let across =
        |s: f64| if log { libm::log(s / first) / libm::log(last / first).max(1e-9) } else { (s - first) / (last - first).max(1e-9) };
    let x = |s: f64| left + width * across(s);
    let y = |g: f64| top + height * (1.0 - ((g - low) / (high - low).max(1e-9)).clamp(0.0, 1.0));
    let mut out = format!("<svg viewBox=\"0 0 900 320\" role=\"img\"><title>{title}</title>");
    let ticks = ((high - low) / mark).round().max(1.0);
    for i in 0..=ticks as u32 {
        let g = low + (high - low) * f64::from(i) / ticks;
        let at = y(g);
        let _ = write!(out, "<path d=\"M{left} {at:.1}h{width}\" stroke=\"currentColor\" stroke-opacity=\".2\"/>");
        text(&mut out, left - 6.0, at + 4.0, "end", &format!("{} %", three(100.0 * g)));
    }
    for i in 0..=4 {
        let part = f64::from(i) / 4.0;
        let s = if log { first * libm::pow(last / first, part) } else { first + (last - first) * part };
        text(&mut out, x(s), 292.0, if i == 4 { "end" } else { "middle" }, &show(s));
    }
    for line in lines {
        let mut path = String::new();
        for (i, p) in line.points.iter().enumerate() {
            let _ = write!(path, "{}{:.1} {:.1}", if i == 0 { 'M' } else { 'L' }, x(p.0), y(p.1));
        }
        let dash = if line.dashed { " stroke-dasharray=\"6 4\"" } else { "" };
        let _ = write!(out, "<path d=\"{path}\" fill=\"none\" stroke=\"{}\" stroke-width=\"2\"{dash}/>", line.colour);
    }
    let _ = write!(out, "<path d=\"M{:.1} {top}v{height}\" stroke=\"{}\" stroke-width=\"1.5\"/>", x(chosen), PALETTE[5]);
    text(&mut out, left + width / 2.0, 312.0, "middle", x_name);
    out.push_str("</svg>");
    out
}

fn text(out: &mut String, x: f64, y: f64, anchor: &str, text: &str) {
    let _ = write!(out, "<text x=\"{x:.1}\" y=\"{y:.1}\" font-size=\"12\" text-anchor=\"{anchor}\" fill=\"currentColor\">{text}</text>");
}

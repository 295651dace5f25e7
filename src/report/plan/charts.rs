//! Pictures of plans: money over time, what changes the money, where it goes, what happens when.

use super::super::document::escaped;
use super::super::plot::PALETTE;
use super::{serves, time, usd};
use crate::plan::{Choice, OptionRow, PlanOutcome, Stage, Swing};
use crate::units::{DAY, si, three};
use std::fmt::Write;

/// A candidate in a picture.
pub(super) type Dot<'a> = (&'a OptionRow, &'a Choice);

pub(super) fn is_best(o: &PlanOutcome, row: &OptionRow) -> bool {
    o.best.as_ref().is_some_and(|b| row.choice.as_ref() == Some(b))
}

fn ink(o: &PlanOutcome, row: &OptionRow) -> &'static str {
    if is_best(o, row) {
        PALETTE[2]
    } else if row.feasible {
        PALETTE[0]
    } else {
        PALETTE[7]
    }
}

/// Round steps over a span from 0.
fn steps(most: f64) -> Vec<f64> {
    let rough = most / 5.0;
    let base = libm::pow(10.0, libm::floor(libm::log10(rough)));
    let step = [1.0, 2.0, 5.0, 10.0].into_iter().map(|f| f * base).find(|s| *s >= rough).unwrap_or(rough);
    (0..).map(|i| f64::from(i) * step).take_while(|v| *v <= most * 1.0001).collect()
}

pub(super) fn scatter(o: &PlanOutcome, rows: &[Dot<'_>]) -> String {
    let plot = Scatter::of(o, rows);
    let mut out =
        "<svg viewBox=\"0 0 900 440\" role=\"img\" aria-label=\"money over time\" font-size=\"12\" fill=\"currentColor\">".to_owned();
    plot.axes(&mut out);
    plot.limits(&mut out);
    plot.front(&mut out);
    for (row, c) in rows {
        let words = format!("{}, {}: {}, {}; {}", row.cluster, row.payment, time(c.time_s), usd(c.usd), c.layout);
        let radius = if is_best(o, row) { 7.0 } else { 5.0 };
        let (x, y) = plot.at(c);
        let _ = write!(
            out,
            "<circle class=\"dot\" cx=\"{x:.1}\" cy=\"{y:.1}\" r=\"{radius}\" fill=\"{}\" stroke=\"var(--page)\"><title>{}</title></circle>",
            ink(o, row),
            escaped(&words)
        );
    }
    plot.name_of_best(&mut out);
    out.push_str("</svg>");
    out
}

/// Money over time: what is drawn, and its scales.
struct Scatter<'a> {
    plan: &'a PlanOutcome,
    rows: &'a [Dot<'a>],
    /// Seconds of one unit of the time axis.
    unit: f64,
    /// Ends of the axes, units and USD.
    most: (f64, f64),
}

impl<'a> Scatter<'a> {
    const LEFT: f64 = 80.0;
    const TOP: f64 = 12.0;
    const WIDTH: f64 = 790.0;
    const HEIGHT: f64 = 360.0;
    const LIMIT: &'static str = "stroke=\"#d55e00\" stroke-dasharray=\"6 4\" stroke-width=\"1.5\"";

    fn of(plan: &'a PlanOutcome, rows: &'a [Dot<'a>]) -> Self {
        let unit = if rows.iter().any(|(_, c)| c.time_s >= 2.0 * DAY) { DAY } else { 1.0 };
        let most = |of: &dyn Fn(&Choice) -> f64| rows.iter().map(|(_, c)| of(c)).fold(0.0, f64::max) * 1.08;
        let ends = (
            most(&|c| c.time_s / unit).max(plan.within_s.map_or(0.0, |w| 1.05 * w / unit)),
            most(&|c| c.usd).max(plan.budget_usd.map_or(0.0, |b| 1.05 * b)),
        );
        Self { plan, rows, unit, most: ends }
    }

    fn x(&self, units: f64) -> f64 {
        Self::LEFT + Self::WIDTH * units / self.most.0
    }

    fn y(&self, usd: f64) -> f64 {
        Self::TOP + Self::HEIGHT * (1.0 - usd / self.most.1)
    }

    fn at(&self, c: &Choice) -> (f64, f64) {
        (self.x(c.time_s / self.unit), self.y(c.usd))
    }

    fn axes(&self, out: &mut String) {
        let (left, right, floor) = (Self::LEFT, Self::LEFT + Self::WIDTH, self.y(0.0));
        for v in steps(self.most.0) {
            let _ = write!(
                out,
                "<path d=\"M{0:.1} 12V{1:.1}\" stroke=\"var(--line)\"/><text x=\"{0:.1}\" y=\"{2:.1}\" text-anchor=\"middle\">{3}</text>",
                self.x(v),
                floor,
                floor + 18.0,
                three(v)
            );
        }
        for v in steps(self.most.1) {
            let _ = write!(
                out,
                "<path d=\"M{left} {0:.1}H{right:.1}\" stroke=\"var(--line)\"/><text x=\"{1:.1}\" y=\"{2:.1}\" text-anchor=\"end\">{3}</text>",
                self.y(v),
                left - 8.0,
                self.y(v) + 4.0,
                si(v, "")
            );
        }
        let across = match (serves(self.plan), self.unit == DAY) {
            (true, _) => "mean time to the last token, seconds",
            (false, true) => "days",
            (false, false) => "seconds",
        };
        let _ =
            write!(out, "<text x=\"{:.0}\" y=\"{:.0}\" text-anchor=\"middle\">{}</text>", left + Self::WIDTH / 2.0, floor + 42.0, across);
        let _ = write!(
            out,
            "<text x=\"16\" y=\"{0:.0}\" text-anchor=\"middle\" transform=\"rotate(-90 16 {0:.0})\">USD</text>",
            Self::TOP + Self::HEIGHT / 2.0
        );
    }

    /// The time and the money that the plan allows.
    fn limits(&self, out: &mut String) {
        let (left, limit) = (Self::LEFT, Self::LIMIT);
        if let Some(within) = self.plan.within_s {
            let at = self.x(within / self.unit);
            let _ = write!(
                out,
                "<path d=\"M{at:.1} 12V{:.1}\" {limit}/><text x=\"{:.1}\" y=\"24\" text-anchor=\"end\" fill=\"#d55e00\">time allowed</text>",
                self.y(0.0),
                at - 6.0
            );
        }
        if let Some(budget) = self.plan.budget_usd {
            let at = self.y(budget);
            let _ = write!(
                out,
                "<path d=\"M{left} {at:.1}H{:.1}\" {limit}/><text x=\"{:.1}\" y=\"{:.1}\" fill=\"#d55e00\">budget</text>",
                left + Self::WIDTH,
                left + 6.0,
                at - 5.0
            );
        }
    }

    /// The line of what nothing else is cheaper and faster than.
    fn front(&self, out: &mut String) {
        let mut front: Vec<&Choice> = self.rows.iter().map(|(_, c)| *c).collect();
        front.sort_by(|a, b| a.time_s.total_cmp(&b.time_s).then(a.usd.total_cmp(&b.usd)));
        let mut least = f64::INFINITY;
        front.retain(|c| {
            let better = c.usd < least;
            least = least.min(c.usd);
            better
        });
        let point = |c: &&Choice| {
            let (x, y) = self.at(c);
            format!("{x:.1} {y:.1}")
        };
        let line = front.iter().map(point).collect::<Vec<_>>().join("L");
        let _ = write!(out, "<path d=\"M{line}\" fill=\"none\" stroke=\"{}\" stroke-width=\"1.5\" stroke-opacity=\".6\"/>", PALETTE[2]);
    }

    fn name_of_best(&self, out: &mut String) {
        let Some(best) = &self.plan.best else { return };
        let at = (self.x(best.time_s / self.unit), self.y(best.usd));
        let name = format!("{}, {}", best.cluster, best.payment);
        let dots: Vec<(f64, f64)> = self.rows.iter().map(|(_, c)| self.at(c)).collect();
        let (left, top) = free_place(at, 7.2 * name.chars().count() as f64, (Self::LEFT, Self::LEFT + Self::WIDTH), &dots);
        let _ = write!(
            out,
            "<text x=\"{left:.1}\" y=\"{top:.1}\" font-weight=\"600\" stroke=\"var(--page)\" stroke-width=\"4\" paint-order=\"stroke\">{}</text>",
            escaped(&name)
        );
    }
}

/// Where a name of a width next to a dot hides the fewest others: left end and base line.
fn free_place((cx, cy): (f64, f64), width: f64, (from, to): (f64, f64), dots: &[(f64, f64)]) -> (f64, f64) {
    let middle = (cx - width / 2.0).clamp(from + 4.0, (to - width).max(from + 4.0));
    let places = [(cx + 11.0, cy + 4.0), (cx - 11.0 - width, cy + 4.0), (middle, cy - 13.0), (middle, cy + 22.0)];
    let hides = |&(left, base): &(f64, f64)| {
        let outside = usize::from(left < from || left + width > to || !(20.0..=372.0).contains(&base));
        let covers = |&&(x, y): &&(f64, f64)| x > left - 6.0 && x < left + width + 6.0 && y > base - 15.0 && y < base + 8.0;
        100 * outside + dots.iter().filter(covers).count()
    };
    places.into_iter().min_by_key(hides).unwrap_or(places[0])
}

fn open(height: f64, label: &str) -> String {
    format!("<svg viewBox=\"0 0 900 {height:.0}\" role=\"img\" aria-label=\"{label}\" font-size=\"12.5\" fill=\"currentColor\">")
}

fn cut(name: &str, most: usize) -> String {
    if name.chars().count() > most { name.chars().take(most - 1).chain(['…']).collect() } else { name.to_owned() }
}

/// Bars of money (of time where none is known), the least first.
pub(super) fn bars(o: &PlanOutcome, rows: &[Dot<'_>], money: bool) -> String {
    let value = |c: &Choice| if money { c.usd } else { c.time_s };
    let mut sorted = rows.to_vec();
    sorted.sort_by(|a, b| value(a.1).total_cmp(&value(b.1)));
    sorted.truncate(30);
    let most = sorted.iter().map(|(_, c)| value(c)).fold(0.0, f64::max);
    let mut out = open(26.0 * sorted.len() as f64 + 6.0, "candidates");
    for (i, (row, c)) in sorted.iter().enumerate() {
        let y = 26.0 * i as f64 + 4.0;
        let width = 350.0 * value(c) / most;
        let name = format!("{}, {}", row.cluster, row.payment);
        let shown = if money { format!("{}, {}", usd(c.usd), time(c.time_s)) } else { time(c.time_s) };
        let _ = write!(
            out,
            "<text x=\"334\" y=\"{:.1}\" text-anchor=\"end\">{}</text><rect x=\"342\" y=\"{y:.1}\" width=\"{width:.1}\" height=\"18\" rx=\"2\" fill=\"{}\"><title>{}</title></rect><text x=\"{:.1}\" y=\"{:.1}\">{shown}</text>",
            y + 13.5,
            escaped(&cut(&name, 52)),
            ink(o, row),
            escaped(&format!("{name}: {}", c.layout)),
            350.0 + width,
            y + 13.5
        );
    }
    out + "</svg>"
}

/// What a change of one thing does to the money: bars to both sides of what the best costs, the widest on top.
pub(super) fn tornado(swings: &[Swing], middle: f64) -> String {
    const CENTRE: f64 = 580.0;
    const HALF: f64 = 200.0;
    let most = swings.iter().flat_map(|s| [s.low_usd, s.high_usd]).map(|v| (v - middle).abs()).fold(1e-12, f64::max);
    let height = 42.0 * swings.len() as f64 + 26.0;
    let mut out = open(height, "sensitivity of the cost");
    let x = |v: f64| CENTRE + HALF * (v - middle) / most;
    for (i, s) in swings.iter().enumerate() {
        let y = 42.0 * i as f64 + 22.0;
        let _ = write!(out, "<text x=\"4\" y=\"{:.1}\">{}</text>", y + 14.0, escaped(&cut(&s.what, 44)));
        for (value, words, ink) in [(s.low_usd, &s.low, PALETTE[0]), (s.high_usd, &s.high, PALETTE[5])] {
            let (from, to) = (x(middle).min(x(value)), x(middle).max(x(value)));
            let title = escaped(&format!("{}: {words}: {}", s.what, usd(value)));
            let _ = write!(
                out,
                "<rect x=\"{from:.1}\" y=\"{y:.1}\" width=\"{:.1}\" height=\"20\" fill=\"{ink}\"><title>{title}</title></rect>",
                (to - from).max(0.5)
            );
        }
        for (value, words, other) in [(s.low_usd, &s.low, s.high_usd), (s.high_usd, &s.high, s.low_usd)] {
            let left = if value == other { std::ptr::eq(words, &s.low) } else { value < other };
            let (at, anchor) = if left { (x(value.min(middle)) - 5.0, "end") } else { (x(value.max(middle)) + 5.0, "start") };
            let _ = write!(
                out,
                "<text x=\"{at:.1}\" y=\"{:.1}\" text-anchor=\"{anchor}\" font-size=\"11\">{}</text>",
                y + 14.0,
                escaped(&format!("{}{:.0} %", if value < middle { "−" } else { "+" }, 100.0 * (value / middle - 1.0).abs()))
            );
        }
        let _ = write!(
            out,
            "<text x=\"4\" y=\"{:.1}\" font-size=\"11\" fill=\"var(--soft)\">{}</text>",
            y + 29.0,
            escaped(&cut(&format!("{} / {}", s.low, s.high), 56))
        );
    }
    let _ = write!(
        out,
        "<path d=\"M{CENTRE} 16V{height:.0}\" stroke=\"currentColor\"/><text x=\"{CENTRE}\" y=\"12\" text-anchor=\"middle\">{}</text>",
        usd(middle)
    );
    out + "</svg>"
}

/// Where the money goes: one bar in parts, each with its name below.
pub(super) fn parts(list: &[(String, f64)]) -> String {
    let total: f64 = list.iter().map(|p| p.1).sum();
    let mut out = open(64.0 + 20.0 * list.len().div_ceil(2) as f64, "where the money goes");
    let mut x = 0.0;
    for (i, (name, value)) in list.iter().enumerate() {
        let width = 900.0 * value / total;
        let ink = PALETTE[i % PALETTE.len()];
        let title = escaped(&format!("{name}: {}", usd(*value)));
        let _ = write!(out, "<rect x=\"{x:.1}\" y=\"4\" width=\"{width:.1}\" height=\"34\" fill=\"{ink}\"><title>{title}</title></rect>");
        let (column, row) = ((i % 2) as f64, (i / 2) as f64);
        let share = 100.0 * value / total;
        let words = format!("{name}: {} ({} %)", usd(*value), if share < 0.5 { "< 1".into() } else { format!("{share:.0}") });
        let _ = write!(
            out,
            "<rect x=\"{:.1}\" y=\"{:.1}\" width=\"11\" height=\"11\" fill=\"{ink}\"/><text x=\"{:.1}\" y=\"{:.1}\">{}</text>",
            450.0 * column,
            50.0 + 20.0 * row,
            450.0 * column + 17.0,
            60.0 + 20.0 * row,
            escaped(&words)
        );
        x += width;
    }
    out + "</svg>"
}

/// Stages one below the other over time.
pub(super) fn gantt(stages: &[Stage]) -> String {
    let end = stages.iter().map(|s| s.end_s).fold(0.0, f64::max);
    let (unit, name) = if end > 100.0 * DAY {
        (7.0 * DAY, "weeks")
    } else if end > 2.0 * DAY {
        (DAY, "days")
    } else {
        (3600.0, "hours")
    };
    let height = 30.0 * stages.len() as f64;
    let mut out = open(height + 44.0, "timeline");
    let x = |s: f64| 220.0 + 650.0 * s / end;
    for v in steps(end / unit) {
        let at = x(v * unit);
        let _ = write!(
            out,
            "<path d=\"M{at:.1} 0V{height:.0}\" stroke=\"var(--line)\"/><text x=\"{at:.1}\" y=\"{:.0}\" text-anchor=\"middle\">{}</text>",
            height + 16.0,
            three(v)
        );
    }
    for (i, s) in stages.iter().enumerate() {
        let y = 30.0 * i as f64;
        let title = escaped(&format!("{}: {}", s.name, time(s.end_s - s.start_s)));
        let _ = write!(
            out,
            "<text x=\"210\" y=\"{:.0}\" text-anchor=\"end\">{}</text><rect x=\"{:.1}\" y=\"{:.0}\" width=\"{:.1}\" height=\"20\" rx=\"3\" fill=\"{}\"><title>{title}</title></rect>",
            y + 18.0,
            escaped(&cut(&s.name, 34)),
            x(s.start_s),
            y + 4.0,
            (x(s.end_s) - x(s.start_s)).max(1.0),
            PALETTE[if i + 1 == stages.len() { 2 } else { 0 }]
        );
    }
    let _ = write!(out, "<text x=\"545\" y=\"{:.0}\" text-anchor=\"middle\">{name}</text>", height + 36.0);
    out + "</svg>"
}

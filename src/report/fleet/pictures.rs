//! Pictures of a fleet: curves over time, jobs on nodes, links by how full they are.

use crate::metrics::FleetDetail;
use crate::report::document::escaped;
use crate::report::plot::{PALETTE, lines};
use crate::units::{DAY, HOUR, three};
use maud::{Markup, PreEscaped, html};
use std::fmt::Write;

/// A unit of time in which a span reads well.
pub(super) const fn unit(span: f64) -> (f64, &'static str) {
    match span {
        s if s > 4.0 * DAY => (DAY, "days"),
        s if s > 2.0 * HOUR => (HOUR, "hours"),
        s if s > 300.0 => (60.0, "minutes"),
        _ => (1.0, "seconds"),
    }
}

/// Curves with their key.
pub(in crate::report) fn picture(curves: Vec<(String, Vec<(f64, f64)>)>, x: &str, y: &str) -> Markup {
    html! {
        figure {
            (PreEscaped(lines(&curves, x, y, false)))
            div.key { @for (i, (name, _)) in curves.iter().enumerate() { span { i style={"background:" (PALETTE[i % PALETTE.len()])} {} (name) } } }
        }
    }
}

/// Classes with a colour of their own; the rest share the last one.
pub(super) fn shown_classes(detail: &FleetDetail) -> Vec<&str> {
    let mut out: Vec<&str> = detail.classes.iter().take(8).map(String::as_str).collect();
    if detail.classes.len() > 8 {
        out[7] = "all others";
    }
    out
}

/// Rows of links, cells of intervals; what is next to each other and equally full is one cell.
pub(super) fn heat(detail: &FleetDetail) -> String {
    const LEFT: f64 = 190.0;
    const WIDTH: f64 = 700.0;
    const ROW: f64 = 14.0;
    const SHADES: f64 = 10.0;
    let bins = detail.heat.iter().map(|l| l.utilization.len()).max().unwrap_or(1);
    let height = ROW * detail.heat.len() as f64;
    let mut paths = vec![String::new(); SHADES as usize + 1];
    let mut out = format!("<svg viewBox=\"0 0 900 {:.0}\" role=\"img\"><title>Utilisation of links over time</title>", height + 26.0);
    for (n, link) in detail.heat.iter().enumerate() {
        let y = n as f64 * ROW;
        let name: String = link.name.chars().take(34).collect();
        let _ = write!(out, "<text x=\"2\" y=\"{:.1}\" font-size=\"10\" fill=\"currentColor\">{}</text>", y + ROW - 4.0, escaped(&name));
        let shade = |v: f64| (v.clamp(0.0, 1.0) * SHADES).ceil() as usize;
        let mut from = 0;
        for i in 1..=link.utilization.len() {
            let now = shade(link.utilization[from]);
            if i == link.utilization.len() || shade(link.utilization[i]) != now {
                let (x, w) = (LEFT + WIDTH * from as f64 / bins as f64, WIDTH * (i - from) as f64 / bins as f64);
                let _ = write!(paths[now], "M{x:.1} {:.1}h{w:.1}v{:.1}h-{w:.1}z", y + 1.0, ROW - 2.0);
                from = i;
            }
        }
    }
    for (i, path) in paths.iter().enumerate().skip(1).filter(|p| !p.1.is_empty()) {
        let _ = write!(out, "<path fill=\"{}\" fill-opacity=\"{:.2}\" d=\"{path}\"/>", PALETTE[0], i as f64 / SHADES);
    }
    axis(&mut out, (LEFT, WIDTH, height), bins as f64 * detail.heat_width);
    out.push_str("</svg>");
    out
}

/// Rows of nodes, bars of jobs.
pub(super) fn gantt(detail: &FleetDetail, end: f64) -> String {
    const LEFT: f64 = 80.0;
    const WIDTH: f64 = 810.0;
    let end = detail.stays.iter().map(|s| s.end).fold(end, f64::max).max(1e-9);
    let row = (640.0 / detail.nodes.len() as f64).clamp(12.0, 40.0);
    let height = row * detail.nodes.len() as f64;
    let mut paths = vec![String::new(); 8];
    for stay in &detail.stays {
        let size = f64::from(detail.nodes[stay.node as usize].0.max(1));
        let class = usize::from(detail.class_of.get(stay.job as usize).copied().unwrap_or(0)).min(7);
        let (x, w) = (LEFT + WIDTH * stay.start / end, (WIDTH * (stay.end - stay.start) / end).max(0.3));
        // Runs of neighbouring accelerators are one bar.
        let mut mask = stay.mask;
        while mask != 0 {
            let first = mask.trailing_zeros();
            let length = (mask >> first).trailing_ones();
            mask &= if first + length >= 64 { 0 } else { u64::MAX << (first + length) };
            let slot = (row - 2.0) / size;
            let y = f64::from(stay.node) * row + 1.0 + slot * f64::from(first);
            let _ = write!(paths[class], "M{x:.1} {y:.1}h{w:.1}v{:.1}h-{w:.1}z", slot * f64::from(length));
        }
    }
    let mut out = format!("<svg viewBox=\"0 0 900 {:.0}\" role=\"img\"><title>Jobs on nodes over time</title>", height + 26.0);
    for (n, (_, pool)) in detail.nodes.iter().enumerate() {
        let y = n as f64 * row;
        let _ = write!(out, "<path d=\"M{LEFT} {y:.1}h{WIDTH}\" stroke=\"currentColor\" stroke-opacity=\".12\"/>");
        if row >= 12.0 && (n == 0 || detail.nodes[n - 1].1 != *pool || n % 4 == 0) {
            let room = 13 - n.to_string().len() - 1;
            let long = pool.chars().count() > room;
            let short: String = pool.chars().take(if long { room - 1 } else { room }).collect();
            let name = format!("{short}{} {n}", if long { "…" } else { "" });
            let _ = write!(
                out,
                "<text x=\"2\" y=\"{:.1}\" font-size=\"10\" fill=\"currentColor\">{}</text>",
                y + row * 0.5 + 4.0,
                escaped(&name)
            );
        }
    }
    for (i, path) in paths.iter().enumerate().filter(|p| !p.1.is_empty()) {
        let _ = write!(out, "<path fill=\"{}\" d=\"{path}\"/>", PALETTE[i]);
    }
    axis(&mut out, (LEFT, WIDTH, height), end);
    out.push_str("</svg>");
    out
}

/// Labels of time under a picture that begins at `left` and is `width` wide.
fn axis(out: &mut String, (left, width, height): (f64, f64, f64), span: f64) {
    let (unit, name) = unit(span);
    for (i, anchor) in ["start", "middle", "middle", "middle", "end"].into_iter().enumerate() {
        let share = i as f64 / 4.0;
        let at = three(span * share / unit);
        let label = if i == 4 { format!("{at} {name}") } else { at };
        let (x, y) = (left + width * share, height + 18.0);
        let _ =
            write!(out, "<text x=\"{x:.1}\" y=\"{y:.0}\" font-size=\"11\" text-anchor=\"{anchor}\" fill=\"currentColor\">{label}</text>");
    }
}

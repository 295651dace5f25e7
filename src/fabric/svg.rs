//! A picture of a topology: one node in detail, and the levels of switches above with their counts.

use super::graph::{DomainKind, Fabric, Scale, Template};
use crate::units::BytesPerSecond;
use std::fmt::Write;

const WIDTH: f64 = 960.0;
const STYLE: &str = "text{font:13px system-ui,sans-serif;fill:#1b1f24}.t{font-size:20px;font-weight:600}.s{fill:#57606a;font-size:12px}\
.a{fill:#cfe3ff;stroke:#0969da}.n{fill:#fff1c9;stroke:#9a6700}.c{fill:#e7e3f4;stroke:#6639ba}.w{fill:#d6f2dd;stroke:#1a7f37}.b{fill:none;stroke:#8c959f}\
line,path{stroke:#8c959f;fill:none;stroke-width:1.4}.u{stroke:#0969da}.p{stroke:#6639ba}.x{stroke:#1a7f37}\
@media(prefers-color-scheme:dark){svg{background:#0d1117}text{fill:#e6edf3}.s{fill:#9aa4af}.a{fill:#12315c}.n{fill:#4d3800}.c{fill:#332057}.w{fill:#12371d}}";

struct Picture {
    out: String,
}

impl Picture {
    fn text(&mut self, x: f64, y: f64, class: &str, anchor: &str, text: &str) {
        let text = text.replace('&', "&amp;").replace('<', "&lt;");
        let _ = write!(self.out, "<text x=\"{x:.0}\" y=\"{y:.0}\" class=\"{class}\" text-anchor=\"{anchor}\">{text}</text>");
    }
    fn boxed(&mut self, x: f64, y: f64, w: f64, h: f64, class: &str, label: &str) {
        let _ = write!(self.out, "<rect x=\"{x:.0}\" y=\"{y:.0}\" width=\"{w:.0}\" height=\"{h:.0}\" rx=\"5\" class=\"{class}\"/>");
        self.text(x + w / 2.0, y + h / 2.0 + 4.5, "", "middle", label);
    }
    fn line(&mut self, x1: f64, y1: f64, x2: f64, y2: f64, class: &str) {
        let _ = write!(self.out, "<line x1=\"{x1:.0}\" y1=\"{y1:.0}\" x2=\"{x2:.0}\" y2=\"{y2:.0}\" class=\"{class}\"/>");
    }
}

fn rate(bytes_per_s: f64) -> String {
    BytesPerSecond::new(bytes_per_s).to_string()
}

impl Fabric {
    /// The picture as a self-contained SVG.
    #[must_use]
    pub fn svg(&self) -> String {
        let mut p = Picture { out: String::new() };
        p.text(24.0, 36.0, "t", "start", &self.title);
        let summary =
            format!("{} nodes, {} accelerators, {} scale-up domains", self.node_count(), self.accelerator_count(), self.domains.len());
        p.text(24.0, 58.0, "s", "start", &summary);
        let mut y = 84.0;
        y = self.draw_levels(&mut p, y);
        for template in &self.templates {
            y = self.draw_node(&mut p, template, y + 26.0);
        }
        format!(
            "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {WIDTH:.0} {h:.0}\" width=\"{WIDTH:.0}\" height=\"{h:.0}\" role=\"img\"><title>{title}</title><style>{STYLE}</style>{body}</svg>",
            h = y + 24.0,
            title = self.title.replace('&', "&amp;").replace('<', "&lt;"),
            body = p.out
        )
    }

    /// The levels of switches, highest first; at most eight boxes a level stand for all.
    fn draw_levels(&self, p: &mut Picture, mut y: f64) -> f64 {
        let name = self.switch.as_ref().map_or("switch", |s| s.name.as_str());
        let nodes = self.node_count() as u64;
        let levels: Vec<(String, u64, String)> = match &self.scale {
            Scale::None => return y,
            Scale::Explicit(e) => vec![("switches".into(), e.neighbours.len() as u64, "cables as listed".into())],
            Scale::Trees(trees) => {
                let (t, planes) = (&trees[0], trees.len() as u64);
                let pods = u64::from(t.pods());
                let many = |what: &str| if planes > 1 { format!("{what} ({planes} planes)") } else { what.to_owned() };
                let mut levels = Vec::new();
                if t.cores > 0 {
                    let up = format!(
                        "{} cables of {} from each pod",
                        if t.leaf_links <= 1 { t.spine_cables } else { t.spine_cables * t.spines },
                        rate(t.cable_rate)
                    );
                    levels.push((many("core"), planes * u64::from(t.cores), up));
                }
                if t.spines > 0 {
                    let up = format!("{} cables of {} from each leaf", t.leaf_cables, rate(t.cable_rate));
                    let label = if pods > 1 { format!("spine ({pods} pods of {})", t.spines) } else { many("spine") };
                    levels.push((label, planes * pods * u64::from(t.spines), up));
                }
                let nics = self.templates.iter().find_map(|t| t.nic.as_ref().map(|n| format!("NIC cables of {}", rate(n.bandwidth.get()))));
                levels.push((many("leaf"), planes * u64::from(t.leaves), nics.unwrap_or_default()));
                levels
            }
        };
        let mut above: Option<(f64, Vec<f64>)> = None;
        let mut level_rows = levels;
        level_rows.push(("node".into(), nodes, String::new()));
        for (label, count, below) in level_rows {
            let xs = self.draw_row(p, y, &label, count, if label == "node" { "" } else { name });
            if let Some((from, parents)) = &above {
                for &a in parents {
                    for &b in &xs {
                        p.line(a, *from, b, y, "");
                    }
                }
            }
            above = Some((y + 34.0, xs));
            if !below.is_empty() {
                p.text(24.0, y + 62.0, "s", "start", &below);
            }
            y += 92.0;
        }
        y - 50.0
    }

    /// One row of boxes; returns their centres.
    fn draw_row(&self, p: &mut Picture, y: f64, label: &str, count: u64, part: &str) -> Vec<f64> {
        let shown = count.min(8);
        p.text(24.0, y + 14.0, "", "start", &format!("{count} × {label}"));
        if !part.is_empty() {
            p.text(24.0, y + 31.0, "s", "start", part);
        }
        let class = if label == "node" { "b" } else { "w" };
        let each = 640.0 / shown as f64;
        let mut xs = Vec::new();
        for i in 0..shown {
            let x = 250.0 + each * i as f64;
            let w = (each - 14.0).min(110.0);
            let elided = count > shown && i == shown - 1;
            let text = if elided { format!("+{}", count - shown + 1) } else { format!("{i}") };
            p.boxed(x, y, w, 34.0, class, &text);
            xs.push(x + w / 2.0);
        }
        xs
    }

    fn draw_node(&self, p: &mut Picture, t: &Template, y: f64) -> f64 {
        p.text(24.0, y + 4.0, "t", "start", &format!("Inside a node: {}", t.name));
        let top = y + 24.0;
        let count = t.accelerators.min(16);
        let each = (WIDTH - 80.0) / f64::from(count);
        let width = (each - 10.0).min(120.0);
        let centre = |i: u32| 40.0 + each * f64::from(i) + width / 2.0;
        let scale = t.accelerator.scale_up_bandwidth.map_or(0.0, |b| b.get());
        let bar = match t.kind {
            DomainKind::Switched => {
                Some(format!("scale-up switches, {} each way per accelerator, domain of {}", rate(scale), t.domain_size))
            }
            DomainKind::CubeMesh => Some("NVLink cube mesh".to_owned()),
            DomainKind::FullMesh => Some(format!("full mesh, {} each way per accelerator", rate(scale))),
            DomainKind::Torus => Some(format!("torus {:?}, {} each way per accelerator", t.torus, rate(scale))),
            DomainKind::Pcie => None,
        };
        if let Some(text) = bar {
            p.boxed(40.0, top, WIDTH - 80.0, 30.0, "w", &text);
            for i in 0..count {
                p.line(centre(i), top + 30.0, centre(i), top + 62.0, "x");
            }
        }
        let row = top + 62.0;
        for i in 0..count {
            let text = if t.accelerators > count && i == count - 1 { format!("+{}", t.accelerators - count + 1) } else { i.to_string() };
            p.boxed(centre(i) - width / 2.0, row, width, 36.0, "a", &text);
        }
        self.draw_host(p, t, row + 36.0, &centre, count)
    }

    fn draw_host(&self, p: &mut Picture, t: &Template, y: f64, centre: &dyn Fn(u32) -> f64, count: u32) -> f64 {
        let switches = (t.accelerators / 2).clamp(1, 8).max(*t.host.sockets as u32).min(t.accelerators);
        let sw = y + 44.0;
        let span = (WIDTH - 80.0) / f64::from(switches);
        let nics = t.nics.min(16);
        let per_switch = f64::from(nics) / f64::from(switches);
        let half = (30.0 + 14.0 * per_switch).min(span / 2.2);
        let sx = |s: u32| 40.0 + span * (f64::from(s) + 0.5) - half + 30.0;
        for i in 0..count {
            p.line(centre(i), y, sx(i * switches / count), sw, "p");
        }
        for s in 0..switches {
            p.boxed(sx(s) - 30.0, sw, 60.0_f64.min(span / 1.4), 28.0, "c", "PCIe");
        }
        // NICs stand beside the PCIe switch that they are plugged into.
        for g in 0..nics {
            let s = g * switches / nics;
            let place = g - (s * nics).div_ceil(switches);
            let x = sx(s) + 34.0 + 27.0 * f64::from(place);
            p.boxed(x, sw + 2.0, 24.0, 24.0, "n", &g.to_string());
        }
        let below = sw + 64.0;
        let sockets = *t.host.sockets as u32;
        let cx = |s: u32| 40.0 + (WIDTH - 80.0) * (f64::from(s) + 0.5) / f64::from(sockets);
        for s in 0..switches {
            p.line(sx(s), sw + 28.0, cx(s * sockets / switches), below, "p");
        }
        for s in 0..sockets {
            p.boxed(cx(s) - 70.0, below, 140.0, 32.0, "c", &format!("CPU {s}"));
        }
        for s in 1..sockets {
            p.line(cx(s - 1) + 70.0, below + 16.0, cx(s) - 70.0, below + 16.0, "p");
        }
        let accelerator =
            format!("{} × {} ({}, {})", t.accelerators, *t.accelerator.name, *t.accelerator.memory, *t.accelerator.memory_bandwidth);
        let host = format!("{}: {} cores, {} at {}", *t.host.name, *t.host.cores, *t.host.memory, *t.host.memory_bandwidth);
        let nic = t.nic.as_ref().map(|nic| format!("{} × {} at {}", t.nics, *nic.name, rate(nic.bandwidth.get())));
        let drive = t.drive.as_ref().map(|(drive, count)| format!("{count} × {}", *drive.name));
        let mut line = below + 56.0;
        for text in [Some(accelerator), Some(host), nic, drive].into_iter().flatten() {
            p.text(40.0, line, "s", "start", &text);
            line += 19.0;
        }
        line
    }
}

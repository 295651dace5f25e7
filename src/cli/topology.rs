//! `orrery topology`: counts, bandwidth, power, price and picture.

use super::Status;
use super::args::{MessageFormat, TopologyArgs};
use super::stream::Stream;
use crate::diag::{Diagnostics, codes};
use crate::fabric::TopologySummary;
use crate::report::write_atomically;
use crate::scenario::load_topology;
use crate::units::{Bytes, BytesPerSecond, Usd, Watts, three};
use std::fmt::Write;

pub(super) fn run(args: &TopologyArgs, out: &mut Stream) -> Status {
    let mut diags = Diagnostics::new();
    let Some((fabric, catalogue)) = load_topology(&args.file, &args.set, &mut diags) else {
        return out.refuse(&diags, MessageFormat::Human);
    };
    if let Some(file) = &args.svg
        && let Err(error) = write_atomically(file, fabric.svg().as_bytes())
    {
        return out.refuse_file(&error.path, codes::CANNOT_WRITE, error.to_string(), "choose a folder that you may write to");
    }
    let summary = fabric.summary(&catalogue);
    if args.json {
        return match serde_json::to_string_pretty(&summary) {
            Ok(text) => out.result(&format!("{text}\n")),
            Err(_) => Status::Internal,
        };
    }
    out.result(&text(&summary))
}

fn text(s: &TopologySummary) -> String {
    let mut out = format!("{}\n\n", s.title);
    let mut line = |name: &str, value: String| {
        let _ = writeln!(out, "  {name:<22}{value}");
    };
    line("nodes", s.nodes.to_string());
    line("accelerators", format!("{} in {} scale-up domains", s.accelerators, s.scale_up_domains));
    line("NICs", s.nics.to_string());
    line("switches", format!("{} leaf, {} spine, {} core", s.leaf_switches, s.spine_switches, s.core_switches));
    line("network cables", s.network_cables.to_string());
    let share = if s.full_bisection_bytes_per_s > 0.0 { s.bisection_bytes_per_s / s.full_bisection_bytes_per_s } else { 0.0 };
    line("bisection bandwidth", format!("{} one way ({} % of full)", BytesPerSecond::new(s.bisection_bytes_per_s), three(100.0 * share)));
    line("diameter", format!("{} switches", s.diameter_switches));
    line("power under load", Watts::new(s.power_w).to_string());
    line("purchase", Usd::new(s.purchase_usd).to_string());
    for (name, usd) in &s.purchase_parts_usd {
        line("", format!("{name}: {}", Usd::new(*usd)));
    }
    if !s.unpriced.is_empty() {
        line("without price", s.unpriced.join(", "));
    }
    line("rent on demand", format!("{} USD/h", three(s.rent_usd_per_hour)));
    for t in &s.storage {
        let size = t.capacity_bytes.map_or_else(|| "no limit".into(), |b| Bytes::new(b).to_string());
        let rates = format!("reads {}, writes {}", BytesPerSecond::new(t.read_bytes_per_s), BytesPerSecond::new(t.write_bytes_per_s));
        line(&format!("storage {}", t.name), format!("{} of {}: {rates}, {size}", t.kind, t.servers));
    }
    line("graph", format!("{} vertices, {} directed links", s.vertices, s.links));
    out
}

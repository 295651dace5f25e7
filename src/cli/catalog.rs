//! `orrery catalog`: the parts and models that ship with the program.

use super::Status;
use super::args::{CatalogArgs, CatalogKind};
use super::stream::Stream;
use crate::hardware::{Catalogue, Dtype};
use crate::model::presets;
use crate::training::{expert_stacks, stacks};
use comfy_table::Table;
use serde_json::{Value as Json, json};

/// Named values of one part.
type Row = Vec<(&'static str, Json)>;

/// One list as rows of named values.
fn rows(kind: CatalogKind) -> Vec<Row> {
    let c = Catalogue::embedded();
    match kind {
        CatalogKind::Accelerators => c.accelerators.values().map(accelerator).collect(),
        CatalogKind::Links => c.links.values().map(link).collect(),
        CatalogKind::Nics => c.nics.values().map(nic).collect(),
        CatalogKind::Switches => c.switches.values().map(switch).collect(),
        CatalogKind::Hosts => c.hosts.values().map(host).collect(),
        CatalogKind::Storage => c.drives.values().map(drive).collect(),
        CatalogKind::Prices => c.prices.iter().map(price).collect(),
        CatalogKind::Models => presets().iter().map(model).collect(),
        CatalogKind::Stacks => training_stacks(),
        CatalogKind::Engines => crate::serving::stacks().iter().map(engine).collect(),
    }
}

fn link(l: &crate::hardware::LinkTechnology) -> Row {
    vec![
        ("id", json!(*l.id)),
        ("name", json!(*l.name)),
        ("bandwidth_bytes_per_s", json!(*l.bandwidth)),
        ("efficiency", json!(*l.efficiency)),
        ("latency_s", json!(*l.latency)),
        ("source", json!(*l.source)),
    ]
}

fn nic(n: &crate::hardware::Nic) -> Row {
    vec![
        ("id", json!(*n.id)),
        ("name", json!(*n.name)),
        ("protocol", json!(n.protocol.word())),
        ("bandwidth_bytes_per_s", json!(*n.bandwidth)),
        ("efficiency", json!(*n.efficiency)),
        ("latency_s", json!(*n.latency)),
        ("messages_per_s", json!(*n.message_rate)),
        ("source", json!(*n.source)),
    ]
}

fn switch(s: &crate::hardware::Switch) -> Row {
    vec![
        ("id", json!(*s.id)),
        ("name", json!(*s.name)),
        ("kind", json!(s.kind.word())),
        ("ports", json!(*s.ports)),
        ("port_bandwidth_bytes_per_s", json!(*s.port_bandwidth)),
        ("latency_s", json!(*s.latency)),
        ("power_w", json!(*s.power)),
        ("source", json!(*s.source)),
    ]
}

fn host(h: &crate::hardware::Host) -> Row {
    vec![
        ("id", json!(*h.id)),
        ("name", json!(*h.name)),
        ("sockets", json!(*h.sockets)),
        ("cores", json!(*h.cores)),
        ("memory_bytes", json!(*h.memory)),
        ("power_w", json!(*h.power)),
        ("source", json!(*h.source)),
    ]
}

fn drive(d: &crate::hardware::Drive) -> Row {
    vec![
        ("id", json!(*d.id)),
        ("name", json!(*d.name)),
        ("capacity_bytes", json!(*d.capacity)),
        ("read_bytes_per_s", json!(*d.read_bandwidth)),
        ("write_bytes_per_s", json!(*d.write_bandwidth)),
        ("read_iops", json!(*d.read_iops)),
        ("source", json!(*d.source)),
    ]
}

/// Stacks of training, and of layers with experts.
fn training_stacks() -> Vec<Row> {
    let row = |id: &str, title: &str, serves: &str, source: &str| {
        vec![("id", json!(id)), ("title", json!(title)), ("serves", json!(serves)), ("source", json!(source))]
    };
    let frameworks = stacks().iter().map(|s| row(&s.id, &s.title, s.framework.word(), &s.source));
    frameworks.chain(expert_stacks().iter().map(|s| row(&s.id, &s.title, "experts", &s.source))).collect()
}

fn engine(s: &crate::serving::StackRow) -> Row {
    vec![
        ("id", json!(*s.id)),
        ("title", json!(*s.title)),
        ("batching", json!(s.batching.word())),
        ("max_tokens", json!(*s.max_tokens)),
        ("max_sequences", json!(*s.max_sequences)),
        ("source", json!(*s.source)),
    ]
}

fn accelerator(a: &crate::hardware::Accelerator) -> Row {
    let mut row = vec![
        ("id", json!(*a.id)),
        ("name", json!(*a.name)),
        ("vendor", json!(*a.vendor)),
        ("kind", json!(a.kind.word())),
        ("year", json!(*a.year)),
    ];
    for (name, dtype) in [("bf16_flop_per_s", Dtype::Bf16), ("fp8_flop_per_s", Dtype::Fp8), ("fp4_flop_per_s", Dtype::Nvfp4)] {
        row.extend(a.peak.of(dtype).map(|p| (name, json!(p))));
    }
    row.push(("memory_bytes", json!(*a.memory)));
    row.push(("memory_bytes_per_s", json!(*a.memory_bandwidth)));
    row.extend(a.scale_up_bandwidth.map(|b| ("scale_up_bytes_per_s", json!(b))));
    row.push(("memory_type", json!(*a.memory_type)));
    row.extend(a.cache.value.map(|c| ("cache_bytes", json!(c))));
    row.push(("tdp_w", json!(*a.tdp)));
    row.push(("source", json!(*a.source)));
    row
}

fn price(p: &crate::hardware::Price) -> Row {
    let mut row = vec![("part", json!(*p.part)), ("kind", json!(p.kind.word()))];
    row.extend(p.rent.map(|r| ("usd_per_hour", json!(r.get() * 3600.0))));
    row.extend(p.price.map(|u| ("usd", json!(u))));
    row.extend([("date", json!(*p.date)), ("source", json!(*p.source))]);
    row
}

fn model(m: &crate::model::Preset) -> Row {
    vec![
        ("id", json!(*m.id)),
        ("title", json!(*m.title)),
        ("parameters", json!(m.architecture().parameters())),
        ("layers", json!(*m.layers)),
        ("hidden", json!(*m.hidden)),
        ("heads", json!(*m.heads)),
        ("kv_heads", json!(*m.kv_heads)),
        ("vocabulary", json!(*m.vocabulary)),
        ("experts", json!(*m.experts)),
        ("source", json!(*m.source)),
    ]
}

fn shown(name: &str, value: &Json) -> String {
    match value {
        Json::Number(n) if name.contains("_per_s") || name.contains("bytes") || name == "parameters" => {
            crate::units::si(n.as_f64().unwrap_or(0.0), "").trim().to_owned()
        }
        Json::Number(n) => n.as_f64().map_or_else(String::new, crate::units::three),
        Json::String(text) => text.clone(),
        other => other.to_string(),
    }
}

pub(super) fn run(args: &CatalogArgs, out: &mut Stream) -> Status {
    let rows = rows(args.kind);
    if args.json {
        let list: Vec<Json> =
            rows.into_iter().map(|row| row.into_iter().map(|(k, v)| (k.to_owned(), v)).collect::<serde_json::Map<_, _>>().into()).collect();
        return out.result(&format!("{:#}\n", Json::Array(list)));
    }
    let mut names: Vec<&str> = Vec::new();
    for row in &rows {
        for (name, _) in row.iter().filter(|(n, _)| *n != "source") {
            if !names.contains(name) {
                names.push(name);
            }
        }
    }
    let mut table = Table::new();
    table.load_style(comfy_table::presets::NOTHING);
    table.set_header(names.clone());
    for row in &rows {
        table.add_row(names.iter().map(|name| row.iter().find(|(n, _)| n == name).map_or_else(String::new, |(n, v)| shown(n, v))));
    }
    out.result(&format!("{}\n", table.trim_fmt()))
}

//! Tables of figures as CSV: operators, collectives, expert exchange. Columns decide what a table is.

use super::scan::{Fault, Log, positive};
use crate::calibrate::device::part_named;
use crate::calibrate::record::{Measurement, OperatorTable, Unit, What};
use std::collections::BTreeMap;

/// Columns without which a table is none of a kind, and its reader.
type Kind = (&'static [&'static str], fn(&Row<'_>) -> Result<Vec<Measurement>, String>);

const KINDS: &[Kind] = &[
    (&["accelerator", "collective", "bytes", "accelerators", "nodes", "time_us"], collective),
    (&["accelerator", "phase", "batch", "q_heads", "kv_heads", "time_us"], |r| r.operator(OperatorTable::Attention)),
    (&["accelerator", "tokens", "experts", "top_k", "time_us"], |r| r.operator(OperatorTable::Moe)),
    (&["accelerator", "m", "n", "k", "dtype", "time_us"], |r| r.operator(OperatorTable::Gemm)),
    (&["system", "moe_dtype", "num_tokens", "hidden_size", "topk", "num_experts", "measured_us"], moe),
    (&["system", "dispatch_avg_t_us", "combine_avg_t_us", "num_token", "hidden_size"], expert_exchange),
];

fn header(log: &Log<'_>) -> Vec<String> {
    crate::tables::header(log.text)
}

fn kind(log: &Log<'_>) -> Option<&'static Kind> {
    let columns = header(log);
    KINDS.iter().find(|(needed, _)| needed.iter().all(|n| columns.iter().any(|c| c == n)))
}

pub(super) fn is_table(log: &Log<'_>) -> bool {
    kind(log).is_some()
}

struct Row<'a> {
    columns: &'a [String],
    cells: csv::StringRecord,
}

impl Row<'_> {
    fn text(&self, column: &str) -> &str {
        self.columns.iter().position(|c| c == column).and_then(|i| self.cells.get(i)).unwrap_or("").trim()
    }
    fn positive(&self, column: &str) -> Result<f64, String> {
        positive(self.text(column)).ok_or_else(|| format!("column {column} holds `{}`, no number above 0", self.text(column)))
    }
    fn count(&self, column: &str) -> Result<u64, String> {
        self.text(column).parse().map_err(|_| format!("column {column} holds `{}`, no count", self.text(column)))
    }
    fn operator(&self, table: OperatorTable) -> Result<Vec<Measurement>, String> {
        let cells = self.columns.iter().filter(|c| !matches!(c.as_str(), "id" | "source" | "accelerator" | "time_us"));
        let cells: BTreeMap<String, String> = cells.map(|c| (c.clone(), self.text(c).to_owned())).collect();
        let mut one = Measurement::new(What::Operator { table, cells }, 1e-6 * self.positive("time_us")?, Unit::Seconds, "table");
        one.part = self.text("accelerator").to_owned();
        one.session = self.text("source").to_owned();
        Ok(vec![one])
    }
}

fn collective(row: &Row<'_>) -> Result<Vec<Measurement>, String> {
    let (library, source) = (row.text("library"), row.text("source"));
    // Engines of kernel tables are named by their source.
    let engines = ["sglang-trtllm", "sglang", "vllm", "trtllm"];
    let library = if library == "engine" { engines.into_iter().find(|e| source.contains(e)).unwrap_or(library) } else { library };
    let launch = match (row.text("launch"), source) {
        ("", s) if s.starts_with("aic-") => "graph",
        ("", s) if s.starts_with("vtrain-") || s == "mle-a100" => "single-process",
        ("", _) => "eager",
        (word, _) => word,
    };
    let algorithm = row.text("algorithm");
    let what = What::Collective {
        op: row.text("collective").into(),
        bytes: row.positive("bytes")?,
        ranks: row.count("accelerators")?,
        nodes: row.count("nodes")?,
        library: library.split('-').next().filter(|_| library != "sglang-trtllm").unwrap_or(library).into(),
        launch: launch.into(),
        variant: if algorithm == "auto" { String::new() } else { algorithm.into() },
    };
    let mut one = Measurement::new(what, 1e-6 * row.positive("time_us")?, Unit::Seconds, "table");
    one.part = row.text("accelerator").to_owned();
    one.session = source.to_owned();
    Ok(vec![one])
}

/// The part of a system's name such as `h100_sxm`.
fn system(name: &str) -> String {
    part_named(&name.replace('_', " ")).unwrap_or_default()
}

fn moe(row: &Row<'_>) -> Result<Vec<Measurement>, String> {
    let named = [
        ("dtype", "moe_dtype"),
        ("tokens", "num_tokens"),
        ("hidden", "hidden_size"),
        ("inner", "inter_size"),
        ("top_k", "topk"),
        ("experts", "num_experts"),
        ("tensor_parallel", "moe_tp_size"),
        ("expert_parallel", "moe_ep_size"),
        ("distribution", "distribution"),
        ("kernel", "kernel_source"),
        ("framework", "lib"),
    ];
    let cells = named.iter().map(|(to, from)| ((*to).to_owned(), row.text(from).replace(' ', "-"))).collect();
    let mut one =
        Measurement::new(What::Operator { table: OperatorTable::Moe, cells }, 1e-6 * row.positive("measured_us")?, Unit::Seconds, "table");
    one.part = system(row.text("system"));
    one.session = row.text("source").to_owned();
    Ok(vec![one])
}

fn expert_exchange(row: &Row<'_>) -> Result<Vec<Measurement>, String> {
    let shape = ["op_name", "node_num", "hidden_size", "num_token", "num_topk", "num_experts"].map(|c| row.text(c)).join(" ");
    let mut out = Vec::new();
    for step in ["dispatch", "combine"] {
        // Tables of one kind of kernel give the mean, those of another its parts.
        let whole = format!("{step}_avg_t_us");
        let value = if row.text(&whole).is_empty() {
            row.positive(&format!("{step}_transmit_us"))? + row.text(&format!("{step}_notify_us")).parse::<f64>().unwrap_or(0.0).max(0.0)
        } else {
            row.positive(&whole)?
        };
        let value = 1e-6 * value;
        let mut one =
            Measurement::new(What::Metric { name: format!("expert {step} {shape} ({})", row.text("lib")) }, value, Unit::Seconds, "table");
        one.part = system(row.text("system"));
        one.session = row.text("source").to_owned();
        out.push(one);
    }
    Ok(out)
}

pub(super) fn table(log: &Log<'_>) -> Result<Vec<Measurement>, Vec<Fault>> {
    let Some((_, read)) = kind(log) else {
        return Err(log.fault("no kind of table has these columns", "see docs/formats/measurements.md"));
    };
    let columns = header(log);
    let mut reader = csv::ReaderBuilder::new().flexible(true).from_reader(log.text.as_bytes());
    let (mut out, mut faults) = (Vec::new(), Vec::new());
    let place = |position: Option<&csv::Position>, message: String| {
        let start = position.map_or(0, |p| p.byte() as usize).min(log.text.len());
        let end = log.text.get(start..).and_then(|t| t.find('\n')).map_or(log.text.len(), |i| start + i);
        Fault { start, end, message, hint: None }
    };
    for record in reader.records() {
        match record {
            Ok(cells) if cells.len() != columns.len() => {
                let message = format!("this row has {} fields, the header {}", cells.len(), columns.len());
                faults.push(place(cells.position(), message));
            }
            Ok(cells) => {
                let position = cells.position().cloned();
                match read(&Row { columns: &columns, cells }) {
                    Ok(some) => out.extend(some),
                    Err(message) => faults.push(place(position.as_ref(), message)),
                }
            }
            Err(error) => faults.push(place(error.position(), format!("this is no CSV: {error}"))),
        }
    }
    if !faults.is_empty() {
        return Err(faults);
    }
    if out.is_empty() || !log.text.ends_with('\n') { Err(log.truncated("the last row is not whole")) } else { Ok(out) }
}

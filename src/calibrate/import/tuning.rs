//! NCCL's tuner: the table that its plug-in reads and writes, and what the library prints of its own cost model.

use super::nccl::operation;
use super::scan::{Fault, Line, Log, number, positive};
use crate::calibrate::record::{Measurement, Unit, What};

const HEADER: &str = "collective,size_bytes,algorithm,protocol,channels,nodes,ranks,pipeOps,regBuff,cost_metric,bandwidth_gbps,latency_us";

pub(super) fn is_csv(log: &Log<'_>) -> bool {
    log.text.trim_start_matches('\u{feff}').starts_with("collective,size_bytes,")
}

pub(super) fn csv(log: &Log<'_>) -> Result<Vec<Measurement>, Vec<Fault>> {
    let (mut out, mut faults) = (Vec::new(), Vec::new());
    for (i, line) in log.lines().enumerate() {
        if i == 0 {
            if line.text.trim_start_matches('\u{feff}') != HEADER {
                return Err(vec![line.fault(format!("the columns of a tuner table are {HEADER}"))]);
            }
        } else if !line.text.trim().is_empty() && !line.text.starts_with('#') {
            match row(&line) {
                Ok(one) => out.push(one),
                Err(fault) => faults.push(fault),
            }
        }
    }
    if !faults.is_empty() {
        return Err(faults);
    }
    if out.is_empty() || !log.text.ends_with('\n') { Err(log.truncated("the last row is not whole")) } else { Ok(out) }
}

fn row(line: &Line<'_>) -> Result<Measurement, Fault> {
    let cells: Vec<&str> = line.text.split(',').map(str::trim).collect();
    let [collective, bytes, algorithm, protocol, channels, nodes, ranks, _, _, _, _, latency] = cells[..] else {
        return Err(line.fault(format!("{} fields, a row has 12", cells.len())));
    };
    let op = operation(collective).ok_or_else(|| line.fault(format!("`{collective}` is no operation")))?;
    let value = |text: &str, name: &str| positive(text).ok_or_else(|| line.fault(format!("`{text}` is no {name}")));
    let count = |text: &str, name: &str| {
        let hint = || line.fault(format!("a measurement says on how many {name} it was made, not `{text}`"));
        text.parse::<u64>().ok().filter(|n| *n >= 1).ok_or_else(hint)
    };
    if channels.parse::<i64>().is_err() {
        return Err(line.fault(format!("`{channels}` is no number of channels")));
    }
    let what = What::Collective {
        op: op.into(),
        bytes: value(bytes, "size")?,
        ranks: count(ranks, "ranks")?,
        nodes: count(nodes, "nodes")?,
        library: "nccl".into(),
        launch: "eager".into(),
        variant: format!("{algorithm} {protocol}"),
    };
    Ok(Measurement::new(what, 1e-6 * value(latency, "latency")?, Unit::Seconds, "NCCL tuner table"))
}

pub(super) fn is_log(log: &Log<'_>) -> bool {
    (log.has("Latency/AlgBw |") || log.has("Algorithm   |")) && log.has("Max NThreads |")
}

/// A line behind what NCCL puts before it, cut at its bars.
fn cells<'a>(line: &Line<'a>) -> Vec<&'a str> {
    let text = line.text.split("NCCL INFO").last().unwrap_or("");
    let mut cells: Vec<&str> = text.split('|').map(str::trim).collect();
    if cells.len() > 1 && cells.last() == Some(&"") {
        cells.pop();
    }
    cells
}

pub(super) fn log(log: &Log<'_>) -> Result<Vec<Measurement>, Vec<Fault>> {
    let (mut out, mut faults) = (Vec::new(), Vec::new());
    let mut algorithms: Vec<String> = Vec::new();
    let mut names: Vec<String> = Vec::new();
    let mut rows = Vec::new();
    for line in log.lines().filter(|l| l.text.contains('|')) {
        let cells = cells(&line);
        match cells[0] {
            "Latency/AlgBw" => names = cells[1..].iter().map(|c| c.replace('/', " ")).collect(),
            "Algorithm" => algorithms = cells[1..].iter().map(|c| (*c).to_owned()).collect(),
            "Protocol" => {
                let each = (cells.len() - 1) / algorithms.len().max(1);
                names = cells[1..]
                    .iter()
                    .enumerate()
                    .map(|(i, p)| format!("{} {p}", algorithms.get(i / each.max(1)).map_or("", |a| a)))
                    .collect();
                rows.push(0);
            }
            "Max NThreads" => {}
            name => {
                let Some(op) = operation(name) else { continue };
                if names.is_empty() || cells.len() != names.len() + 1 {
                    faults.push(line.fault(format!("{} cells under {} algorithms", cells.len() - 1, names.len())));
                    continue;
                }
                if let Some(n) = rows.last_mut() {
                    *n += 1;
                }
                for (name, cell) in names.iter().zip(&cells[1..]) {
                    let values: Option<Vec<f64>> = cell.split('/').map(number).collect();
                    let Some(&[latency, bandwidth]) = values.as_deref() else {
                        faults.push(line.fault(format!("`{cell}` is no latency and bandwidth")));
                        continue;
                    };
                    // A bandwidth of 0 is an algorithm that is switched off.
                    for (what, value) in [("latency us", latency), ("bandwidth GB/s", bandwidth)] {
                        if bandwidth > 0.0 {
                            let name = format!("nccl cost model {op} {name} {what}");
                            out.push(Measurement::new(What::Metric { name }, value, Unit::Other, "NCCL_DEBUG_SUBSYS=TUNING"));
                        }
                    }
                }
            }
        }
    }
    if !faults.is_empty() {
        return Err(faults);
    }
    // Every block lists the same functions.
    if out.is_empty() || rows.windows(2).any(|w| w[0] != w[1]) || !log.text.ends_with('\n') {
        return Err(log.truncated("a block of the table is not whole"));
    }
    Ok(out)
}

//! nccl-tests and rccl-tests: text of all ages, and JSON.
//!
//! Columns are read from the right, since old logs lack some of them. The time column is what counts: bandwidths are printed with two
//! decimals, are 0.00 for small sizes, and serve to see whether a row is whole.

use super::scan::{Fault, Line, Log, after, json_number, json_text, positive};
use crate::calibrate::record::{Measurement, Unit, What};
use serde_json::Value as Json;

/// Words by which an operation may be called, without marks; longer ones first.
const WORDS: [(&str, &str); 11] = [
    ("reducescatter", "reduce_scatter"),
    ("allreduce", "all_reduce"),
    ("allgather", "all_gather"),
    ("alltoall", "all_to_all"),
    ("broadcast", "broadcast"),
    ("sendrecv", "send_recv"),
    ("bcast", "broadcast"),
    ("gather", "gather"),
    ("scatter", "scatter"),
    ("reduce", "reduce"),
    ("a2a", "all_to_all"),
];

/// The operation that a name speaks of.
pub(super) fn operation(name: &str) -> Option<&'static str> {
    let plain: String = name.chars().filter(char::is_ascii_alphanumeric).collect::<String>().to_lowercase();
    WORDS.iter().find(|(word, _)| plain.contains(word)).map(|(_, op)| *op)
}

fn element_bytes(dtype: &str) -> Option<f64> {
    Some(match dtype {
        "int8" | "uint8" | "fp8_e4m3" | "fp8_e5m2" | "f8e4m3" | "f8e5m2" => 1.0,
        "half" | "bfloat16" | "float16" => 2.0,
        "float" | "int32" | "uint32" => 4.0,
        "double" | "int64" | "uint64" => 8.0,
        _ => return None,
    })
}

pub(super) fn is_text(log: &Log<'_>) -> bool {
    log.has("algbw") && log.has("busbw") && log.lines().any(|l| l.text.trim_start().starts_with('#') && l.text.contains("busbw"))
}

pub(super) fn is_json(log: &Log<'_>) -> bool {
    log.is_json() && log.has("\"results\"") && log.has("\"out_of_place\"")
}

/// What the head of a log says.
#[derive(Default, Clone)]
struct Head {
    ranks: u64,
    hosts: Vec<String>,
    processes: Vec<String>,
    device: String,
    graph: bool,
    op: Option<&'static str>,
    version: String,
}

impl Head {
    /// One line of the list of ranks: `#  Rank  0 Group 0 Pid 1 on host device  0 [0x00] name`.
    fn rank(&mut self, line: &str) {
        let Some((before, rest)) = line.split_once(" on ") else { return };
        let words: Vec<&str> = rest.split_whitespace().collect();
        let host = words.first().copied().unwrap_or("").to_owned();
        let process = format!("{host}:{}", after(before, "Pid").unwrap_or("").split_whitespace().next().unwrap_or(""));
        if !self.hosts.contains(&host) {
            self.hosts.push(host);
        }
        if !self.processes.contains(&process) {
            self.processes.push(process);
        }
        self.ranks += 1;
        if let Some((_, name)) = rest.split_once(']') {
            self.device = name.trim().to_owned();
        }
    }
    fn launch(&self) -> &'static str {
        if self.graph {
            "graph"
        } else if self.processes.len() as u64 == self.ranks {
            "eager"
        } else {
            "single-process"
        }
    }
    fn record(&self, op: &str, bytes: f64, microseconds: f64, in_place: bool) -> Measurement {
        let what = What::Collective {
            op: op.into(),
            bytes,
            ranks: self.ranks,
            nodes: self.hosts.len().max(1) as u64,
            library: "nccl".into(),
            launch: self.launch().into(),
            // The two differ by up to 30 % around the switches of protocol: only the first is fitted.
            variant: if in_place { "in place".into() } else { String::new() },
        };
        let mut out = Measurement::new(what, 1e-6 * microseconds, Unit::Seconds, format!("nccl-tests {}", self.version).trim());
        out.device.clone_from(&self.device);
        if let [host] = &self.hosts[..] {
            out.host.clone_from(host);
        } else {
            out.host = self.hosts.join(",");
        }
        out
    }
}

/// A line without what `mpirun` puts before it.
fn unprefixed(line: &str) -> &str {
    let line = line.trim_start();
    let Some(rest) = line.strip_prefix('[') else { return line };
    let Some((inside, rest)) = rest.split_once(']') else { return line };
    if !inside.chars().all(|c| c.is_ascii_digit() || c == ',') {
        return line;
    }
    rest.trim_start_matches("<stdout>:").trim_start_matches("<stderr>:").trim_start()
}

pub(super) fn text(log: &Log<'_>) -> Result<Vec<Measurement>, Vec<Fault>> {
    let mut head = Head { op: None, ..Head::default() };
    let (mut out, mut faults) = (Vec::new(), Vec::new());
    let (mut open, mut headed, mut closed, mut tail, mut run) = (0usize, false, false, 8, 0);
    for line in log.lines() {
        let body = unprefixed(line.text);
        if let Some(comment) = body.strip_prefix('#') {
            let comment = comment.trim();
            if comment.starts_with("Rank") {
                if closed {
                    head = Head { version: head.version, ..Head::default() };
                    (closed, headed) = (false, false);
                    run += 1;
                }
                head.rank(comment);
            } else if comment.contains("busbw") {
                headed = true;
                tail = if comment.contains("i_min") { 16 } else { 8 };
            } else if comment.starts_with("Avg bus bandwidth") {
                (closed, open) = (true, 0);
            } else if let Some(version) = after(comment, "nccl-tests version") {
                head.version = version.split_whitespace().next().unwrap_or("").to_owned();
            } else if let Some(name) = after(comment, "Collective test starting:") {
                head.op = operation(name);
            } else if comment.contains("Out of bounds") && comment.contains("FAILED") {
                faults.push(line.fault("the run found wrong results"));
            }
            if let Some(graph) = after(comment, "graph:") {
                head.graph |= graph.split_whitespace().next().is_some_and(|g| g != "0");
            }
            continue;
        }
        let words: Vec<&str> = body.split_whitespace().collect();
        let is_row =
            words.first().is_some_and(|w| w.bytes().all(|b| b.is_ascii_digit())) && words.get(1).is_none_or(|w| w.parse::<f64>().is_ok());
        if !is_row {
            continue;
        }
        if !headed || closed {
            faults.push(line.fault("a row outside of a table"));
            continue;
        }
        open += 1;
        match row(log, &mut head, &line, &words, tail) {
            Ok(Some(mut pair)) => {
                pair.iter_mut().for_each(|m| m.session = format!("{}#{run}", log.name));
                out.extend(pair);
            }
            Ok(None) => {}
            Err(fault) => faults.push(fault),
        }
    }
    if !faults.is_empty() {
        return Err(faults);
    }
    if !closed || open > 0 {
        return Err(log.truncated("there is no line `# Avg bus bandwidth`"));
    }
    if out.is_empty() { Err(log.fault("there is no row with a size above 0", "let the tool run over sizes")) } else { Ok(out) }
}

/// A row as its two times; `None` for a row of size 0.
fn row(log: &Log<'_>, head: &mut Head, line: &Line<'_>, words: &[&str], tail: usize) -> Result<Option<Vec<Measurement>>, Fault> {
    if head.ranks < 2 {
        return Err(line.fault("the list of ranks (`# Rank …`) is missing or has only one"));
    }
    // Behind the two groups a timestamp may stand.
    let is_cell = |w: &str| w == "N/A" || w.parse::<f64>().is_ok();
    let end = words.iter().rposition(|w| is_cell(w)).map_or(0, |i| i + 1);
    let Some(left) = end.checked_sub(tail).filter(|l| (3..=5).contains(l)) else {
        return Err(line.fault(format!("{} fields, a row has {} to {}", words.len(), tail + 3, tail + 5)));
    };
    let bad = || line.fault("size, count or type of this row is none");
    let (size, count) = (words[0].parse::<f64>().map_err(|_| bad())?, words[1].parse::<f64>().map_err(|_| bad())?);
    let element = element_bytes(words[2]).ok_or_else(bad)?;
    if size == 0.0 {
        return Ok(None);
    }
    let op = op_of_row(log, head, line, &words[3..left], size / (count * element))?;
    let mut out = Vec::new();
    for (place, group) in words[left..end].chunks(tail / 2).enumerate() {
        let time = positive(group[0]).ok_or_else(|| line.fault(format!("`{}` is no time", group[0])))?;
        let algbw = group[1].parse::<f64>().ok().filter(|b| b.is_finite()).ok_or_else(|| line.fault("algbw is no number"))?;
        if (size / (1e3 * time) - algbw).abs() > 0.006 + 0.01 * algbw {
            return Err(line.fault(format!("{size} B in {time} us are not {algbw} GB/s: columns are missing or mixed up")));
        }
        let wrong = group[3];
        if wrong != "N/A" && wrong.parse::<f64>().is_ok_and(|w| w > 1e-3) {
            return Err(line.fault(format!("this row has wrong results ({wrong})")));
        }
        out.push(head.record(op, size, time, place == 1));
    }
    Ok(Some(out))
}

/// The operation of a row: from the head, from the file's name, or from the columns, which have to agree.
fn op_of_row(log: &Log<'_>, head: &mut Head, line: &Line<'_>, middle: &[&str], share: f64) -> Result<&'static str, Fault> {
    if let Some(op) = head.op {
        return Ok(op);
    }
    let reduces = middle.iter().any(|w| ["sum", "prod", "max", "min", "avg", "mulsum"].contains(w));
    let rooted = middle.last().is_some_and(|w| w.parse::<i64>().is_ok_and(|r| r >= 0));
    let whole = (share - 1.0).abs() < 0.02;
    let fits: &[&str] = match (reduces, rooted, whole) {
        (true, true, _) => &["reduce"],
        (true, false, true) => &["all_reduce"],
        (true, false, false) => &["reduce_scatter"],
        (false, true, true) => &["broadcast"],
        (false, true, false) => &["gather", "scatter"],
        (false, false, true) => &["send_recv"],
        (false, false, false) => &["all_gather", "all_to_all"],
    };
    let named = operation(log.name);
    let op = match (fits, named) {
        ([one], None) => one,
        (list, Some(named)) if list.contains(&named) => named,
        (list, Some(named)) => {
            return Err(line.fault(format!("the file is named after {named}, its columns are those of {}", list.join(" or "))));
        }
        (list, None) => {
            let mut fault = line.fault(format!("the columns do not tell whether this is {}", list.join(" or ")));
            fault.hint = Some("name the file after the operation, such as all_gather.log");
            return Err(fault);
        }
    };
    head.op = Some(op);
    Ok(op)
}

pub(super) fn json(log: &Log<'_>) -> Result<Vec<Measurement>, Vec<Fault>> {
    let json = log.json()?;
    let mut head = Head::default();
    let config = &json["config"];
    for device in config["devices"].as_array().into_iter().flatten() {
        let host = json_text(&device["hostname"]);
        let process = format!("{host}:{}", device["pid"]);
        if !head.hosts.contains(&host) {
            head.hosts.push(host);
        }
        if !head.processes.contains(&process) {
            head.processes.push(process);
        }
        head.ranks += 1;
        head.device = json_text(&device["device_info"]);
    }
    // One device stands for all where the list was cut by hand; the counts of threads and devices are always there.
    let count = |name: &str| json_number(&config[name]).unwrap_or(1.0) as u64;
    head.ranks = head.ranks.max(count("ngpus") * count("nthreads"));
    head.graph = json_number(&config["graph"]).is_some_and(|g| g > 0.0);
    if head.ranks < 2 {
        return Err(log.fault("the run has one rank", "measure over at least two"));
    }
    if json.get("end_time").is_none() {
        return Err(log.truncated("there is no `end_time`"));
    }
    let start = json_text(&json["start_time"]);
    let program = json["args"][0].as_str().and_then(operation);
    let mut out = Vec::new();
    for (i, result) in json["results"].as_array().into_iter().flatten().enumerate() {
        let bad = |what: &str| log.fault(format!("result {i}: {what}"), "run the tool again");
        let op = result["experiment_name"].as_str().and_then(operation).or(program).ok_or_else(|| bad("no operation is named"))?;
        let size = json_number(&result["size"]).ok_or_else(|| bad("`size` is no number"))?;
        if size == 0.0 {
            continue;
        }
        for place in ["out_of_place", "in_place"] {
            let Some(group) = result.get(place) else { continue };
            let time = json_number(&group["time"]).or_else(|| json_number(&group["cpu_time"])).filter(|t| *t > 0.0);
            let wrong = json_number(&group["nwrong"]).unwrap_or(0.0);
            if wrong > 0.0 {
                return Err(bad("wrong results"));
            }
            let time = time.ok_or_else(|| bad("a time is no number above 0"))?;
            let mut one = head.record(op, size, time, place == "in_place");
            one.samples = per_iteration(&result[format!("{place}_per_iter")]);
            one.time.clone_from(&start);
            out.push(one);
        }
    }
    if out.is_empty() { Err(log.fault("there is no result", "let the tool run over sizes")) } else { Ok(out) }
}

fn per_iteration(value: &Json) -> Vec<f64> {
    let times = value["times_us"].as_array().into_iter().flatten();
    times.filter_map(json_number).filter(|t| *t > 0.0).map(|t| 1e-6 * t).collect()
}

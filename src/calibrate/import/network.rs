//! Messages between hosts: perftest, iperf3, sockperf.

use super::scan::{Fault, Line, Log, after, json_number, json_text, number, positive};
use crate::calibrate::record::{Measurement, Unit, What};

const MIB: f64 = 1_048_576.0;

fn message(path: &str, bytes: f64, seconds: f64, streamed: bool, tool: &str) -> Measurement {
    Measurement::new(What::Link { path: path.into(), bytes, streamed }, seconds, Unit::Seconds, tool)
}

pub(super) fn is_perftest(log: &Log<'_>) -> bool {
    log.has("#bytes") && log.has("#iterations")
}

pub(super) fn is_perftest_json(log: &Log<'_>) -> bool {
    log.is_json() && log.has("\"MsgSize\"") && log.has("\"n_iterations\"")
}

/// What the columns of a table are.
#[derive(Clone, Copy)]
enum Columns {
    /// Average rate in units of so many bytes per second.
    Rate(f64),
    Latency,
}

pub(super) fn perftest(log: &Log<'_>) -> Result<Vec<Measurement>, Vec<Fault>> {
    let (mut out, mut faults): (Vec<Measurement>, _) = (Vec::new(), Vec::new());
    let mut columns: Option<Columns> = None;
    let (mut open, mut test, mut device) = (false, String::new(), String::new());
    for line in log.lines() {
        let text = line.text.trim();
        if text.ends_with("Test") {
            test = text.to_owned();
        }
        if let Some(name) = after(text, "Device         :") {
            device = name.to_owned();
        }
        if text.starts_with("#bytes") {
            columns = Some(if text.contains("t_") {
                Columns::Latency
            } else {
                // "MB/sec" of old versions is MiB/sec too.
                Columns::Rate(if text.contains("Gb/sec") { 1e9 / 8.0 } else { MIB })
            });
            open = true;
        } else if text.starts_with("-----") {
            open = false;
        } else if text.bytes().next().is_some_and(|b| b.is_ascii_digit()) {
            open = true;
            let Some(columns) = columns else {
                faults.push(line.fault("a row before its header"));
                continue;
            };
            match perftest_row(&line, columns, &test) {
                Ok(mut one) => {
                    one.device.clone_from(&device);
                    one.part.clone_from(&device);
                    // Client and server of a loopback print the same table.
                    if out.last().is_none_or(|o| o.what != one.what || o.value.to_bits() != one.value.to_bits()) {
                        out.push(one);
                    }
                }
                Err(fault) => faults.push(fault),
            }
        }
    }
    if !faults.is_empty() {
        return Err(faults);
    }
    if out.is_empty() || open {
        return Err(log.truncated("the table has no end"));
    }
    if !grows(&out) {
        return Err(log.fault("sizes of the table do not grow", "the file is mixed up; run the tool again"));
    }
    Ok(out)
}

/// Whether sizes grow, up to the last size that a second process prints again.
fn grows(list: &[Measurement]) -> bool {
    let sizes: Vec<f64> = list.iter().filter_map(|m| if let What::Link { bytes, .. } = m.what { Some(bytes) } else { None }).collect();
    sizes.windows(2).filter(|w| w[1] < w[0]).count() <= 1
}

fn perftest_row(line: &Line<'_>, columns: Columns, test: &str) -> Result<Measurement, Fault> {
    let words = line.words();
    let values: Vec<f64> = words.iter().filter_map(|w| number(w)).collect();
    if values.len() != words.len() {
        return Err(line.fault("a cell of this row is no number"));
    }
    let tool = format!("perftest {test}");
    match columns {
        Columns::Rate(unit) => {
            let (&[bytes, _, peak, average, rate] | &[bytes, _, peak, average, rate, ..]) = &values[..] else {
                return Err(line.fault(format!("{} cells, a row of rates has 5", values.len())));
            };
            let seconds = bytes / (unit * average);
            if bytes <= 0.0 || average <= 0.0 || peak < 0.0 || (bytes >= 64.0 && rate > 0.0 && (1e-6 / rate / seconds - 1.0).abs() > 0.02) {
                return Err(line.fault("size, rate and message rate of this row do not agree"));
            }
            Ok(message("rdma", bytes, seconds, true, &tool))
        }
        Columns::Latency => {
            let (&[bytes, _, least, most, typical] | &[bytes, _, least, most, typical, ..]) = &values[..] else {
                return Err(line.fault(format!("{} cells, a row of latencies has at least 5", values.len())));
            };
            if bytes <= 0.0 || typical <= 0.0 || typical < least || typical > most {
                return Err(line.fault("least, typical and greatest time of this row do not agree"));
            }
            Ok(message("rdma", bytes, 1e-6 * typical, false, &tool))
        }
    }
}

pub(super) fn perftest_json(log: &Log<'_>) -> Result<Vec<Measurement>, Vec<Fault>> {
    let json = log.json()?;
    let info = &json["test_info"];
    let test = json_text(&info["test"]);
    let gbits = info.to_string().to_lowercase().contains("gbit");
    let results = json.get("results").map_or(&json["bw_results"], |r| r);
    let list = results.as_array().cloned().unwrap_or_else(|| vec![results.clone()]);
    let mut out = Vec::new();
    for one in &list {
        let value = |name: &str| json_number(&one[name]).filter(|v| *v > 0.0);
        let bad = || log.fault("a result has a size, and an average rate or a typical time, above 0", "run the tool again");
        let bytes = value("MsgSize").ok_or_else(bad)?;
        // The unit of the rate is not in the file but for the message rate: it tells which of the two it is.
        let mut read = if let Some(average) = value("BW_average") {
            let by_rate = value("MsgRate").map(|r| 1e6 * r * bytes);
            let (mib, gbit) = (MIB * average, 1e9 / 8.0 * average);
            let near = |rate: f64| by_rate.is_some_and(|r| bytes >= 1024.0 && (rate / r - 1.0).abs() < 0.02);
            let rate = if near(gbit) || (gbits && !near(mib)) { gbit } else { mib };
            message("rdma", bytes, bytes / rate, true, &format!("perftest {test}"))
        } else {
            message(
                "rdma",
                bytes,
                1e-6 * value("t_typical").or_else(|| value("t_avg")).ok_or_else(bad)?,
                false,
                &format!("perftest {test}"),
            )
        };
        read.device = json_text(&info["Device"]);
        out.push(read);
    }
    Ok(out)
}

pub(super) fn is_iperf3(log: &Log<'_>) -> bool {
    log.is_json() && log.has("\"iperf ") || log.is_json() && log.has("\"sum_received\"")
}

pub(super) fn iperf3(log: &Log<'_>) -> Result<Vec<Measurement>, Vec<Fault>> {
    let json = log.json()?;
    if let Some(error) = json["error"].as_str() {
        return Err(log.fault(format!("iperf3 failed: {error}"), "run it again"));
    }
    let sum = &json["end"]["sum_received"];
    let value = |name: &str| json_number(&sum[name]).filter(|v| *v > 0.0);
    let (Some(bytes), Some(seconds), Some(bits)) = (value("bytes"), value("seconds"), value("bits_per_second")) else {
        return Err(log.fault("`end.sum_received` has no bytes, seconds and rate above 0", "run iperf3 over TCP to its end"));
    };
    if (8.0 * bytes / seconds / bits - 1.0).abs() > 0.01 {
        return Err(log.fault("bytes, seconds and rate do not agree", "run it again"));
    }
    let mut one = message("tcp", bytes, seconds, true, &json_text(&json["start"]["version"]));
    let ends = &json["start"]["connected"][0];
    (one.host, one.peer) = (json_text(&ends["local_host"]), json_text(&ends["remote_host"]));
    one.part = if one.host == one.peer { "loopback".into() } else { "tcp".into() };
    one.time = json_text(&json["start"]["timestamp"]["time"]);
    Ok(vec![one])
}

pub(super) fn is_sockperf(log: &Log<'_>) -> bool {
    log.has("sockperf:")
}

pub(super) fn sockperf(log: &Log<'_>) -> Result<Vec<Measurement>, Vec<Fault>> {
    let value = |word: &str| after(log.text, word).and_then(|t| positive(t.trim_start_matches('=').split_whitespace().next()?));
    let median = value("percentile 50.000");
    let (Some(median), Some(least), Some(most)) = (median, value("<MIN> observation"), value("<MAX> observation")) else {
        return Err(log.truncated("the table of percentiles is not whole"));
    };
    if median < least || median > most {
        return Err(log.fault("least, median and greatest latency do not agree", "run it again"));
    }
    let bytes = after(log.text, "--msg-size=").and_then(|t| positive(t.split_whitespace().next()?)).unwrap_or(14.0);
    let mut one = message("tcp", bytes, 1e-6 * median, false, "sockperf");
    one.part = if log.has("127.0.0.1") { "loopback".into() } else { "tcp".into() };
    let mut inside = false;
    let mut next = 0;
    for line in log.lines() {
        if line.text.starts_with("packet,") {
            inside = true;
        } else if inside && !line.text.trim().is_empty() {
            let cells: Option<Vec<f64>> = line.text.split(',').map(number).collect();
            match cells.as_deref() {
                Some(&[packet, sent, received, latency])
                    if packet as u64 >= next && ((received - sent) / 2.0 * 1e6 - latency).abs() < 0.01 =>
                {
                    next = packet as u64 + 1;
                    one.samples.push(1e-6 * latency);
                }
                _ => return Err(vec![line.fault("packets do not follow each other, or a latency is not half of its round trip")]),
            }
        }
    }
    if inside && !log.text.ends_with('\n') {
        return Err(log.truncated("the last packet is not whole"));
    }
    Ok(vec![one])
}

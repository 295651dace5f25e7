//! Readers of request traces: Azure CSV, Mooncake JSONL, BurstGPT CSV, Vidur CSV, ShareGPT-like JSONL.

use super::lengths::exponential;
use super::request::{NO_SESSION, Request, Requests};
use crate::choice;
use crate::engine::Streams;
use rustc_hash::FxHashMap;
use serde_json::Value as Json;

choice! {
    /// How a trace is written.
    pub enum TraceFormat {
        /// Azure LLM inference: `TIMESTAMP,ContextTokens,GeneratedTokens`.
        Azure = "azure",
        /// Mooncake: JSON lines with `timestamp` in ms, `input_length`, `output_length`, `hash_ids` of 512-token blocks.
        Mooncake = "mooncake",
        /// BurstGPT: `Timestamp`, `Request tokens`, `Response tokens`, perhaps `Session ID`.
        BurstGpt = "burstgpt",
        /// Vidur: `arrived_at,num_prefill_tokens,num_decode_tokens`.
        Vidur = "vidur",
        /// JSON lines with `input_toks`, `output_toks`, and `arrival_time_ns` where arrivals are known.
        ShareGpt = "sharegpt",
    }
}

/// A row that cannot be read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BadRow {
    /// First byte of the line.
    pub start: usize,
    /// One past its last byte.
    pub end: usize,
    /// What is wrong.
    pub reason: String,
}

/// Tokens of a hashed block of Mooncake traces.
const MOONCAKE_BLOCK: u32 = 512;
/// The longest prompt or answer that is taken.
const LONGEST: u64 = 100_000_000;

/// One row: arrival in seconds where it is known.
struct Row {
    arrival: Option<f64>,
    input: u64,
    output: u64,
    session: Option<String>,
    hashes: Vec<u64>,
}

/// Reads a trace: requests sorted by arrival with the first at zero, whether all arrivals are known, and the rows that cannot be read.
#[must_use]
pub fn read_trace(format: TraceFormat, text: &str) -> (Requests, bool, Vec<BadRow>) {
    let mut bad = Vec::new();
    let mut rows: Vec<Row> = Vec::new();
    let mut header: Option<Vec<String>> = None;
    let mut at = 0;
    for line in text.split_inclusive('\n') {
        let (start, end) = (at, at + line.trim_end().len());
        at += line.len();
        let line = line.trim().trim_start_matches('\u{feff}');
        if line.is_empty() {
            continue;
        }
        let row = match format {
            TraceFormat::Mooncake | TraceFormat::ShareGpt => json_row(format, line),
            _ => match &header {
                None => match columns(format, line) {
                    Ok(names) => {
                        header = Some(names);
                        continue;
                    }
                    // Without its columns no row can be read.
                    Err(reason) => {
                        bad.push(BadRow { start, end, reason });
                        return (Requests::default(), true, bad);
                    }
                },
                Some(names) => csv_row(format, names, line),
            },
        };
        match row.and_then(sound) {
            Ok(row) => rows.push(row),
            Err(reason) => bad.push(BadRow { start, end, reason }),
        }
    }
    let timed = rows.iter().all(|r| r.arrival.is_some());
    (collect(format, rows), timed, bad)
}

fn sound(row: Row) -> Result<Row, String> {
    for (what, tokens) in [("prompt", row.input), ("answer", row.output)] {
        if tokens == 0 || tokens > LONGEST {
            return Err(format!("{what} of {tokens} tokens"));
        }
    }
    match row.arrival {
        Some(at) if !(at.is_finite() && at.abs() < 1e15) => Err(format!("an arrival at {at} s")),
        _ => Ok(row),
    }
}

fn collect(format: TraceFormat, mut rows: Vec<Row>) -> Requests {
    let first = rows.iter().filter_map(|r| r.arrival).fold(f64::INFINITY, f64::min);
    let at = |r: &Row| r.arrival.map_or(0.0, |a| a - first);
    rows.sort_by(|a, b| at(a).total_cmp(&at(b)));
    let hash_tokens = if format == TraceFormat::Mooncake { MOONCAKE_BLOCK } else { 0 };
    let mut out = Requests { hash_tokens, ..Requests::default() };
    let mut sessions: FxHashMap<String, u32> = FxHashMap::default();
    for row in rows {
        let arrival = at(&row);
        let next = sessions.len() as u32;
        let session = row.session.map_or(NO_SESSION, |name| *sessions.entry(name).or_insert(next));
        let start = out.hashes.len() as u32;
        out.hashes.extend(row.hashes);
        let hashes = (start, out.hashes.len() as u32);
        out.list.push(Request { arrival, input: row.input as u32, output: row.output as u32, session, hashes });
    }
    out
}

/// The columns that a format needs: arrival, prompt, answer; then the session's, which may be missing.
const fn needed(format: TraceFormat) -> ([&'static str; 3], &'static str) {
    match format {
        TraceFormat::Azure => (["TIMESTAMP", "ContextTokens", "GeneratedTokens"], ""),
        TraceFormat::BurstGpt => (["Timestamp", "Request tokens", "Response tokens"], "Session ID"),
        _ => (["arrived_at", "num_prefill_tokens", "num_decode_tokens"], ""),
    }
}

fn fields(line: &str) -> Vec<&str> {
    line.split(',').map(|f| f.trim().trim_matches('"')).collect()
}

fn columns(format: TraceFormat, line: &str) -> Result<Vec<String>, String> {
    let names: Vec<String> = fields(line).into_iter().map(str::to_owned).collect();
    let missing: Vec<&str> = needed(format).0.into_iter().filter(|n| !names.iter().any(|have| have == n)).collect();
    if missing.is_empty() { Ok(names) } else { Err(format!("the header lacks {}", missing.join(", "))) }
}

fn csv_row(format: TraceFormat, names: &[String], line: &str) -> Result<Row, String> {
    let fields = fields(line);
    if fields.len() != names.len() {
        return Err(format!("{} fields, the header has {}", fields.len(), names.len()));
    }
    let (needed, session) = needed(format);
    let field = |name: &str| names.iter().position(|n| n == name).map_or("", |i| fields[i]);
    let arrival = field(needed[0]);
    let arrival = if format == TraceFormat::Azure { moment(arrival) } else { arrival.parse().ok() };
    let tokens = |name: &str| whole(field(name)).ok_or_else(|| format!("`{}` is no number of tokens ({name})", field(name)));
    Ok(Row {
        arrival: Some(arrival.ok_or_else(|| format!("`{}` is no time ({})", field(needed[0]), needed[0]))?),
        input: tokens(needed[1])?,
        output: tokens(needed[2])?,
        session: Some(field(session).to_owned()).filter(|s| !s.is_empty()),
        hashes: Vec::new(),
    })
}

/// A whole number, perhaps written as a float.
fn whole(text: &str) -> Option<u64> {
    text.parse().ok().or_else(|| text.parse::<f64>().ok().filter(|v| v.fract() == 0.0 && (0.0..1e15).contains(v)).map(|v| v as u64))
}

/// Seconds of `2023-11-16 18:15:46.6805900`, perhaps with `T` or a zone of zero.
fn moment(text: &str) -> Option<f64> {
    let text = text.trim_end_matches("+00:00").trim_end_matches('Z');
    let (date, time) = text.split_once([' ', 'T'])?;
    let date: Vec<i64> = date.split('-').map(str::parse).collect::<Result<_, _>>().ok()?;
    let time: Vec<&str> = time.split(':').collect();
    let ([year, month, day], [hour, minute, second]) = (date[..].try_into().ok()?, time[..].try_into().ok()?);
    let (hour, minute): (i64, i64) = (str::parse(hour).ok()?, str::parse(minute).ok()?);
    let second: f64 = str::parse(second).ok()?;
    let sound = (1970..3000).contains(&year) && (1..=12).contains(&month) && (1..=31).contains(&day);
    if !sound || !(0..24).contains(&hour) || !(0..60).contains(&minute) || !(0.0..61.0).contains(&second) {
        return None;
    }
    // Days since 1970 in the proleptic Gregorian calendar, years beginning in March.
    let (y, m) = if month > 2 { (year, month - 3) } else { (year - 1, month + 9) };
    let days = 365 * y + y / 4 - y / 100 + y / 400 + (153 * m + 2) / 5 + day - 719_469;
    Some((days * 86_400 + hour * 3_600 + minute * 60) as f64 + second)
}

fn json_row(format: TraceFormat, line: &str) -> Result<Row, String> {
    let value: Json =
        serde_json::from_str(line).map_err(|e| format!("this is no JSON: {}", e.to_string().split(" at line").next().unwrap_or("")))?;
    let number = |names: &[&str]| names.iter().find_map(|n| value.get(*n)).and_then(Json::as_f64);
    let tokens = |names: &[&str]| {
        let found = number(names).ok_or_else(|| format!("`{}` is missing or no number", names[0]))?;
        if found.fract() == 0.0 && (0.0..1e15).contains(&found) { Ok(found as u64) } else { Err(format!("`{}` is {found}", names[0])) }
    };
    if format == TraceFormat::ShareGpt {
        let nanoseconds = number(&["arrival_time_ns"]).map(|ns| ns * 1e-9);
        return Ok(Row {
            arrival: nanoseconds.or_else(|| number(&["arrived_at", "timestamp"])),
            input: tokens(&["input_toks", "input_tokens", "prompt_len"])?,
            output: tokens(&["output_toks", "output_tokens", "output_len"])?,
            session: value.get("session_id").map(|s| s.as_str().map_or_else(|| s.to_string(), str::to_owned)),
            hashes: Vec::new(),
        });
    }
    let ids = value.get("hash_ids").and_then(Json::as_array).ok_or("`hash_ids` is missing or no array")?;
    let hashes: Option<Vec<u64>> = ids.iter().map(Json::as_u64).collect();
    Ok(Row {
        arrival: Some(number(&["timestamp"]).ok_or("`timestamp` is missing or no number")? * 1e-3),
        input: tokens(&["input_length"])?,
        output: tokens(&["output_length"])?,
        session: None,
        hashes: hashes.ok_or("`hash_ids` holds something that is no whole number")?,
    })
}

impl Requests {
    /// Keeps what arrives from one moment until before another, the first at zero, and no more than `most`.
    pub fn cut(&mut self, from: f64, until: f64, most: usize) {
        self.list.retain(|r| r.arrival >= from && r.arrival < until);
        self.list.truncate(most);
        let first = self.list.first().map_or(0.0, |r| r.arrival);
        for request in &mut self.list {
            request.arrival -= first;
        }
    }
    /// Repeats all requests `times` over; each round begins one mean gap after the last request of the round before.
    pub fn repeat(&mut self, times: u64) {
        let (n, last) = (self.list.len(), self.list.last().map_or(0.0, |r| r.arrival));
        let round = last + last / (n as f64 - 1.0).max(1.0);
        for i in 1..times {
            for at in 0..n {
                let request = self.list[at];
                self.list.push(Request { arrival: request.arrival + round * i as f64, ..request });
            }
        }
    }
    /// Replaces arrivals by a Poisson stream of some rate.
    pub fn arrive_at(&mut self, rate: f64, streams: &Streams) {
        let mut rng = streams.stream("serving arrivals");
        let mut now = 0.0;
        for request in &mut self.list {
            now += exponential(&mut rng) / rate;
            request.arrival = now;
        }
    }
    /// Makes requests come `factor` times as fast.
    pub fn scale(&mut self, factor: f64) {
        for request in &mut self.list {
            request.arrival /= factor;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn formats() {
        let azure = "TIMESTAMP,ContextTokens,GeneratedTokens\r\n2023-11-16 18:15:46.5,374,44\r\n2023-11-16 18:15:45.0,100,9\r\n";
        let (requests, timed, bad) = read_trace(TraceFormat::Azure, azure);
        assert!(bad.is_empty() && timed);
        assert_eq!(requests.list.iter().map(|r| (r.arrival, r.input, r.output)).collect::<Vec<_>>(), [(0.0, 100, 9), (1.5, 374, 44)]);
        let mooncake = "{\"timestamp\": 0, \"input_length\": 600, \"output_length\": 5, \"hash_ids\": [7, 8]}\n";
        let (requests, _, bad) = read_trace(TraceFormat::Mooncake, mooncake);
        assert!(bad.is_empty() && requests.hashes == [7, 8] && requests.hash_tokens == 512);
        let burst = "Timestamp,Session ID,Model,Request tokens,Response tokens,Total tokens,Log Type\n5,a,m,10,3,13,x\n6,a,m,10,0,10,x\n7,b,m,1,1,2,x\n";
        let (requests, _, bad) = read_trace(TraceFormat::BurstGpt, burst);
        assert_eq!(requests.list.iter().map(|r| r.session).collect::<Vec<_>>(), [0, 1]);
        assert_eq!(bad[0].reason, "answer of 0 tokens");
        assert_eq!(&burst[bad[0].start..bad[0].end], "6,a,m,10,0,10,x");
        let vidur = "arrived_at,num_prefill_tokens,num_decode_tokens\n0.5,10,20\nx,1,1\n1,1\n";
        let (requests, _, bad) = read_trace(TraceFormat::Vidur, vidur);
        assert_eq!((requests.list.len(), bad.len()), (1, 2));
        let share = "{\"input_toks\": 5, \"output_toks\": 6}\n{\"input_toks\": 5\n";
        let (requests, timed, bad) = read_trace(TraceFormat::ShareGpt, share);
        assert_eq!((requests.list.len(), timed, bad.len()), (1, false, 1));
        assert_eq!(read_trace(TraceFormat::Azure, "a,b\n1,2\n").2.len(), 1);
    }

    #[test]
    fn moments() {
        assert_eq!(moment("1970-01-01 00:00:00"), Some(0.0));
        assert_eq!(moment("2024-02-29T12:00:00.25+00:00"), Some(1_709_208_000.25));
        assert_eq!(moment("2024-13-01 00:00:00"), None);
    }

    #[test]
    fn cut_scale_repeat() {
        let list = (0..5).map(|i| Request { arrival: f64::from(i), input: 1, output: 1, ..Request::default() }).collect();
        let mut requests = Requests { list, ..Requests::default() };
        requests.cut(1.0, 4.0, 10);
        assert_eq!(requests.list.iter().map(|r| r.arrival).collect::<Vec<_>>(), [0.0, 1.0, 2.0]);
        requests.repeat(2);
        requests.scale(2.0);
        assert_eq!(requests.list.iter().map(|r| r.arrival).collect::<Vec<_>>(), [0.0, 0.5, 1.0, 1.5, 2.0, 2.5]);
    }
}

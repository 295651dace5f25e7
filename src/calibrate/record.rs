//! The common record of measurements: what importers and probes write and the fit reads, one JSON object a line.

use crate::diag::{Diagnostic, Diagnostics, SourceId, Span, codes};
use crate::measured::{Direction, LinkPath, ValueOrigin};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::fmt::Write;

/// The first line of a file of measurements.
pub const HEADER: &str = "{\"orrery_measurements\":1}";

/// Unit of a measured value.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Unit {
    /// Seconds of one operation.
    #[serde(rename = "s")]
    Seconds,
    /// Bytes per second.
    #[serde(rename = "B/s")]
    BytesPerSecond,
    /// Requests per second.
    #[serde(rename = "op/s")]
    OperationsPerSecond,
    /// Floating-point operations per second.
    #[serde(rename = "FLOP/s")]
    FlopsPerSecond,
    /// Whatever the name of a metric says.
    #[serde(rename = "")]
    Other,
}

/// Tables of operators.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum OperatorTable {
    /// Matrix products.
    Gemm,
    /// Attention.
    Attention,
    /// Mixture-of-experts layers.
    Moe,
}

/// What was measured.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum What {
    /// A collective, in seconds.
    Collective {
        /// Operation, such as `all_reduce`.
        op: String,
        /// Buffer, by the convention of nccl-tests.
        bytes: f64,
        /// Ranks.
        ranks: u64,
        /// Nodes.
        nodes: u64,
        /// Whose kernels.
        library: String,
        /// `graph`, `eager` or `single-process`.
        launch: String,
        /// Algorithm and protocol where they were forced or are known; else empty.
        #[serde(default, skip_serializing_if = "String::is_empty")]
        variant: String,
    },
    /// A copy or a message, in seconds.
    Link {
        /// Which way.
        path: String,
        /// Size.
        bytes: f64,
        /// Whether many were in flight: the time tells the rate and nothing of the start-up.
        streamed: bool,
    },
    /// A stream through memory, in bytes per second.
    Memory {
        /// `copy`, `scale`, `add`, `triad`, `read`, `write`.
        kernel: String,
        /// Working set.
        bytes: f64,
        /// Threads.
        threads: u64,
    },
    /// A shape of an operator, in seconds; cells are the columns of its table.
    Operator {
        /// Which table.
        table: OperatorTable,
        /// Cells by column.
        cells: BTreeMap<String, String>,
    },
    /// Requests to storage, per second.
    Storage {
        /// `read` or `write`.
        direction: String,
        /// `sequential`, `random` or `mixed`.
        pattern: String,
        /// Request.
        bytes: f64,
        /// Requests in flight, of all jobs together.
        depth: f64,
        /// How requests are made: `io_uring`, `libaio`, `psync` …
        engine: String,
        /// Mean seconds of one request; 0 where it is not known.
        latency_s: f64,
    },
    /// A figure without a model of its own; nodes are compared by it.
    Metric {
        /// Its name.
        name: String,
    },
}

/// The figure of a number format's products: what is left of the rate of short measurements when the device works without a pause.
#[must_use]
pub fn sustained_share(format: &str) -> String {
    format!("sustained share of {format} products")
}

/// One measurement.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Measurement {
    /// What.
    pub what: What,
    /// The value: a median where there are repetitions.
    pub value: f64,
    /// Its unit.
    pub unit: Unit,
    /// Repetitions, where they are known.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub samples: Vec<f64>,
    /// How it came to be: `hardware`, `imported`, `host`, `synthetic`.
    pub origin: String,
    /// Tool with its version where that is known.
    pub tool: String,
    /// File, without its folder.
    pub source: String,
    /// When (UTC or as the tool wrote it); empty: unknown.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub time: String,
    /// What the device calls itself; empty: unknown.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub device: String,
    /// Part of the catalogue; empty: unknown.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub part: String,
    /// Node that measured; empty: unknown.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub host: String,
    /// The other end of a link; empty: none.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub peer: String,
    /// Measuring session: what belongs together and is resampled together.
    pub session: String,
    /// What the device was and did meanwhile: `driver`, `uuid`, `pci`, `gpu`, clocks, power, temperature, `throttle`; `slowed` where it held
    /// itself back, `modes` where the repetitions fall into two groups.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub conditions: BTreeMap<String, String>,
    /// Measured inside a running job: kept, shown, never fitted.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub in_situ: bool,
}

impl Measurement {
    /// A measurement of which only the value is known yet.
    #[must_use]
    pub fn new(what: What, value: f64, unit: Unit, tool: &str) -> Self {
        Self {
            what,
            value,
            unit,
            samples: Vec::new(),
            origin: ValueOrigin::Imported.word().into(),
            tool: tool.into(),
            source: String::new(),
            time: String::new(),
            device: String::new(),
            part: String::new(),
            host: String::new(),
            peer: String::new(),
            session: String::new(),
            conditions: BTreeMap::new(),
            in_situ: false,
        }
    }

    /// Why its value is no measure of the device, if so.
    pub(super) fn unfit(&self) -> Option<&'static str> {
        if matches!(self.what, What::Metric { .. }) {
            None
        } else if self.conditions.contains_key("slowed") {
            Some("the device held itself back (heat, power brake): kept, never fitted")
        } else if self.conditions.contains_key("modes") {
            Some("repetitions fall into two groups: both kept, neither fitted")
        } else {
            None
        }
    }

    /// The origin that it can claim: a stand-in's records stay synthetic whatever they say, and one of hardware names driver, UUID and bus.
    fn believed(mut self) -> Self {
        let has = |key: &str| self.conditions.get(key).is_some_and(|v| !v.is_empty());
        let nameless = |v: &String| v.chars().all(|c| !c.is_ascii_hexdigit() || c == '0');
        let no_device = self.conditions.get("uuid").is_some_and(|u| nameless(&u.replace("GPU", "")));
        let claimed = ValueOrigin::from_word(&self.origin);
        if self.device.starts_with("SYNTHETIC") || no_device {
            self.origin = ValueOrigin::Synthetic.word().into();
        } else if claimed == Some(ValueOrigin::Hardware) && !["driver", "uuid", "pci"].into_iter().all(has) {
            self.origin = ValueOrigin::Imported.word().into();
        }
        self
    }

    /// What is wrong with it, if anything.
    fn fault(&self) -> Option<String> {
        let sound = |v: f64| v.is_finite() && v > 0.0;
        let signed = matches!(self.what, What::Metric { .. });
        if !(sound(self.value) || signed && self.value.is_finite()) {
            return Some(format!("the value {} is no measurement", self.value));
        }
        if self.samples.iter().any(|s| !s.is_finite() || *s < 0.0) {
            return Some("a sample is negative or not finite".into());
        }
        if ValueOrigin::from_word(&self.origin).is_none() {
            return Some(format!("the origin `{}` is not one of {}", self.origin, ValueOrigin::WORDS.join(", ")));
        }
        let size = match &self.what {
            What::Collective { op, bytes, ranks, nodes, .. } => {
                if !crate::measured::OPERATIONS.contains(&op.as_str()) {
                    return Some(format!("the operation `{op}` is unknown"));
                }
                if *ranks < 2 || *nodes < 1 || nodes > ranks {
                    return Some(format!("{ranks} ranks on {nodes} nodes are no collective"));
                }
                *bytes
            }
            What::Link { path, bytes, .. } => {
                if LinkPath::from_word(path).is_none() {
                    return Some(format!("the path `{path}` is not one of {}", LinkPath::WORDS.join(", ")));
                }
                *bytes
            }
            What::Memory { bytes, .. } => *bytes,
            What::Storage { direction, bytes, depth, .. } => {
                if Direction::from_word(direction).is_none() || !sound(*depth) {
                    return Some(format!("`{direction}` at depth {depth} is no request"));
                }
                *bytes
            }
            What::Operator { .. } | What::Metric { .. } => 1.0,
        };
        (!sound(size)).then(|| format!("the size {size} is none"))
    }
}

/// Whether a text is a file of measurements.
#[must_use]
pub fn is_measurements(text: &str) -> bool {
    text.trim_start_matches('\u{feff}').starts_with("{\"orrery_measurements\"")
}

/// The file of measurements.
#[must_use]
pub fn to_lines(list: &[Measurement]) -> String {
    let mut out = format!("{HEADER}\n");
    for one in list {
        let _ = writeln!(out, "{}", serde_json::to_string(one).unwrap_or_default());
    }
    out
}

/// Reads a file of measurements; `None` when a line is faulty, which `diags` then holds.
pub(super) fn from_lines(source: SourceId, diags: &mut Diagnostics) -> Option<Vec<Measurement>> {
    let text = diags.source(source).text.clone();
    let before = diags.error_count();
    let mut out = Vec::new();
    let mut at = 0;
    for (number, line) in text.split_inclusive('\n').enumerate() {
        let span = Span { source, start: at as u32, end: (at + line.trim_end().len()) as u32 };
        at += line.len();
        if number == 0 {
            if line.trim() != HEADER {
                let message = "these measurements have another format";
                diags.push(
                    Diagnostic::error(codes::UNKNOWN_FORMAT, message)
                        .at(span, "unknown header")
                        .hint(format!("this program reads {HEADER}")),
                );
                return None;
            }
            continue;
        }
        if line.trim().is_empty() {
            continue;
        }
        let read = serde_json::from_str::<Measurement>(line).map_err(|e| e.to_string());
        match read.and_then(|m| m.fault().map_or(Ok(m), Err)) {
            Ok(one) => out.push(one.believed()),
            Err(message) => {
                diags.push(Diagnostic::error(codes::BAD_LOG, format!("this is no measurement: {message}")).at(span, "this line"));
                if diags.error_count() > before + 20 {
                    break;
                }
            }
        }
    }
    (diags.error_count() == before).then_some(out)
}

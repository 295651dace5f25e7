//! The schema of measured entries, and how a curve gives a time.

use super::estimate::{Above, Bias, Estimate};
use crate::diag::{At, Count, Diagnostic, Diagnostics, Finite, List, Name, Plain, Text, Whole, codes};
use crate::{choice, record};

choice! {
    /// How a value came to be.
    pub enum ValueOrigin {
        /// Measured by `calibrate probe` on the accelerator that the entry names.
        Hardware = "hardware",
        /// Read from the log of another tool.
        Imported = "imported",
        /// Measured by `calibrate probe` on a host.
        Host = "host",
        /// Made by a stand-in; enters no plan unless that is allowed.
        Synthetic = "synthetic",
    }
}

record! {
    /// Where an entry's values come from.
    pub struct Stamp {
        /// How they came to be.
        pub origin: ValueOrigin,
        /// Tool that measured, with its version where that is known.
        pub tool: Text = String::new(),
        /// Files that were read.
        pub source: Text,
        /// When it was measured (UTC), where that is known.
        pub time: Text = String::new(),
        /// What the device calls itself, with UUID or PCI address where these are known.
        pub device: Text = String::new(),
        /// Measuring sessions; with one, intervals only tell how repeatable a session is.
        pub sessions: Count = 1,
    }
}

record! {
    /// How well a curve says what was measured.
    pub struct CurveQuality {
        /// Measurements.
        pub points: Count,
        /// Median of the absolute relative error of sizes that were left out of the fit one at a time.
        pub median: Plain,
        /// Its 90th percentile.
        pub p90: Plain,
        /// Its greatest value.
        pub worst: Plain,
        /// Median of the signed error.
        pub bias: Bias,
    }
}

record! {
    /// One line of a curve.
    pub struct LineRow {
        /// Start-up, microseconds.
        pub start: Estimate,
        /// Rate, GB/s (1e9 bytes); absent: the time does not grow with the size.
        pub rate: Option<Above>,
    }
}

record! {
    /// A collective by size: the least of some lines.
    pub struct CollectiveRow {
        /// Operation.
        pub op: Name,
        /// Part of the catalogue that was measured; parts with the same scale-up links borrow it.
        pub accelerator: Name,
        /// Ranks.
        pub ranks: Count,
        /// Nodes.
        pub nodes: Count = 1,
        /// Whose kernels: `nccl`, or an engine.
        pub library: Name = "nccl".into(),
        /// What the host's launch added: `graph`, `eager`, `single-process`.
        pub launch: Name = "graph".into(),
        /// Where the values come from.
        pub from: Stamp,
        /// Smallest and greatest size that was measured, bytes.
        pub range: List<Plain>,
        /// How well it fits.
        pub quality: CurveQuality,
        /// Lines; the least of them counts.
        pub line: List<LineRow>,
        /// What the measurements could not determine.
        pub undetermined: List<Text> = Vec::new(),
    }
}

choice! {
    /// Which way a copy or a message goes.
    pub enum LinkPath {
        /// Host memory to accelerator.
        HostToDevice = "host-to-device",
        /// Accelerator to host memory.
        DeviceToHost = "device-to-host",
        /// Between two accelerators of a node.
        Peer = "peer",
        /// Inside one accelerator's memory.
        Device = "device",
        /// A message by RDMA between two NICs.
        Rdma = "rdma",
        /// A message over TCP.
        Tcp = "tcp",
    }
}

record! {
    /// A copy or a message by size: the least of some lines.
    pub struct LinkRow {
        /// Which way.
        pub path: LinkPath,
        /// Part that was measured: an accelerator's catalogue id, a NIC's, or a name.
        pub part: Name,
        /// Where the values come from.
        pub from: Stamp,
        /// Smallest and greatest size that was measured, bytes.
        pub range: List<Plain>,
        /// How well it fits.
        pub quality: CurveQuality,
        /// Lines; the least of them counts.
        pub line: List<LineRow>,
        /// What the measurements could not determine.
        pub undetermined: List<Text> = Vec::new(),
    }
}

record! {
    /// Bandwidth of a memory by working set.
    pub struct MemoryRow {
        /// Part that was measured: an accelerator's catalogue id, a host's, or `host`.
        pub part: Name,
        /// Where the values come from.
        pub from: Stamp,
        /// Measurements.
        pub points: Count,
        /// Upper ends of the levels' working sets, bytes; the last level is the memory itself.
        pub level: List<Finite>,
        /// Bandwidth of each level, GB/s (1e9 bytes).
        pub bandwidth: List<Above>,
        /// What the measurements could not determine.
        pub undetermined: List<Text> = Vec::new(),
    }
}

choice! {
    /// Which way the bytes of a storage tier go.
    pub enum Direction {
        /// From the tier.
        Read = "read",
        /// To the tier.
        Write = "write",
    }
}

record! {
    /// One direction of a storage tier as one node sees it: a request at depth q takes `latency + q (1/iops + bytes/bandwidth)`.
    pub struct StorageRow {
        /// Name of the tier in the topology.
        pub tier: Name,
        /// Which way.
        pub direction: Direction,
        /// Where the values come from.
        pub from: Stamp,
        /// How well it fits.
        pub quality: CurveQuality,
        /// Seconds of one small request on the idle tier, microseconds; absent: undetermined.
        pub latency: Option<Above>,
        /// Requests in a second; absent: undetermined.
        pub iops: Option<Above>,
        /// Bandwidth, GB/s (1e9 bytes); absent: undetermined.
        pub bandwidth: Option<Above>,
        /// What the measurements could not determine.
        pub undetermined: List<Text> = Vec::new(),
    }
}

record! {
    /// Measurements that were kept out because no such part can reach them.
    pub struct Quarantined {
        /// What was measured.
        pub what: Text,
        /// Where it comes from.
        pub from: Stamp,
        /// Measured rate over the data sheet's.
        pub share: Finite,
        /// Measurements.
        pub points: Whole,
    }
}

/// Lines of which the least counts, with the range in which they were measured.
#[derive(Debug, Clone, Copy)]
pub struct Curve<'a> {
    line: &'a At<Vec<At<LineRow>>>,
    range: &'a At<Vec<At<f64>>>,
}

impl CollectiveRow {
    /// Its curve.
    #[must_use]
    pub const fn curve(&self) -> Curve<'_> {
        Curve { line: &self.line, range: &self.range }
    }
}

impl LinkRow {
    /// Its curve.
    #[must_use]
    pub const fn curve(&self) -> Curve<'_> {
        Curve { line: &self.line, range: &self.range }
    }
}

impl MemoryRow {
    /// Bandwidth of the memory itself, bytes per second.
    #[must_use]
    pub fn memory(&self) -> f64 {
        self.bandwidth.last().map_or(0.0, |b| 1e9 * b.value.value)
    }
}

impl LineRow {
    fn seconds(&self) -> (f64, f64) {
        (1e-6 * self.start.value.value, self.rate.map_or(f64::INFINITY, |r| 1e9 * r.value))
    }
}

impl Curve<'_> {
    /// Seconds of start-up and bytes per second of the line that counts at a size.
    #[must_use]
    pub fn at(&self, bytes: f64) -> (f64, f64) {
        let lines = self.line.iter().map(|l| l.value.seconds());
        lines.min_by(|a, b| (a.0 + bytes / a.1).total_cmp(&(b.0 + bytes / b.1))).unwrap_or((0.0, f64::INFINITY))
    }
    /// Seconds at a size.
    #[must_use]
    pub fn time(&self, bytes: f64) -> f64 {
        let (start, rate) = self.at(bytes);
        start + bytes / rate
    }
    /// Smallest and greatest measured size, bytes.
    #[must_use]
    pub fn range(&self) -> (f64, f64) {
        (self.range.first().map_or(0.0, |v| v.value), self.range.last().map_or(f64::INFINITY, |v| v.value))
    }
    /// Bytes per second at the largest measured size and beyond.
    #[must_use]
    pub fn rate(&self) -> f64 {
        self.at(1e15).1
    }

    pub(super) fn check(&self, diags: &mut Diagnostics) {
        if self.line.is_empty() || self.line.len() > 3 {
            let message = format!("a curve has one to three lines, not {}", self.line.len());
            diags.push(Diagnostic::error(codes::OUT_OF_RANGE, message).at(self.line.span, "these lines"));
        }
        let [low, high] = self.range.value[..] else {
            diags.push(Diagnostic::error(codes::OUT_OF_RANGE, "a range has two sizes").at(self.range.span, "not [smallest, greatest]"));
            return;
        };
        if low.value > high.value {
            diags.push(Diagnostic::error(codes::CONFLICT, "the smallest size is above the greatest").at(self.range.span, "this range"));
        }
        for line in self.line.iter().filter(|l| l.rate.is_none() && l.start.value.value <= 0.0) {
            diags.push(Diagnostic::error(codes::OUT_OF_RANGE, "this line takes no time").at(line.span, "start-up 0 and no rate"));
        }
    }
}

//! Network, system and memory files of ASTRA-sim as typed data.
//!
//! Traps: a network's "GB/s" are 2^30 bytes per second ([`Dimension::bytes_per_second`]); a switch's latency counts twice, up
//! and down; `peak-perf` is TFLOP/s, `local-mem-bw` 10^9 bytes per second. Unknown keys are faults. Keys that ASTRA-sim does
//! not read are in [`IGNORED`] and listed in [`System::ignored`].

use super::groups::line_of;
use super::{MAX_RANKS, TraceError, yaml};
use serde_json::{Map, Value};

/// Keys of system files that ASTRA-sim does not read.
pub const IGNORED: [&str; 3] = ["boost-mode", "intra-dimension-scheduling", "inter-dimension-scheduling"];

/// How the nodes of a dimension are wired.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Wiring {
    /// A ring in both directions.
    Ring,
    /// A switch.
    Switch,
    /// A link between each two.
    FullyConnected,
}

/// A dimension of a network.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Dimension {
    /// Wiring.
    pub wiring: Wiring,
    /// Ranks along it.
    pub count: u32,
    /// What the file calls GB/s, of each link in each direction.
    pub bandwidth: f64,
    /// Nanoseconds of a link.
    pub latency_nanos: f64,
}

impl Dimension {
    /// The bandwidth that ASTRA-sim runs: its GB are 2^30 bytes.
    #[must_use]
    pub fn bytes_per_second(&self) -> f64 {
        self.bandwidth * f64::from(1u32 << 30)
    }
}

/// A network: a product of dimensions, the first innermost.
#[derive(Debug, Clone, PartialEq)]
pub struct Network {
    /// Dimensions.
    pub dimensions: Vec<Dimension>,
}

impl Network {
    /// How many ranks there are.
    #[must_use]
    pub fn ranks(&self) -> u32 {
        self.dimensions.iter().map(|d| d.count).product()
    }
    /// Where a rank is along each dimension.
    #[must_use]
    pub fn place(&self, rank: u32) -> Vec<u32> {
        let mut rest = rank;
        let step = |d: &Dimension| {
            let here = rest % d.count;
            rest /= d.count;
            here
        };
        self.dimensions.iter().map(step).collect()
    }
}

/// Keys of network files.
const NETWORK: [&str; 4] = ["topology", "npus_count", "bandwidth", "latency"];

/// Reads a network file.
///
/// # Errors
/// The first fault of the file.
pub fn read_network(file: &str, bytes: &[u8]) -> Result<Network, TraceError> {
    let entries = yaml::read(file, TraceError::utf8(file, bytes)?)?;
    if let Some(e) = entries.iter().find(|e| !NETWORK.contains(&e.key.as_str())) {
        return Err(TraceError::text(file, e.line, format!("`{}` is not known here", e.key), format!("write {}", NETWORK.join(", "))));
    }
    let topology = entry(file, &entries, NETWORK[0])?;
    for key in &NETWORK[1..] {
        let entry = entry(file, &entries, key)?;
        if entry.items.len() != topology.items.len() {
            let what = format!("`{key}` has {} values and `topology` {}", entry.items.len(), topology.items.len());
            return Err(TraceError::text(file, entry.line, what, "write one value for each dimension"));
        }
    }
    let dimensions: Vec<_> = (0..topology.items.len()).map(|i| dimension(file, &entries, i)).collect::<Result<_, _>>()?;
    let ranks: f64 = dimensions.iter().map(|d| f64::from(d.count)).product();
    if dimensions.is_empty() || ranks > f64::from(MAX_RANKS) {
        return Err(TraceError::text(file, topology.line, format!("the network has {ranks} ranks"), "use 1 to 1048576 ranks"));
    }
    Ok(Network { dimensions })
}

fn entry<'a>(file: &str, entries: &'a [yaml::Entry], key: &str) -> Result<&'a yaml::Entry, TraceError> {
    let found = entries.iter().find(|e| e.key == key);
    found.ok_or_else(|| TraceError::text(file, 1, format!("`{key}` is missing"), format!("write `{key}: [ … ]`")))
}

fn dimension(file: &str, entries: &[yaml::Entry], i: usize) -> Result<Dimension, TraceError> {
    let item = |key| entry(file, entries, key).map(|e| (e.line, e.items.get(i).map_or("", String::as_str)));
    let number = |key| -> Result<f64, TraceError> {
        let (line, word) = item(key)?;
        let number = word.parse().ok().filter(|n: &f64| n.is_finite() && *n >= 0.0);
        number.ok_or_else(|| TraceError::text(file, line, format!("`{key}` has the value `{word}`"), "write a number"))
    };
    let (line, word) = item(NETWORK[0])?;
    let wiring = wiring(word);
    let wiring =
        wiring.ok_or_else(|| TraceError::text(file, line, format!("`{word}` is no topology"), "write Ring, Switch or FullyConnected"))?;
    let count = number(NETWORK[1])?;
    if count < 1.0 || count.fract() != 0.0 || count > f64::from(MAX_RANKS) {
        return Err(TraceError::text(file, item(NETWORK[1])?.0, format!("`npus_count` is {count}"), "write a whole number from 1"));
    }
    Ok(Dimension { wiring, count: count as u32, bandwidth: number(NETWORK[2])?, latency_nanos: number(NETWORK[3])? })
}

fn wiring(word: &str) -> Option<Wiring> {
    Some(match word {
        "Ring" => Wiring::Ring,
        "Switch" => Wiring::Switch,
        "FullyConnected" => Wiring::FullyConnected,
        _ => return None,
    })
}

/// How collectives of one kind run: a word for each dimension, such as `ring` or `direct`, or files of their own.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Algorithm {
    /// A word for each dimension.
    pub by_dimension: Vec<String>,
    /// Prefixes of traces that are the algorithm.
    pub custom: Vec<String>,
}

/// A system file; what it does not say is `None`, and ASTRA-sim's own default applies.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct System {
    /// `LIFO`, `FIFO` or `EXPLICIT`.
    pub scheduling_policy: Option<String>,
    /// Nanoseconds at each end of a message.
    pub endpoint_delay: Option<f64>,
    /// Chunks that run at once in a dimension.
    pub active_chunks_per_dimension: Option<f64>,
    /// Chunks that a collective is cut into.
    pub preferred_dataset_splits: Option<f64>,
    /// All-reduce.
    pub all_reduce: Algorithm,
    /// All-gather.
    pub all_gather: Algorithm,
    /// Reduce-scatter.
    pub reduce_scatter: Algorithm,
    /// All-to-all.
    pub all_to_all: Algorithm,
    /// `baseline` or `localBWAware`.
    pub collective_optimization: Option<String>,
    /// Memory bandwidth in 10^9 bytes per second.
    pub local_mem_bw: Option<f64>,
    /// Delay of a reduction.
    pub local_reduction_delay: Option<f64>,
    /// Whether compute times come from a roofline.
    pub roofline_enabled: Option<bool>,
    /// Peak in TFLOP/s.
    pub peak_perf: Option<f64>,
    /// Whether all times are those recorded.
    pub replay_only: Option<bool>,
    /// Whether memory is traced.
    pub track_local_mem: Option<bool>,
    /// Where to.
    pub local_mem_trace_filename: Option<String>,
    /// Whether a timeline is logged.
    pub trace_enabled: Option<bool>,
    /// Whether the memory bus is modelled.
    pub model_shared_bus: Option<bool>,
    /// LogGP: latency, overhead, gap, gap for each byte.
    pub loggp: [Option<f64>; 4],
    /// Keys in the file that ASTRA-sim does not read.
    pub ignored: Vec<String>,
}

/// A JSON object with the text that it stands in.
struct Table<'a> {
    file: &'a str,
    text: &'a str,
    map: Map<String, Value>,
}

impl<'a> Table<'a> {
    fn read(file: &'a str, bytes: &'a [u8]) -> Result<Self, TraceError> {
        let text = TraceError::utf8(file, bytes)?;
        match serde_json::from_str(text).map_err(|e| TraceError::json(file, &e))? {
            Value::Object(map) => Ok(Self { file, text, map }),
            _ => Err(TraceError::text(file, 1, "this is not a JSON object", "write { \"key\": value }")),
        }
    }
    fn fault(&self, key: &str, what: String, fix: &str) -> TraceError {
        TraceError::text(self.file, line_of(self.text, key), what, fix)
    }
    fn number(&mut self, key: &str) -> Result<Option<f64>, TraceError> {
        let Some(value) = self.map.shift_remove(key) else { return Ok(None) };
        let number = value.as_f64().filter(|n| *n >= 0.0);
        number.map(Some).ok_or_else(|| self.fault(key, format!("`{key}` is {value}"), "write a number from 0"))
    }
    /// Flags are 0 and 1, or booleans.
    fn flag(&mut self, key: &str) -> Result<Option<bool>, TraceError> {
        let Some(value) = self.map.shift_remove(key) else { return Ok(None) };
        let flag = value.as_bool().or_else(|| value.as_f64().map(|n| n != 0.0));
        flag.map(Some).ok_or_else(|| self.fault(key, format!("`{key}` is {value}"), "write 0 or 1"))
    }
    fn word(&mut self, key: &str, known: &[&str]) -> Result<Option<String>, TraceError> {
        let Some(value) = self.map.shift_remove(key) else { return Ok(None) };
        let word = value.as_str().filter(|w| known.is_empty() || known.contains(w)).map(str::to_owned);
        let fix = if known.is_empty() { "write a text".to_owned() } else { format!("write {}", known.join(", ")) };
        word.map(Some).ok_or_else(|| self.fault(key, format!("`{key}` is {value}"), &fix))
    }
    fn words(&mut self, key: &str) -> Result<Vec<String>, TraceError> {
        let Some(value) = self.map.shift_remove(key) else { return Ok(Vec::new()) };
        let words = value.as_array().and_then(|l| l.iter().map(|v| v.as_str().map(str::to_owned)).collect());
        words.ok_or_else(|| self.fault(key, format!("`{key}` is {value}"), "write a list of texts, one for each dimension"))
    }
    fn algorithm(&mut self, op: &str) -> Result<Algorithm, TraceError> {
        let key = format!("{op}-implementation");
        let by_dimension = self.words(&key)?;
        if let Some(word) = by_dimension.iter().find(|w| !is_algorithm(w)) {
            return Err(self.fault(&key, format!("`{word}` is no algorithm"), "write ring, direct, halvingDoubling or doubleBinaryTree"));
        }
        Ok(Algorithm { by_dimension, custom: self.words(&format!("{key}-custom"))? })
    }
    /// Refuses what was not asked for.
    fn finish(self, known: &str) -> Result<(), TraceError> {
        match self.map.keys().next() {
            Some(key) => Err(self.fault(key, format!("`{key}` is not known here"), known)),
            None => Ok(()),
        }
    }
}

fn is_algorithm(word: &str) -> bool {
    let window = |name: &str| word.strip_prefix(name).is_some_and(|n| n.chars().all(|c| c.is_ascii_digit()));
    let plain = ["ring", "oneRing", "halvingDoubling", "oneHalvingDoubling", "doubleBinaryTree"];
    plain.contains(&word) || window("direct") || window("oneDirect")
}

/// Reads a system file.
///
/// # Errors
/// The first fault of the file.
pub fn read_system(file: &str, bytes: &[u8]) -> Result<System, TraceError> {
    let mut table = Table::read(file, bytes)?;
    let t = &mut table;
    let ignored = IGNORED.iter().filter(|k| t.map.shift_remove(**k).is_some()).map(ToString::to_string).collect();
    let out = System {
        scheduling_policy: t.word("scheduling-policy", &["LIFO", "FIFO", "EXPLICIT"])?,
        endpoint_delay: t.number("endpoint-delay")?,
        active_chunks_per_dimension: t.number("active-chunks-per-dimension")?,
        preferred_dataset_splits: t.number("preferred-dataset-splits")?,
        all_reduce: t.algorithm("all-reduce")?,
        all_gather: t.algorithm("all-gather")?,
        reduce_scatter: t.algorithm("reduce-scatter")?,
        all_to_all: t.algorithm("all-to-all")?,
        collective_optimization: t.word("collective-optimization", &["baseline", "localBWAware"])?,
        local_mem_bw: t.number("local-mem-bw")?,
        local_reduction_delay: t.number("local-reduction-delay")?,
        roofline_enabled: t.flag("roofline-enabled")?,
        peak_perf: t.number("peak-perf")?,
        replay_only: t.flag("replay-only")?,
        track_local_mem: t.flag("track-local-mem")?,
        local_mem_trace_filename: t.word("local-mem-trace-filename", &[])?,
        trace_enabled: t.flag("trace-enabled")?,
        model_shared_bus: t.flag("model-shared-bus")?,
        loggp: [t.number("L")?, t.number("o")?, t.number("g")?, t.number("G")?],
        ignored,
    };
    table.finish("remove it, or see the page of ASTRA-sim's system file for its spelling")?;
    Ok(out)
}

/// Where memory outside the accelerators is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum MemoryKind {
    /// There is none.
    NoExpansion,
    /// One for each node.
    PerNode,
    /// One for each accelerator.
    PerAccelerator,
    /// One for all.
    Pool,
}

/// A memory file.
#[derive(Debug, Clone, PartialEq)]
pub struct Memory {
    /// Where it is.
    pub kind: MemoryKind,
    /// Nanoseconds of an access.
    pub latency_nanos: Option<f64>,
    /// Bytes for each nanosecond.
    pub bytes_per_nano: Option<f64>,
    /// Nodes.
    pub nodes: Option<f64>,
    /// Accelerators of a node.
    pub per_node: Option<f64>,
}

/// Reads a memory file.
///
/// # Errors
/// The first fault of the file.
pub fn read_memory(file: &str, bytes: &[u8]) -> Result<Memory, TraceError> {
    const KINDS: [(&str, MemoryKind); 4] = [
        ("NO_MEMORY_EXPANSION", MemoryKind::NoExpansion),
        ("PER_NODE_MEMORY_EXPANSION", MemoryKind::PerNode),
        ("PER_NPU_MEMORY_EXPANSION", MemoryKind::PerAccelerator),
        ("MEMORY_POOL", MemoryKind::Pool),
    ];
    let mut table = Table::read(file, bytes)?;
    let t = &mut table;
    let word = t.word("memory-type", &KINDS.map(|k| k.0))?;
    let kind = KINDS.iter().find(|k| Some(k.0) == word.as_deref()).map(|k| k.1);
    let kind =
        kind.ok_or_else(|| TraceError::text(file, 1, "`memory-type` is missing", "write \"memory-type\": \"NO_MEMORY_EXPANSION\""))?;
    let out = Memory {
        kind,
        latency_nanos: t.number("remote-mem-latency")?,
        bytes_per_nano: t.number("remote-mem-bw")?,
        nodes: t.number("num-nodes")?,
        per_node: t.number("num-npus-per-node")?,
    };
    table.finish("known are memory-type, remote-mem-latency, remote-mem-bw, num-nodes, num-npus-per-node")?;
    Ok(out)
}

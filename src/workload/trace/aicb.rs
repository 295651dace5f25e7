//! AICB workloads, the text that SimAI and ASTRA-sim 1.0 read: a line of parallelism, a count, then a line for each layer.
//!
//! All ranks run the same list of layers: forward in order, then backward in reverse. Times are nanoseconds, sizes of
//! collectives whole buffers (an all-gather's is the gathered size, unlike Chakra's). A collective without suffix is over
//! tensor ranks in the forward and input-gradient columns and over data ranks in the weight-gradient column; `_EP` is over
//! expert ranks, `_DP_EP` over data ranks that hold the same experts.
//!
//! Known traps: the count of layers is often wrong (layers are read to the end, with a note); values may be floats; a colon
//! may be missing; old files lack `ep`, `pp`, `vpp`, `ga` and `all_gpus`; `vpp` is the number of layers, not of stages, and
//! is not used; SimAI reads `ALLREDUCEALLTOALL` as an all-reduce and only the first checkpoint, so the first is refused here
//! and all checkpoints are read.

use super::{MAX_RANKS, Trace, TraceCollective, TraceError, TraceFault};
use std::str::SplitWhitespace;

pub use super::aicb_lower::trace;

/// Which group a collective is over.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Over {
    /// Tensor ranks.
    Tensor,
    /// Data ranks.
    Data,
    /// Expert ranks.
    Expert,
    /// Data ranks that hold the same experts.
    DataExpert,
    /// All ranks.
    All,
}

/// A column pair of a layer: time and the collective after it.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Part {
    /// Nanoseconds of compute.
    pub nanos: f64,
    /// The collective, where there is one.
    pub comm: Option<(TraceCollective, Over)>,
    /// Its size.
    pub bytes: f64,
}

/// A layer.
#[derive(Debug, Clone, PartialEq)]
pub struct Layer {
    /// Name.
    pub name: String,
    /// Forward.
    pub forward: Part,
    /// Gradient of the input.
    pub input_gradient: Part,
    /// Gradient of the weights.
    pub weight_gradient: Part,
    /// Nanoseconds of the update after the collective of the weights' gradient.
    pub update_nanos: f64,
}

/// How ranks share the work, by the first word of a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// `HYBRID_TRANSFORMER`, `HYBRID_TRANSFORMER_FWD_IN_BCKWD`.
    Transformer,
    /// `MICRO`: collectives only.
    Micro,
    /// `DATA`: all ranks are data ranks.
    Data,
    /// `MODEL`: all ranks are tensor ranks.
    Model,
    /// `HYBRID_DATA_MODEL`, `HYBRID_MODEL_DATA`: tensor ranks inside data ranks.
    Hybrid,
    /// `HYBRID_CUSTOMIZED`: each line says its own in one more column.
    Customized,
    /// `HYBRID_DLRM`, `HYBRID_DLRM_ENHANCED`: embeddings over all ranks, the rest data-parallel.
    Dlrm,
}

/// A workload as its file says it.
#[derive(Debug, Clone, PartialEq)]
pub struct Workload {
    /// File.
    pub file: String,
    /// How ranks share the work.
    pub kind: Kind,
    /// Tensor ranks; none where the file does not say.
    pub tensor: Option<u32>,
    /// Expert ranks.
    pub expert: u32,
    /// Pipeline stages.
    pub pipeline: u32,
    /// Microbatches of a step.
    pub microbatches: u32,
    /// Ranks of the job, where the file says them.
    pub ranks: Option<u32>,
    /// Bytes of a message between stages.
    pub pipeline_bytes: f64,
    /// Layers whose output is kept for a second forward pass.
    pub checkpoints: Vec<u32>,
    /// Layers before whose backward pass the layers since the last checkpoint run forward again.
    pub initiates: Vec<u32>,
    /// Layers.
    pub layers: Vec<Layer>,
    /// What was tolerated.
    pub noticed: Vec<TraceFault>,
}

impl Workload {
    fn empty(file: &str, kind: Kind) -> Self {
        Self {
            file: file.to_owned(),
            kind,
            tensor: None,
            expert: 1,
            pipeline: 1,
            microbatches: 1,
            ranks: None,
            pipeline_bytes: 0.0,
            checkpoints: Vec::new(),
            initiates: Vec::new(),
            layers: Vec::new(),
            noticed: Vec::new(),
        }
    }
}

/// Reads a workload.
///
/// # Errors
/// The first fault of the file.
pub fn read(file: &str, bytes: &[u8]) -> Result<Workload, TraceError> {
    let text = TraceError::utf8(file, bytes)?;
    let mut lines = text.lines().enumerate().filter(|(_, l)| !l.trim().is_empty());
    let first = lines.next().ok_or_else(|| TraceError::text(file, 1, "the file is empty", "begin with HYBRID_TRANSFORMER_FWD_IN_BCKWD"))?;
    let mut out = header(file, first.0 + 1, first.1)?;
    let (row, count) = lines.next().ok_or_else(|| TraceError::text(file, 2, "the count of layers is missing", "write it on line 2"))?;
    let count: usize = count.trim().parse().map_err(|_| {
        let short: String = count.chars().take(40).collect();
        TraceError::text(file, row + 1, format!("`{short}` is not a count of layers"), "write one whole number on line 2")
    })?;
    for (row, line) in lines {
        out.layers.push(layer(file, row + 1, line, out.kind)?);
    }
    if out.layers.is_empty() {
        return Err(TraceError::text(file, row + 1, "there are no layers", "write one line of 12 columns for each layer"));
    }
    if out.layers.len() != count {
        let what = format!("the file says {count} layers and has {}; all of them are read", out.layers.len());
        out.noticed.push(TraceFault::Tolerated { file: file.to_owned(), line: row as u64 + 1, what });
    }
    layers_exist(file, &out)?;
    Ok(out)
}

fn layers_exist(file: &str, out: &Workload) -> Result<(), TraceError> {
    for index in out.checkpoints.iter().chain(&out.initiates) {
        if *index as usize >= out.layers.len() {
            let what = format!("checkpoint layer {index} does not exist; there are {} layers", out.layers.len());
            return Err(TraceError::text(file, 1, what, "number layers from 0"));
        }
    }
    Ok(())
}

/// Words of the first line, each with what stands behind its colon.
struct Words<'a> {
    file: &'a str,
    line: usize,
    words: SplitWhitespace<'a>,
}

impl<'a> Words<'a> {
    fn fault(&self, what: String, fix: &str) -> TraceError {
        TraceError::text(self.file, self.line, what, fix)
    }
    /// The number after a key; floats are whole numbers here.
    fn count(&mut self, key: &str) -> Result<u32, TraceError> {
        let value = self.amount(key)?;
        if value.fract() != 0.0 || value > f64::from(MAX_RANKS) {
            return Err(self.fault(format!("`{key}` is {value}"), "write a whole number, at most 1048576"));
        }
        Ok(value as u32)
    }
    fn amount(&mut self, key: &str) -> Result<f64, TraceError> {
        let word = self.words.next().unwrap_or_default();
        let value = word.parse().ok().filter(|v: &f64| v.is_finite() && *v >= 0.0);
        value.ok_or_else(|| self.fault(format!("`{key}` has the value `{word}`"), &format!("write a number: `{key}: 8`")))
    }
    /// A count and as many numbers.
    fn list(&mut self, key: &str) -> Result<Vec<u32>, TraceError> {
        let count = self.count(key)?;
        (0..count).map(|_| self.count(key)).collect()
    }
}

fn header(file: &str, line: usize, text: &str) -> Result<Workload, TraceError> {
    let mut words = Words { file, line, words: text.split_whitespace() };
    let first = words.words.next().unwrap_or_default();
    let kind = kind(first).ok_or_else(|| {
        let short: String = first.chars().take(40).collect();
        words
            .fault(format!("`{short}` is no kind of workload"), "begin with HYBRID_TRANSFORMER_FWD_IN_BCKWD, or MICRO for collectives only")
    })?;
    let mut out = Workload::empty(file, kind);
    while let Some(word) = words.words.next() {
        let key = word.trim_end_matches(':');
        match key {
            "model_parallel_NPU_group" => out.tensor = Some(words.count(key)?.max(1)),
            "ep" => out.expert = words.count(key)?.max(1),
            "pp" => out.pipeline = words.count(key)?.max(1),
            "vpp" | "DLRM_LAST_BOTTOM_LAYER" => drop(words.count(key)?),
            "ga" => out.microbatches = words.count(key)?.max(1),
            "all_gpus" => out.ranks = Some(words.count(key)?).filter(|r| *r > 0),
            "checkpoints" => out.checkpoints = words.list(key)?,
            "checkpoint_initiates" => out.initiates = words.list(key)?,
            "pp_comm" => out.pipeline_bytes = words.amount(key)?,
            _ => {
                let fix = "known are model_parallel_NPU_group, ep, pp, vpp, ga, all_gpus, checkpoints, checkpoint_initiates, pp_comm";
                let short: String = key.chars().take(40).collect();
                return Err(words.fault(format!("`{short}` is not known here"), fix));
            }
        }
    }
    Ok(out)
}

fn kind(word: &str) -> Option<Kind> {
    Some(match word {
        "HYBRID_TRANSFORMER" | "HYBRID_TRANSFORMER_FWD_IN_BCKWD" => Kind::Transformer,
        "MICRO" => Kind::Micro,
        "DATA" => Kind::Data,
        "MODEL" => Kind::Model,
        "HYBRID_DATA_MODEL" | "HYBRID_MODEL_DATA" => Kind::Hybrid,
        "HYBRID_CUSTOMIZED" => Kind::Customized,
        "HYBRID_DLRM" | "HYBRID_DLRM_ENHANCED" => Kind::Dlrm,
        _ => return None,
    })
}

fn layer(file: &str, line: usize, text: &str, kind: Kind) -> Result<Layer, TraceError> {
    let columns: Vec<&str> = text.split_whitespace().collect();
    let wanted = if kind == Kind::Customized { 13 } else { 12 };
    if columns.len() != wanted {
        let what = format!("a layer has {} columns", columns.len());
        return Err(TraceError::text(
            file,
            line,
            what,
            format!("write {wanted}: name, -1, three times time, collective and size, update time"),
        ));
    }
    let kind = if kind == Kind::Customized { custom(file, line, columns[12])? } else { kind };
    let amount = |i: usize| {
        let value = columns[i].parse().ok().filter(|v: &f64| v.is_finite() && *v >= 0.0);
        value.ok_or_else(|| TraceError::text(file, line, format!("column {} is `{}`", i + 1, columns[i]), "write a number from 0"))
    };
    let part = |i: usize, weights: bool| {
        let comm = comm(columns[i + 1]).map_err(|fix| {
            TraceError::text(file, line, format!("column {} is `{}`, which is no collective", i + 2, columns[i + 1]), fix)
        })?;
        let comm = comm.map(|(op, over)| (op, over.unwrap_or_else(|| default_over(kind, weights))));
        Ok(Part { nanos: amount(i)?, comm, bytes: amount(i + 2)? })
    };
    Ok(Layer {
        name: columns[0].to_owned(),
        forward: part(2, false)?,
        input_gradient: part(5, false)?,
        weight_gradient: part(8, true)?,
        update_nanos: amount(11)?,
    })
}

fn custom(file: &str, line: usize, word: &str) -> Result<Kind, TraceError> {
    let known = kind(word).filter(|k| !matches!(k, Kind::Customized | Kind::Micro));
    known.ok_or_else(|| {
        TraceError::text(file, line, format!("`{word}` is no kind of parallelism"), "write DATA, MODEL or HYBRID_DATA_MODEL")
    })
}

/// The group of a collective without suffix.
const fn default_over(kind: Kind, weights: bool) -> Over {
    match (kind, weights) {
        (Kind::Micro | Kind::Data | Kind::Dlrm | Kind::Model, _) => Over::All,
        (_, true) => Over::Data,
        (_, false) => Over::Tensor,
    }
}

/// A collective and its suffix, or what to write instead.
fn comm(word: &str) -> Result<Option<(TraceCollective, Option<Over>)>, &'static str> {
    let (name, over) = if let Some(name) = word.strip_suffix("_DP_EP") {
        (name, Some(Over::DataExpert))
    } else if let Some(name) = word.strip_suffix("_EP") {
        (name, Some(Over::Expert))
    } else {
        (word, None)
    };
    let op = match name {
        "NONE" => return Ok(None),
        "ALLREDUCE" => TraceCollective::AllReduce,
        "ALLGATHER" => TraceCollective::AllGather,
        "REDUCESCATTER" => TraceCollective::ReduceScatter,
        "ALLTOALL" => TraceCollective::AllToAll,
        "BROADCAST" => TraceCollective::Broadcast,
        "ALLREDUCEALLTOALL" => return Err("SimAI would run only the all-reduce; write two layers, ALLREDUCE and ALLTOALL"),
        _ => return Err("write NONE, ALLREDUCE, ALLGATHER, REDUCESCATTER, ALLTOALL or BROADCAST, with _EP or _DP_EP behind it"),
    };
    Ok(Some((op, over)))
}

/// Reads a workload and spreads it over ranks; see [`trace`].
///
/// # Errors
/// The first fault of the file, or that the ranks do not fit.
pub fn read_trace(file: &str, bytes: &[u8], ranks: Option<u32>) -> Result<Trace, TraceError> {
    trace(&read(file, bytes)?, ranks)
}

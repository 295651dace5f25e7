//! The timeline of an outcome: slices of processes and tracks, and the stretch of a step among them that repeats.

use crate::training::Repeat;
use std::fmt;

/// What a slice of the timeline does.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum SliceKind {
    /// Forward pass of a microbatch.
    Forward,
    /// Backward pass of a microbatch.
    Backward,
    /// Tensor-parallel communication.
    TensorComm,
    /// Pipeline send and receive.
    PipelineComm,
    /// Data-parallel communication.
    DataComm,
    /// Optimizer.
    Optimizer,
    /// Anything else.
    Other,
    /// Compute of a trace on the device.
    Compute,
    /// Compute of a trace on the host.
    Host,
    /// Outside memory of a trace.
    Memory,
    /// Collectives and messages of a trace.
    Communication,
}

/// What a piece of the timeline is called; put into words when somebody looks.
#[derive(Debug, Clone, PartialEq)]
pub enum SliceName {
    /// A pass or its message: `F12.1` is the forward pass of microbatch 12 through model chunk 1.
    Pass(char, u32, u16),
    /// What the replicas of a model chunk exchange.
    Data(u16),
    /// Anything else of a step.
    Word(&'static str),
    /// An operation of a trace.
    Text(String),
}

impl fmt::Display for SliceName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Pass(letter, microbatch, chunk) => write!(f, "{letter}{microbatch}.{chunk}"),
            Self::Data(chunk) => write!(f, "data {chunk}"),
            Self::Word(word) => f.write_str(word),
            Self::Text(text) => f.write_str(text),
        }
    }
}

/// A piece of the timeline.
#[derive(Debug, Clone, PartialEq)]
pub struct Slice {
    /// Index into `Detail::processes`.
    pub process: u32,
    /// Index into `Detail::tracks`.
    pub track: u32,
    /// What it does.
    pub kind: SliceKind,
    /// What it is called.
    pub name: SliceName,
    /// Start, seconds of simulated time.
    pub start_s: f64,
    /// Length in seconds.
    pub duration_s: f64,
}

/// Slices of a step or a trace.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Timeline {
    /// What was run.
    slices: Vec<Slice>,
    /// What of it happened several times.
    repeat: Option<Repeat>,
}

impl Timeline {
    /// Slices, of which a part may repeat.
    #[must_use]
    pub const fn new(slices: Vec<Slice>, repeat: Option<Repeat>) -> Self {
        Self { slices, repeat }
    }
    /// Whether there are none.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.slices.is_empty()
    }
    /// All slices, sorted by process, track and start.
    #[must_use]
    pub fn slices(&self) -> Vec<Slice> {
        let mut out: Vec<Slice> = match &self.repeat {
            None => self.slices.clone(),
            Some(repeat) => self.slices.iter().flat_map(|slice| times(slice, repeat)).collect(),
        };
        out.sort_by(|a, b| (a.process, a.track).cmp(&(b.process, b.track)).then(a.start_s.total_cmp(&b.start_s)));
        out
    }
}

/// A slice as often as it happened.
fn times<'a>(slice: &'a Slice, repeat: &'a Repeat) -> impl Iterator<Item = Slice> + 'a {
    let periods = if repeat.is_in(slice.start_s) {
        0..=repeat.times
    } else if repeat.is_late(slice.start_s) {
        repeat.times..=repeat.times
    } else {
        0..=0
    };
    periods.map(|period| {
        let name = match slice.name {
            SliceName::Pass(letter, microbatch, chunk) => SliceName::Pass(letter, microbatch + period * repeat.count, chunk),
            ref name => name.clone(),
        };
        Slice { name, start_s: slice.start_s + f64::from(period) * repeat.period_s, ..slice.clone() }
    })
}

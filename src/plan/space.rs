//! What is searched: clusters with ways to pay, and the layouts of a job on one of them.

use super::question::{CandidateInput, LayoutInput};
use super::site::Excess;
use crate::diag::{At, Node, Span, Value};
use crate::economics::CostPlan;
use crate::fabric::Fabric;
use crate::hardware::Catalogue;
use crate::scenario::Change;
use crate::training::{Recompute, Schedule};
use std::fmt;
use std::sync::Arc;

/// Context ranks are tried while each keeps this many tokens of a sequence: below, attention has too little work beside the exchange.
const CONTEXT_TOKENS: u64 = 4096;
/// Greatest microbatch that is tried unless microbatches are named.
const MICROBATCH: u64 = 16;
/// Most model chunks of a stage that are tried unless they are named.
const CHUNKS: u64 = 12;

/// A way to pay with the price that it comes to.
#[derive(Debug, Clone)]
pub(super) struct Payment {
    pub(super) name: String,
    /// The payment, and what the candidate sets for it alone.
    pub(super) changes: Vec<Change>,
    pub(super) plan: CostPlan,
    /// Changes of the base that say how this capacity is taken away (spot).
    pub(super) losses: Vec<Change>,
}

/// A cluster of one size, with the ways to pay for it.
pub(super) struct Cluster {
    pub(super) name: String,
    /// Model that is tried on it (largest-model).
    pub(super) model: Option<String>,
    pub(super) changes: Vec<Change>,
    /// What its candidate sets for one way to pay alone.
    pub(super) money: Vec<Change>,
    pub(super) payments: Vec<Payment>,
    pub(super) fabric: Arc<Fabric>,
    pub(super) catalogue: Arc<Catalogue>,
    /// Limits of the site that it does not keep.
    pub(super) excess: Vec<Excess>,
}

/// Sizes of a model that bound its layouts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Sizes {
    pub(super) layers: u64,
    pub(super) heads: u64,
    pub(super) sequence: u64,
}

/// How a job is laid out.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Layout {
    /// Tensor-parallel degree.
    pub tensor: u64,
    /// Pipeline stages.
    pub pipeline: u64,
    /// Data-parallel degree.
    pub data: u64,
    /// Context-parallel degree.
    pub context: u64,
    /// Model chunks of a stage.
    pub virtual_stages: u64,
    /// Order of passes; `None`: the base's.
    pub schedule: Option<Schedule>,
    /// Sequences of one pass.
    pub microbatch: u64,
    /// What is computed again.
    pub recompute: Recompute,
    /// Whether optimizer state is sharded over the replicas; `None` where there are none.
    pub distributed_optimizer: Option<bool>,
    /// Sequence parallelism.
    pub sequence: bool,
}

impl fmt::Display for Layout {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "TP {} × PP {} × DP {}", self.tensor, self.pipeline, self.data)?;
        if self.context > 1 {
            write!(f, " × CP {}", self.context)?;
        }
        if self.virtual_stages > 1 {
            write!(f, ", {} chunks a stage", self.virtual_stages)?;
        }
        if let Some(schedule) = self.schedule.filter(|_| self.pipeline > 1) {
            write!(f, ", {schedule}")?;
        }
        write!(
            f,
            ", microbatch {}, {} recompute",
            self.microbatch,
            if self.recompute == Recompute::None { "no" } else { self.recompute.word() }
        )?;
        match self.distributed_optimizer {
            Some(true) => write!(f, ", sharded optimizer")?,
            Some(false) => write!(f, ", whole optimizer")?,
            None => {}
        }
        if self.tensor > 1 && !self.sequence { write!(f, ", no sequence parallelism") } else { Ok(()) }
    }
}

impl Layout {
    /// The keys of a scenario with their values, in the order of the file.
    #[must_use]
    pub fn keys(&self) -> Vec<(&'static str, Value)> {
        let int = |n: u64| Value::Int(n as i64);
        let mut out = vec![
            ("training.parallel.tensor", int(self.tensor)),
            ("training.parallel.pipeline", int(self.pipeline)),
            ("training.parallel.data", int(self.data)),
            ("training.parallel.context", int(self.context)),
            ("training.parallel.virtual_stages", int(self.virtual_stages)),
            ("training.microbatch", int(self.microbatch)),
            ("training.recompute", Value::Str(self.recompute.word().into())),
        ];
        // Sequence parallelism is a key of tensor parallelism only; `false` takes the base's word back.
        out.push(("training.parallel.sequence", Value::Bool(self.sequence)));
        out.extend(self.schedule.map(|s| ("training.parallel.schedule", Value::Str(s.word().into()))));
        out.extend(self.distributed_optimizer.map(|on| ("training.distributed_optimizer", Value::Bool(on))));
        out
    }

    pub(super) fn changes(&self, place: Span) -> Vec<Change> {
        self.keys().into_iter().map(|(key, value)| put(key, value, place)).collect()
    }
}

/// A change at a place.
pub(super) fn put(key: &str, value: Value, place: Span) -> Change {
    Change { key: key.into(), place, value: Node { span: place, value } }
}

/// The changes that make a candidate of one size.
pub(super) fn candidate_changes(candidate: &CandidateInput, nodes: Option<&At<u64>>) -> Vec<Change> {
    let mut out = Vec::new();
    if let Some(topology) = &candidate.topology.value {
        out.push(put("topology", Value::Str(topology.clone()), candidate.topology.span));
    }
    out.extend(nodes.map(|n| put("nodes", Value::Int(n.value as i64), n.span)));
    out.extend(set(candidate).filter(|c| !of_one_way(&c.key)));
    out
}

fn set(candidate: &CandidateInput) -> impl Iterator<Item = Change> + '_ {
    candidate.set.value.iter().flatten().map(|(key, value)| Change { key: key.clone(), place: value.span, value: value.value.clone() })
}

/// What a candidate sets that one way to pay reads alone.
pub(super) fn money_changes(candidate: &CandidateInput) -> Vec<Change> {
    set(candidate).filter(|c| of_one_way(&c.key)).collect()
}

/// Keys of the cost of what is bought.
const OWNED: [&str; 3] = ["cost.life", "cost.utilization", "cost.electricity"];

fn of_one_way(key: &str) -> bool {
    key == "cost.rent" || OWNED.contains(&key)
}

/// Whether a key says something under a way to pay.
pub(super) fn says_under(key: &str, way: &str) -> bool {
    if way == "owned" { key != "cost.rent" } else { !OWNED.contains(&key) }
}

/// Changes with another way to pay, under which some of a candidate's `money` says something.
pub(super) fn paid_as(way: &str, changes: &[Change], money: &[Change], place: Span) -> Vec<Change> {
    let mut out: Vec<Change> = changes.iter().filter(|c| !of_one_way(&c.key)).cloned().collect();
    out.extend(money.iter().filter(|c| says_under(&c.key, way)).cloned());
    out.push(put("cost.payment", Value::Str(way.into()), place));
    out
}

fn listed<T: Copy>(given: Option<&At<Option<Vec<At<T>>>>>, absent: Vec<T>) -> Vec<T> {
    given.and_then(|list| list.value.as_ref()).map_or(absent, |list| list.iter().map(|v| v.value).collect())
}

fn divisors(n: u64, most: u64) -> Vec<u64> {
    (1..=most.min(n)).filter(|d| n.is_multiple_of(*d)).collect()
}

/// Every layout that could be legal; what the scenario's checks refuse is found out later.
pub(super) fn layouts(input: Option<&LayoutInput>, model: &Sizes, global_batch: u64, accelerators: u64) -> Vec<Layout> {
    let tensors = listed(
        input.map(|i| &i.tensor),
        divisors(accelerators, model.heads).into_iter().filter(|t| model.heads.is_multiple_of(*t)).collect(),
    );
    let pipelines = listed(input.map(|i| &i.pipeline), divisors(accelerators, model.layers));
    let contexts = listed(input.map(|i| &i.context), divisors(accelerators, (model.sequence / CONTEXT_TOKENS).max(1)));
    let powers: Vec<u64> = (0..).map(|i| 1 << i).take_while(|b| *b <= MICROBATCH).collect();
    let microbatches = listed(input.map(|i| &i.microbatch), powers);
    let chunks = listed(input.map(|i| &i.virtual_stages), (1..=CHUNKS).collect());
    let orders: Vec<Schedule> = listed(input.map(|i| &i.schedule), Vec::new());
    let recomputes = listed(input.map(|i| &i.recompute), vec![Recompute::None, Recompute::Selective, Recompute::Full]);
    let shards = listed(input.map(|i| &i.distributed_optimizer), vec![true, false]);
    let sequences = listed(input.map(|i| &i.sequence), vec![true]);
    let mut out = Vec::new();
    for (tensor, pipeline, context) in triples(&tensors, &pipelines, &contexts) {
        let Some(ways) = tensor.checked_mul(pipeline).and_then(|n| n.checked_mul(context)).filter(|n| accelerators.is_multiple_of(*n))
        else {
            continue;
        };
        let data = accelerators / ways;
        if !global_batch.is_multiple_of(data) {
            continue;
        }
        let optimizers: Vec<Option<bool>> = if data * context > 1 { shards.iter().map(|s| Some(*s)).collect() } else { vec![None] };
        let split: Vec<bool> = if tensor > 1 { sequences.clone() } else { vec![false] };
        for &virtual_stages in chunks.iter().filter(|v| **v == 1 || pipeline > 1 && **v * pipeline <= model.layers + 2) {
            let orders = schedules(&orders, pipeline, virtual_stages);
            let passes: Vec<u64> = microbatches.iter().copied().filter(|b| (global_batch / data).is_multiple_of(*b)).collect();
            for (microbatch, recompute, schedule) in choices(&passes, &recomputes, &orders) {
                for &distributed_optimizer in &optimizers {
                    for &sequence in &split {
                        out.push(Layout {
                            tensor,
                            pipeline,
                            data,
                            context,
                            virtual_stages,
                            schedule,
                            microbatch,
                            recompute,
                            distributed_optimizer,
                            sequence,
                        });
                    }
                }
            }
        }
    }
    out
}

/// The orders of passes that go with so many stages and chunks: the base's where none are listed.
fn schedules(listed: &[Schedule], pipeline: u64, chunks: u64) -> Vec<Option<Schedule>> {
    if listed.is_empty() {
        return vec![None];
    }
    if pipeline == 1 {
        return vec![Some(Schedule::OneForwardOneBackward)];
    }
    let several = |s: &Schedule| matches!(s, Schedule::OneForwardOneBackward | Schedule::ZeroBubble);
    listed.iter().copied().filter(|s| chunks == 1 || several(s)).map(Some).collect()
}

fn choices<'a>(
    microbatches: &'a [u64],
    recomputes: &'a [Recompute],
    schedules: &'a [Option<Schedule>],
) -> impl Iterator<Item = (u64, Recompute, Option<Schedule>)> + 'a {
    let pairs = microbatches.iter().flat_map(move |&m| recomputes.iter().map(move |&r| (m, r)));
    pairs.flat_map(move |(m, r)| schedules.iter().map(move |&s| (m, r, s)))
}

fn triples<'a>(a: &'a [u64], b: &'a [u64], c: &'a [u64]) -> impl Iterator<Item = (u64, u64, u64)> + 'a {
    a.iter().flat_map(move |&x| b.iter().flat_map(move |&y| c.iter().map(move |&z| (x, y, z))))
}

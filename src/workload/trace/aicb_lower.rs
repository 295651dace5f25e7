//! Spreads an AICB workload over ranks, folded: one class for each pipeline stage.
//!
//! Ranks count tensor ranks first, then data ranks, then stages. Expert ranks lie in the data ranks, or, where those are too
//! few, in all ranks of a stage. With one stage the list runs as it stands: forward, then backward in reverse; the
//! collective of a weight's gradient holds nothing up but those after it. With more, the part of the list that repeats once
//! for each microbatch is found, and stages run it one forward, one backward; SimAI itself has a formula there.

use super::aicb::{Kind, Layer, Over, Part, Workload};
use super::{MAX_RANKS, RankTrace, SizeConvention, Trace, TraceError, TraceFault, TraceGroup, TraceKind, TraceOp};
use std::collections::{BTreeMap, HashMap};
use std::ops::Range;
use std::sync::Arc;

/// The most operations that a folded trace may have.
const MAX_OPS: u64 = 4_000_000;

/// Sizes of the groups.
#[derive(Clone, Copy)]
struct Layout {
    tensor: u32,
    data: u32,
    expert: u32,
    stages: u32,
}

/// The trace of a workload on `ranks` ranks, by default as many as its file says.
///
/// # Errors
/// The ranks are not a multiple of what the file asks.
pub fn trace(workload: &Workload, ranks: Option<u32>) -> Result<Trace, TraceError> {
    let layout = layout(workload, ranks)?;
    let mut noticed = workload.noticed.clone();
    let mut groups = Groups { layout, groups: Vec::new(), places: BTreeMap::new() };
    let (body, repeats) = body(workload, &layout, &mut noticed);
    let count = layout.tensor * layout.data;
    let (mut out, mut written) = (Vec::new(), 0);
    for stage in 0..layout.stages {
        let mut writer = Writer { workload, stage, layout, groups: &mut groups, ops: Vec::new(), last: None, in_order: BTreeMap::new() };
        if layout.stages == 1 {
            writer.whole();
        } else {
            writer.pipeline(&body, repeats);
        }
        written += writer.ops.len() as u64;
        out.push(RankTrace { rank: stage * count, count, ops: writer.ops });
        if written > MAX_OPS {
            let what = format!("the stages have more than {MAX_OPS} operations");
            return Err(TraceError::text(&workload.file, 1, what, "use fewer stages or checkpoints"));
        }
    }
    Ok(Trace { ranks: out, groups: groups.groups, sizes: SizeConvention::Gathered, noticed })
}

/// The layers of a microbatch's passes, and how many microbatches there are in them.
fn body(workload: &Workload, layout: &Layout, noticed: &mut Vec<TraceFault>) -> (Range<usize>, u32) {
    let all = 0..workload.layers.len();
    if layout.stages == 1 {
        return (all, 1);
    }
    let mut note = |what: &str| noticed.push(TraceFault::Tolerated { file: workload.file.clone(), line: 1, what: what.to_owned() });
    if workload.pipeline_bytes == 0.0 {
        note("`pp_comm` is missing: messages between stages are empty");
    }
    let Some(found) = repeated(&workload.layers, workload.microbatches) else {
        note("the layers do not repeat `ga` times: a stage runs all of them as one microbatch");
        return (all, 1);
    };
    (found, workload.microbatches)
}

fn layout(workload: &Workload, ranks: Option<u32>) -> Result<Layout, TraceError> {
    let fault = |what: String, fix: &str| TraceError::text(&workload.file, 1, what, fix);
    let tensor = match workload.kind {
        Kind::Transformer | Kind::Hybrid | Kind::Customized => workload.tensor.unwrap_or(1),
        _ => 1,
    };
    let stages = workload.pipeline;
    let unit = u64::from(tensor) * u64::from(stages);
    let default = workload.ranks.or_else(|| u32::try_from(unit).ok());
    let ranks = ranks.or(default).filter(|r| (1..=MAX_RANKS).contains(r));
    let ranks = ranks.ok_or_else(|| fault("the number of ranks is out of range".to_owned(), "ask for 1 to 1048576 ranks"))?;
    if u64::from(ranks) % unit != 0 {
        let what = format!("{ranks} ranks are no multiple of {tensor} tensor ranks times {stages} stages");
        return Err(fault(what, &format!("use a multiple of {unit} ranks")));
    }
    let data = (u64::from(ranks) / unit) as u32;
    let expert = workload.expert;
    if !data.is_multiple_of(expert) && !(tensor * data).is_multiple_of(expert) {
        let what = format!("`ep` is {expert}, which divides neither the {data} data ranks nor the {} ranks of a stage", tensor * data);
        return Err(fault(what, "use more ranks, or a smaller `ep`"));
    }
    let ops = workload.layers.len() as u64 * 7 * u64::from(stages) + u64::from(workload.microbatches) * u64::from(stages) * 4;
    if ops > MAX_OPS {
        return Err(fault(format!("{stages} stages of {} layers are {ops} operations", workload.layers.len()), "use fewer stages"));
    }
    Ok(Layout { tensor, data, expert, stages })
}

/// The layers that are there once for each microbatch: the longest run of `times` equal blocks.
fn repeated(layers: &[Layer], times: u32) -> Option<Range<usize>> {
    let times = times as usize;
    if times == 1 {
        return Some(0..layers.len());
    }
    // Layers that are equal but for their times (the first microbatch's may differ) get equal numbers.
    let mut numbers: HashMap<String, usize> = HashMap::new();
    let mut row = Vec::with_capacity(layers.len());
    for layer in layers {
        let next = numbers.len();
        let comms = [&layer.forward, &layer.input_gradient, &layer.weight_gradient].map(|p| (p.comm, p.bytes));
        row.push(*numbers.entry(format!("{} {comms:?}", layer.name)).or_insert(next));
    }
    if row.len().checked_mul(row.len() / times)? > 2_000_000_000 {
        return None;
    }
    for length in (1..=row.len() / times).rev() {
        let mut equal = 0;
        for i in 0..row.len() - length {
            equal = if row[i] == row[i + length] { equal + 1 } else { 0 };
            if equal == length * (times - 1) {
                let start = i + 1 - equal;
                return Some(start..start + length * times);
            }
        }
    }
    None
}

/// The groups that are used, each made when it is first asked for.
struct Groups {
    layout: Layout,
    groups: Vec<TraceGroup>,
    places: BTreeMap<(Over, u32), u32>,
}

impl Groups {
    /// The family of a stage; none if its groups have one rank.
    fn get(&mut self, over: Over, stage: u32) -> Option<u32> {
        let stage = if over == Over::All { 0 } else { stage };
        if let Some(place) = self.places.get(&(over, stage)) {
            return Some(*place);
        }
        let sets = self.layout.sets(over, stage);
        if sets.first().is_none_or(|s| s.len() < 2) {
            return None;
        }
        let word = match over {
            Over::Tensor => "tensor",
            Over::Data => "data",
            Over::Expert => "expert",
            Over::DataExpert => "data of experts",
            Over::All => "all ranks",
        };
        let one = self.layout.stages == 1 || over == Over::All;
        let name = if one { word.to_owned() } else { format!("{word}, stage {stage}") };
        let place = self.groups.len() as u32;
        self.groups.push(TraceGroup { name, sets });
        self.places.insert((over, stage), place);
        Some(place)
    }
}

impl Layout {
    fn sets(self, over: Over, stage: u32) -> Vec<Arc<[u32]>> {
        let size = self.tensor * self.data;
        let first = stage * size;
        // Ranks `step` apart, `length` of them, for each start.
        let family = |starts: Vec<u32>, step: u32, length: u32| -> Vec<Arc<[u32]>> {
            starts.into_iter().map(|s| (0..length).map(|i| first + s + i * step).collect()).collect()
        };
        let inner = self.data.is_multiple_of(self.expert);
        let (step, span) = if inner { (self.tensor, self.tensor * self.expert) } else { (1, self.expert) };
        match over {
            Over::Tensor => family((0..self.data).map(|d| d * self.tensor).collect(), 1, self.tensor),
            Over::Data => family((0..self.tensor).collect(), self.tensor, self.data),
            Over::Expert => {
                let starts = (0..size / span).flat_map(|g| (0..step).map(move |t| g * span + t));
                family(starts.collect(), step, self.expert)
            }
            Over::DataExpert => family((0..span).collect(), span, size / span),
            Over::All => vec![(0..size * self.stages).collect()],
        }
    }
}

/// Writes the operations of a stage.
struct Writer<'a> {
    workload: &'a Workload,
    stage: u32,
    layout: Layout,
    groups: &'a mut Groups,
    ops: Vec<TraceOp>,
    /// What the next operation on the compute stream waits for.
    last: Option<u32>,
    /// The last collective of weights' gradients in each group.
    in_order: BTreeMap<Over, u32>,
}

impl Writer<'_> {
    fn push(&mut self, name: String, deps: Vec<u32>, kind: TraceKind) -> u32 {
        let id = self.ops.len() as u32;
        self.ops.push(TraceOp { id: u64::from(id), name, deps, kind });
        id
    }
    fn compute(&mut self, name: &str, nanos: f64) {
        if nanos > 0.0 {
            let kind = TraceKind::Compute { micros: Some(nanos / 1e3), flops: 0.0, bytes: 0.0, on_cpu: false };
            self.last = Some(self.push(name.to_owned(), self.last.into_iter().collect(), kind));
        }
    }
    fn collective(&mut self, part: &Part) -> Option<(TraceKind, Over)> {
        let (op, over) = part.comm.filter(|_| part.bytes > 0.0)?;
        let group = self.groups.get(over, self.stage)?;
        Some((TraceKind::Collective { op, bytes: part.bytes, group, micros: None }, over))
    }
    /// Compute and then a collective that the next layer waits for.
    fn blocking(&mut self, name: &str, part: &Part) {
        self.compute(name, part.nanos);
        if let Some((kind, _)) = self.collective(part) {
            self.last = Some(self.push(format!("{name} communication"), self.last.into_iter().collect(), kind));
        }
    }
    /// Compute and then a collective that only later ones of its group wait for.
    fn weights(&mut self, layer: &Layer) {
        let name = format!("{} weight gradient", layer.name);
        self.compute(&name, layer.weight_gradient.nanos);
        let Some((kind, over)) = self.collective(&layer.weight_gradient) else { return };
        let mut deps: Vec<u32> = self.in_order.get(&over).copied().into_iter().chain(self.last).collect();
        deps.sort_unstable();
        deps.dedup();
        let sent = self.push(format!("{name} communication"), deps, kind);
        self.in_order.insert(over, sent);
        if layer.update_nanos > 0.0 {
            let kind = TraceKind::Compute { micros: Some(layer.update_nanos / 1e3), flops: 0.0, bytes: 0.0, on_cpu: false };
            self.push(format!("{} update", layer.name), vec![sent], kind);
        }
    }
    fn forward(&mut self, layers: Range<usize>) {
        let workload = self.workload;
        for layer in workload.layers.get(layers).unwrap_or_default() {
            if self.ops.len() as u64 > MAX_OPS {
                return;
            }
            self.blocking(&format!("{} forward", layer.name), &layer.forward);
        }
    }
    fn backward(&mut self, layers: Range<usize>) {
        let workload = self.workload;
        for i in layers.rev() {
            if workload.initiates.contains(&(i as u32)) {
                let from = workload.checkpoints.iter().filter(|c| **c as usize <= i).max().copied().unwrap_or(0);
                self.forward(from as usize..i);
            }
            let Some(layer) = workload.layers.get(i) else { continue };
            self.weights(layer);
            self.blocking(&format!("{} input gradient", layer.name), &layer.input_gradient);
        }
    }
    /// The list as it stands.
    fn whole(&mut self) {
        self.forward(0..self.workload.layers.len());
        self.backward(0..self.workload.layers.len());
    }
    /// One forward, one backward over the repeated part, what stands around it before and after.
    fn pipeline(&mut self, body: &Range<usize>, repeats: u32) {
        let length = body.len() / repeats.max(1) as usize;
        let block = |m: u32| body.start + m as usize * length..body.start + (m as usize + 1) * length;
        self.forward(0..body.start);
        let warm = (self.layout.stages - 1 - self.stage).min(repeats);
        for m in 0..warm {
            self.stage_forward(m, block(m));
        }
        for m in 0..repeats {
            if m + warm < repeats {
                self.stage_forward(m + warm, block(m + warm));
            }
            self.stage_backward(m, block(m));
        }
        let all = self.workload.layers.len();
        self.forward(body.end..all);
        self.backward(body.end..all);
        self.backward(0..body.start);
    }
    fn stage_forward(&mut self, m: u32, layers: Range<usize>) {
        if self.stage > 0 {
            self.receive(self.stage - 1, u64::from(m) * 2, format!("activations {m}"));
        }
        self.forward(layers);
        if self.stage + 1 < self.layout.stages {
            self.send(self.stage + 1, u64::from(m) * 2, format!("activations {m}"));
        }
    }
    fn stage_backward(&mut self, m: u32, layers: Range<usize>) {
        if self.stage + 1 < self.layout.stages {
            self.receive(self.stage + 1, u64::from(m) * 2 + 1, format!("gradients {m}"));
        }
        self.backward(layers);
        if self.stage > 0 {
            self.send(self.stage - 1, u64::from(m) * 2 + 1, format!("gradients {m}"));
        }
    }
    const fn first_rank(&self, stage: u32) -> u32 {
        stage * self.layout.tensor * self.layout.data
    }
    fn send(&mut self, stage: u32, tag: u64, what: String) {
        let kind = TraceKind::Send { to: self.first_rank(stage), tag, bytes: self.workload.pipeline_bytes };
        self.push(format!("send {what}"), self.last.into_iter().collect(), kind);
    }
    /// Receives are posted at the start; what follows waits for the message and for what was before.
    fn receive(&mut self, stage: u32, tag: u64, what: String) {
        let kind = TraceKind::Recv { from: self.first_rank(stage), tag, bytes: self.workload.pipeline_bytes };
        let got = self.push(format!("receive {what}"), Vec::new(), kind);
        let deps = self.last.into_iter().chain([got]).collect();
        self.last = Some(self.push(format!("{what} here"), deps, TraceKind::Nothing));
    }
}

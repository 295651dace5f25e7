//! From the executed task graph of a step to its numbers: breakdown, utilisation, memory, timeline.
//!
//! The breakdown follows one rank class, the one with most work of its own (the pace maker). While it works, its tasks
//! count by kind, split into compute and the tensor communication inside. While it waits, the chain of tasks that it waits
//! for is followed backwards: as far as that chain is a transfer, the wait counts as that communication, and as far as
//! it is work of other stages, as bubble. So the parts sum to the step time and agree with the timeline.

use super::detail::{Detail, LinkUse, StageMemory};
use super::outcome::{BreakdownSeconds, Filled, MemoryBytes, TrainingOutcome};
use super::timeline::{Slice, SliceKind, SliceName, Timeline};
use super::training_facts::{facts, profile_uses};
use super::uncertainty::interval;
use crate::fabric::{AcceleratorId, Fabric, NodeId};
use crate::ids::Id;
use crate::training::{Config, MemoryPlan, PassCost, Recompute, Shelf, Step, advice};
use crate::workload::{ClassId, TaskGraph, TaskId, TaskKind, Track, Work};

/// The numbers of a step, and what reports draw.
#[must_use]
pub fn training_outcome(config: &Config, fabric: &Fabric, step: &Step) -> (TrainingOutcome, Detail) {
    let time = step.time_s();
    let class = pace_maker(step);
    let (breakdown, hidden) = breakdown(step, class);
    let accelerators = config.parallel.ranks() as f64;
    let peak = peak_rate(config, fabric, step) * time;
    let tokens = config.tokens_per_step();
    let capacity = least_memory(config, fabric);
    let fullest = step.memory.iter().max_by(|a, b| a.total().total_cmp(&b.total()));
    let memory = fullest.map_or_else(MemoryBytes::default, |plan| memory_bytes(plan, capacity));
    let (host, drives) = (host_memory(config, fabric, step), drives(config, fabric, step));
    let fits = memory.peak <= memory.capacity && [host, drives].iter().flatten().all(Filled::fits);
    let (low, high) = interval(config, step, class.0 as usize, &breakdown);
    let outcome = TrainingOutcome {
        step_time_s: time,
        step_time_p10_s: low,
        step_time_p90_s: high,
        step_time_band_s: None,
        tokens_per_s: tokens / time,
        tokens_per_s_per_accelerator: tokens / time / accelerators,
        samples_per_s: config.global_batch as f64 / time,
        model_flops_per_step: config.model_flops_per_step(),
        mfu: config.model_flops_per_step() / peak,
        hfu: config.hardware_flops_per_step() / peak,
        bubble_fraction: breakdown.bubble / time,
        breakdown_s: breakdown,
        hidden_comm_s: hidden,
        memory_bytes: memory,
        host_memory_bytes: host,
        drive_bytes: drives,
        fits,
        advice: fullest.filter(|_| !fits).map(|plan| advice(config, plan, capacity)).unwrap_or_default(),
    };
    let detail = detail(config, fabric, step, class, capacity);
    (outcome, detail)
}

/// The 10th and 90th percentile of a step time.
#[must_use]
pub fn step_interval(config: &Config, step: &Step) -> (f64, f64) {
    let class = pace_maker(step);
    interval(config, step, class.0 as usize, &breakdown(step, class).0)
}

/// Matrix peak of all accelerators of the job, FLOP/s.
fn peak_rate(config: &Config, fabric: &Fabric, step: &Step) -> f64 {
    let peak = |part: usize| step.devices[part].peak(config.precision.linear()).unwrap_or(f64::INFINITY);
    if step.devices.len() == 1 {
        return peak(0) * config.parallel.ranks() as f64;
    }
    let of = |rank: u64| step.parts.iter().position(|n| *n == fabric.part(AcceleratorId(rank as u32)).id.value).unwrap_or(0);
    (0..config.parallel.ranks()).map(|rank| peak(of(rank))).sum()
}

/// Memory of the smallest accelerator of the job.
fn least_memory(config: &Config, fabric: &Fabric) -> f64 {
    if fabric.is_uniform() {
        return fabric.part(AcceleratorId(0)).memory.get();
    }
    (0..config.parallel.ranks()).map(|rank| fabric.part(AcceleratorId(rank as u32)).memory.get()).fold(f64::INFINITY, f64::min)
}

/// Memory of the fullest host.
fn host_memory(config: &Config, fabric: &Fabric, step: &Step) -> Option<Filled> {
    let p = &config.parallel;
    let mut nodes = vec![0.0; fabric.node_count()];
    for rank in 0..p.ranks() {
        let plan = &step.memory[(rank / (p.tensor * p.replicas())) as usize];
        nodes[fabric.site(AcceleratorId(rank as u32)).node.index()] += plan.host;
    }
    let most = (0..nodes.len()).max_by(|&a, &b| nodes[a].total_cmp(&nodes[b]).then(b.cmp(&a)))?;
    let capacity = fabric.host(NodeId::from_index(most)).memory.get();
    (nodes[most] > 0.0).then_some(Filled { used: nodes[most], capacity })
}

/// What lies on drives.
fn drives(config: &Config, fabric: &Fabric, step: &Step) -> Option<Filled> {
    let each = (config.parallel.tensor * config.parallel.replicas()) as f64;
    let used: f64 = step.memory.iter().map(|plan| plan.drives * each).sum();
    let shelves = [config.offload.optimizer, config.offload.weights];
    let tier = shelves.into_iter().flatten().find_map(|s| if let Shelf::Tier(t) = s { Some(t) } else { None })?;
    Some(Filled { used, capacity: fabric.tier(tier).capacity })
}

fn memory_bytes(plan: &MemoryPlan, capacity: f64) -> MemoryBytes {
    MemoryBytes {
        weights: plan.weights,
        gradients: plan.gradients,
        optimizer: plan.optimizer,
        activations: plan.activations,
        other: plan.other,
        peak: plan.total(),
        capacity,
    }
}

/// The class that computes longest; of equals the first.
fn pace_maker(step: &Step) -> ClassId {
    let mut busy: Vec<f64> = vec![0.0; step.layers.len() * step.variants.len()];
    for (task, (start, finish)) in step.graph.tasks().iter().zip(step.execution.start.iter().zip(&step.execution.finish)) {
        if matches!(task.work, Work::Compute { .. }) {
            busy[task.class.0 as usize] += task.times * (finish - start);
        }
    }
    let most = busy.iter().copied().fold(0.0, f64::max);
    let first = busy.iter().position(|&b| b >= most * (1.0 - 1e-9)).unwrap_or(0);
    ClassId(first as u32)
}

/// Tasks that block the class: its compute and the transfers that its next task waits for show up as gaps between compute.
fn breakdown(step: &Step, class: ClassId) -> (BreakdownSeconds, f64) {
    let (graph, run) = (&step.graph, &step.execution);
    let mut own: Vec<usize> =
        (0..graph.len()).filter(|&i| graph.tasks()[i].class == class && matches!(graph.tasks()[i].work, Work::Compute { .. })).collect();
    own.sort_unstable_by(|&a, &b| run.start[a].total_cmp(&run.start[b]).then(a.cmp(&b)));
    let mut parts = passed(step, &own, 0.0, run.makespan);
    if let Some(repeat) = step.repeat {
        parts.add(f64::from(repeat.times), &passed(step, &own, repeat.from_s, repeat.from_s + repeat.period_s));
    }
    let (time, total): (f64, f64) = (step.time_s(), parts.parts().iter().map(|p| p.1).sum());
    parts.other += time - total;
    if parts.other.abs() < 1e-9 * time {
        parts.compute += parts.other;
        parts.other = 0.0;
    }
    (parts, hidden(step, class, &parts))
}

/// How a class, whose compute in order is `own`, passes the time between two moments.
fn passed(step: &Step, own: &[usize], from: f64, to: f64) -> BreakdownSeconds {
    let (graph, run) = (&step.graph, &step.execution);
    let mut parts = BreakdownSeconds::default();
    let mut at = from;
    for &i in own {
        if run.start[i] > at {
            blame(graph, run, TaskId(i as u32), at, run.start[i].min(to), &mut parts);
            at = run.start[i].min(to);
        }
        if at >= to {
            return parts;
        }
        let task = &graph.tasks()[i];
        let length = (run.finish[i].min(to) - run.start[i].max(at)).max(0.0);
        let Work::Compute { seconds } = task.work else { continue };
        let of = |inner: f64| if seconds > 0.0 { length * inner / seconds } else { 0.0 };
        let (comm, context, expert) = (of(task.inner_comm), of(task.inner_context), of(task.inner_expert));
        match task.kind {
            TaskKind::Optimizer => parts.optimizer += length,
            _ => {
                parts.compute += length - comm - context - expert;
                parts.expert_comm += expert;
                parts.tensor_comm += comm;
                parts.context_comm += context;
            }
        }
        at = at.max(run.finish[i]);
    }
    // After its last task the class waits for whatever ends last.
    if to > at {
        let last = (0..graph.len()).max_by(|&a, &b| run.finish[a].total_cmp(&run.finish[b]).then(b.cmp(&a))).unwrap_or(0);
        let (start, finish) = (run.start[last], run.finish[last]);
        add(&mut parts, &graph.tasks()[last], finish - start.max(at));
        if start > at {
            blame(graph, run, TaskId(last as u32), at, start, &mut parts);
        }
    }
    parts
}

fn add(parts: &mut BreakdownSeconds, task: &crate::workload::Task, seconds: f64) {
    match (task.kind, task.work) {
        (TaskKind::TensorComm, _) => parts.tensor_comm += seconds,
        (TaskKind::PipelineComm, _) => parts.pipeline_comm += seconds,
        (TaskKind::DataComm, _) => parts.data_comm += seconds,
        (TaskKind::Optimizer, Work::Delay { .. }) => parts.optimizer += seconds,
        (TaskKind::Offload, _) => parts.offload += seconds,
        (_, Work::Compute { .. }) => parts.bubble += seconds,
        _ => parts.other += seconds,
    }
}

/// Attributes the wait from `from` to `to` before a task along the chain of its latest predecessors.
fn blame(graph: &TaskGraph, run: &crate::simulate::Execution, task: TaskId, from: f64, to: f64, parts: &mut BreakdownSeconds) {
    let (mut task, mut until) = (task, to);
    while until > from {
        let latest = graph.predecessors(task).max_by(|a, b| run.finish[a.0 as usize].total_cmp(&run.finish[b.0 as usize]).then(b.cmp(a)));
        let Some(before) = latest else {
            parts.other += until - from;
            return;
        };
        let start = run.start[before.0 as usize].max(from);
        if start < until {
            add(parts, graph.task(before), until - start);
            until = start;
        }
        task = before;
    }
}

/// Communication of the class that did not show.
fn hidden(step: &Step, class: ClassId, parts: &BreakdownSeconds) -> f64 {
    let mut all = 0.0;
    for (i, task) in step.graph.tasks().iter().enumerate().filter(|(_, t)| t.class == class) {
        if matches!(task.work, Work::Transfer { .. }) && matches!(task.kind, TaskKind::DataComm | TaskKind::TensorComm) {
            all += task.times * (step.execution.finish[i] - step.execution.start[i]);
        }
    }
    let inside: f64 = step.graph.tasks().iter().filter(|t| t.class == class).map(|t| t.times * t.inner_comm).sum();
    (all + inside - parts.data_comm - parts.tensor_comm).max(0.0)
}

fn detail(config: &Config, fabric: &Fabric, step: &Step, class: ClassId, capacity: f64) -> Detail {
    let time = step.time_s();
    let stage_name = |s: usize| format!("stage {s}");
    let stages =
        step.memory.iter().enumerate().map(|(s, plan)| StageMemory { name: stage_name(s), memory: memory_bytes(plan, capacity) }).collect();
    let links = step.execution.loads.iter().map(|l| LinkUse {
        name: format!("{} ({})", l.kind.name(), fabric.link_name(l.link)),
        bytes: l.bytes,
        utilization: l.bytes / l.capacity / time,
    });
    let hosted = step.graph.tasks().iter().any(|t| t.track == Track::Host);
    Detail {
        serving: None,
        fleet: None,
        facts: facts(config, fabric),
        stages,
        processes: (0..step.layers.len() * step.variants.len()).map(|c| process_name(config, fabric, step, c)).collect(),
        tracks: Track::ALL.iter().filter(|t| **t != Track::Host || hosted).map(|t| t.name().to_owned()).collect(),
        timeline: timeline(step),
        links: links.collect(),
        operators: operators(config, step, class),
        profile: profile_uses(config, step),
        ranks: Vec::new(),
        run_segments: Vec::new(),
    }
}

/// The name of a stage in the timeline, with the nodes that its ranks sit on: all of them do what it shows.
fn process_name(config: &Config, fabric: &Fabric, step: &Step, class: usize) -> String {
    let stage = step.stage_of(class);
    let layers = step.layers[stage].iter().sum::<u64>();
    let variant = &step.variants[class / step.layers.len()];
    if step.variants.len() > 1 {
        let each = config.parallel.tensor * config.parallel.context;
        let count = variant.members.len() as u64 * each;
        let speed = variant.paces[stage].speed;
        let slow = if speed < 1.0 { format!(", at {} % of its speed", (100.0 * speed).round()) } else { String::new() };
        let own = config.microbatches_of(variant.members[0]);
        let share = if config.batch_shares.is_some() { format!(", {own} microbatches") } else { String::new() };
        return format!("stage {stage}, data ranks from {} ({layers} layers; {count} ranks{slow}{share})", variant.members[0]);
    }
    let ranks = config.parallel.tensor * config.parallel.replicas();
    let node = |rank: u64| fabric.site(AcceleratorId(rank as u32)).node.0;
    let (first, last) = (node(ranks * stage as u64), node(ranks * (stage as u64 + 1) - 1));
    let nodes = if first == last { format!("node {first}") } else { format!("nodes {first} to {last}") };
    format!("stage {stage} ({layers} layers; {ranks} ranks on {nodes})")
}

/// Compute time of a microbatch through the layers of one stage by operator class.
fn operators(config: &Config, step: &Step, class: ClassId) -> Vec<(String, f64)> {
    let class = class.0 as usize;
    let passes = &step.passes[step.part_of(class)];
    let (dense, expert) = step.layer_kinds(config, step.stage_of(class));
    let sum = |dense_pass: &PassCost, expert_pass: &PassCost, get: fn(&PassCost) -> f64| {
        dense as f64 * get(dense_pass) + if expert > 0 { expert as f64 * get(expert_pass) } else { 0.0 }
    };
    let forward = |get| sum(&passes.layer_forward, &passes.expert_forward, get);
    let backward = |get| sum(&passes.layer_backward, &passes.expert_backward, get);
    let again = if config.recompute == Recompute::None { "backward" } else { "backward and recompute" };
    let ends = |on: bool, forward: &PassCost, backward: &PassCost| if on { forward.compute() + backward.compute() } else { 0.0 };
    let (stage, last) = (step.stage_of(class), step.layers.len() - 1);
    let embedding = ends(stage == 0, &passes.embedding_forward, &passes.embedding_backward);
    let head = ends(stage == last, &passes.head_forward, &passes.head_backward);
    vec![
        ("matrix products, forward".into(), forward(|p| p.matrix)),
        (format!("matrix products, {again}"), backward(|p| p.matrix)),
        ("attention core, forward".into(), forward(|p| p.attention)),
        (format!("attention core, {again}"), backward(|p| p.attention)),
        ("element-wise, forward".into(), forward(|p| p.elementwise)),
        (format!("element-wise, {again}"), backward(|p| p.elementwise)),
        ("embedding or embedding bags, forward and backward".into(), embedding),
        ("head and loss, forward and backward".into(), head),
        ("host launches, forward and backward (hidden where shorter)".into(), forward(|p| p.host) + backward(|p| p.host)),
    ]
}

fn timeline(step: &Step) -> Timeline {
    let mut out = Vec::with_capacity(step.graph.len());
    for (i, task) in step.graph.tasks().iter().enumerate() {
        let (start_s, duration_s) = (step.execution.start[i], step.execution.finish[i] - step.execution.start[i]);
        if matches!(task.work, Work::Join) || duration_s <= 0.0 {
            continue;
        }
        let label = task.label;
        let pass = |letter: char| SliceName::Pass(letter, label.microbatch, label.chunk);
        let (kind, name) = match task.kind {
            TaskKind::Forward => (SliceKind::Forward, pass('F')),
            TaskKind::Backward => (SliceKind::Backward, pass('B')),
            TaskKind::TensorComm => (SliceKind::TensorComm, SliceName::Word("tensor")),
            TaskKind::PipelineComm => (SliceKind::PipelineComm, pass('p')),
            TaskKind::DataComm => (SliceKind::DataComm, SliceName::Data(label.chunk)),
            TaskKind::Optimizer => (SliceKind::Optimizer, SliceName::Word("optimizer")),
            TaskKind::Offload => (SliceKind::Memory, SliceName::Word("copy")),
            TaskKind::Other => (SliceKind::Other, SliceName::Word("other")),
        };
        let track = Track::ALL.iter().position(|t| *t == task.track).unwrap_or(0) as u32;
        out.push(Slice { process: task.class.0, track, kind, name, start_s, duration_s });
    }
    Timeline::new(out, step.repeat)
}

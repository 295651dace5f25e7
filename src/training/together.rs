//! Steps of several jobs on one fabric at the same time: each trains on, step after step, and they share links in one fluid network.

use super::config::Config;
use super::lower::Lowered;
use super::step::{StepError, in_part, prepare};
use super::variants::Folding;
use crate::fabric::{Fabric, LinkId};
use crate::kernels::Profiles;
use crate::simulate::{Network, execute};
use crate::workload::{ClassId, GraphBuilder, Task, TaskId, TaskKind, Track, Work};

/// A job on the accelerators that it got: the fabric under its own ranks.
#[derive(Debug, Clone, Copy)]
pub struct Member<'a> {
    /// The job.
    pub config: &'a Config,
    /// The fabric with the job's ranks first ([`Fabric::with_ranks`]).
    pub fabric: &'a Fabric,
}

/// Seconds of a step with nobody else on the fabric, and the links that it loads, in order, with the bytes over each.
///
/// # Errors
/// As [`super::simulate_step`].
pub fn step_alone(member: Member<'_>, profiles: &Profiles) -> Result<(f64, Vec<(LinkId, f64)>), StepError> {
    let (step, carried) = in_part(member.config, member.fabric, profiles, |step, network| {
        network.carried(&step.graph, &step.inside, &step.execution.payload)
    })?;
    Ok((step.time_s(), carried))
}

/// Steps of the slowest job over which means are taken, and the most tasks that are run for that.
const STEPS: f64 = 4.0;
const MOST_TASKS: f64 = 4e6;

/// Mean seconds of a step of each job while all of them train; `alone` are the times of [`step_alone`]. All start together; the mean is
/// over the steps that end before the first job has done all of its own.
///
/// # Errors
/// As [`super::simulate_step`].
pub fn steps_together(members: &[Member<'_>], alone: &[f64], profiles: &Profiles) -> Result<Vec<f64>, StepError> {
    let Some(first) = members.first() else { return Ok(Vec::new()) };
    let mut network = Network::new(first.fabric);
    let mut steps = Vec::new();
    for member in members {
        network.see(member.fabric);
        let from = network.route_count();
        let step = prepare(member.config, profiles, Folding::Folded, false, None, &mut network)?.lowered;
        let before: usize = steps.iter().map(|s: &Lowered| s.classes).sum();
        network.shift_classes(from, before as u32);
        steps.push(step);
    }
    let window = STEPS * alone.iter().copied().fold(0.0, f64::max);
    let wanted = |i: usize| (window / alone[i]).ceil().max(1.0);
    let tasks: f64 = steps.iter().enumerate().map(|(i, s)| wanted(i) * s.graph.len() as f64).sum();
    let most = (MOST_TASKS / tasks).min(1.0);
    let mut graph = GraphBuilder::new();
    let mut ends: Vec<Vec<TaskId>> = Vec::new();
    let mut classes = 0;
    for (i, step) in steps.iter().enumerate() {
        ends.push(repeat(&mut graph, step, classes as u32, (wanted(i) * most).ceil().max(1.0) as usize));
        classes += step.classes;
    }
    let graph = graph.finish();
    let inside: Vec<_> = steps.iter().flat_map(|s| s.inside.iter().copied()).collect();
    let execution = execute(&graph, &network, classes, &inside).map_err(StepError::Deadlock)?;
    let finish = |t: &TaskId| execution.finish[t.0 as usize];
    let until = ends.iter().filter_map(|e| e.last()).map(finish).fold(f64::INFINITY, f64::min) * (1.0 + 1e-9);
    let mean = |ends: &Vec<TaskId>| {
        let done = ends.iter().map(finish).take_while(|&t| t <= until).count().max(1);
        finish(&ends[done - 1]) / done as f64
    };
    Ok(ends.iter().map(mean).collect())
}

/// Adds a step several times, one after the other; returns the task that ends each.
fn repeat(graph: &mut GraphBuilder, step: &Lowered, class: u32, times: usize) -> Vec<TaskId> {
    let mut ends: Vec<TaskId> = Vec::new();
    for _ in 0..times {
        let first = graph.len() as u32;
        let mut last = Vec::new();
        for (i, task) in step.graph.tasks().iter().enumerate() {
            let id = TaskId(i as u32);
            let mut after: Vec<TaskId> = step.graph.predecessors(id).map(|t| TaskId(first + t.0)).collect();
            if after.is_empty() {
                after.extend(ends.last());
            }
            graph.add(Task { class: ClassId(task.class.0 + class), ..*task }, &after);
            if step.graph.successors(id).len() == 0 {
                last.push(TaskId(first + i as u32));
            }
        }
        ends.push(graph.add(Task::new(ClassId(class), Track::Compute, TaskKind::Other, Work::Join), &last));
    }
    ends
}

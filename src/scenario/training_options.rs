//! Checks of what a training job may ask for besides its sizes: schedules, unequal shares, offload, tensor fusion.

use super::input::{OffloadInput, TrainingInput};
use super::training::{conflict, named};
use crate::collectives::{Communicator, Library};
use crate::diag::{At, Diagnostic, Diagnostics, codes};
use crate::fabric::{AcceleratorId, Fabric};
use crate::model::Architecture;
use crate::training::{Config, Framework, Offload, Parallel, Placement, Schedule, Sharding, Shelf, Stack};

/// What a job shards, over which ranks, by which framework.
pub(super) struct Sharded<'a> {
    pub(super) sharding: Sharding,
    pub(super) parallel: &'a Parallel,
    pub(super) stack: &'a Stack,
}

impl Sharded<'_> {
    /// Whether weights are gathered layer by layer.
    fn gathers(&self) -> bool {
        let gradients = self.sharding == Sharding::Gradients && self.stack.gathers_layers.value && !self.stack.late_gather.value;
        self.sharding == Sharding::Weights || gradients && self.parallel.pipeline == 1
    }
}

/// Chunks of a stage: as many as were asked for, or as the schedule has.
pub(super) fn chunks(input: &TrainingInput, diags: &mut Diagnostics) -> Option<u64> {
    let p = &input.parallel.value;
    let (schedule, asked) = (*p.schedule, *p.virtual_stages);
    let two = schedule.placement() != Placement::Loop;
    if *p.pipeline == 1 && schedule != Schedule::OneForwardOneBackward {
        let message = format!("the schedule `{schedule}` does nothing without pipeline parallelism");
        conflict(p.schedule.span, &message, "leave `schedule` out", diags);
        return None;
    }
    if schedule == Schedule::Gpipe && asked > 1 || two && asked > 2 {
        let has = if two { "two chunks" } else { "one chunk" };
        conflict(p.schedule.span, &format!("the schedule `{schedule}` has {has} a stage"), "leave `virtual_stages` out", diags);
        return None;
    }
    if schedule == Schedule::DualPipe && !p.pipeline.is_multiple_of(2) {
        let message = format!("DualPipe feeds a pipeline from both ends: {} stages have no middle", *p.pipeline);
        diags.push(Diagnostic::error(codes::NOT_DIVISIBLE, message).at(p.pipeline.span, "odd").hint("use an even number of stages"));
        return None;
    }
    Some(if two { 2 } else { asked })
}

/// Combinations that a schedule does not take.
pub(super) fn schedule(input: &TrainingInput, job: &Sharded<'_>, shares: Option<&[u64]>, diags: &mut Diagnostics) {
    let (p, schedule) = (&input.parallel.value, job.parallel.schedule);
    if schedule == Schedule::OneForwardOneBackward {
        return;
    }
    let equal = *input.global_batch / job.parallel.data;
    let of = |sequences: u64| sequences / *input.microbatch;
    let counts = shares.map_or_else(|| vec![of(equal)], |s| s.iter().map(|&n| of(n)).collect());
    let least = schedule.least_microbatches(job.parallel.pipeline);
    let odd = job.parallel.two_copies() && counts.iter().any(|m| !m.is_multiple_of(2));
    if counts.iter().any(|&m| m < least) || odd {
        let even = if job.parallel.two_copies() { " and an even number" } else { "" };
        let message = format!("the schedule `{schedule}` needs at least {least} microbatches{even} on every data-parallel rank");
        let found = counts.iter().min().copied().unwrap_or(0);
        diags.push(Diagnostic::error(codes::BATCH, message).at(p.schedule.span, format!("has {found}")).hint("raise global_batch"));
    }
    if job.gathers() && schedule.sends_aside() {
        let message = format!("weights that are gathered layer by layer are not modelled under the schedule `{schedule}`");
        diags.push(
            Diagnostic::error(codes::UNSUPPORTED, message)
                .at(p.schedule.span, "splits backward passes")
                .hint("set schedule = \"1f1b\", or sharding = \"gradients\" or \"optimizer\""),
        );
    }
    if job.parallel.two_copies() && input.shard_group.is_some() {
        conflict(input.shard_group.span, "both copies of DualPipe share one set of shards", "leave `shard_group` out", diags);
    }
}

/// Sequences of every data rank, where they differ.
pub(super) fn batch_shares(input: &TrainingInput, job: &Sharded<'_>, diags: &mut Diagnostics) -> Option<Vec<u64>> {
    let listed = input.batch_shares.as_ref()?;
    let span = input.batch_shares.span;
    let shares: Vec<u64> = listed.iter().map(|n| n.value).collect();
    let all = shares.iter().try_fold(0u64, |sum, n| sum.checked_add(*n));
    if shares.len() as u64 != job.parallel.data || all != Some(*input.global_batch) {
        let all = all.map_or_else(|| "far more".to_owned(), |n| n.to_string());
        let message = format!(
            "{all} sequences on {} data-parallel ranks, but global_batch is {} and data {}",
            shares.len(),
            *input.global_batch,
            job.parallel.data
        );
        diags.push(Diagnostic::error(codes::BATCH, message).at(span, "this list"));
    }
    for share in listed.iter().filter(|n| !n.value.is_multiple_of(*input.microbatch)) {
        let message = format!("{} sequences do not divide into microbatches of {}", share.value, *input.microbatch);
        diags.push(Diagnostic::error(codes::BATCH, message).at(share.span, "does not divide"));
    }
    let every_pass = job.gathers() || job.sharding >= Sharding::Gradients && !(job.stack.gathers_layers.value && job.parallel.pipeline > 1);
    if every_pass {
        let message = "ranks whose passes gather weights or reduce gradients go through as many of them";
        conflict(span, message, "set sharding = \"optimizer\", or leave `batch_shares` out", diags);
    }
    if job.parallel.expert > 1 {
        conflict(span, "ranks that share experts go through as many microbatches", "set expert = 1, or leave `batch_shares` out", diags);
    }
    Some(shares)
}

/// Where something lies: in host memory or on a tier.
fn shelf(name: &At<Option<String>>, fabric: &Fabric, diags: &mut Diagnostics) -> Option<Shelf> {
    let word = name.value.as_deref()?;
    if word == "host" {
        return Some(Shelf::Host);
    }
    let tiers: Vec<&str> = fabric.tiers().map(|t| t.name.as_str()).chain(["host"]).collect();
    named(word, name.span, "storage tier", &tiers, diags).and_then(|n| fabric.tier_named(n)).map(Shelf::Tier)
}

/// What lies elsewhere.
pub(super) fn offload(input: &TrainingInput, model: &Architecture, job: &Sharded<'_>, fabric: &Fabric, diags: &mut Diagnostics) -> Offload {
    let Some(given) = input.offload.value.as_ref() else { return Offload::default() };
    let OffloadInput { optimizer, weights, activations } = given;
    let out =
        Offload { optimizer: shelf(optimizer, fabric, diags), weights: shelf(weights, fabric, diags), activations: activations.value };
    if optimizer.is_none() && weights.is_none() && !activations.value {
        conflict(input.offload.span, "`offload` says nothing that lies elsewhere", "set optimizer, weights or activations", diags);
    }
    let layered = job.gathers() && job.sharding == Sharding::Weights || job.parallel.replicas() == 1 && job.stack.gathers_layers.value;
    if weights.is_some() && !layered {
        let message = "weights can lie elsewhere only where layers gather them";
        conflict(weights.span, message, "use a fully sharded framework with sharding = \"weights\"", diags);
    }
    if weights.is_some() && optimizer.is_none() {
        let message = "the optimizer's master weights would stay on the accelerators";
        conflict(weights.span, message, "set optimizer = \"host\", or the same tier, too", diags);
    }
    if weights.is_some() && job.parallel.schedule.sends_aside() {
        let message = format!("weights that lie elsewhere are not modelled under the schedule `{}`", job.parallel.schedule);
        diags.push(Diagnostic::error(codes::UNSUPPORTED, message).at(weights.span, "here").hint("set schedule = \"1f1b\""));
    }
    if activations.value && (job.parallel.schedule.sends_aside() || model.is_network()) {
        let message = "activations that leave the accelerator are not modelled with split backward passes or convolutional networks";
        diags.push(Diagnostic::error(codes::UNSUPPORTED, message).at(activations.span, "here").hint("set activations = false"));
    }
    out
}

/// Keys of Horovod, and what it does not do.
pub(super) fn horovod(input: &TrainingInput, job: &Sharded<'_>, fabric: &Fabric, diags: &mut Diagnostics) {
    let ours = *job.stack.framework == Framework::Horovod;
    if ours && (job.sharding != Sharding::None || job.parallel.ranks() != job.parallel.data) {
        let span = if input.sharding.is_some() { input.sharding.span } else { input.framework.span };
        let message = "Horovod holds all weights on every rank: it knows data parallelism only, and nothing sharded";
        conflict(span, message, "leave tensor, pipeline, context, expert and sharding out", diags);
    }
    let Some(given) = input.horovod.value.as_ref() else { return };
    if !ours {
        conflict(input.horovod.span, "`horovod` does nothing under other frameworks", "set framework = \"horovod\"", diags);
    }
    let local = u64::from(fabric.accelerators_per_node(fabric.site(AcceleratorId(0)).node));
    if *given.hierarchical && (fabric.node_count() < 2 || local < 2 || job.parallel.ranks() != local * fabric.node_count() as u64) {
        let message = "a hierarchical all-reduce needs several nodes of several accelerators, as many on each";
        conflict(given.hierarchical.span, message, "set hierarchical = false", diags);
    }
}

/// Buckets of a fusion buffer.
pub(super) fn fuse(input: &TrainingInput, config: &mut Config) {
    let given = input.horovod.value.as_ref();
    let threshold = given.map_or(134_217_728.0, |h| h.fusion_threshold.get());
    config.stack.bucket_parameters.value = ((threshold / config.gradient_bytes()) as u64).max(1);
    if let Some(given) = given {
        config.stack.cycle_time.value = given.cycle_time.value;
    }
}

/// Channels of collective kernels can be chosen where there are collectives, and where the rate of one is known.
pub(super) fn channels(input: &TrainingInput, fabric: &Fabric, diags: &mut Diagnostics) {
    let span = input.collective_channels.span;
    if input.collective_channels.is_none() {
        return;
    }
    if fabric.accelerator_count() < 2 {
        return conflict(span, "`collective_channels` does nothing on one accelerator", "leave it out", diags);
    }
    let pair = vec![AcceleratorId(0), AcceleratorId(1)];
    if !Communicator::new(fabric, &Library::nccl(), &[pair]).knows_channels() {
        let message = "what one channel moves is not known on these links";
        diags.push(
            Diagnostic::error(codes::UNSUPPORTED, message).at(span, "no such figure").hint("leave it out; it is known of NVLink 2 to 5"),
        );
    }
}

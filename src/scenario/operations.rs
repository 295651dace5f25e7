//! Checks of `[checkpoint]`, `[failures]` and `[storage]`: do the tiers exist, do the keys do something together.

use super::failures::failures_of;
use super::input::ScenarioInput;
use super::load::head;
use super::operations_input::{CheckpointInput, Interval, ReshardInput, StorageInput};
use crate::diag::{At, Diagnostic, Diagnostics, Span, codes, nearest};
use crate::fabric::{AcceleratorId, Fabric, TierId};
use crate::operations::{CheckpointPlan, FailureClassInput, FeedPlan, Incremental, LevelPlan, Loses, Place, Recovery, Spares};
use crate::training::{Config, Parallel, Sharding, split};
use crate::units::{BytesPerSecond, Date};

/// A class of failures before the effect of a slow accelerator on the step is known.
#[derive(Debug, Clone)]
pub struct FailureClass {
    /// As it was given.
    pub input: FailureClassInput,
    /// Failures of the whole job in a second.
    pub rate: f64,
    /// Parts that can fail.
    pub parts: f64,
    /// Seconds until it is noticed.
    pub detect: f64,
    /// What is lost with it.
    pub loses: Loses,
    /// Nodes that have to be replaced.
    pub nodes: u32,
    /// Seconds until there are nodes again (loss of a region).
    pub outage: f64,
}

/// Reading a checkpoint onto another layout.
#[derive(Debug, Clone)]
pub struct Reshard {
    /// Bytes per second that one process cuts anew.
    pub rate: f64,
    /// The other layout, where one was given.
    pub to: Option<Config>,
}

/// What fails and how the job comes back.
#[derive(Debug, Clone)]
pub struct Failures {
    /// Classes.
    pub classes: Vec<FailureClass>,
    /// Where the rates come from.
    pub source: String,
    /// Sigma of the fleet's factor.
    pub fleet_sigma: f64,
    /// Coming back.
    pub recovery: Recovery,
    /// Spare nodes.
    pub spares: Spares,
    /// Seconds until a failure is noticed, where no class says otherwise.
    pub detect: f64,
    /// Whether the job goes on with fewer replicas.
    pub elastic: bool,
    /// Lemons: nodes, factor, failures after which one is taken out.
    pub lemons: Option<(u32, f64, Option<u32>)>,
}

/// Everything of a training run beyond its steps.
#[derive(Debug, Clone, Default)]
pub struct Operations {
    /// Checkpoints.
    pub checkpoint: Option<(CheckpointPlan, Interval, usize)>,
    /// Reading onto another layout.
    pub reshard: Option<Reshard>,
    /// The day on which the run begins.
    pub start: Option<Date>,
    /// Failures.
    pub failures: Option<Failures>,
    /// Feeding of data.
    pub feed: Option<FeedPlan>,
    /// Runs under different draws.
    pub seeds: u64,
}

/// Accelerators that only take data and time.
#[derive(Debug, Clone)]
pub struct StorageJob {
    /// How data are read.
    pub feed: FeedPlan,
    /// Accelerators of one host.
    pub accelerators: u32,
    /// Samples of one accelerator and step.
    pub batch: f64,
    /// Seconds of compute of one step.
    pub compute: f64,
    /// Steps.
    pub steps: u32,
    /// Utilisation that counts as sustained.
    pub target: f64,
}

/// A key that does nothing.
pub(super) fn conflict(span: Span, message: &str, hint: &str, diags: &mut Diagnostics) {
    diags.push(Diagnostic::error(codes::CONFLICT, message).at(head(span, diags), "does nothing").hint(hint));
}

/// The tier of a name; reports what is unknown.
fn tier(name: &At<String>, fabric: &Fabric, more: &[&str], diags: &mut Diagnostics) -> Option<TierId> {
    let found = fabric.tier_named(name);
    if found.is_none() {
        let names: Vec<&str> = more.iter().copied().chain(fabric.tiers().map(|t| t.name.as_str())).collect();
        let mut diagnostic =
            Diagnostic::error(codes::UNKNOWN_PART, format!("the topology has no storage tier `{}`", **name)).at(name.span, "unknown tier");
        diagnostic = match nearest(name, names.iter().copied()) {
            Some(near) => diagnostic.hint(format!("did you mean \"{near}\"?")),
            None if names.is_empty() => diagnostic.hint("add a [[storage]] table to the topology"),
            None => diagnostic.hint(format!("the places are {}", names.join(", "))),
        };
        diags.push(diagnostic);
    }
    found
}

/// What a training scenario says about its run.
pub(super) fn operations(input: &ScenarioInput, config: &Config, fabric: &Fabric, diags: &mut Diagnostics) -> Option<Operations> {
    let sequence_bytes = 4.0 * config.model.sequence_length as f64;
    let before = diags.error_count();
    let run = input.run.value.as_ref();
    for (given, span, name) in [
        (input.checkpoint.value.is_some(), input.checkpoint.span, "checkpoint"),
        (input.failures.value.is_some(), input.failures.span, "failures"),
    ] {
        if given && run.is_none() {
            conflict(span, &format!("`[{name}]` does nothing without a [run]"), "add [run] with `tokens` or `steps`", diags);
        }
    }
    let failures = input.failures.value.as_ref().and_then(|f| failures_of(f, input.failures.span, fabric, diags));
    let checkpoint = input.checkpoint.value.as_ref().and_then(|c| checkpoint_of(c, input, fabric, diags));
    if let Some(elastic) = input.failures.value.as_ref().map(|f| &f.elastic).filter(|e| e.value == Some(true) && config.parallel.data < 2) {
        conflict(elastic.span, "a job of one replica cannot go on with fewer", "leave `elastic` out", diags);
    }
    let reshard = input.checkpoint.value.as_ref().and_then(|c| c.reshard.value.as_ref().map(|r| (r, c.reshard.span)));
    let reshard = reshard.and_then(|(r, span)| reshard_of(r, span, input, (config, fabric), diags));
    let feed = input.storage.value.as_ref().and_then(|s| {
        if let Some(emulate) = s.emulate.value.as_ref().map(|_| s.emulate.span) {
            conflict(emulate, "emulated accelerators do nothing beside a [training]", "leave one of them out", diags);
        }
        feed_of(s, sequence_bytes, fabric, diags)
    });
    let seeds = run.map_or(At { value: None, span: input.run.span }, |r| r.seeds);
    if seeds.is_some() && input.failures.value.is_none() {
        conflict(seeds.span, "`seeds` does nothing without [failures]", "leave it out, or say what fails", diags);
    }
    if seeds.is_some_and(|n| n > 100_000) {
        diags.push(Diagnostic::error(codes::OUT_OF_RANGE, "so many runs are absurd").at(seeds.span, "absurd").hint("at most 100,000"));
    }
    (diags.error_count() == before).then(|| Operations {
        checkpoint,
        reshard,
        start: run.and_then(|r| *r.start),
        failures,
        feed,
        seeds: seeds.unwrap_or(100),
    })
}

fn checkpoint_of(
    input: &CheckpointInput,
    scenario: &ScenarioInput,
    fabric: &Fabric,
    diags: &mut Diagnostics,
) -> Option<(CheckpointPlan, Interval, usize)> {
    let before = diags.error_count();
    let mut levels: Vec<LevelPlan> = Vec::new();
    if input.level.is_empty() {
        diags.push(
            Diagnostic::error(codes::MISSING_KEY, "a checkpoint goes nowhere")
                .at(head(scenario.checkpoint.span, diags), "needs a [[checkpoint.level]]")
                .hint("add [[checkpoint.level]] with to = \"peer\" or the name of a storage tier"),
        );
    }
    for level in input.level.iter() {
        let place = match level.to.as_str() {
            "host" => Some(Place::Host),
            "peer" => Some(Place::Peer),
            _ => tier(&level.to, fabric, &["host", "peer"], diags).map(Place::Tier),
        };
        let Some(place) = place else { continue };
        if place == Place::Peer && fabric.node_count() < 2 {
            conflict(level.to.span, "there is no other node whose memory could keep a checkpoint", "use a storage tier", diags);
        }
        if levels.iter().any(|l| l.place == place) {
            diags.push(Diagnostic::error(codes::DUPLICATE_NAME, "checkpoints go to this place twice").at(level.to.span, "second time"));
        }
        if *level.every > 1_000_000 {
            diags.push(Diagnostic::error(codes::OUT_OF_RANGE, "so rare a checkpoint is absurd").at(level.every.span, "absurd"));
        }
        levels.push(LevelPlan { place, every: *level.every, from: None });
    }
    sources(input, &mut levels, fabric, diags);
    if !levels.is_empty() && levels.iter().all(|l| l.every > 1) {
        diags.push(
            Diagnostic::error(codes::CONFLICT, "no place takes every checkpoint")
                .at(input.level[0].every.span, "here")
                .hint("let one place have every = 1 and choose the interval"),
        );
    }
    if *input.retention > 10_000 {
        diags.push(Diagnostic::error(codes::OUT_OF_RANGE, "so many kept checkpoints are absurd").at(input.retention.span, "absurd"));
    }
    if scenario.failures.value.is_none() && !matches!(*input.interval, Interval::Every(_)) {
        diags.push(
            Diagnostic::error(codes::CONFLICT, "without failures no interval is best")
                .at(head(input.interval.span, diags), "needs failures")
                .hint("give interval = \"10 min\", or add [failures]"),
        );
    }
    let incremental = input.incremental.value.as_ref().map(|i| (i, Incremental { full_every: *i.full_every, share: *i.share }));
    if let Some((given, _)) = incremental {
        let bad = *given.full_every < 2 || *given.full_every > 10_000;
        let mut range = |bad: bool, span: Span, message: &str| {
            if bad {
                diags.push(Diagnostic::error(codes::OUT_OF_RANGE, message.to_owned()).at(span, "out of range"));
            }
        };
        range(bad, given.full_every.span, "every second to every 10,000th checkpoint can be whole");
        range(*given.share <= 0.0 || *given.share >= 1.0, given.share.span, "a share of more than none and less than all");
    }
    let plan = CheckpointPlan {
        mode: *input.mode,
        levels,
        incremental: incremental.map_or(Incremental::WHOLE, |i| i.1),
        copy_rate: input.copy_rate.map_or_else(|| default_copy(fabric), BytesPerSecond::get),
        serialise_rate: input.serialise_rate.map_or(f64::INFINITY, |r| r.get()),
        barrier: input.barrier.get(),
    };
    (diags.error_count() == before).then_some((plan, *input.interval, *input.retention as usize))
}

/// Where copies come from: a shared tier before them in the list that takes them as often.
fn sources(input: &CheckpointInput, levels: &mut [LevelPlan], fabric: &Fabric, diags: &mut Diagnostics) {
    if levels.len() != input.level.len() {
        return;
    }
    for (i, level) in input.level.iter().enumerate() {
        let Some(from) = level.from.value.as_deref() else { continue };
        let Some(near) = input.level[..i].iter().position(|l| l.to.value == from) else {
            diags.push(
                Diagnostic::error(codes::UNKNOWN_PART, format!("no place before this one is `{from}`"))
                    .at(level.from.span, "unknown place")
                    .hint("copies come from a [[checkpoint.level]] that stands before"),
            );
            continue;
        };
        let shared = |place: Place| matches!(place, Place::Tier(id) if !fabric.tier(id).kind.is_local());
        if !shared(levels[near].place) || !shared(levels[i].place) || levels[near].from.is_some() {
            conflict(level.from.span, "only servers that the nodes write to can copy, to other servers", "copy from a shared tier", diags);
        }
        if !levels[i].every.is_multiple_of(levels[near].every) {
            conflict(level.every.span, "the place that it is copied from does not have all of these checkpoints", "give a multiple of its `every`", diags);
        }
        levels[i].from = Some(near);
    }
}

/// What one accelerator copies to host memory: over PCIe, or over a link that goes to the CPU itself.
fn default_copy(fabric: &Fabric) -> f64 {
    const PCIE: f64 = 20e9;
    const COHERENT: f64 = 0.65;
    let mut links = 0;
    fabric.copy_route(AcceleratorId(0), true, &mut |_, _| links += 1);
    let own = fabric.link(fabric.site(AcceleratorId(0)).host_link()).capacity;
    if links < 3 { COHERENT * own } else { PCIE }
}

fn reshard_of(
    input: &ReshardInput,
    span: Span,
    scenario: &ScenarioInput,
    (config, fabric): (&Config, &Fabric),
    diags: &mut Diagnostics,
) -> Option<Reshard> {
    let before = diags.error_count();
    let elastic = scenario.failures.value.as_ref().is_some_and(|f| *f.elastic == Some(true));
    let layout = input.tensor.is_some() || input.pipeline.is_some() || input.data.is_some();
    if !layout && !elastic {
        conflict(span, "nothing is read onto another layout", "give another layout here, or elastic = true in [failures]", diags);
    }
    if !layout && input.rate.is_none() {
        conflict(span, "a table without a rate or a layout", "give `rate`, or leave it out", diags);
    }
    let to = layout.then(|| {
        let (tensor, pipeline) = (input.tensor.unwrap_or(config.parallel.tensor), input.pipeline.unwrap_or(config.parallel.pipeline));
        let model = tensor.saturating_mul(pipeline).saturating_mul(config.parallel.context);
        let data = input.data.unwrap_or((fabric.accelerator_count() as u64 / model.max(1)).max(1));
        let parallel = Parallel { tensor, pipeline, data, virtual_stages: 1, first_stage_layers: None, last_stage_layers: None, ..config.parallel };
        let sharding = if parallel.replicas() == 1 { Sharding::None } else { config.sharding };
        Config { parallel, sharding, shard_group: None, ..config.clone() }
    });
    if let Some(to) = &to {
        let p = &to.parallel;
        let ranks = p.tensor.checked_mul(p.pipeline).and_then(|n| n.checked_mul(p.context)).and_then(|n| n.checked_mul(p.data));
        let mut refuse = |bad: bool, code, span: Span, message: String| {
            if bad {
                diags.push(Diagnostic::error(code, message).at(span, "here"));
            }
        };
        let room = fabric.accelerator_count() as u64;
        refuse(ranks.is_none_or(|n| n > room), codes::LAYOUT_SIZE, span, format!("the other layout has more ranks than the {room} accelerators"));
        let heads = config.model.heads;
        refuse(!heads.is_multiple_of(p.tensor), codes::NOT_DIVISIBLE, input.tensor.span, format!("tensor = {} does not divide {heads} heads", p.tensor));
        refuse(p.expert > 1 && !(p.tensor.saturating_mul(p.data)).is_multiple_of(p.expert), codes::NOT_DIVISIBLE, span, "the experts do not divide over the other layout".into());
        refuse(p.pipeline > 100_000 || layers_of(to).is_none(), codes::NOT_DIVISIBLE, input.pipeline.span, format!("{} layers do not divide into {} stages", config.model.layers, p.pipeline));
    }
    (diags.error_count() == before).then(|| Reshard { rate: input.rate.map_or(f64::INFINITY, BytesPerSecond::get), to })
}

/// Layers of the stages of a layout.
pub(super) fn layers_of(config: &Config) -> Option<Vec<Vec<u64>>> {
    let (p, model) = (&config.parallel, &config.model);
    let ends = (p.first_stage_layers, p.last_stage_layers);
    split(model.layers, p.pipeline, p.virtual_stages, *config.stack.split, ends.0, ends.1, 2 * model.prediction_layers).ok()
}

fn feed_of(input: &StorageInput, sequence_bytes: f64, fabric: &Fabric, diags: &mut Diagnostics) -> Option<FeedPlan> {
    let before = diags.error_count();
    let tier = tier(&input.data, fabric, &[], diags);
    let cached = if input.cache.is_some() { Some(input.cache.span) } else { input.cache_tier.as_ref().map(|_| input.cache_tier.span) };
    if let Some(span) = cached.filter(|_| input.samples.is_none()) {
        diags.push(
            Diagnostic::error(codes::MISSING_KEY, "what memory keeps depends on the size of the data set")
                .at(span, "needs `samples`")
                .hint("add `samples = …`"),
        );
    }
    let kept = input.cache_tier.value.clone().map(|value| At { value, span: input.cache_tier.span });
    let cache_tier = kept.as_ref().and_then(|name| self::tier(name, fabric, &[], diags));
    if input.cache.is_some() && kept.is_some() {
        conflict(input.cache_tier.span, "data are kept in two ways", "give one of `cache` and `cache_tier`", diags);
    }
    if cache_tier.is_some() && cache_tier == tier {
        conflict(input.cache_tier.span, "a tier that keeps what it holds itself", "name a faster tier", diags);
    }
    if cached.is_none() {
        for (given, span, name) in
            [(input.samples.is_some(), input.samples.span, "samples"), (input.sharded.is_some(), input.sharded.span, "sharded")]
        {
            if given {
                conflict(span, &format!("`{name}` does nothing without `cache` or `cache_tier`"), "leave it out, or give one of them", diags);
            }
        }
    }
    for (value, span) in [(*input.workers, input.workers.span), (*input.prefetch, input.prefetch.span)] {
        if value > 256 {
            diags.push(Diagnostic::error(codes::OUT_OF_RANGE, "more than 256 workers or batches ahead are absurd").at(span, "absurd"));
        }
    }
    let bytes = input.sample_bytes.map_or(sequence_bytes, |b| b.get());
    if bytes < 1e-3 {
        diags.push(Diagnostic::error(codes::OUT_OF_RANGE, "a sample of less than a byte").at(input.sample_bytes.span, "absurd"));
    }
    (diags.error_count() == before).then_some(FeedPlan {
        tier: tier?,
        sample_bytes: bytes,
        sample_spread: *input.sample_spread,
        samples_per_file: *input.samples_per_file as f64,
        samples: input.samples.map_or(f64::INFINITY, |n| n as f64),
        order: *input.order,
        workers: *input.workers as u32,
        prefetch: *input.prefetch as u32,
        decode: input.decode.get(),
        overhead: input.overhead.get(),
        cache: input.cache.unwrap_or(0.0),
        cache_tier,
        sharded: input.sharded.unwrap_or(false),
    })
}

/// Emulated accelerators: a scenario without a [training].
pub(super) fn storage_job(input: &At<StorageInput>, fabric: &Fabric, diags: &mut Diagnostics) -> Option<StorageJob> {
    let Some(emulate) = &input.emulate.value else {
        diags.push(
            Diagnostic::error(codes::MISSING_KEY, "nothing reads the data")
                .at(head(input.span, diags), "needs [storage.emulate], or a [training]")
                .hint("add [storage.emulate] with accelerators, batch and compute"),
        );
        return None;
    };
    let before = diags.error_count();
    if input.sample_bytes.is_none() {
        diags.push(
            Diagnostic::error(codes::MISSING_KEY, "the size of a sample is not given")
                .at(head(input.span, diags), "this table needs `sample_bytes`")
                .hint("add `sample_bytes = \"114.66 kB\"`"),
        );
    }
    let mut range = |bad: bool, span: Span, message: &str| {
        if bad {
            diags.push(Diagnostic::error(codes::OUT_OF_RANGE, message.to_owned()).at(span, "out of range"));
        }
    };
    range(*emulate.accelerators > 2048, emulate.accelerators.span, "more than 2,048 accelerators on one host");
    range(*emulate.steps > 100_000 || *emulate.steps < 2, emulate.steps.span, "between 2 and 100,000 steps can be simulated");
    range(*emulate.batch > 10_000_000, emulate.batch.span, "so large a batch is absurd");
    range(*emulate.target <= 0.0 || *emulate.target > 0.999, emulate.target.span, "a target between 0 and 0.999");
    range(
        *emulate.accelerators as f64 * *input.workers as f64 * *input.prefetch as f64 > 1e6,
        emulate.accelerators.span,
        "so many batches ahead are absurd",
    );
    let feed = feed_of(input, 1.0, fabric, diags);
    (diags.error_count() == before).then_some(StorageJob {
        feed: feed?,
        accelerators: *emulate.accelerators as u32,
        batch: *emulate.batch as f64,
        compute: emulate.compute.get(),
        steps: *emulate.steps as u32,
        target: *emulate.target,
    })
}

//! Checks of `[checkpoint]`, `[failures]` and `[storage]`: do the tiers exist, do the keys do something together.

use super::checkpoint::{checkpoint_of, reshard_of};
use super::failures::failures_of;
use super::input::ScenarioInput;
use super::load::head;
use super::operations_input::{Interval, StorageInput};
use crate::diag::{At, Diagnostic, Diagnostics, Span, codes, nearest};
use crate::fabric::{Fabric, TierId};
use crate::operations::{CheckpointPlan, Counts, FailureClassInput, FeedPlan, Loses, Recovery, Spares};
use crate::training::Config;
use crate::units::Date;

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
pub(in crate::scenario) fn tier(name: &At<String>, fabric: &Fabric, more: &[&str], diags: &mut Diagnostics) -> Option<TierId> {
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
    let failures = input.failures.value.as_ref().and_then(|f| failures_of(f, input.failures.span, &Counts::of(fabric), diags));
    let checkpoint = input.checkpoint.value.as_ref().and_then(|c| checkpoint_of(c, input, fabric, diags));
    if let Some(elastic) = input.failures.value.as_ref().map(|f| &f.elastic).filter(|e| e.value == Some(true)) {
        if config.parallel.data < 2 {
            conflict(elastic.span, "a job of one replica cannot go on with fewer", "leave `elastic` out", diags);
        }
        if config.batch_shares.is_some() {
            let message = "`batch_shares` does not say what fewer replicas would take each";
            conflict(elastic.span, message, "leave one of `elastic` and `batch_shares` out", diags);
        }
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
                conflict(
                    span,
                    &format!("`{name}` does nothing without `cache` or `cache_tier`"),
                    "leave it out, or give one of them",
                    diags,
                );
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

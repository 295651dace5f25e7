//! Wall-clock benches of the event queue beside the standard heap, the fair solver and whole steps.
//!
//! `cargo bench`. Machines are noisy: read ratios within one run, or count instructions with `.ci/counts`.

use divan::Bencher;
use orrery::diag::Diagnostics;
use orrery::engine::EventQueue;
use orrery::fair::Fair;
use orrery::metrics::training_outcome;
use orrery::scenario::{Job, execute, load};
use orrery::training::simulate_step_with;
use orrery::units::SimTime;
use std::cmp::Reverse;
use std::collections::BinaryHeap;

fn main() {
    divan::main();
}

/// Operations of one hold run: pop the earliest, push one later.
const HOLD: usize = 100_000;

/// A cheap sequence of delays.
fn delay(state: &mut u64) -> u64 {
    *state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
    (*state >> 40) + 1
}

#[divan::bench(args = [1_000, 100_000])]
fn event_queue(bencher: Bencher<'_, '_>, pending: usize) {
    bencher.bench_local(|| {
        let (mut queue, mut state) = (EventQueue::new(), 1);
        for i in 0..pending {
            queue.push(SimTime::new(delay(&mut state) as f64), i as u64);
        }
        for _ in 0..HOLD {
            let Some((time, event)) = queue.pop() else { break };
            queue.push(time + delay(&mut state) as f64, event);
        }
        queue.len()
    });
}

#[divan::bench(args = [1_000, 100_000])]
fn standard_heap(bencher: Bencher<'_, '_>, pending: usize) {
    bencher.bench_local(|| {
        let (mut heap, mut state, mut sequence) = (BinaryHeap::new(), 1, 0u64);
        for i in 0..pending {
            heap.push(Reverse((delay(&mut state), sequence, i as u64)));
            sequence += 1;
        }
        for _ in 0..HOLD {
            let Some(Reverse((time, _, event))) = heap.pop() else { break };
            heap.push(Reverse((time + delay(&mut state), sequence, event)));
            sequence += 1;
        }
        heap.len()
    });
}

/// A thousand flows over three of 256 links each, one stopped and one started at a time.
#[divan::bench]
fn fair_churn(bencher: Bencher<'_, '_>) {
    bencher.bench_local(|| {
        let (mut fair, mut state) = (Fair::new(), 7);
        let links: Vec<_> = (0..256).map(|_| fair.add_resource(1e9)).collect();
        let mut flow = |fair: &mut Fair| {
            let first = delay(&mut state) as usize % 254;
            fair.start(&[(links[first], 1.0), (links[first + 1], 1.0), (links[first + 2], 1.0)], 1.0, f64::INFINITY)
        };
        let mut open: Vec<_> = (0..1000).map(|_| flow(&mut fair)).collect();
        for id in open.iter_mut().take(100) {
            fair.stop(*id);
            *id = flow(&mut fair);
            fair.solve();
        }
        fair.rate(open[0])
    });
}

/// Loads and runs a shipped scenario.
fn run(bencher: Bencher<'_, '_>, file: &str) {
    let path = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("scenarios").join(file);
    bencher.bench_local(|| {
        let mut diags = Diagnostics::new();
        let scenario = load(&path, &[], None, &mut diags)?;
        execute(&scenario, 600.0, &|| 0.0).ok()
    });
}

/// Scenarios whose cost is promised: 96 microbatches of 175B; 4,096 ranks in one coupled all-reduce; half a million messages; a permutation
/// of 1,024 flows; one step on 16,384 accelerators with hashed paths, and with a straggler.
#[divan::bench(args = [
    "training/gpt3-175b-a100-1024.toml",
    "collective/hierarchical-4096.toml",
    "collective/explicit-ring-512.toml",
    "collective/permutation-1024-ecmp.toml",
    "scale/scale-16384.toml",
    "scale/scale-16384-straggler.toml",
    "serving/speed-100k.toml",
    "serving/mooncake.toml",
    "fleet/policies-small.toml",
], sample_count = 10)]
fn scenario(bencher: Bencher<'_, '_>, file: &str) {
    run(bencher, file);
}

/// One folded step of GPT-3 175B on 8 stages with 96 microbatches, once the scenario is read: lowered, run, put into numbers. With one and
/// with three model chunks a stage.
#[divan::bench(args = [1, 3], sample_count = 50)]
fn step_175b(bencher: Bencher<'_, '_>, chunks: u64) {
    let path = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("scenarios/training/gpt3-175b-a100-1024.toml");
    let Some(scenario) = load(&path, &[format!("training.parallel.virtual_stages={chunks}")], None, &mut Diagnostics::new()) else {
        return;
    };
    let Job::Training { config, .. } = &scenario.job else { return };
    let step = || simulate_step_with(config, &scenario.fabric, &scenario.profiles).ok();
    let events = step().map_or(0, |s| s.execution.events);
    bencher
        .counter(divan::counter::ItemsCount::new(events))
        .bench_local(|| step().map(|s| training_outcome(config, &scenario.fabric, &s).0.step_time_s));
}

/// A million jobs of mixed sizes on 100,000 accelerators with EASY backfill.
#[divan::bench(sample_count = 1, sample_size = 1)]
fn fleet_million_jobs(bencher: Bencher<'_, '_>) {
    let path = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("scenarios/scale/fleet-100k.toml");
    let million = ["fleet.job.0.count=900000", "fleet.job.1.count=100000"].map(str::to_owned);
    bencher.bench_local(|| {
        let scenario = load(&path, &million, None, &mut Diagnostics::new())?;
        execute(&scenario, 600.0, &|| 0.0).ok()
    });
}

/// Rows of a sweep over small trainings: loaded from one base, simulated, put into cells.
#[divan::bench]
fn sweep_rows(bencher: Bencher<'_, '_>) {
    let mut diags = Diagnostics::new();
    let path = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("scenarios/sweep/hypercube-100k.toml");
    let Some(sweep) = orrery::plan::load_sweep(&path, &mut diags) else { return };
    bencher.bench_local(|| (0..100).filter(|i| sweep.row(*i).sound).count());
}

/// All legal layouts of GPT-3 175B on 1,024 accelerators.
#[divan::bench(sample_count = 5)]
fn plan_layouts(bencher: Bencher<'_, '_>) {
    let mut diags = Diagnostics::new();
    let path = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("scenarios/plan/layout-175b-1024.toml");
    let Some(plan) = orrery::plan::load_plan(&path, &mut diags) else { return };
    bencher.bench_local(|| orrery::plan::decide(&plan).search.simulated);
}

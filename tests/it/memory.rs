//! Memory against published figures: bytes of model states, activations, checkpoints, and measured peaks.

use crate::root;
use orrery::diag::{Diagnostics, Style, render};
use orrery::fabric::Fabric;
use orrery::scenario::{Job, load_text};
use orrery::training::{Config, MemoryPlan, Op, Schedule, program_of, shards, stage_memory};

/// The job of a scenario on so many nodes of a shipped topology.
fn job(topology: &str, nodes: u64, training: &str) -> Config {
    job_on(&format!("topology = \"../../topologies/{topology}.toml\"\nnodes = {nodes}\n"), training)
}

fn job_on(topology: &str, training: &str) -> Config {
    job_and_fabric(topology, training).0
}

/// A job and its cluster.
pub(crate) fn job_and_fabric(topology: &str, training: &str) -> (Config, std::sync::Arc<Fabric>) {
    let layout = if training.contains("[training.parallel]") { "" } else { "[training.parallel]\n" };
    let (head, degraded) = topology.split_once("[[degraded]]").map_or((topology, String::new()), |(h, d)| (h, format!("[[degraded]]{d}")));
    let text = format!("title = \"t\"\n{head}[training]\n{training}{layout}{degraded}");
    let place = root().join("scenarios/training/t.toml");
    let mut diags = Diagnostics::new();
    let scenario = load_text(&place.display().to_string(), &text, &[], None, &mut diags);
    let scenario = scenario.unwrap_or_else(|| panic!("{}", render(&diags, Style::Plain)));
    match scenario.job {
        Job::Training { config, .. } => (*config, scenario.fabric),
        _ => unreachable!(),
    }
}

/// The fullest stage.
fn fullest(config: &Config) -> MemoryPlan {
    let layers = config.layers().unwrap();
    let plans = (0..config.parallel.pipeline).map(|s| stage_memory(config, &layers, s));
    plans.max_by(|a, b| a.total().total_cmp(&b.total())).unwrap()
}

fn within_a_tenth(what: &str, got: f64, published: f64) {
    let error = got / published - 1.0;
    assert!(error.abs() <= 0.10, "{what}: {got:.4e} against {published:.4e}, {:+.1} %", 100.0 * error);
}

/// Rajbhandari et al., arXiv 1910.02054, table 1: bytes of model states of one device.
#[test]
fn model_states_of_zero() {
    let small = "[training.model]\npreset = \"gpt3-13b\"\nhidden = 4096\nheads = 32\nffn_hidden = 16384\nlayers = 36\n";
    let large = "[training.model]\npreset = \"gpt-1t\"\n";
    for (model, billions, nodes, sharding, published) in [
        (small, 7.5, 8, "optimizer", 31.4e9),
        (small, 7.5, 8, "gradients", 16.6e9),
        (small, 7.5, 32, "optimizer", 30.4e9),
        (small, 7.5, 32, "gradients", 15.4e9),
        (large, 1000.0, 2, "optimizer", 4750e9),
        (large, 1000.0, 2, "gradients", 2875e9),
        (large, 1000.0, 2, "weights", 1000e9),
    ] {
        let text = format!("framework = \"deepspeed\"\nprecision = \"fp16\"\nglobal_batch = 256\nsharding = \"{sharding}\"\n{model}");
        let config = job("dgx-a100-hdr", nodes, &text);
        let plan = fullest(&config);
        let each = (plan.weights + plan.gradients + plan.optimizer) / config.model.parameters();
        within_a_tenth(&format!("{billions} G, {nodes} nodes, {sharding}"), each * billions * 1e9, published);
    }
}

/// Korthikanti et al., arXiv 2205.05198, section 5: selective recompute saves 70 % of the activations of GPT-3 and 65 % of MT-NLG's.
#[test]
fn selective_recompute_saves_what_the_paper_says() {
    for (preset, nodes, pipeline, saved) in [("gpt-175b", 8, 8, 0.70), ("gpt-530b", 35, 35, 0.65)] {
        let kept = |recompute: &str| {
            let text = format!(
                "stack = \"megatron-2022\"\nglobal_batch = 280\nprecision = \"fp16\"\nattention = \"unfused\"\nrecompute = \"{recompute}\"\n\
                 [training.model]\npreset = \"{preset}\"\n[training.parallel]\ntensor = 8\npipeline = {pipeline}\nsequence = true\n"
            );
            let config = job("dgx-a100-hdr", nodes, &text);
            stage_memory(&config, &config.layers().unwrap(), 1).activations
        };
        let got = 1.0 - kept("selective") / kept("none");
        within_a_tenth(preset, got, saved);
    }
}

/// BLOOM's model card: a checkpoint with optimizer state of 2.3 TB, 329 GB of bf16 weights (GiB by its own count).
#[test]
fn checkpoint_of_bloom() {
    let text = "framework = \"megatron-deepspeed\"\nglobal_batch = 2048\nmicrobatch = 2\nrecompute = \"full\"\n[training.model]\npreset = \"bloom-176b\"\n\
                [training.parallel]\ntensor = 4\npipeline = 12\n";
    let config = job("dgx-a100-hdr", 48, text);
    let written: f64 = shards(&config, &config.layers().unwrap()).iter().map(|s| s.written).sum();
    within_a_tenth("checkpoint", written, 2.3e12);
    within_a_tenth("weights", 2.0 * config.model.parameters(), 329.0 * 1_073_741_824.0);
}

/// Peaks of BigScience's trial runs (its notes before the training of BLOOM, 20 to 28 February 2022), read from nvidia-smi as thousands of
/// MiB: layers, hidden, heads, data, tensor and pipeline ranks, sequences of a pass and a step. 65 layouts: docs/models/memory.md.
#[test]
fn peaks_of_bloom_trials() {
    let rows: [([u64; 8], f64); 10] = [
        ([8, 14400, 32, 1, 8, 1, 1, 2048], 67.0),
        ([80, 14400, 96, 1, 8, 10, 1, 2048], 73.0),
        ([80, 14400, 96, 12, 8, 4, 1, 2040], 47.0),
        ([80, 14400, 96, 4, 8, 10, 4, 2048], 55.0),
        ([78, 14400, 96, 8, 8, 6, 8, 2048], 75.0),
        ([72, 14336, 64, 4, 8, 12, 1, 2048], 29.0),
        ([72, 14336, 64, 24, 8, 2, 1, 2016], 65.0),
        ([72, 14336, 64, 16, 4, 6, 2, 2048], 57.0),
        ([72, 14336, 64, 8, 2, 24, 2, 2048], 53.0),
        ([96, 12288, 64, 8, 1, 48, 1, 2048], 58.0),
    ];
    for ([layers, hidden, heads, data, tensor, pipeline, microbatch, batch], published) in rows {
        let text = format!(
            "framework = \"megatron-deepspeed\"\nprecision = \"fp16\"\nattention = \"unfused\"\nrecompute = \"full\"\nglobal_batch = {batch}\n\
             microbatch = {microbatch}\n[training.model]\npreset = \"bloom-176b\"\nlayers = {layers}\nhidden = {hidden}\nffn_hidden = {}\nheads = {heads}\n\
             [training.parallel]\ntensor = {tensor}\npipeline = {pipeline}\n",
            4 * hidden
        );
        let config = job("jean-zay-a100-opa", data * tensor * pipeline / 8, &text);
        let what = format!("{layers} x {hidden}, TP {tensor} PP {pipeline} DP {data}, {microbatch} a pass");
        within_a_tenth(&what, fullest(&config).total(), published * 1000.0 * 1_048_576.0);
    }
}

/// Liang et al. (torchtitan), arXiv 2410.06511, tables 1 and 2: peak memory on H100 (from memory of the tables, unverified).
#[test]
fn peaks_of_torchtitan() {
    let gib = 1_073_741_824.0;
    let eight = "[training.model]\npreset = \"llama-3.1-8b\"\nsequence_length = 8192\n";
    for (stack, nodes, rest, published) in [
        ("torchtitan-eager-2024", 1, format!("global_batch = 16\nmicrobatch = 2\nrecompute = \"selective\"\n{eight}"), 81.9),
        ("torchtitan-compile-2024", 1, format!("global_batch = 16\nmicrobatch = 2\nrecompute = \"selective\"\n{eight}"), 77.0),
        ("torchtitan-eager-2024", 16, format!("global_batch = 256\nmicrobatch = 2\nrecompute = \"selective\"\n{eight}"), 67.0),
        ("torchtitan-compile-2024", 16, format!("global_batch = 256\nmicrobatch = 2\nrecompute = \"selective\"\n{eight}"), 62.1),
    ] {
        let config = job("dgx-h100-ndr", nodes, &format!("framework = \"torchtitan\"\nstack = \"{stack}\"\n{rest}"));
        within_a_tenth(&format!("{stack} on {nodes} nodes"), fullest(&config).total(), published * gib);
    }
}

/// The same, table of 405B: 78 GiB with one pass for each stage's share of a pipeline's 32 sequences (from memory, unverified).
#[test]
fn peak_of_torchtitan_405b() {
    let text = "framework = \"torchtitan\"\nstack = \"torchtitan-asynctp-2024\"\nprecision = \"fp8\"\nrecompute = \"full\"\nglobal_batch = 256\n\
                [training.model]\npreset = \"llama-3.1-405b\"\nsequence_length = 8192\n[training.parallel]\ntensor = 8\npipeline = 8\nsequence = true\n";
    let config = job("dgx-h100-ndr", 64, text);
    assert_eq!((config.microbatch, config.microbatches()), (4, 8));
    within_a_tenth("405B", fullest(&config).total(), 78.0 * 1_073_741_824.0);
    // One that is given stays.
    assert_eq!(job("dgx-h100-ndr", 64, &text.replace("global_batch", "microbatch = 1\nglobal_batch")).microbatch, 1);
}

/// DeepSeek-V3 (arXiv 2412.19437): 16 stages of two copies fit into 80 GB without tensor parallelism, moments of the optimizer in 16 bit.
#[test]
fn deepseek_v3_fits_as_its_report_says() {
    let text = |stack: &str, optimizer: &str| {
        format!(
            "stack = \"{stack}\"\nexpert_stack = \"deepep-overlap\"\nprecision = \"fp8\"\nglobal_batch = 15360\nrecompute = \"selective\"\noptimizer = \"{optimizer}\"\n\
             [training.model]\npreset = \"deepseek-v3\"\nsequence_length = 4096\n[training.parallel]\npipeline = 16\nexpert = 64\nschedule = \"dualpipe\"\n"
        )
    };
    let peak = |stack, optimizer| fullest(&job("dgx-h100-ndr", 256, &text(stack, optimizer))).total();
    let memory = 80.0 * 1_073_741_824.0;
    let own = peak("deepseek-2024", "adam-16bit");
    assert!((0.85 * memory..memory).contains(&own), "{own:.3e}");
    // Neither with activations in 16 bit nor, by much, with the other stack's copies of weights.
    assert!(peak("megatron-bridge-2025", "adam-16bit") > memory && peak("deepseek-2024", "adam") > own);
}

/// Microbatches of whole stages that the first stage holds: 1F1B and ZB-H1 p, ZB-V p (arXiv 2401.10241), DualPipe p + 1 (its repository).
#[test]
fn microbatches_in_flight_by_schedule() {
    let held = |schedule: Schedule, stages: u64, chunks: u64, microbatches: u64| {
        let most = (0..stages).map(|s| {
            let (mut now, mut most) = (0i64, 0);
            for op in program_of(schedule, s, stages, chunks, microbatches) {
                now += i64::from(matches!(op, Op::Forward { .. } | Op::Pair { .. }));
                most = most.max(now);
                now -= i64::from(matches!(op, Op::Backward { .. } | Op::Weights { .. } | Op::Pair { .. }));
            }
            most
        });
        most.max().unwrap()
    };
    let p = 8;
    assert_eq!(held(Schedule::OneForwardOneBackward, p, 1, 32), 8);
    assert_eq!(held(Schedule::ZeroBubble, p, 1, 32), 8);
    assert_eq!(held(Schedule::Gpipe, p, 1, 32), 32);
    // Chunks of half a stage.
    assert_eq!(held(Schedule::ZbV, p, 2, 32), 2 * 8);
    // Chunks of a whole stage, those of two copies.
    assert_eq!(held(Schedule::DualPipe, p, 2, 32), 8 + 1);
}

/// Ren et al. (ZeRO-Offload), arXiv 2101.06840: 13 G parameters on one V100 of 32 GB, which nothing but offload holds; 16 bytes of model
/// states a parameter, 2 of them on the accelerator.
#[test]
fn thirteen_billion_on_one_v100() {
    const ONE: &str = "[topology]\n[[topology.node]]\nname = \"n\"\naccelerator = \"v100-sxm3-32gb\"\naccelerators = 1\nscale_up = \"pcie\"\nhost = \"dgx-2\"\n\
                       [topology.fabric]\nkind = \"none\"\n";
    let text = |extra: &str| {
        format!(
            "framework = \"deepspeed\"\nglobal_batch = 8\nmicrobatch = 1\nprecision = \"fp16\"\nattention = \"unfused\"\nrecompute = \"full\"\n{extra}\
             [training.model]\npreset = \"gpt3-13b\"\nsequence_length = 1024\n"
        )
    };
    let whole = fullest(&job_on(ONE, &text("")));
    let config = job_on(ONE, &text("[training.offload]\noptimizer = \"host\"\n"));
    let offloaded = fullest(&config);
    let memory = 32.0 * 1_073_741_824.0;
    assert!(whole.total() > memory && offloaded.total() <= memory, "{:.3e} {:.3e}", whole.total(), offloaded.total());
    let parameters = config.model.parameters();
    within_a_tenth("states on the host", offloaded.host / parameters, 14.0);
    within_a_tenth("states on the accelerator", offloaded.weights / parameters, 2.0);
}

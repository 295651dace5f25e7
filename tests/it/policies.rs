//! Mixed accelerators, sharded weights inside pipelines, offload and hierarchical all-reduces: closed forms and who sets the pace.

use crate::memory::job_and_fabric;
use orrery::fabric::LinkKind;
use orrery::training::{Config, Folding, Step, simulate_step, simulate_step_folded};
use orrery::workload::{TaskKind, Work};

fn nodes(topology: &str, count: u64) -> String {
    format!("topology = \"../../topologies/{topology}.toml\"\nnodes = {count}\n")
}

fn run(topology: &str, training: &str) -> (Config, Step) {
    let (config, fabric) = job_and_fabric(topology, training);
    let step = simulate_step(&config, &fabric).unwrap();
    (config, step)
}

/// Payload of all transfers of a kind.
fn bytes(step: &Step, kind: TaskKind) -> f64 {
    let of = |t: &orrery::workload::Task| match t.work {
        Work::Transfer { bytes, .. } if t.kind == kind => t.times * bytes,
        _ => 0.0,
    };
    step.graph.tasks().iter().map(of).sum()
}

/// A node of A100 and one of H100 on one network.
const MIXED: &str = "[topology]\n[[topology.node]]\nname = \"a\"\naccelerator = \"a100-sxm-80gb\"\naccelerators = 8\nscale_up = \"nvswitch\"\nhost = \"dgx-a100\"\n\
                     nic = \"cx6-hdr200\"\nnics = 8\ncount = 1\n[[topology.node]]\nname = \"h\"\naccelerator = \"h100-sxm\"\naccelerators = 8\nscale_up = \"nvswitch\"\n\
                     host = \"dgx-h100\"\nnic = \"cx6-hdr200\"\nnics = 8\ncount = 1\n[topology.fabric]\nkind = \"rail-optimised\"\nlevels = 2\nswitch = \"qm8700\"\n";

#[test]
fn the_slowest_stage_of_mixed_accelerators_sets_the_pace() {
    let time = |layers: &str| {
        let text = format!(
            "global_batch = 64\n[training.model]\npreset = \"llama-2-7b\"\n[training.parallel]\ntensor = 4\npipeline = 2\nsequence = true\nstage_layers = {layers}\n"
        );
        run(MIXED, &text).1
    };
    let (equal, fitting, other) = (time("[16, 16]"), time("[11, 21]"), time("[21, 11]"));
    let makespan = |s: &Step| s.time_s();
    assert!(makespan(&fitting) < 0.85 * makespan(&equal), "{} {}", makespan(&fitting), makespan(&equal));
    assert!(makespan(&other) > 1.2 * makespan(&equal));
    // The A100 stage is never idle for long: its passes alone are most of the step.
    let busy: f64 = equal
        .graph
        .tasks()
        .iter()
        .enumerate()
        .filter(|(_, t)| t.class.0 == 0 && matches!(t.work, Work::Compute { .. }))
        .map(|(i, t)| t.times * (equal.execution.finish[i] - equal.execution.start[i]))
        .sum();
    assert!(busy > 0.9 * makespan(&equal), "{busy} of {}", makespan(&equal));
}

#[test]
fn the_last_replica_of_unequal_shares_sets_the_pace() {
    let time = |shares: &str| {
        let text = format!(
            "global_batch = 128\n{shares}[training.model]\npreset = \"llama-2-7b\"\n[training.parallel]\ntensor = 4\nsequence = true\n"
        );
        run(MIXED, &text).1.time_s()
    };
    let equal = time("");
    assert!((time("batch_shares = [32, 32, 32, 32]\n") / equal - 1.0).abs() < 1e-12);
    assert!(time("batch_shares = [20, 20, 44, 44]\n") < 0.85 * equal);
    assert!(time("batch_shares = [44, 44, 20, 20]\n") > 1.2 * equal);
}

#[test]
fn weights_inside_pipeline_stages_move_as_often_as_the_policy_says() {
    let text = |sharding: &str| {
        format!(
            "framework = \"torchtitan\"\n{sharding}global_batch = 64\nmicrobatch = 1\n[training.model]\npreset = \"llama-2-7b\"\n[training.parallel]\npipeline = 2\n"
        )
    };
    let place = nodes("dgx-h100-ndr", 2);
    // By default once a step: a gather of 2 bytes and a reduction of 4 for every weight of the two stages.
    let (config, once) = run(&place, &text(""));
    let want = 6.0 * config.model.parameters();
    assert!((bytes(&once, TaskKind::DataComm) / want - 1.0).abs() < 1e-9, "{} against {want}", bytes(&once, TaskKind::DataComm));
    // Else for each of 8 microbatches: two gathers of the layers and one of the tables, and a reduction.
    let (config, always) = run(&place, &text("sharding = \"weights\"\n"));
    let tables = 2.0 * config.model.embedding_parameters();
    let want = 8.0 * (8.0 * config.model.parameters() - 2.0 * tables);
    assert!((bytes(&always, TaskKind::DataComm) / want - 1.0).abs() < 1e-3, "{} against {want}", bytes(&always, TaskKind::DataComm));
    assert!(always.memory[0].total() < once.memory[0].total());
}

#[test]
fn folded_is_unfolded_under_every_schedule() {
    let slow = "[[degraded]]\npart = \"accelerator 11\"\nspeed = 0.5\n";
    for extra in ["", slow] {
        let place = format!("{}{extra}", nodes("dgx-h100-ndr", 2));
        for (schedule, more) in [("zb-v", ""), ("dualpipe", ""), ("dualpipe-v", ""), ("zero-bubble", "virtual_stages = 2\n"), ("1f1b", "")]
        {
            let (config, fabric) = job_and_fabric(
                &place,
                &format!(
                    "global_batch = 64\n[training.model]\npreset = \"llama-2-7b\"\n[training.parallel]\ntensor = 2\npipeline = 4\nschedule = \"{schedule}\"\n{more}"
                ),
            );
            let time = |folding| simulate_step_folded(&config, &fabric, folding).unwrap().time_s();
            let (a, b) = (time(Folding::Folded), time(Folding::Unfolded));
            assert!((a / b - 1.0).abs() < 1e-9, "{schedule} {extra}: {a} and {b}");
        }
    }
}

/// One V100 of a DGX-2 host with drives.
const ONE: &str = "[topology]\n[[topology.node]]\nname = \"n\"\naccelerator = \"v100-sxm3-32gb\"\naccelerators = 1\nscale_up = \"pcie\"\nhost = \"dgx-2\"\n\
                   drive = \"nvme-gen3-3.84tb\"\ndrives = 8\n[topology.fabric]\nkind = \"none\"\n[[topology.storage]]\nname = \"nvme\"\nkind = \"local-drives\"\n";

#[test]
fn offload_moves_what_the_papers_say() {
    let text = |offload: &str| {
        format!(
            "framework = \"deepspeed\"\nprecision = \"fp16\"\nattention = \"unfused\"\nrecompute = \"full\"\nglobal_batch = 4\n{offload}\
             [training.model]\npreset = \"gpt3-13b\"\nlayers = 8\nsequence_length = 1024\n"
        )
    };
    // Gradients go down and weights come up: 2 bytes each; sums over microbatches come up three times and go down as often before.
    let (config, host) = run(ONE, &text("[training.offload]\noptimizer = \"host\"\n"));
    let parameters = config.model.parameters();
    let moved = bytes(&host, TaskKind::Offload);
    let sums = 3.0 * 2.0 * 2.0;
    assert!((moved / ((4.0 + sums) * parameters) - 1.0).abs() < 1e-9, "{moved} for {parameters}");
    let (_, once) = run(ONE, &text("microbatch = 4\n[training.offload]\noptimizer = \"host\"\n"));
    let moved = bytes(&once, TaskKind::Offload);
    assert!((moved / (4.0 * parameters) - 1.0).abs() < 1e-9, "{moved} for {parameters}");
    let update: f64 =
        host.graph.tasks().iter().filter_map(|t| if let Work::Delay { seconds } = t.work { Some(seconds) } else { None }).sum();
    assert!((update / (28.0 * parameters / (0.45 * 256e9)) - 1.0).abs() < 1e-9, "{update}");
    // On drives besides: gradients written, state with gradients read, state written.
    let (_, drives) = run(ONE, &text("[training.offload]\noptimizer = \"nvme\"\n"));
    let moved = bytes(&drives, TaskKind::Offload);
    assert!((moved / ((4.0 + sums + 2.0 + 14.0 + 12.0) * parameters) - 1.0).abs() < 1e-9, "{moved} for {parameters}");
    assert!(drives.time_s() > host.time_s());
    // An optimizer that keeps half as much moves half of it.
    let (_, small) = run(ONE, &text("optimizer = \"adam-8bit\"\n[training.offload]\noptimizer = \"nvme\"\n"));
    let moved = bytes(&small, TaskKind::Offload);
    assert!((moved / ((4.0 + sums + 2.0 + 8.0 + 6.0) * parameters) - 1.0).abs() < 1e-9, "{moved} for {parameters}");
    // A checkpoint copies the weights only; what it writes is the same.
    let copied = |c: &orrery::training::Config| {
        let all = orrery::training::shards(c, &c.layers().unwrap());
        [all.iter().map(|s| s.written).sum::<f64>(), all.iter().map(|s| s.copied[0]).sum()]
    };
    let [written, over_pcie] = copied(&config);
    assert!((written / (14.0 * parameters) - 1.0).abs() < 1e-9 && (over_pcie / (2.0 * parameters) - 1.0).abs() < 1e-9);
    // Activations of all but the last two layers leave and come back, for each of 4 microbatches.
    let (config, away) = run(ONE, &text("[training.offload]\noptimizer = \"host\"\nactivations = true\n"));
    let kept = 2.0 * 1024.0 * config.model.hidden as f64;
    let want = (4.0 + sums) * parameters + 4.0 * 2.0 * 6.0 * kept;
    let moved = bytes(&away, TaskKind::Offload);
    assert!((moved / want - 1.0).abs() < 1e-9, "{moved} against {want}");
    assert!(away.memory[0].activations < host.memory[0].activations);
}

#[test]
fn a_hierarchical_all_reduce_puts_a_part_on_the_network() {
    let text = |hierarchical: bool| {
        format!(
            "framework = \"horovod\"\nprecision = \"fp16\"\nglobal_batch = 4096\nmicrobatch = 256\n[training.horovod]\nhierarchical = {hierarchical}\n\
             [training.model]\npreset = \"resnet-50\"\n"
        )
    };
    let place = nodes("dgx-a100-hdr", 2);
    let nic = |hierarchical| {
        let (config, step) = run(&place, &text(hierarchical));
        let load = step.execution.loads.iter().filter(|l| l.kind == LinkKind::Nic).map(|l| l.bytes).sum::<f64>();
        (load, config.gradient_bytes() * config.model.parameters())
    };
    // Eight pairs of ranks all-reduce an eighth each: a rank sends its part once.
    let (load, gradients) = nic(true);
    assert!((load / (gradients / 8.0) - 1.0).abs() < 1e-6, "{load} of {gradients}");
    // A longer cycle only adds.
    let time = |cycle: &str| run(&place, &text(false).replace("hierarchical = false", &format!("cycle_time = \"{cycle}\""))).1.time_s();
    let (short, long) = (time("1 ms"), time("20 ms"));
    assert!((0.005..0.011).contains(&(long - short)), "{short} {long}");
}

#[test]
fn channels_trade_the_wire_for_compute() {
    let time = |channels: &str| {
        let model = "[training.model]\npreset = \"gpt3-6.7b\"\n[training.parallel]\ntensor = 8\nsequence = true\n";
        let training = format!("global_batch = 4\nmicrobatch = 1\n{channels}{model}");
        run(&nodes("dgx-h100-ndr", 1), &training).1.time_s()
    };
    assert!(time("collective_channels = 4\n") > 1.05 * time(""), "four channels carry 147 GB/s of 371");
    assert_eq!(time("collective_channels = 20\n"), time(""));
}

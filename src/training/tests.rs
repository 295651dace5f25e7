//! Memory by the closed form of the literature, and the two ways to run tensor communication.

use super::memory::layer_activations;
use super::*;
use crate::model::{Architecture, Norm, Position};

fn gpt(heads: u64, hidden: u64, sequence_length: u64) -> Architecture {
    Architecture {
        title: "gpt".into(),
        layers: 8,
        hidden,
        ffn_hidden: 4 * hidden,
        heads,
        kv_heads: heads,
        head_dim: hidden / heads,
        vocabulary: 51200,
        gated_mlp: false,
        tied_embeddings: true,
        position: Position::Learned,
        norm: Norm::Layernorm,
        sequence_length,
        ..Architecture::default()
    }
}

fn config(tensor: u64, sequence: bool, recompute: Recompute) -> Config {
    Config {
        model: gpt(64, 6144, 2048),
        parallel: Parallel {
            tensor,
            pipeline: 1,
            data: 1,
            context: 1,
            expert: 1,
            virtual_stages: 1,
            schedule: Schedule::OneForwardOneBackward,
            sequence,
        },
        uneven: Uneven::default(),
        batch_shares: None,
        global_batch: 4,
        microbatch: 4,
        precision: Precision::Fp16,
        recompute,
        recompute_layers: None,
        attention: Attention::Unfused,
        optimizer: crate::kernels::OptimizerKind::Adam,
        sharding: Sharding::None,
        shard_group: None,
        offload: Offload::default(),
        hierarchical: false,
        adapter_rank: None,
        stack: Stack::named("megatron-2022").unwrap().clone(),
        experts: ExpertStack::named("eager").unwrap().clone(),
        expert_imbalance: 1.0,
        collective_channels: None,
    }
}

#[test]
fn activations_of_a_layer_follow_the_paper() {
    // arXiv 2205.05198, equations 1 to 4 and 6: s b h (34 + 5 a s / h) and its splits.
    let (s, b, h, a, t) = (2048.0, 4.0, 6144.0, 64.0, 8.0);
    let sbh = s * b * h;
    let scores = 5.0 * a * s / h;
    for (sequence, recompute, want) in [
        (false, Recompute::None, sbh * (10.0 + 24.0 / t + scores / t)),
        (true, Recompute::None, sbh * (34.0 / t + scores / t)),
        (true, Recompute::Selective, sbh * 34.0 / t),
        (false, Recompute::Full, sbh * 2.0),
    ] {
        let got = layer_activations(&config(8, sequence, recompute));
        // Statistics of the softmax are kept besides: far below a hundredth.
        assert!((got / want - 1.0).abs() < 0.01, "{sequence} {recompute}: {got} against {want}");
    }
}

#[test]
fn weights_and_optimizer_are_18_bytes_a_parameter() {
    let config = config(8, true, Recompute::Selective);
    let plan = stage_memory(&config, &[vec![8]], 0);
    let bytes = (plan.weights + plan.gradients + plan.optimizer) / (config.model.parameters() / 8.0);
    assert!((bytes - 18.0).abs() < 0.01, "{bytes}");
}

fn cluster(nodes: u64, extra: &str) -> crate::fabric::Fabric {
    use crate::diag::{Decode as _, Diagnostics, Node, Style, render};
    let text = format!(
        "{extra}[[node]]\nname = \"dgx\"\naccelerator = \"h100-sxm\"\naccelerators = 8\nscale_up = \"nvswitch\"\nhost = \"dgx-h100\"\nnic = \"cx7-ndr400\"\nnics = 8\n\
         [fabric]\nkind = \"rail-optimised\"\nnodes = {nodes}\nlevels = 2\nswitch = \"qm9700\"\n"
    );
    let mut diags = Diagnostics::new();
    let source = diags.add_source("t", text);
    let built = Node::parse(source, &mut diags)
        .and_then(|n| crate::fabric::TopologyInput::decode(&n, &mut diags))
        .and_then(|t| t.build(&mut diags));
    built.unwrap_or_else(|| panic!("{}", render(&diags, Style::Plain))).0
}

fn sharded_job(stack: &str, sharding: Sharding, data: u64) -> Config {
    Config {
        parallel: Parallel { tensor: 1, data, ..config(1, false, Recompute::None).parallel },
        global_batch: 2 * data,
        microbatch: 1,
        precision: Precision::Bf16,
        attention: Attention::Flash,
        sharding,
        stack: Stack::named(stack).unwrap().clone(),
        ..config(1, false, Recompute::None)
    }
}

/// Payload of all data-parallel collectives of a step.
fn data_bytes(step: &Step) -> f64 {
    let of = |t: &crate::workload::Task| match (t.kind, t.work) {
        (crate::workload::TaskKind::DataComm, crate::workload::Work::Transfer { bytes, .. }) => t.times * bytes,
        _ => 0.0,
    };
    step.graph.tasks().iter().map(of).sum()
}

/// Seconds of a layer on the device, forward and backward.
fn layer_s(config: &Config) -> [f64; 2] {
    let passes = simulate_step(config, &cluster(1, "")).unwrap().passes[0];
    [passes.layer_forward.compute(), passes.layer_backward.compute()]
}

/// Every number of a trainer's metrics costs the host two launches for each rank of the job, after the step.
#[test]
fn metrics_are_gathered_from_every_rank() {
    let of = |states, nodes: u64| {
        let mut job = sharded_job("llm-foundry-0.4", Sharding::Weights, 8 * nodes);
        job.stack.metric_states.value = states;
        simulate_step(&job, &cluster(nodes, "")).unwrap().time_s()
    };
    assert_eq!(*Stack::named("llm-foundry-0.4").unwrap().metric_states, 4);
    let factor = *crate::hardware::Catalogue::embedded().hosts["dgx-h100"].launch_factor;
    for nodes in [1, 4] {
        let kernels = 4.0 * 8.0 * nodes as f64;
        let more = of(4, nodes) - of(0, nodes);
        assert!((more / (factor * kernels * (27.5e-6 + 22e-6)) - 1.0).abs() < 1e-6, "{more}");
    }
}

#[test]
fn checkpoints_that_stop_early_leave_out_the_last_product() {
    let job = |recompute, early: bool| {
        let mut config = Config { recompute, ..sharded_job("fsdp-2023", Sharding::Weights, 8) };
        config.stack.early_stop.value = early;
        layer_s(&config)
    };
    let (none, full, early) = (job(Recompute::None, false), job(Recompute::Full, false), job(Recompute::Full, true));
    // The product back to the hidden size is a third of a plain layer's products, and most of its time are products.
    let saved = (full[1] - early[1]) / none[0];
    assert!((0.2..0.34).contains(&saved), "{saved} of a forward pass");
    assert!(early[0] == none[0] && job(Recompute::None, true) == none);
    // Every second of six products: keys and the output here.
    let share = sharded_job("fsdp2-2024", Sharding::Weights, 8).alternate_share();
    assert!((share - 2.0 / 12.0).abs() < 1e-3, "{share}");
}

#[test]
fn copies_round_collectives_take_memory_traffic() {
    let job = |gather: f64, sums: f64, sharding| {
        let mut config = sharded_job("fsdp2-2024", sharding, 8);
        (config.stack.gather_copy_bytes.value, config.stack.accumulate_bytes_bf16.value) = (gather, sums);
        layer_s(&config)
    };
    let weights = sharded_job("fsdp2-2024", Sharding::Weights, 8).model.layer_parameters();
    let rate = 0.78 * 3.352e12;
    let (plain, gathers, sums) = (job(0.0, 0.0, Sharding::Weights), job(4.0, 0.0, Sharding::Weights), job(0.0, 6.0, Sharding::Weights));
    // Weights are gathered for both passes, gradients leave after the second; beside the traffic stand the gaps of a few kernels.
    for (more, bytes) in [(gathers[0] - plain[0], 4.0), (gathers[1] - plain[1], 4.0), (sums[1] - plain[1], 6.0)] {
        let want = bytes * weights / rate;
        assert!(more > want * 0.999 && more < want + 1e-5, "{more} against {want}");
    }
    assert_eq!(sums[0], plain[0]);
    assert_eq!(job(4.0, 0.0, Sharding::Optimizer), job(0.0, 0.0, Sharding::Optimizer));
}

#[test]
fn full_sharding_moves_three_times_the_weights() {
    // Rajbhandari et al. (arXiv 1910.02054): a gather forward, a gather backward, a reduction. The embedding and the last layer stay
    // gathered between the two passes.
    let config = sharded_job("fsdp-2023", Sharding::Weights, 16);
    let step = simulate_step(&config, &cluster(2, "")).unwrap();
    let model = &config.model;
    let kept = model.embedding_parameters() + model.position_parameters() + model.layer_parameters();
    let passes = 2.0;
    let want = passes * (2.0 * 3.0 * model.parameters() - 2.0 * kept);
    assert!((data_bytes(&step) / want - 1.0).abs() < 1e-12, "{} against {want}", data_bytes(&step));
    // Without resharding after the forward pass one gather is saved, and with none of it only the reduction is left.
    let gradients = simulate_step(&sharded_job("fsdp-2023", Sharding::Gradients, 16), &cluster(2, "")).unwrap();
    assert!((data_bytes(&gradients) / (passes * 4.0 * model.parameters()) - 1.0).abs() < 1e-12);
    let replicated = simulate_step(&sharded_job("pytorch-ddp-2021", Sharding::None, 16), &cluster(2, "")).unwrap();
    assert!((data_bytes(&replicated) / (4.0 * model.parameters()) - 1.0).abs() < 1e-12, "once a step");
}

#[test]
fn hybrid_shards_cross_the_network_with_one_share_only() {
    let whole = sharded_job("fsdp-2023", Sharding::Weights, 16);
    let hybrid = Config { shard_group: Some(8), ..whole.clone() };
    let fabric = cluster(2, "");
    let nic = |config: &Config| {
        let step = simulate_step(config, &fabric).unwrap();
        step.execution.loads.iter().filter(|l| l.kind == crate::fabric::LinkKind::Nic).map(|l| l.bytes).sum::<f64>()
    };
    // A ring over 16 ranks of 2 nodes puts its payload on the NICs of a node, spread over 8: three times the weights, 15/16 of each; the
    // copies all-reduce an eighth of the gradients between two ranks, payload once each way.
    let (all, across) = (nic(&whole), nic(&hybrid));
    let gradients = 2.0 * 2.0 * whole.model.parameters() / 8.0;
    assert!((across / gradients - 1.0).abs() < 1e-9, "{across} against {gradients}");
    assert!(all > 2.0 * across);
}

#[test]
fn gathers_ahead_hide_behind_the_layer_that_computes() {
    let fabric = cluster(2, "");
    let time = |ahead: u64| {
        let mut config = sharded_job("fsdp-2023", Sharding::Weights, 16);
        config.stack.prefetch_forward.value = ahead;
        config.stack.prefetch_backward.value = ahead;
        simulate_step(&config, &fabric).unwrap().time_s()
    };
    assert!(time(1) < 0.97 * time(0), "{} and {}", time(1), time(0));
}

fn experts_job() -> Config {
    let model = Architecture {
        layers: 4,
        gated_mlp: true,
        experts: Some(crate::model::Experts {
            count: 32,
            per_token: 4,
            ffn_hidden: 2048,
            shared: 1,
            first_dense: 1,
            every: 1,
            groups: 0,
            groups_per_token: 0,
            clamped: false,
        }),
        ..gpt(32, 4096, 2048)
    };
    let job = sharded_job("megatron-bridge-2025", Sharding::Optimizer, 16);
    Config { model, parallel: Parallel { expert: 8, ..job.parallel }, ..job }
}

#[test]
fn experts_exchange_every_copy_of_a_token() {
    let config = experts_job();
    let fabric = cluster(2, "");
    let step = simulate_step(&config, &fabric).unwrap();
    // Dispatch and combine, forward and backward, in 3 layers and 2 microbatches: top-4 copies of 2,048 tokens of 4,096 numbers.
    let bytes = 2048.0 * 4.0 * 4096.0 * 2.0;
    let groups: Vec<Vec<_>> = vec![(0..8).map(crate::fabric::AcceleratorId).collect()];
    let alone = crate::collectives::Communicator::new(&fabric, &crate::collectives::Library::nccl(), &groups)
        .time_alone(crate::collectives::Op::AllToAll, bytes);
    let inside: f64 = step.graph.tasks().iter().map(|t| t.times * t.inner_expert).sum();
    let waits = 2.0 * 3.0 * config.experts.wait.get();
    assert!((inside / (2.0 * 3.0 * 4.0 * alone + waits) - 1.0).abs() < 1e-9, "{inside} against {alone}");
    // Without launches and waits, and with a part of the exchange hidden.
    let captured = Config { experts: ExpertStack::named("full-graph").unwrap().clone(), ..config };
    assert!(simulate_step(&captured, &fabric).unwrap().time_s() < step.time_s());
}

#[test]
fn folded_is_unfolded_with_shards_and_experts() {
    for (what, extra) in [("uniform", ""), ("slow", "[[degraded]]\npart = \"accelerator 11\"\nspeed = 0.5\n")] {
        let fabric = cluster(2, extra);
        for config in [sharded_job("torchtitan-compile-2024", Sharding::Weights, 16), experts_job()] {
            let time = |folding| simulate_step_folded(&config, &fabric, folding).unwrap().time_s();
            let (a, b) = (time(Folding::Folded), time(Folding::Unfolded));
            assert!((a / b - 1.0).abs() < 1e-9, "{what}: {a} and {b}");
        }
    }
}

#[test]
fn frozen_weights_have_no_gradient_of_their_own() {
    let whole = sharded_job("mlperf-2025", Sharding::None, 8);
    let frozen = Config { adapter_rank: Some(16), ..whole.clone() };
    let fabric = cluster(1, "");
    let (a, b) = (simulate_step(&whole, &fabric).unwrap(), simulate_step(&frozen, &fabric).unwrap());
    let matrix = |s: &Step| s.passes[0].layer_backward.matrix;
    assert!((0.4..0.6).contains(&(matrix(&b) / matrix(&a))));
    assert!((frozen.model_flops_per_step() / whole.model_flops_per_step() - 2.0 / 3.0).abs() < 1e-12);
    assert!(b.memory[0].optimizer < 0.02 * a.memory[0].optimizer);
    assert!(data_bytes(&b) < 0.02 * data_bytes(&a));
}

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
            sequence,
            first_stage_layers: None,
            last_stage_layers: None,
        },
        global_batch: 4,
        microbatch: 4,
        precision: Precision::Fp16,
        recompute,
        attention: Attention::Unfused,
        sharding: Sharding::None,
        shard_group: None,
        adapter_rank: None,
        stack: Stack::named("megatron-2022").unwrap().clone(),
        experts: ExpertStack::named("eager").unwrap().clone(),
        expert_imbalance: 1.0,
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

//! Hybrids and networks of blocks: limits in which they are plain models, and closed forms of single parts.

use super::*;
use crate::hardware::Catalogue;
use crate::kernels::{DeviceModel, Operator, Pass};
use crate::model::{Architecture, Hybrid, Preset, StateKind, StateMixer};

const STATE: StateMixer =
    StateMixer { kind: StateKind::Mamba2, heads: 64, value_dim: 64, key_heads: 8, key_dim: 128, convolution: 4, rank: 0 };

fn h100() -> DeviceModel {
    DeviceModel::new(&Catalogue::embedded().accelerators["h100-sxm"], None)
}

fn config(model: Architecture, ranks: u64, microbatch: u64) -> Config {
    let parallel = Parallel {
        tensor: 1,
        pipeline: 1,
        data: ranks,
        context: 1,
        expert: 1,
        virtual_stages: 1,
        schedule: Schedule::OneForwardOneBackward,
        sequence: false,
    };
    Config {
        model,
        parallel,
        uneven: Uneven::default(),
        batch_shares: None,
        global_batch: microbatch * ranks,
        microbatch,
        precision: Precision::Bf16,
        recompute: Recompute::None,
        recompute_layers: None,
        attention: Attention::Flash,
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

fn llama(hybrid: Option<Hybrid>) -> Architecture {
    Architecture { sequence_length: 4096, hybrid, ..Preset::named("llama-3.1-8b").unwrap().architecture() }
}

fn passes(attention_layers: u64, state_layers: u64) -> Passes {
    let hybrid = Hybrid { attention_layers, state_layers, feed_forward_layers: 32, state: STATE };
    Passes::new(&config(llama(Some(hybrid)), 1, 1), &h100(), 1.0)
}

#[test]
fn a_hybrid_without_states_is_a_plain_model() {
    let plain = config(llama(None), 1, 1);
    assert_eq!(passes(32, 0), Passes::new(&plain, &h100(), 1.0));
    let hybrid = Hybrid { attention_layers: 32, state_layers: 0, feed_forward_layers: 32, state: STATE };
    let same = config(llama(Some(hybrid)), 1, 1);
    let layers = vec![vec![32]];
    assert_eq!(stage_memory(&same, &layers, 0), stage_memory(&plain, &layers, 0));
    assert_eq!(same.model_flops_per_step(), plain.model_flops_per_step());
    assert_eq!(same.model.parameters(), plain.model.parameters());
}

#[test]
fn a_mixed_model_is_the_mean_of_its_layers() {
    let (all, none, half) = (passes(32, 0), passes(0, 32), passes(16, 16));
    for get in [|p: &PassCost| p.matrix, |p: &PassCost| p.attention, |p: &PassCost| p.host] {
        for (a, b, m) in [
            (&all.layer_forward, &none.layer_forward, &half.layer_forward),
            (&all.layer_backward, &none.layer_backward, &half.layer_backward),
        ] {
            assert!((get(m) / (0.5 * (get(a) + get(b))) - 1.0).abs() < 1e-9);
        }
    }
    // The scan alone: 4,096 tokens of one sequence.
    assert_eq!(none.layer_forward.attention, h100().scan(&STATE, 4096.0, 4096.0, Pass::Forward));
}

#[test]
fn states_cost_the_same_for_every_token() {
    let seconds = |length: u64| {
        let hybrid = Hybrid { attention_layers: 0, state_layers: 32, feed_forward_layers: 32, state: STATE };
        let model = Architecture { sequence_length: length, ..llama(Some(hybrid)) };
        Passes::new(&config(model, 1, 1), &h100(), 1.0).layer_forward.compute()
    };
    // Twice the tokens take twice the time but for start-ups and waves.
    assert!((seconds(131_072) / seconds(65_536) - 2.0).abs() < 0.02);
}

#[test]
fn embedding_bags_by_hand() {
    let job = config(Preset::named("dlrm-dcnv2").unwrap().architecture(), 8, 8192);
    let device = h100();
    let passes = Passes::new(&job, &device, 1.0);
    // 214 rows of 512 bytes with an index of 8 a sample, 26 sums of 512 written.
    let bytes = 8192.0 * (214.0 * (512.0 + 8.0) + 26.0 * 512.0);
    assert!((passes.embedding_forward.elementwise - device.stream(bytes, 1.0)).abs() < 1e-12);
    let back = 8192.0 * (26.0 * 512.0 + 214.0 * (2.0 * 512.0 + 8.0));
    assert!((passes.embedding_backward.elementwise - device.stream(back, 1.0)).abs() < 1e-12);
    assert_eq!((passes.embedding_forward.expert_count, passes.embedding_backward.expert_count), (1.0, 1.0));
    // Rows and a number of the optimizer each, in 32 bit, over 8 parts; the dense networks besides.
    let tables = 4.0 * 204_184_588.0 * 129.0 / 8.0;
    assert!((job.bag_bytes() - tables).abs() < 1.0);
    let plan = stage_memory(&job, &[vec![job.model.layers]], 0);
    assert!(plan.weights > tables && plan.weights < tables + 0.1e9 && plan.optimizer < 0.3e9);
}

#[test]
fn patches_have_no_gradient_of_their_own() {
    let job = config(Preset::named("vit-l-16").unwrap().architecture(), 1, 64);
    let passes = Passes::new(&job, &h100(), 1.0);
    assert!(passes.embedding_forward.matrix > 0.0);
    assert!(passes.embedding_backward.matrix < 2.0 * passes.embedding_forward.matrix);
    // The classifier works on one token of each image.
    assert!(passes.head_forward.matrix < 0.1 * passes.layer_forward.matrix);
}

#[test]
fn networks_of_layers_need_their_flops() {
    for (id, microbatch) in [("t5-11b", 8), ("dit-xl-2", 32), ("stable-diffusion-2", 16)] {
        let job = config(Preset::named(id).unwrap().architecture(), 1, microbatch);
        let passes = Passes::new(&job, &h100(), 1.0);
        let layers = job.model.layers as f64;
        let busy = layers * (passes.layer_forward.compute() + passes.layer_backward.compute());
        let share = job.model_flops_per_step() / busy / 989e12;
        assert!((0.15..0.75).contains(&share), "{id}: {share} of the peak");
    }
}

/// What stacks with a kernel for every tensor operation move is the sum of the operators (bytes per element, 16 bit).
#[test]
fn stacks_move_what_their_operators_move() {
    let of = |o: Operator| o.bytes();
    for (pass, forward) in [(Pass::Forward, true), (Pass::Backward, false)] {
        let norm = of(Operator::Norm { elements: 1.0, bytes: 2.0, pass });
        let dropout_add = of(Operator::Dropout { elements: 1.0, bytes: 2.0, pass });
        let add = of(Operator::Add { elements: 1.0, bytes: 2.0 });
        let pick = |s: &Stack| if forward { *s.norm_bytes_forward } else { *s.norm_bytes_backward };
        // Megatron: bias, dropout and residual in one kernel; backward also sums of the gradients that meet.
        let megatron = 2.0 * (norm + dropout_add + if forward { 0.0 } else { add });
        assert_eq!(pick(Stack::named("megatron-2022").unwrap()), megatron, "{pass:?}");
        // Every operation apart: bias 4 (summed 2), dropout 5, sum 6; norms read their input once more for their own weights.
        let dropout = 5.0;
        let apart = if forward { 2.0 * (norm + 4.0 + dropout + add) } else { 2.0 * (norm + 4.0 + 2.0 + dropout + add) };
        assert_eq!(pick(Stack::named("deepspeed-2020").unwrap()), apart, "{pass:?}");
        // Queries, keys and values from products of their own: two more gradients meet.
        let separate = apart + if forward { 0.0 } else { 2.0 * add };
        assert_eq!(pick(Stack::named("pytorch-ddp-2021").unwrap()), separate, "{pass:?}");
    }
}

/// Sequence-parallel ranks of torchtitan copy what they gather and scatter, and sum gradients of separate projections over whole hidden
/// states, by hand: bytes per element of a hidden state.
#[test]
fn sequence_parallel_ranks_copy_around_their_collectives() {
    let device = h100();
    let with = |stack: &str, precision, copies: bool, recompute| {
        let base = config(llama(None), 1, 32);
        let mut stack = Stack::named(stack).unwrap().clone();
        stack.sequence_copies.value = copies;
        let parallel = Parallel { tensor: 8, sequence: true, ..base.parallel };
        Passes::new(&Config { parallel, stack, precision, recompute, ..base }, &device, 1.0)
    };
    let (none, full) = (Recompute::None, Recompute::Full);
    for (stack, precision, recompute, [forward, backward]) in [
        // Forward (gather, result) twice; backward gathers of gradients, sums of three and of two products.
        ("torchtitan-compile-2024", Precision::Bf16, none, [2.0 * (4.0 + 4.0), 2.0 * 4.0 + 8.0 + 6.0]),
        ("torchtitan-compile-2024", Precision::Fp8, none, [2.0 * (2.0 + 4.0), 2.0 * 2.0 + 8.0 + 6.0]),
        // Layers that run again stop before the last scatter.
        ("torchtitan-compile-2024", Precision::Bf16, full, [16.0, 22.0 + 4.0 + 4.0 + 4.0]),
        // Every second product again: what is gathered is copied again, results are kept.
        ("torchtitan-compile-2024", Precision::Bf16, Recompute::Selective, [16.0, 22.0 + 2.0 * 4.0]),
        // Parts that travel as products write them are summed when all are there; sums of products are scattered as before.
        ("torchtitan-asynctp-2024", Precision::Bf16, none, [2.0 * 2.25, 8.0 + 6.0]),
    ] {
        let (on, off) = (with(stack, precision, true, recompute), with(stack, precision, false, recompute));
        let more = |get: fn(&Passes) -> f64| (get(&on) - get(&off)) / device.stream(4096.0 * 4096.0 * 32.0, 0.0);
        let seen = [more(|p| p.layer_forward.elementwise), more(|p| p.layer_backward.elementwise)];
        for (seen, bytes) in seen.into_iter().zip([forward, backward]) {
            assert!((seen / bytes - 1.0).abs() < 0.01, "{stack} {precision:?} {recompute:?}: {seen} for {bytes}");
        }
    }
    let bare = |stack| with(stack, Precision::Bf16, true, none).layer_backward;
    assert_eq!((bare("torchtitan-asynctp-2024").comm_count, bare("torchtitan-asynctp-2024").comm_bare), (2.0, 1.0));
}

/// Separate projections are products of their own widths on one input, which is cast once.
#[test]
fn separate_projections_are_products_of_their_own() {
    let with = |separate: bool, precision| {
        let base = config(llama(None), 1, 4);
        let mut stack = base.stack.clone();
        stack.separate_projections.value = separate;
        let parallel = Parallel { tensor: 8, sequence: true, ..base.parallel };
        Passes::new(&Config { parallel, stack, precision, ..base }, &h100(), 1.0)
    };
    let (apart, joined) = (with(true, Precision::Bf16), with(false, Precision::Bf16));
    assert!(
        apart.layer_forward.matrix > 1.02 * joined.layer_forward.matrix
            && apart.layer_backward.matrix > 1.02 * joined.layer_backward.matrix
    );
    let device = h100();
    let product =
        |n, k| device.gemm_aligned(crate::hardware::Dtype::Bf16, crate::kernels::Gemm { m: 16_384, n, k, batch: 1, output_bytes: 2.0 }, 64);
    let by_hand = product(512, 4096) + 2.0 * product(128, 4096) + product(4096, 512) + 2.0 * product(1792, 4096) + product(4096, 1792);
    assert!((apart.layer_forward.matrix / by_hand - 1.0).abs() < 1e-9);
    let casts = |p: bool| with(p, Precision::Fp8).layer_forward.matrix;
    assert!(casts(true) > casts(false));
}

/// Three exchanges among four context ranks: what each rank computes and how often it exchanges, by hand.
#[test]
fn context_ranks_share_attention_as_their_exchange_says() {
    let device = h100();
    let with = |exchange, context: u64| {
        let base = config(Architecture { sequence_length: 32_768, ..llama(None) }, 1, 1);
        let mut stack = base.stack.clone();
        stack.context_exchange.value = exchange;
        let parallel = Parallel { context, ..base.parallel };
        Passes::new(&Config { parallel, stack, ..base }, &device, 1.0)
    };
    let flash = |batch, heads, sequence, causal, pass| {
        let shape = crate::kernels::FlashAttention {
            batch,
            heads,
            sequence,
            head_dim: 128,
            generation: crate::kernels::AttentionGeneration::Second,
        };
        let form = crate::kernels::AttentionForm { causal, ..crate::kernels::AttentionForm::default() };
        device.flash_attention_form(shape, form, pass)
    };
    for pass in [Pass::Forward, Pass::Backward] {
        let of = |p: &Passes| if pass == Pass::Forward { p.layer_forward } else { p.layer_backward };
        let whole = of(&with(ContextExchange::Ring, 1));
        assert_eq!((whole.attention, whole.context_count), (flash(1, 32, 32_768, true, pass), 0.0));
        // All keys in one kernel, a quarter of the queries.
        let gather = of(&with(ContextExchange::Gather, 4));
        assert!((gather.attention / (0.25 * whole.attention) - 1.0).abs() < 1e-9);
        // A quarter of the heads on whole sequences; queries, keys, values and result (32 + 2 of 8 + 32 heads) copied twice.
        let swap = of(&with(ContextExchange::AllToAll, 4));
        let copies = device.stream(8.0 * 8192.0 * 80.0 * 128.0, 8.0);
        assert!((swap.attention / (flash(1, 8, 32_768, true, pass) + copies) - 1.0).abs() < 1e-9);
        // Steps: the own quarter causal, three times all queries against half of the keys; results merged.
        let ring = of(&with(ContextExchange::Ring, 4));
        let steps = flash(1, 32, 8192, true, pass) + 3.0 * flash(2, 32, 4096, false, pass);
        let (each, keys, kernels) = if pass == Pass::Forward { (6.0, 2.0 + 4.0 * 2.0, 16.0) } else { (20.0, 4.0 + 4.0 * 10.0, 28.0) };
        let merges = device.stream(8192.0 * 128.0 * (4.0 * each * 32.0 + keys * 16.0), kernels);
        assert!((ring.attention / (steps + merges) - 1.0).abs() < 1e-9, "{pass:?}");
        assert!(ring.attention > gather.attention);
        let back = if pass == Pass::Forward { 1.0 } else { 2.0 };
        assert_eq!([ring.context_count, gather.context_count, swap.context_count], [back, back, 2.0]);
    }
}

/// Half of the layers again costs half of what all of them do, and keeps the mean of both ways' activations.
#[test]
fn layers_may_be_computed_again_in_part() {
    let with = |recompute, recompute_layers| Config { recompute, recompute_layers, ..config(llama(None), 1, 1) };
    let (none, all, half) = (with(Recompute::None, None), with(Recompute::Full, None), with(Recompute::Full, Some(16)));
    assert_eq!(with(Recompute::Full, Some(32)).recomputed_share(), 1.0);
    let mean = |of: &dyn Fn(&Config) -> f64| (of(&half) / (0.5 * (of(&none) + of(&all))) - 1.0).abs();
    let pass = |c: &Config| Passes::new(c, &h100(), 1.0);
    assert!(mean(&|c| pass(c).layer_backward.matrix) < 1e-12);
    assert!(mean(&|c| pass(c).layer_forward.host + pass(c).layer_backward.host) < 1e-12);
    assert!(mean(&|c| c.hardware_flops_per_step()) < 1e-12);
    let kept = |c: &Config| stage_memory(c, &[vec![32]], 0).activations;
    let one = (kept(&with(Recompute::Full, Some(2))) - kept(&with(Recompute::Full, Some(1)))).abs();
    // Each layer more that is computed again keeps as much less.
    assert!((kept(&with(Recompute::Full, Some(1))) - kept(&all) - 31.0 * one).abs() < 1e-3 * one);
}

/// Frozen weights need no inputs for gradients of their own: of a layer in 16 bit, that of the gated inputs and that of the output stay out.
#[test]
fn frozen_weights_keep_no_inputs() {
    let kept = |adapter_rank| stage_memory(&Config { adapter_rank, ..config(llama(None), 1, 1) }, &[vec![32]], 0).activations;
    let inputs = 32.0 * 4096.0 * 2.0 * (4096.0 + 14_336.0);
    assert!(((kept(None) - kept(Some(16))) / inputs - 1.0).abs() < 1e-9);
}

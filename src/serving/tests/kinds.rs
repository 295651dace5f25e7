//! Layers with a window, weights alone in few bits, decodes and prompts in one kernel.

use super::*;
use crate::fabric::AcceleratorId;
use crate::model::Window;

fn of_preset(id: &str) -> Shape {
    Shape::of_preset(presets().iter().find(|p| p.id.value == id).unwrap()).unwrap()
}

fn end_of(shape: Shape, formats: Formats, list: &Requests) -> f64 {
    let fabric = fabric(1);
    let mut pool = Deployment::plain(shape, formats).pool(&fabric, Profiles::embedded(), &engine("vllm", 64)).unwrap();
    serve(&mut pool, list, Arrivals::Open, 0.0, &Streams::new(1)).end_s
}

const WIDE: Formats = Formats { linear: Dtype::Bf16, attention: Dtype::Bf16, kv: Dtype::Bf16 };

#[test]
fn a_window_that_nothing_reaches_changes_nothing() {
    let window = Some(Window { tokens: 4096, every: 2, full_every: 0 });
    let (short, long) = (requests([(0.0, 2000, 200)]), requests([(0.0, 30_000, 200)]));
    let (full, near) = (llama(), Shape { window, ..llama() });
    assert_eq!(end_of(full.clone(), WIDE, &short), end_of(near.clone(), WIDE, &short));
    assert!(end_of(near, WIDE, &long) < 0.95 * end_of(full, WIDE, &long));
}

#[test]
fn windows_keep_what_they_see() {
    // Gemma 3 27B: 62 layers, 10 of them without a window; 2 × 16 heads × 128 × 2 B a token and layer.
    let shape = of_preset("gemma-3-27b");
    assert_eq!(shape.attention_kinds(), (10, 52));
    assert_eq!(shape.kv_bytes_per_token(Dtype::Bf16, 1), 10.0 * 8192.0);
    let limits = deployment(shape, 1, Some(10_000)).limits(stack("vllm").unwrap(), 10_000, Role::Both);
    // 8,192 tokens in blocks of 16, and a window of 1,024 in 5.2 times as many layers: 64 × 5.2 blocks more, rounded up.
    assert_eq!((limits.lasting(8192), limits.near(8192), limits.near(16)), (512, 333, 6));
    let all = Shape { window: Some(Window { tokens: 4096, every: 1, full_every: 0 }), ..llama() };
    let limits = deployment(all, 1, Some(10_000)).limits(stack("vllm").unwrap(), 10_000, Role::Both);
    assert_eq!((limits.lasting(8192), limits.near(8192), limits.near(160)), (0, 256, 10));
}

#[test]
fn narrow_weights_save_memory_time_and_no_products() {
    let narrow = |linear| Formats { linear, attention: linear, kv: Dtype::Bf16 };
    let (one, many) = (requests([(0.0, 16, 400)]), requests((0..64).map(|_| (0.0, 8000, 2))));
    let time = |f, list: &Requests| end_of(llama(), f, list);
    // Weights of 15 of 16 GB of a decode step in 8 and 4 bit; the output projection, the cache and launches stay.
    let (eight, four) = (time(narrow(Dtype::W8a16), &one) / time(WIDE, &one), time(narrow(Dtype::W4a16), &one) / time(WIDE, &one));
    assert!((0.5..0.72).contains(&eight) && (0.27..0.55).contains(&four) && four < eight, "{eight}, {four}");
    let prompts = time(narrow(Dtype::W4a16), &many) / time(WIDE, &many);
    assert!((0.9..1.1).contains(&prompts), "{prompts}");
    let fabric = fabric(1);
    let weights = |f| Deployment::plain(of_preset("llama-3.1-70b"), f).memory(&fabric, stack("vllm").unwrap(), AcceleratorId(0)).weights;
    assert!(weights(WIDE) > 141e9 && (38e9..42e9).contains(&weights(narrow(Dtype::W4a16))));
}

/// Beside prompts FlashAttention 2 gives every query head of a decode a tile of its own.
#[test]
fn decodes_beside_prompts_cost_more_where_one_kernel_runs_both() {
    let text = "[[node]]\nname = \"node\"\naccelerator = \"rtx-pro-6000-server\"\naccelerators = 1\nscale_up = \"pcie\"\nhost = \"pcie-16\"\n[fabric]\nkind = \"none\"\n";
    let mut diags = Diagnostics::new();
    let source = diags.add_source("test", text);
    let node = Node::parse(source, &mut diags).unwrap();
    let fabric = TopologyInput::decode(&node, &mut diags).unwrap().build(&mut diags).unwrap().0;
    let mut apart = engine("vllm-0.19", 128);
    apart.joint_attention.value.clear();
    let time = |stack: &StackRow, batch: Batch| {
        deployment(llama(), 1, None).pool(&fabric, Profiles::embedded(), stack).unwrap().costs[0].time(&[batch])
    };
    let decodes = Batch { width: 1, decodes: 128, context: 128 * 1024, ..Batch::default() };
    let mixed = Batch { chunks: 1, chunk_tokens: 1024, chunk_pairs: 1024.0 * 512.0, finished: 1, ..decodes };
    let joint = engine("vllm-0.19", 128);
    assert_eq!(time(&apart, decodes), time(&joint, decodes));
    // Layer tables of vLLM 0.19: 825 against 61 + 405 µs in each of 32 layers.
    let more = (time(&joint, mixed) - time(&apart, mixed)) / 32.0;
    assert!((150e-6..400e-6).contains(&more), "{more}");
}

/// Graphs of Neuron are compiled for contexts of powers of two, and every core holds whole heads.
#[test]
fn compiled_contexts_are_read_whole() {
    let text = "[[node]]\nname = \"node\"\naccelerator = \"inferentia2\"\naccelerators = 1\nscale_up = \"pcie\"\nhost = \"pcie-16\"\n[fabric]\nkind = \"none\"\n";
    let mut diags = Diagnostics::new();
    let source = diags.add_source("test", text);
    let node = Node::parse(source, &mut diags).unwrap();
    let fabric = TopologyInput::decode(&node, &mut diags).unwrap().build(&mut diags).unwrap().0;
    let (compiled, mut free) = (engine("neuronx", 8), engine("neuronx", 8));
    free.context_buckets.value = None;
    let time = |shape: &Shape, stack: &StackRow, context: u64| {
        let mut pool = deployment(shape.clone(), 1, None).pool(&fabric, Profiles::embedded(), stack).unwrap();
        pool.costs[0].time(&[Batch { width: 1, decodes: 8, context: 8 * context, ..Batch::default() }])
    };
    let at = |stack: &StackRow, context| time(&llama(), stack, context);
    assert_eq!(at(&compiled, 1025), at(&compiled, 2048));
    assert_eq!(at(&compiled, 2048), at(&free, 2048));
    assert!(at(&compiled, 1025) > at(&free, 1025) && at(&compiled, 2049) > at(&compiled, 2048));
    // Two cores hold a head each where there is one to share.
    let mut one_core = compiled.clone();
    one_core.splits_units.value = false;
    let single = Shape { kv_heads: 1, ..llama() };
    assert!(time(&single, &compiled, 4096) > time(&single, &one_core, 4096));
    assert_eq!(at(&compiled, 4096), at(&one_core, 4096));
}

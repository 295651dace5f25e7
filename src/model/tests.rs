//! Parameters of presets and of `config.json` files against published counts.

use super::{Architecture, Preset, StateKind, huggingface, presets};
use crate::diag::{Diagnostics, Span, Style, render};

/// Published counts in billions: papers, model cards and checkpoint sizes. DeepSeek-V3 with its extra layer of prediction; Llama 4 and
/// Gemma 3 without their vision parts.
const PUBLISHED: &[(&str, f64)] = &[
    ("gpt2", 0.12444),
    ("gpt2-medium", 0.35482),
    ("gpt2-large", 0.77403),
    ("gpt2-xl", 1.55761),
    ("gpt3-1.3b", 1.316),
    ("gpt3-6.7b", 6.66),
    ("gpt3-13b", 12.85),
    ("gpt3-175b", 174.6),
    ("bloom-560m", 0.55921),
    ("bloom-1b7", 1.72241),
    ("bloom-3b", 3.00256),
    ("bloom-7b1", 7.06902),
    ("bloom-176b", 176.247),
    ("opt-175b", 174.6),
    ("gpt-neox-20b", 20.55),
    ("falcon-180b", 179.5),
    ("llama-2-7b", 6.738),
    ("llama-2-13b", 13.016),
    ("llama-2-70b", 68.977),
    ("llama-3-8b", 8.030),
    ("llama-3-70b", 70.554),
    ("llama-3.1-405b", 405.85),
    ("llama-3.2-1b", 1.2358),
    ("llama-3.2-3b", 3.2128),
    ("llama-4-scout", 107.77),
    ("llama-4-maverick", 400.7),
    ("qwen2.5-0.5b", 0.494),
    ("qwen2.5-1.5b", 1.544),
    ("qwen2.5-3b", 3.086),
    ("qwen2.5-7b", 7.616),
    ("qwen2.5-14b", 14.77),
    ("qwen2.5-32b", 32.764),
    ("qwen2.5-72b", 72.706),
    ("qwen3-0.6b", 0.596),
    ("qwen3-1.7b", 1.7206),
    ("qwen3-4b", 4.0224),
    ("qwen3-8b", 8.1907),
    ("qwen3-14b", 14.768),
    ("qwen3-32b", 32.762),
    ("qwen3-30b-a3b", 30.532),
    ("qwen3-235b-a22b", 235.09),
    ("mistral-7b", 7.2417),
    ("mixtral-8x7b", 46.703),
    ("mixtral-8x22b", 140.62),
    ("deepseek-v2", 235.74),
    ("deepseek-v2-lite", 15.706),
    ("deepseek-v3", 684.5),
    ("kimi-k2", 1026.0),
    ("gpt-oss-20b", 20.9),
    ("gpt-oss-120b", 116.8),
    ("dbrx", 131.6),
    ("nemotron4-15b", 15.65),
    ("nemotron4-340b", 341.0),
    ("gemma-2b", 2.506),
    ("gemma-7b", 8.538),
    ("gemma-2-9b", 9.242),
    ("gemma-2-27b", 27.227),
    ("gemma-3-27b", 27.0),
    ("palm-8b", 8.63),
    ("palm-62b", 62.5),
    ("palm-540b", 540.35),
    ("mpt-7b", 6.649),
    ("mpt-30b", 29.957),
    ("jamba-v0.1", 51.57),
    ("jamba-1.5-large", 398.6),
    ("nemotron-h-8b", 8.1),
    ("nemotron-h-56b", 56.3),
    ("qwen3-next-80b-a3b", 79.67),
    ("minimax-01", 456.09),
    ("mamba-2.8b", 2.768),
    ("bert-large", 0.3351),
    ("t5-base", 0.2229),
    ("t5-11b", 11.307),
    ("vit-b-16", 0.08657),
    ("vit-l-16", 0.30433),
    ("vit-h-14", 0.63205),
    ("dit-xl-2", 0.6751),
    ("stable-diffusion-2", 0.86591),
    ("resnet-50", 0.02556),
    ("dlrm-dcnv2", 26.15),
];

#[test]
fn presets_have_as_many_parameters_as_published() {
    let mut off = Vec::new();
    for (id, billions) in PUBLISHED {
        let got = Preset::named(id).unwrap_or_else(|| panic!("{id}")).architecture().parameters() / 1e9;
        if (got / billions - 1.0).abs() > 0.006 {
            off.push(format!("{id}: {got} instead of {billions}"));
        }
    }
    assert!(off.is_empty(), "{off:#?}");
}

#[test]
fn every_preset_is_sound() {
    for preset in presets() {
        let a = preset.architecture();
        assert!(a.parameters() > 1e6 && a.training_flops_per_token() > 1e6, "{}", *preset.id);
        assert!(a.blocks.is_empty() || a.blocks.len() as u64 == a.layers);
        if let Some(h) = a.hybrid {
            assert!(h.attention_layers + h.state_layers <= a.layers && h.feed_forward_layers <= a.layers, "{}", *preset.id);
        }
    }
}

fn config(name: &str) -> Architecture {
    let mut diags = Diagnostics::new();
    let source = diags.add_source(concat!(env!("CARGO_MANIFEST_DIR"), "/scenarios/models/test.toml"), "");
    let found = huggingface::read(&format!("{name}.json"), Span { source, start: 0, end: 0 }, &mut diags);
    found.unwrap_or_else(|| panic!("{}", render(&diags, Style::Plain)))
}

/// Every shipped `config.json`; those with a preset of the same name have its architecture.
#[test]
fn configs_give_the_architecture_of_the_preset() {
    let folder = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("scenarios/models");
    let mut names: Vec<String> = std::fs::read_dir(folder)
        .unwrap()
        .map(|e| e.unwrap().file_name().into_string().unwrap())
        .filter_map(|n| n.strip_suffix(".json").map(str::to_owned))
        .collect();
    names.sort();
    assert!(names.len() >= 25);
    for name in names {
        let own = config(&name);
        let billions = match name.as_str() {
            "phi-2" => 2.78,
            "mamba2-2.7b" => 2.70,
            // These differ from the preset in the padding of their vocabulary.
            "bert-large" => 0.3351,
            "mpt-7b" => 6.649,
            _ => {
                let preset = Preset::named(&name).unwrap_or_else(|| panic!("{name}")).architecture();
                let window = if name.starts_with("llama-4") { preset.window } else { own.window };
                let same = Architecture { title: preset.title.clone(), sequence_length: preset.sequence_length, window, ..own.clone() };
                assert_eq!(same, preset, "{name}");
                assert!(name.starts_with("llama-4") || own.window == preset.window, "{name}");
                continue;
            }
        };
        let got = own.parameters() / 1e9;
        assert!((got / billions - 1.0).abs() < 0.005, "{name}: {got}");
    }
}

/// Layers with experts by where they stand.
#[test]
fn experts_in_every_second_layer() {
    let jamba = config("jamba-v0.1");
    assert_eq!((jamba.expert_layers(), jamba.dense_layers()), (16, 16));
    let between = |a: u64, b: u64| jamba.expert_layers_before(b) - jamba.expert_layers_before(a);
    assert_eq!((between(0, 1), between(1, 2), between(0, 8), between(7, 9)), (0, 1, 4, 1));
    let deepseek = config("deepseek-v3");
    assert_eq!((deepseek.expert_layers_before(3), deepseek.expert_layers_before(4), deepseek.expert_layers()), (0, 1, 58));
}

/// FLOPs of a hybrid by hand: MiniMax-01 at 8,192 tokens.
#[test]
fn flops_of_a_hybrid() {
    let a = Architecture { sequence_length: 8192, ..config("minimax-01") };
    let (h, e) = (6144.0, 2.0 * 3.0 * 6144.0 * 9216.0 + 6144.0 * 32.0);
    let attention = 2.0 * (h * (64.0 + 16.0) * 128.0 + h * 8192.0) + 4.0 * 4096.0 * 8192.0;
    let lightning = 2.0 * 5.0 * h * 8192.0 + 64.0 * (2.0 * 64.0 * 256.0 + 4.0 * 128.0 * 128.0);
    let want = 10.0 * attention + 70.0 * lightning + 80.0 * 2.0 * e;
    assert!((a.layers_forward_flops() / want - 1.0).abs() < 1e-12);
    assert_eq!(a.hybrid.map(|x| x.state.kind), Some(StateKind::Lightning));
    // Published: 45.9 G weights are active for a token (arXiv 2501.08313), which holds without the tables.
    let scans = 70.0 * 64.0 * (2.0 * 64.0 * 256.0 + 4.0 * 128.0 * 128.0);
    let active = (a.layers_forward_flops() - 10.0 * 4.0 * 4096.0 * 8192.0 - scans) / 2.0;
    assert!((active / 45.9e9 - 1.0).abs() < 0.002, "{active}");
}

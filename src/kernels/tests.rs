//! Kernel models: reference values, closed forms, limits, order, borrowing.

use super::*;
use crate::diag::{Diagnostics, Style, render};
use crate::hardware::{Catalogue, Dtype};
use proptest::prelude::*;

fn device(id: &str, library: Option<&str>) -> DeviceModel {
    DeviceModel::new(&Catalogue::embedded().accelerators[id], library)
}

fn gemm(m: u64, n: u64, k: u64) -> Gemm {
    Gemm { m, n, k, batch: 1, output_bytes: 2.0 }
}

fn prompt(batch: u64, tokens: u64, heads: u64, kv_heads: u64) -> Prefill {
    Prefill { batch, tokens, heads, kv_heads, kv_bytes: 2.0, query_bytes: 2.0 }
}

fn token(batch: u64, context: u64, heads: u64, kv_heads: u64) -> Decode {
    Decode { batch, context, heads, kv_heads, kv_bytes: 2.0, query_bytes: 2.0 }
}

/// An outside fit of the same form to the same tables, in microseconds: two optimisers agree.
#[test]
fn reference_values_of_another_fit() {
    for (id, library, dtype, g, want) in [
        ("a100-sxm-80gb", "trtllm", Dtype::Bf16, gemm(4096, 4096, 4096), 531.9),
        ("h100-sxm", "vllm", Dtype::Bf16, gemm(4096, 8192, 8192), 689.6),
        ("h100-sxm", "vllm", Dtype::Bf16, gemm(16, 8192, 8192), 49.4),
        ("h100-sxm", "vllm", Dtype::Bf16, gemm(1, 64, 65536), 11.1),
        ("h100-sxm", "vllm", Dtype::Fp8, gemm(8192, 4096, 4096), 342.5),
        ("b200-sxm", "trtllm", Dtype::Bf16, gemm(2048, 7168, 2048), 42.1),
        ("b200-sxm", "sglang", Dtype::Fp8Block, gemm(512, 4096, 7168), 20.5),
        ("b200-sxm", "trtllm", Dtype::Nvfp4, gemm(64, 16384, 7168), 24.7),
    ] {
        let got = 1e6 * device(id, Some(library)).gemm(dtype, g);
        assert!((got / want - 1.0).abs() < 0.04, "{id} {library} {dtype} {g:?}: {got} against {want}");
    }
    for (id, library, shape, want) in [
        ("h100-sxm", "vllm-0.24.0", prompt(1, 8192, 32, 8), 961.6),
        ("b200-sxm", "trtllm-1.3.0", prompt(4, 2048, 64, 8), 439.3),
        ("a100-sxm-80gb", "vllm-0.14.0", prompt(1, 1000, 12, 12), 60.6),
    ] {
        let got = 1e6 * device(id, Some(library)).prefill(Dtype::Bf16, Dtype::Bf16, shape).unwrap();
        assert!((got / want - 1.0).abs() < 0.04, "{id} {library}: {got} against {want}");
    }
    let got = 1e6 * device("h100-sxm", Some("vllm-0.24.0")).decode(Dtype::Bf16, token(64, 4096, 32, 8)).unwrap();
    assert!((got / 372.7 - 1.0).abs() < 0.04, "{got}");
}

#[test]
fn roofline_limits() {
    let a100 = device("a100-sxm-80gb", None);
    let share = 2.0 * 65536f64 * 65536.0 * 16384.0 / a100.gemm(Dtype::Bf16, gemm(65536, 65536, 16384)) / 312e12;
    assert!((0.75..0.86).contains(&share), "compute-bound share {share}");
    // One token through a large weight reads the weight: no faster than memory allows, and near it.
    let floor = 2.0 * 16384.0 * 53248.0 / 2.0e12;
    let got = a100.gemm(Dtype::Bf16, gemm(1, 16384, 53248));
    assert!(got > floor && got < 1.5 * floor, "{got} against {floor}");
    // A long context is read at memory speed.
    let h100 = device("h100-sxm", Some("vllm"));
    let bytes = 64.0 * 8.0 * 32768.0 * 512.0;
    let got = h100.decode(Dtype::Bf16, token(64, 32768, 32, 8)).unwrap();
    assert!((0.7..1.0).contains(&(bytes / 3.35e12 / got)), "{got}");
}

#[test]
fn weight_only_formats_save_memory_and_not_compute() {
    let h100 = device("h100-sxm", None);
    let (small, large) = (gemm(1, 16384, 16384), gemm(16384, 16384, 16384));
    let time = |d, g| h100.gemm(d, g);
    assert!(time(Dtype::W4a16, small) < 0.45 * time(Dtype::Bf16, small));
    assert!(time(Dtype::W4a16, small) < time(Dtype::W8a16, small) && time(Dtype::W8a16, small) < 0.65 * time(Dtype::Bf16, small));
    assert!((time(Dtype::W4a16, large) / time(Dtype::Bf16, large) - 1.0).abs() < 0.05);
    // Narrower formats never take longer on large products; block scales cost something.
    assert!(time(Dtype::Fp8, large) < 0.75 * time(Dtype::Bf16, large));
    assert!(time(Dtype::Mxfp8, large) >= time(Dtype::Fp8Block, large));
    assert!(h100.gemm(Dtype::Nvfp4, large).is_infinite());
}

#[test]
fn a_fused_cast_saves_its_pass() {
    let b200 = device("b200-sxm", Some("trtllm"));
    for g in [gemm(1, 4096, 4096), gemm(256, 16384, 7168), gemm(8192, 8192, 8192)] {
        assert!(b200.gemm_fused(Dtype::Fp8, g) < b200.gemm(Dtype::Fp8, g), "{g:?}");
        assert!(b200.gemm_fused(Dtype::Bf16, g) <= b200.gemm(Dtype::Bf16, g), "{g:?}");
    }
    assert!(device("a100-sxm-80gb", None).gemm_fused(Dtype::Fp8, gemm(1, 1, 1)).is_infinite());
}

#[test]
fn a_grouped_product_is_one_launch() {
    let b200 = device("b200-sxm", None);
    let one = gemm(256, 4096, 7168);
    let grouped = b200.grouped_gemm_sustained(Dtype::Bf16, 8, one);
    let apart = 8.0 * b200.gemm_sustained(Dtype::Bf16, one);
    let flops = 8.0 * 2.0 * 256.0 * 4096.0 * 7168.0 / b200.peak(Dtype::Bf16).unwrap();
    assert!(grouped < apart && grouped > flops, "{grouped} against {apart} and {flops}");
}

#[test]
fn windows_and_prefixes_of_attention() {
    let h100 = device("h100-sxm", Some("vllm"));
    let at = |a, form| h100.prefill_form(Dtype::Bf16, Dtype::Bf16, a, form).unwrap();
    let plain = AttentionForm::default();
    let whole = at(prompt(1, 32768, 32, 8), plain);
    let windowed = at(prompt(1, 32768, 32, 8), AttentionForm { window: Some(4096), ..plain });
    // A window of an eighth leaves about a quarter of the causal work.
    assert!((0.2..0.35).contains(&(windowed / whole)), "{}", windowed / whole);
    // A window as long as the prompt changes nothing but its rounding to blocks.
    let wide = at(prompt(1, 4096, 32, 8), AttentionForm { window: Some(1 << 20), ..plain });
    assert_eq!(wide, at(prompt(1, 4096, 32, 8), plain));
    // The second half of a prompt on a cached first half is three quarters of the whole.
    let half = at(prompt(1, 16384, 32, 8), AttentionForm { prefix: 16384, ..plain });
    assert!((0.7..0.8).contains(&(half / whole)), "{}", half / whole);
    // Both directions do twice the causal work.
    let both = at(prompt(1, 32768, 32, 8), AttentionForm { causal: false, ..plain });
    assert!((1.9..2.1).contains(&(both / whole)), "{}", both / whole);
    let decode = |form| h100.decode_form(Dtype::Bf16, token(64, 32768, 32, 8), form).unwrap();
    assert!(decode(AttentionForm { window: Some(1024), ..plain }) < 0.1 * decode(plain));
}

#[test]
fn latent_attention_is_memory_bound_with_few_heads_and_compute_bound_with_many() {
    let h800 = device("h800-sxm", Some("sglang"));
    let at = |heads| {
        let a = LatentDecode { batch: 128, context: 8192, heads, queries: 1, latent: 512, rope: 64, kv_bytes: 2.0 };
        h800.latent_decode(Dtype::Bf16, a).unwrap()
    };
    let bytes = 128.0 * 8192.0 * 576.0 * 2.0;
    let rate = bytes / at(16);
    assert!((2.3e12..3.2e12).contains(&rate), "{rate:.3e} B/s");
    let flops = 2.0 * 128.0 * 8192.0 * 128.0 * (576.0 + 512.0) / at(128);
    // FlashMLA publishes 660 TFLOP/s where compute bounds; the soft maximum keeps a balanced shape below it.
    assert!((380e12..660e12).contains(&flops), "{flops:.3e} FLOP/s");
    assert!(at(64) <= at(128) && at(16) <= at(64));
}

#[test]
fn experts_follow_their_load() {
    let h100 = device("h100-sxm", Some("vllm"));
    let layer =
        |tokens, ep, balance| Moe { tokens, hidden: 4096, inner: 1536, gated: true, top_k: 8, experts: 128, expert_parallel: ep, balance };
    let at = |m: Moe| h100.moe(Dtype::Bf16, None, &m).unwrap();
    assert!(at(layer(16384, 8, Balance::PowerLaw(1.2))) > 1.15 * at(layer(16384, 8, Balance::Even)));
    assert!(at(layer(16384, 1, Balance::Even)) > 4.0 * at(layer(16384, 8, Balance::Even)));
    // One token reads the weights of its eight experts, not of all.
    let all = 128.0 * 3.0 * 4096.0 * 1536.0 * 2.0 / 3.35e12;
    assert!(at(layer(1, 1, Balance::Even)) < 0.2 * all, "{}", at(layer(1, 1, Balance::Even)));
    assert!(device("a100-sxm-80gb", None).moe(Dtype::Nvfp4, None, &layer(1, 1, Balance::Even)).is_err());
}

#[test]
fn entries_are_borrowed_by_generation_and_named() {
    let entry = |id: &str| device(id, None).provenance()[0].clone();
    assert!(entry("h100-sxm").entry.starts_with("h100-sxm.gemm bf16 (mean of 3;"), "{}", entry("h100-sxm").entry);
    assert!(entry("h200-sxm").entry.contains("within its generation"));
    assert!(entry("l40s").entry.contains("h100-sxm") && entry("l40s").entry.contains("another generation"));
    assert!(entry("mi300x").entry.contains("not measured"));
    let spread = |id: &str| entry(id).shared;
    assert!(spread("h100-sxm") < spread("h200-sxm") && spread("h200-sxm") < spread("l40s"));
    let serving = device("b200-sxm", Some("trtllm-1.3.0")).serving_provenance(Dtype::Fp8, Dtype::Fp8);
    let operators: Vec<&str> = serving.iter().map(|p| p.operator.as_str()).collect();
    assert_eq!(operators, ["matrix products", "prefill attention", "decode attention", "experts"]);
}

#[test]
fn a_users_profile_goes_before_the_shipped_one() {
    let text = |ec: &str, em: &str| {
        let quality = "quality = { points = 40, median = 0.05, p90 = 0.2, bias = 0 }";
        format!(
            "[[profile]]\naccelerator = \"h100-sxm\"\ngeneration = \"hopper\"\nsource = \"here\"\n[[profile.gemm]]\ndtype = \"bf16\"\n\
             library = \"own\"\n{quality}\nt0 = 3\nec = {ec}\nkl = 0.2\nts = 2\nem = {em}\nq = [2, 1.8, 2.2]\nw = 0.1\n"
        )
    };
    let mut diags = Diagnostics::new();
    let source = diags.add_source("own.toml", text("[0.4, 0.3, 0.5]", "0.9"));
    let own = Profiles::embedded().with(source, &mut diags).unwrap();
    let part = &Catalogue::embedded().accelerators["h100-sxm"];
    let (mine, shipped) = (DeviceModel::with(&own, part, None), DeviceModel::new(part, None));
    let large = gemm(16384, 16384, 16384);
    assert!(mine.gemm(Dtype::Bf16, large) > 1.7 * shipped.gemm(Dtype::Bf16, large));
    // What the user's file says nothing of stays.
    assert_eq!(mine.gemm(Dtype::Fp8, large), shipped.gemm(Dtype::Fp8, large));
    assert_eq!(mine.decode(Dtype::Bf16, token(1, 100, 8, 8)), shipped.decode(Dtype::Bf16, token(1, 100, 8, 8)));
    assert_eq!(mine.provenance()[0].source, "here");
    for (ec, em) in [("3", "0.9"), ("0.5", "0"), ("[0.5, 0.6, 0.7]", "0.9"), ("nan", "0.9"), ("-1", "0.9"), ("[0.5, 0.4]", "0.9")] {
        let mut diags = Diagnostics::new();
        let source = diags.add_source("own.toml", text(ec, em));
        assert!(Profiles::embedded().with(source, &mut diags).is_none() && diags.has_errors(), "ec = {ec}, em = {em}");
        assert!(render(&diags, Style::Plain).contains("own.toml"));
    }
}

proptest! {
    /// Nothing is NaN, negative or infinite at any size.
    #[test]
    fn extreme_sizes_are_finite(m in 1u64..1_000_000_000, n in 1u64..1_000_000_000, k in 1u64..1_000_000_000) {
        let h100 = device("h100-sxm", None);
        for dtype in [Dtype::Fp32, Dtype::Tf32, Dtype::Bf16, Dtype::Fp16, Dtype::Fp8, Dtype::Fp8Block, Dtype::Int8, Dtype::W4a16] {
            let t = h100.gemm(dtype, gemm(m, n, k));
            prop_assert!(t.is_finite() && t > 0.0);
        }
        let call = Prefill { batch: m.min(1 << 20), tokens: n, heads: 1 + k % 256, kv_heads: 1, kv_bytes: 1.0, query_bytes: 2.0 };
        let form = AttentionForm { prefix: k, window: (n % 2 == 0).then_some(m), ..AttentionForm::default() };
        let t = h100.prefill_form(Dtype::Bf16, Dtype::Fp8, call, form).unwrap();
        prop_assert!(t.is_finite() && t > 0.0);
        let t = h100.decode_form(Dtype::Fp8, token(m, n, 1 + k % 256, 1), form).unwrap();
        prop_assert!(t.is_finite() && t > 0.0);
        let latent = LatentDecode { batch: m, context: n, heads: 128, queries: 2, latent: 512, rope: 64, kv_bytes: 1.0 };
        prop_assert!(h100.latent_decode(Dtype::Bf16, latent).is_ok_and(|t| t.is_finite() && t > 0.0));
        let moe = Moe { tokens: m, hidden: n, inner: k, gated: true, top_k: 1 + n % 8, experts: 8 + m % 500, expert_parallel: 1 + k % 8,
            balance: if m % 2 == 0 { Balance::Even } else { Balance::PowerLaw(1.1) } };
        prop_assert!(h100.moe(Dtype::Bf16, None, &moe).is_ok_and(|t| t.is_finite() && t > 0.0));
    }

    /// A larger product takes at least as long, but for what a change of tiles and splits saves.
    #[test]
    fn more_work_takes_longer(m in 1u64..20_000, n in 64u64..20_000, k in 64u64..20_000) {
        let a100 = device("a100-sxm-80gb", None);
        let base = a100.gemm(Dtype::Bf16, gemm(m, n, k));
        for g in [gemm(2 * m, n, k), gemm(m, 2 * n, k), gemm(m, n, 2 * k)] {
            prop_assert!(a100.gemm(Dtype::Bf16, g) >= 0.97 * base);
        }
        // Never above the data sheet.
        let floor = 2.0 * (m * n * k) as f64 / 312e12;
        prop_assert!(base > floor);
        let decode = |context| a100.decode(Dtype::Bf16, token(m.min(512), context, 32, 8)).unwrap();
        prop_assert!(decode(2 * n) >= 0.97 * decode(n));
        let prefill = |tokens| a100.prefill(Dtype::Bf16, Dtype::Bf16, prompt(2, tokens, 32, 8)).unwrap();
        prop_assert!(prefill(2 * n) >= prefill(n));
    }
}

//! Every class of kernels through a scenario: what a key, a format or a model changes, in direction and size.

use crate::memory::job_and_fabric;
use orrery::training::{Config, Step, simulate_step};

/// Eight of a part behind one switch.
fn step(part: &str, training: &str) -> (Config, Step) {
    let node = format!(
        "[topology]\n[[topology.node]]\nname = \"n\"\naccelerator = \"{part}\"\naccelerators = 8\nscale_up = \"nvswitch\"\nhost = \"dgx-h100\"\n\
         [topology.fabric]\nkind = \"none\"\n"
    );
    let (config, fabric) = job_and_fabric(&node, training);
    let step = simulate_step(&config, &fabric).unwrap();
    // Nothing is faster than the data sheets allow.
    let peak: f64 = fabric.part(orrery::fabric::AcceleratorId(0)).peak.of(config.precision.linear()).unwrap().get();
    let least = config.model_flops_per_step() / peak / config.parallel.ranks() as f64;
    assert!(step.time_s() > least, "{} under the {least} of the data sheet", step.time_s());
    (config, step)
}

fn time(part: &str, training: &str) -> f64 {
    step(part, training).1.time_s()
}

const LLAMA: &str =
    "[training.model]\npreset = \"llama-3.1-8b\"\nlayers = 8\nsequence_length = 8192\n[training.parallel]\ntensor = 2\nsequence = true\n";

/// Ratio of the second to the first is between two bounds.
fn between(what: &str, first: f64, second: f64, low: f64, high: f64) {
    let ratio = second / first;
    assert!((low..high).contains(&ratio), "{what}: {ratio}");
}

#[test]
fn number_formats() {
    let of = |part: &str, precision: &str| {
        time(
            part,
            &format!(
                "global_batch = 16\nprecision = \"{precision}\"\n{}{LLAMA}",
                if precision == "tf32" { "attention = \"unfused\"\n" } else { "" }
            ),
        )
    };
    let h100 = |precision: &str| of("h100-sxm", precision);
    between("fp8", h100("bf16"), h100("fp8"), 0.5, 0.95);
    between("fp8-block", h100("fp8"), h100("fp8-block"), 0.9, 1.4);
    between("fp16", h100("bf16"), h100("fp16"), 0.95, 1.05);
    between("tf32", h100("bf16"), h100("tf32"), 1.6, 3.5);
    between("int8", h100("bf16"), h100("int8"), 0.5, 0.95);
    let b200 = |precision: &str| of("b200-sxm", precision);
    between("mxfp8", b200("bf16"), b200("mxfp8"), 0.5, 0.95);
    between("nvfp4", b200("mxfp8"), b200("nvfp4"), 0.5, 1.0);
}

#[test]
fn attention_and_recompute() {
    let of = |extra: &str| time("h100-sxm", &format!("global_batch = 16\n{extra}{LLAMA}"));
    let flash = of("");
    between("unfused", flash, of("attention = \"unfused\"\n"), 1.15, 2.5);
    between("selective", flash, of("recompute = \"selective\"\n"), 1.0, 1.15);
    between("full", flash, of("recompute = \"full\"\n"), 1.2, 1.4);
    // Longer sequences of the same tokens: attention grows with the length, the rest stays.
    let long =
        |length: u64, batch: u64| time("h100-sxm", &format!("global_batch = {batch}\n{}", LLAMA.replace("8192", &length.to_string())));
    between("length", long(8192, 32), long(32768, 8), 1.2, 3.0);
}

#[test]
fn losses_optimizers_and_dropout() {
    let of = |extra: &str, vocabulary: u64| {
        let model = LLAMA.replace("layers = 8", &format!("layers = 2\nvocabulary = {vocabulary}"));
        time("h100-sxm", &format!("global_batch = 16\n{extra}{model}"))
    };
    // Head and loss of two layers of 4,096 with 128 thousand words are most of the step.
    between("vocabulary", of("", 32_000), of("", 128_000), 1.3, 3.0);
    let with = |kind: &str| of(&format!("sharding = \"none\"\noptimizer = \"{kind}\"\n"), 128_000);
    let all = ["sgd", "momentum", "adam-8bit", "adam-16bit", "adam", "lamb"].map(with);
    assert!(all[0] < all[1] && all[1] <= all[3] && all[2] < all[3] && all[3] < all[4] && all[4] < all[5], "{all:?}");
    // Dropout and unfused norms of 2022 against fused ones of 2024.
    between("fusion", of("stack = \"nemo-2024\"\n", 128_000), of("stack = \"megatron-2022\"\n", 128_000), 1.01, 2.0);
}

#[test]
fn host_launches_and_captured_graphs() {
    let of = |graphs: bool, hidden: u64| {
        let size = format!("hidden = {hidden}\nffn_hidden = {}\nheads = {}\n", 4 * hidden, hidden / 64);
        time(
            "h100-sxm",
            &format!(
                "global_batch = 64\ncuda_graphs = {graphs}\n[training.model]\npreset = \"gpt3-13b\"\nlayers = 12\nsequence_length = 512\n{size}[training.parallel]\n"
            ),
        )
    };
    between("small layers wait for the host", of(false, 512), of(true, 512), 0.1, 0.8);
    between("large layers do not", of(false, 8192), of(true, 8192), 0.97, 1.0 + 1e-9);
}

#[test]
fn convolutions_and_embedding_bags() {
    let resnet = |batch: u64, microbatch: u64| {
        time(
            "a100-sxm-80gb",
            &format!(
                "framework = \"pytorch-ddp\"\noptimizer = \"momentum\"\nglobal_batch = {batch}\nmicrobatch = {microbatch}\n[training.model]\npreset = \"resnet-50\"\n"
            ),
        )
    };
    between("images", resnet(1024, 128), resnet(2048, 256), 1.7, 2.05);
    let dlrm = |batch: u64| {
        time(
            "h100-sxm",
            &format!(
                "framework = \"pytorch-ddp\"\nglobal_batch = {batch}\nmicrobatch = {}\n[training.model]\npreset = \"dlrm-dcnv2\"\n",
                batch / 8
            ),
        )
    };
    between("samples", dlrm(32_768), dlrm(65_536), 1.2, 2.1);
}

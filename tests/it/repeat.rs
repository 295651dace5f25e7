//! A step of which a stretch was run once only is the step that was run whole: time, parts, links and timeline.

use crate::memory::job_and_fabric;
use orrery::fabric::Fabric;
use orrery::metrics::{Detail, Slice, training_outcome};
use orrery::training::{Config, Folding, Step, simulate_step, simulate_step_folded};
use proptest::prelude::*;
use std::sync::Arc;

fn near(a: f64, b: f64, scale: f64) -> bool {
    (a - b).abs() <= 1e-7 * scale
}

/// Holds a step against the same step run whole.
fn hold(config: &Config, fabric: &Fabric, short: &Step) {
    let whole = simulate_step_folded(config, fabric, Folding::Folded).unwrap();
    let time = whole.time_s();
    assert!(whole.repeat.is_none() && near(short.time_s(), time, time), "{} of {time}", short.time_s());
    assert!(short.execution.events < whole.execution.events);
    let ((a, x), (b, y)) = (training_outcome(config, fabric, short), training_outcome(config, fabric, &whole));
    for ((name, a), (_, b)) in a.breakdown_s.parts().into_iter().zip(b.breakdown_s.parts()) {
        assert!(near(a, b, time), "{name} {a} of {b}");
    }
    assert!(near(a.hidden_comm_s, b.hidden_comm_s, time) && near(a.step_time_p90_s, b.step_time_p90_s, time));
    assert_eq!(a.memory_bytes, b.memory_bytes);
    for (a, b) in short.execution.loads.iter().zip(&whole.execution.loads) {
        assert!(a.kind == b.kind && near(a.bytes, b.bytes, b.bytes), "{a:?} {b:?}");
    }
    // Messages that start together may stand in either order.
    let named = |detail: &Detail| {
        let mut all: Vec<(String, Slice)> =
            detail.timeline.slices().into_iter().map(|s| (format!("{} {} {}", s.process, s.track, s.name), s)).collect();
        all.sort_by(|a, b| a.0.cmp(&b.0).then(a.1.start_s.total_cmp(&b.1.start_s)));
        all
    };
    let (x, y) = (named(&x), named(&y));
    assert_eq!(x.len(), y.len());
    for (a, b) in x.iter().zip(&y) {
        assert!(a.0 == b.0 && near(a.1.start_s, b.1.start_s, time) && near(a.1.duration_s, b.1.duration_s, time), "{a:?} {b:?}");
    }
}

fn job(text: &str, layout: (u64, u64, u64), microbatches: u64, chunks: u64) -> (Config, Arc<Fabric>) {
    let (tensor, pipeline, data) = layout;
    let nodes = (tensor * pipeline * data).div_ceil(8);
    let topology = format!("topology = \"../../topologies/dgx-h100-ndr.toml\"\nnodes = {nodes}\n");
    let text = format!(
        "global_batch = {}\nmicrobatch = 1\n{text}[training.model]\npreset = \"llama-2-7b\"\nsequence_length = 1024\n[training.parallel]\ntensor = {tensor}\npipeline = {pipeline}\ndata = {data}\nvirtual_stages = {chunks}\n",
        microbatches * data
    );
    job_and_fabric(&topology, &text)
}

#[test]
fn a_long_step_is_run_in_part() {
    for (text, chunks) in [("stack = \"megatron-2022\"\n", 1), ("stack = \"nemo-2024\"\n", 2)] {
        let (config, fabric) = job(text, (4, 4, 2), 96, chunks);
        let step = simulate_step(&config, &fabric).unwrap();
        let repeat = step.repeat.expect("in step");
        assert!(repeat.microbatches() > 40, "{repeat:?}");
        hold(&config, &fabric, &step);
    }
    // Too few microbatches to leave any out.
    let (config, fabric) = job("stack = \"megatron-2022\"\n", (4, 4, 2), 8, 1);
    assert_eq!(simulate_step(&config, &fabric).unwrap().repeat, None);
}

#[test]
fn the_report_of_a_long_step_shows_all_of_it() {
    let (config, fabric) = job("stack = \"megatron-2022\"\n", (4, 4, 2), 96, 1);
    let step = simulate_step(&config, &fabric).unwrap();
    let passes = training_outcome(&config, &fabric, &step).1.timeline.slices();
    let of = |letter: &str| passes.iter().filter(|s| s.process == 2 && s.name.to_string().starts_with(letter)).count();
    assert_eq!((of("F"), of("B")), (96, 96));
    assert_eq!(passes.iter().filter(|s| s.process == 2 && s.name.to_string() == "B57.0").count(), 1);
}

/// Framework, what is sharded, recompute.
const POLICIES: [(&str, &str, &str); 6] = [
    ("megatron", "", "full"),
    ("megatron", "optimizer", "selective"),
    ("deepspeed", "gradients", "none"),
    ("pytorch-fsdp", "weights", "full"),
    ("torchtitan", "weights", "none"),
    ("torchtitan", "gradients", "none"),
];

proptest! {
    #![proptest_config(ProptestConfig::with_cases(ProptestConfig::default().cases / 8))]

    #[test]
    fn any_step_run_in_part_is_the_whole_step(
        tensor in prop::sample::select(vec![1u64, 2, 8]),
        pipeline in prop::sample::select(vec![1u64, 2, 4, 8]),
        data in prop::sample::select(vec![1u64, 2, 4]),
        chunks in prop::sample::select(vec![1u64, 2, 4]),
        microbatches in 20u64..140,
        policy in 0..POLICIES.len(),
    ) {
        let (framework, sharding, recompute) = POLICIES[policy];
        let pipeline = if ["deepspeed", "pytorch-fsdp"].contains(&framework) { 1 } else { pipeline };
        let chunks = if pipeline == 1 { 1 } else { chunks };
        let tensor = if tensor * pipeline * data < 8 { 8 } else { tensor };
        let sharding = if sharding.is_empty() || data == 1 { String::new() } else { format!("sharding = \"{sharding}\"\n") };
        let text = format!("framework = \"{framework}\"\nrecompute = \"{recompute}\"\n{sharding}");
        let (config, fabric) = job(&text, (tensor, pipeline, data), microbatches, chunks);
        if let Ok(step) = simulate_step(&config, &fabric)
            && step.repeat.is_some()
        {
            hold(&config, &fabric, &step);
        }
    }
}

//! What requests wait for before they run: prompts of other ranks, the process before the engine.

use super::*;

/// Two ranks of attention whose iterations take a second each, whatever they hold.
fn two_ranks(balance: u64, list: &Requests) -> Vec<f64> {
    let fabric = fabric(2);
    let preset = presets().iter().find(|p| p.id.value == "deepseek-v3").unwrap();
    let shape = Shape { layers: 4, ..Shape::of_preset(preset).unwrap() };
    let formats = Formats { linear: Dtype::Fp8Block, attention: Dtype::Fp8Block, kv: Dtype::Bf16 };
    let deployment = Deployment { data: 2, expert: 2, formats, ..deployment(shape, 1, None) };
    let mut stack = engine("trtllm", 64);
    (stack.host_iteration.value, stack.host_prefill.value) = (Seconds::new(1.0), Seconds::new(1.0));
    (stack.host_sequence.value, stack.eager_mixture_layer.value) = (Seconds::new(0.0), Seconds::new(0.0));
    stack.balance_iterations.value = balance;
    let mut pool = deployment.pool(&fabric, Profiles::embedded(), &stack).unwrap();
    let served = serve(&mut pool, list, Arrivals::Open, 0.0, &Streams::new(1));
    assert_eq!((served.held_blocks, served.unserved), (0, 0));
    served.records.iter().map(|r| r.scheduled - r.arrival).collect()
}

#[test]
fn prompts_of_ranks_wait_for_each_other() {
    // Both ranks decode from the start on; then one prompt comes alone, later two for both ranks at the same time.
    let list = requests([(0.0, 10, 90), (0.0, 10, 90), (10.5, 10, 5), (40.5, 10, 5), (40.5, 10, 5)]);
    let alone = two_ranks(0, &list);
    assert!(alone.iter().all(|&w| w < 1.1), "{alone:?}");
    let balanced = two_ranks(20, &list);
    // At the start nobody decodes. The count of iterations runs on from there: the lone prompt waits for its end.
    assert!(balanced[0] == 0.0 && balanced[1] == 0.0);
    assert!(balanced[2] > 5.0 && balanced[2] < 21.0, "{balanced:?}");
    assert!(balanced[3] < 1.1 && balanced[4] < 1.1, "{balanced:?}");
}

#[test]
fn requests_pass_the_process_before_the_engine_in_order() {
    let fabric = fabric(1);
    let mut stack = engine("vllm", 64);
    (stack.front_request.value, stack.front_token.value) = (Seconds::new(1.0), Seconds::new(0.1));
    stack.eager_layer.value = Seconds::new(0.0);
    let shape = Shape { layers: 1, ..llama() };
    let mut pool = deployment(shape, 1, None).pool(&fabric, Profiles::embedded(), &stack).unwrap();
    let served = serve(&mut pool, &requests([(0.0, 10, 10); 5]), Arrivals::Open, 0.0, &Streams::new(1));
    // A second for each, and another for the ten tokens of each answer before it.
    for (record, want) in served.records.iter().zip([1.0, 3.0, 5.0, 7.0, 9.0]) {
        assert!((record.scheduled - want).abs() < 1e-9, "{} against {want}", record.scheduled);
    }
}

#[test]
fn prompts_run_at_sustained_clocks() {
    // Decodes are bound by memory; a long prompt by the matrix rate, 0.86 of which H100 keeps.
    let h100 = crate::kernels::DeviceModel::new(crate::hardware::Catalogue::embedded().accelerators.get("h100-sxm").unwrap(), Some("vllm"));
    let product = |m| crate::kernels::Gemm { m, n: 28672, k: 4096, batch: 1, output_bytes: 2.0 };
    let ratio = |m| h100.gemm_at(Dtype::Bf16, product(m), h100.clock_share()) / h100.gemm(Dtype::Bf16, product(m));
    assert!((ratio(8) - 1.0).abs() < 0.005, "{}", ratio(8));
    assert!((ratio(8192) * 0.86 - 1.0).abs() < 0.02, "{}", ratio(8192));
}

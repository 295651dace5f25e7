//! Serving scenarios: what is refused and where, traces, targets, validation bounds.

use super::{orrery, root};
use orrery::diag::{Diagnostics, Style, render};
use orrery::scenario::load_text;

const GOOD: &str = r#"title = "good"
topology = "../../topologies/dgx-h100-ndr.toml"
nodes = 1
[serving]
engine = "vllm"
[serving.model]
preset = "llama-3.1-8b"
[serving.parallel]
tensor = 2
[serving.batching]
max_sequences = 64
[serving.traffic]
kind = "poisson"
requests_per_s = 4
requests = 50
input = 512
output = { kind = "uniform", least = 10, most = 60 }
"#;

/// What a scenario says when `from` is replaced by `to`.
fn said(from: &str, to: &str) -> String {
    assert!(GOOD.contains(from), "{from}");
    let mut diags = Diagnostics::new();
    let loaded = load_text("scenarios/serving/bad.toml", &GOOD.replace(from, to), &[], None, &mut diags);
    let text = render(&diags, Style::Plain);
    assert!(loaded.is_none() && diags.has_errors(), "{to} was taken");
    text
}

#[test]
fn the_good_one_is_good() {
    let mut diags = Diagnostics::new();
    assert!(load_text("scenarios/serving/good.toml", GOOD, &[], None, &mut diags).is_some(), "{}", render(&diags, Style::Plain));
}

#[test]
fn faults_name_their_key() {
    for (from, to, code, word) in [
        ("\"vllm\"", "\"vlm\"", "E0204", "did you mean \"vllm\"?"),
        ("engine = \"vllm\"", "engine = \"vllm\"\nprecision = \"nvfp4\"", "E0205", "no matrix path for nvfp4"),
        ("tensor = 2", "tensor = 3", "E0402", "attention heads"),
        ("tensor = 2", "tensor = 2\nreplicas = 3", "E0401", "do not use 8 accelerators"),
        ("tensor = 2", "tensor = 2\nexpert = 2", "E0205", "does nothing for a dense model"),
        ("tensor = 2", "tensor = 8\n[serving.slo]\nshare = 0.5", "E0103", "asks nothing"),
        ("engine = \"vllm\"", "engine = \"vllm\"\nprefix_cache = true", "E0205", "begin alike"),
        ("engine = \"vllm\"", "engine = \"vllm\"\nrouter = \"prefix-aware\"", "E0205", "prefix_cache"),
        ("engine = \"vllm\"", "engine = \"vllm\"\nrouter = \"session\"", "E0205", "session"),
        ("max_sequences = 64", "max_tokens = 32\nmax_sequences = 64", "E0205", "at least max_sequences"),
        ("max_sequences = 64", "policy = \"static\"\nmax_tokens = 64", "E0205", "does nothing with the policy"),
        ("max_sequences = 64", "policy = \"whole\"", "E0405", "reserve_output"),
        ("max_sequences = 64", "wait_iterations = 5", "E0205", "does nothing with the policy"),
        ("[serving.traffic]", "[serving.speculation]\ndrafts = 3\nacceptance = 0.7\n[serving.traffic]", "E0405", "reserve_output"),
        ("[serving.traffic]", "[serving.speculation]\ndrafts = 3\nacceptance = 1.7\n[serving.traffic]", "E0202", "between 0 and 1"),
        ("tensor = 2", "tensor = 4\ndata = 2", "E0205", "does nothing for a dense model"),
        ("max_sequences = 64", "kv_blocks = 100\nmemory_share = 0.5", "E0205", "beside `kv_blocks`"),
        ("max_sequences = 64", "memory_share = 0.01", "E0205", "leave no room"),
        ("requests_per_s = 4", "requests_per_s = 1e300", "E0202", "requests_per_s"),
        ("requests_per_s = 4", "requests_per_s = nan", "E0202", "requests_per_s"),
        ("requests = 50", "requests = 0", "E0202", "requests"),
        ("input = 512", "input = 900000000", "E0202", "absurdly"),
        ("least = 10, most = 60", "least = 70, most = 60", "E0202", "more than"),
        ("input = 512", "input = 512\ncommon_prefix = 600", "E0205", "longer than every prompt"),
        ("kind = \"poisson\"", "kind = \"poison\"", "E0105", "did you mean \"poisson\"?"),
        ("preset = \"llama-3.1-8b\"", "preset = \"llama-3.1-8b\"\nsequence_length = 4096", "E0205", "lengths of their own"),
        ("preset = \"llama-3.1-8b\"", "preset = \"bert-large\"", "E0405", "generates no tokens"),
        (
            "[serving.model]\npreset = \"llama-3.1-8b\"",
            "prefix_cache = true\n[serving.model]\npreset = \"nemotron-h-8b\"",
            "E0205",
            "hold no prefixes",
        ),
        ("preset = \"llama-3.1-8b\"", "preset = \"gpt-oss-120b\"", "E0405", "sliding windows"),
        ("[serving.traffic]", "[run]\nsteps = 4\n[serving.traffic]", "E0205", "[run]"),
        ("[serving.traffic]", "[collective]\n[serving.traffic]", "E0205", "one of"),
    ] {
        let text = said(from, to);
        assert!(text.contains(code) && text.contains(word), "{to}: {code} or `{word}` is not in: {text}");
    }
}

/// A scenario with a trace in a folder of its own.
fn with_trace(format: &str, trace: &str, set: &[&str]) -> std::process::Output {
    let folder = tempfile::tempdir().unwrap();
    let traffic = GOOD.find("[serving.traffic]").unwrap();
    let topology = root().join("topologies/dgx-h100-ndr.toml");
    let head = GOOD[..traffic].replace("../../topologies/dgx-h100-ndr.toml", topology.to_str().unwrap());
    let text = format!("{head}[serving.traffic]\nkind = \"trace\"\nformat = \"{format}\"\ntrace = \"trace.txt\"\n");
    std::fs::write(folder.path().join("a.toml"), text).unwrap();
    std::fs::write(folder.path().join("trace.txt"), trace).unwrap();
    let path = folder.path().join("a.toml");
    let mut args = vec!["run", path.to_str().unwrap(), "--json"];
    args.extend(set);
    orrery(&args)
}

#[test]
fn rows_of_traces_that_cannot_be_read() {
    let trace = "arrived_at,num_prefill_tokens,num_decode_tokens\n0,100,10\n1,abc,10\n2,100,0\n3,100,5\n";
    let out = with_trace("vidur", trace, &[]);
    let said = String::from_utf8_lossy(&out.stderr).into_owned();
    assert_eq!(out.status.code(), Some(2));
    assert!(said.contains("trace.txt:3:1") && said.contains("trace.txt:4:1") && said.contains("--skip-bad-rows"), "{said}");
    let out = with_trace("vidur", trace, &["--skip-bad-rows"]);
    let value: serde_json::Value = serde_json::from_slice(&out.stdout).unwrap();
    assert_eq!((value["serving"]["skipped_rows"].as_u64(), value["serving"]["completed"].as_u64()), (Some(2), Some(2)));
    assert_eq!(with_trace("vidur", "", &["--skip-bad-rows"]).status.code(), Some(2));
    assert_eq!(with_trace("mooncake", "{}\n", &["--skip-bad-rows"]).status.code(), Some(2));
    let untimed = "{\"input_toks\": 10, \"output_toks\": 20}\n";
    assert_eq!(with_trace("sharegpt", untimed, &[]).status.code(), Some(2));
    assert_eq!(with_trace("sharegpt", untimed, &["--set", "serving.traffic.requests_per_s=2"]).status.code(), Some(0));
}

#[test]
fn traces_are_cut_scaled_and_repeated() {
    let trace = "arrived_at,num_prefill_tokens,num_decode_tokens\n0,100,10\n10,100,10\n20,100,10\n30,100,10\n";
    let served = |set: &[&str]| -> (u64, f64) {
        let out = with_trace("vidur", trace, set);
        let value: serde_json::Value = serde_json::from_slice(&out.stdout).unwrap();
        (value["serving"]["completed"].as_u64().unwrap(), value["serving"]["duration_s"].as_f64().unwrap())
    };
    let (n, plain) = served(&[]);
    assert!(n == 4 && plain > 30.0);
    assert!(served(&["--set", "serving.traffic.speed=10"]).1 < plain / 5.0);
    assert_eq!(served(&["--set", "serving.traffic.repeat=3"]).0, 12);
    assert_eq!(served(&["--set", "serving.traffic.from=5 s", "--set", "serving.traffic.until=25 s"]).0, 2);
    assert_eq!(served(&["--set", "serving.traffic.requests=1"]).0, 1);
}

#[test]
fn a_missed_target_is_exit_code_1() {
    let args = ["run", "scenarios/serving/llama-8b-l4.toml", "--set", "serving.slo.tpot=1 ms"];
    let out = orrery(&args);
    assert_eq!(out.status.code(), Some(1));
    assert!(String::from_utf8_lossy(&out.stdout).contains("MISSED"));
}

#[test]
fn serving_has_no_trace_of_a_step() {
    let out = orrery(&["run", "scenarios/serving/shared-prompt.toml", "--chakra", "no-such-folder"]);
    assert_eq!(out.status.code(), Some(2));
    assert!(String::from_utf8_lossy(&out.stderr).contains("E0205"));
}

#[test]
fn reports_hold_requests_and_load() {
    let folder = tempfile::tempdir().unwrap();
    let out = orrery(&["run", "scenarios/serving/llama-70b-h100-azure.toml", "--out", folder.path().to_str().unwrap()]);
    assert_eq!(out.status.code(), Some(0));
    let read = |name: &str| std::fs::read_to_string(folder.path().join(name)).unwrap();
    assert_eq!(read("requests.csv").lines().count(), 401);
    assert!(read("load.csv").lines().count() > 50 && read("load.svg").contains("</svg>"));
    let page = read("report.html");
    assert!(page.contains("Distribution of latencies") && !page.contains("NaN"));
}

#[test]
fn closed_loop_points_and_throughput_stay_within_bounds() {
    let good = |args: &[&str]| {
        let out = orrery(args);
        assert_eq!(out.status.code(), Some(0), "{}{}", String::from_utf8_lossy(&out.stdout), String::from_utf8_lossy(&out.stderr));
    };
    let bound = "ttft.median=0.15,tpot.median=0.08,tpot.p90=0.25,covered=0.95";
    good(&["validate", "serving", "tests/validation/serving.csv", "--bound", bound]);
    good(&["validate", "serving", "tests/validation/serving_throughput.csv", "--bound", "median=0.15,covered=0.9"]);
}

#[test]
fn logs_are_served_again() {
    let folder = tempfile::tempdir().unwrap();
    let log = folder.path().join("H100-SXM_test");
    std::fs::create_dir(&log).unwrap();
    let meta = r#"{"model": "meta-llama/Llama-3.1-8B", "vllm_version": "0.19.0", "engine_kwargs": {"max_num_seqs": 8}}"#;
    std::fs::write(log.join("meta.json"), meta).unwrap();
    let row = |i: u32| {
        let at = f64::from(i);
        format!(
            "{{\"input_toks\": 100, \"output_toks\": 11, \"arrival_time\": {}, \"queued_ts\": {at}, \"first_token_ts\": {}, \"last_token_ts\": {}}}\n",
            1e9 + at,
            at + 0.05,
            at + 0.15
        )
    };
    std::fs::write(log.join("requests.jsonl"), (0..20).map(row).collect::<String>()).unwrap();
    let out = orrery(&["validate", "serving-log", log.to_str().unwrap(), "--json"]);
    let value: serde_json::Value = serde_json::from_slice(&out.stdout).unwrap();
    let row = &value["rows"][0];
    assert!((row["measured"]["tpot_p50_s"].as_f64().unwrap() - 0.01).abs() < 1e-9);
    assert!(row["predicted"]["tpot_p50_s"].as_f64().is_some_and(|v| v > 0.003 && v < 0.02), "{row}");
    std::fs::write(log.join("requests.jsonl"), "{}\n").unwrap();
    assert_eq!(orrery(&["validate", "serving-log", log.to_str().unwrap()]).status.code(), Some(2));
}

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
        ("max_sequences = 64", "memory_share = 0.01", "E0406", "leave no room"),
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
        (
            "[serving.model]\npreset = \"llama-3.1-8b\"",
            "prefix_cache = true\n[serving.model]\npreset = \"gpt-oss-120b\"",
            "E0405",
            "prefix_cache beside layers with a sliding window",
        ),
        ("tensor = 2", "tensor = 2\npipeline = 64", "E0403", "more than 32 layers"),
        ("tensor = 2", "tensor = 2\ntwo_batches = true", "E0205", "does nothing without `data`"),
        ("tensor = 2", "tensor = 2\nimbalance = 2.0", "E0205", "does nothing without `expert`"),
        ("tensor = 2", "tensor = 2\nimbalance = 0.5", "E0202", "between 1 and 100"),
        ("max_sequences = 64", "max_sequences = 64\npreemption = \"swap\"\nreserve_output = true", "E0205", "reserved"),
        ("max_sequences = 64", "kv_blocks = 100\nworkspace = \"1 GB\"", "E0205", "beside `kv_blocks`"),
        (
            "[serving.traffic]",
            "[serving.prefill.parallel]\ntensor = 8\n[serving.traffic]",
            "E0401",
            "leave none to those of `[serving.parallel]`",
        ),
        ("[serving.traffic]", "[serving.prefill.parallel]\ntensor = 3\n[serving.traffic]", "E0402", "attention heads"),
        (
            "[serving.traffic]",
            "[serving.scaling]\nengines = \"prompts\"\nabove = 3\n[serving.traffic]",
            "E0205",
            "without [serving.prefill]",
        ),
        ("[serving.traffic]", "[serving.offload]\ntier = \"host\"\ncapacity = \"1 TB\"\n[serving.traffic]", "E0205", "prefix_cache"),
        ("[serving.traffic]", "[serving.offload]\ntier = \"hst\"\ncapacity = \"1 TB\"\n[serving.traffic]", "E0204", "no storage tier"),
        ("[serving.traffic]", "[serving.scaling]\nleast = 4\nabove = 3\n[serving.traffic]", "E0205", "does nothing"),
        ("[serving.traffic]", "[serving.scaling]\nabove = 3\nbelow = 3\n[serving.traffic]", "E0202", "not under above"),
        ("[serving.traffic]", "[[serving.failure]]\nengine = 4\nat = \"1 s\"\n[serving.traffic]", "E0202", "no engine 4"),
        (
            "[serving.traffic]",
            "[[serving.failure]]\nengine = 0\nat = \"1 s\"\nrepair = \"1 s\"\n[serving.traffic]",
            "E0205",
            "before its failure is noticed",
        ),
        ("[serving.traffic]", "[[serving.failure]]\nnode = 1\nat = \"1 s\"\n[serving.traffic]", "E0202", "no node 1"),
        ("[serving.traffic]", "[[serving.failure]]\nat = \"1 s\"\n[serving.traffic]", "E0205", "one `engine` or of one `node`"),
        ("[serving.traffic]", "[serving.start]\nboot = \"1 s\"\n[serving.traffic]", "E0205", "no engine is started"),
        ("[serving.traffic]", "[serving.admission]\nmax_waiting = 0\n[serving.traffic]", "E0202", "max_waiting"),
        ("[serving.traffic]", "[serving.priority]\nurgent = 1.5\n[serving.traffic]", "E0202", "between 0 and 1"),
        ("[serving.traffic]", "[serving.adapters]\ncount = 2\nslots = 3\n[serving.traffic]", "E0205", "more slots"),
        (
            "[serving.traffic]",
            "[serving.speculation]\nmodel = \"llama-3.1-8\"\ndrafts = 3\nacceptance = 0.7\n[serving.traffic]",
            "E0204",
            "did you mean \"llama-3.1-8b\"?",
        ),
        ("[serving.traffic]", "[run]\nsteps = 4\n[serving.traffic]", "E0205", "[run]"),
        ("[serving.traffic]", "[collective]\n[serving.traffic]", "E0205", "one of"),
    ] {
        let text = said(from, to);
        assert!(text.contains(code) && text.contains(word), "{to}: {code} or `{word}` is not in: {text}");
    }
}

/// What a scenario says of a further model.
fn beside(keys: &str) -> String {
    said("[serving.traffic]", &format!("[[serving.beside]]\nname = \"small\"\n{keys}\n[serving.traffic]"))
}

#[test]
fn further_models_that_do_not_fit() {
    let model = "[serving.beside.model]\npreset = \"llama-3.2-1b\"";
    for (keys, code, word) in [
        (model.to_owned(), "E0205", "a `share` of the requests or `traffic`"),
        (format!("share = 0.2\n{model}"), "E0401", "do not use 7 accelerators"),
        (format!("share = 0.2\n{model}\n[serving.beside.parallel]\nreplicas = 9"), "E0401", "other engines take 9 of 8"),
        (format!("share = 1.2\n{model}"), "E0202", "between 0 and 1"),
        (format!("share = 0.2\nshared = true\n{model}"), "E0405", "share accelerators"),
        (
            format!("share = 0.2\nshared = true\n{model}\n[serving.beside.parallel]\ntensor = 2"),
            "E0406",
            "engines that share accelerators take",
        ),
        (
            format!("share = 0.2\nshared = true\n{model}\n[serving.beside.parallel]\ntensor = 2\nreplicas = 9"),
            "E0202",
            "9 engines share the accelerators of 4",
        ),
        (format!("share = 0.2\nshared = true\n{model}\n[serving.beside.parallel]\ntensor = 2\nreplicas = 2147483648"), "E0202", "replicas"),
        ("share = 0.2\n[serving.beside.model]\npreset = \"llama-3.2-1\"".into(), "E0204", "did you mean"),
        (format!("share = 0.2\n{model}\n[serving.scaling]\nabove = 3"), "E0405", "beside further models"),
        (format!("share = 0.6\n{model}\n[[serving.beside]]\nname = \"small\"\nshare = 0.6\n{model}"), "E0203", "given twice"),
        (
            format!("{model}\n[serving.beside.traffic]\nkind = \"closed\"\nclients = 2\nrequests = 4\ninput = 9\noutput = 9"),
            "E0405",
            "beside other traffic",
        ),
    ] {
        let text = beside(&keys);
        assert!(text.contains(code) && text.contains(word), "{keys}: {code} or `{word}` is not in: {text}");
    }
}

/// Layouts that do not fill the cluster have no places: nothing is laid out or looked up on it.
#[test]
fn absurd_layouts_are_refused_before_they_are_laid_out() {
    for keys in ["tensor = 2\nreplicas = 2147483648", "tensor = 2147483648", "tensor = 2\ndata = 2147483648"] {
        let prefill = format!("[serving.prefill.parallel]\n{keys}\n[[serving.failure]]\nnode = 0\nat = \"1 s\"\n[serving.traffic]");
        let text = said("[serving.traffic]", &prefill);
        assert!(text.contains("E0401"), "{keys}: {text}");
    }
}

#[test]
fn several_models_have_their_own_outcome() {
    let both = outcome("two-models-h100", &["serving.traffic.requests=200", "serving.beside.0.traffic.requests=300"]);
    let models = both["serving"]["models"].as_array().unwrap();
    let counts: Vec<_> = models.iter().map(|m| (m["name"].as_str().unwrap(), m["completed"].as_u64().unwrap())).collect();
    assert_eq!(counts, [("Llama 3.1 70B", 200), ("classifier", 300)]);
    assert!(models[1]["ttft_s"]["p50"].as_f64() < models[0]["ttft_s"]["p50"].as_f64());
    let shared = outcome("model-mix-shared-card", &["serving.traffic.requests=300"]);
    let small = shared["serving"]["models"][1]["completed"].as_u64().unwrap();
    assert!((30..90).contains(&small) && shared["serving"]["completed"] == 300);
}

#[test]
fn a_node_fails_with_all_its_engines() {
    let node = outcome("node-failure", &["serving.traffic.requests=1500"]);
    let fleet = &node["serving"]["fleet"];
    assert!(fleet["starts"] == 2 && fleet["moved_requests"].as_u64().unwrap() > 20, "{fleet}");
}

/// A log that this program wrote gives its own all-reduces back, through the same files as that of an engine.
#[test]
fn the_all_reduce_of_a_log_comes_back() {
    let folder = tempfile::tempdir().unwrap();
    let at = |name: &str| folder.path().join(name).to_string_lossy().into_owned();
    let good = |args: &[&str]| {
        let out = orrery(args);
        assert_eq!(out.status.code(), Some(0), "{}", String::from_utf8_lossy(&out.stderr));
        String::from_utf8_lossy(&out.stdout).into_owned()
    };
    good(&["run", "scenarios/serving/qwen3-32b-pcie-pair.toml", "--out", &at("out")]);
    let csv = std::fs::read_to_string(at("out/requests.csv")).unwrap();
    let mut log = String::new();
    for row in csv.lines().skip(1) {
        let c: Vec<&str> = row.split(',').collect();
        log += &format!(
            "{{\"input_toks\": {}, \"output_toks\": {}, \"arrival_time\": {}, \"queued_ts\": {}, \"first_token_ts\": {}, \"last_token_ts\": {}}}\n",
            c[8], c[9], c[1], c[1], c[3], c[4]
        );
    }
    let pair = folder.path().join("pair");
    std::fs::create_dir(&pair).unwrap();
    std::fs::write(pair.join("requests.jsonl"), log).unwrap();
    let meta = r#"{"model": "Qwen/Qwen3-32B", "accelerator": "rtx-pro-6000-server", "engine_kwargs": {"tensor_parallel_size": 2, "max_num_seqs": 128, "max_num_batched_tokens": 2048}}"#;
    std::fs::write(pair.join("meta.json"), meta).unwrap();
    let said = good(&["calibrate", "import", &at("pair"), "--half", "first", "--out", &at("m.jsonl")]);
    assert!(said.contains("1.00 times the model's") || said.contains("0.99 times") || said.contains("1.01 times"), "{said}");
    good(&["calibrate", "fit", &at("m.jsonl"), "--out", &at("p.toml")]);
    let checked = good(&["validate", "serving-log", &at("pair"), "--profile", &at("p.toml"), "--half", "second", "--json"]);
    let value: serde_json::Value = serde_json::from_str(&checked).unwrap();
    assert!(value["rows"][0]["error"]["tpot_p50_s"].as_f64().unwrap().abs() < 0.01, "{checked}");
    assert_eq!(orrery(&["validate", "gemm", "tests/validation/gemm.csv", "--half", "first"]).status.code(), Some(2));
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

/// The JSON of a shipped scenario.
fn outcome(name: &str, set: &[&str]) -> serde_json::Value {
    let file = format!("scenarios/serving/{name}.toml");
    let mut args = vec!["run", file.as_str(), "--json"];
    args.extend(set.iter().flat_map(|s| ["--set", s]));
    let out = orrery(&args);
    assert!(matches!(out.status.code(), Some(0 | 1)), "{name}: {}", String::from_utf8_lossy(&out.stderr));
    serde_json::from_slice(&out.stdout).unwrap()
}

#[test]
fn prompts_apart_show_what_moves() {
    let apart = outcome("llama-70b-mixed-pools", &["serving.traffic.requests=100"]);
    let serving = &apart["serving"];
    let wait = serving["handover"]["wait_s"]["p50"].as_f64().unwrap();
    assert!(wait > 1e-6 && wait < 0.01, "{wait}");
    assert_eq!(serving["completed"].as_u64(), Some(100));
    // Layers sent while the prompt runs hide nearly all of the transfer.
    let whole = outcome("llama-70b-mixed-pools", &["serving.traffic.requests=100", "serving.prefill.transfer=\"whole\""]);
    assert!(whole["serving"]["handover"]["wait_s"]["p50"].as_f64().unwrap() > 5.0 * wait);
    assert!(outcome("llama-8b-l4", &["serving.traffic.requests=10"])["serving"].get("handover").is_none());
}

#[test]
fn engines_that_fail_or_start_show_in_the_outcome() {
    let failed = outcome("engine-failure", &["serving.traffic.requests=1500"]);
    assert!(failed["serving"]["fleet"]["moved_requests"].as_u64().unwrap() > 0);
    assert_eq!(failed["serving"]["completed"].as_u64(), Some(1500));
    let scaled = outcome("autoscaling-cold-start", &["serving.traffic.requests=20000", "serving.traffic.period=600 s"]);
    let on = scaled["serving"]["fleet"]["engines_on_share"].as_f64().unwrap();
    assert!(on > 0.125 && on < 0.9 && scaled["serving"]["fleet"]["starts"].as_u64().unwrap() > 0, "{on}");
    // Rent follows the engines that are on.
    let full = scaled["cost"]["usd_per_hour"].as_f64().unwrap() / on;
    assert!((full / 8.0 - 2.95).abs() < 0.3, "{full}");
    let shed = outcome("autoscaling-cold-start", &["serving.traffic.requests=20000", "serving.admission.max_waiting=5"]);
    assert!(shed["serving"]["shed"].as_u64().unwrap() > 0);
}

#[test]
fn tiers_of_cached_prompts_are_read() {
    let small = ["serving.traffic.sessions=60", "serving.traffic.pause=20 s", "serving.batching.kv_blocks=2000"];
    let with = outcome("sessions-remote-store", &small);
    assert!(with["serving"]["loaded_prompt_share"].as_f64().unwrap() > 0.1);
    let host = outcome("sessions-remote-store", &[&small[..], &["serving.offload.tier=\"host\"", "serving.priority.urgent=0.3"]].concat());
    assert!(host["serving"]["loaded_prompt_share"].as_f64().unwrap() > 0.05);
    assert!(host["serving"]["urgent_ttft_s"]["mean"].as_f64().unwrap() > 0.0);
}

#[test]
fn a_profile_serves_serving() {
    let shipped = std::fs::read_to_string(root().join("src/kernels/fitted.toml")).unwrap();
    let folder = tempfile::tempdir().unwrap();
    let scenario = std::fs::read_to_string(root().join("scenarios/serving/llama-70b-trtllm-offline.toml")).unwrap();
    let scenario = scenario.replace("../../topologies", root().join("topologies").to_str().unwrap());
    let text = scenario.replace("nodes = 1", "nodes = 1\nprofile = \"own.toml\"").replace("requests = 12000", "requests = 16");
    let file = folder.path().join("a.toml");
    std::fs::write(&file, text).unwrap();
    let run = |profile: &str| {
        std::fs::write(folder.path().join("own.toml"), profile).unwrap();
        orrery(&["run", file.to_str().unwrap(), "--json"])
    };
    let time = |out: &std::process::Output| {
        let value: serde_json::Value = serde_json::from_slice(&out.stdout).unwrap_or_default();
        value["serving"]["tpot_s"]["mean"].as_f64().unwrap_or_else(|| panic!("{}", String::from_utf8_lossy(&out.stderr)))
    };
    let same = time(&run(&shipped));
    assert!(same > 0.0);
    // The profile of another generation serves nothing here.
    let other: String =
        shipped.split("[[profile]]").filter(|p| !p.contains("generation = \"hopper\"")).collect::<Vec<_>>().join("[[profile]]");
    if other != shipped {
        assert_eq!(run(&other).status.code(), Some(2));
    }
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
    let metrics = read("load.om.txt");
    assert!(metrics.starts_with("# TYPE orrery_requests_running gauge") && metrics.ends_with("# EOF\n"));
    let samples = metrics.lines().filter(|l| l.starts_with("orrery_requests_running ")).count();
    assert_eq!(samples + 1, read("load.csv").lines().count());
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

/// Where no engine can hold any request, nothing is served; money by token is finite all the same.
#[test]
fn nothing_served_has_finite_costs() {
    let out = orrery(&["run", "scenarios/serving/llama-2-13b-inferentia2.toml", "--json", "--set", "serving.parallel.tensor=1"]);
    let value: serde_json::Value = serde_json::from_slice(&out.stdout).unwrap();
    assert_eq!((value["serving"]["completed"].as_u64(), value["serving"]["rejected"].as_u64()), (Some(0), Some(8)), "{value}");
    assert!(value["cost"]["usd_per_million_tokens"].as_f64().is_some_and(f64::is_finite), "{}", value["cost"]);
}

//! Fleets that name scenario files: a replica serves what its scenario serves, a job takes what its scenario takes.

use orrery::diag::{Diagnostics, Style, render};
use orrery::scenario::{Scenario, execute, load_text};
use serde_json::Value;
use std::path::Path;

const TOPOLOGY: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/topologies/dgx-h100-ndr.toml");

/// One engine of eight accelerators.
const CHAT: &str = r#"
title = "chat"
topology = "TOPOLOGY"
nodes = 1
[serving]
precision = "fp8"
[serving.model]
preset = "llama-3.1-70b"
[serving.parallel]
tensor = 8
[serving.traffic]
kind = "poisson"
requests_per_s = 3
requests = 400
input = { kind = "lognormal", mean = 1000, cv = 1.0, most = 8192 }
output = { kind = "lognormal", mean = 200, cv = 0.8, most = 2048 }
[serving.slo]
ttft = "2 s"
tpot = "60 ms"
share = 0.95
"#;

const TUNE: &str = r#"
title = "fine-tuning"
topology = "TOPOLOGY"
nodes = 1
[training]
global_batch = 64
[training.model]
preset = "llama-3.1-8b"
sequence_length = 4096
[training.parallel]
tensor = 2
[run]
steps = 120
"#;

const SERVICE: &str = r#"
[[fleet.service]]
name = "chat"
scenario = "chat.toml"
requests_per_s = 1
warm = "0 s"
least = 2
most = 2
"#;

const JOBS: &str = r#"
[[fleet.job]]
name = "tune"
scenario = "tune.toml"
within = "node"
[[fleet.job]]
name = "evaluate"
after = ["tune"]
scenario = "batch.toml"
within = "node"
"#;

/// A fleet of three nodes: of the topology, or of a pool.
fn fleet(folder: &Path, topology: bool, more: &str) -> Result<Scenario, String> {
    for (name, text) in [("chat.toml", CHAT.to_owned()), ("tune.toml", TUNE.to_owned()), ("batch.toml", batch())] {
        let file = folder.join(name);
        if !file.exists() {
            std::fs::write(file, text.replace("TOPOLOGY", TOPOLOGY)).unwrap();
        }
    }
    let nodes = if topology { format!("topology = \"{TOPOLOGY}\"\nnodes = 3\n") } else { String::new() };
    let pool = if topology { "" } else { "[[fleet.node]]\nname = \"p\"\npart = \"h100-sxm\"\ncount = 3\naccelerators = 8\n" };
    load(&folder.join("fleet.toml").display().to_string(), &format!("title = \"t\"\n{nodes}[fleet]\nhorizon = \"1 h\"\n{pool}{more}"))
}

/// The same engine, all requests at once.
fn batch() -> String {
    let text = CHAT.replace("kind = \"poisson\"\nrequests_per_s = 3\n", "kind = \"offline\"\n");
    text[..text.find("[serving.slo]").unwrap()].to_owned()
}

fn load(name: &str, text: &str) -> Result<Scenario, String> {
    let mut diags = Diagnostics::new();
    let scenario = load_text(name, text, &[], None, &mut diags);
    scenario.filter(|_| !diags.has_errors()).ok_or_else(|| render(&diags, Style::Plain))
}

fn outcome(scenario: &Scenario) -> Value {
    serde_json::to_value(execute(scenario, 600.0, &|| 0.0).unwrap_or_else(|e| panic!("{e}"))).unwrap()
}

fn number(value: &Value, path: &str) -> f64 {
    value.pointer(path).and_then(Value::as_f64).unwrap_or_else(|| panic!("no {path} in {value}"))
}

/// A file by itself.
fn alone(text: &str) -> Value {
    outcome(&load("alone.toml", &text.replace("TOPOLOGY", TOPOLOGY)).unwrap_or_else(|e| panic!("{e}")))
}

#[test]
fn a_replica_serves_exactly_what_its_scenario_does() {
    let folder = tempfile::tempdir().unwrap();
    let got = outcome(&fleet(folder.path(), true, SERVICE).unwrap_or_else(|e| panic!("{e}")));
    let replica = |key: &str| number(&got, &format!("/fleet/services/0/replica/{key}"));
    let rate = replica("requests_per_s");
    let at = |rate: f64| alone(&CHAT.replace("requests_per_s = 3", &format!("requests_per_s = {rate:?}")));
    assert_eq!(at(rate)["serving"]["slo_met"], true);
    // Within 1 % above lies a load that fails, not at every rate: a sample of requests may pass by luck.
    let fails = (1..=20).any(|i| at(rate * (1.0 + 0.0005 * f64::from(i)))["serving"]["slo_met"] == false);
    assert!(fails, "{rate} is not the most");
    assert_eq!(at(rate * 1.03)["serving"]["slo_met"], false);
    let loads = got["fleet"]["services"][0]["replica"]["loads"].as_array().unwrap();
    assert_eq!(number(loads.last().unwrap(), "/requests_per_s"), rate);
    for load in [&loads[0], loads.last().unwrap()] {
        let same = at(number(load, "/requests_per_s"));
        assert_eq!(number(load, "/ttft_mean_s"), number(&same, "/serving/ttft_s/mean"));
        assert_eq!(number(load, "/tpot_mean_s"), number(&same, "/serving/tpot_s/mean"));
        assert_eq!(number(load, "/slo_attainment"), number(&same, "/serving/slo_attainment"));
    }
    assert_eq!(replica("accelerators"), 8.0);
    // As many requests on two replicas as give each of them a load that was simulated: the latencies are those of that load.
    let each = number(&loads[2], "/requests_per_s");
    let busy = SERVICE.replace("requests_per_s = 1", &format!("requests_per_s = {:?}", 2.0 * each));
    let busy = outcome(&fleet(folder.path(), true, &busy).unwrap_or_else(|e| panic!("{e}")));
    let busy = |key: &str| number(&busy, &format!("/fleet/services/0/{key}"));
    let same = at(each);
    let same = |key: &str| number(&same, &format!("/serving/{key}"));
    assert!((busy("replica/ttft_s/mean") / same("ttft_s/mean") - 1.0).abs() < 1e-9);
    assert!((busy("replica/ttft_s/p50") / same("ttft_s/p50") - 1.0).abs() < 0.03);
    assert!((busy("slo_attainment") - same("slo_attainment")).abs() < 1e-9);
    // Without a topology of the fleet it runs on the scenario's own, which is the same.
    let own = outcome(&fleet(folder.path(), false, SERVICE).unwrap_or_else(|e| panic!("{e}")));
    assert_eq!(own["fleet"]["services"][0]["replica"], got["fleet"]["services"][0]["replica"]);
}

#[test]
fn jobs_take_exactly_what_their_scenarios_do() {
    let folder = tempfile::tempdir().unwrap();
    let (step, answers) = (number(&alone(TUNE), "/training/step_time_s"), number(&alone(&batch()), "/serving/duration_s"));
    for topology in [true, false] {
        let got = outcome(&fleet(folder.path(), topology, JOBS).unwrap_or_else(|e| panic!("{e}")));
        let run = |i: usize| number(&got, &format!("/fleet/pipelines/0/steps/{i}/run_s"));
        assert!((run(0) / (120.0 * step) - 1.0).abs() < 1e-12, "{got}");
        assert!((run(1) / answers - 1.0).abs() < 1e-9, "{} against {answers}", run(1));
        assert_eq!(number(&got, "/fleet/classes/0/scenario/alone_s"), 120.0 * step);
    }
    // Fewer steps, on as many replicas as the accelerators allow.
    let more = JOBS.replace("scenario = \"tune.toml\"\nwithin = \"node\"", "scenario = \"tune.toml\"\nsteps = 7\naccelerators = 16");
    let got = outcome(&fleet(folder.path(), true, &more).unwrap_or_else(|e| panic!("{e}")));
    let wide = number(&alone(&TUNE.replace("nodes = 1", "nodes = 2")), "/training/step_time_s");
    assert!((number(&got, "/fleet/pipelines/0/steps/0/run_s") / (7.0 * wide) - 1.0).abs() < 1e-12);
}

#[test]
fn files_that_say_too_little_or_too_much_are_refused() {
    let bad = |topology: bool, more: &str, file: &str, text: &str| {
        let folder = tempfile::tempdir().unwrap();
        if !text.is_empty() {
            std::fs::write(folder.path().join(file), text.replace("TOPOLOGY", TOPOLOGY)).unwrap();
        }
        fleet(folder.path(), topology, more).err().unwrap_or_else(|| panic!("{more} with {text} was taken"))
    };
    let mut told: Vec<(String, &str)> = Vec::new();
    let add = |key: &str| SERVICE.replace("requests_per_s = 1", &format!("requests_per_s = 1\n{key}"));
    told.push((bad(true, &add("accelerators = 4"), "", ""), "`accelerators` does nothing beside `scenario`"));
    told.push((bad(true, &add("replica_requests_per_s = 4"), "", ""), "`replica_requests_per_s` does nothing beside `scenario`"));
    told.push((bad(true, &SERVICE.replace("scenario = \"chat.toml\"\n", ""), "", ""), "how many requests does a replica serve?"));
    told.push((bad(true, &SERVICE.replace("chat.toml", "chats.toml"), "", ""), "there is no such file"));
    told.push((bad(true, &SERVICE.replace("chat.toml", "tune.toml"), "", ""), "described by a serving scenario"));
    told.push((bad(true, &SERVICE.replace("chat.toml", "batch.toml"), "", ""), "its scenario has no targets"));
    let swing = CHAT.replace("kind = \"poisson\"", "kind = \"diurnal\"\nswing = 0.5");
    told.push((bad(true, SERVICE, "chat.toml", &swing), "no constant rate"));
    told.push((bad(true, SERVICE, "chat.toml", &CHAT.replace("ttft = \"2 s\"", "ttft = \"1 ms\"")), "its targets are not met at"));
    let few = CHAT.replace("requests = 400", "requests = 1");
    told.push((bad(true, SERVICE, "chat.toml", &few), "too few requests"));
    let scales = format!("{CHAT}[serving.scaling]\nmetric = \"concurrency\"\ntarget = 5\n");
    told.push((bad(true, SERVICE, "chat.toml", &scales), "serving.scaling"));
    told.push((bad(true, SERVICE, "chat.toml", &CHAT.replace("precision", "precison")), "included here"));
    let other = SERVICE.to_owned();
    let on = CHAT.replace("dgx-h100-ndr.toml", "").replace("TOPOLOGY", &TOPOLOGY.replace("dgx-h100-ndr", "dgx-a100-hdr"));
    told.push((bad(false, &other, "chat.toml", &on.replace("precision = \"fp8\"\n", "")), "the scenario runs on"));
    let itself = format!("title = \"t\"\ntopology = \"TOPOLOGY\"\nnodes = 1\n[fleet]\nhorizon = \"1 h\"\n{SERVICE}");
    told.push((bad(true, SERVICE, "chat.toml", &itself), "a fleet within a fleet"));
    let long = JOBS.replace("within = \"node\"\n[[", "duration = \"1 h\"\n[[");
    told.push((bad(true, &long, "", ""), "`duration` does nothing beside `scenario`"));
    told.push((bad(true, JOBS, "tune.toml", &TUNE.replace("[run]\nsteps = 120\n", "")), "how many steps does the job train?"));
    let fails = format!("{TUNE}[failures]\npreset = \"fleet-2024\"\n");
    told.push((bad(true, JOBS, "tune.toml", &fails), "`[failures]` does nothing in a scenario that a fleet names"));
    told.push((
        bad(false, &JOBS.replace("scenario = \"tune.toml\"", "scenario = \"tune.toml\"\naccelerators = 16"), "", ""),
        "`accelerators` does nothing",
    ));
    for (said, want) in told {
        assert!(said.contains(want), "{want}: {said}");
    }
}

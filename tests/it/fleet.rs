//! Fleets from scenario to outcome: jobs alone and beside each other, and what is refused.

use super::orrery;
use orrery::diag::{Diagnostics, Style, render};
use orrery::scenario::{Scenario, execute, load_text};
use serde_json::Value;

const BESIDE: &str = include_str!("../../scenarios/fleet/training-beside-training.toml");

fn load(text: &str, set: &[&str]) -> Result<Scenario, String> {
    let mut diags = Diagnostics::new();
    let set: Vec<String> = set.iter().map(|s| (*s).to_owned()).collect();
    let scenario = load_text("scenarios/fleet/t.toml", text, &set, None, &mut diags);
    scenario.filter(|_| !diags.has_errors()).ok_or_else(|| render(&diags, Style::Plain))
}

fn run(text: &str, set: &[&str]) -> Value {
    let scenario = load(text, set).unwrap_or_else(|e| panic!("{e}"));
    let outcome = execute(&scenario, 600.0, &|| 0.0).unwrap_or_else(|e| panic!("{e}"));
    serde_json::to_value(outcome).unwrap()
}

fn number(value: &Value, path: &str) -> f64 {
    value.pointer(path).and_then(Value::as_f64).unwrap_or_else(|| panic!("no {path} in {value}"))
}

/// The step of the job by itself: the same table as a scenario of its own on as many nodes.
fn step_alone() -> f64 {
    let from = BESIDE.find("[fleet.job.training]").unwrap();
    let to = BESIDE[from..].find("[[fleet.policy]]").unwrap() + from;
    let head = &BESIDE[..BESIDE.find("[fleet]").unwrap()];
    let text = format!("{}{}", head.replace("nodes = 21", "nodes = 5"), BESIDE[from..to].replace("fleet.job.training", "training"));
    number(&run(&text, &[]), "/training/step_time_s")
}

#[test]
fn one_job_alone_is_the_single_job() {
    let step = step_alone();
    let steps = ["fleet.job.0.steps=10", "fleet.job.0.count=1"];
    let plain = BESIDE.replace("checkpoint = \"5 min\"\n", "").replace("checkpoint_cost = \"2 s\"\n", "");
    let alone = run(&plain, &steps);
    for policy in 0..2 {
        assert_eq!(number(&alone, &format!("/fleet/policies/{policy}/completion_s/mean")), step * 10.0);
    }
    // Saving takes its share.
    let saving = number(&run(BESIDE, &steps), "/fleet/completion_s/mean");
    assert!((saving / (step * 10.0) - 302.0 / 300.0).abs() < 1e-9);
}

#[test]
fn the_heat_of_links_is_that_of_the_single_job() {
    let from = BESIDE.find("[fleet.job.training]").unwrap();
    let to = BESIDE[from..].find("[[fleet.policy]]").unwrap() + from;
    let head = &BESIDE[..BESIDE.find("[fleet]").unwrap()];
    let single = format!("{}{}", head.replace("nodes = 21", "nodes = 5"), BESIDE[from..to].replace("fleet.job.training", "training"));
    let outcome = execute(&load(&single, &[]).unwrap(), 600.0, &|| 0.0).unwrap_or_else(|e| panic!("{e}"));
    let fullest = outcome.detail.links.iter().filter(|l| l.name.starts_with("NIC") || l.name.starts_with("leaf uplink"));
    let fullest = fullest.map(|l| l.utilization).fold(0.0, f64::max);
    let plain = BESIDE.replace("checkpoint = \"5 min\"\n", "").replace("checkpoint_cost = \"2 s\"\n", "");
    let got = run(&plain, &["fleet.job.0.steps=500", "fleet.job.0.count=1"]);
    let link = |key: &str| number(&got, &format!("/fleet/links/0/{key}"));
    assert!(fullest > 0.01, "{fullest}");
    assert!((link("utilization") / fullest - 1.0).abs() < 1e-6, "{got} {fullest}");
    assert!((link("peak_utilization") / fullest - 1.0).abs() < 1e-6);
    // Three of them on one oversubscribed core: nothing carries more than it can.
    let all = run(&plain, &["fleet.job.0.steps=500"]);
    let most = number(&all, "/fleet/links/0/peak_utilization");
    assert!(most > 0.3 && most <= 1.0 + 1e-9, "{most}");
}

#[test]
fn neighbours_under_other_leaves_do_not_slow_and_an_oversubscribed_core_does() {
    let step = step_alone();
    let plain = BESIDE
        .replace("checkpoint = \"5 min\"\n", "")
        .replace("checkpoint_cost = \"2 s\"\n", "")
        .replace("every = \"2 min\"\narrivals = \"regular\"\n", "");
    let got = run(&plain, &["fleet.job.0.steps=10"]);
    // By topology every job has a leaf: to the bit as alone.
    assert_eq!(number(&got, "/fleet/policies/1/completion_s/p99"), step * 10.0);
    assert_eq!(number(&got, "/fleet/policies/1/completion_s/p50"), step * 10.0);
    // Node after node, the second job lies across two leaves, alone on their uplinks, and the third meets it there.
    let alone = number(&run(&plain, &["fleet.job.0.steps=10", "fleet.job.0.count=2"]), "/fleet/policies/0/completion_s/p99");
    let packed = number(&got, "/fleet/policies/0/completion_s/p99");
    assert!(alone >= step * 10.0 && packed > alone * 1.1, "beside each other {packed}, alone {alone}, near together {}", step * 10.0);
}

#[test]
fn a_pipeline_ends_in_a_roll_out_whose_cold_starts_read_weights() {
    const PIPELINE: &str = include_str!("../../scenarios/fleet/pipeline-registry.toml");
    // A load that asks for six replicas all day, one at a time replaced, one run of the pipeline.
    let counts = ["fleet.job.0.count=1", "fleet.job.1.count=1", "fleet.job.2.count=1", "fleet.job.3.count=1", "fleet.job.4.count=1"];
    let steady = ["fleet.service.0.swing=0", "fleet.service.0.rollout.surge=1", "fleet.service.0.least=6", "fleet.service.0.most=6"];
    let set: Vec<&str> = counts.into_iter().chain(steady).collect();
    let got = run(PIPELINE, &set);
    let step = |i: usize, key: &str| number(&got, &format!("/fleet/pipelines/0/steps/{i}/{key}"));
    let whole = number(&got, "/fleet/pipelines/0/duration_s/mean");
    // Preparation, training, the longer of two checks beside each other, the signature; nothing else is in the way.
    assert!((whole - (1500.0 + step(1, "run_s") + 1200.0 + 120.0)).abs() < 1e-6, "{got}");
    assert_eq!((step(2, "critical"), step(3, "critical")), (0.0, 1.0));
    // Two accelerators on one node read 141 GB each time with the file system to themselves, and 75 s of warm-up follow.
    let scenario = load(PIPELINE, &set).unwrap();
    let tier = scenario.fabric.tier_named("scratch").unwrap();
    use orrery::storage::{Client, Direction, transfer};
    let clients = [0, 1].map(|a| Client { at: orrery::fabric::AcceleratorId(a), bytes: 70.5e9, files: 1.0 });
    let read = transfer(&scenario.fabric, tier, Direction::Read, &clients, 16.0 * 1_048_576.0).unwrap().time(&scenario.fabric);
    let roll = "/fleet/services/0/rollouts/0";
    assert!((number(&got, &format!("{roll}/took_s")) - 6.0 * (read + 75.0)).abs() < 1e-3, "{got} {read}");
    assert_eq!(number(&got, &format!("{roll}/registered_s")), whole);
    assert_eq!((number(&got, &format!("{roll}/least_warm_replicas")), number(&got, &format!("{roll}/cold_starts"))), (6.0, 6.0));
    // All at once they share the way to the file system: longer than one, no longer than one after the other.
    let all = run(PIPELINE, &[&set[..], &["fleet.service.0.rollout.surge=6"]].concat());
    let took = number(&all, &format!("{roll}/took_s"));
    assert!(took >= read + 75.0 - 1e-6 && took < 6.0 * (read + 75.0), "{took} against {read}");
}

#[test]
fn a_lost_region_costs_what_its_copies_say() {
    const REGIONS: &str = include_str!("../../scenarios/fleet/two-regions.toml");
    let got = run(REGIONS, &[]);
    let losses = got["fleet"]["regions"]["losses"].as_array().unwrap();
    assert!(losses.iter().any(|l| l["region"] == "north" && number(l, "/at_s") == 432_000.0), "{got}");
    let classes = got["fleet"]["regions"]["classes"].as_array().unwrap();
    let class = |name: &str| classes.iter().find(|c| c["name"] == name).unwrap_or_else(|| panic!("no {name} in {got}"));
    // Two checkpoints of half an hour, and ten minutes of copying.
    let copied = class("pre-training");
    let most = number(copied, "/rpo_most_s");
    assert!(most > 0.0 && most <= 3600.0 + 600.0 && number(copied, "/recovered") >= 1.0, "{copied}");
    assert!(number(copied, "/rto_s/mean") >= 480.0);
    // Without copies, what was done is done again.
    assert!(number(class("fine-tuning"), "/rpo_most_s") > 4200.0);
    let service = &got["fleet"]["regions"]["services"][0];
    assert!(number(service, "/lost") > 0.0 && number(service, "/rto_s") >= 180.0 && number(service, "/slo_attainment") < 1.0, "{service}");
    // Eight spot nodes, two days each, for twenty: some eighty.
    let reclaims = number(&got, "/fleet/reclaims");
    assert!((reclaims - 80.0).abs() < 36.0, "{reclaims}");
    // Nodes of a topology are divided by their numbers.
    let text = "title = \"t\"\ntopology = \"../../topologies/dgx-h100-ndr.toml\"\nnodes = 8\n[fleet]\n\
        [[fleet.region]]\nname = \"a\"\nfirst = 0\nnodes = 4\n[[fleet.region]]\nname = \"b\"\nfirst = 4\nnodes = 4\n\
        [[fleet.outage]]\nregion = \"a\"\nat = \"2 h\"\nlasts = \"1 h\"\n\
        [[fleet.job]]\nname = \"j\"\naccelerators = 32\nduration = \"4 h\"\ncheckpoint = \"10 min\"\ncopy_every = 3\n";
    let got = run(text, &[]);
    assert_eq!(number(&got, "/fleet/makespan_s"), 4.0 * 3600.0, "at two hours a third checkpoint is copied: nothing is lost");
    assert!(load(text, &["fleet.job.0.accelerators=40"]).err().unwrap().contains("never find room"), "no job lies in two regions");
}

#[test]
fn rows_that_cannot_be_read_are_told_with_their_line() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("bad.csv");
    std::fs::write(&file, "submit_s,duration_s,accelerators\n0,10,1\n1,ten,1\n2,10,-1\n").unwrap();
    let set = format!("fleet.trace={}", file.display());
    let out = orrery(&["run", "scenarios/fleet/philly.toml", "--set", &set]);
    let said = String::from_utf8_lossy(&out.stderr).into_owned();
    assert_eq!(out.status.code(), Some(2), "{said}");
    assert!(said.contains("line 3") && said.contains("line 4") && said.contains("bad.csv:3") && !said.contains("line 2"), "{said}");
    let out = orrery(&["run", "scenarios/fleet/philly.toml", "--json", "--set", &set, "--set", "fleet.skip_bad_rows=true"]);
    let got: Value = serde_json::from_slice(&out.stdout).unwrap();
    assert_eq!((number(&got, "/fleet/jobs"), number(&got, "/fleet/skipped_rows")), (1.0, 2.0));
}

#[test]
fn what_does_nothing_or_never_runs_is_refused() {
    const SMALL: &str = include_str!("../../scenarios/fleet/policies-small.toml");
    const SERVICES: &str = include_str!("../../scenarios/fleet/services-and-training.toml");
    const SHARED: &str = "title = \"t\"\n[fleet]\n[[fleet.node]]\nname = \"p\"\ncount = 1\naccelerators = 8\n\
        [[fleet.job]]\nname = \"j\"\nduration = \"1 h\"\naccelerators = 1\nshare = 0.5\n[[fleet.policy]]\nbackfill = \"easy\"\n";
    const PIPELINE: &str = include_str!("../../scenarios/fleet/pipeline-registry.toml");
    for (text, set, said) in [
        (SMALL, "fleet.job.1.sizes=[128]", "never find room"),
        (SMALL, "fleet.job.0.sigma=9", "absurd"),
        (SMALL, "fleet.job.0.steps=9", "does nothing without `training`"),
        (SMALL, "fleet.job.0.shares=[1]", "3 sizes have 1 shares"),
        (SMALL, "fleet.job.0.parts=[\"h200\"]", "no accelerator `h200`"),
        (SMALL, "fleet.policy.0.preempt=true", "whoever came first"),
        (SMALL, "fleet.policy.0.grow=true", "no job has `most`"),
        (SMALL, "fleet.policy.0.reclaim=true", "without teams of a cohort"),
        (SMALL, "fleet.policy.2.estimate=0.5", "below the truth"),
        (SHARED, "fleet.policy.0.backfill=conservative", "whole accelerators"),
        (SMALL, "fleet.policy.1.name=FIFO", "two policies"),
        (SMALL, "fleet.team.0.borrow=4", "without `cohort`"),
        (SMALL, "fleet.node.0.accelerators=65", "64 at most"),
        (SMALL, "fleet.trace_format=philly", "without a trace"),
        (SMALL, "run.steps=5", "does nothing for this fleet"),
        (SERVICES, "fleet.service.0.least=30", "more than `most`"),
        (SERVICES, "fleet.service.0.target=1.5", "above 1"),
        (SERVICES, "fleet.node.1.elastic.least=13", "always there"),
        (PIPELINE, "fleet.job.1.after=[\"prepared\"]", "did you mean \"prepare\"?"),
        (PIPELINE, "fleet.job.2.count=3", "3 jobs wait for 4 of `train`"),
        (PIPELINE, "fleet.job.2.every=1 h", "does nothing for jobs that come after others"),
        (PIPELINE, "fleet.job.1.after=[\"sign\"]", "in a circle"),
        (PIPELINE, "fleet.job.3.name=evaluate", "several classes of jobs"),
        (PIPELINE, "fleet.service.0.rollout.after=signed", "did you mean \"sign\"?"),
        (PIPELINE, "fleet.service.0.rollout.surge=0", "can ever be replaced"),
        (PIPELINE, "fleet.service.0.weights.tier=tape", "no storage tier `tape`"),
        (PIPELINE, "fleet.service.0.weights.size=9 PB", "more than the tier holds"),
        (BESIDE, "fleet.job.0.accelerators=48", "ranks"),
        (BESIDE, "fleet.job.0.duration=1 h", "for a job that trains"),
    ] {
        let told = load(text, &[set]).err().unwrap_or_else(|| panic!("{set} was taken"));
        assert!(told.contains(said), "{set}: {told}");
    }
    const REGIONS: &str = include_str!("../../scenarios/fleet/two-regions.toml");
    for (text, set, said) in [
        (REGIONS, "fleet.region.0.name=south", "two regions named `south`"),
        (REGIONS, "fleet.region.0.pools=[\"reserved\"]", "no pool `reserved`"),
        (REGIONS, "fleet.region.0.pools=[\"spot south\"]", "lies in two regions"),
        (REGIONS, "fleet.region.1.pools=[\"reserved south\"]", "lies in no region"),
        (REGIONS, "fleet.region.1.first=3", "either `pools`, or `first` and `nodes`"),
        (REGIONS, "fleet.outage.0.region=nord", "no region `nord`"),
        (REGIONS, "fleet.outage.0.lasts=0 s", "above 0"),
        (REGIONS, "fleet.spot.0.interval=1 s", "within a minute"),
        (REGIONS, "fleet.spot.0.pools=[\"spot\"]", "no pool `spot`"),
        (REGIONS, "fleet.job.0.copy_every=0", "at least 1"),
        (REGIONS, "fleet.job.0.copy_time=2 h", "longer than the next one is away"),
        (REGIONS, "fleet.job.1.copy_time=2 min", "without `copy_every`"),
        (SMALL, "fleet.job.0.copy_every=2", "and several regions"),
        (REGIONS, "failures.class.0.lasts=0 s", "above 0"),
    ] {
        let told = load(text, &[set]).err().unwrap_or_else(|| panic!("{set} was taken"));
        assert!(told.contains(said), "{set}: {told}");
    }
    let whole = REGIONS.replace("[[fleet.region]]\nname = \"north\"\npools = [\"reserved north\"]\n", "");
    assert!(load(&whole, &[]).err().unwrap().contains("one region alone"));
    let twice = format!("{REGIONS}[[fleet.outage]]\nregion = \"north\"\nat = \"121 h\"\nlasts = \"1 h\"\n");
    assert!(load(&twice, &[]).err().unwrap().contains("lost while it is away"));
    let part = REGIONS.replace("loses = \"region\"\nlasts = \"8 h\"", "");
    assert!(load(&part, &[]).err().unwrap().contains("lost with all that is kept there"));
    let one = format!(
        "{SMALL}\n[failures]\n[[failures.class]]\nname = \"r\"\nmtbf = \"9 d\"\ncomponent = \"job\"\nloses = \"region\"\nlasts = \"1 h\"\n"
    );
    assert!(load(&one, &[]).err().unwrap().contains("a fleet without regions lies in one"));
    let endless = SERVICES.replace("horizon = \"3 d\"\n", "");
    assert!(load(&endless, &[]).err().unwrap().contains("needs `horizon`"));
}

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
        (SMALL, "fleet.policy.1.backfill=conservative", "may lie anywhere"),
        (SMALL, "fleet.policy.1.name=FIFO", "two policies"),
        (SMALL, "fleet.team.0.borrow=4", "without `cohort`"),
        (SMALL, "fleet.node.0.accelerators=65", "64 at most"),
        (SMALL, "fleet.trace_format=philly", "without a trace"),
        (SMALL, "run.steps=5", "does nothing for this fleet"),
        (SERVICES, "fleet.service.0.least=30", "more than `most`"),
        (SERVICES, "fleet.service.0.target=1.5", "above 1"),
        (SERVICES, "fleet.node.1.elastic.least=13", "always there"),
        (BESIDE, "fleet.job.0.accelerators=48", "ranks"),
        (BESIDE, "fleet.job.0.duration=1 h", "for a job that trains"),
    ] {
        let told = load(text, &[set]).err().unwrap_or_else(|| panic!("{set} was taken"));
        assert!(told.contains(said), "{set}: {told}");
    }
    let endless = SERVICES.replace("horizon = \"3 d\"\n", "");
    assert!(load(&endless, &[]).err().unwrap().contains("needs `horizon`"));
}

//! The program: exit codes, streams, faults.

use super::{orrery, root};

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

#[test]
fn quick_start_needs_no_file() {
    let out = orrery(&["run"]);
    assert_eq!(out.status.code(), Some(0));
    assert!(text(&out.stdout).contains("GPT-3 175B on 1,024 A100"));
    assert!(out.stderr.is_empty());
}

#[test]
fn what_does_not_fit_is_a_result_with_advice_and_exit_code_1() {
    let out = orrery(&["run", "scenarios/training/oom-gpt3-175b-a100-16.toml"]);
    assert_eq!(out.status.code(), Some(1));
    let shown = text(&out.stdout);
    assert!(shown.contains("DOES NOT FIT") && shown.contains("try: "), "{shown}");
}

#[test]
fn bad_input_is_exit_code_2_and_says_where() {
    let out = orrery(&["run", "scenarios/no-such.toml"]);
    assert_eq!(out.status.code(), Some(2));
    assert!(text(&out.stderr).contains("scenarios/no-such.toml:1:1"), "{}", text(&out.stderr));
    assert_eq!(orrery(&["no-such-command"]).status.code(), Some(2));
    assert_eq!(orrery(&["run", "--set", "training.parallel.tensor=7"]).status.code(), Some(2));
}

#[test]
fn faults_as_json() {
    let out = orrery(&["check", "tests/it/bad/many.toml", "--message-format", "json"]);
    assert_eq!(out.status.code(), Some(2));
    let list: serde_json::Value = serde_json::from_slice(&out.stderr).unwrap();
    let codes: Vec<&str> = list.as_array().unwrap().iter().map(|d| d["code"].as_str().unwrap()).collect();
    assert_eq!(codes, ["E0201", "E0102", "E0105", "E0202"], "all faults of a file come at once, in order");
    assert_eq!(list[0]["labels"][0]["line"], 5);
}

#[test]
fn overrides_reach_any_key() {
    let step = |set: &[&str]| {
        let mut args = vec!["run", "--json"];
        set.iter().for_each(|s| args.extend(["--set", s]));
        let out = orrery(&args);
        serde_json::from_slice::<serde_json::Value>(&out.stdout).unwrap()["training"]["step_time_s"].as_f64().unwrap()
    };
    let plain = step(&[]);
    assert!(step(&["training.recompute=full"]) > 1.2 * plain);
    assert!(step(&["training.global_batch=3072"]) > 1.9 * plain);
    assert!(step(&["nodes=256", "training.parallel.data=32"]) < plain);
}

#[test]
fn catalogue_lists_parse() {
    for kind in ["accelerators", "models", "nics", "switches", "hosts", "links", "storage", "prices", "stacks", "engines"] {
        let out = orrery(&["catalog", kind, "--json"]);
        let list: serde_json::Value = serde_json::from_slice(&out.stdout).unwrap();
        for entry in list.as_array().unwrap() {
            assert!(entry["source"].as_str().is_some_and(|s| s.len() > 5), "{kind}: {entry} has no source");
        }
        assert!(!orrery(&["catalog", kind]).stdout.is_empty());
    }
}

#[test]
fn reports_are_written_whole_or_not_at_all() {
    let folder = tempfile::tempdir().unwrap();
    let out = folder.path().join("report");
    let run = orrery(&["run", "--out", out.to_str().unwrap(), "--timeline", folder.path().join("t.json").to_str().unwrap()]);
    assert_eq!(run.status.code(), Some(0), "{}", text(&run.stderr));
    let mut names: Vec<String> = std::fs::read_dir(&out).unwrap().map(|e| e.unwrap().file_name().into_string().unwrap()).collect();
    names.sort();
    assert_eq!(names, ["breakdown.csv", "memory.csv", "outcome.json", "report.html", "timeline.json"]);
    let page = std::fs::read_to_string(out.join("report.html")).unwrap();
    assert!(!page.contains("src=\"http") && !page.contains("href=\"http") && !page.contains("<script"));
    let trace: serde_json::Value = serde_json::from_str(&std::fs::read_to_string(out.join("timeline.json")).unwrap()).unwrap();
    assert!(trace["traceEvents"].as_array().unwrap().len() > 8_000);
    let file = folder.path().join("file");
    std::fs::write(&file, "x").unwrap();
    let refused = orrery(&["run", "--out", file.join("below").to_str().unwrap()]);
    assert_eq!(refused.status.code(), Some(2));
    assert!(text(&refused.stderr).contains("E0004") && refused.stdout.is_empty());
}

#[test]
fn explain_names_sources() {
    let out = orrery(&["run", "--explain"]);
    let said = text(&out.stdout);
    for part in ["matrix products: a100-sxm-80gb.gemm bf16 (mean of 3; 754 points, cross-validated error", "sustained clocks:", "±8 %"] {
        assert!(said.contains(part), "{part} is not in {said}");
    }
    assert!(text(&orrery(&["explain", "e0401"]).stdout).starts_with("# E0401: "));
    assert_eq!(orrery(&["explain", "E9999"]).status.code(), Some(2));
}

/// Measurements become a profile, and a scenario that names it takes it; one that it cannot serve refuses it.
#[test]
fn a_fitted_profile_serves_a_scenario() {
    let folder = tempfile::tempdir().unwrap();
    let at = |name: &str| folder.path().join(name).to_str().unwrap().to_owned();
    let table = std::fs::read_to_string(root().join("tests/validation/gemm.csv")).unwrap();
    let few: Vec<String> = table
        .lines()
        .enumerate()
        .filter(|(i, l)| *i == 0 || (l.contains("vllm-0.14.0,a100-sxm-80gb") && i % 4 == 0))
        .map(|(i, l)| {
            // A device at half the speed of the measured one: every time doubled.
            let (head, time) = l.rsplit_once(',').unwrap();
            if i == 0 { l.to_owned() } else { format!("{head},{}", 2.0 * time.parse::<f64>().unwrap()) }
        })
        .collect();
    std::fs::write(at("slow.csv"), few.join("\n")).unwrap();
    let fitted = orrery(&["calibrate", "fit", &at("slow.csv"), "--out", &at("slow.toml")]);
    assert_eq!(fitted.status.code(), Some(0), "{}", text(&fitted.stderr));
    assert!(text(&fitted.stdout).contains("a100-sxm-80gb gemm bf16 vllm-0.14.0"));
    assert_eq!(orrery(&["check", &at("slow.toml")]).status.code(), Some(0));
    let scenario = "scenarios/training/gpt3-175b-a100-1024.toml";
    let matrix = |args: &[&str]| {
        let out = orrery(args);
        assert_eq!(out.status.code(), Some(0), "{}", text(&out.stderr));
        let said = text(&out.stdout).to_owned();
        let line = said.lines().find(|l| l.contains("matrix products, forward:")).unwrap().trim().to_owned();
        line.split(' ').nth(3).unwrap().parse::<f64>().unwrap()
    };
    let shipped = matrix(&["run", scenario, "--explain"]);
    let profile = format!("profile=\"{}\"", at("slow.toml"));
    let own = matrix(&["run", scenario, "--explain", "--set", &profile]);
    assert!((1.7..2.3).contains(&(own / shipped)), "{own} against {shipped}");
    let hopper = std::fs::read_to_string(at("slow.toml")).unwrap().replace("a100-sxm-80gb", "h100-sxm").replace("ampere", "hopper");
    std::fs::write(at("other.toml"), hopper).unwrap();
    let refused = orrery(&["run", scenario, "--set", &format!("profile=\"{}\"", at("other.toml"))]);
    assert_eq!(refused.status.code(), Some(2));
    assert!(text(&refused.stderr).contains("nothing in this profile serves"), "{}", text(&refused.stderr));
    let missing = orrery(&["run", scenario, "--set", "profile=\"no-such.toml\""]);
    assert!(missing.status.code() == Some(2) && text(&missing.stderr).contains("E0001"));
    let nothing = orrery(&["calibrate", "fit", "tests/it/bad/table.csv", "--out", &at("x.toml")]);
    assert_eq!(nothing.status.code(), Some(2));
}

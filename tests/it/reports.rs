//! The sample reports and the validation pages under `reports/` are what the program writes today.

use super::{orrery, root};
use std::path::Path;

fn same(have: &Path, want: &Path) {
    for entry in std::fs::read_dir(have).unwrap() {
        let path = entry.unwrap().path();
        let name = path.file_name().unwrap();
        let wanted = std::fs::read(want.join(name)).unwrap_or_else(|e| panic!("{}: {e}", name.display()));
        assert!(std::fs::read(&path).unwrap() == wanted, "{} is out of date: reports/regenerate", path.display());
    }
}

#[test]
fn sample_plans_are_current() {
    let mut count = 0;
    for entry in std::fs::read_dir(root().join("reports/plan")).unwrap() {
        let folder = entry.unwrap().path();
        let name = folder.file_name().unwrap().to_str().unwrap();
        let out = tempfile::tempdir().unwrap();
        orrery(&["plan", &format!("scenarios/plan/{name}.toml"), "--out", out.path().to_str().unwrap()]);
        same(&folder, out.path());
        count += 1;
    }
    assert!(count >= 3);
}

/// Phases, rent or buy, N+1, delivery and limits of the site stand in the pages of plans that ask for them.
#[test]
fn what_buyers_ask_is_in_the_pages() {
    let page = |name: &str| std::fs::read_to_string(root().join("reports/plan").join(name).join("report.html")).unwrap();
    let growing = page("serve-llama-8b-growing");
    for words in
        ["Purchases while demand grows", "In phases", "Rent or buy:", "with one node down", "order to delivery", ">racks<", "at once;"]
    {
        assert!(growing.contains(words), "{words}");
    }
    let site = page("train-70b-on-site");
    for words in ["the site cannot take it: power with cooling", "more than the site can take", "a rack holds"] {
        assert!(site.contains(words), "{words}");
    }
    assert!(page("infeasible-175b-10-days").contains("What is in the way"));
}

#[test]
fn the_sample_comparison_is_current_and_quantifies_every_aspect() {
    let out = tempfile::tempdir().unwrap();
    let pair = ["scenarios/compare/traditional-bert.toml", "scenarios/compare/ai-cluster-bert.toml"];
    let run = orrery(&["compare", pair[0], pair[1], "--out", out.path().to_str().unwrap()]);
    assert!(run.status.success(), "{}", String::from_utf8_lossy(&run.stderr));
    same(&root().join("reports/compare/traditional-against-ai"), out.path());
    let json: serde_json::Value = serde_json::from_slice(&std::fs::read(out.path().join("compare.json")).unwrap()).unwrap();
    let aspects: std::collections::BTreeSet<&str> =
        json["rows"].as_array().unwrap().iter().map(|r| r["aspect"].as_str().unwrap()).collect();
    for aspect in ["compute unit", "compute pattern", "network", "storage", "scheduling", "recovery", "software", "result"] {
        assert!(aspects.contains(aspect), "nothing about {aspect}");
    }
    // The causes lead from the first time to the other without a gap.
    let steps = json["causes"][0]["steps"].as_array().unwrap();
    let time = |step: &serde_json::Value, i: usize| step["seconds"][i].as_f64().unwrap();
    assert!(steps.len() >= 4 && steps.windows(2).all(|w| time(&w[0], 1) == time(&w[1], 0)), "{steps:?}");
    let result = |i: usize| {
        let rows = json["rows"].as_array().unwrap();
        let row = rows.iter().find(|r| r["what"] == "time of the run").unwrap();
        row["figures"][i]["value"].as_f64().unwrap()
    };
    assert!((time(&steps[0], 0) / result(0) - 1.0).abs() < 1e-9);
    assert!((time(&steps[steps.len() - 1], 1) / result(1) - 1.0).abs() < 1e-9, "{steps:?}");
}

#[test]
fn validation_pages_are_current() {
    for kind in ["training", "training_other", "training_partial"] {
        let folder = tempfile::tempdir().unwrap();
        let table = format!("tests/validation/{kind}.csv");
        let out = orrery(&["validate", "training", &table, "--out", folder.path().to_str().unwrap()]);
        assert!(out.status.success(), "{}", String::from_utf8_lossy(&out.stderr));
        for page in ["report.html", "report.md"] {
            let want = std::fs::read_to_string(folder.path().join(page)).unwrap();
            let have = std::fs::read_to_string(root().join("reports/validation").join(kind).join(page)).unwrap_or_default();
            assert!(have == want, "reports/validation/{kind}/{page} is out of date: run .ci/reports");
            for word in ["src=\"http", "href=\"http", "/tmp", "<script"] {
                assert!(!have.contains(word), "{word} in {page}");
            }
        }
    }
}

/// The scenario in a report's appendix gives the report's own numbers.
#[test]
fn the_scenario_of_an_answer_runs_to_the_same_numbers() {
    let work = tempfile::tempdir().unwrap();
    let mut count = 0;
    for entry in std::fs::read_dir(root().join("reports/plan")).unwrap() {
        let plan: serde_json::Value = serde_json::from_slice(&std::fs::read(entry.unwrap().path().join("plan.json")).unwrap()).unwrap();
        let Some(text) = plan["scenario"].as_str() else { continue };
        // Paths are relative to the folder of the plan.
        let text = text.replace("\"../", &format!("\"{}/scenarios/", root().display()));
        let path = work.path().join("again.toml");
        std::fs::write(&path, text).unwrap();
        let out = orrery(&["run", path.to_str().unwrap(), "--json"]);
        let again: serde_json::Value =
            serde_json::from_slice(&out.stdout).unwrap_or_else(|e| panic!("{e}: {}", String::from_utf8_lossy(&out.stderr)));
        let (have, want) = match plan["best"].get("serving") {
            Some(_) => (&again["serving"]["tpot_s"]["p99"], &plan["service"]["ordinary"]["tpot_s"]["p99"]),
            None => (&again["training"]["step_time_s"], &plan["best"]["step_time_s"]),
        };
        assert_eq!(have, want);
        count += 1;
    }
    assert!(count >= 3);
}

#[test]
fn dashboards_ask_for_metrics_that_are_written() {
    let mut names = std::collections::BTreeSet::new();
    for file in [
        "scenarios/fleet/services-and-training.toml",
        "scenarios/faults/llama3-405b-54-days.toml",
        "scenarios/serving/autoscaling-cold-start.toml",
    ] {
        let mut diags = orrery::diag::Diagnostics::new();
        let scenario = orrery::scenario::load(&root().join(file), &[], None, &mut diags).unwrap();
        let outcome = orrery::scenario::execute(&scenario, 600.0, &|| 0.0).unwrap_or_else(|e| panic!("{file}: {e}"));
        let text = orrery::report::openmetrics(&outcome).unwrap();
        assert!(text.ends_with("# EOF\n") && !text.contains("NaN") && !text.contains("inf "), "{file}");
        // All samples of a family stand together, behind its head.
        let mut seen = std::collections::BTreeSet::new();
        let mut family = String::new();
        for line in text.lines() {
            if let Some(rest) = line.strip_prefix("# TYPE ") {
                family = rest.split(' ').next().unwrap().to_owned();
                assert!(seen.insert(family.clone()), "{file}: {family} comes twice");
            } else if !line.starts_with('#') {
                let name = line.split(['{', ' ']).next().unwrap();
                assert!(name == family || name == format!("{family}_total"), "{file}: {line}");
                names.insert(name.to_owned());
            }
        }
    }
    for dashboard in ["grafana-fleet.json", "grafana-job.json"] {
        let text = std::fs::read_to_string(root().join("docs/formats").join(dashboard)).unwrap();
        let json: serde_json::Value = serde_json::from_str(&text).unwrap();
        let panels = json["panels"].as_array().unwrap();
        assert!(panels.len() >= 4, "{dashboard}");
        for target in panels.iter().flat_map(|p| p["targets"].as_array().unwrap()) {
            let expr = target["expr"].as_str().unwrap();
            assert!(names.iter().any(|n| expr.contains(n.as_str())), "{dashboard}: nothing writes `{expr}`");
        }
    }
}

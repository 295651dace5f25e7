//! The JSON contract over every shipped scenario, and the same bytes on any number of threads.

use super::{files, root};
use serde_json::Value;

fn run(path: &std::path::Path, threads: &str) -> Value {
    let out = std::process::Command::new(env!("CARGO_BIN_EXE_orrery"))
        .args(["run", path.to_str().unwrap(), "--json"])
        .env("RAYON_NUM_THREADS", threads)
        .current_dir(root())
        .output()
        .unwrap();
    let mut value: Value =
        serde_json::from_slice(&out.stdout).unwrap_or_else(|e| panic!("{}: {e}: {}", path.display(), String::from_utf8_lossy(&out.stderr)));
    let falls_short = path.to_string_lossy().contains("oom");
    assert_eq!(out.status.code(), Some(i32::from(falls_short)), "{}", path.display());
    value["simulation"].as_object_mut().unwrap().remove("wall_s");
    value
}

#[test]
fn shipped_scenarios_keep_the_contract() {
    let mut trained = 0;
    let many = |path: &std::path::PathBuf| ["plan", "sweep"].iter().any(|f| path.parent().is_some_and(|p| p.ends_with(f)));
    for path in files("scenarios", ".toml").into_iter().filter(|p| !many(p)) {
        let one = run(&path, "1");
        assert_eq!(one, run(&path, "8"), "{}: threads change the result", path.display());
        let kind = one["kind"].as_str().unwrap();
        assert!(one.get(kind).is_some() && one["orrery"]["scenario_hash"].as_str().is_some_and(|h| h.len() == 16));
        let Some(training) = one.get("training") else { continue };
        trained += 1;
        let step = training["step_time_s"].as_f64().unwrap();
        let parts = training["breakdown_s"].as_object().unwrap();
        assert_eq!(parts.len(), 12);
        let sum: f64 = parts.values().map(|v| v.as_f64().unwrap()).sum();
        assert!((sum - step).abs() <= 1e-9 * step, "{}: {sum} against {step}", path.display());
        assert!(parts.values().all(|v| v.as_f64().unwrap() >= 0.0), "{}: a part is negative", path.display());
        let (mfu, hfu) = (training["mfu"].as_f64().unwrap(), training["hfu"].as_f64().unwrap());
        // Gigabit Ethernet leaves little of a traditional machine room's compute.
        let least = if path.ends_with("compare/traditional-bert.toml") { 0.05 } else { 0.15 };
        assert!(mfu > least && mfu <= hfu && hfu < 1.0, "{}: mfu {mfu}, hfu {hfu}", path.display());
        assert!(one["cost"]["usd_total"].as_f64().unwrap() > 0.0);
    }
    assert!(trained >= 10);
}

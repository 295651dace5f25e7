//! Scenarios of collectives and flows: what they answer, and what they refuse.

use super::orrery;
use orrery::diag::{Diagnostics, Style, render};
use orrery::scenario::load_text;

/// A scenario on four boxes of H100, or on the plain tree of 128 hosts, with some keys of `[collective]`.
fn load(tree: bool, keys: &str) -> Result<orrery::scenario::Scenario, String> {
    let topology = if tree { "../../topologies/fat-tree-128-plain.toml\"" } else { "../../topologies/dgx-h100-ndr.toml\"\nnodes = 4" };
    let text = format!("title = \"t\"\ntopology = \"{topology}\n[collective]\n{keys}\n");
    let mut diags = Diagnostics::new();
    let loaded = load_text("scenarios/collective/t.toml", &text, &[], None, &mut diags);
    loaded.ok_or_else(|| render(&diags, Style::Plain))
}

const TOKENS: &str = "[collective.tokens]\nhidden = 7168\nexperts = 256\nper_token = 8\n";

#[test]
fn what_does_nothing_is_refused() {
    let tokens = |keys: &str, more: &str| load(false, &format!("{keys}\n{TOKENS}{more}")).err().unwrap();
    let plain = |tree: bool, keys: &str| load(tree, keys).err().unwrap();
    let all = [
        plain(false, "op = \"dispatch\""),
        tokens("op = \"all_reduce\"", ""),
        tokens("op = \"dispatch\"\nmin_bytes = \"1 KiB\"\nengine = \"vllm\"", ""),
        tokens("op = \"combine\"\nalgorithm = \"low_latency\"", "compute_units = 24"),
        tokens("op = \"dispatch\"", "groups = 8"),
        tokens("op = \"dispatch\"", "groups = 7\ngroups_per_token = 4"),
        tokens("op = \"dispatch\"", "dispatch_bits = 4\nmin_tokens = 9\nmax_tokens = 8"),
        tokens("op = \"dispatch\"\nalgorithm = \"ring\"", ""),
        plain(false, "op = \"dispatch\"\n[collective.tokens]\nhidden = 7168\nexperts = 100\nper_token = 101"),
        plain(false, "[[collective.beside]]\nop = \"combine\"\nbytes = \"1 GB\"\nranks = 8"),
        plain(false, "op = \"all_to_all\"\nprotocol = \"LL\""),
        plain(false, "ranks = 8\nchannels = 8\nexplicit = true"),
        plain(false, "ranks = 8\nprotocol = \"LL\"\nengine = \"vllm\""),
        plain(false, "[collective.congestion]\ncontrol = \"dcqcn\""),
        plain(false, "pattern = \"incast\"\n[collective.congestion]"),
        plain(true, "pattern = \"incast\"\nwindow = \"1 MB\"\n[collective.congestion]"),
        plain(true, "pattern = \"incast\"\n[collective.congestion]\nreaction = \"9 us\""),
    ];
    insta::assert_snapshot!(all.join("\n"));
}

#[test]
fn more_messages_than_memory_holds_are_refused() {
    let many = |nodes: u32| {
        let text = format!(
            "title = \"t\"\ntopology = \"../../topologies/dgx-h100-ndr.toml\"\nnodes = {nodes}\n[collective]\nalgorithm = \"ring\"\nexplicit = true\nmin_bytes = \"1 GiB\"\n"
        );
        let mut diags = Diagnostics::new();
        load_text("scenarios/collective/t.toml", &text, &[], None, &mut diags).is_none().then(|| render(&diags, Style::Plain))
    };
    assert_eq!(many(2), None);
    assert!(many(512).is_some_and(|e| e.contains("up to 2.7e8 messages")));
}

#[test]
fn marks_lead_from_pauses_to_fair_shares() {
    let last = |congestion: &str| {
        let keys = format!("pattern = \"incast\"\nranks = 17\nmin_bytes = \"2 MB\"\nmax_bytes = \"2 MB\"\n{congestion}");
        let scenario = load(true, &keys).unwrap_or_else(|e| panic!("{e}"));
        let outcome = orrery::scenario::execute(&scenario, 100.0, &|| 0.0).unwrap();
        outcome.collective.unwrap()[0].flows.clone().unwrap()
    };
    let (fair, pauses) = (last(""), last("[collective.congestion]"));
    // The last bytes leave one port at line rate whoever they belong to; pauses only favour some.
    assert!((pauses.max_s / fair.max_s - 1.0).abs() < 0.01, "{} and {}", pauses.max_s, fair.max_s);
    assert!(pauses.min_s < 0.7 * fair.min_s && pauses.mean_s < fair.mean_s);
    let marks = |us: f64| last(&format!("[collective.congestion]\ncontrol = \"dcqcn\"\nreaction = \"{us} us\"")).mean_s;
    assert!((marks(0.001) / fair.mean_s - 1.0).abs() < 1e-2, "some start a few microseconds before others");
    assert!(marks(50.0) < fair.mean_s && marks(50.0) > pauses.mean_s, "the sooner marks act, the fairer");
    assert!((marks(1e6) / pauses.mean_s - 1.0).abs() < 1e-9);
}

#[test]
fn the_command_prints_tokens() {
    let args = ["collective", "topologies/dgx-h100-ndr.toml", "--op", "dispatch", "--ranks", "0-31", "--routing"];
    let out = orrery(&[&args[..], &["hidden=7168,experts=256,per_token=8,min_tokens=64,max_tokens=4096"]].concat());
    let shown = String::from_utf8_lossy(&out.stdout).into_owned();
    assert_eq!(out.status.code(), Some(0), "{}", String::from_utf8_lossy(&out.stderr));
    assert!(shown.contains("tokens") && shown.contains("low_latency") && shown.contains("one_copy"), "{shown}");
    for wrong in [
        &["collective", "topologies/dgx-h100-ndr.toml", "--op", "dispatch"][..],
        &["collective", "topologies/dgx-h100-ndr.toml", "--op", "all_reduce", "--routing", "hidden=1,experts=32,per_token=1"],
        &[
            "collective",
            "topologies/dgx-h100-ndr.toml",
            "--op",
            "combine",
            "--bytes",
            "1MiB",
            "--routing",
            "hidden=1,experts=32,per_token=1",
        ],
        &["collective", "topologies/dgx-h100-ndr.toml", "--op", "combine", "--ranks", "0-7", "--routing", "hidden=0,experts=9,per_token=1"],
        &["collective", "topologies/dgx-h100-ndr.toml", "--op", "all_reduce", "--protocol", "LL64"],
        &["collective", "topologies/dgx-h100-ndr.toml", "--op", "all_to_all", "--protocol", "LL"],
        &["collective", "topologies/dgx-h100-ndr.toml", "--op", "all_reduce", "--channels", "0"],
        &["collective", "topologies/dgx-h100-ndr.toml", "--op", "all_reduce", "--channels", "8", "--engine", "vllm"],
    ] {
        let out = orrery(wrong);
        assert_eq!(out.status.code(), Some(2), "{wrong:?}");
        assert!(!out.stderr.is_empty() && out.stdout.is_empty(), "{wrong:?}");
    }
    let out =
        orrery(&["collective", "topologies/dgx-h100-ndr.toml", "--op", "all_reduce", "--ranks", "0-7", "--protocol", "LL128", "--json"]);
    let json: serde_json::Value = serde_json::from_slice(&out.stdout).unwrap();
    let list = json[0]["collective"].as_array().or_else(|| json["collective"].as_array()).unwrap();
    assert!(list.iter().all(|c| c["protocol"] == "LL128" && c["algorithm"] == "ring"));
}

/// Published listings of several nodes: most of their sources no constant saw.
#[test]
fn several_nodes_are_predicted() {
    let table = "tests/validation/collective_across.csv";
    let out = orrery(&["validate", "collective", table, "--bound", "median=0.13,p90=0.5", "--json"]);
    assert!(out.status.success(), "{}", String::from_utf8_lossy(&out.stderr));
    let answer: serde_json::Value = serde_json::from_slice(&out.stdout).unwrap();
    assert_eq!(answer["summary"]["skipped"], 0);
    // Bulk all-reduces over InfiniBand and RoCE.
    let text = std::fs::read_to_string(super::root().join(table)).unwrap();
    let bulk = |line: &str| {
        let cells: Vec<&str> = line.split(',').collect();
        ["infiniband", "roce"].contains(&cells[7]) && cells[13] == "all_reduce" && cells[14].parse::<f64>().unwrap_or(0.0) > 6e7
    };
    let ids: std::collections::HashSet<&str> = text.lines().filter(|l| bulk(l)).filter_map(|l| l.split(',').next()).collect();
    let of = |row: &serde_json::Value| ids.contains(row["id"].as_str().unwrap()).then(|| row["error"].as_f64().unwrap().abs());
    let mut errors: Vec<f64> = answer["rows"].as_array().unwrap().iter().filter_map(of).collect();
    errors.sort_by(f64::total_cmp);
    assert!(errors.len() > 200 && errors[errors.len() / 2] < 0.04, "{} rows, {}", errors.len(), errors[errors.len() / 2]);
}

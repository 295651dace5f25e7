//! Models from `config.json`, hybrids and networks of blocks: same answers as presets, faults with their place, keys that do nothing.

use super::{orrery, placeless, root};
use orrery::diag::{Diagnostics, Style, render};
use orrery::scenario::load_text;

const TRAINING: &str = r#"title = "t"
topology = "../../topologies/dgx-h100-ndr.toml"
nodes = 1
[training]
global_batch = 16
[training.model]
preset = "llama-3.1-8b"
sequence_length = 4096
[training.parallel]
tensor = 2
"#;

fn load(text: &str) -> Result<(), String> {
    let mut diags = Diagnostics::new();
    match load_text("scenarios/training/t.toml", text, &[], None, &mut diags) {
        Some(_) => Ok(()),
        None => Err(render(&diags, Style::Plain)),
    }
}

fn json(args: &[&str]) -> serde_json::Value {
    let out = orrery(args);
    serde_json::from_slice(&out.stdout).unwrap_or_else(|e| panic!("{args:?}: {e}: {}", String::from_utf8_lossy(&out.stderr)))
}

#[test]
fn a_config_gives_the_answer_of_its_preset() {
    let base = "scenarios/training/llama-3.1-8b-config-h100-8.toml";
    let of = |set: &[&str]| {
        let mut args = vec!["run", base, "--json"];
        set.iter().for_each(|s| args.extend(["--set", s]));
        json(&args)["training"]["step_time_s"].as_f64().unwrap()
    };
    let model = "training.model={preset = \"llama-3.1-8b\", sequence_length = 8192}";
    assert_eq!(of(&[]), of(&[model]));
    // A size beside the file replaces that of the file.
    assert!(of(&["training.model.layers=16"]) < 0.6 * of(&[]));

    let served = "scenarios/serving/llama-8b-l4.toml";
    let config = "serving.model={config = \"scenarios/models/llama-3.1-8b.json\"}";
    let fewer = "serving.traffic.requests=50";
    let preset = json(&["run", served, "--json", "--set", fewer]);
    let own = json(&["run", served, "--json", "--set", fewer, "--set", config]);
    assert_eq!(preset["serving"]["ttft_s"], own["serving"]["ttft_s"]);
}

#[test]
fn configs_serve_sweeps_and_plans() {
    let folder = tempfile::tempdir().unwrap();
    let write = |name: &str, text: &str| {
        let path = folder.path().join(name);
        std::fs::write(&path, text).unwrap();
        path.to_str().unwrap().to_owned()
    };
    let models = root().join("scenarios/models");
    let base = root().join("scenarios/training/llama-3.1-8b-config-h100-8.toml");
    let sweep = write(
        "sweep.toml",
        &format!(
            "title = \"t\"\nbase = \"{}\"\ncolumns = [\"training.step_time_s\"]\n[[axis]]\nkey = \"training.model.config\"\nvalues = [\"{m}/llama-3.1-8b.json\", \"{m}/qwen3-8b.json\", \"{m}/none.json\"]\n",
            base.display(),
            m = models.display()
        ),
    );
    let out = folder.path().join("out");
    assert!(orrery(&["sweep", "run", &sweep, "--out", out.to_str().unwrap()]).status.success());
    let results = std::fs::read_to_string(out.join("results.csv")).unwrap();
    assert_eq!(results.lines().count(), 4);
    assert_eq!(results.matches("there is no such file").count(), 1, "{results}");

    let plan = write("plan.toml", &format!("title = \"t\"\nbase = \"{}\"\n[goal]\nkind = \"layout\"\n", base.display()));
    let answer = json(&["plan", &plan, "--json"]);
    assert!(answer["best"]["step_time_s"].as_f64().unwrap() > 0.0);
}

#[test]
fn faults_of_a_config_have_their_place() {
    let folder = tempfile::tempdir().unwrap();
    let said = |config: &str| {
        let path = folder.path().join("config.json");
        std::fs::write(&path, config).unwrap();
        let model = format!("config = \"{}\"", path.display());
        placeless(&load(&TRAINING.replace("preset = \"llama-3.1-8b\"", &model)).unwrap_err(), folder.path())
    };
    let good = std::fs::read_to_string(root().join("scenarios/models/llama-3.1-8b.json")).unwrap();
    let cases: [(String, &[&str]); 6] = [
        (good.replace("\"hidden_size\": 4096,", "\"hidden_size\": 4096"), &["E0101", "FOLDER/config.json:4:3", "expected `,` or `}`"]),
        (good.replace("  \"hidden_size\": 4096,\n", ""), &["E0103", "`hidden_size` is missing", "FOLDER/config.json"]),
        (good.replace("\"llama\"", "\"lama\""), &["E0204", "did you mean \"llama\"?"]),
        (good.replace("4096", "4096.5"), &["E0202", "whole number"]),
        (good.replace("\"num_key_value_heads\": 8", "\"num_key_value_heads\": 7"), &["E0402", "cannot share 7"]),
        (good.replace("14336", "1e30"), &["E0202"]),
    ];
    for (config, words) in cases {
        let text = said(&config);
        for word in words {
            assert!(text.contains(word), "`{word}` is not in: {text}");
        }
    }
    let both = TRAINING.replace("preset =", "config = \"../models/llama-3.1-8b.json\"\npreset =");
    assert!(load(&both).unwrap_err().contains("not both"));
}

#[test]
fn keys_that_do_nothing_are_refused() {
    assert_eq!(load(TRAINING), Ok(()));
    let preset = "preset = \"llama-3.1-8b\"\nsequence_length = 4096";
    for (from, to, word) in [
        (preset, "preset = \"t5-11b\"", "data parallelism only"),
        (preset, "preset = \"nemotron-h-8b\"\nlayers = 8", "part of this model"),
        (preset, "preset = \"jamba-v0.1\"\nexperts_every = 40", "no layer of 32 has experts"),
        (preset, "preset = \"llama-3.1-8b\"\nexperts_every = 2", "does nothing without `experts`"),
        ("preset = \"llama-3.1-8b\"", "preset = \"nemotron-h-8b\"", ""),
        ("global_batch = 16", "global_batch = 16\ncuda_graphs = true\nstack = \"mlperf-2024\"", "captures its passes"),
        ("global_batch = 16", "global_batch = 16\noptimizer = \"adamm\"", "did you mean \"adam\"?"),
        ("global_batch = 16", "global_batch = 16\nrecompute = \"full\"\nrecompute_layers = 8", ""),
        ("global_batch = 16", "global_batch = 16\nrecompute_layers = 8", "set recompute = \"full\""),
        ("global_batch = 16", "global_batch = 16\nrecompute = \"full\"\nrecompute_layers = 33", "32 layers, fewer than 33"),
        ("tensor = 2", "tensor = 2\ncontext_exchange = \"gather\"", "nothing without context"),
        ("tensor = 2", "context = 2\ncontext_exchange = \"all-to-all\"", ""),
        (
            "4096\n[training.parallel]\ntensor = 2",
            "4096\nkv_heads = 4\n[training.parallel]\ncontext = 8\ncontext_exchange = \"all-to-all\"",
            "4 key-value heads over tensor = 1",
        ),
    ] {
        match load(&TRAINING.replace(from, to)) {
            Ok(()) => assert_eq!(word, "", "{to} was taken"),
            Err(said) => assert!(!word.is_empty() && said.contains(word), "{to}: `{word}` is not in: {said}"),
        }
    }
    let hybrid = TRAINING.replace("preset = \"llama-3.1-8b\"", "preset = \"nemotron-h-8b\"").replace("tensor = 2", "context = 2");
    assert!(load(&hybrid).unwrap_err().contains("over context ranks"));
}

/// Fewer launches and fewer bytes are never slower.
#[test]
fn graphs_and_optimizers() {
    let base = "scenarios/training/vit-h-14-a100-8.toml";
    let of = |set: &str| {
        let mut args = vec!["run", base, "--json"];
        if !set.is_empty() {
            args.extend(["--set", set]);
        }
        json(&args)["training"].clone()
    };
    let plain = of("");
    let (time, optimizer) = (plain["step_time_s"].as_f64().unwrap(), plain["memory_bytes"]["optimizer"].as_f64().unwrap());
    assert!(of("training.cuda_graphs=true")["step_time_s"].as_f64().unwrap() <= time);
    for (word, bytes) in [("adam-8bit", 6.0), ("lamb", 12.0), ("momentum", 8.0), ("sgd", 4.0)] {
        let other = of(&format!("training.optimizer={word}"));
        assert!((other["memory_bytes"]["optimizer"].as_f64().unwrap() / optimizer * 12.0 - bytes).abs() < 1e-9, "{word}");
        let faster = other["step_time_s"].as_f64().unwrap() < time;
        assert_eq!(faster, word != "lamb", "{word}");
    }
}

//! One bad input for every code, with its rendered text.

use super::{files, orrery, placeless, root};
use orrery::diag::{Diagnostics, Style, codes, render};
use orrery::scenario::load_text;

const GOOD: &str = r#"title = "good"
topology = "../../topologies/dgx-a100-hdr.toml"
nodes = 2
[training]
global_batch = 16
[training.model]
preset = "llama-2-7b"
[training.parallel]
tensor = 2
"#;

/// What a scenario says when `from` is replaced by `to`.
fn said(from: &str, to: &str) -> String {
    assert!(GOOD.contains(from), "{from}");
    let mut diags = Diagnostics::new();
    let text = GOOD.replace(from, to);
    let loaded = load_text("scenarios/training/bad.toml", &text, &[], None, &mut diags);
    assert!(loaded.is_none() && diags.has_errors(), "{to} was taken");
    render(&diags, Style::Plain)
}

fn check(code: &str, text: &str) {
    assert!(text.contains(code), "{code} is not in: {text}");
    insta::with_settings!({prepend_module_to_snapshot => false, snapshot_path => "errors"}, { insta::assert_snapshot!(code, text) });
}

#[test]
fn the_good_one_is_good() {
    let mut diags = Diagnostics::new();
    assert!(load_text("scenarios/training/good.toml", GOOD, &[], None, &mut diags).is_some(), "{}", render(&diags, Style::Plain));
}

#[test]
fn scenarios_and_topologies() {
    for (code, from, to) in [
        ("E0001", "dgx-a100-hdr", "no-such-file"),
        ("E0101", "nodes = 2", "nodes = = 2\nx = \"unclosed"),
        ("E0102", "global_batch", "global_bach"),
        ("E0103", "preset = \"llama-2-7b\"", "layers = 4"),
        ("E0104", "global_batch = 16", "global_batch = [16]"),
        ("E0105", "global_batch = 16", "global_batch = 16\nrecompute = \"fully\""),
        ("E0106", "nodes = 2", "nodes = 2\nformat = 7"),
        ("E0201", "[training]", "[cost]\nrent = 2.95\n[training]"),
        ("E0202", "global_batch = 16", "global_batch = -16"),
        ("E0204", "llama-2-7b", "llama-2-7bb"),
        ("E0205", "tensor = 2", "tensor = 2\nvirtual_stages = 2"),
        ("E0401", "tensor = 2", "tensor = 2\ndata = 16"),
        ("E0402", "preset = \"llama-2-7b\"", "preset = \"llama-2-7b\"\nheads = 31\nhead_dim = 128"),
        ("E0403", "tensor = 2", "pipeline = 16"),
        ("E0404", "global_batch = 16", "global_batch = 17"),
        ("E0405", "tensor = 2", "pipeline = 2"),
        ("E0406", "tensor = 2", "tensor = 1"),
    ] {
        let text = match code {
            "E0403" => stages(),
            "E0405" => sharded_stages(),
            "E0406" => no_room(),
            _ => said(from, to),
        };
        check(code, &text);
    }
}

/// More stages than layers.
fn stages() -> String {
    let mut diags = Diagnostics::new();
    let text = GOOD.replace("tensor = 2", "pipeline = 16").replace("preset = \"llama-2-7b\"", "preset = \"llama-2-7b\"\nlayers = 4");
    assert!(load_text("scenarios/training/bad.toml", &text, &[], None, &mut diags).is_none());
    render(&diags, Style::Plain)
}

/// Weights that are gathered layer by layer under a schedule that splits backward passes.
fn sharded_stages() -> String {
    said_with("framework = \"torchtitan\"\nsharding = \"weights\"", "pipeline = 2\nschedule = \"zb-v\"")
}

/// Weights of 16 bit on one accelerator that they do not fit.
fn no_room() -> String {
    let mut diags = Diagnostics::new();
    let text = "title = \"bad\"\ntopology = \"../../topologies/l40s-pcie.toml\"\nnodes = 1\n[serving]\nengine = \"vllm\"\n[serving.model]\npreset = \"llama-3.1-70b\"\n\
                [serving.parallel]\ntensor = 1\n[serving.traffic]\nkind = \"poisson\"\nrequests_per_s = 1\nrequests = 10\ninput = 100\noutput = 10\n";
    assert!(load_text("scenarios/serving/bad.toml", text, &[], None, &mut diags).is_none());
    render(&diags, Style::Plain)
}

/// What the good scenario says with other keys of training and of the layout.
fn said_with(training: &str, parallel: &str) -> String {
    let mut diags = Diagnostics::new();
    let text = GOOD.replace("tensor = 2", parallel).replace("[training]\n", &format!("[training]\n{training}\n"));
    assert!(load_text("scenarios/training/bad.toml", &text, &[], None, &mut diags).is_none(), "{training} {parallel} was taken");
    render(&diags, Style::Plain)
}

/// Schedules, shares, offload and tensor fusion where they do nothing or cannot be.
#[test]
fn combinations_of_training() {
    let text: String = [
        ("", "schedule = \"zb-v\""),
        ("", "pipeline = 2\nvirtual_stages = 4\nschedule = \"zb-v\""),
        ("", "pipeline = 2\nvirtual_stages = 2\nschedule = \"gpipe\""),
        ("", "pipeline = 1\nschedule = \"dualpipe\""),
        ("", "pipeline = 4\ndata = 4\nschedule = \"dualpipe\""),
        ("shard_group = 2", "pipeline = 2\ntensor = 4\nschedule = \"dualpipe\""),
        ("", "pipeline = 2\nschedule = \"dualpipe\"\nfirst_stage_layers = 15"),
        ("", "pipeline = 2\nstage_layers = [16, 15]"),
        ("", "pipeline = 2\nstage_layers = [16, 16]\nlast_stage_layers = 16"),
        ("batch_shares = [8, 9]", "tensor = 8"),
        ("batch_shares = [7, 9]\nmicrobatch = 2", "tensor = 8"),
        ("batch_shares = [7, 9]\nframework = \"torchtitan\"", "tensor = 8"),
        ("offload = {}", "tensor = 8"),
        ("offload = { optimizer = \"hots\" }", "tensor = 8"),
        ("offload = { weights = \"host\" }", "tensor = 8"),
        ("offload = { activations = true }", "pipeline = 2\nschedule = \"zb-v\""),
        ("horovod = { hierarchical = true }", "tensor = 8"),
        ("framework = \"horovod\"", "tensor = 8"),
        ("framework = \"deepspeed\"\nsharding = \"weights\"", "pipeline = 2"),
    ]
    .map(|(training, parallel)| {
        format!("{} | {}\n{}\n", training.replace('\n', ", "), parallel.replace('\n', ", "), said_with(training, parallel))
    })
    .concat();
    insta::with_settings!({prepend_module_to_snapshot => false, snapshot_path => "errors"}, { insta::assert_snapshot!("training", text) });
}

#[test]
fn topologies() {
    let node = "[[node]]\nname = \"n\"\naccelerator = \"l40s\"\naccelerators = 4\nscale_up = \"pcie\"\nhost = \"pcie-8\"\n";
    let topology = |text: &str| {
        let mut diags = Diagnostics::new();
        let source = diags.add_source("topologies/bad.toml", text);
        let built = orrery::diag::Node::parse(source, &mut diags)
            .and_then(|n| <orrery::fabric::TopologyInput as orrery::diag::Decode>::decode(&n, &mut diags))
            .and_then(|t| t.build(&mut diags));
        assert!(built.is_none());
        render(&diags, Style::Plain)
    };
    check("E0203", &topology(&format!("{node}{node}[fabric]\nkind = \"none\"\n")));
    check("E0301", &topology(&format!("{node}[fabric]\nkind = \"none\"\nnodes = 2\n")));
    check("E0302", &topology(&format!("{node}nic = \"eth-25\"\nnics = 3\n[fabric]\nkind = \"none\"\n")));
}

#[test]
fn the_program() {
    let err = |args: &[&str]| {
        let out = orrery(args);
        assert_eq!(out.status.code(), Some(2), "{args:?}");
        String::from_utf8_lossy(&out.stderr).into_owned()
    };
    check("E0002", &err(&["run", "tests/it/bad/latin1.toml"]));
    check("E0004", &err(&["run", "--out", "Cargo.toml/report"]));
    let away = err(&["run", "scenarios/storage/mlperf-unet3d-h100.toml", "--mlflow", "http://127.0.0.1:1"]);
    check("E0005", &away);
    check("E0107", &err(&["run", "--set", "title.x=1"]));
    check("E0501", &err(&["run", "--max-work", "0.001", "--set", "training.global_batch=1600000"]));
    let other = tempfile::tempdir().unwrap();
    let out = other.path().join("manifest.json");
    std::fs::write(&out, "{}").unwrap();
    let text = err(&["sweep", "run", "scenarios/sweep/permutation-oversubscription.toml", "--out", other.path().to_str().unwrap()]);
    check("E0503", &text.replace(other.path().to_str().unwrap(), "FOLDER"));
    check("E0601", &err(&["validate", "gemm", "tests/it/bad/table.csv"]));
    check("E0602", &err(&["flows", "tests/it/bad/flows.json"]));
    check("E0604", &err(&["calibrate", "fit", "tests/it/bad/truncated_all_reduce.log", "--out", "none/x.toml"]));
    let synthetic = "profile=\"tests/it/bad/synthetic-profile.toml\"";
    check("E0605", &err(&["run", "scenarios/collective/a100-nccl-calibrated.toml", "--set", synthetic]));
    check("E0606", &err(&["calibrate", "probe", "--out", "none/x.jsonl", "--budget", "1 B"]));
    let folder = tempfile::tempdir().unwrap();
    let crossed = super::traces::crossed(folder.path());
    let plain = |text: String| placeless(&text, folder.path());
    check("E0502", &plain(err(&["run", &crossed])));
    std::fs::remove_file(folder.path().join("t.1.et")).unwrap();
    check("E0603", &plain(err(&["check", &crossed])));
    let large = folder.path().join("large.toml");
    std::fs::File::create(&large).unwrap().set_len((256 << 20) + 1).unwrap();
    let text = err(&["run", large.to_str().unwrap()]).replace(folder.path().to_str().unwrap(), "FOLDER");
    check("E0003", &text);
}

#[test]
fn every_code_has_a_snapshot() {
    let have: Vec<String> =
        files("tests/it/errors", ".snap").iter().map(|p| p.file_stem().unwrap().to_string_lossy().into_owned()).collect();
    for (code, _) in codes::ALL {
        assert!(have.contains(&code.0.to_owned()), "{} has no snapshot in {}", code.0, root().display());
    }
}

//! Tests of the whole: layers, documents, command line, contract, diagnostics, determinism, sweeps, plans.

mod breadth;
mod calibration;
mod cli;
mod collectives;
mod contract;
mod cuda;
mod documents;
mod errors;
mod explicit;
mod fabrics;
mod fleet;
mod folding;
mod layers;
mod layouts;
mod links;
mod manifests;
mod memory;
mod models;
mod operations;
mod packets;
mod physics;
mod plan;
mod policies;
mod repeat;
mod reports;
mod serving;
mod sweep;
mod traces;

/// Root of the package.
fn root() -> std::path::PathBuf {
    std::path::PathBuf::from(env!("CARGO_MANIFEST_DIR"))
}

/// All files below a folder whose name ends so, sorted.
fn files(folder: &str, end: &str) -> Vec<std::path::PathBuf> {
    let mut out = Vec::new();
    let mut open = vec![root().join(folder)];
    while let Some(at) = open.pop() {
        for entry in std::fs::read_dir(&at).unwrap_or_else(|e| panic!("{}: {e}", at.display())) {
            let path = entry.unwrap().path();
            if path.is_dir() {
                open.push(path);
            } else if path.to_string_lossy().ends_with(end) {
                out.push(path);
            }
        }
    }
    out.sort();
    out
}

/// Runs the program in the package's root.
fn orrery(args: &[&str]) -> std::process::Output {
    std::process::Command::new(env!("CARGO_BIN_EXE_orrery")).args(args).current_dir(root()).env("NO_COLOR", "1").output().unwrap()
}

/// The fabric of a topology in TOML.
fn fabric(text: &str) -> orrery::fabric::Fabric {
    use orrery::diag::{Decode, Diagnostics, Node, Style, render};
    let mut diags = Diagnostics::new();
    let source = diags.add_source("topology", text);
    let built = Node::parse(source, &mut diags)
        .and_then(|n| orrery::fabric::TopologyInput::decode(&n, &mut diags))
        .and_then(|t| t.build(&mut diags));
    built.unwrap_or_else(|| panic!("{}", render(&diags, Style::Plain))).0
}

/// A GPT of two layers a chunk on nodes of eight A100 under a software stack.
fn gpt(tensor: u64, pipeline: u64, data: u64, chunks: u64, microbatches: u64, stack: &str) -> orrery::training::Config {
    use orrery::diag::{Diagnostics, Style, render};
    let text = format!(
        "title = \"t\"\ntopology = \"../../topologies/dgx-a100-hdr.toml\"\nnodes = {}\n[training]\nstack = \"{stack}\"\nglobal_batch = {}\n[training.model]\npreset = \"gpt3-13b\"\nlayers = {}\n\
         [training.parallel]\ntensor = {tensor}\npipeline = {pipeline}\nvirtual_stages = {chunks}\n",
        (tensor * pipeline * data).div_ceil(8),
        data * microbatches,
        pipeline * chunks * 2,
    );
    let mut diags = Diagnostics::new();
    let scenario = orrery::scenario::load_text("scenarios/training/t.toml", &text, &[], None, &mut diags);
    let scenario = scenario.unwrap_or_else(|| panic!("{}", render(&diags, Style::Plain)));
    match scenario.job {
        orrery::scenario::Job::Training { config, .. } => *config,
        _ => unreachable!(),
    }
}

/// A message without the places where it was said: the folder of the test, the package's root, and the width of marks under them.
fn placeless(text: &str, folder: &std::path::Path) -> String {
    let mut text = text.replace(&folder.display().to_string(), "FOLDER").replace(&root().display().to_string(), "ROOT");
    for mark in ["^", "-"] {
        while text.contains(&mark.repeat(4)) {
            text = text.replace(&mark.repeat(4), &mark.repeat(3));
        }
    }
    text
}

/// Tensor, pipeline and data degrees, powers of two from `data` up to these, that fill whole nodes of eight and so many ranks.
fn whole_nodes(tensor: u32, pipeline: u32, data: std::ops::Range<u32>, ranks: std::ops::RangeInclusive<u64>) -> Vec<(u64, u64, u64)> {
    let all =
        (0..tensor).flat_map(|t| (0..pipeline).map(move |p| (t, p))).flat_map(|(t, p)| data.clone().map(move |d| (1 << t, 1 << p, 1 << d)));
    all.filter(|&(t, p, d): &(u64, u64, u64)| (t * p * d).is_multiple_of(8) && ranks.contains(&(t * p * d))).collect()
}

//! Traces from end to end: fixtures, exports that replay as long, ASTRA-sim's cycles, faults that name rank and operation.

use super::{orrery, placeless, root};
use orrery::diag::{Diagnostics, Style, render};
use orrery::scenario::{Scenario, execute, load, load_text};
use orrery::workload::trace::chakra::{write_groups, write_rank};
use orrery::workload::trace::{RankTrace, SizeConvention, Trace, TraceCollective, TraceGroup, TraceKind, TraceOp};
use std::path::Path;

const ALL_REDUCE: TraceCollective = TraceCollective::AllReduce;

fn op(id: u64, name: &str, deps: &[u32], kind: TraceKind) -> TraceOp {
    TraceOp { id, name: name.to_owned(), deps: deps.to_vec(), kind }
}

fn collective(op: TraceCollective, bytes: f64, group: u32) -> TraceKind {
    TraceKind::Collective { op, bytes, group, micros: None }
}

fn micros(micros: f64) -> TraceKind {
    TraceKind::Compute { micros: Some(micros), flops: 0.0, bytes: 0.0, on_cpu: false }
}

fn send(to: u32) -> TraceKind {
    TraceKind::Send { to, tag: 0, bytes: 1e6 }
}

fn recv(from: u32) -> TraceKind {
    TraceKind::Recv { from, tag: 0, bytes: 1e6 }
}

/// A trace of ranks with these operations; groups 0, 1, … are these sets.
fn trace(ranks: Vec<Vec<TraceOp>>, groups: &[&[u32]]) -> Trace {
    let ranks = ranks.into_iter().enumerate().map(|(rank, ops)| RankTrace { rank: rank as u32, count: 1, ops }).collect();
    let group = |(i, set): (usize, &&[u32])| TraceGroup { name: (i + 1).to_string(), sets: vec![std::sync::Arc::from(*set)] };
    let groups = groups.iter().enumerate().map(group).collect();
    Trace { ranks, groups, sizes: SizeConvention::RankInput, noticed: Vec::new() }
}

/// Writes `t.RANK.et` and `t.groups.json` into a folder.
fn write(trace: &Trace, folder: &Path) {
    for rank in trace.ranks.iter().flat_map(|r| r.rank..r.rank + r.count) {
        std::fs::write(folder.join(format!("t.{rank}.et")), write_rank(trace, rank).unwrap()).unwrap();
    }
    std::fs::write(folder.join("t.groups.json"), write_groups(trace)).unwrap();
}

/// A scenario in a folder with `t.*`; `keys` stand in its [trace] table.
fn scenario(folder: &Path, topology: &str, keys: &str) -> Result<Scenario, String> {
    let mut diags = Diagnostics::new();
    let name = folder.join("s.toml").display().to_string();
    let text = format!("title = \"t\"\n{topology}\n[trace]\nformat = \"chakra\"\nprefix = \"t\"\ngroups = \"t.groups.json\"\n{keys}\n");
    let scenario = load_text(&name, &text, &[], None, &mut diags);
    let plain = |text: String| placeless(&text, folder);
    scenario.ok_or_else(|| plain(render(&diags, Style::Plain)))
}

fn h100(nodes: u32) -> String {
    format!("topology = \"{}\"\nnodes = {nodes}", root().join("topologies/dgx-h100-ndr.toml").display())
}

fn makespan(scenario: &Scenario) -> f64 {
    execute(scenario, 100.0, &|| 0.0).unwrap().trace.unwrap().makespan_s
}

/// Makespan of a trace on one box of H100.
fn on_a_box(trace: &Trace, keys: &str) -> f64 {
    let folder = tempfile::tempdir().unwrap();
    write(trace, folder.path());
    makespan(&scenario(folder.path(), &h100(1), keys).unwrap())
}

/// The one-rank files of `scenarios/trace/data`.
fn fixtures() -> [(&'static str, Trace); 2] {
    let all_reduce = trace(vec![vec![op(1, "all-reduce", &[], collective(ALL_REDUCE, 1_048_576.0, 0))]], &[]);
    let product = |bytes| TraceKind::Compute { micros: None, flops: 1.1e12, bytes, on_cpu: false };
    let layers = vec![
        op(1, "load weights", &[], TraceKind::Memory { load: true, bytes: 256e6 }),
        op(2, "layer 0", &[0], product(512e6)),
        op(3, "gradients of layer 0", &[1], collective(ALL_REDUCE, 128e6, 0)),
        op(4, "layer 1", &[1], product(512e6)),
        op(5, "gradients of layer 1", &[3], collective(ALL_REDUCE, 128e6, 0)),
        op(6, "update", &[2, 4], TraceKind::Compute { micros: None, flops: 1e9, bytes: 2e9, on_cpu: false }),
    ];
    let whole = |mut t: Trace| {
        t.groups.push(TraceGroup { name: "all ranks".into(), sets: vec![std::sync::Arc::from([0])] });
        t
    };
    [("all-reduce.et", whole(all_reduce)), ("layers.et", whole(trace(vec![layers], &[])))]
}

#[test]
fn the_fixtures_are_what_we_write() {
    for (name, trace) in fixtures() {
        let path = root().join("scenarios/trace/data").join(name);
        // Without a group file the name of a group would be unknown: "0" is the whole job.
        let bytes = write_rank(&trace, 0).unwrap();
        let at = bytes.windows(7).position(|w| w == b"pg_name").unwrap();
        let mut bytes = bytes;
        for start in (at..bytes.len()).filter(|&i| bytes[i..].starts_with(b"pg_name")).collect::<Vec<_>>() {
            bytes[start + 10] = b'0';
        }
        if std::env::var("INSTA_UPDATE").is_ok_and(|v| v == "always") {
            std::fs::write(&path, &bytes).unwrap();
        }
        assert!(std::fs::read(&path).unwrap() == bytes, "{name}");
    }
}

#[test]
fn an_exported_step_replays_as_long() {
    let folder = tempfile::tempdir().unwrap();
    let out = folder.path().join("out");
    for (tensor, pipeline, extra) in [(2, 2, ""), (1, 1, ""), (2, 4, "virtual_stages = 2\n"), (4, 2, "sequence = true\n")] {
        for stack in ["megatron-bridge-2025", "megatron-2022"] {
            let text = format!(
                "title = \"step\"\n{}\n[training]\nstack = \"{stack}\"\nglobal_batch = 64\n[training.model]\npreset = \"llama-2-7b\"\nlayers = 8\n\
                 [training.parallel]\ntensor = {tensor}\npipeline = {pipeline}\n{extra}",
                h100(2)
            );
            let file = folder.path().join("step.toml");
            std::fs::write(&file, text).unwrap();
            let run = orrery(&["run", file.to_str().unwrap(), "--json", "--chakra", out.to_str().unwrap()]);
            assert_eq!(run.status.code(), Some(0), "{}", String::from_utf8_lossy(&run.stderr));
            let json: serde_json::Value = serde_json::from_slice(&run.stdout).unwrap();
            let step = json["training"]["step_time_s"].as_f64().unwrap();
            let name = out.join("s.toml").display().to_string();
            let text = format!(
                "title = \"t\"\n{}\n[trace]\nformat = \"chakra\"\nprefix = \"trace\"\ngroups = \"trace.groups.json\"\nsends = \"rendezvous\"\n",
                h100(2)
            );
            let mut diags = Diagnostics::new();
            let replayed = load_text(&name, &text, &[], None, &mut diags);
            let replayed = makespan(&replayed.unwrap_or_else(|| panic!("{}", render(&diags, Style::Plain))));
            assert!((replayed / step - 1.0).abs() < 0.005, "{stack} TP {tensor} PP {pipeline} {extra}: {replayed} of {step}");
        }
    }
}

#[test]
fn an_exported_trace_replays_as_long() {
    let folder = tempfile::tempdir().unwrap();
    for (name, nodes) in [("roofline-layer-8", "dgx-a100-hdr"), ("aicb-moe-16", "dgx-h100-ndr")] {
        let out = folder.path().join(name);
        let from = format!("scenarios/trace/{name}.toml");
        let run = orrery(&["run", &from, "--json", "--chakra", out.to_str().unwrap()]);
        let json: serde_json::Value = serde_json::from_slice(&run.stdout).unwrap();
        let first = json["trace"]["makespan_s"].as_f64().unwrap();
        let topology = format!("topology = \"{}\"\nnodes = 2", root().join(format!("topologies/{nodes}.toml")).display());
        let text = format!("title = \"t\"\n{topology}\n[trace]\nformat = \"chakra\"\nprefix = \"trace\"\ngroups = \"trace.groups.json\"\n");
        let mut diags = Diagnostics::new();
        let again = load_text(&out.join("s.toml").display().to_string(), &text, &[], None, &mut diags);
        let again = makespan(&again.unwrap_or_else(|| panic!("{}", render(&diags, Style::Plain))));
        assert!((again / first - 1.0).abs() < 0.01, "{name}: {again} of {first}");
    }
}

#[test]
fn collectives_have_no_trace() {
    let run = orrery(&["run", "scenarios/collective/all-reduce-dgx-h100-32.toml", "--chakra", "/tmp/never"]);
    assert_eq!(run.status.code(), Some(2));
    assert!(String::from_utf8_lossy(&run.stderr).contains("E0205") && run.stdout.is_empty());
}

#[test]
fn kernels_take_turns_and_overlap_with_communication() {
    // Two kernels that nothing orders run one after the other; the all-reduce of the first is hidden behind the second.
    let rank = || vec![op(1, "a", &[], micros(500.0)), op(2, "b", &[], micros(700.0)), op(3, "sum", &[0], collective(ALL_REDUCE, 1e6, 0))];
    let t = trace(vec![rank(), rank()], &[&[0, 1]]);
    assert!((on_a_box(&t, "") - 1.2e-3).abs() < 1e-12);
    // Interference: the kernel loses the share of the device that the all-reduce holds while it runs.
    let slowed = on_a_box(&t, "interference = true");
    assert!(slowed > 1.2e-3 && slowed < 1.21e-3, "{slowed}");
    assert!((on_a_box(&t, "compute_scale = 2.0") - 2.4e-3).abs() < 1e-12);
    // A host does not hold up the device.
    let host = TraceKind::Compute { micros: Some(900.0), flops: 0.0, bytes: 0.0, on_cpu: true };
    let t = trace(vec![vec![op(1, "a", &[], micros(500.0)), op(2, "host", &[], host)]], &[]);
    assert!((on_a_box(&t, "") - 9e-4).abs() < 1e-12);
}

#[test]
fn messages_keep_their_order_and_wait_for_both_ends() {
    // Rank 1 comes to its receive after 1 ms; the sender computes for 0.2 ms after its message.
    let t = |late: f64| {
        let a = vec![op(1, "send", &[], send(1)), op(2, "after", &[0], micros(200.0))];
        let b = vec![op(1, "before", &[], micros(late)), op(2, "recv", &[0], recv(0))];
        trace(vec![a, b], &[])
    };
    let message = on_a_box(&t(0.001), "") - 200e-6;
    assert!(message > 1e-6 && message < 30e-6, "{message}");
    assert!((on_a_box(&t(1000.0), "sends = \"rendezvous\"") - (1e-3 + message + 200e-6)).abs() < 1e-9);
    assert!((on_a_box(&t(1000.0), "") - 1e-3).abs() < 1e-9);
    // Both send before they receive: buffers let that pass, a rendezvous does not.
    let both = |me: u32| vec![op(1, "send", &[], send(1 - me)), op(2, "recv", &[0], recv(1 - me))];
    let t = trace(vec![both(0), both(1)], &[]);
    assert!(on_a_box(&t, "") < 60e-6);
    let folder = tempfile::tempdir().unwrap();
    write(&t, folder.path());
    let stuck = execute(&scenario(folder.path(), &h100(1), "sends = \"rendezvous\"").unwrap(), 100.0, &|| 0.0).unwrap_err().to_string();
    assert!(stuck.contains("rank 0: `send` (id 1) with rank 1: `recv` (id 2)"), "{stuck}");
}

#[test]
fn one_file_for_equal_ranks_is_a_file_for_each() {
    let rank = || {
        vec![
            op(1, "a", &[], micros(300.0)),
            op(2, "sum", &[0], collective(ALL_REDUCE, 3e7, 0)),
            op(3, "load", &[], TraceKind::Memory { load: true, bytes: 1e7 }),
            op(4, "gather", &[1, 2], collective(TraceCollective::AllGather, 1e6, 0)),
        ]
    };
    let all: Vec<u32> = (0..16).collect();
    let t = trace((0..16).map(|_| rank()).collect(), &[&all]);
    let folder = tempfile::tempdir().unwrap();
    write(&t, folder.path());
    let each = makespan(&scenario(folder.path(), &h100(2), "").unwrap());
    let text =
        format!("title = \"t\"\n{}\n[trace]\nformat = \"chakra\"\nfile = \"t.3.et\"\ngroups = \"t.groups.json\"\nranks = 16\n", h100(2));
    let mut diags = Diagnostics::new();
    let one = load_text(&folder.path().join("s.toml").display().to_string(), &text, &[], None, &mut diags).unwrap();
    let one = makespan(&one);
    assert!((one - each).abs() < 1e-12 * each, "{one} against {each}");
}

fn cycles(name: &str) -> (u64, f64) {
    let mut diags = Diagnostics::new();
    let scenario = load(&root().join("scenarios/trace").join(name), &[], None, &mut diags).unwrap();
    let start = std::time::Instant::now();
    let outcome = execute(&scenario, 100.0, &|| 0.0).unwrap();
    (outcome.trace.unwrap().cycles.unwrap(), start.elapsed().as_secs_f64())
}

#[test]
fn astra_compatible_scenarios_take_the_cycles_of_astra_sim() {
    assert_eq!(cycles("astra-ring-8.toml").0, 64_440);
    let (cycles, seconds) = cycles("astra-hierarchical-4096.toml");
    assert_eq!(cycles, 1_070_702);
    assert!(seconds < 0.5, "{seconds} s");
}

/// Files of ASTRA-sim for a folder: a ring of 50 GB/s, 500 ns, with 4 splits.
fn astra(folder: &Path, ranks: u32, system: &str, keys: &str) -> Result<Scenario, String> {
    let network = format!("topology: [ Ring ]\nnpus_count: [ {ranks} ]\nbandwidth: [ 50.0 ]\nlatency: [ 500.0 ]\n");
    std::fs::write(folder.join("n.yml"), network).unwrap();
    std::fs::write(folder.join("s.json"), system).unwrap();
    scenario(folder, "", &format!("[trace.astra]\nnetwork = \"n.yml\"\nsystem = \"s.json\"\n{keys}"))
}

const SYSTEM: &str = r#"{"preferred-dataset-splits": 4, "all-reduce-implementation": ["ring"], "local-mem-bw": 1600}"#;

#[test]
fn astra_has_one_communication_and_one_kernel_in_flight() {
    let folder = tempfile::tempdir().unwrap();
    // Two all-reduces of different groups share no rank's time with each other, since both ranks are in both.
    let rank = || {
        let sum = |group| collective(ALL_REDUCE, 1_048_576.0, group);
        vec![op(1, "a", &[], sum(0)), op(2, "b", &[], sum(1)), op(3, "k", &[], micros(10.0)), op(4, "l", &[], micros(20.0))]
    };
    write(&trace(vec![rank(), rank()], &[&[0, 1], &[0, 1]]), folder.path());
    let outcome = execute(&astra(folder.path(), 2, SYSTEM, "").unwrap(), 100.0, &|| 0.0).unwrap();
    // 4 chunks of 10 + 2 × (500 + 131,072 / 53.687 + 10) + 3 × 81.
    let one = 4 * (10 + 2 * (2941 + 10) + 3 * 81);
    let t = outcome.trace.unwrap();
    assert_eq!(t.cycles, Some(2 * one));
    assert!((t.compute_s - 30e-6).abs() < 1e-12 && (t.exposed_comm_s - (2.0 * one as f64 * 1e-9 - 30e-6)).abs() < 1e-12);
}

#[test]
fn astra_prices_messages_and_outside_memory() {
    let folder = tempfile::tempdir().unwrap();
    let memory = TraceKind::Memory { load: true, bytes: 4000.0 };
    let a = vec![op(1, "send", &[], send(2)), op(2, "load", &[0], memory)];
    let mut ranks = vec![a, Vec::new(), vec![op(1, "recv", &[], recv(0)), op(2, "load", &[], memory)], Vec::new()];
    ranks[1].push(op(1, "load", &[], memory));
    ranks[3].push(op(1, "nothing", &[], TraceKind::Nothing));
    write(&trace(ranks, &[]), folder.path());
    std::fs::write(folder.path().join("m.json"), r#"{"memory-type": "MEMORY_POOL", "remote-mem-latency": 100, "remote-mem-bw": 2}"#)
        .unwrap();
    let told = astra(folder.path(), 4, SYSTEM, "").err().unwrap();
    assert!(told.contains("rank 1: `load` (id 1) needs a memory, and the memory file says NO_MEMORY_EXPANSION"), "{told}");
    let run = execute(&astra(folder.path(), 4, SYSTEM, "memory = \"m.json\"").unwrap(), 100.0, &|| 0.0).unwrap();
    // Two hops of 500 and 1e6 / 53.687; the loads of ranks 1 and 2 go first, one after the other, and that of rank 0 after its message.
    assert_eq!(run.trace.unwrap().cycles, Some(1000 + 18_626 + 2100));
}

/// What a trace is refused with.
fn refused(trace: &Trace, spoil: impl Fn(&Path)) -> String {
    let folder = tempfile::tempdir().unwrap();
    write(trace, folder.path());
    spoil(folder.path());
    scenario(folder.path(), &h100(1), "").err().unwrap()
}

#[test]
fn faults_name_file_rank_and_operation() {
    let sum = |id, group| op(id, "sum", &[], collective(ALL_REDUCE, 1e6, group));
    let good = trace(vec![vec![sum(1, 0)], vec![sum(1, 0)]], &[&[0, 1]]);
    let all: Vec<String> = vec![
        refused(&good, |f| std::fs::write(f.join("t.1.et"), &write_rank(&good, 1).unwrap()[..20]).unwrap()),
        refused(&good, |f| std::fs::remove_file(f.join("t.1.et")).unwrap()),
        refused(&good, |f| std::fs::write(f.join("t.groups.json"), "{\n  \"1\": [0, \"x\"]\n}").unwrap()),
        refused(&trace(vec![vec![op(1, "send", &[], send(1))], vec![op(1, "none", &[], micros(1.0))]], &[]), |_| ()),
        refused(&trace(vec![vec![op(7, "a", &[1], micros(1.0)), op(8, "b", &[0], micros(1.0))]], &[]), |_| ()),
        refused(&trace(vec![vec![sum(1, 0)]; 9], &[&[0, 1, 2, 3, 4, 5, 6, 7, 8]]), |_| ()),
    ];
    insta::assert_snapshot!(all.join("\n"));
}

#[test]
fn keys_that_do_nothing_are_refused() {
    let rank = || vec![op(1, "sum", &[], collective(ALL_REDUCE, 1e6, 0))];
    let folder = tempfile::tempdir().unwrap();
    write(&trace(vec![rank(), rank()], &[&[0, 1]]), folder.path());
    let all: Vec<String> = [
        scenario(folder.path(), &h100(1), "precision = \"fp8\""),
        scenario(folder.path(), &h100(1), "ranks = 2"),
        scenario(folder.path(), &h100(1), "file = \"t.0.et\""),
        astra(folder.path(), 2, SYSTEM, "backend = \"aware\"\n[cost]\nrent = \"3 USD/h\""),
        scenario(folder.path(), &h100(1), "sends = \"eager\"\n[trace.astra]\nnetwork = \"n.yml\"\nsystem = \"s.json\""),
        scenario(folder.path(), "", ""),
        astra(folder.path(), 3, SYSTEM, ""),
        astra(folder.path(), 2, "{\"all-reduce-implementation\": [\"ring\", \"ring\"]}", ""),
    ]
    .into_iter()
    .map(|s| s.err().unwrap())
    .collect();
    insta::assert_snapshot!(all.join("\n"));
}

/// Two groups of the same ranks, which come to them in another order.
pub(super) fn crossed(folder: &Path) -> String {
    let sum = |id, deps: &[u32], group| op(id, "sum", deps, collective(ALL_REDUCE, 1e6, group));
    let t = trace(vec![vec![sum(1, &[], 0), sum(2, &[0], 1)], vec![sum(1, &[], 1), sum(2, &[0], 0)]], &[&[0, 1], &[0, 1]]);
    write(&t, folder);
    let file = folder.join("s.toml");
    let text = format!("title = \"t\"\n{}\n[trace]\nformat = \"chakra\"\nprefix = \"t\"\ngroups = \"t.groups.json\"\n", h100(1));
    std::fs::write(&file, text).unwrap();
    file.display().to_string()
}

//! Tests of the rule from an index to values.

use super::design::Rule;
use super::input::SweepInput;
use crate::diag::{Decode, Diagnostics, Node, Style, Value, render};

fn rule(text: &str) -> Rule {
    let mut diags = Diagnostics::new();
    let source = diags.add_source("sweep.toml", format!("title = \"t\"\nbase = \"b\"\ncolumns = [\"title\"]\n{text}"));
    let input = Node::parse(source, &mut diags).and_then(|n| SweepInput::decode(&n, &mut diags));
    let rule = input.and_then(|i| Rule::new(&i, &mut diags));
    rule.unwrap_or_else(|| panic!("{}", render(&diags, Style::Plain)))
}

fn numbers(rule: &Rule, index: u64) -> Vec<f64> {
    let number = |value: &Value| match value {
        Value::Int(i) => *i as f64,
        Value::Float(f) => *f,
        Value::Str(text) => text.split(' ').next().unwrap_or_default().parse().unwrap_or(f64::NAN),
        _ => f64::NAN,
    };
    rule.changes(index).iter().map(|c| number(&c.value.value)).collect()
}

#[test]
fn a_grid_is_every_value_with_every_other() {
    let rule = rule("[[axis]]\nkey = \"a\"\nvalues = [1, 2]\n[[axis]]\nkeys = [\"b\", \"c\"]\nvalues = [[3, 4], [5, 6], [7, 8]]\n");
    let all: Vec<Vec<f64>> = (0..rule.total()).map(|i| numbers(&rule, i)).collect();
    assert_eq!(all, [[1., 3., 4.], [1., 5., 6.], [1., 7., 8.], [2., 3., 4.], [2., 5., 6.], [2., 7., 8.]]);
}

#[test]
fn ranges_hold_their_ends() {
    let rule = rule(
        "design = \"list\"\n[[axis]]\nkey = \"a\"\nfrom = \"1 us\"\nto = \"100 us\"\ncount = 3\nscale = \"log\"\n[[axis]]\nkey = \"b\"\nfrom = 10\nto = 0\ncount = 3\n",
    );
    let all: Vec<Vec<f64>> = (0..3).map(|i| numbers(&rule, i)).collect();
    assert!((all[1][0] - 10.0).abs() < 1e-9 && all[1][1] == 5.0, "{all:?}");
    assert_eq!([&all[0], &all[2]], [&vec![1.0, 10.0], &vec![100.0, 0.0]]);
    assert!(matches!(&rule.changes(2)[0].value.value, Value::Str(s) if s == "100 us"));
}

#[test]
fn a_hypercube_draws_every_part_once() {
    let n = 500;
    let axes = "samples = 500\n[[axis]]\nkey = \"a\"\nfrom = 0.0\nto = 1.0\n[[axis]]\nkey = \"b\"\nvalues = [1, 2, 3, 4, 5]\n[[axis]]\nkey = \"c\"\nfrom = 1\nto = 10\n";
    let rule = rule(&format!("design = \"latin-hypercube\"\n{axes}"));
    let mut parts: Vec<u64> = (0..n).map(|i| (numbers(&rule, i)[0] * n as f64) as u64).collect();
    parts.sort_unstable();
    assert_eq!(parts, (0..n).collect::<Vec<_>>());
    for (axis, values) in [(1, 5), (2, 10)] {
        for value in 1..=values {
            let times = (0..n).filter(|&i| numbers(&rule, i)[axis] == f64::from(value)).count();
            assert_eq!(times, n as usize / values as usize, "axis {axis}, value {value}");
        }
    }
    // The two axes are apart: neither sorted with nor against each other.
    let mean = |f: &dyn Fn(u64) -> f64| (0..n).map(f).sum::<f64>() / n as f64;
    let together = mean(&|i| (numbers(&rule, i)[0] - 0.5) * (numbers(&rule, i)[1] - 3.0));
    assert!(together.abs() < 0.06, "{together}");
}

#[test]
fn draws_depend_on_seed_axis_and_index_alone() {
    let text = |seed: u64, samples: u64| {
        format!(
            "design = \"random\"\nseed = {seed}\nsamples = {samples}\n[[axis]]\nkey = \"a\"\nfrom = 1.0\nto = 2.0\n[[axis]]\nkey = \"b\"\nfrom = 1.0\nto = 2.0\n"
        )
    };
    let (long, short, other) = (rule(&text(3, 1000)), rule(&text(3, 10)), rule(&text(4, 10)));
    for i in 0..10 {
        assert_eq!(numbers(&long, i), numbers(&short, i));
        assert_ne!(numbers(&long, i), numbers(&other, i));
        assert_ne!(numbers(&long, i)[0], numbers(&long, i)[1]);
        assert!(numbers(&long, i).iter().all(|v| (1.0..2.0).contains(v)));
    }
}

/// The pruned search gives the answer of the exhaustive one: best, runner-up, second layout, front, and what is in the way.
#[test]
fn pruning_never_loses_the_best() {
    use super::{decide, decide_exhaustively, load_plan};
    let folder = tempfile::tempdir().unwrap();
    let root = env!("CARGO_MANIFEST_DIR");
    let cases: u64 = std::env::var("PROPTEST_CASES").ok().and_then(|c| c.parse().ok()).unwrap_or(16).min(200);
    let (mut feasible, mut infeasible, mut saved, mut all) = (0, 0, 0, 0);
    for case in 0..cases {
        let mut state = case.wrapping_mul(0x9e37_79b9_7f4a_7c15) + 12345;
        let mut draw = |n: u64| {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            (state >> 33) % n
        };
        let topology = ["dgx-a100-hdr", "dgx-h100-ndr", "pcie-16", "gb200-nvl72"][draw(4) as usize];
        let (layers, batch) = ([8, 12, 30][draw(3) as usize], [16, 24, 64][draw(3) as usize]);
        let model = [("gpt-22b", ""), ("llama-2-7b", ""), ("gpt3-13b", "sequence_length = 8192\n")][draw(3) as usize];
        // One case in three has checkpoints and failures, and spot capacity that is taken away.
        let fails = draw(3) == 0;
        let operations = if fails {
            "[checkpoint]\ninterval = \"daly\"\n[[checkpoint.level]]\nto = \"host\"\n[failures]\npreset = \"fleet-2024\"\nfactor = 50\n"
        } else {
            ""
        };
        // Runs with failures are simulated many times for each layout: fewer of those.
        let layout = if fails {
            "microbatch = [1]\nvirtual_stages = [1]\nrecompute = [\"selective\"]\ntensor = [4, 8]"
        } else {
            "microbatch = [1, 2]\nvirtual_stages = [1, 2]"
        };
        let run = if fails { "steps = 1000\nseeds = 5" } else { "steps = 1000" };
        let base = format!(
            "title = \"t\"\ntopology = \"{root}/topologies/dgx-a100-hdr.toml\"\nnodes = 1\n[training]\nglobal_batch = {batch}\n[training.model]\npreset = \"{}\"\nlayers = {layers}\n{}\n\
             [training.parallel]\ntensor = 8\n[run]\n{run}\n{operations}",
            model.0, model.1
        );
        std::fs::write(folder.path().join("base.toml"), base).unwrap();
        let objective = ["cost", "time", "energy", "pareto"][draw(4) as usize];
        let goal = match draw(3) {
            0 => "kind = \"layout\"".to_owned(),
            1 => format!("kind = \"train\"\nwithin = \"{} min\"", 5 + draw(120)),
            _ => format!("kind = \"train\"\nbudget = \"{} USD\"\nwithin = \"{} h\"", 20 + draw(400), 1 + draw(10)),
        };
        let nodes = if topology == "pcie-16" { "[1]" } else { ["[1]", "[1, 2]", "[2]"][draw(3) as usize] };
        let payment = if topology.starts_with("dgx-a") { "payment = [\"on-demand\", \"owned\"]\n" } else { "" };
        let plan = format!(
            "title = \"t\"\nbase = \"base.toml\"\nobjective = \"{objective}\"\n[goal]\n{goal}\n[layout]\n{layout}\n\
             [[candidate]]\ntopology = \"{root}/topologies/{topology}.toml\"\nnodes = {nodes}\n{payment}[[candidate]]\nname = \"own\"\nnodes = [1]\n{}",
            if fails {
                format!(
                    "[[candidate]]\nname = \"spot\"\ntopology = \"{root}/topologies/dgx-h100-ndr.toml\"\nnodes = [1]\npayment = [\"spot\", \"on-demand\"]\n[spot]\ninterval = \"2 h\"\nreplacement = \"5 min\"\n"
                )
            } else {
                String::new()
            }
        );
        let path = folder.path().join("plan.toml");
        std::fs::write(&path, &plan).unwrap();
        let mut diags = Diagnostics::new();
        let Some(loaded) = load_plan(&path, &mut diags) else { panic!("{plan}\n{}", render(&diags, Style::Plain)) };
        let (pruned, whole) = (decide(&loaded), decide_exhaustively(&loaded));
        assert_eq!(pruned.best, whole.best, "case {case}: {plan}");
        assert_eq!(pruned.runner_up, whole.runner_up, "case {case}: {plan}");
        assert_eq!(pruned.runner_up_layout, whole.runner_up_layout, "case {case}: {plan}");
        assert_eq!(pruned.front, whole.front, "case {case}: {plan}");
        assert_eq!(pruned.binding, whole.binding, "case {case}: {plan}");
        if pruned.feasible {
            feasible += 1
        } else {
            infeasible += 1
        }
        saved += whole.search.simulated - pruned.search.simulated;
        all += whole.search.simulated;
    }
    assert!(feasible > cases / 4 && infeasible > cases / 20 && saved * 2 > all, "{feasible} {infeasible} {saved} of {all}");
}

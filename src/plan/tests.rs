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
    let rule = rule("design = \"list\"\n[[axis]]\nkey = \"a\"\nfrom = \"1 us\"\nto = \"100 us\"\ncount = 3\nscale = \"log\"\n[[axis]]\nkey = \"b\"\nfrom = 10\nto = 0\ncount = 3\n");
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
    let text = |seed: u64, samples: u64| format!("design = \"random\"\nseed = {seed}\nsamples = {samples}\n[[axis]]\nkey = \"a\"\nfrom = 1.0\nto = 2.0\n[[axis]]\nkey = \"b\"\nfrom = 1.0\nto = 2.0\n");
    let (long, short, other) = (rule(&text(3, 1000)), rule(&text(3, 10)), rule(&text(4, 10)));
    for i in 0..10 {
        assert_eq!(numbers(&long, i), numbers(&short, i));
        assert_ne!(numbers(&long, i), numbers(&other, i));
        assert_ne!(numbers(&long, i)[0], numbers(&long, i)[1]);
        assert!(numbers(&long, i).iter().all(|v| (1.0..2.0).contains(v)));
    }
}

//! Layouts of one job in the measured order: Kendall's tau over pairs of rows of one job on one cluster whose measured step times differ by
//! more than 8 %; and errors by source, so that no source slips unseen.

use orrery::diag::Diagnostics;
use orrery::validate::{Kind, Report, validate};
use std::collections::BTreeMap;

const TABLE: &str = include_str!("../validation/training.csv");

fn report(name: &str, text: &str) -> Report {
    let mut diags = Diagnostics::new();
    let source = diags.add_source(name, text.to_owned());
    validate(Kind::Training, &[source], orrery::kernels::Profiles::embedded(), &mut diags).unwrap()
}

/// Rows by column name.
fn rows() -> Vec<BTreeMap<String, String>> {
    let mut lines = TABLE.lines();
    let names: Vec<&str> = lines.next().unwrap().split(',').collect();
    lines.map(|l| names.iter().zip(l.split(',')).map(|(n, v)| ((*n).to_owned(), v.to_owned())).collect()).collect()
}

/// Runs of one job that contradict each other at one layout (a step that takes 28 % longer with smaller microbatches only, and the like).
const CONTRADICTORY: [&str; 6] = ["0043", "0047", "0048", "0050", "0075", "0080"];

#[test]
fn layouts_are_ranked_as_measured() {
    let report = report("training.csv", TABLE);
    let mut jobs: BTreeMap<Vec<String>, Vec<(String, f64, f64)>> = BTreeMap::new();
    for (row, answer) in rows().iter().zip(&report.rows) {
        assert_eq!(row["id"], answer.id);
        let key = ["source", "model", "accelerator", "accelerators", "seq_len", "global_batch", "dtype"].map(|k| row[k].clone());
        let predicted = answer.outcome.as_ref().map_or(f64::NAN, |p| p[0]);
        jobs.entry(key.to_vec()).or_default().push((row["id"].clone(), answer.measured[0], predicted));
    }
    let tau = |source: &str, keep: &dyn Fn(&str) -> bool| {
        let (mut score, mut pairs) = (0.0, 0.0);
        for members in jobs.iter().filter(|(k, _)| k[0] == source).map(|(_, m)| m) {
            let members: Vec<_> = members.iter().filter(|m| keep(&m.0)).collect();
            for (i, a) in members.iter().enumerate() {
                for b in &members[i + 1..] {
                    if (a.1 - b.1).abs() > 0.08 * a.1.max(b.1) {
                        score += ((a.1 - b.1) * (a.2 - b.2)).signum();
                        pairs += 1.0;
                    }
                }
            }
        }
        assert!(pairs >= 20.0, "{source}: {pairs} pairs");
        score / pairs
    };
    let all = |_: &str| true;
    assert!(tau("bloom", &all) >= 0.75, "{}", tau("bloom", &all));
    assert!(tau("vtrain-single", &all) >= 0.75, "{}", tau("vtrain-single", &all));
    assert!(tau("vtrain-multi", &all) >= 0.65, "{}", tau("vtrain-multi", &all));
    let consistent = |id: &str| !CONTRADICTORY.iter().any(|c| id.ends_with(c));
    assert!(tau("vtrain-multi", &consistent) >= 0.75, "{}", tau("vtrain-multi", &consistent));
}

#[test]
fn errors_stay_within_what_the_readme_says() {
    let report_of_all = report("training.csv", TABLE);
    let all = report_of_all.all[0];
    assert_eq!(all.skipped, 0);
    assert!(all.median <= 0.06 && all.p90 <= 0.18, "{all:?}");
    let korthikanti = report_of_all.by_source.iter().find(|s| s.0 == "korthikanti22").unwrap().1[0];
    assert!(korthikanti.mean <= 0.05, "{korthikanti:?}");
    let other = report("training_other.csv", include_str!("../validation/training_other.csv")).all[0];
    assert_eq!(other.skipped, 0);
    assert!(other.median <= 0.12, "{other:?}");
}

/// Published layouts stand among the best 5 % of the layouts that their software allows, by the simulation.
#[test]
fn published_layouts_are_near_the_best() {
    let folder = tempfile::tempdir().unwrap();
    let scenarios = super::root().join("scenarios/training");
    // Megatron-DeepSpeed of BLOOM had neither interleaving with its optimizer, nor selective recompute, nor sequence parallelism.
    let bloom = "recompute = [\"full\"]\nvirtual_stages = [1]\nsequence = [false]\ndistributed_optimizer = [true]";
    let mlperf = "title = \"GPT-3 175B, MLPerf 4.0, 512 H100\"\ntopology = \"ROOT/topologies/dgx-h100-ndr.toml\"\nnodes = 64\n[training]\nstack = \"mlperf-2024\"\nprecision = \"fp8\"\n\
                  global_batch = 2304\nmicrobatch = 2\n[training.model]\npreset = \"gpt3-175b\"\n[training.parallel]\ntensor = 4\npipeline = 8\nvirtual_stages = 4\nsequence = true\n";
    std::fs::write(folder.path().join("mlperf.toml"), mlperf.replace("ROOT", super::root().to_str().unwrap())).unwrap();
    let own = |name: &str| scenarios.join(name).display().to_string();
    let mut said = String::new();
    for (base, layout, [tensor, pipeline, chunks, microbatch]) in [
        (own("gpt-175b-a100-64.toml"), "context = [1]", [8, 8, 3, 1]),
        (own("bigscience-78-layers-a100-384.toml"), bloom, [4, 12, 1, 2]),
        ("mlperf.toml".to_owned(), "context = [1]", [4, 8, 4, 2]),
    ] {
        let path = folder.path().join("plan.toml");
        std::fs::write(&path, format!("title = \"t\"\nbase = \"{base}\"\n[goal]\nkind = \"layout\"\n[layout]\n{layout}\n")).unwrap();
        let mut diags = Diagnostics::new();
        let plan = orrery::plan::load_plan(&path, &mut diags);
        let plan = plan.unwrap_or_else(|| panic!("{}", orrery::diag::render(&diags, orrery::diag::Style::Plain)));
        let is =
            |l: &orrery::plan::Layout| [l.tensor, l.pipeline, l.virtual_stages, l.microbatch] == [tensor, pipeline, chunks, microbatch];
        let rank = orrery::plan::rank(&plan, &is).unwrap_or_else(|| panic!("{base}: the published layout does not run"));
        said.push_str(&format!("{base}: {rank:?}, {:.1} %\n", 100.0 * rank.share()));
        assert!(rank.share() <= 0.05, "{said}");
    }
}

//! The whole way from a table to a profile: known constants come back, and shipped values are those that the fit gives.

use super::*;
use crate::kernels::{Gemm, GemmConstants, OperandBytes, Profiles};
use std::fmt::Write as _;

fn read_shipped(name: &str, keep: impl Fn(&str) -> bool) -> String {
    let path = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/validation").join(name);
    let text = std::fs::read_to_string(path).unwrap();
    let lines = text.lines().enumerate().filter(|(i, line)| *i == 0 || keep(line)).map(|(_, line)| line);
    lines.collect::<Vec<_>>().join("\n")
}

fn fit_text(text: &str) -> Calibration {
    let mut diags = Diagnostics::new();
    let source = diags.add_source("table.csv", text);
    fit(&[source], FitOptions::default(), &mut diags).unwrap()
}

fn value(entry: &Entry, name: &str) -> Value {
    *entry.fit.as_ref().unwrap().values.iter().find(|v| v.name == name).unwrap()
}

/// A table that the model itself wrote, with 3 % of noise: the constants come back, and nearly always inside their intervals.
#[test]
fn known_constants_come_back() {
    let truth = GemmConstants { t0: 3e-6, ec: 0.7, kl: 0.25e-6, ts: 2e-6, cq: 0.0, rq: 0.0, em: 0.8, q: 2.0, w: 0.5, wb: 0.4 };
    let mut text = String::from("id,source,framework,accelerator,m,n,k,dtype,time_us\n");
    let sheet = sheet("h100-sxm", crate::hardware::Dtype::Bf16);
    for i in 0..260u64 {
        let pick = |step: u64, list: &[u64]| list[((i * step) % 7919) as usize % list.len()];
        let (m, n, k) = (
            pick(31, &[1, 16, 64, 300, 1000, 2048, 4096, 8192]),
            pick(17, &[64, 512, 1024, 4096, 7168, 16384, 28672]),
            pick(13, &[64, 512, 2048, 4096, 8192, 16384, 65536]),
        );
        let seconds = truth.time(&sheet, OperandBytes { input: 2.0, weight: 2.0 }, Gemm { m, n, k, batch: 1, output_bytes: 2.0 });
        let noise = 1.0 + 0.03 * libm::sin(12.9898 * i as f64 + 0.3);
        writeln!(text, "r{i},made,lib-1.0,h100-sxm,{m},{n},{k},bf16,{:.4}", 1e6 * seconds * noise).unwrap();
    }
    let calibration = fit_text(&text);
    let entry = &calibration.entries[0];
    for (name, want, within) in
        [("t0", 3.0, 0.05), ("ec", 0.7, 0.05), ("kl", 0.25, 0.08), ("em", 0.8, 0.05), ("ts", 2.0, 0.2), ("wb", 0.4, 0.15)]
    {
        let v = value(entry, name);
        assert!((v.value / want - 1.0).abs() < within, "{name}: {v:?} against {want}");
        assert!(v.low <= v.value && v.value <= v.high && v.low > 0.5 * v.value, "{name}: {v:?}");
    }
    let quality = entry.fit.as_ref().unwrap();
    assert!(quality.median < 0.04 && quality.p90 < 0.08 && quality.points == 260, "{quality:?}");
}

/// What is written is read, and says the same.
#[test]
fn a_written_profile_is_read() {
    let calibration = fit_text(&read_shipped("attention.csv", |l| l.contains("a100-sxm-80gb,decode")));
    let text = write(&calibration, "made by a test");
    let mut diags = Diagnostics::new();
    let source = diags.add_source("own.toml", text.as_str());
    let profiles = Profiles::embedded().with(source, &mut diags).unwrap();
    let profile = profiles.iter().next().unwrap();
    assert_eq!((profile.accelerator.as_str(), profile.generation.as_str(), profile.decode.len()), ("a100-sxm-80gb", "ampere", 2));
    let want = value(&calibration.entries[0], "t0").value;
    assert!((profile.decode[0].t0.value.value / want - 1.0).abs() < 1e-3);
    assert!(summary(&calibration).contains("a100-sxm-80gb decode bf16 sglang-0.5.10"));
}

/// The shipped profile is what the fit gives from the shipped tables: one group here, all of them nightly.
fn same_as_shipped(calibration: &Calibration) -> usize {
    let mut compared = 0;
    for entry in calibration.entries.iter().filter(|e| e.fit.is_ok()) {
        let fitted = entry.fit.as_ref().unwrap();
        let library = &entry.keys.iter().find(|k| k.0 == "library").unwrap().1;
        let format = &entry.keys[0].1;
        for profile in Profiles::embedded().iter().filter(|p| p.accelerator.value == entry.accelerator) {
            let rows = match entry.list {
                List::Gemm => profile
                    .gemm
                    .iter()
                    .filter(|r| &*r.library == library && r.dtype.word() == format)
                    .map(|r| (r.t0.value, r.em.value, r.quality.median.value))
                    .collect::<Vec<_>>(),
                List::Decode => profile
                    .decode
                    .iter()
                    .filter(|r| &*r.library == library && r.kv.word() == format)
                    .map(|r| (r.t0.value, r.em.value, r.quality.median.value))
                    .collect(),
                _ => Vec::new(),
            };
            for (t0, em, median) in rows {
                compared += 1;
                for (have, want) in [(t0.value, value(entry, "t0").value), (em.value, value(entry, "em").value)] {
                    assert!((have / want - 1.0).abs() < 0.01, "{entry:?}: {have} against {want}: refit src/kernels/fitted.toml");
                }
                assert!((median - fitted.median).abs() < 0.005, "{entry:?}: {median}");
            }
        }
    }
    compared
}

#[test]
fn the_shipped_profile_is_the_fit_of_the_shipped_tables() {
    assert_eq!(same_as_shipped(&fit_text(&read_shipped("layers_gemm.csv", |_| true))), 1);
    assert_eq!(same_as_shipped(&fit_text(&read_shipped("layers_attention.csv", |l| l.contains(",decode,")))), 1);
    assert_eq!(same_as_shipped(&fit_text(&read_shipped("gemm.csv", |l| l.contains("h100-sxm") && l.contains(",bf16,")))), 3);
    assert_eq!(same_as_shipped(&fit_text(&read_shipped("attention.csv", |l| l.contains("b200-sxm,decode")))), 8);
    assert_eq!(same_as_shipped(&fit_text(&read_shipped("gemm_deepbench.csv", |_| true))), 4);
}

/// All entries, to the byte: `.ci/nightly` runs it.
#[test]
#[ignore = "fits all tables"]
fn the_whole_profile_is_the_fit_of_the_tables() {
    let mut diags = Diagnostics::new();
    let sources =
        ["gemm.csv", "gemm_deepbench.csv", "attention.csv", "moe.csv"].map(|name| diags.add_source(name, read_shipped(name, |_| true)));
    let calibration = fit(&sources, FitOptions::default(), &mut diags).unwrap();
    assert_eq!(same_as_shipped(&calibration), 26 + 16);
    assert!(calibration.entries.iter().filter(|e| e.fit.is_ok()).count() > 80);
}

#[test]
fn tables_that_cannot_be_fitted() {
    let mut diags = Diagnostics::new();
    let source = diags.add_source("x.csv", "id,source,nothing\n1,a,2\n");
    assert!(fit(&[source], FitOptions::default(), &mut diags).is_none() && diags.has_errors());
    let few: Vec<String> = read_shipped("gemm.csv", |_| true).lines().take(11).map(str::to_owned).collect();
    let few = fit_text(&few.join("\n"));
    assert!(!few.entries.is_empty() && few.entries.iter().all(|e| e.fit.is_err()));
    let odd = "id,source,framework,accelerator,m,n,k,dtype,time_us\n1,a,l,none,1,1,1,bf16,1\n2,a,l,h100-sxm,1,1,1,nvfp4,1\n3,a,l,h100-sxm,0,1,1,bf16,1\n";
    let odd = fit_text(odd);
    assert_eq!((odd.entries.len(), odd.skipped.iter().map(|s| s.1).sum::<usize>()), (0, 3));
}

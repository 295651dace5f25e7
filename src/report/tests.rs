//! Formats: well-formed pages without requests, traces without overlaps, files whole or not at all.

use super::*;
use crate::diag::Diagnostics;
use crate::metrics::Outcome;
use crate::scenario::{execute, load_text};

fn outcome() -> Outcome {
    let mut diags = Diagnostics::new();
    let text = include_str!("../../scenarios/training/gpt3-175b-a100-1024.toml");
    let scenario = load_text("(embedded) quick.toml", text, &["training.global_batch=256".into()], None, &mut diags).unwrap();
    execute(&scenario, 100.0, &|| 0.0).unwrap()
}

/// Every tag that is opened is closed, in order.
fn well_formed(page: &str) -> Result<(), String> {
    let mut open: Vec<&str> = Vec::new();
    for part in page.split('<').skip(1) {
        let tag = part.split('>').next().unwrap_or("");
        let name = tag.trim_start_matches('/').split([' ', '\n', '/']).next().unwrap_or("");
        let void = ["meta", "link", "br", "!DOCTYPE", "img", "hr"].contains(&name) || tag.ends_with('/');
        if tag.starts_with('/') {
            if open.pop() != Some(name) {
                return Err(format!("</{name}> closes nothing"));
            }
        } else if !void {
            open.push(name);
        }
    }
    if open.is_empty() { Ok(()) } else { Err(format!("open: {open:?}")) }
}

#[test]
fn html_is_well_formed_and_asks_for_nothing() {
    let page = html(&outcome());
    assert_eq!(well_formed(&page), Ok(()));
    assert!(page.len() < 1_500_000, "{} bytes", page.len());
    for word in ["src=\"http", "href=\"http", "url(", "@import", "<script"] {
        assert!(!page.contains(word), "{word}");
    }
    let points = vec![ScatterPoint {
        id: "a".into(),
        source: "s".into(),
        measured: 1.0,
        predicted: 0.9,
        about: "h100, megatron".into(),
        cause: "noise".into(),
    }];
    let rows = vec![GroupRow { name: "s".into(), n: 1, skipped: 0, median: 0.1, p90: 0.1, bias: -0.1, inside: None }];
    let column = ValidationColumn { name: "step_time_s".into(), points, groups: vec![("source", rows.clone()), ("framework", rows)] };
    assert_eq!(well_formed(&validation_html("training", std::slice::from_ref(&column))), Ok(()));
    let text = validation_markdown("training", &[column]);
    assert!(text.contains("| s | 1 | 0 | 10 % | 10 % | -10.0 % |"), "{text}");
    assert!(text.contains("| a | 1 | 0.9 | -10.0 % | h100, megatron | noise |"), "{text}");
}

#[test]
fn slices_of_a_track_do_not_overlap() {
    let outcome = outcome();
    let slices = &outcome.detail.timeline.slices();
    assert!(slices.len() > 1000);
    for pair in slices.windows(2) {
        let (a, b) = (&pair[0], &pair[1]);
        // Messages of both directions share the pipeline track.
        if (a.process, a.track) == (b.process, b.track) && a.track != 2 {
            assert!(b.start_s >= a.start_s + a.duration_s - 1e-9, "{a:?} overlaps {b:?}");
        }
    }
    let trace: serde_json::Value = serde_json::from_str(&timeline(&outcome)).unwrap();
    assert_eq!(trace["traceEvents"].as_array().unwrap().iter().filter(|e| e["ph"] == "X").count(), slices.len());
}

#[test]
fn the_summary_in_text() {
    insta::assert_snapshot!(text(&outcome()));
}

#[test]
fn nothing_is_left_behind() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("taken");
    std::fs::write(&file, "old").unwrap();
    assert!(write_atomically(&file.join("below"), b"new").is_err());
    write_atomically(&file, b"new").unwrap();
    assert_eq!(std::fs::read_to_string(&file).unwrap(), "new");
    assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 1);
}

#[test]
fn numbers_that_are_not_finite_are_refused() {
    let mut broken = outcome();
    broken.training.as_mut().unwrap().mfu = f64::NAN;
    assert_eq!(json(&[broken]).unwrap_err().0, "training.mfu");
}

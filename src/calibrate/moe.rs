//! Mixture-of-experts layers of serving engines: every library, format and kernel by itself.

use super::fit::Group;
use super::solve::Parameter;
use super::{Deal, Entry, FEWEST, List, PRIOR, Points, deal, sheet, too_few};
use crate::hardware::Dtype;
use crate::kernels::{ExpertLoads, GemmConstants, Moe, MoeConstants, OperandBytes, moe_of_row};
use crate::measured::ValueOrigin;
use crate::tables::Table;
use indexmap::IndexMap;
use rayon::prelude::*;

const PARAMETERS: [Parameter; 9] = [
    p("t0", 1.0, 500.0, 25.0),
    p("ec", 0.03, 1.0, 0.5),
    p("kl", 0.005, 5.0, 0.15),
    p("em", 0.1, 1.0, 0.85),
    p("q", 1.3, 30.0, 2.0),
    p("w", 0.02, 1.0, 0.9),
    p("cp", 0.01, 50.0, 1.0),
    p("ct", 0.01, 50.0, 3.0),
    p("te", 0.001, 5.0, 0.05),
];

const fn p(name: &'static str, low: f64, high: f64, centre: f64) -> Parameter {
    Parameter { name, low, high, centre, firm: 1.0 }
}

fn constants(v: &[f64]) -> MoeConstants {
    let gemm = GemmConstants { t0: 1e-6 * v[0], ec: v[1], kl: 1e-6 * v[2], em: v[3], q: v[4], w: v[5], ts: 0.0, cq: 0.0, rq: 0.0, wb: 0.0 };
    MoeConstants { gemm, cp: v[6], ct: v[7], te: 1e-6 * v[8] }
}

pub(super) fn fit(tables: &[Table]) -> (Vec<Entry>, IndexMap<String, usize>) {
    let Deal { entries, skipped } = deal(tables, |r| {
        let (dtype, moe) = moe_of_row(r)?;
        let text = |column: &str| r.text(column).to_owned();
        Ok((vec![("dtype", dtype.word().to_owned()), ("library", text("framework")), ("kernel", text("kernel"))], moe))
    });
    let all: Vec<_> = entries.into_iter().collect();
    (all.par_iter().map(|((part, _), points)| entry(part, points)).collect(), skipped)
}

fn entry(part: &str, points: &Points<Moe>) -> Entry {
    if points.measured.len() < FEWEST {
        return too_few(part, List::Moe, points);
    }
    let dtype = Dtype::from_word(&points.keys[0].1).unwrap_or(Dtype::Bf16);
    let (sheet, bytes) = (sheet(part, dtype), OperandBytes { input: dtype.input_bytes(), weight: dtype.bytes() });
    let loads: Vec<ExpertLoads> = points.shapes.iter().map(ExpertLoads::of).collect();
    let predict = |i: usize, v: &[f64]| constants(v).time(&sheet, bytes, &points.shapes[i], &loads[i]);
    let shape = |m: &Moe| format!("{}x{}x{}x{}", m.hidden, m.inner, m.experts, m.expert_parallel);
    let group = Group {
        shared: Vec::new(),
        apart: PARAMETERS.to_vec(),
        entries: 1,
        entry: vec![0; points.measured.len()],
        shape: points.shapes.iter().map(shape).collect(),
        measured: points.measured.clone(),
        predict: &predict,
        // Round centres also for few points: there is no neighbour to lean on for most kernels.
        prior: PRIOR.1,
    };
    let fit = group.fit().remove(0);
    Entry {
        accelerator: part.into(),
        list: List::Moe,
        keys: points.keys.clone(),
        sources: points.sources.clone(),
        origin: ValueOrigin::Imported,
        fit: Ok(fit),
    }
}

//! Mixture-of-experts layers of serving engines: every library, format and kernel by itself.

use super::fit::Group;
use super::solve::Parameter;
use super::{Deal, Entry, FEWEST, List, PRIOR, Points, deal, sheet, too_few};
use crate::hardware::Dtype;
use crate::kernels::{Balance, ExpertLoads, GemmConstants, Moe, MoeConstants, OperandBytes};
use crate::tables::{Columns, Record, Table};
use indexmap::IndexMap;
use rayon::prelude::*;

pub(super) const COLUMNS: Columns = Columns {
    needed: &[
        "source",
        "framework",
        "accelerator",
        "kernel",
        "dtype",
        "tokens",
        "hidden",
        "inner",
        "top_k",
        "experts",
        "tensor_parallel",
        "expert_parallel",
        "distribution",
    ],
    measured: "time_us",
};

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
    Parameter { name, low, high, centre }
}

fn constants(v: &[f64]) -> MoeConstants {
    let gemm = GemmConstants { t0: 1e-6 * v[0], ec: v[1], kl: 1e-6 * v[2], em: v[3], q: v[4], w: v[5], ts: 0.0, cq: 0.0, rq: 0.0 };
    MoeConstants { gemm, cp: v[6], ct: v[7], te: 1e-6 * v[8] }
}

/// The layer of a row, and its number format.
pub(super) fn layer(r: &Record<'_>) -> Result<(Dtype, Moe), String> {
    let dtype = Dtype::from_word(r.text("dtype")).ok_or_else(|| format!("the number format `{}` is unknown", r.text("dtype")))?;
    let balance = match r.text("distribution") {
        "balanced" => Balance::Even,
        text => match text.strip_prefix("power_law_").and_then(|a| a.parse::<f64>().ok()) {
            Some(alpha) if alpha > 0.0 && alpha < 10.0 => Balance::PowerLaw(alpha),
            _ => return Err(format!("the distribution `{text}` is unknown")),
        },
    };
    let tensor = r.count("tensor_parallel")?;
    let moe = Moe {
        tokens: r.count("tokens")?,
        hidden: r.count("hidden")?,
        inner: r.count("inner")?.div_ceil(tensor),
        gated: !r.text("kernel").contains("nongated"),
        top_k: r.count("top_k")?,
        experts: r.count("experts")?,
        expert_parallel: r.count("expert_parallel")?,
        balance,
    };
    if moe.top_k > moe.experts || moe.expert_parallel > moe.experts || moe.experts > 1 << 16 {
        return Err("more experts of a token or more expert ranks than experts".into());
    }
    Ok((dtype, moe))
}

pub(super) fn fit(tables: &[Table]) -> (Vec<Entry>, IndexMap<String, usize>) {
    let Deal { entries, skipped } = deal(tables, |r| {
        let (dtype, moe) = layer(r)?;
        if super::part(r)?.peak.of(dtype).is_none() {
            return Err(format!("`{}` has no matrix path for {dtype}", r.text("accelerator")));
        }
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
    Entry { accelerator: part.into(), list: List::Moe, keys: points.keys.clone(), sources: points.sources.clone(), fit: Ok(fit) }
}

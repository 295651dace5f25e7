//! Matrix products: the entries of one part and format share what the hardware does and differ in what the library does.

use super::fit::Group;
use super::groups::PLAUSIBLE;
use super::nearby::near;
use super::solve::Parameter;
use super::{Deal, Entry, FEW, FEWEST, List, PRIOR, Points, deal, sheet, too_few};
use crate::hardware::{Catalogue, Dtype};
use crate::kernels::{Gemm, GemmConstants, OperandBytes, Origin, Profiles, gemm_of_row, part_of_row};
use crate::measured::ValueOrigin;
use crate::tables::{Table, quantile};
use crate::units::Quantity;
use indexmap::IndexMap;
use rayon::prelude::*;

/// Parameters in the units of the profile; centres are round values between the generations.
/// `w` is 0.04 to 1 and `wb` 0.02 to 1 among the entries of the shipped profile, those of one part included: others say nearly nothing of them.
const SHARED: [Parameter; 4] = [
    p("em", 0.1, 1.0, 0.85),
    p("q", 1.3, 30.0, 2.0),
    Parameter { firm: 0.1, ..p("w", 0.02, 1.0, 0.5) },
    Parameter { firm: 0.1, ..p("wb", 0.003, 3.0, 0.3) },
];
const OWN: [Parameter; 3] = [p("t0", 0.5, 200.0, 3.0), p("ec", 0.05, 1.0, 0.7), p("kl", 0.005, 5.0, 0.2)];
const SPLIT: Parameter = p("ts", 0.1, 30.0, 2.0);
const CASTS: [Parameter; 2] = [p("cq", 0.05, 20.0, 2.0), p("rq", 0.01, 20.0, 0.5)];

const fn p(name: &'static str, low: f64, high: f64, centre: f64) -> Parameter {
    Parameter { name, low, high, centre, firm: 1.0 }
}

/// Formats whose input is cast inside the call; the others may split the inner dimension. A library that is called by itself casts nothing.
fn casts(dtype: Dtype, raw: bool) -> bool {
    dtype.input_bytes() < 2.0 && !raw
}

/// Libraries that the probe calls by themselves: no serving engine around them.
fn is_raw(library: &str) -> bool {
    library == "cublaslt"
}

pub(super) fn fit(tables: &[Table]) -> (Vec<Entry>, IndexMap<String, usize>) {
    let Deal { entries, skipped } = deal(tables, |r| {
        let (dtype, g) = gemm_of_row(r)?;
        let peak = part_of_row(r)?.peak.of(dtype).map_or(f64::INFINITY, Quantity::get);
        if 2.0 * (g.m as f64) * (g.n as f64) * (g.k as f64) > PLAUSIBLE * peak * 1e-6 * r.measured[0] {
            return Err("faster than the data sheet allows: quarantined".into());
        }
        Ok((vec![("dtype", dtype.word().to_owned()), ("library", r.text("framework").to_owned())], g))
    });
    // Entries of one part and format are fitted together.
    let mut groups: IndexMap<(String, String, bool), Vec<Points<Gemm>>> = IndexMap::new();
    let mut out = Vec::new();
    for ((part, _), points) in entries {
        if points.measured.len() < FEWEST {
            out.push(too_few(&part, List::Gemm, &points));
            continue;
        }
        let (dtype, raw) = (points.keys[0].1.clone(), is_raw(&points.keys[1].1));
        groups.entry((part, dtype, raw)).or_default().push(points);
    }
    let groups: Vec<_> = groups.into_iter().collect();
    let fitted: Vec<Vec<Entry>> = groups.par_iter().map(|((part, dtype, raw), entries)| group(part, dtype, *raw, entries)).collect();
    out.extend(fitted.into_iter().flatten());
    (out, skipped)
}

fn group(part: &str, dtype: &str, raw: bool, entries: &[Points<Gemm>]) -> Vec<Entry> {
    let dtype = Dtype::from_word(dtype).unwrap_or(Dtype::Bf16);
    let sheet = sheet(part, dtype);
    let mut apart = OWN.to_vec();
    apart.extend(if casts(dtype, raw) { CASTS.to_vec() } else { vec![SPLIT] });
    let mut shared = SHARED.to_vec();
    let few = entries.iter().any(|e| e.measured.len() < FEW);
    if few {
        lean(part, dtype, shared.iter_mut().chain(&mut apart));
    }
    let shapes: Vec<Gemm> = entries.iter().flat_map(|e| e.shapes.iter().copied()).collect();
    let bytes = OperandBytes { input: dtype.input_bytes(), weight: dtype.bytes() };
    let casting = casts(dtype, raw);
    let predict = |i: usize, v: &[f64]| {
        let constants = constants(v, casting);
        constants.time(&sheet, bytes, shapes[i]) + constants.quantisation(&sheet, shapes[i])
    };
    let group = Group {
        shared,
        apart,
        entries: entries.len(),
        entry: entries.iter().enumerate().flat_map(|(e, p)| std::iter::repeat_n(e, p.measured.len())).collect(),
        shape: shapes.iter().map(|g| format!("{}x{}", g.n, g.k)).collect(),
        measured: entries.iter().flat_map(|e| e.measured.iter().copied()).collect(),
        predict: &predict,
        prior: if few { PRIOR.1 } else { PRIOR.0 },
    };
    let mut fits = group.fit();
    let sets: Vec<GemmConstants> = fits.iter().map(|f| constants(&f.values.iter().map(|v| v.value).collect::<Vec<_>>(), casting)).collect();
    for (e, fit) in fits.iter_mut().enumerate().filter(|_| sets.len() > 1) {
        let others: Vec<GemmConstants> = sets.iter().enumerate().filter(|(i, _)| *i != e).map(|(_, s)| *s).collect();
        let mean = GemmConstants::mean(&others);
        let error = |(g, measured): (&Gemm, &f64)| ((mean.time(&sheet, bytes, *g) + mean.quantisation(&sheet, *g)) / measured - 1.0).abs();
        fit.others = Some(quantile(entries[e].shapes.iter().zip(&entries[e].measured).map(error).collect(), 0.5));
    }
    for ((e, fit), set) in entries.iter().zip(&mut fits).zip(&sets) {
        fit.near = near(&e.shapes, &e.measured, &|g| set.time(&sheet, bytes, g) + set.quantisation(&sheet, g));
    }
    entries
        .iter()
        .zip(fits)
        .map(|(e, fit)| Entry {
            accelerator: part.into(),
            list: List::Gemm,
            keys: e.keys.clone(),
            sources: e.sources.clone(),
            origin: ValueOrigin::Imported,
            fit: Ok(fit),
        })
        .collect()
}

/// From `em q w wb t0 ec kl` and `ts`, or `cq rq`.
fn constants(v: &[f64], casts: bool) -> GemmConstants {
    let (ts, cq, rq) = if casts { (0.0, v[7], 1e-9 * v[8]) } else { (1e-6 * v[7], 0.0, 0.0) };
    GemmConstants { em: v[0], q: v[1], w: v[2], wb: v[3], t0: 1e-6 * v[4], ec: v[5], kl: 1e-6 * v[6], ts, cq, rq }
}

/// Moves the centres to the constants that the shipped profiles borrow for the part.
fn lean<'a>(part: &str, dtype: Dtype, parameters: impl Iterator<Item = &'a mut Parameter>) {
    let part = &Catalogue::embedded().accelerators[part];
    let rows = Profiles::embedded().candidates(part, Origin::Neighbour);
    let Some(row) = rows.iter().flat_map(|p| p.gemm.iter()).find(|r| *r.dtype == dtype) else { return };
    for p in parameters {
        let value = match p.name {
            "em" => row.em.value,
            "q" => row.q.value,
            "w" => row.w.value,
            "wb" => row.wb.value,
            "t0" => row.t0.value,
            "ec" => row.ec.value,
            "kl" => row.kl.value,
            "ts" => row.ts.value,
            "cq" => row.cq.value,
            _ => row.rq.value,
        };
        if value.value > 0.0 {
            p.centre = value.value.clamp(p.low, p.high);
        }
    }
}
